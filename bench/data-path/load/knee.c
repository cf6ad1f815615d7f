// UDP at a paced rate: searches the highest rate that arrives with at most 1 % loss. A rate that fails is tried once more, since one
// pause of the machine is no property of the path; each step halves the distance, as a ratio, between what passed and what failed. Or one
// rate, for as long as is asked.
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, MOST_BYTES = 1472, MOST_TRIALS = 24, QUEUE_BYTES = 8 << 20 };

static const uint64_t TICK_NS = 200000;
/** What could not be sent in time, because others had the core for a turn or two of the scheduler, is sent later; behind this, never. */
static const uint64_t MOST_BEHIND_NS = 20000000;
static const double MOST_LOSS = 0.01;
static const double LEAST_REACHED = 0.9;
static const double FIRST_STEP = 1.3;
static const double LAST_STEP = 1.025;

struct trial {
  double asked;
  double offered;
  double delivered;
  double loss;
};

static struct trial trials[MOST_TRIALS];
static int trial_count;

static void settle(int control, struct received *last) {
  for (int tries = 0; tries < 100; tries++) {
    sleep_until(now_ns() + 10000000);
    struct received next = ask(control);
    int is_still = next.datagrams == last->datagrams;
    *last = next;
    if (is_still) return;
  }
}

static uint64_t send_paced(int udp, size_t bytes, struct trial *trial, uint64_t span_ns) {
  static char payload[MOST_BYTES];
  static struct mmsghdr messages[BATCH];
  struct iovec piece = {payload, bytes};
  for (int at = 0; at < BATCH; at++) messages[at].msg_hdr = (struct msghdr){.msg_iov = &piece, .msg_iovlen = 1};
  uint64_t start = now_ns();
  uint64_t sent = 0;
  uint64_t due_from = start;  // moves when time is given up
  uint64_t due_sent = 0;
  for (uint64_t now = start; now < start + span_ns; sleep_until(now + TICK_NS), now = now_ns()) {
    uint64_t due = (uint64_t)((double)(now - due_from) * trial->asked / 1e9);
    uint64_t most = (uint64_t)((double)MOST_BEHIND_NS * trial->asked / 1e9) + 1;
    if (due > due_sent + most) {
      due_from = now - MOST_BEHIND_NS;
      due_sent = 0;
      due = most;
    }
    while (due_sent < due) {
      unsigned batch = due - due_sent < BATCH ? (unsigned)(due - due_sent) : BATCH;
      int count = sendmmsg(udp, messages, batch, 0);
      if (count <= 0) continue;  // the pod's own queue is full, or an answer of ICMP to an earlier one
      sent += (uint64_t)count;
      due_sent += (uint64_t)count;
    }
  }
  trial->offered = (double)sent * 1e9 / (double)(now_ns() - start);
  return sent;
}

struct search {
  int udp;
  int control;
  size_t bytes;
  uint64_t span_ns;
};

static struct trial *try_once(const struct search *search, double rate) {
  struct trial *trial = &trials[trial_count++];
  *trial = (struct trial){.asked = rate};
  struct received before = ask(search->control);
  struct received after = before;
  uint64_t sent = send_paced(search->udp, search->bytes, trial, search->span_ns);
  settle(search->control, &after);
  double arrived = (double)(after.datagrams - before.datagrams);
  trial->loss = sent == 0 ? 1 : 1 - arrived / (double)sent;
  trial->delivered = trial->offered * (1 - trial->loss);
  return trial;
}

/** Little is lost, and the pod's own program could send that fast. */
static int is_passed(const struct trial *trial) {
  return trial->loss <= MOST_LOSS && trial->offered >= trial->asked * LEAST_REACHED;
}

static struct trial *try_rate(const struct search *search, double rate) {
  struct trial *trial = try_once(search, rate);
  return is_passed(trial) || trial_count == MOST_TRIALS ? trial : try_once(search, rate);
}

/** Between two rates, the same distance from both as a ratio. */
static double between(double low, double high) {
  double rate = low;
  while (rate * rate < low * high) rate *= 1.002;
  return rate;
}

static struct trial find(const struct search *search, double rate) {
  double passed = 0;
  double failed = 0;
  struct trial best = {0};
  while (trial_count < MOST_TRIALS && (passed == 0 || failed == 0 || failed / passed > LAST_STEP)) {
    struct trial *trial = try_rate(search, rate);
    if (trial->loss <= MOST_LOSS && trial->delivered > best.delivered) best = *trial;
    if (is_passed(trial)) passed = rate;
    else failed = rate;
    if (failed == 0) rate = passed * FIRST_STEP;
    else if (passed == 0) rate = failed / FIRST_STEP;
    else rate = between(passed, failed);
  }
  return best;
}

static void print_trial(const struct trial *trial) {
  printf("\"offered\":%.0f,\"delivered\":%.0f,\"loss\":%.5f", trial->offered, trial->delivered, trial->loss);
}

static struct search open_search(const char *address, int port, char **words) {
  struct search search = {.udp = connect_to(address, port, SOCK_DGRAM),
                          .control = connect_to(address, port, SOCK_STREAM),
                          .bytes = (size_t)atoi(words[0]),
                          .span_ns = (uint64_t)(atof(words[1]) * 1e9)};
  int queue_bytes = QUEUE_BYTES;
  check(search.bytes >= 1 && search.bytes <= MOST_BYTES ? 0 : -1, "send datagrams of so many bytes");
  check(setsockopt(search.udp, SOL_SOCKET, SO_SNDBUFFORCE, &queue_bytes, sizeof queue_bytes), "size the queue");
  check(prctl(PR_SET_TIMERSLACK, 1), "sleep exactly");
  return search;
}

void find_knee(const char *address, int port, char **words) {
  struct search search = open_search(address, port, words);
  struct trial best = find(&search, atof(words[2]));
  printf("{");
  print_trial(&best);
  printf(",\"trials\":[");
  for (int at = 0; at < trial_count; at++) {
    printf("%s{\"asked\":%.0f,", at == 0 ? "" : ",", trials[at].asked);
    print_trial(&trials[at]);
    printf("}");
  }
  printf("]}\n");
}

void send_at_rate(const char *address, int port, char **words) {
  struct search search = open_search(address, port, words);
  printf("{");
  print_trial(try_once(&search, atof(words[2])));
  printf("}\n");
}
