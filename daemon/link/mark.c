/* SPDX-License-Identifier: Apache-2.0
 * link/mark.c - when frames may be acknowledged.
 *
 * What a subscribing end has pushed is not safe yet: it may wait in an output's queue. A mark is a
 * point in the order of pushes, the same for all ends; the engine says when everything before it is
 * with the outputs and the positions are saved. Only then is it acknowledged, so that a collector
 * that is killed gets it again and cuts its files back to the same point. Nothing of a channel is
 * pushed before its position was saved once: there must be a point to go back to. */
#include <stdlib.h>

#include "base/clock.h"
#include "link/link_priv.h"

#define MARK_LEAST_US UINT64_C(20000) /* between two marks */
#define MARK_AGAIN_US UINT64_C(200000)
#define MARK_IDLE_US  UINT64_C(1000000) /* files also get what no link brought */

static bool
inbox_open(const struct inbox *b)
{
	return b->done != b->safe;
}

/* Its connection was lost after flows were pushed and before the mark that makes them safe. */
static bool
position_open(const struct position *x)
{
	return !x->is_live && x->seq != x->safe;
}

bool
mark_open(const struct link_end *e)
{
	if (e->link->mark_fn == NULL)
		return false;
	for (unsigned i = 0; i < e->n_positions; i++)
		if (position_open(&e->positions[i]))
			return true;
	for (const struct session *s = e->sessions; s != NULL; s = s->next)
		for (unsigned i = 0; i < s->n_inbox; i++)
			if (inbox_open(&s->inbox[i]))
				return true;
	return false;
}

static uint64_t
inbox_due(const struct session *s, const struct inbox *b, uint64_t now)
{
	if (!b->is_saved)
		return now;
	if (!inbox_open(b))
		return NEVER;
	if (s->end->draining || b->done - b->safe >= ACK_EVERY * 4 ||
	    b->unacked_bytes >= b->window / 4)
		return now;
	return b->ack_due_us;
}

/* When is the next mark needed? */
static uint64_t
next_due(const struct link *l, uint64_t now)
{
	uint64_t due = NEVER;
	for (const struct link_end *e = l->ends; e != NULL; e = e->next) {
		if (!e->is_publish)
			due = min_u64(due, l->marked_us + MARK_IDLE_US);
		for (unsigned i = 0; i < e->n_positions; i++)
			if (position_open(&e->positions[i]))
				due = now;
		for (const struct session *s = e->sessions; s != NULL; s = s->next)
			for (unsigned i = 0; i < s->n_inbox; i++)
				due = min_u64(due, inbox_due(s, &s->inbox[i], now));
	}
	return due == NEVER || due > l->mark_due_us ? due : l->mark_due_us;
}

static size_t
count_positions(const struct link *l)
{
	size_t n = 0;
	for (const struct link_end *e = l->ends; e != NULL; e = e->next) {
		n += e->n_positions;
		for (const struct session *s = e->sessions; s != NULL; s = s->next)
			n++;
	}
	return n;
}

static void
put(struct link_position *out, const struct link_end *e, const char peer_end[64],
    const char user[64], uint64_t node_id)
{
	memcpy(out->end, e->name, sizeof(out->end));
	memcpy(out->peer_end, peer_end, sizeof(out->peer_end));
	memcpy(out->user, user, sizeof(out->user));
	out->node_id = node_id;
}

/* Note where everything is; *n_out positions to save. */
static void
note(struct link *l, struct link_position *p, size_t *n_out)
{
	size_t n = 0;
	for (struct link_end *e = l->ends; e != NULL; e = e->next) {
		for (unsigned i = 0; i < e->n_positions; i++) {
			struct position *x = &e->positions[i];
			x->marked = x->seq;
			if (x->is_live)
				continue; /* its session's inbox knows better */
			put(&p[n], e, x->peer_end, x->user, x->node_id);
			p[n].channel = x->channel;
			p[n++].seq = x->seq;
		}
		for (struct session *s = e->sessions; s != NULL; s = s->next)
			for (unsigned i = 0; i < s->n_inbox; i++) {
				struct inbox *b = &s->inbox[i];
				b->marked = b->done;
				b->is_marked = true;
				b->marked_bytes = b->unacked_bytes;
				if (b->channel != s->current)
					continue;
				put(&p[n], e, s->peer_end, s->user, s->node_id);
				p[n].channel = b->channel;
				p[n++].seq = b->done;
			}
	}
	*n_out = n;
}

