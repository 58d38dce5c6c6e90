/* SPDX-License-Identifier: Apache-2.0
 * base/counter.h - counters from counters.def: written without a lock, read as one unit.
 *
 * A set belongs to one thread of one endpoint, or to a few that add with atomic operations. A
 * change of several counters that belong together (an equation of the ledger) stands between a
 * begin and an end; counters_read gives a copy in which every such change is there as a whole or
 * not at all. The writer pays two stores; only the reader tries again. */
#ifndef FLOWBUS_BASE_COUNTER_H
#define FLOWBUS_BASE_COUNTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum counter {
#define COUNTER(id, unit, kind, text, ...) C_##id,
#include "flowbus/counters.def"
	C_COUNT
};

enum counter_kind { CK_IN, CK_OUT, CK_LOST, CK_INFO };

struct counter_info {
	const char *name, *unit, *text;
	const char *advice; /* of a loss: what to do about it, naming the option; else "" */
	enum counter_kind kind;
};

extern const struct counter_info counter_info[C_COUNT];

struct counters {
	_Alignas(64) _Atomic uint64_t v[C_COUNT];
	_Atomic uint64_t begun, ended; /* changes of several counters */
};

/* Stores are releases (a plain move on x86): who sees a value also sees its change begun. */

/** The owner adds; a plain load and store, no locked instruction. */
static inline void
counter_add(struct counters *c, enum counter id, uint64_t n)
{
	uint64_t v = atomic_load_explicit(&c->v[id], memory_order_relaxed);
	atomic_store_explicit(&c->v[id], v + n, memory_order_release);
}

static inline void
counter_set(struct counters *c, enum counter id, uint64_t v)
{
	atomic_store_explicit(&c->v[id], v, memory_order_release);
}

/** Add (or, with a negative number, subtract) where several threads do. */
static inline void
counter_add_shared(struct counters *c, enum counter id, int64_t n)
{
	atomic_fetch_add_explicit(&c->v[id], (uint64_t)n, memory_order_release);
}

static inline uint64_t
counter_get(const struct counters *c, enum counter id)
{
	return atomic_load_explicit(&c->v[id], memory_order_relaxed);
}

/** The only writer begins and ends a change. */
static inline void
counters_begin(struct counters *c)
{
	uint64_t n = atomic_load_explicit(&c->begun, memory_order_relaxed);
	atomic_store_explicit(&c->begun, n + 1, memory_order_relaxed);
}

static inline void
counters_end(struct counters *c)
{
	uint64_t n = atomic_load_explicit(&c->ended, memory_order_relaxed);
	atomic_store_explicit(&c->ended, n + 1, memory_order_release);
}

/** The same where several threads write (all of them this way). Once a batch, not per packet. */
static inline void
counters_begin_shared(struct counters *c)
{
	atomic_fetch_add_explicit(&c->begun, 1, memory_order_acq_rel);
}

static inline void
counters_end_shared(struct counters *c)
{
	atomic_fetch_add_explicit(&c->ended, 1, memory_order_release);
}

/** Copy the set if no change is under way; false: one is, @out is of no use. Never waits. */
bool counters_try(const struct counters *c, uint64_t out[C_COUNT]);
/**
 * Add a copy to @sum, trying again while changes are under way; may sleep. False when there was
 * no quiet moment within a second (a writer that does not get the processor): then the numbers
 * are right one by one, and may not add up.
 */
bool counters_read(const struct counters *c, uint64_t sum[C_COUNT]);

#endif
