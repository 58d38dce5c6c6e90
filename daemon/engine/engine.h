/* SPDX-License-Identifier: Apache-2.0
 * engine/engine.h - endpoints, their life cycle, and the bus between them.
 *
 * The engine runs in the main thread (its loop is base/loop.h). Inputs push sealed batches; the bus
 * hands each to every attached output by reference. Attach and detach are atomic and live: inputs
 * read an immutable list of outputs that is swapped, the old one is freed when no input is in it.
 * All functions: main thread, unless marked. */
#ifndef FLOWBUS_ENGINE_ENGINE_H
#define FLOWBUS_ENGINE_ENGINE_H

#include "base/err.h"
#include "base/loop.h"
#include "batch/port.h"
#include "conf/conf.h"
#include "filter/filter.h"
#include "link/link.h"

struct engine;

struct engine_conf {
	const char *conf_file;       /* NULL: none */
	bool conf_may_miss;          /* the default path may not exist */
	const char *const *attach;   /* --attach texts */
	unsigned n_attach;
	const char *const *set;      /* --set name=value: daemon options from the command line */
	unsigned n_set;
	bool once;                   /* exit when all file inputs have ended and outputs are done */
};

/** argv → running daemon → exit status. What main() calls; registers control/ through @control. */
struct engine_control {
	/** Open the control socket; 0 or -E_* with @err. NULL struct: no control socket. */
	int (*start)(struct engine *e, void **self_out, struct err *err);
	void (*stop)(void **self);
};
int engine_main(int argc, char **argv, const struct engine_control *control);

struct loop *engine_loop(struct engine *e);
struct link *engine_link(struct engine *e); /* NULL: no endpoint needed it yet */
/** Start it for a command on keys. 0 or -E_* with @err. */
int engine_link_start(struct engine *e, struct err *err);
const struct conf_daemon *engine_daemon(const struct engine *e);
const char *engine_name(const struct engine *e);     /* of this node */
int64_t engine_started_us(const struct engine *e);   /* epoch */
const char *engine_version(void);

/** All endpoint types, in the order of the manual; and their names, NULL-terminated. */
const struct port_type *const *engine_types(unsigned *n_out);
const char *const *engine_type_names(void);

/**
 * Attach: takes *conf on success (NULLs it). Atomic. @persistent: from a configuration file.
 * 0 or -E_* with @err.
 */
int engine_attach(struct engine *e, struct conf_endpoint **conf, bool persistent, struct err *err);
int engine_detach(struct engine *e, struct strv name, bool drain, struct err *err);
/** Set options of an endpoint from "option=value" words: all or nothing. */
int engine_set(struct engine *e, struct strv name, const char *const *words, unsigned n,
    struct err *err);
int engine_enable(struct engine *e, struct strv name, bool on, struct err *err);
/** Write run-time endpoints to the state directory. *n_out: how many. */
int engine_save(struct engine *e, unsigned *n_out, struct err *err);
/**
 * Read the configuration again; *changed_out: endpoints attached, changed or detached.
 * @confirm_us: if not 0 it undoes itself after that long unless engine_reload_confirm comes first:
 * all endpoints, those of run time too, and the live daemon options are as they were before it.
 * While one is pending another one and engine_save are refused: -E_BUSY.
 */
int engine_reload(struct engine *e, uint64_t confirm_us, unsigned *changed_out, struct err *err);
/** 0, or -E_NOENT when none is pending. */
int engine_reload_confirm(struct engine *e, struct err *err);
/** Undo the pending one now. 0, -E_NOENT, or -E_PARTLY when something cannot be put back. */
int engine_reload_undo(struct engine *e, unsigned *changed_out, struct err *err);
/** How long the pending one still waits; 0: none is pending. */
uint64_t engine_reload_pending_us(const struct engine *e);

struct engine_endpoint {
	const char *name, *type, *address, *why; /* borrowed until the callback returns */
	enum port_direction direction;
	enum port_state state;
	int64_t since_us;      /* epoch */
	bool persistent;       /* from a file */
	bool ended;            /* a file input that came to its end */
	const struct conf_endpoint *conf;
	uint64_t counters[C_COUNT];
	struct link_end *end;  /* publish, subscribe; else NULL */
};
typedef void engine_endpoint_fn(void *arg, const struct engine_endpoint *ep);
/** Call @fn for each endpoint (or the one of @name). -E_NOENT with @err naming the nearest. */
int engine_endpoints(struct engine *e, struct strv name, engine_endpoint_fn *fn, void *arg,
    struct err *err);
/** More rows of one endpoint from its type. */
int engine_detail(struct engine *e, struct strv name, port_detail_fn *fn, void *arg,
    struct err *err);
const char *port_state_name(enum port_state s);

