#include "deadline.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

instant_ms now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (instant_ms)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

instant_ms earlier_of(instant_ms a, instant_ms b) { return a < b ? a : b; }

int pause_until(instant_ms until, int64_t milliseconds) {
  int64_t left = until - now_ms();
  if (left <= 0) return 0;
  if (milliseconds > left) milliseconds = left;
  struct timespec pause = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000};
  nanosleep(&pause, NULL);
  return 1;
}

int wait_for(int fd, short events, instant_ms until) {
  for (;;) {
    int64_t left = until - now_ms();
    if (left <= 0) return 0;
    struct pollfd entry = {.fd = fd, .events = events, .revents = 0};
    int ready = poll(&entry, 1, left > 60000 ? 60000 : (int)left);
    if (ready > 0) return 1;
    if (ready < 0 && errno != EINTR) return 1;  // the following read or write tells the error
  }
}
