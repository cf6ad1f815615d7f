// How long a datagram waits for a process on another core that sleeps, or looks again and again. usage: wake-up MODE SHARED GAP NETNS
//   MODE: poll (sleeps), poll0 (poll with time-out 0), yield (poll0 and sched_yield), recv (recv until it gives something),
//         busy (sleeps, with SO_BUSY_POLL and SO_PREFER_BUSY_POLL)
//   SHARED: 1 = a process that never sleeps shares the receiver's core
//   GAP: microseconds between datagrams; the sender, on core 0, waits for half of it to one and a half
// Each datagram carries its time. Prints p50, p99, p99.9 and most, in ns, and the share
// of its core that the receiver took.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLES = 1500, SKIPPED = 100 };
static int64_t samples[SAMPLES], gap;

static int64_t now(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void pin(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  if (sched_setaffinity(0, sizeof set, &set)) exit(2);
}

static struct sockaddr_in address(const char *host) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(4789)};
  inet_aton(host, &to.sin_addr);
  return to;
}

static void send_all(void) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in to = address("10.7.0.2");
  uint32_t random = 1;
  pin(0);
  for (int sent = 0; sent < SAMPLES + SKIPPED; sent++) {
    random = random * 1664525 + 1013904223;
    int64_t due = now(CLOCK_MONOTONIC) + gap / 2 + (random >> 8) % gap;
    while (now(CLOCK_MONOTONIC) < due) continue;
    int64_t stamp = now(CLOCK_MONOTONIC);
    sendto(fd, &stamp, sizeof stamp, 0, (void *)&to, sizeof to);
  }
}

static int compare(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static pid_t start(void (*work)(void)) {
  pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    work();
    _exit(0);
  }
  return pid;
}

static void burn(void) {
  pin(1);
  for (volatile uint64_t count = 0;; count++) continue;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  gap = atoll(argv[3]) * 1000;
  const char *mode = argv[1];
  int is_sleeping = !strcmp(mode, "poll") || !strcmp(mode, "busy"), is_yielding = !strcmp(mode, "yield");
  int is_polling = strcmp(mode, "recv") != 0;
  pid_t sharer = atoi(argv[2]) ? start(burn) : 0, sender;
  int own = open("/proc/self/ns/net", O_RDONLY), far = open(argv[4], O_RDONLY);
  if (setns(far, CLONE_NEWNET)) return 2;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), microseconds = 50, yes = 1, bytes = 16 << 20;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes)) return 2; // a late receiver loses nothing
  struct sockaddr_in from = address("10.7.0.2");
  if (bind(fd, (void *)&from, sizeof from)) return 2;
  if (!strcmp(mode, "busy")) {
    if (setsockopt(fd, SOL_SOCKET, 46 /* SO_BUSY_POLL */, &microseconds, sizeof microseconds)) return 2;
    if (setsockopt(fd, SOL_SOCKET, 69 /* SO_PREFER_BUSY_POLL */, &yes, sizeof yes)) return 2;
  }
  if (setns(own, CLONE_NEWNET)) return 2;
  alarm(20); // a run takes 2 s; whatever goes wrong must not spin for ever
  sender = start(send_all);
  pin(1);
  int64_t begun = now(CLOCK_MONOTONIC), used = now(CLOCK_PROCESS_CPUTIME_ID);
  struct pollfd entry = {.fd = fd, .events = POLLIN};
  for (int got = 0; got < SAMPLES + SKIPPED;) {
    int64_t stamp;
    if (is_polling && poll(&entry, 1, is_sleeping ? 5000 : 0) == 0) {
      if (is_yielding) sched_yield();
      if (is_sleeping) return 3; // one was lost
      continue;
    }
    if (recv(fd, &stamp, sizeof stamp, 0) != sizeof stamp) continue;
    int64_t late = now(CLOCK_MONOTONIC) - stamp;
    if (got >= SKIPPED) samples[got - SKIPPED] = late;
    got++;
  }
  begun = now(CLOCK_MONOTONIC) - begun, used = now(CLOCK_PROCESS_CPUTIME_ID) - used;
  if (sharer) kill(sharer, SIGKILL);
  waitpid(sender, NULL, 0);
  qsort(samples, SAMPLES, sizeof *samples, compare);
  printf("%ld %ld %ld %ld %.3f\n", samples[SAMPLES / 2], samples[SAMPLES * 99 / 100], samples[SAMPLES * 999 / 1000],
         samples[SAMPLES - 1], (double)used / (double)begun);
}
