#include "namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>

// From linux/magic.h and linux/netlink.h, which musl does not carry.
enum { NSFS_MAGIC = 0x6e736673, ROUTE_FAMILY = 0 };

static int is_namespace_file(int fd) {
  struct statfs info;
  return fstatfs(fd, &info) == 0 && (unsigned long)info.f_type == NSFS_MAGIC;
}

enum namespace_outcome open_namespace(const char *path, int descriptors[DESCRIPTORS]) {
  // O_NONBLOCK: a path that is a FIFO must not hold us.
  int netns = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (netns < 0) {
    return errno == ENOENT || errno == ENOTDIR || errno == ENXIO || errno == ENAMETOOLONG || errno == ELOOP
               ? NAMESPACE_ABSENT
               : NAMESPACE_FAILED;
  }
  if (!is_namespace_file(netns)) {
    close(netns);
    errno = 0;
    return NAMESPACE_ABSENT;
  }
  if (setns(netns, CLONE_NEWNET) < 0) {
    int error = errno;
    close(netns);
    errno = error;
    return error == EINVAL ? NAMESPACE_ABSENT : NAMESPACE_FAILED;  // EINVAL: a namespace of another kind
  }
  int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, ROUTE_FAMILY);
  if (netlink < 0) {
    int error = errno;
    close(netns);
    errno = error;
    return NAMESPACE_FAILED;
  }
  descriptors[NETLINK_DESCRIPTOR] = netlink;
  descriptors[NETNS_DESCRIPTOR] = netns;
  return NAMESPACE_OPENED;
}
