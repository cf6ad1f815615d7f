// Bulk TCP: some connections, each filled as fast as it takes. What counts is what the server got between two of its answers; `bytes` is
// all of it from the first to the last, for costs per byte.
#include "load.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_STREAMS = 64, WRITE_BYTES = 128 * 1024 };

static const uint64_t WARM_UP_NS = 300000000;

static struct pollfd streams[MOST_STREAMS];

static void fill_until(int count, uint64_t end_ns) {
  static char zeros[WRITE_BYTES];
  while (now_ns() < end_ns) {
    check(poll(streams, (nfds_t)count, 100), "wait for room");
    for (int at = 0; at < count; at++) {
      if (streams[at].revents == 0) continue;
      ssize_t bytes = send(streams[at].fd, zeros, sizeof zeros, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (bytes < 0 && errno != EAGAIN) check(-1, "send");
    }
  }
}

void run_streams(const char *address, int port, char **words) {
  int count = atoi(words[0]);
  uint64_t span_ns = (uint64_t)(atof(words[1]) * 1e9);
  check(count >= 1 && count <= MOST_STREAMS ? 0 : -1, "run so many streams");
  int control = connect_to(address, port, SOCK_STREAM);
  struct received before = ask(control);
  for (int at = 0; at < count; at++) {
    streams[at] = (struct pollfd){connect_to(address, port, SOCK_STREAM), POLLOUT, 0};
  }
  fill_until(count, now_ns() + WARM_UP_NS);
  struct received start = ask(control);
  fill_until(count, now_ns() + span_ns);
  struct received end = ask(control);
  double seconds = (double)(end.now_ns - start.now_ns) / 1e9;
  printf("{\"gbps\":%.4f,\"seconds\":%.4f,\"bytes\":%llu}\n", (double)(end.bytes - start.bytes) * 8 / 1e9 / seconds,
         seconds, (unsigned long long)(end.bytes - before.bytes));
}
