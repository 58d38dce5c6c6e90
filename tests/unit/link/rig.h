/* SPDX-License-Identifier: Apache-2.0
 * unit/link/rig.h - several nodes in one process, each with its own link thread and ZeroMQ context,
 * and an end's host that remembers what it was given. */
#ifndef RIG_H
#define RIG_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "conf/conf.h"
#include "link/link.h"

enum { IDS_MAX = 4 << 20 };

/** One attached end and everything its host heard. */
struct end {
	struct link *link;
	struct link_end *end;
	struct conf_endpoint *conf;
	struct port_host host;
	pthread_mutex_t lock;
	bool hold;             /* keep batches: an output that is stuck */
	struct batch *held[4096];
	unsigned n_held;
	uint64_t *ids;         /* of flows received: their `bytes` */
	size_t n_ids;
	char probe[64];        /* of the last flow received */
	unsigned n_seconds;
	struct stats_second second;
	enum port_state state;
	char why[200];
	unsigned n_states;
};

/** FLOWBUS_SLOW: how much longer things take here (sanitizers, valgrind); 1 by default. */
double slowness(void);
struct link *node_start(const char *name, uint64_t node_id);
/** @fmt gives the words of an attach line: TYPE ADDRESS [option=value ...]. */
int end_attach(struct link *l, struct end *e, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/** As above, failing the test with the error. */
void end_open(struct link *l, struct end *e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void end_close(struct end *e, bool drain);
int end_set(struct end *e, const char *option, const char *value, struct err *err);
void end_hold(struct end *e, bool hold);
size_t end_count(struct end *e);
uint64_t end_counter(struct end *e, enum counter c);
enum port_state end_state_now(struct end *e);
unsigned end_seconds(struct end *e);
bool end_why_has(struct end *e, const char *words);

/** Flows with ids from..from+n-1 into the publisher, in batches of @rows. */
void flows_push(struct end *e, struct batch_pool *pool, uint64_t from, uint64_t n, uint32_t rows);
/** One batch, once: false when it was not taken, and is lost. */
bool flows_offer(struct end *e, struct batch_pool *pool, uint64_t from, uint32_t rows);
/** Does the flow of this id pass the filter? Decided by the filter engine on a batch of one. */
bool flow_passes(const char *filter, uint64_t id);
/** Sorted ids received are exactly those of from..to-1 that pass @filter. */
void assert_flows(struct end *e, const char *filter, uint64_t from, uint64_t to);

bool wait_count(struct end *e, size_t n, int ms);
bool wait_up(struct link *l, unsigned peers, int ms);
bool wait_subs(struct link *l, unsigned subs, int ms);
/** The probe has taken @n flows since @peer's subscription began. */
bool wait_offered(struct link *l, const char *peer, uint64_t n, int ms);
bool wait_acked(struct link *l, int ms);
bool wait_why(struct end *e, const char *words, int ms);
/** The row of @peer ("" any); false when there is none. */
bool sub_row(struct link *l, const char *peer, struct link_subscription *out);
bool peer_row(struct link *l, const char *state, struct link_peer *out);
/** The account a subscribing end has of its probe (of the last one). */
void account_row(struct end *e, struct link_account *out);
/** All equations of the link: queues, subscriptions, accounts. */
void assert_ledger(struct link *l);
/** A port that was free a moment ago, below the ephemeral range. */
int free_port(void);

#endif
