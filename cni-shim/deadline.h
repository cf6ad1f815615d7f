// Time limits as instants of the monotonic clock, in milliseconds.
#ifndef WEFT_DEADLINE_H
#define WEFT_DEADLINE_H

#include <stdint.h>

typedef int64_t instant_ms;

instant_ms now_ms(void);
instant_ms earlier_of(instant_ms a, instant_ms b);
/** Sleeps, never past `until`. False when `until` has come. */
int pause_until(instant_ms until, int64_t milliseconds);
/** Waits for poll(2) events on one descriptor. False when `until` has come first. */
int wait_for(int fd, short events, instant_ms until);

#endif
