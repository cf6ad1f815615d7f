// One request and its reply over the agent's unix socket.
#ifndef WEFT_EXCHANGE_H
#define WEFT_EXCHANGE_H

#include "deadline.h"
#include "message.h"

enum exchange_outcome {
  ANSWERED,
  ABSENT,     // no agent was listening until `connect_by`
  BROKEN,     // the connection ended before the reply was complete
  LATE,       // no reply until `deadline`
  MALFORMED,  // the reply is not of this protocol
  FAILED      // the socket cannot be used at all; `error` tells why
};

struct exchange {
  const char *socket_path;
  const struct request *request;
  const int *descriptors;  // DESCRIPTORS of them, or NULL for none
  instant_ms connect_by;
  instant_ms deadline;
};

struct answer {
  enum exchange_outcome outcome;
  int error;
  struct response response;
  const unsigned char *body;  // static memory
};

struct answer exchange_with_agent(const struct exchange *exchange);

#endif
