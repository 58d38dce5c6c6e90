/* SPDX-License-Identifier: Apache-2.0
 * base/counter.h - counters from counters.def: one writer, any reader, no lock.
 *
 * A set belongs to one thread of one endpoint. Readers may see a value a moment old, never a torn
 * one. */
#ifndef FLOWBUS_BASE_COUNTER_H
#define FLOWBUS_BASE_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

enum counter {
#define COUNTER(id, unit, kind, text) C_##id,
#include "flowbus/counters.def"
	C_COUNT
};

enum counter_kind { CK_IN, CK_OUT, CK_LOST, CK_INFO };

struct counter_info {
	const char *name, *unit, *text;
	enum counter_kind kind;
};

extern const struct counter_info counter_info[C_COUNT];

struct counters {
	_Alignas(64) _Atomic uint64_t v[C_COUNT];
};

/** The owner adds; a plain load and store, no locked instruction. */
static inline void
counter_add(struct counters *c, enum counter id, uint64_t n)
{
	uint64_t v = atomic_load_explicit(&c->v[id], memory_order_relaxed);
	atomic_store_explicit(&c->v[id], v + n, memory_order_relaxed);
}

static inline void
counter_set(struct counters *c, enum counter id, uint64_t v)
{
	atomic_store_explicit(&c->v[id], v, memory_order_relaxed);
}

static inline uint64_t
counter_get(const struct counters *c, enum counter id)
{
	return atomic_load_explicit(&c->v[id], memory_order_relaxed);
}

#endif
