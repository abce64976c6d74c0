/* A process that is never the same: one number after the other is written into each page of its memory, page by page.
 * Whoever reads all of it at one moment finds the newer number in the first pages, the one before in the rest.
 * Arguments: how many MiB. Its pages' address stands on its standard output. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

int main(int argc, char **argv) {
  size_t pages = (size_t)atoi(argc > 1 ? argv[1] : "4") * 256;
  char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  for (uint64_t number = 1;; ++number) {
    for (size_t page = 0; page < pages; ++page) *(volatile uint64_t *)(memory + page * PAGE) = number;
    if (number == 2) {
      printf("changing %p\n", (void *)memory);
      fflush(stdout);
    }
  }
}
