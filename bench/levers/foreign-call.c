// The floor of a foreign call: system calls behind Node-API functions in C, numbers in and out, as koffi is called. N-API is a stable
// binary interface; what is used of it is declared here, so that no header package is needed.
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

typedef void *napi_env, *napi_value, *napi_callback_info;
typedef napi_value (*napi_callback)(napi_env, napi_callback_info);
int napi_get_cb_info(napi_env, napi_callback_info, size_t *, napi_value *, napi_value *, void **);
int napi_get_value_int64(napi_env, napi_value, int64_t *);
int napi_create_int32(napi_env, int32_t, napi_value *);
int napi_create_function(napi_env, const char *, size_t, napi_callback, void *, napi_value *);
int napi_set_named_property(napi_env, napi_value, const char *, napi_value);

static int64_t arguments[3];

static void take(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value values[3];
  napi_get_cb_info(env, info, &count, values, NULL, NULL);
  for (size_t at = 0; at < count; at++) napi_get_value_int64(env, values[at], &arguments[at]);
}

static napi_value give(napi_env env, long result) {
  napi_value value;
  napi_create_int32(env, (int32_t)result, &value);
  return value;
}

static napi_value call_getppid(napi_env env, napi_callback_info info) {
  (void)info;
  return give(env, getppid());
}

static napi_value call_sched_yield(napi_env env, napi_callback_info info) {
  (void)info;
  return give(env, sched_yield());
}

static napi_value call_read(napi_env env, napi_callback_info info) {
  take(env, info);
  return give(env, read((int)arguments[0], (void *)arguments[1], (size_t)arguments[2]));
}

static napi_value call_poll(napi_env env, napi_callback_info info) {
  take(env, info);
  return give(env, poll((struct pollfd *)arguments[0], (nfds_t)arguments[1], (int)arguments[2]));
}

napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  static const struct { const char *name; napi_callback call; } functions[] = {
    {"getppid", call_getppid}, {"sched_yield", call_sched_yield}, {"read", call_read}, {"poll", call_poll}};
  for (size_t at = 0; at < sizeof functions / sizeof *functions; at++) {
    napi_value function;
    napi_create_function(env, functions[at].name, (size_t)-1, functions[at].call, NULL, &function);
    napi_set_named_property(env, exports, functions[at].name, function);
  }
  return exports;
}
