// The CNI environment (CNI spec 1.1, section 2, "Parameters"): which variable each verb requires and what it may hold.
#ifndef WEFT_ENVIRONMENT_H
#define WEFT_ENVIRONMENT_H

enum verb { VERB_ADD, VERB_DEL, VERB_CHECK, VERB_STATUS, VERB_GC, VERB_VERSION };

struct invocation {
  enum verb verb;
  const char *command;
  // NULL where the verb has none; `netns` also for a DEL that came without a namespace.
  const char *container_id;
  const char *interface_name;
  const char *netns;
};

/** Reads CNI_COMMAND. On failure an error has been printed; false. */
int read_command(struct invocation *invocation);
/** Reads and checks what the command requires. On failure an error has been printed; false. */
int read_parameters(struct invocation *invocation);
/** The variable's value, or `otherwise` when it is missing or empty. */
const char *variable(const char *name, const char *otherwise);

#endif