enum { LEDGER_LOSSES = 8 };
struct ledger_loss {
	const char *name; /* of a counter, or of a cause (link/causes.def) */
	uint64_t n;
};
/**
 * A stage: in = out + held + filtered + lost. Or an equation: `in` and `out` are its two sides, and
 * `difference` is 0 when it is balanced. All texts are borrowed until the callback returns.
 */
struct ledger_row {
	const char *node;     /* who: this daemon, or a probe that told it */
	const char *endpoint; /* of this daemon */
	const char *peer;     /* other end of a link; of packets a probe tells: its interface; or "" */
	const char *ledger;   /* "packets" or "flows" */
	const char *stage, *unit;
	bool is_equation;
	bool is_told;         /* from a message of the probe, not counted here */
	bool is_away;         /* the peer is not connected */
	int64_t told_us;      /* how old that message is */
	uint64_t in, out, held, filtered, lost;
	uint64_t unknown;     /* announcements without a count, or frames missing: more is lost */
	struct ledger_loss loss[LEDGER_LOSSES]; /* what `lost` is made of */
	unsigned n_losses;
	const char *text;     /* of an equation */
	int64_t difference;
};
typedef void engine_ledger_fn(void *arg, const struct ledger_row *r);
/** The ledger of all endpoints, or of one. -E_NOENT, -E_AGAIN (no snapshot) with @err. */
int engine_ledger(struct engine *e, struct strv name, engine_ledger_fn *fn, void *arg,
    struct err *err);

/** One reason for which packets or flows were lost. Texts are borrowed. */
struct engine_loss {
	const char *node, *endpoint;
	const char *cause;        /* name of a counter or cause */
	const char *text, *advice;/* in words, and what to do */
	const char *unit;
	uint64_t n, of;           /* of so many that came; 0 not known */
	bool has_second;
	uint64_t last_second;
	int64_t since_us;         /* epoch; 0 not known */
	bool more;                /* at least that many */
};
typedef void engine_loss_fn(void *arg, const struct engine_loss *l);
void engine_losses(struct engine *e, engine_loss_fn *fn, void *arg);

/**
 * Taps for control's `watch`: a tap is an output of its own with a filter; its callback runs in the
 * main thread. Bounded: what a slow reader does not take is dropped and counted.
 */
struct engine_tap;
typedef void engine_flow_fn(void *arg, const struct batch *b, const uint64_t mask[BATCH_WORDS]);
typedef void engine_second_fn(void *arg, const struct stats_second *s);
/** Takes *filter. NULL without memory. */
struct engine_tap *engine_tap_flows(struct engine *e, struct filter **filter, engine_flow_fn *fn,
    void *arg);
struct engine_tap *engine_tap_stats(struct engine *e, engine_second_fn *fn, void *arg);
/** Records (or seconds) the tap dropped because its queue was full. */
uint64_t engine_tap_lost(const struct engine_tap *t);
void engine_untap(struct engine_tap **t);
/** The newest complete second of every interface of this daemon (and of its probes). */
void engine_seconds(struct engine *e, engine_second_fn *fn, void *arg);
/** State changes and log lines, for `watch events`; one listener list, main thread. */
typedef void engine_event_fn(void *arg, const char *line);
struct engine_listener;
struct engine_listener *engine_listen(struct engine *e, engine_event_fn *fn, void *arg);
void engine_unlisten(struct engine_listener **l);

/** What a filter would have let through of the records that passed lately. Plain data. */
struct engine_test {
	uint64_t asked_us, span_us; /* how far back was asked for; what is known of that */
	bool by_packets;         /* the time of a file's packets decided for some of them */
	uint64_t seen, matched;  /* records in that span */
	uint64_t missed;         /* of that span and not kept: the history was behind */
	/* frames made of what matched, as a collector of all fields would get them */
	enum frame_codec codec;
	uint64_t encoded, frames, bytes_raw, bytes; /* records really encoded; octets scaled to all */
	uint64_t history_bytes, history_flows;      /* kept at all */
	const struct strv *rows; /* some of what matched, as JSON; borrowed for the call */
	unsigned n_rows;
};
typedef void engine_test_fn(void *arg, const struct engine_test *t);
struct engine_test_job;
struct engine_test_ask {
	uint64_t last_us;
	engine_test_fn *fn;
	void *arg;
};
/**
 * Run *filter (taken, also when it fails) over the history of the last @ask->last_us; its fn is
 * called once, later, in the main thread, after which the job is gone. 0, or -E_UNSUP when no
 * history is kept, -E_BUSY, -E_NOMEM.
 */
int engine_filter_test(struct engine *e, struct filter **filter,
    const struct engine_test_ask *ask, struct engine_test_job **out, struct err *err);
/** Its fn will not be called; NULLs *job. */
void engine_filter_test_cancel(struct engine_test_job **job);

/** Ask the daemon to stop, as SIGTERM does. */
void engine_stop(struct engine *e);

#endif
