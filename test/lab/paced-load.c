/* A paced load of numbered UDP datagrams, for rates that a timer of Node cannot keep. Compiled by the test that uses it.
 *   paced-load send ADDRESS PORT PER_SECOND BYTES    until SIGTERM; then prints {"sent", "failed", "seconds"}
 *   paced-load receive PORT                          prints a line each 100 ms, and all of it on SIGTERM:
 *                                                    {"received", "doubled", "reordered", "highest", "pause_us"}
 * A datagram starts with its number, 64 bits, little-endian. `pause_us` is the longest time between two arrivals. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, DATAGRAM = 2048, TICK_NS = 200000, REPORT_NS = 100000000, SOCKET_BYTES = 256 << 20 };
static const uint64_t MOST = 1ull << 28; /* numbers that the receiver can tell apart */

static volatile sig_atomic_t ended;
static void end(int signal) {
  (void)signal;
  ended = 1;
}

static uint64_t now_ns(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

static int open_socket(void) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0), bytes = SOCKET_BYTES;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
  return fd;
}

static struct mmsghdr messages[BATCH];
static struct iovec pieces[BATCH];
static char datagrams[BATCH][DATAGRAM];

static void prepare(size_t bytes) {
  for (int at = 0; at < BATCH; at++) {
    pieces[at] = (struct iovec){datagrams[at], bytes};
    messages[at].msg_hdr = (struct msghdr){.msg_iov = &pieces[at], .msg_iovlen = 1};
  }
}

static int send_load(char **arguments) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[1]))};
  inet_pton(AF_INET, arguments[0], &to.sin_addr);
  const double per_ns = atof(arguments[2]) / 1e9;
  int fd = open_socket();
  if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) return perror("connect"), 1;
  prepare((size_t)atoi(arguments[3]));
  uint64_t sent = 0, failed = 0, start = now_ns(), tick = start;
  while (!ended) {
    tick += TICK_NS;
    struct timespec until = {(time_t)(tick / 1000000000), (long)(tick % 1000000000)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    uint64_t now = now_ns();
    uint64_t due = (uint64_t)((double)(now - start) * per_ns);
    while (sent < due) { /* also what is late: the rate holds on average */
      int count = due - sent < BATCH ? (int)(due - sent) : BATCH;
      for (int at = 0; at < count; at++) {
        uint64_t number = sent + (uint64_t)at;
        memcpy(datagrams[at], &number, sizeof number);
      }
      int taken = sendmmsg(fd, messages, (unsigned)count, 0);
      if (taken < 0) failed++, taken = 1; /* the first was refused: it is one of the lost */
      sent += (uint64_t)taken;
    }
  }
  printf("{\"sent\":%llu,\"failed\":%llu,\"seconds\":%.3f}\n", (unsigned long long)sent, (unsigned long long)failed,
         (double)(now_ns() - start) / 1e9);
  return 0;
}

static int receive_load(char **arguments) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[0]))};
  int fd = open_socket();
  struct timeval bound = {0, REPORT_NS / 1000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
  if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0) return perror("bind"), 1;
  uint8_t *seen = calloc(MOST / 8, 1);
  uint64_t received = 0, doubled = 0, reordered = 0, highest = 0, pause = 0, last = 0, reported = 0;
  setvbuf(stdout, NULL, _IOLBF, 0);
  prepare(DATAGRAM);
  for (;;) {
    int count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
    uint64_t now = now_ns();
    if (count > 0) {
      if (last != 0 && now - last > pause) pause = now - last;
      last = now;
    }
    for (int index = 0; index < count; index++) {
      uint64_t number;
      memcpy(&number, datagrams[index], sizeof number);
      if (number >= MOST) continue;
      if (seen[number / 8] & 1 << number % 8) {
        doubled++;
        continue;
      }
      seen[number / 8] |= (uint8_t)(1 << number % 8);
      received++;
      if (number < highest) reordered++;
      else highest = number;
    }
    if (now - reported < REPORT_NS && !ended) continue;
    reported = now;
    printf("{\"received\":%llu,\"doubled\":%llu,\"reordered\":%llu,\"highest\":%llu,\"pause_us\":%llu}\n",
           (unsigned long long)received, (unsigned long long)doubled, (unsigned long long)reordered,
           (unsigned long long)highest, (unsigned long long)(pause / 1000));
    if (ended) return 0;
  }
}

int main(int count, char **arguments) {
  struct sigaction action = {.sa_handler = end};
  sigaction(SIGTERM, &action, NULL);
  if (count == 6 && strcmp(arguments[1], "send") == 0) return send_load(arguments + 2);
  if (count == 3 && strcmp(arguments[1], "receive") == 0) return receive_load(arguments + 2);
  fprintf(stderr, "usage: paced-load send ADDRESS PORT PER_SECOND BYTES | receive PORT\n");
  return 2;
}
