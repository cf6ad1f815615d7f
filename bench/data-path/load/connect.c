// Short TCP connections: connect, a byte each way, wait for the server's close, close. Some processes at once, each one after another.
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_PROCESSES = 64 };

struct tally {
  uint64_t done;
  uint64_t failed;
};

static void connect_until(const char *address, int port, uint64_t end, struct tally *tally) {
  struct sockaddr_in to = address_of(address, port);
  while (now_ns() < end) {
    char byte = 'x';
    int connection = check(socket(AF_INET, SOCK_STREAM, 0), "make a socket");
    int is_done = connect(connection, (struct sockaddr *)&to, sizeof to) == 0 &&
                  send(connection, &byte, 1, MSG_NOSIGNAL) == 1 && read(connection, &byte, 1) == 1 &&
                  read(connection, &byte, 1) == 0;
    close(connection);
    if (is_done) tally->done++;
    else tally->failed++;
  }
}

void count_connections(const char *address, int port, char **words) {
  int processes = atoi(words[0]);
  check(processes >= 1 && processes <= MOST_PROCESSES ? 0 : -1, "start so many processes");
  struct tally *tallies =
      mmap(NULL, MOST_PROCESSES * sizeof *tallies, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  check(tallies == MAP_FAILED ? -1 : 0, "share memory");
  uint64_t start = now_ns();
  uint64_t end = start + (uint64_t)(atof(words[1]) * 1e9);
  for (int process = 0; process < processes; process++) {
    if (check(fork(), "start a process") != 0) continue;
    connect_until(address, port + SHORT_PORT, end, &tallies[process]);
    _exit(0);
  }
  while (wait(NULL) > 0) continue;
  double seconds = (double)(now_ns() - start) / 1e9;
  struct tally all = {0};
  for (int process = 0; process < processes; process++) {
    all.done += tallies[process].done;
    all.failed += tallies[process].failed;
  }
  printf("{\"perSecond\":%.1f,\"failed\":%llu}\n", (double)all.done / seconds, (unsigned long long)all.failed);
}
