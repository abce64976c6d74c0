/* At a signal: one page, one protection, the directory, a socket and a file change, and nothing else does. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { kPage = 4096, kPages = 16, kChanged = 5, kProtected = 10 };

int main(void) {
  char* pages = mmap((void*)0x10000000, kPages * kPage, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (pages == MAP_FAILED) return 1;
  for (int i = 0; i < kPages; ++i) memset(pages + i * kPage, 'a' + i, kPage);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, NULL);
  write(1, "changing page is up\n", 20);
  int signal_number;
  sigwait(&set, &signal_number);
  pages[kChanged * kPage + 77] = '!';
  if (mprotect(pages + kProtected * kPage, kPage, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) return 2;
  if (chdir("/tmp") != 0) return 3;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(4711), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr*)&at, sizeof at) != 0 || listen(listener, 1) != 0) return 4;
  if (open("/etc/group", O_RDONLY) < 0) return 5;
  close(open("/tmp/changed", O_WRONLY | O_CREAT, 0600));
  for (;;) pause();
}
