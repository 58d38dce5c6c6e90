/* SPDX-License-Identifier: Apache-2.0
 * fake.h - an engine without threads: endpoints are entries of a list, taps are fired by hand. */
#ifndef FLOWBUS_TESTS_CONTROL_FAKE_H
#define FLOWBUS_TESTS_CONTROL_FAKE_H

#include "control/control_priv.h"

enum { FAKE_MAX = 64 };

struct engine_tap {
	struct engine *engine;
	engine_flow_fn *flow_fn;
	engine_second_fn *second_fn;
	void *arg;
	struct filter *filter;
	uint64_t lost;
};

struct engine_listener {
	struct engine *engine;
	engine_event_fn *fn;
	void *arg;
};

struct engine {
	struct loop *loop;
	struct conf *conf;
	struct conf_endpoint *endpoints[FAKE_MAX];
	unsigned n_endpoints, n_detached, n_drained, n_saved, n_reloads;
	struct engine_tap *tap;
	struct engine_listener *listener;
	int reload_result;
	uint64_t pending_us;
	struct engine_test_ask test; /* answered by the timer; fn NULL: cancelled */
	struct loop_timer *test_timer;
};

/** An engine with one capture endpoint "lan" and one publish endpoint "hub". */
struct engine *fake_new(void);
void fake_free(struct engine **e);
/** Give the tap a batch of @n flows; false when there is no tap. */
bool fake_flows(struct engine *e, unsigned n);
bool fake_second(struct engine *e);

/** A client's end: send text, run the loop, collect lines. */
struct talk {
	struct engine *e;
	int fd;
	struct buf got;
	size_t at;   /* next line to take */
	bool closed; /* the daemon closed it */
};

struct talk talk_connect(struct engine *e, const char *path);
/** Over a socketpair, as a peer with that role. */
struct talk talk_as(struct engine *e, struct control_server *s, enum role role);
void talk_close(struct talk *t);
void talk_send(struct talk *t, const char *text);
/** The next line as JSON; NULL when none comes within a second or the daemon closed. */
json_t *talk_line(struct talk *t);
/** Send a request and give the code of its final line; rows are counted into *rows. */
int talk_ask(struct talk *t, const char *request, unsigned *rows);
/** Run the loop for a while without reading. */
void talk_spin(struct engine *e, unsigned ms);

#endif
