#include "exchange.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "namespace.h"

enum { FIRST_PAUSE_MS = 10, LONGEST_PAUSE_MS = 200 };

static unsigned char reply[RESPONSE_HEADER_BYTES + MAX_RESPONSE_BYTES];

// An agent that restarts: its socket is not there yet, refuses, or has a full queue.
static int may_come_back(int error) { return error == ENOENT || error == ECONNREFUSED || error == EAGAIN; }

/** A connected socket, or -1 with answer->outcome ABSENT or FAILED. */
static int connect_to_agent(const struct exchange *exchange, struct answer *answer) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t length = strlen(exchange->socket_path);
  answer->outcome = FAILED;
  answer->error = ENAMETOOLONG;
  if (length >= sizeof address.sun_path) return -1;
  memcpy(address.sun_path, exchange->socket_path, length);
  for (int64_t pause = FIRST_PAUSE_MS;; pause = pause * 2 > LONGEST_PAUSE_MS ? LONGEST_PAUSE_MS : pause * 2) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) return fd;
    answer->error = errno;
    if (fd >= 0) close(fd);
    if (fd < 0 || !may_come_back(answer->error)) return -1;
    answer->outcome = ABSENT;
    if (!pause_until(exchange->connect_by, pause)) return -1;
    answer->outcome = FAILED;
  }
}

/** Sends once, with the descriptors beside the first byte. */
static ssize_t send_some(int fd, const struct exchange *exchange, size_t sent) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(DESCRIPTORS * sizeof(int))];
  } control;
  struct iovec part = {.iov_base = (void *)(uintptr_t)(exchange->request->bytes + sent),
                       .iov_len = exchange->request->length - sent};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (sent == 0 && exchange->descriptors != NULL) {
    memset(&control, 0, sizeof control);
    control.header.cmsg_len = CMSG_LEN(DESCRIPTORS * sizeof(int));
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(&control.header), exchange->descriptors, DESCRIPTORS * sizeof(int));
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
  }
  return sendmsg(fd, &message, MSG_NOSIGNAL);
}

static enum exchange_outcome send_request(int fd, const struct exchange *exchange) {
  for (size_t sent = 0; sent < exchange->request->length;) {
    ssize_t bytes = send_some(fd, exchange, sent);
    if (bytes > 0) {
      sent += (size_t)bytes;
    } else if (errno == EAGAIN) {
      if (!wait_for(fd, POLLOUT, exchange->deadline)) return LATE;
    } else if (errno != EINTR) {
      return BROKEN;
    }
  }
  return ANSWERED;
}

static enum exchange_outcome receive_exactly(int fd, unsigned char *out, size_t length, instant_ms deadline) {
  while (length > 0) {
    if (!wait_for(fd, POLLIN, deadline)) return LATE;
    ssize_t bytes = recv(fd, out, length, 0);
    if (bytes == 0) return BROKEN;
    if (bytes < 0 && errno != EINTR && errno != EAGAIN) return BROKEN;
    if (bytes > 0) {
      out += bytes;
      length -= (size_t)bytes;
    }
  }
  return ANSWERED;
}

static void converse(int fd, const struct exchange *exchange, struct answer *answer) {
  // An agent that refuses the request early answers and hangs up before it has read all: its answer counts, not our failed send.
  answer->outcome = send_request(fd, exchange);
  if (answer->outcome == LATE) return;
  answer->outcome = receive_exactly(fd, reply, RESPONSE_HEADER_BYTES, exchange->deadline);
  if (answer->outcome != ANSWERED) return;
  answer->outcome = MALFORMED;
  if (!decode_response_header(reply, &answer->response)) return;
  answer->body = reply + RESPONSE_HEADER_BYTES;
  answer->outcome =
      receive_exactly(fd, reply + RESPONSE_HEADER_BYTES, answer->response.length, exchange->deadline);
}

struct answer exchange_with_agent(const struct exchange *exchange) {
  struct answer answer = {.outcome = FAILED};
  int fd = connect_to_agent(exchange, &answer);
  if (fd < 0) return answer;
  answer.error = 0;
  converse(fd, exchange, &answer);
  close(fd);
  return answer;
}
