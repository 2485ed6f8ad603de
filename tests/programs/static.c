/* Statically linked C: needs nothing of an operating system but the kernel. */
#include <stdio.h>

int main(void) {
  puts("hello from static c");
  return 0;
}
