// needs a library of its own through $ORIGIN/../lib
#include <stdio.h>

int seven(void);

int main(void) {
    printf("origin %d\n", seven());
    return 0;
}
