#include "message.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report.h"

extern char **environ;

static const unsigned char magic[4] = {'W', 'E', 'F', 'T'};

static void put32(unsigned char *at, size_t value) {
  at[0] = (unsigned char)(value >> 24);
  at[1] = (unsigned char)(value >> 16);
  at[2] = (unsigned char)(value >> 8);
  at[3] = (unsigned char)value;
}

static void put16(unsigned char *at, unsigned value) {
  at[0] = (unsigned char)(value >> 8);
  at[1] = (unsigned char)value;
}

static size_t get32(const unsigned char *at) {
  return (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
}

static unsigned get16(const unsigned char *at) { return (unsigned)at[0] << 8 | at[1]; }

// CNI_* and WEFT_* only: the runtime's environment is none of the agent's business. Of a name that is there twice, the one that
// getenv (and so the checks of environment.c) sees.
static int is_passed_on(const char *entry) {
  const char *equals = strchr(entry, '=');
  char name[64];
  size_t length = equals == NULL ? 0 : (size_t)(equals - entry);
  if (length == 0 || length >= sizeof name) return 0;
  if (strncmp(entry, "CNI_", 4) != 0 && strncmp(entry, "WEFT_", 5) != 0) return 0;
  memcpy(name, entry, length);
  name[length] = '\0';
  return getenv(name) == equals + 1;
}

/** Bytes of the environment section, or -1 when it does not fit. */
static ssize_t gather_environment(unsigned char *out, size_t room) {
  size_t used = 0;
  for (char **entry = environ; *entry != NULL; entry++) {
    if (!is_passed_on(*entry)) continue;
    size_t bytes = strlen(*entry) + 1;
    if (bytes > room - used) return -1;
    memcpy(out + used, *entry, bytes);
    used += bytes;
  }
  return (ssize_t)used;
}

static int too_large(void) {
  report_error(CNI_INVALID_CONFIG, 0,
               "The network configuration on stdin is too large: with the CNI variables it must fit %d bytes",
               MAX_REQUEST_BYTES);
  return 0;
}

/** Bytes of stdin, or -1 with an error printed. */
static ssize_t gather_stdin(unsigned char *out, size_t room, instant_ms deadline) {
  size_t used = 0;
  for (;;) {
    unsigned char beyond;
    int full = used == room;
    if (!wait_for(STDIN_FILENO, POLLIN, deadline)) {
      report_error(CNI_IO, 0, "The container runtime did not close stdin in time: the network configuration is incomplete");
      return -1;
    }
    ssize_t bytes = full ? read(STDIN_FILENO, &beyond, 1) : read(STDIN_FILENO, out + used, room - used);
    if (bytes == 0) return (ssize_t)used;
    if (bytes > 0 && full) {
      too_large();
      return -1;
    }
    if (bytes > 0) used += (size_t)bytes;
    if (bytes < 0 && errno != EINTR && errno != EAGAIN) {
      report_error(CNI_IO, errno, "Cannot read the network configuration from stdin");
      return -1;
    }
  }
}

int read_request(struct request *request, instant_ms deadline) {
  unsigned char *payload = request->bytes + REQUEST_HEADER_BYTES;
  ssize_t environment = gather_environment(payload, MAX_REQUEST_BYTES);
  if (environment < 0) return too_large();
  size_t used = (size_t)environment;
  ssize_t config = gather_stdin(payload + used, MAX_REQUEST_BYTES - used, deadline);
  if (config < 0) return 0;
  report_in_version_of(payload + used, (size_t)config);
  memcpy(request->bytes, magic, sizeof magic);
  put16(request->bytes + 4, PROTOCOL_VERSION);
  set_descriptor_count(request, 0);
  put32(request->bytes + 8, used);
  put32(request->bytes + 12, (size_t)config);
  request->length = REQUEST_HEADER_BYTES + used + (size_t)config;
  return 1;
}

void set_descriptor_count(struct request *request, unsigned count) { put16(request->bytes + 6, count); }

int decode_response_header(const unsigned char *header, struct response *response) {
  if (memcmp(header, magic, sizeof magic) != 0 || get16(header + 4) != PROTOCOL_VERSION) return 0;
  response->status = get16(header + 6);
  response->length = get32(header + 8);
  return response->status <= 255 && response->length <= MAX_RESPONSE_BYTES;
}
