// weft: the CNI plugin that container runtimes execute (CNI spec 1.1). It holds no policy: it checks the CNI environment, opens a
// netlink socket inside the pod's network namespace, hands it to the node's agent with the request, and prints the agent's answer.
// What it decides by itself is only what to say while no agent answers, within a deadline of its own.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "deadline.h"
#include "environment.h"
#include "exchange.h"
#include "message.h"
#include "namespace.h"
#include "report.h"
#include "tombstone.h"

enum {
  OVERALL_MS = 45000,  // below the shortest limit that runtimes are known to set, 60 s
  CONNECT_MS = 10000,  // an agent that restarts is back long before
  DEL_CONNECT_MS = 2000,
  STATUS_CONNECT_MS = 1000,  // covers a restart of control; longer would hide an agent that is gone
  STATUS_OVERALL_MS = 10000
};

struct times {
  instant_ms connect_by;
  instant_ms deadline;
};

static instant_ms overall_limit(void) {
  const char *text = variable("WEFT_CNI_DEADLINE_MS", NULL);
  long value = text == NULL ? 0 : strtol(text, NULL, 10);
  return value > 0 && value < OVERALL_MS ? value : OVERALL_MS;
}

static struct times limits(enum verb verb, instant_ms start) {
  instant_ms deadline = start + overall_limit();
  instant_ms short_deadline = earlier_of(deadline, start + STATUS_OVERALL_MS);
  switch (verb) {
    case VERB_DEL:
      return (struct times){earlier_of(deadline, start + DEL_CONNECT_MS), deadline};
    case VERB_STATUS:
      return (struct times){earlier_of(deadline, start + STATUS_CONNECT_MS), short_deadline};
    case VERB_VERSION:
      return (struct times){start, short_deadline};
    case VERB_ADD:
    case VERB_CHECK:
    case VERB_GC:
      break;
  }
  return (struct times){earlier_of(deadline, start + CONNECT_MS), deadline};
}

static int bury(const struct invocation *invocation, struct request *request) {
  const char *directory = variable("WEFT_TOMBSTONE_DIR", "/var/lib/weft/tombstones");
  set_descriptor_count(request, 0);
  if (write_tombstone(directory, invocation, request)) return 0;
  return report_error(CNI_IO, errno,
                      "Cannot delete the pod's network now: the Weft agent is not answering and the request cannot be kept "
                      "in %.512s: make room there or start the agent",
                      directory);
}

static const char *what_happened(enum exchange_outcome outcome) {
  switch (outcome) {
    case ABSENT:
      return "is not answering";
    case BROKEN:
      return "went away before it answered";
    case LATE:
      return "did not answer in time";
    case MALFORMED:
      return "answered in another protocol (is this program of the agent's version?)";
    case ANSWERED:
    case FAILED:
      break;
  }
  return "cannot be reached";
}

/** What the runtime hears when there is no answer. */
static int report_silence(const struct invocation *invocation, const struct exchange *exchange, struct answer answer) {
  int try_again = answer.outcome != MALFORMED && answer.outcome != FAILED;
  enum cni_code code = invocation->verb == VERB_STATUS ? CNI_NOT_AVAILABLE : try_again ? CNI_TRY_AGAIN : CNI_IO;
  return report_error(code, answer.error,
                      "%s cannot be done now: the Weft agent on this node %s at %.108s: check `kubectl -n weft get pods -o "
                      "wide` and the log of this node's agent",
                      invocation->command, what_happened(answer.outcome), exchange->socket_path);
}

static int print_answer(struct answer answer) {
  if (!write_fully(STDOUT_FILENO, answer.body, answer.response.length)) return 1;
  return (int)answer.response.status;
}

static int forward(const struct invocation *invocation, struct request *request, const int *descriptors,
                   struct times times) {
  struct exchange exchange = {
      .socket_path = variable("WEFT_CNI_SOCKET", "/run/weft/cni.sock"),
      .request = request,
      .descriptors = descriptors,
      .connect_by = times.connect_by,
      .deadline = times.deadline,
  };
  struct answer answer = exchange_with_agent(&exchange);
  // A DEL may be repeated at will, so a connection that broke is tried again; an ADD may have been half done.
  while (invocation->verb == VERB_DEL && answer.outcome == BROKEN && pause_until(times.connect_by, 50)) {
    answer = exchange_with_agent(&exchange);
  }
  if (answer.outcome == ANSWERED) return print_answer(answer);
  if (invocation->verb == VERB_DEL) return bury(invocation, request);
  if (invocation->verb == VERB_VERSION) return report_versions();
  return report_silence(invocation, &exchange, answer);
}

/** Opens the pod's namespace where the verb needs it. False with an error printed; *opened tells whether there are descriptors. */
static int open_pod(const struct invocation *invocation, int descriptors[DESCRIPTORS], int *opened) {
  *opened = 0;
  if (invocation->netns == NULL) return 1;
  errno = 0;
  enum namespace_outcome outcome = open_namespace(invocation->netns, descriptors);
  *opened = outcome == NAMESPACE_OPENED;
  // A DEL goes on without: the namespace is gone, or may as well be.
  if (*opened || invocation->verb == VERB_DEL) return 1;
  if (outcome == NAMESPACE_ABSENT) {
    report_error(CNI_INVALID_ENVIRONMENT, errno, "CNI_NETNS \"%.512s\" is not a network namespace", invocation->netns);
  } else {
    report_error(CNI_IO, errno, "Cannot enter the network namespace CNI_NETNS \"%.512s\": run the runtime as root",
                 invocation->netns);
  }
  return 0;
}

// A closed standard stream would let a socket take its number, and the answer be written into it.
static void fill_standard_streams(void) {
  for (int fd = open("/dev/null", O_RDWR); fd >= 0; fd = open("/dev/null", O_RDWR)) {
    if (fd > STDERR_FILENO) {
      close(fd);
      return;
    }
  }
}

int main(void) {
  static struct request request;
  struct invocation invocation;
  int descriptors[DESCRIPTORS];
  int opened;
  fill_standard_streams();
  signal(SIGPIPE, SIG_IGN);
  if (!read_command(&invocation)) return 1;
  struct times times = limits(invocation.verb, now_ms());
  if (!read_request(&request, times.deadline) || !read_parameters(&invocation)) return 1;
  if (!open_pod(&invocation, descriptors, &opened)) return 1;
  if (opened) set_descriptor_count(&request, DESCRIPTORS);
  return forward(&invocation, &request, opened ? descriptors : NULL, times);
}
