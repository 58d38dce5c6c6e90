/* SPDX-License-Identifier: Apache-2.0
 * batch/port.h - what the engine and an endpoint promise each other.
 *
 * Every endpoint type (capture, pcap, subscribe, publish, json, ...) is one `struct port_type`. The
 * engine owns endpoints, their names and states; a type owns what is behind `self`. An input pushes
 * sealed batches into its host; an output is given batches through `take`. Either may be attached
 * and detached at any moment while others run.
 *
 * Life: open (main thread; checks everything that can be checked, opens files and sockets, fails
 * atomically) → start (threads begin) → … → stop → free. After stop returns nothing calls the host
 * any more. */
#ifndef FLOWBUS_BATCH_PORT_H
#define FLOWBUS_BATCH_PORT_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/counter.h"
#include "base/err.h"
#include "batch/batch.h"
#include "batch/stats.h"

struct conf_endpoint;
struct conf_daemon;
struct link;

enum port_direction { PORT_INPUT, PORT_OUTPUT };
enum port_state { PORT_STARTING, PORT_UP, PORT_DEGRADED, PORT_DOWN, PORT_DISABLED };

/** What the engine lends to one endpoint; valid from open until free. Callable from any thread. */
struct port_host {
	void *ctx;
	const char *name;                /* of the endpoint; borrowed */
	uint32_t number;                 /* of the endpoint, not 0: for batch.source */
	const struct conf_daemon *daemon;/* the daemon-wide options; borrowed */
	struct link *link;               /* the link thread; NULL in tests without one */
	/**
	 * Give a sealed batch to every output; always takes it. An output whose queue is full loses
	 * it, counted there. @may_wait: the caller is reading a file and may be held up until the
	 * outputs have room (at most until its own stop is asked for).
	 */
	void (*push)(void *ctx, struct batch **b, bool may_wait);
	/** Publish one second of statistics (copied). */
	void (*second)(void *ctx, const struct stats_second *s);
	/** The endpoint's state changed; @why (copied) is shown by `show endpoints`, "" when up. */
	void (*state)(void *ctx, enum port_state state, const char *why);
	/** An input has come to its end by itself (end of file): all its flows are pushed. Once. */
	void (*ended)(void *ctx, bool failed);
};

/** One row of `show` detail: key and value as JSON-ready text; numbers when @is_number. */
typedef void port_detail_fn(void *arg, const char *key, const char *value, bool is_number);

struct port_type {
	const char *name; /* "capture" */
	enum port_direction direction;
	const char *help; /* one sentence: what ADDRESS is and what it does */
	/**
	 * Check and open. @conf is borrowed for the call only. 0 and *self_out, or -E_* with @err
	 * saying what and what to try, nothing left behind. Main thread.
	 */
	int (*open)(const struct conf_endpoint *conf, const struct port_host *host, void **self_out,
	    struct err *err);
	/** Begin work. 0 or -E_* with @err; then the engine calls free. Main thread. */
	int (*start)(void *self, struct err *err);
	/**
	 * Output only: take a reference's worth of a sealed batch (the callee releases it). Called
	 * from any input's thread; never blocks. False: not taken (queue full, caller keeps it).
	 */
	bool (*take)(void *self, struct batch *b);
	/**
	 * Output only, may be NULL: a batch that was not taken is given up, @flows records are lost.
	 * (Not taken does not say that yet: an input that reads a file tries again.) Any thread.
	 */
	void (*lost)(void *self, uint32_t flows);
	/** Output only, may be NULL: one second of statistics, copied. Any thread, never blocks. */
	void (*second)(void *self, const struct stats_second *s);
	/**
	 * Output only: is anything still queued or unwritten? Used by draining stops. Main
	 * thread.
	 */
	bool (*busy)(void *self);
	/**
	 * End work. Inputs stop reading, end their flows (forced) and push them; outputs write
	 * what they have (@drain, for at most the daemon's stop_timeout) or drop it counted, and
	 * sync. Returns when done. Main thread.
	 */
	void (*stop)(void *self, bool drain);
	void (*free)(void **self);
	/**
	 * Change one option at run time; @conf is the endpoint as it would be after. 0, or -E_*
	 * with @err and nothing changed. NULL: every change needs a new attach. Main thread.
	 */
	int (*set)(void *self, const struct conf_endpoint *conf, const char *option, struct err *err);
	/** Sum of the endpoint's counters over its threads, added into @sum. Main thread. */
	void (*counters)(void *self, uint64_t sum[C_COUNT]);
	/**
	 * Octets it takes at most: what open reserved, and what its options let it grow to. Memory of
	 * libraries, and of the kernel, is not in it. Main thread.
	 */
	uint64_t (*memory)(void *self);
	/** Optional: more rows for `show endpoints NAME`. Main thread. */
	void (*detail)(void *self, port_detail_fn *fn, void *arg);
};

#endif
