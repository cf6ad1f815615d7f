#include "tombstone.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report.h"

enum { LONGEST_PLAIN_ID = 128, ID_PREFIX = 96 };

static uint64_t fnv1a(uint64_t hash, const char *text) {
  for (; *text != '\0'; text++) hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
  return hash;
}

// "<id>-<ifname>" when that is short and can be taken apart again at its last '-'; else the id's start, '~' (which no id holds) and a
// hash of both. So two attachments never share a file.
static void name_tombstone(char *out, size_t room, const struct invocation *invocation) {
  const char *id = invocation->container_id;
  const char *name = invocation->interface_name;
  if (strlen(id) <= LONGEST_PLAIN_ID && strchr(name, '-') == NULL) {
    snprintf(out, room, "%s-%s", id, name);
  } else {
    uint64_t hash = fnv1a(fnv1a(fnv1a(UINT64_C(0xcbf29ce484222325), id), "/"), name);
    snprintf(out, room, "%.*s~%016" PRIx64 "-%s", ID_PREFIX, id, hash, name);
  }
}

static int write_durably(int directory, const char *name, const struct request *request) {
  int fd = openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return 0;
  int written = write_fully(fd, request->bytes, request->length) && fsync(fd) == 0;
  int error = errno;
  close(fd);
  if (!written) unlinkat(directory, name, 0);
  errno = error;
  return written;
}

int write_tombstone(const char *directory, const struct invocation *invocation, const struct request *request) {
  char plain[256];
  char final[sizeof plain + 8];
  char temporary[sizeof plain + 32];
  name_tombstone(plain, sizeof plain, invocation);
  snprintf(final, sizeof final, "%s.del", plain);
  snprintf(temporary, sizeof temporary, ".%s.%ld", plain, (long)getpid());
  // Only the folder itself is made: where the agent's own folder above it is gone, Weft was taken off this node, and nobody would ever
  // read the request.
  if (mkdir(directory, 0700) < 0 && errno != EEXIST) return errno == ENOENT;
  int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return 0;
  int kept = write_durably(fd, temporary, request);
  if (kept && renameat(fd, temporary, fd, final) < 0) {
    int error = errno;
    unlinkat(fd, temporary, 0);
    errno = error;
    kept = 0;
  }
  kept = kept && fsync(fd) == 0;
  int error = errno;
  close(fd);
  errno = error;
  return kept;
}
