// a shell, and what the shell runs, named in a string only
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    fflush(stdout);
    int status = system("echo one two | tr a-z A-Z | sed 's/$/!/'");
    return status != 0;
}
