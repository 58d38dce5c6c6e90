/* SPDX-License-Identifier: Apache-2.0
 * engine/message.c - what other threads tell the main thread: seconds, events, ends of inputs.
 *
 * Also what the main thread does with them: the table of newest seconds, statistics taps, event
 * listeners, flow taps. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/engine_priv.h"

enum { SECOND_FRESH_US = 5000000, TAP_QUEUE = 64 };

bool
message_post(struct engine *e, const struct message *m)
{
	struct message *copy = malloc(sizeof(*copy));
	if (copy != NULL) {
		*copy = *m;
		if (queue_push(e->messages, copy)) {
			wake_signal(&e->wake);
			return true;
		}
		free(copy);
	}
	atomic_fetch_add(&e->messages_lost, 1);
	return false;
}

void
engine_event(struct engine *e, const char *fmt, ...)
{
	struct message m = {.kind = MSG_EVENT};
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(m.line, sizeof(m.line), fmt, ap);
	va_end(ap);
	(void)message_post(e, &m); /* counted when it does not fit */
}

static void
log_tap(void *arg, enum log_level level, const char *line)
{
	(void)level;
	engine_event(arg, "log %s", line);
}

static void
second_keep(struct engine *e, const struct stats_second *s)
{
	uint64_t now = clock_mono_us();
	struct second_slot *oldest = &e->seconds[0];
	for (unsigned i = 0; i < MAX_SECONDS; i++) {
		struct second_slot *x = &e->seconds[i];
		if (x->seen_us != 0 && strcmp(x->s.interface, s->interface) == 0 &&
		    strcmp(x->s.probe, s->probe) == 0) {
			x->seen_us = now;
			x->s = *s;
			return;
		}
		if (x->seen_us < oldest->seen_us)
			oldest = x;
	}
	oldest->seen_us = now;
	oldest->s = *s;
}

void
engine_seconds(struct engine *e, engine_second_fn *fn, void *arg)
{
	uint64_t now = clock_mono_us();
	for (unsigned i = 0; i < MAX_SECONDS; i++)
		if (e->seconds[i].seen_us != 0 && now - e->seconds[i].seen_us < SECOND_FRESH_US)
			fn(arg, &e->seconds[i].s);
}

static void
deliver(struct engine *e, const struct message *m)
{
	if (m->kind == MSG_SECOND) {
		second_keep(e, &m->second);
		for (struct engine_tap *t = e->taps, *next; t != NULL; t = next) {
			next = t->next;
			if (t->second_fn != NULL)
				t->second_fn(t->arg, &m->second);
		}
	} else if (m->kind == MSG_EVENT) {
		for (struct engine_listener *l = e->listeners, *next; l != NULL; l = next) {
			next = l->next;
			l->fn(l->arg, m->line);
		}
	} else {
		loop_timer_set(e->once_timer, 0);
	}
}

static void
on_wake(void *arg, int fd, unsigned events)
{
	struct engine *e = arg;
	(void)fd;
	(void)events;
	wake_clear(&e->wake);
	for (struct message *m; (m = queue_pop(e->messages)) != NULL;) {
		deliver(e, m);
		free(m);
	}
	uint64_t lost = atomic_exchange(&e->messages_lost, 0);
	if (lost > 0)
		log_warn("engine: %lu seconds and events were not shown, the main thread was busy",
		    (unsigned long)lost);
}

int
messages_init(struct engine *e)
{
	e->messages = queue_new(MESSAGES);
	if (e->messages == NULL || wake_init(&e->wake) != 0)
		return -E_NOMEM;
	e->wake_io = loop_io_add(e->loop, e->wake.fd, EPOLLIN, on_wake, e);
	if (e->wake_io == NULL)
		return -E_NOMEM;
	log_set_tap(log_tap, e);
	return 0;
}

void
messages_fini(struct engine *e)
{
	log_set_tap(NULL, NULL);
	loop_io_del(&e->wake_io);
	for (struct message *m; e->messages != NULL && (m = queue_pop(e->messages)) != NULL;)
		free(m);
	queue_free(&e->messages);
	wake_fini(&e->wake);
}

