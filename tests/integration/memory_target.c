/* A process whose memory is known: what it has laid out stands on its standard output, a name and an address a
 * line, then "ready". Arguments: a directory for its files, how many MiB are written, and the GiB that are reserved
 * before and after them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096, GUARD_INSTALL = 102 };

static char *checked(void *at, const char *what) {
  if (at != MAP_FAILED && at != NULL) return at;
  perror(what);
  exit(1);
}

static char *map(size_t size, int flags, int fd) {
  return checked(mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, 0), "mmap");
}

/* Text that stands nowhere but where it is put: neither in the program nor on the stack. */
static void mark(char *at, const char *name) {
  for (const volatile char *from = "fqwldb`Zhdwn"; *from; ++from) *at++ = *from ^ 5; /* "ctriage_mark" */
  *at++ = '-';
  strcpy(at, name);
}

static void tell(const char *name, const void *at) { printf("%s 0x%lx\n", name, (unsigned long)at); }

static void marked(char *at, const char *name) {
  mark(at, name);
  tell(name, at);
}

static int file(const char *directory, const char *name, char fill) {
  char path[4096], page[4 * PAGE];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  memset(page, fill, sizeof page);
  mark(page + 2 * PAGE, name);
  if (fd < 0 || write(fd, page, sizeof page) != (ssize_t)sizeof page) exit(1);
  return fd;
}

__attribute__((noinline)) void inner_frame(void) {
  for (;;) {
    pause();
    __asm__ volatile("" ::: "memory");
  }
}
__attribute__((noinline)) void middle_frame(void) {
  inner_frame();
  __asm__ volatile("" ::: "memory");
}
__attribute__((noinline)) void outer_frame(void) {
  middle_frame();
  __asm__ volatile("" ::: "memory");
}
__attribute__((noinline)) void *worker_frame(void *nothing) {
  outer_frame();
  __asm__ volatile("" ::: "memory");
  return nothing;
}

int global_number = 0x5ca1ab1e;

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  const size_t resident = (size_t)atoi(argv[2]) << 20, reserve = (size_t)atoi(argv[3]) << 30;
  setvbuf(stdout, NULL, _IOLBF, 0);

  marked(checked(malloc(100), "malloc"), "heap");
  marked(map(2 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1), "anonymous");
  char *none = map(PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  marked(none, "protnone");
  mprotect(none, PAGE, PROT_NONE);
  char *writable = map(PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  marked(writable, "writeonly");
  mprotect(writable, PAGE, PROT_WRITE);
  marked(map(PAGE, MAP_SHARED | MAP_ANONYMOUS, -1), "sharedanonymous");

  int fd = (int)syscall(SYS_memfd_create, "evil", 0);
  if (fd < 0 || ftruncate(fd, 4 * PAGE) != 0) return 1;
  marked(map(4 * PAGE, MAP_SHARED, fd) + PAGE, "memfd");
  /* Written to the file, never touched in memory. */
  char block[4 * PAGE];
  memset(block, 'u', sizeof block);
  int untouched = (int)syscall(SYS_memfd_create, "untouched", 0);
  if (untouched < 0 || write(untouched, block, sizeof block) != (ssize_t)sizeof block) return 1;
  tell("untouched", map(sizeof block, MAP_SHARED, untouched));
  int id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
  char *segment = checked(shmat(id, NULL, 0), "shmat");
  shmctl(id, IPC_RMID, NULL);
  marked(segment, "sysv");

  char path[4096];
  char *deleted = map(4 * PAGE, MAP_PRIVATE, file(argv[1], "deleted", 'd'));
  snprintf(path, sizeof path, "%s/deleted", argv[1]);
  unlink(path);
  tell("deleted", deleted + 2 * PAGE);
  char *named = map(4 * PAGE, MAP_PRIVATE, file(argv[1], "named", 'n'));
  marked(named + PAGE, "copied"); /* a page of our own; the others are the file's */
  tell("named", named + 2 * PAGE);
  char *both = map(4 * PAGE, MAP_SHARED, file(argv[1], "sharedfile", 's'));
  tell("sharedfile", both + 2 * PAGE);
  volatile char seen = deleted[2 * PAGE];
  seen = named[2 * PAGE];
  seen = both[2 * PAGE];

  char *split = map(3 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  marked(split, "beforeguard");
  marked(split + 2 * PAGE, "afterguard");
  int guard = madvise(split + PAGE, PAGE, GUARD_INSTALL);
  tell(guard == 0 ? "guard" : "noguard", split + PAGE);

  /* Whoever touches the second page waits for good. */
  char *watched = map(2 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  marked(watched, "userfault");
  int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
  struct uffdio_api api = {.api = UFFD_API};
  struct uffdio_register range = {.range = {(unsigned long)watched, 2 * PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
  if (uffd >= 0 && ioctl(uffd, UFFDIO_API, &api) == 0 && ioctl(uffd, UFFDIO_REGISTER, &range) == 0)
    tell("missing", watched + PAGE);

  char *reserved = map(reserve + resident + PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  madvise(reserved, reserve + resident + PAGE, MADV_NOHUGEPAGE);
  char *area = reserved + reserve / 2;
  uint32_t word = 1;
  for (size_t at = 0; at < resident; at += sizeof word, word = word * 1664525u + 1013904223u)
    memcpy(area + at, &word, sizeof word);
  tell("area", area);
  tell("global", &global_number);
  seen = area[resident]; /* the page of zeros */
  (void)seen;

  pthread_t thread;
  for (int i = 0; i < 2; ++i) {
    if (pthread_create(&thread, NULL, worker_frame, NULL) != 0) return 1;
  }
  usleep(100000);
  puts("ready");
  outer_frame();
  return 0;
}
