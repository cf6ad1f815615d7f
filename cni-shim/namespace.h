// The pod's network namespace: the shim enters it (the runtime runs it as root) so that the agent needs neither CAP_SYS_ADMIN nor paths.
#ifndef WEFT_NAMESPACE_H
#define WEFT_NAMESPACE_H

enum { NETLINK_DESCRIPTOR = 0, NETNS_DESCRIPTOR = 1, DESCRIPTORS = 2 };

enum namespace_outcome {
  NAMESPACE_OPENED,
  NAMESPACE_ABSENT,  // the path does not exist or is not a network namespace
  NAMESPACE_FAILED   // errno tells why
};

/** Enters the namespace for good and opens both descriptors. */
enum namespace_outcome open_namespace(const char *path, int descriptors[DESCRIPTORS]);

#endif
