/* SPDX-License-Identifier: Apache-2.0
 * engine/engine_priv.h - the engine's own structures.
 *
 * struct engine (main thread) owns struct endpoint by name; the bus holds an immutable list of
 * outputs that input threads read; what those threads tell the main thread (seconds, state
 * changes, ends) goes through one bounded queue of messages and a wake-up. */
#ifndef FLOWBUS_ENGINE_PRIV_H
#define FLOWBUS_ENGINE_PRIV_H

#include <pthread.h>

#include "base/log.h"
#include "base/queue.h"
#include "base/snap.h"
#include "engine/engine.h"

enum { MAX_ENDPOINTS = 256, MAX_SECONDS = 256, MESSAGES = 4096 };

/** When a counter of losses grew, looked at once a second (losses.c). */
struct loss_mark {
	uint64_t value, last_second;
	int64_t since_us; /* epoch: first seen above 0 */
};

struct endpoint {
	struct engine *engine;
	const struct port_type *type;
	struct conf_endpoint *conf; /* main thread only: set and reload put another one in */
	char name[64];           /* never changes: this is what host.name points to */
	uint32_t number;
	void *self;              /* NULL while disabled */
	struct port_host host;
	bool persistent;         /* defined by a file that a person wrote */
	bool altered;            /* changed at run time: `save` writes it */
	bool on_bus;
	_Atomic bool ended, failed;
	_Atomic uint64_t wait_until_us; /* push may wait until then; 0: no stop asked for */
	struct counters counters;/* of the bus: added to from any thread, with atomic_fetch_add */
	pthread_mutex_t lock;    /* state and why: written by any thread, a few times an hour */
	enum port_state state;
	int64_t since_us;
	char why[256];
	struct loss_mark losses[C_COUNT]; /* main thread: of LOST counters */
	struct log_site site;    /* of state changes: one endpoint does not silence another */
	struct log_site site_up; /* a fault's line does not silence the one that says it is over */
};

struct bus_out {
	struct endpoint *ep; /* NULL for a tap */
	const struct port_type *type;
	void *self;
	uint32_t number;
};

struct bus_list {
	unsigned n;
	struct bus_out out[];
};

struct bus {
	struct snap list; /* struct bus_list */
};

/** Add and remove an output; when remove returns no thread is in its `take`. 0 or -E_NOMEM. */
int bus_add(struct bus *b, const struct bus_out *out);
void bus_remove(struct bus *b, uint32_t number);
void bus_free(struct bus *b);
/** Hand a batch to every output (port_host.push); @from may be NULL. */
void bus_push(struct bus *b, struct endpoint *from, struct batch **batch, bool may_wait);
void bus_second(struct bus *b, const struct stats_second *s);

enum message_kind { MSG_SECOND, MSG_EVENT, MSG_ENDED };

struct message {
	enum message_kind kind;
	union {
		struct stats_second second;
		char line[512];
	};
};

struct engine_tap {
	struct engine_tap *next;
	struct engine *engine;
	uint32_t number;       /* on the bus; 0 for statistics */
	struct queue *queue;
	struct wake wake;
	struct loop_io *io;
	struct filter *filter;
	struct filter_work *work;
	engine_flow_fn *flow_fn;
	engine_second_fn *second_fn;
	void *arg;
	_Atomic uint64_t lost;
};

struct engine_listener {
	struct engine_listener *next;
	struct engine *engine;
	engine_event_fn *fn;
	void *arg;
};

struct second_slot {
	uint64_t seen_us; /* monotonic; 0 = free */
	struct stats_second s;
};

struct engine {
	struct engine_conf args;
	struct loop *loop;
	struct conf *conf;     /* what was loaded; its daemon options live as long as we do */
	struct link *link;     /* started with the first endpoint that needs it */
	struct checkpoint *checkpoint;
	struct bus bus;
	struct endpoint *ep[MAX_ENDPOINTS];
	unsigned n_ep;
	uint32_t next_number;
	char name[64];
	uint64_t node_id;
	int64_t started_us;
	struct history *history; /* NULL: none is kept */
	struct undo *undo;     /* of the reload that waits to be confirmed; NULL: none */
	char **removed;        /* names from files that a person detached */
	unsigned n_removed;
	struct queue *messages;
	struct wake wake;
	struct loop_io *wake_io, *signal_io;
	struct loop_timer *facts_timer, *once_timer, *losses_timer;
	_Atomic uint64_t messages_lost; /* since it was told last */
	struct second_slot seconds[MAX_SECONDS];
	struct engine_tap *taps;
	struct engine_listener *listeners;
	const struct engine_control *control;
	void *control_self;
	int signal_fd;
	bool stopping;
	uint64_t stop_deadline_us; /* monotonic; set with stopping */
	int exit_status;
};

