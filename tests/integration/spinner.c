/* Two threads whose registers are known: one spins and keeps a mark in r15, the main one waits. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

__attribute__((noinline)) void spin_here(uint64_t mark) {
  __asm__ volatile("movq %0, %%r15\n1: pause\n jmp 1b\n" : : "r"(mark) : "r15");
}

static void *spinner(void *mark) {
  spin_here((uint64_t)mark);
  return NULL;
}

__attribute__((noinline)) void wait_here(void) {
  for (;;) pause();
}

int main(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, spinner, (void *)0x1122334455667788);
  usleep(50000);
  puts("ready");
  fflush(stdout);
  wait_here();
  return 0;
}
