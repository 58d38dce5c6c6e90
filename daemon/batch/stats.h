/* SPDX-License-Identifier: Apache-2.0
 * batch/stats.h - one second of one interface, whatever the flow timeouts.
 *
 * Counts are of that second; `totals` since the input was attached. `second` is the second
 * described (epoch, of packet time for files). Made by inputs, shown by control, carried by the
 * link. Plain data, copied by value. */
#ifndef FLOWBUS_BATCH_STATS_H
#define FLOWBUS_BATCH_STATS_H

#include <stdbool.h>
#include <stdint.h>

enum { STATS_APPS = 8, STATS_NAME = 32 };

struct stats_app {
	char name[STATS_NAME];
	uint64_t flows; /* ended in this second */
	uint64_t bytes; /* of those flows, both directions */
};

/**
 * The ledger of an input since it was attached, of one moment near the second's end: arrived =
 * seen + drops; seen = metered + non_ip + malformed + no_flow; opened = ended + active; ended =
 * given + batching + lost_batch.
 */
struct stats_totals {
	bool is_known; /* false: who made the second does not say */
	uint64_t drops_if, drops_kernel, seen, metered, non_ip, malformed, no_flow;
	uint64_t opened, ended, active, given, batching, lost_batch;
};

static inline void
stats_totals_add(struct stats_totals *sum, const struct stats_totals *t)
{
	sum->is_known = sum->is_known || t->is_known;
	sum->drops_if += t->drops_if;
	sum->drops_kernel += t->drops_kernel;
	sum->seen += t->seen;
	sum->metered += t->metered;
	sum->non_ip += t->non_ip;
	sum->malformed += t->malformed;
	sum->no_flow += t->no_flow;
	sum->opened += t->opened;
	sum->ended += t->ended;
	sum->active += t->active;
	sum->given += t->given;
	sum->batching += t->batching;
	sum->lost_batch += t->lost_batch;
}

struct stats_second {
	int64_t second;
	char interface[64];    /* name or file */
	char probe[64];        /* set by a subscribe input; empty = this daemon */
	uint64_t packets, bytes;       /* seen by the meter; bytes on the wire */
	uint64_t drops_kernel, drops_if, drops_own; /* lost before the meter, by name of place */
	uint64_t non_ip, malformed;
	uint64_t flows_active; /* at the end of the second */
	uint64_t flows_new, flows_ended;
	uint32_t late_us;      /* how long after the second's end this was made */
	struct stats_totals totals;
	/* where a subscribe input took it from a probe; seconds made here have none of these */
	bool has_peer;
	int64_t clock_offset_us; /* the probe's clock minus ours */
	uint64_t rtt_us, lag_us; /* of the link; lag: how late its oldest undelivered frame is */
	uint32_t n_apps;
	struct stats_app apps[STATS_APPS]; /* by bytes, largest first */
};

#endif
