// One byte to and fro by UDP, the next when the last is back: the path's delay with as little of the programs as there can be.
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { MOST_SAMPLES = 1 << 20, WARM_UP = 200 };

static float samples_us[MOST_SAMPLES];

static int compare(const void *left, const void *right) {
  float a = *(const float *)left;
  float b = *(const float *)right;
  return a < b ? -1 : a > b;
}

static double percentile(int count, double share) {
  if (count == 0) return 0;
  int at = (int)((double)count * share);
  return (double)samples_us[at < count ? at : count - 1];
}

void measure_round_trips(const char *address, int port, char **words) {
  int udp = connect_to(address, port + ECHO_PORT, SOCK_DGRAM);
  struct timeval bound = {.tv_usec = 500000};
  check(setsockopt(udp, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound), "bound the waiting");
  uint64_t end = now_ns() + (uint64_t)(atof(words[0]) * 1e9);
  int count = 0;
  int lost = 0;
  uint8_t turn = 0;
  for (int warm = -WARM_UP; now_ns() < end && count < MOST_SAMPLES; warm++) {
    uint64_t start = now_ns();
    uint8_t answer = (uint8_t)(++turn - 1);
    if (send(udp, &turn, sizeof turn, 0) < 0) continue;
    while (answer != turn && recv(udp, &answer, sizeof answer, 0) > 0) continue;  // a late answer is not this one's
    if (answer != turn) lost++;
    else if (warm >= 0) samples_us[count++] = (float)(now_ns() - start) / 1000;
  }
  qsort(samples_us, (size_t)count, sizeof *samples_us, compare);
  printf("{\"p50\":%.2f,\"p99\":%.2f,\"p999\":%.2f,\"most\":%.2f,\"count\":%d,\"lost\":%d}\n", percentile(count, 0.5),
         percentile(count, 0.99), percentile(count, 0.999), percentile(count, 1), count, lost);
}
