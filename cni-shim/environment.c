#include "environment.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

enum { MAX_INTERFACE_NAME = 15 };

static const char *const commands[] = {
    [VERB_ADD] = "ADD",       [VERB_DEL] = "DEL", [VERB_CHECK] = "CHECK",
    [VERB_STATUS] = "STATUS", [VERB_GC] = "GC",   [VERB_VERSION] = "VERSION",
};

const char *variable(const char *name, const char *otherwise) {
  const char *value = getenv(name);
  return value == NULL || *value == '\0' ? otherwise : value;
}

static int refuse(const char *name, const char *value, const char *rule) {
  if (value == NULL) {
    report_error(CNI_INVALID_ENVIRONMENT, 0, "%s is missing: %s", name, rule);
  } else {
    report_error(CNI_INVALID_ENVIRONMENT, 0, "%s \"%.128s\" is invalid: %s", name, value, rule);
  }
  return 0;
}

int read_command(struct invocation *invocation) {
  const char *name = variable("CNI_COMMAND", NULL);
  for (size_t i = 0; name != NULL && i < sizeof commands / sizeof *commands; i++) {
    if (strcmp(name, commands[i]) != 0) continue;
    *invocation = (struct invocation){.verb = (enum verb)i, .command = commands[i]};
    return 1;
  }
  return refuse("CNI_COMMAND", name,
                "a container runtime runs this program with ADD, DEL, CHECK, STATUS, GC or VERSION");
}

// Not isalnum: the grammar is ASCII whatever the locale.
static int is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static int container_id_is_valid(const char *id) {
  if (!is_alphanumeric(*id)) return 0;
  for (; *id != '\0'; id++) {
    if (!is_alphanumeric(*id) && *id != '_' && *id != '.' && *id != '-') return 0;
  }
  return 1;
}

static int interface_name_is_valid(const char *name) {
  if (strlen(name) > MAX_INTERFACE_NAME || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return 0;
  for (; *name != '\0'; name++) {
    if (*name == '/' || *name == ':' || isspace((unsigned char)*name)) return 0;
  }
  return 1;
}

static int read_attachment(struct invocation *invocation) {
  const char *id = variable("CNI_CONTAINERID", NULL);
  if (id == NULL || !container_id_is_valid(id)) {
    return refuse("CNI_CONTAINERID", id, "it must start with a letter or digit, then letters, digits, '_', '.', '-'");
  }
  const char *name = variable("CNI_IFNAME", NULL);
  if (name == NULL || !interface_name_is_valid(name)) {
    return refuse("CNI_IFNAME", name,
                  "it must be 1 to 15 characters, not \".\" or \"..\", without '/', ':' and white space");
  }
  const char *netns = variable("CNI_NETNS", NULL);
  int required = invocation->verb != VERB_DEL;
  if (netns == NULL ? required : *netns != '/') {
    return refuse("CNI_NETNS", netns, "it must be the absolute path of the pod's network namespace");
  }
  invocation->container_id = id;
  invocation->interface_name = name;
  invocation->netns = netns;
  return 1;
}

int read_parameters(struct invocation *invocation) {
  switch (invocation->verb) {
    case VERB_ADD:
    case VERB_DEL:
    case VERB_CHECK:
      return read_attachment(invocation);
    case VERB_GC:
      if (variable("CNI_PATH", NULL) != NULL) return 1;
      return refuse("CNI_PATH", NULL, "GC requires the list of directories with CNI plugins");
    case VERB_STATUS:
    case VERB_VERSION:
      return 1;
  }
  return 0;
}
