// conversion that the C library loads a module for
#include <iconv.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    char text[] = "\xe6\x97\xa5\xe6\x9c\xac", out[16], *from = text, *to = out;
    size_t left = strlen(text), space = sizeof out;
    iconv_t conversion = iconv_open("EUC-JP", "UTF-8");
    if (conversion == (iconv_t)-1 || iconv(conversion, &from, &left, &to, &space) == (size_t)-1)
        return 1;
    printf("iconv %d\n", (int)(sizeof out - space));
    return 0;
}
