/* SPDX-License-Identifier: Apache-2.0
 * link/link.c - the link thread: its loop, and how other threads reach it.
 *
 * One round: monitors, calls of the main thread, frames that libzmq is done with, what peers sent,
 * what inputs queued, what may be sent, what is due. Receiving comes before sending: only then does
 * libzmq notice a dead peer. The thread sleeps in zmq_poll until a socket, the wake-up descriptor
 * or the next time something is due. */
#include "link/link.h"

#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "link/link_priv.h"

enum { CALLS = 16, WAKE_ITEMS = 1, END_ITEMS = 3 };

/* ---- calls of the main thread */

int
link_call(struct link *l, int (*fn)(struct link *, void *, struct call *), void *arg)
{
	struct call c = {.fn = fn, .arg = arg};
	atomic_init(&c.done, false);
	while (!queue_push(l->calls, &c))
		clock_sleep_us(1000);
	wake_signal(&l->wake);
	while (!atomic_load_explicit(&c.done, memory_order_acquire))
		wake_wait(&l->done, -1);
	return c.rc;
}

void
link_call_done(struct link *l, struct call *c)
{
	atomic_store_explicit(&c->done, true, memory_order_release);
	wake_signal(&l->done);
}

static void
run_calls(struct link *l)
{
	struct call *c;
	while ((c = queue_pop(l->calls)) != NULL) {
		c->rc = c->fn(l, c->arg, c);
		if (!c->later)
			link_call_done(l, c);
	}
}

/* ---- one round */

static void
frames_home(struct link *l)
{
	struct freelink *f = freelist_take(&l->frames);
	while (f != NULL) {
		struct freelink *next = f->next;
		free(f);
		f = next;
	}
}

/* One message of all its parts; false when there is none. */
static bool
receive_one(struct link_end *e, uint64_t now)
{
	zmq_msg_t parts[PARTS_MAX + 1];
	unsigned n = 0, all = 0;
	for (bool more = true; more; all++) {
		zmq_msg_t *m = &parts[n];
		zmq_msg_init(m);
		if (zmq_msg_recv(m, e->sock, ZMQ_DONTWAIT) < 0) {
			zmq_msg_close(m);
			break;
		}
		more = zmq_msg_more(m) != 0;
		if (n < PARTS_MAX)
			n++;
		else
			zmq_msg_close(m); /* far too many: the session refuses what is left */
	}
	if (all == 0)
		return false;
	session_receive(e, parts, n, now);
	for (unsigned i = 0; i < n; i++)
		zmq_msg_close(&parts[i]);
	return true;
}

static void
receive(struct link_end *e, uint64_t now)
{
	/* A thousand peers say two thousand things a second: what is not read in time makes them look
	 * dead. */
	uint64_t until = 0;
	for (unsigned i = 1; receive_one(e, now); i++) {
		if (i % RECV_BURST != 0)
			continue;
		uint64_t t = clock_mono_us();
		if (until == 0)
			until = t + TURN_US;
		e->unread = t >= until;
		if (e->unread) {
			end_due(e, 0);
			return;
		}
	}
	e->unread = false;
}

static void
say_bye(struct link_end *e, uint64_t now)
{
	for (struct session *s = e->sessions; s != NULL; s = s->next) {
		if (!e->is_publish && s->up)
			subscribe_ack(s, true, now);
		session_bye(s, "detached or stopping");
	}
	e->said_bye = true;
	e->drain_us = now + BYE_US;
}

/*
 * The end has said what it had to, or its time is over. True: it is gone. A bound socket is open
 * until the peers have read BYE and left: closed before, what they still send stops libzmq's
 * reading, and when one then leaves and a heartbeat is due within the linger time, libzmq 4.3.4
 * aborts the process (stream_engine_base.cpp: !_io_error).
 */
static bool
drained(struct link_end *e, uint64_t now)
{
	struct link *l = e->link;
	if (!e->draining)
		return false;
	bool busy = e->said_bye ? e->is_bind && e->n_sessions > 0 : e->is_publish ? publish_busy(e) :
	    subscribe_busy(e) || mark_open(e);
	if (now < e->drain_us && busy) {
		end_due(e, min_u64(e->drain_us, now + 2 * BLOCKED_US));
		return false;
	}
	if (!e->said_bye) {
		say_bye(e, now);
		if (e->is_bind && e->n_sessions > 0) {
			end_due(e, now + 2 * BLOCKED_US);
			return false;
		}
	}
	l->left_open |= mark_open(e);
	sock_close(e);
	while (e->sessions != NULL)
		session_drop(e->sessions, "detached here");
	channel_keep_all(e);
	struct link_end **at = &l->ends;
	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	l->n_ends--;
	relay_touch(l);
	path_update(l);
	link_call_done(l, e->drain_call);
	return true;
}

