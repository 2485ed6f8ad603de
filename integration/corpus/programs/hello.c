#include <stdio.h>

int main(void) {
    puts("hello dyn");
    return 0;
}
