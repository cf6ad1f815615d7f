// exec-clock: what a CNI plugin takes of its own. Executes in turns this program, which then does nothing, and the plugin against a peer
// that answers at once; prints for each turn both times, from before fork to the exit, in microseconds. No process library's work is in it.
//   WEFT_CNI_SOCKET=<where the peer listens> CNI_…=… exec-clock TURNS PLUGIN <configuration
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { HEADER_BYTES = 16, MOST_BYTES = 65536, WARM_UP = 20 };

static const char nothing[] = "nothing";
static const char answer_body[] =
    "{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/run/netns/pod\"}],"
    "\"ips\":[{\"address\":\"10.32.0.2/32\",\"interface\":0}]}\n";

static void fail(const char *action) {
  fprintf(stderr, "exec-clock: cannot %s: %s\n", action, strerror(errno));
  exit(1);
}

static size_t get32(const unsigned char *at) {
  return (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
}

/** Reads one request (cni-shim/message.h). Descriptors that come with it are closed by the kernel: no room is offered for them. */
static void read_request(int connection) {
  static unsigned char request[MOST_BYTES];
  size_t used = 0;
  size_t wanted = HEADER_BYTES;
  while (used < wanted) {
    ssize_t bytes = read(connection, request + used, sizeof request - used);
    if (bytes <= 0) return;
    used += (size_t)bytes;
    if (wanted == HEADER_BYTES && used >= HEADER_BYTES) wanted += get32(request + 8) + get32(request + 12);
  }
}

static void answer_all(int listener) {
  unsigned char answer[12 + sizeof answer_body] = {'W', 'E', 'F', 'T', 0, 1};
  answer[11] = sizeof answer_body - 1;
  memcpy(answer + 12, answer_body, sizeof answer_body - 1);
  for (;;) {
    int connection = accept(listener, NULL, NULL);
    if (connection < 0) exit(1);
    read_request(connection);
    send(connection, answer, 12 + sizeof answer_body - 1, MSG_NOSIGNAL);
    close(connection);
  }
}

/** The peer, as a process that ends with this one. */
static pid_t start_peer(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) fail("use WEFT_CNI_SOCKET");
  strcpy(address.sun_path, path);
  unlink(path);
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(listener, (const struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 8) < 0) fail("listen");
  pid_t peer = fork();
  if (peer < 0) fail("fork");
  if (peer == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    answer_all(listener);
  }
  close(listener);
  return peer;
}

static double now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

struct input {
  char bytes[MOST_BYTES / 2];  // a pipe takes it whole
  size_t length;
};

static double time_once(const char *program, const char *word, const struct input *input) {
  int in[2];
  int out[2];
  if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0) fail("make pipes");
  if (write(in[1], input->bytes, input->length) != (ssize_t)input->length) fail("fill a pipe");
  close(in[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  char *words[] = {(char *)(uintptr_t)program, (char *)(uintptr_t)word, NULL};
  pid_t child;
  int status;
  double start = now_us();
  if (posix_spawn(&child, program, &actions, NULL, words, environ) != 0) fail("start the program");
  if (waitpid(child, &status, 0) < 0) fail("wait");
  double spent = now_us() - start;
  posix_spawn_file_actions_destroy(&actions);
  close(in[0]);
  close(out[1]);
  close(out[0]);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return spent;
  fprintf(stderr, "exec-clock: \"%s\" failed with status %d\n", program, status);
  exit(1);
}

int main(int count, char **words) {
  if (count == 2 && strcmp(words[1], nothing) == 0) return 0;
  const char *socket_path = getenv("WEFT_CNI_SOCKET");
  if (count != 3 || socket_path == NULL) {
    fprintf(stderr, "usage: WEFT_CNI_SOCKET=PATH exec-clock TURNS PLUGIN <CONFIGURATION\n");
    return 1;
  }
  static struct input input;
  input.length = fread(input.bytes, 1, sizeof input.bytes, stdin);
  pid_t peer = start_peer(socket_path);
  for (long turn = -WARM_UP; turn < strtol(words[1], NULL, 10); turn++) {
    double floor = time_once("/proc/self/exe", nothing, &input);
    double plugin = time_once(words[2], NULL, &input);
    if (turn >= 0) printf("%.1f %.1f\n", floor, plugin);
  }
  kill(peer, SIGKILL);
  return 0;
}