/* endpoint.c */
struct endpoint *endpoint_find(struct engine *e, struct strv name);
/** Say that there is no endpoint of this name, and which is the nearest. -E_NOENT. */
int endpoint_unknown(struct engine *e, struct strv name, struct err *err);
/** Is it an end of a link? And which, while it is open. */
bool endpoint_is_link(const struct endpoint *ep);
struct link_end *endpoint_link(const struct endpoint *ep);
/** NULL for an unknown name. */
const struct port_type *endpoint_type(const char *name);
/** Stop and free what is behind an endpoint; it stays in the list (disabled). */
void endpoint_close(struct engine *e, struct endpoint *ep, bool drain);
int endpoint_open(struct engine *e, struct endpoint *ep, struct err *err);
/**
 * Take another configuration of the same name, type and address: all of what differs or nothing.
 * Options that are not live only change while the endpoint is closed. Takes *fresh on success.
 */
int endpoint_change(struct endpoint *ep, struct conf_endpoint **fresh, struct err *err);
void endpoint_state(struct endpoint *ep, enum port_state state, const char *why);
/** Inputs first, then outputs, which drain until @deadline_us. All stay in the list, closed. */
void endpoints_stop(struct engine *e, uint64_t deadline_us);
void endpoints_free(struct engine *e);
/** Is it an input that comes to an end by itself? */
bool endpoint_ends(const struct endpoint *ep);
/** Has an output anything to write? Links are not asked: only a drain seals what they gather. */
bool outputs_busy(const struct engine *e);
/** Octets an endpoint takes at most; 0 while it is closed. */
uint64_t endpoint_memory(const struct endpoint *ep);
/** Sum of all counters of one endpoint. */
void endpoint_counters(const struct endpoint *ep, uint64_t sum[C_COUNT]);
/** The check of option values that conf cannot do itself: filters. conf_check_fn. */
int engine_check_option(void *arg, const struct option_info *o, struct strv text, struct err *err);
/** Check everything of an endpoint that does not need to open it. */
int engine_check_endpoint(const struct conf_endpoint *conf, struct err *err);

/* demand.c */
/** Tell the link what the local outputs want; after each change of the set of outputs. */
void demand_update(struct engine *e);

/* message.c */
int messages_init(struct engine *e);
void messages_fini(struct engine *e);
/** Post a copy; false (counted) when the queue is full. Any thread. */
bool message_post(struct engine *e, const struct message *m);
void engine_event(struct engine *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* losses.c */
int losses_init(struct engine *e);
void losses_fini(struct engine *e);

/* facts.c */
/** Tell the link what this host is: addresses, captured interfaces, their speed. */
void facts_update(struct engine *e);
/** Node id from the state directory, made there on first start; a random one when that fails. */
uint64_t facts_node_id(const char *state_dir);
void facts_host(struct engine *e, struct link_host *out);

/* state.c */
/** The configuration: files, daemon options of the command line over them, then endpoints.conf. */
int engine_load_files(struct engine *e, struct conf **out, struct err *err);
void engine_removed_add(struct engine *e, const char *name);
void engine_removed_del(struct engine *e, const char *name);

/** Give an attached endpoint another configuration, live if that is enough; takes *fresh on
 * success. If it fails the old one is back. */
int endpoint_become(struct engine *e, struct endpoint *ep, struct conf_endpoint **fresh,
    struct err *err);
/** What is live of these daemon options changes now; of the rest a person is told. */
void engine_take_daemon(struct engine *e, const struct conf_endpoint *bag);

/* checkpoint.c */
/** Read the saved positions and cut files back to them, before anything of @c is attached. */
int checkpoint_start(struct engine *e, const struct conf *c, struct err *err);
/** The link has started: give it the positions, and save what it marks. */
int checkpoint_link(struct engine *e, struct err *err);
/** A file output is open and not yet on the bus: its length now is where it is cut back to. */
void checkpoint_output(struct engine *e, const struct conf_endpoint *x);
/** An output has come onto the bus: marks under way have not met it. */
void checkpoint_touch(struct engine *e);
/** A subscribing endpoint was detached: its positions are of no use any more. */
void checkpoint_forget(struct engine *e, const char *end);
/** After all endpoints have stopped, before the link does. */
void checkpoint_stop(struct engine *e);

/* history.c */
/** Keep records that pass, in at most @size octets, from now on. 0 or -E_*. */
int history_start(struct engine *e, uint64_t size, struct err *err);
/** After the control socket is closed. */
void history_stop(struct engine *e);
/** Octets it takes at most. */
uint64_t history_memory(const struct engine *e);
/** Times of this input's records are those of a file. Before it starts. */
void history_is_file(struct engine *e, uint32_t number);

/* undo.c */
/** Remember everything as it is. 0, -E_BUSY (a reload is pending) or -E_NOMEM. */
int undo_remember(struct engine *e, struct err *err);
/** Go back to it by itself in @us. */
void undo_arm(struct engine *e, uint64_t us);
void undo_forget(struct engine *e);
/** -E_BUSY while a reload is pending, saying what to do. */
int undo_check(const struct engine *e, struct err *err);

/* print.c */
/** Print a table of the manual ("fields.md", ...) to stdout; -E_UNKNOWN with @err. */
int print_table(const char *what, struct err *err);

#endif