uint64_t
end_round(struct link_end *e, uint64_t now)
{
	/* what is asked for from here on belongs to the next round */
	bool is_due = now >= e->due_us;
	if (is_due)
		e->due_us = NEVER;
	receive(e, now);
	session_reap(e);
	greet_poll(e, now);
	if (e->is_publish)
		publish_queues(e, now);
	else if (!e->said_bye)
		subscribe_work(e, now);
	session_pump(e, now);
	if (is_due) {
		end_due(e, end_tick(e, now));
		session_pump(e, now);
	}
	session_reap(e);
	return e->due_us;
}

/* ---- sleeping */

static int
make_items(struct link *l)
{
	unsigned n = WAKE_ITEMS + END_ITEMS * l->n_ends, i = 0;
	if (n > l->cap_items) {
		zmq_pollitem_t *items = realloc(l->items, n * sizeof(*items));
		if (items == NULL)
			return 0;
		l->items = items;
		l->cap_items = n;
	}
	l->items[i++] = (zmq_pollitem_t){NULL, l->wake.fd, ZMQ_POLLIN, 0};
	for (const struct link_end *e = l->ends; e != NULL; e = e->next) {
		l->items[i++] = (zmq_pollitem_t){e->mon, 0, ZMQ_POLLIN, 0};
		l->items[i++] = (zmq_pollitem_t){e->sock, 0, ZMQ_POLLIN, 0};
		if (e->greet.state != GREET_IDLE)
			l->items[i++] = (zmq_pollitem_t){NULL, e->greet.fd,
			    e->greet.state == GREET_CONNECT ? ZMQ_POLLOUT : ZMQ_POLLIN, 0};
	}
	return (int)i;
}

static void
sleep_until(struct link *l, uint64_t due)
{
	long ms = -1;
	uint64_t now = clock_mono_us();
	if (due <= now)
		ms = 0;
	else if (due != NEVER)
		ms = (long)min_u64((due - now + 999) / 1000, 60000);
	int n = make_items(l);
	if (zmq_poll(l->items, n, ms) > 0 && n > 0 && l->items[0].revents != 0)
		wake_clear(&l->wake);
}

static void *
link_main(void *arg)
{
	struct link *l = arg;
	while (!l->stop) {
		uint64_t now = l->now_us = clock_mono_us();
		uint64_t due = NEVER;
		for (struct link_end *e = l->ends; e != NULL; e = e->next)
			sock_monitor(e, now);
		run_calls(l);
		frames_home(l);
		mark_work(l, now);
		for (struct link_end *e = l->ends, *next; e != NULL; e = next) {
			next = e->next;
			uint64_t t = end_round(e, now);
			if (!drained(e, now))
				due = min_u64(due, min_u64(t, e->due_us));
		}
		due = min_u64(due, relay_tick(l, now));
		/* a later end's round, or the relay, may have asked for something at an earlier one */
		for (const struct link_end *e = l->ends; e != NULL; e = e->next)
			due = min_u64(due, e->due_us);
		if (!l->stop)
			sleep_until(l, due);
	}
	return NULL;
}

/* ---- start and stop */

static void
destroy(struct link *l)
{
	if (l->zmq != NULL) {
		zmq_ctx_shutdown(l->zmq);
		zap_stop(&l->zap);
		zmq_ctx_term(l->zmq);
	}
	trust_free(&l->trust);
	frames_home(l);
	frame_work_free(&l->work);
	filter_work_free(&l->fwork);
	free(l->restored);
	buf_fini(&l->out);
	buf_fini(&l->text);
	buf_fini(&l->upstream);
	relay_free(&l->relay);
	queue_free(&l->calls);
	wake_fini(&l->wake);
	wake_fini(&l->done);
	free(l->items);
	free(l);
}

