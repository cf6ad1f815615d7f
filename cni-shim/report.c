#include "report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const supported_versions[] = {"0.3.1", "0.4.0", "1.0.0", "1.1.0"};
enum { SUPPORTED = sizeof supported_versions / sizeof *supported_versions };

static const char *version = "1.1.0";

static size_t skip_blanks(const unsigned char *text, size_t length, size_t at) {
  while (at < length && (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r')) at++;
  return at;
}

// The agent parses JSON, the shim does not: the first "cniVersion" key is good enough to word its own few answers.
void report_in_version_of(const unsigned char *config, size_t length) {
  static const char key[] = "\"cniVersion\"";
  const unsigned char *found = memmem(config, length, key, sizeof key - 1);
  if (found == NULL) return;
  size_t at = skip_blanks(config, length, (size_t)(found - config) + sizeof key - 1);
  if (at >= length || config[at] != ':') return;
  at = skip_blanks(config, length, at + 1);
  for (size_t i = 0; i < SUPPORTED; i++) {
    size_t bytes = strlen(supported_versions[i]);
    if (length - at < bytes + 2 || config[at] != '"' || config[at + 1 + bytes] != '"') continue;
    if (memcmp(config + at + 1, supported_versions[i], bytes) == 0) version = supported_versions[i];
  }
}

int write_fully(int fd, const void *bytes, size_t length) {
  const char *next = bytes;
  while (length > 0) {
    ssize_t written = write(fd, next, length);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return 0;
    next += written;
    length -= (size_t)written;
  }
  return 1;
}

// Text from outside goes into JSON as ASCII: what is not printable becomes '?'.
static void escape(char *out, size_t room, const char *text) {
  size_t used = 0;
  for (; *text != '\0' && used + 3 < room; text++) {
    unsigned char byte = (unsigned char)*text;
    if (byte == '"' || byte == '\\') out[used++] = '\\';
    out[used++] = byte >= 0x20 && byte < 0x7f ? (char)byte : '?';
  }
  out[used] = '\0';
}

int report_error(enum cni_code code, int details, const char *format, ...) {
  char message[1024];
  char escaped[2 * sizeof message + 4];
  char output[sizeof escaped + 256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  escape(escaped, sizeof escaped, message);
  int length = details == 0 ? snprintf(output, sizeof output, "{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"%s\"}\n",
                                       version, (int)code, escaped)
                            : snprintf(output, sizeof output,
                                       "{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"%s\",\"details\":\"%s\"}\n", version,
                                       (int)code, escaped, strerror(details));
  if (length > 0) write_fully(STDOUT_FILENO, output, (size_t)length);
  return 1;
}

int report_versions(void) {
  char output[256];
  int length = snprintf(output, sizeof output, "{\"cniVersion\":\"%s\",\"supportedVersions\":[", version);
  for (size_t i = 0; i < SUPPORTED; i++) {
    length += snprintf(output + length, sizeof output - (size_t)length, "%s\"%s\"", i == 0 ? "" : ",",
                       supported_versions[i]);
  }
  length += snprintf(output + length, sizeof output - (size_t)length, "]}\n");
  return write_fully(STDOUT_FILENO, output, (size_t)length) ? 0 : 1;
}
