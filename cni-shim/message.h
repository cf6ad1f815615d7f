// The request to the agent, byte for byte as in proto/shim-message.ts: header, CNI_* and WEFT_* variables, stdin.
#ifndef WEFT_MESSAGE_H
#define WEFT_MESSAGE_H

#include <stddef.h>

#include "deadline.h"

enum {
  REQUEST_HEADER_BYTES = 16,
  RESPONSE_HEADER_BYTES = 12,
  MAX_REQUEST_BYTES = 1048576,  // environment and stdin together
  MAX_RESPONSE_BYTES = 1048576,
  PROTOCOL_VERSION = 1
};

struct request {
  size_t length;
  unsigned char bytes[REQUEST_HEADER_BYTES + MAX_REQUEST_BYTES];
};

/** Gathers the environment and stdin. On failure an error has been printed; false. */
int read_request(struct request *request, instant_ms deadline);
void set_descriptor_count(struct request *request, unsigned count);

struct response {
  unsigned status;
  size_t length;
};
/** Decodes a response's header; false when it is none. */
int decode_response_header(const unsigned char *header, struct response *response);

#endif