struct engine_listener *
engine_listen(struct engine *e, engine_event_fn *fn, void *arg)
{
	struct engine_listener *l = calloc(1, sizeof(*l));
	if (l == NULL)
		return NULL;
	*l = (struct engine_listener){e->listeners, e, fn, arg};
	e->listeners = l;
	return l;
}

void
engine_unlisten(struct engine_listener **lp)
{
	struct engine_listener *l = *lp;
	if (l == NULL)
		return;
	for (struct engine_listener **p = &l->engine->listeners; *p != NULL; p = &(*p)->next) {
		if (*p == l) {
			*p = l->next;
			break;
		}
	}
	free(l);
	*lp = NULL;
}

/* ---- taps: outputs of control's `watch` */

static bool
tap_take(void *self, struct batch *b)
{
	struct engine_tap *t = self;
	if (!queue_push(t->queue, b)) {
		atomic_fetch_add_explicit(&t->lost, b->n, memory_order_relaxed);
		return false;
	}
	wake_signal(&t->wake);
	return true;
}

static const struct port_type tap_type = {
    .name = "tap", .direction = PORT_OUTPUT, .help = "", .take = tap_take};

static void
tap_ready(void *arg, int fd, unsigned events)
{
	struct engine_tap *t = arg;
	uint64_t mask[BATCH_WORDS];
	(void)fd;
	(void)events;
	wake_clear(&t->wake);
	/* one batch a round, so that a busy tap does not hold up the loop */
	struct batch *b = queue_pop(t->queue);
	if (b == NULL)
		return;
	if (queue_len(t->queue) > 0)
		wake_signal(&t->wake);
	if (filter_run(t->filter, t->work, b, mask) > 0)
		t->flow_fn(t->arg, b, mask); /* may untap: t is not touched after */
	batch_unref(&b);
}

static void
tap_free(struct engine_tap *t)
{
	loop_io_del(&t->io);
	for (struct batch *b; t->queue != NULL && (b = queue_pop(t->queue)) != NULL;)
		batch_unref(&b);
	queue_free(&t->queue);
	if (t->number != 0)
		wake_fini(&t->wake);
	filter_free(&t->filter);
	filter_work_free(&t->work);
	free(t);
}

struct engine_tap *
engine_tap_flows(struct engine *e, struct filter **filter, engine_flow_fn *fn, void *arg)
{
	struct engine_tap *t = calloc(1, sizeof(*t));
	if (t == NULL)
		return NULL;
	t->engine = e;
	t->flow_fn = fn;
	t->arg = arg;
	t->queue = queue_new(TAP_QUEUE);
	t->work = filter_work_new();
	if (t->queue == NULL || t->work == NULL || wake_init(&t->wake) != 0) {
		queue_free(&t->queue);
		filter_work_free(&t->work);
		free(t);
		return NULL;
	}
	t->number = e->next_number++;
	t->io = loop_io_add(e->loop, t->wake.fd, EPOLLIN, tap_ready, t);
	struct bus_out out = {NULL, &tap_type, t, t->number};
	if (t->io == NULL || bus_add(&e->bus, &out) != 0) {
		tap_free(t);
		return NULL;
	}
	t->filter = *filter;
	*filter = NULL;
	t->next = e->taps;
	e->taps = t;
	return t;
}

struct engine_tap *
engine_tap_stats(struct engine *e, engine_second_fn *fn, void *arg)
{
	struct engine_tap *t = calloc(1, sizeof(*t));
	if (t == NULL)
		return NULL;
	t->engine = e;
	t->second_fn = fn;
	t->arg = arg;
	t->next = e->taps;
	e->taps = t;
	return t;
}

uint64_t
engine_tap_lost(const struct engine_tap *t)
{
	return atomic_load(&t->lost);
}

void
engine_untap(struct engine_tap **tp)
{
	struct engine_tap *t = *tp;
	if (t == NULL)
		return;
	*tp = NULL;
	for (struct engine_tap **p = &t->engine->taps; *p != NULL; p = &(*p)->next) {
		if (*p == t) {
			*p = t->next;
			break;
		}
	}
	if (t->number != 0)
		bus_remove(&t->engine->bus, t->number);
	tap_free(t);
}
