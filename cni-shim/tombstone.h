// A DEL that no agent heard: its request is kept on disk, durable before the shim reports success, and replayed by the agent.
#ifndef WEFT_TOMBSTONE_H
#define WEFT_TOMBSTONE_H

#include "environment.h"
#include "message.h"

/** Writes <directory>/<containerId>-<ifname>.del, or nothing where the folder above <directory> is missing. False with errno on failure. */
int write_tombstone(const char *directory, const struct invocation *invocation, const struct request *request);

#endif
