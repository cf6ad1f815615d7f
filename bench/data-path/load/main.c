// load: the load of the data path's benchmark, as one program without dependencies, so that on every side the same work is done in the
// pods. `serve` runs until it is killed; the others print one JSON object.
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "usage: load serve PORT\n"
    "       load stream ADDRESS PORT STREAMS SECONDS            bulk TCP\n"
    "       load knee ADDRESS PORT BYTES SECONDS PACKETS        UDP: the highest rate with at most 1 % loss, searched from PACKETS/s\n"
    "       load rate ADDRESS PORT BYTES SECONDS PACKETS        UDP: at that rate\n"
    "       load round-trip ADDRESS PORT SECONDS                one byte to and fro by UDP\n"
    "       load connect ADDRESS PORT PROCESSES SECONDS         TCP: connect, one byte each way, close\n";

uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void sleep_until(uint64_t at_ns) {
  struct timespec at = {(time_t)(at_ns / 1000000000), (long)(at_ns % 1000000000)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR) continue;
}

int check(int result, const char *action) {
  if (result >= 0) return result;
  fprintf(stderr, "load: cannot %s: %s\n", action, strerror(errno));
  exit(1);
}

struct sockaddr_in address_of(const char *address, int port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  check(inet_aton(address, &to.sin_addr) - 1, "read the address");
  return to;
}

int connect_to(const char *address, int port, int type) {
  struct sockaddr_in to = address_of(address, port);
  int connected = check(socket(AF_INET, type, 0), "make a socket");
  check(connect(connected, (struct sockaddr *)&to, sizeof to), "connect");
  return connected;
}

struct received ask(int control) {
  struct received answer;
  check((int)write(control, "?", 1), "ask the server");
  ssize_t bytes = recv(control, &answer, sizeof answer, MSG_WAITALL);
  check(bytes == sizeof answer ? 0 : -1, "hear the server's answer");
  return answer;
}

int main(int count, char **words) {
  static const struct {
    const char *name;
    int words;
    void (*run)(const char *address, int port, char **words);
  } commands[] = {
      {"stream", 6, run_streams},
      {"knee", 7, find_knee},
      {"rate", 7, send_at_rate},
      {"round-trip", 5, measure_round_trips},
      {"connect", 6, count_connections},
  };
  if (count == 3 && strcmp(words[1], "serve") == 0) serve(atoi(words[2]));
  for (size_t at = 0; at < sizeof commands / sizeof *commands; at++) {
    if (count != commands[at].words || strcmp(words[1], commands[at].name) != 0) continue;
    commands[at].run(words[2], atoi(words[3]), words + 4);
    return 0;
  }
  fputs(usage, stderr);
  return 1;
}
