/* SPDX-License-Identifier: Apache-2.0
 * flow/wheel.h - when to look at which flow: a timer wheel.
 *
 * The wheel only says "look at this entry now"; whether the flow is due is the meter's to decide.
 * A packet never moves its flow: an entry that is not due when its slot comes is put back. An entry
 * that is dropped stays in its slot until that comes; when it is taken again meanwhile it is in the
 * wheel already, early enough, since nobody is ever queued for later than the wheel's timeout from
 * his queueing. So links are single and live in an array of their own.
 *
 * A meter has two: one for idle and active timeouts, one for the short silence after FIN or RST. */
#ifndef FLOWBUS_FLOW_WHEEL_H
#define FLOWBUS_FLOW_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

enum {
	WHEEL_SLOTS = 1024, /* 134 seconds; what is due later is looked at then and put back */
	WHEEL_SHIFT = 17,   /* a slot is 2^17 us = 131 ms */
};

struct wheel {
	uint32_t *next; /* by entry: next in its slot, WHEEL_END or WHEEL_OUT */
	uint32_t slot[WHEEL_SLOTS];
	uint64_t pos; /* slots up to here have been looked at */
	uint32_t max;
	uint64_t reserved; /* octets of memory */
};

#define WHEEL_END UINT32_MAX
#define WHEEL_OUT (UINT32_MAX - 1)

/** A wheel for @max entries, none of them in it. 0 or -E_NOMEM. */
int wheel_init(struct wheel *w, uint32_t max);
void wheel_fini(struct wheel *w);
/** Forget all entries; the time is @now. */
void wheel_reset(struct wheel *w, int64_t now);

static inline bool
wheel_has(const struct wheel *w, uint32_t i)
{
	return w->next[i] != WHEEL_OUT;
}

/** Look at entry @i (not in the wheel) as soon as the time is later than @due. */
static inline void
wheel_add(struct wheel *w, uint32_t i, int64_t due)
{
	uint64_t at = ((uint64_t)due >> WHEEL_SHIFT) + 1;
	if (at <= w->pos)
		at = w->pos + 1;
	if (at >= w->pos + WHEEL_SLOTS)
		at = w->pos + WHEEL_SLOTS - 1;
	uint32_t *slot = &w->slot[at % WHEEL_SLOTS];
	w->next[i] = *slot;
	*slot = i;
}

/**
 * Take up to @n entries out of slots whose time has come at @now; 0 when there are no more, and
 * then the wheel stands at @now.
 */
unsigned wheel_take(struct wheel *w, int64_t now, uint32_t *out, unsigned n);

#endif