static void
settle(struct link *l)
{
	for (struct link_end *e = l->ends; e != NULL; e = e->next) {
		for (unsigned i = 0; i < e->n_positions; i++)
			if (e->positions[i].marked > e->positions[i].safe)
				e->positions[i].safe = e->positions[i].marked;
		for (struct session *s = e->sessions; s != NULL; s = s->next)
			for (unsigned i = 0; i < s->n_inbox; i++) {
				struct inbox *b = &s->inbox[i];
				if (b->marked > b->safe)
					b->safe = b->marked;
				b->is_saved |= b->is_marked;
				b->unacked_bytes -= b->marked_bytes;
				b->marked_bytes = 0;
			}
		if (!e->is_publish)
			end_due(e, 0);
	}
}

static void
begin(struct link *l, uint64_t now)
{
	size_t n = 0;
	struct link_position *p = calloc(count_positions(l) + 1, sizeof(*p));
	l->mark_due_us = now + MARK_AGAIN_US;
	if (p == NULL)
		return;
	note(l, p, &n);
	l->is_marking = true;
	if (!l->mark_fn(l->mark_arg, ++l->mark_id, p, n))
		l->is_marking = false;
	free(p);
}

void
mark_work(struct link *l, uint64_t now)
{
	if (l->mark_fn == NULL)
		return;
	if (l->is_marking && atomic_load(&l->marked_ok) == l->mark_id) {
		l->is_marking = false;
		l->marked_us = now;
		l->mark_due_us = now + MARK_LEAST_US;
		settle(l);
	} else if (l->is_marking && atomic_load(&l->marked_failed) == l->mark_id) {
		l->is_marking = false;
		l->mark_due_us = now + MARK_AGAIN_US;
	}
	if (l->is_marking)
		return; /* its end wakes us */
	uint64_t due = next_due(l, now);
	if (now >= due)
		begin(l, now);
	else if (due != NEVER && l->ends != NULL)
		end_due(l->ends, due); /* any end's time will do */
}

void
link_marked(struct link *l, uint64_t id, bool saved)
{
	atomic_store(saved ? &l->marked_ok : &l->marked_failed, id);
	wake_signal(&l->wake);
}

/* ---- main thread */

static int
open_call(struct link *l, void *arg, struct call *c)
{
	(void)c;
	*(bool *)arg = l->left_open;
	return 0;
}

bool
link_left_open(struct link *l)
{
	bool open = false;
	link_call(l, open_call, &open);
	return open;
}

struct mark_args {
	link_mark_fn *fn;
	void *arg;
};

static int
set_call(struct link *l, void *arg, struct call *c)
{
	const struct mark_args *a = arg;
	(void)c;
	l->mark_fn = a->fn;
	l->mark_arg = a->arg;
	return 0;
}

void
link_set_mark(struct link *l, link_mark_fn *fn, void *arg)
{
	struct mark_args a = {fn, arg};
	link_call(l, set_call, &a);
}

struct restore_args {
	const struct link_position *p;
	size_t n;
};

static int
restore_call(struct link *l, void *arg, struct call *c)
{
	const struct restore_args *a = arg;
	(void)c;
	struct link_position *copy = malloc((a->n + 1) * sizeof(*copy));
	if (copy == NULL)
		return -E_NOMEM;
	if (a->n > 0) /* without any there is no array */
		memcpy(copy, a->p, a->n * sizeof(*copy));
	free(l->restored);
	l->restored = copy;
	l->n_restored = a->n;
	return 0;
}

int
link_restore(struct link *l, const struct link_position *p, size_t n)
{
	struct restore_args a = {p, n};
	return link_call(l, restore_call, &a);
}

void
mark_restore(struct link_end *e)
{
	struct link *l = e->link;
	if (e->is_publish || l->n_restored == 0)
		return;
	size_t n = l->n_restored < POSITIONS_MAX ? l->n_restored : POSITIONS_MAX;
	e->positions = calloc(n, sizeof(*e->positions));
	for (size_t i = 0; i < l->n_restored && e->positions != NULL && e->n_positions < n; i++) {
		struct link_position *p = &l->restored[i];
		if (strcmp(p->end, e->name) != 0)
			continue;
		struct position *x = &e->positions[e->n_positions++];
		*x = (struct position){.node_id = p->node_id, .channel = p->channel, .seq = p->seq,
		    .safe = p->seq, .marked = p->seq, .used = ++e->position_clock};
		memcpy(x->peer_end, p->peer_end, sizeof(x->peer_end));
		memcpy(x->user, p->user, sizeof(x->user));
		p->end[0] = '\0'; /* only the first end of this name continues it */
	}
}
