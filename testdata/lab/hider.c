// Ways in which a process keeps out of a list of processes, descriptors or arguments. Harmless; for
// tests/integration/test_hiding.py.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

static void wait_forever(void) { for (;;) sleep(1000); }

static void listen_on(int port) {
  int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
  setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(s, (void *)&a, sizeof a) || listen(s, 4)) perror("bind");
}

static void *listen_in_thread(void *port) { listen_on((int)(long)port); wait_forever(); return NULL; }

static void *own_table(void *port) {  // a descriptor table of its own
  unshare(CLONE_FILES);
  listen_on((int)(long)port);
  int d = open("/root/.loot", O_RDWR | O_CREAT, 0600);
  if (write(d, "loot", 4) < 0) perror("loot");
  unlink("/root/.loot");
  wait_forever();
  return NULL;
}

static void *own_spaces(void *port) {  // network and mounts of its own
  if (unshare(CLONE_NEWNET | CLONE_NEWNS)) perror("unshare");
  listen_on((int)(long)port);
  wait_forever();
  return NULL;
}

static void *idle(void *none) { wait_forever(); return none; }

static void missing_arguments(char **argv) {  // run again with a page and more of them, which then never come
  if (!getenv("BIG")) {
    static char argument[20000], variable[20000];
    memset(argument, 'A', sizeof argument - 1);
    memset(variable, 'B', sizeof variable - 1);
    memcpy(variable, "BIG=", 4);
    char *av[] = {argv[0], argv[1], argument, NULL}, *ev[] = {variable, NULL};
    execve(argv[0], av, ev);
    perror("exec");
    exit(1);
  }
  int u = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
  struct uffdio_api api = {.api = UFFD_API};
  unsigned long from = ((unsigned long)argv[2] + 4095) & ~4095UL, to = ((unsigned long)environ[0] + 19000) & ~4095UL;
  struct uffdio_register range = {.range = {from, to - from}, .mode = UFFDIO_REGISTER_MODE_MISSING};
  if (u < 0 || ioctl(u, UFFDIO_API, &api) || ioctl(u, UFFDIO_REGISTER, &range)) _exit(77);
  if (madvise((void *)from, to - from, MADV_DONTNEED)) perror("madvise");
  for (;;) pause();
}

int main(int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : "";
  const long number = argc > 2 ? atol(argv[2]) : 0;
  pthread_t thread;
  if (!strcmp(mode, "listen")) { listen_on((int)number); wait_forever(); }
  if (!strcmp(mode, "leader-ends")) {
    pthread_create(&thread, NULL, listen_in_thread, (void *)number);
    usleep(100000);
    pthread_exit(NULL);
  }
  if (!strcmp(mode, "own-table")) { pthread_create(&thread, NULL, own_table, (void *)number); wait_forever(); }
  if (!strcmp(mode, "own-spaces")) { pthread_create(&thread, NULL, own_spaces, (void *)number); wait_forever(); }
  if (!strcmp(mode, "threads")) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    for (long i = 0; i < number; ++i) if (pthread_create(&thread, &small, idle, NULL)) break;
    wait_forever();
  }
  if (!strcmp(mode, "hop")) {  // a new pid every `number` microseconds; nobody is told of the end
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
      if (fork() > 0) _exit(0);
      if (number) usleep((useconds_t)number);
    }
  }
  if (!strcmp(mode, "zombies")) {
    for (long i = 0; i < number; ++i) if (fork() == 0) _exit(0);
    wait_forever();
  }
  if (!strcmp(mode, "missing-arguments")) missing_arguments(argv);
  if (!strcmp(mode, "deep")) {  // a program whose path is longer than a page
    char name[201];
    memset(name, 'd', 200);
    name[200] = 0;
    int in = open("/proc/self/exe", O_RDONLY);
    if (chdir("/tmp")) perror("chdir");
    for (int i = 0; i < 25; ++i) if (mkdir(name, 0755) || chdir(name)) perror(name);
    int out = open("deep", O_WRONLY | O_CREAT, 0755);
    char buf[65536];
    ssize_t n;
    while ((n = read(in, buf, sizeof buf)) > 0) if (write(out, buf, (size_t)n) != n) return 1;
    close(out);
    close(in);
    execl("./deep", "deep", "listen", argv[2], (char *)NULL);
    perror("exec");
  }
  return 1;
}
