// The server's side: processes of its own for what must not wait for bulk data.
//   port      TCP and UDP: counts what arrives. A TCP connection whose first byte is '?' asks how much it is, by each byte that it sends.
//   port + 1  UDP: sends back what it gets
//   port + 2  TCP: reads a byte, answers with one, closes
#include "load.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  DESCRIPTORS = 1024,
  READ_BYTES = 256 * 1024,
  DATAGRAMS = 64,
  DATAGRAM_BYTES = 2048,
  BATCHES = 8,
  QUEUE_BYTES = 8 << 20,
  BACKLOG = 1024,
  SHORT_PROCESSES = 8,
};

enum role { UNKNOWN, BULK, CONTROL };

static struct received received;
static enum role roles[DESCRIPTORS];
static char buffer[READ_BYTES];

static int bound(int port, int type) {
  int descriptor = check(socket(AF_INET, type, 0), "make a socket");
  int on = 1;
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  check(setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "set SO_REUSEADDR");
  check(bind(descriptor, (struct sockaddr *)&any, sizeof any), "bind");
  if (type == SOCK_STREAM) check(listen(descriptor, BACKLOG), "listen");
  return descriptor;
}

/** False where nothing waited. */
static int take_datagrams(int descriptor) {
  static char rooms[DATAGRAMS][DATAGRAM_BYTES];
  static struct iovec pieces[DATAGRAMS];
  static struct mmsghdr messages[DATAGRAMS];
  for (int at = 0; at < DATAGRAMS; at++) {
    pieces[at] = (struct iovec){rooms[at], DATAGRAM_BYTES};
    messages[at].msg_hdr = (struct msghdr){.msg_iov = &pieces[at], .msg_iovlen = 1};
  }
  int count = recvmmsg(descriptor, messages, DATAGRAMS, MSG_DONTWAIT, NULL);
  for (int at = 0; at < count; at++) received.bytes += messages[at].msg_len;
  if (count > 0) received.datagrams += (uint64_t)count;
  return count == DATAGRAMS;
}

static void take_bytes(int descriptor) {
  ssize_t bytes = recv(descriptor, buffer, sizeof buffer, MSG_DONTWAIT);
  if (bytes < 0 && errno == EAGAIN) return;
  if (bytes <= 0) {
    roles[descriptor] = UNKNOWN;
    close(descriptor);
    return;
  }
  if (roles[descriptor] == UNKNOWN) roles[descriptor] = buffer[0] == '?' ? CONTROL : BULK;
  if (roles[descriptor] == BULK) {
    received.bytes += (uint64_t)bytes;
    return;
  }
  received.now_ns = now_ns();
  send(descriptor, &received, sizeof received, MSG_NOSIGNAL);
}

static void watch(int watcher, int descriptor) {
  struct epoll_event readable = {.events = EPOLLIN, .data.fd = descriptor};
  check(epoll_ctl(watcher, EPOLL_CTL_ADD, descriptor, &readable), "watch a socket");
}

static void count_all(int port) {
  int datagrams = bound(port, SOCK_DGRAM);
  int listener = bound(port, SOCK_STREAM);
  int watcher = check(epoll_create1(0), "make an epoll");
  int bytes = QUEUE_BYTES;
  check(setsockopt(datagrams, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes), "size the queue");
  watch(watcher, datagrams);
  watch(watcher, listener);
  for (;;) {
    struct epoll_event events[16];
    int count = epoll_wait(watcher, events, 16, -1);
    for (int at = 0; at < count; at++) {
      int descriptor = events[at].data.fd;
      if (descriptor == listener) {
        int connection = accept(listener, NULL, NULL);
        check(connection < DESCRIPTORS ? 0 : -1, "accept so many connections");
        if (connection >= 0) watch(watcher, connection);
      } else if (descriptor == datagrams) {
        for (int batch = 0; batch < BATCHES && take_datagrams(datagrams); batch++) continue;
      } else {
        take_bytes(descriptor);
      }
    }
  }
}

static void echo_all(int port) {
  int descriptor = bound(port, SOCK_DGRAM);
  for (;;) {
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    ssize_t bytes = recvfrom(descriptor, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &length);
    if (bytes > 0) sendto(descriptor, buffer, (size_t)bytes, 0, (struct sockaddr *)&from, length);
  }
}

static void answer_shortly(int listener) {
  for (;;) {
    int connection = accept(listener, NULL, NULL);
    if (connection < 0) continue;
    if (read(connection, buffer, 1) == 1) send(connection, buffer, 1, MSG_NOSIGNAL);
    close(connection);
  }
}

/** True in the new process, which ends with this one. */
static int branch(void) {
  if (check(fork(), "start a process") != 0) return 0;
  check(prctl(PR_SET_PDEATHSIG, SIGKILL), "end with the parent");
  return 1;
}

void serve(int port) {
  int listener = bound(port + SHORT_PORT, SOCK_STREAM);
  if (branch()) echo_all(port + ECHO_PORT);
  for (int process = 0; process < SHORT_PROCESSES; process++) {
    if (branch()) answer_shortly(listener);
  }
  count_all(port);
}
