/* SPDX-License-Identifier: Apache-2.0
 * base/counter.c - the counter table, and reading a set as one unit. */
#include "base/counter.h"

#include "base/clock.h"

#define KIND_IN CK_IN
#define KIND_OUT CK_OUT
#define KIND_LOST CK_LOST
#define KIND_INFO CK_INFO

enum { SPINS = 64, STEP_US = 20, PATIENCE_US = 1000000 };

const struct counter_info counter_info[C_COUNT] = {
#define COUNTER(id, unit, kind, text, ...) \
	{#id, #unit, text, "" __VA_ARGS__, KIND_##kind},
#include "flowbus/counters.def"
};

/*
 * Nobody was inside when `ended` was read, and nobody has begun since, if `begun` read last equals
 * `ended` read first: neither ever falls, and `ended` is never ahead. A value that was seen too
 * early was a release store behind its begin, so that begin is seen here.
 */
bool
counters_try(const struct counters *c, uint64_t out[C_COUNT])
{
	uint64_t ended = atomic_load_explicit(&c->ended, memory_order_acquire);
	for (int i = 0; i < C_COUNT; i++)
		out[i] = atomic_load_explicit(&c->v[i], memory_order_acquire);
	return atomic_load_explicit(&c->begun, memory_order_acquire) == ended;
}

bool
counters_read(const struct counters *c, uint64_t sum[C_COUNT])
{
	uint64_t copy[C_COUNT], give_up = 0;
	bool is_whole = counters_try(c, copy);
	for (unsigned n = 0; !is_whole; n++) {
		if (n >= SPINS) {
			uint64_t now = clock_mono_us();
			give_up = give_up == 0 ? now + PATIENCE_US : give_up;
			if (now >= give_up)
				break;
			clock_sleep_us(STEP_US);
		}
		is_whole = counters_try(c, copy);
	}
	for (int i = 0; i < C_COUNT; i++)
		sum[i] += copy[i];
	return is_whole;
}