static int
start(struct link *l, struct err *err)
{
	if (wake_init(&l->wake) != 0 || wake_init(&l->done) != 0)
		return err_sys(err, E_SYS, "link: cannot make a wake-up descriptor");
	l->calls = queue_new(CALLS);
	l->work = frame_work_new();
	l->fwork = filter_work_new();
	l->relay = relay_new();
	l->zmq = zmq_ctx_new();
	if (l->calls == NULL || l->work == NULL || l->fwork == NULL || l->zmq == NULL ||
	    l->relay == NULL)
		return err_set(err, E_NOMEM, "link: out of memory");
	zmq_ctx_set(l->zmq, ZMQ_MAX_SOCKETS, 4096);
	int rc = zap_start(l->zmq, &l->zap, err);
	if (rc == 0)
		rc = zap_self_test(l, err);
	if (rc == 0 && pthread_create(&l->thread, NULL, link_main, l) != 0)
		rc = err_sys(err, E_SYS, "link: cannot start the link thread");
	return rc;
}

int
link_start(const struct link_host *host, struct link **out, struct err *err)
{
	sigset_t all, before;
	struct link *l = calloc(1, sizeof(*l));
	if (l == NULL)
		return err_set(err, E_NOMEM, "link: out of memory");
	l->wake.fd = l->done.fd = -1;
	l->host = *host;
	l->now_us = clock_mono_us();
	/* signals belong to the main thread, not to ours or libzmq's */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = start(l, err);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0) {
		destroy(l);
		return rc;
	}
	*out = l;
	return 0;
}

static int
stop_call(struct link *l, void *arg, struct call *c)
{
	(void)arg;
	(void)c;
	assert_always(l->ends == NULL);
	l->stop = true;
	return 0;
}

void
link_stop(struct link **lp)
{
	struct link *l = *lp;
	if (l == NULL)
		return;
	*lp = NULL;
	link_call(l, stop_call, NULL);
	pthread_join(l->thread, NULL);
	destroy(l);
}

static int
host_call(struct link *l, void *arg, struct call *c)
{
	(void)c;
	l->host = *(const struct link_host *)arg;
	for (struct link_end *e = l->ends; e != NULL; e = e->next)
		for (struct session *s = e->sessions; s != NULL; s = s->next)
			session_host(s);
	return 0;
}

void
link_set_host(struct link *l, const struct link_host *host)
{
	struct link_host copy = *host;
	link_call(l, host_call, &copy);
}

/* ---- any thread */

bool
link_take(struct link_end *e, struct batch *b)
{
	/* on_full = block_file_input: a file waits, what is live is lost, counted */
	if (b->mark == NULL && atomic_load_explicit(&e->is_full, memory_order_relaxed))
		return false;
	uint32_t n = b->n;
	/* a change of several numbers, as in base/counter.h: the ledger sees it whole or not at all */
	atomic_fetch_add_explicit(&e->take_begun, 1, memory_order_acq_rel);
	bool taken = queue_push(e->batches, b);
	if (taken) {
		atomic_fetch_add_explicit(&e->taken_flows, n, memory_order_release);
		atomic_fetch_add_explicit(&e->queued_flows, n, memory_order_release);
	}
	atomic_fetch_add_explicit(&e->take_ended, 1, memory_order_release);
	if (taken)
		wake_signal(&e->link->wake);
	return taken;
}

void
link_lost(struct link_end *e, uint32_t flows)
{
	atomic_fetch_add_explicit(&e->early_flows, flows, memory_order_relaxed);
}

void
link_second(struct link_end *e, const struct stats_second *s)
{
	struct stats_second *copy = malloc(sizeof(*copy));
	if (copy != NULL)
		*copy = *s;
	if (copy == NULL || !queue_push(e->seconds, copy)) {
		atomic_fetch_add_explicit(&e->early_seconds, 1, memory_order_relaxed);
		free(copy);
		return;
	}
	wake_signal(&e->link->wake);
}

void
link_counters(struct link_end *e, uint64_t sum[C_COUNT])
{
	for (int i = 0; i < C_COUNT; i++)
		sum[i] += counter_get(&e->counters, (enum counter)i);
	/* a batch may be popped before its push has been counted */
	int64_t queued = (int64_t)atomic_load_explicit(&e->queued_flows, memory_order_relaxed);
	sum[C_flow_queued] += queued > 0 ? (uint64_t)queued : 0;
	sum[C_stats_lost] += atomic_load_explicit(&e->early_seconds, memory_order_relaxed);
}
