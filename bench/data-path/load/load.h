// What the parts of the load program share. Ports of a server, from the one that it was started with: see serve.c.
#ifndef LOAD_H
#define LOAD_H

#include <netinet/in.h>
#include <stdint.h>

enum { ECHO_PORT = 1, SHORT_PORT = 2 };

/** What the server has received since its start, and when it said so. In host order: both ends are one machine. */
struct received {
  uint64_t now_ns;
  uint64_t bytes;
  uint64_t datagrams;
};

uint64_t now_ns(void);
void sleep_until(uint64_t at_ns);
/** Exits with the action and errno where the result is negative; returns it otherwise. */
int check(int result, const char *action);
struct sockaddr_in address_of(const char *address, int port);
int connect_to(const char *address, int port, int type);
/** `control` is connected to the server's port. */
struct received ask(int control);

void serve(int port);
void run_streams(const char *address, int port, char **words);
void find_knee(const char *address, int port, char **words);
void send_at_rate(const char *address, int port, char **words);
void measure_round_trips(const char *address, int port, char **words);
void count_connections(const char *address, int port, char **words);

#endif
