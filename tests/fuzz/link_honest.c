/* SPDX-License-Identifier: Apache-2.0
 * fuzz/link_honest.c - the peer that keeps to the protocol, beside those that do not.
 *
 * As a subscriber it knows, for each channel, the id of the next flow that must come: a frame has
 * exactly the passing flows from there on, a GAP skips as many as it says. As a probe it makes
 * frames, sends them again from where the end says it is, and each flow must reach the end's host
 * once and in order, before its frame is acknowledged. Nobody else may cost it its session. */
#include "link_world.h"

#include <stdio.h>

enum { CHANNELS = 8, FRAMES = 2048, WINDOW = 1 << 20 };
#define PROBE_IDS (UINT64_C(1) << 40)

struct way {
	uint64_t id;       /* channel; 0 none */
	bool tcp;
	uint64_t received, acked;
	uint64_t want;     /* next flow's id; 0: not known, the first one tells */
	uint64_t until;    /* flows from here on come by another channel; 0: this is the current one */
};

struct honest {
	struct peer *p;
	bool up, said, tcp, unsure, subscribed;
	bool excuse;       /* the session may end: silence, a lost connection, a blocked one */
	uint64_t said_us, away_us; /* HELLO; the last step with a subscription */
	struct way way[CHANNELS];
	/* as a probe */
	struct {
		uint64_t id;
		uint32_t n;
		bool is_gap;
	} frame[FRAMES];
	uint64_t last, at, acked, want, next_id, channel;
	bool asked;
};

bool honest_may_be_forgotten;

static struct honest *
self(void)
{
	return world->honest;
}

uint64_t
honest_node(void)
{
	return 0x1111;
}

bool
honest_is_up(void)
{
	return self()->up && self()->p->connected;
}

static bool
is_subscriber(void)
{
	return world->e->is_publish;
}

static void
say(struct msg *m)
{
	peer_say(self()->p, m, NULL);
}

static struct msg
message(enum msg_type t)
{
	return MSG(t, self()->p->me, self()->p->end);
}

static uint64_t
next_passing(uint64_t id, bool tcp)
{
	while (tcp && !id_is_tcp(id))
		id++;
	return id;
}

static struct way *
way_find(uint64_t id)
{
	for (int i = 0; i < CHANNELS; i++)
		if (self()->way[i].id == id)
			return &self()->way[i];
	return NULL;
}

static struct way *
way_current(void)
{
	for (int i = 0; i < CHANNELS; i++)
		if (self()->way[i].id != 0 && self()->way[i].until == 0)
			return &self()->way[i];
	return NULL;
}

static bool
way_done(const struct way *w)
{
	return w->acked == w->received &&
	    (w->want == 0 || next_passing(w->want, w->tcp) >= (w->until != 0 ? w->until :
	    next_passing(world->next_id, w->tcp)));
}

/* ---- sessions */

static void
put_host(struct msg *m)
{
	msg_num(m, MI_role, is_subscriber() ? MSG_ROLE_SUBSCRIBE : MSG_ROLE_PUBLISH);
	msg_num(m, MI_node_id, honest_node());
	msg_text(m, MI_end, STRV("honest"));
	msg_text(m, MI_name, STRV("honest"));
}

static void
hello(void)
{
	struct honest *h = self();
	h->p->me = world_random() | 1;
	h->up = h->asked = false;
	h->said = true;
	h->said_us = world->l.now_us;
	struct msg m = MSG(M_HELLO, h->p->me, 0);
	put_host(&m);
	msg_num(&m, MI_proto_min, MSG_VERSION);
	msg_num(&m, MI_proto_max, MSG_VERSION);
	say(&m);
}

static void
ask(void)
{
	struct honest *h = self();
	const struct way *w = way_current();
	struct msg m = message(M_SUBSCRIBE);
	msg_num(&m, MI_sub, 1);
	msg_num(&m, MI_stats, 1);
	if (h->tcp)
		msg_text(&m, MI_filter, STRV("proto tcp"));
	if (w != NULL && w->tcp == h->tcp) {
		msg_num(&m, MI_resume_channel, w->id);
		msg_num(&m, MI_resume_seq, w->received);
	}
	h->unsure = h->p->blocked;
	say(&m);
}

static void
session_up(void)
{
	struct honest *h = self();
	h->up = true;
	h->subscribed = false;
	h->excuse = h->p->blocked;
	if (is_subscriber())
		ask();
}

/* What the channels that were replaced still had is not kept for the next session. */
static void
session_over(void)
{
	struct honest *h = self();
	assert_always(!h->up || h->excuse || !world->e->is_bind);
	h->up = h->said = h->asked = h->subscribed = false;
	for (int i = 0; i < CHANNELS; i++) {
		if (h->way[i].until != 0)
			h->way[i] = (struct way){0};
		else
			h->way[i].acked = h->way[i].received; /* by what SUBSCRIBE says */
	}
}

/* ---- a subscriber */

static void
on_subscribed(const struct msg *m)
{
	struct honest *h = self();
	uint64_t id = m->u[MI_channel], next = m->u[MI_next];
	struct way *w = way_find(id), *old = way_current();
	assert_always(m->u[MI_sub] == 1 && id != 0 && next != 0);
	h->subscribed = true;
	if (m->u[MI_resumed] != 0 && w != NULL && w->until == 0) {
		assert_always(next <= w->received + 1);
		return;
	}
	/* a new beginning: only if we asked for something else, or were away for too long */
	bool changed = old == NULL || old->tcp != h->tcp;
	assert_always(changed || honest_may_be_forgotten ||
	    world->l.now_us - h->away_us >= world->e->resume_us);
	if (old != NULL && changed && m->u[MI_resumed] == 0)
		old->until = world->next_id;
	else if (old != NULL)
		*old = (struct way){0};
	if (w == NULL)
		w = way_find(0);
	assert_always(w != NULL);
	bool known = m->u[MI_resumed] == 0 && !h->unsure;
	*w = (struct way){.id = id, .tcp = h->tcp, .received = next - 1, .acked = next - 1,
	    .want = known ? world->next_id : 0};
}

static void
on_gap(const struct msg *m)
{
	struct way *w = way_find(m->u[MI_channel]);
	assert_always(w != NULL && w->id != 0);
	if (m->u[MI_to] <= w->received)
		return;
	assert_always(m->u[MI_from] <= w->received + 1);
	/* what it repeats of before cannot be told apart: only a new one says how many */
	if (m->u[MI_from] != w->received + 1)
		w->want = 0;
	for (uint64_t i = 0; i < m->u[MI_flows] && w->want != 0; i++)
		w->want = next_passing(w->want, w->tcp) + 1;
	w->received = m->u[MI_to];
}

static void
on_batch(const struct msg *m, const struct part *frame)
{
	struct way *w = way_find(m->u[MI_channel]);
	struct value v;
	assert_always(w != NULL && w->id != 0);
	if (m->u[MI_seq] <= w->received)
		return;
	assert_always(m->u[MI_seq] == w->received + 1);
	struct batch *b = batch_pool_get(world->pool);
	assert_always(b != NULL);
	assert_always(frame_decode(world->l.work, frame->p, frame->n, b, 0, NULL) == 0);
	assert_always(b->n == m->u[MI_flows]);
	for (uint32_t r = 0; r < b->n; r++) {
		assert_always(batch_value(b, F_bytes, r, &v));
		assert_always(w->want == 0 || v.u == next_passing(w->want, w->tcp));
		assert_always(!w->tcp || id_is_tcp(v.u));
		w->want = v.u + 1;
		assert_always(w->until == 0 || v.u < w->until);
	}
	batch_unref(&b);
	w->received = m->u[MI_seq];
}

/* ---- a probe */

static void
on_subscribe(const struct msg *m)
{
	struct honest *h = self();
	struct msg r = message(M_SUBSCRIBED);
	bool told = m->u[MI_resume_channel] == h->channel && m->u[MI_resume_seq] <= h->last;
	h->at = h->acked + 1;
	if (told && m->u[MI_resume_seq] >= h->at)
		h->at = m->u[MI_resume_seq] + 1;
	if (told && h->at > 1)
		h->at--; /* what it has already is to be ignored */
	if (!told) { /* it has forgotten what it had of us: then it may get that again */
		assert_always(honest_may_be_forgotten || h->want == PROBE_IDS ||
		    m->u[MI_resume_channel] == 0);
		h->want = h->at <= h->last ? h->frame[h->at % FRAMES].id : h->next_id;
	}
	h->asked = true;
	msg_num(&r, MI_sub, m->u[MI_sub]);
	msg_num(&r, MI_channel, h->channel);
	msg_num(&r, MI_next, h->at);
	msg_num(&r, MI_window, WINDOW);
	msg_num(&r, MI_resumed, 1);
	say(&r);
}

static void
on_ack(const struct msg *m)
{
	struct honest *h = self();
	uint64_t seq = m->u[MI_seq];
	assert_always(m->u[MI_channel] == h->channel && seq <= h->last);
	if (seq >= h->at) /* of what it had before: not sent in this session yet, it comes again */
		return;
	for (uint64_t s = h->acked + 1; s <= seq; s++)
		assert_always(h->frame[s % FRAMES].is_gap ||
		    h->frame[s % FRAMES].id + h->frame[s % FRAMES].n <= h->want);
	if (seq > h->acked)
		h->acked = seq;
}

static void
flow(uint64_t id)
{
	if (id < PROBE_IDS)
		return;
	assert_always(id == self()->want);
	self()->want++;
}

static void
send_frames(void)
{
	struct honest *h = self();
	for (; h->asked && h->at <= h->last && h->at <= h->acked + 64 && world->in_n < 200; h->at++) {
		struct msg m = message(M_GAP);
		if (h->frame[h->at % FRAMES].is_gap) {
			msg_num(&m, MI_channel, h->channel);
			msg_num(&m, MI_from, h->at);
			msg_num(&m, MI_to, h->at);
			msg_num(&m, MI_flows, 5);
			msg_num(&m, MI_bytes, 100);
			say(&m);
			continue;
		}
		struct buf out = buf_init(0);
		frame_make(&out, h->frame[h->at % FRAMES].id, h->frame[h->at % FRAMES].n, FRAME_NONE);
		m = message(M_BATCH);
		msg_num(&m, MI_channel, h->channel);
		msg_num(&m, MI_seq, h->at);
		msg_num(&m, MI_flows, h->frame[h->at % FRAMES].n);
		peer_say(h->p, &m, &out);
		buf_fini(&out);
	}
}

/* ---- both */

static void
on_ping(const struct msg *m)
{
	struct msg r = message(M_PONG);
	msg_num(&r, MI_time, m->u[MI_time]);
	msg_num(&r, MI_echo_time, m->u[MI_time]);
	msg_num(&r, MI_echo_mono, m->u[MI_mono]);
	msg_num(&r, MI_recv, m->u[MI_time]);
	say(&r);
}

static void
arrived(struct peer *p, const struct msg *m, const struct part *frame)
{
	struct honest *h = self();
	if (m->type == M_HELLO) {
		session_over();
		p->me = world_random() | 1;
		struct msg r = MSG(M_WELCOME, p->me, m->from);
		put_host(&r);
		msg_num(&r, MI_protocol, MSG_VERSION);
		say(&r);
		session_up();
		return;
	}
	if (m->to != p->me)
		return;
	if (m->type == M_WELCOME && !h->up) {
		session_up();
	} else if (m->type == M_RESET) {
		session_over();
	} else if (m->type == M_REFUSED) {
		assert_always(!h->up || !msg_has(m, MI_sub)); /* our subscriptions are good ones */
		assert_always(!h->up);
		h->excuse = true;
		peer_lose(p);
	} else if (!h->up || m->from != p->end) {
		return;
	} else if (m->type == M_PING) {
		on_ping(m);
	} else if (m->type == M_SUBSCRIBED) {
		on_subscribed(m);
	} else if (m->type == M_BATCH) {
		on_batch(m, frame);
	} else if (m->type == M_GAP) {
		on_gap(m);
	} else if (m->type == M_SUBSCRIBE) {
		on_subscribe(m);
	} else if (m->type == M_ACK) {
		on_ack(m);
	}
}

void
honest_start(void)
{
	struct honest *h = calloc(1, sizeof(*h));
	assert_always(h != NULL);
	h->p = &world->peer[0];
	h->channel = 0xc0ffee;
	h->at = 1;
	h->want = h->next_id = PROBE_IDS;
	world->honest = h;
	world->arrived = arrived;
	world->flow = flow;
	honest_may_be_forgotten = false;
}

void
honest_stop(void)
{
	free(world->honest);
	world->honest = NULL;
}

void
honest_excuse(void)
{
	self()->excuse = true;
}

static void
acknowledge(void)
{
	for (int i = 0; i < CHANNELS; i++) {
		struct way *w = &self()->way[i];
		if (w->id == 0 || w->received == w->acked)
			continue;
		struct msg m = message(M_ACK);
		msg_num(&m, MI_channel, w->id);
		msg_num(&m, MI_seq, w->received);
		say(&m);
		w->acked = w->received;
	}
}

void
honest_step(bool lazy)
{
	struct honest *h = self();
	if (h->up && !h->p->connected)
		session_over();
	if (!h->p->connected) {
		h->said = false;
		peer_connect(h->p);
	}
	if (!h->p->connected)
		return;
	if (!h->up && h->said && world->l.now_us > h->said_us + 5000000) {
		peer_lose(h->p);
		return;
	}
	if (!h->up && !h->said && world->e->is_bind)
		hello();
	if (h->subscribed)
		h->away_us = world->l.now_us;
	if (h->up && is_subscriber() && !lazy)
		acknowledge();
	if (h->up && !is_subscriber())
		send_frames();
}

void
honest_filter(bool tcp)
{
	struct honest *h = self();
	const struct way *w = way_current();
	if (!is_subscriber() || !honest_is_up() || h->p->blocked || h->p->deaf || w == NULL ||
	    h->tcp == tcp)
		return;
	for (int i = 0; i < CHANNELS; i++) {
		if (h->way[i].until == 0 || h->way[i].id == 0)
			continue;
		if (!way_done(&h->way[i]))
			return;
		h->way[i] = (struct way){0};
	}
	while (world->in_n > 0)
		world_round();
	h->tcp = tcp;
	ask();
	world_round();
	if (!h->up) /* lost meanwhile: it is asked for again */
		return;
	w = way_current();
	assert_always(w != NULL && w->tcp == tcp);
}

void
honest_flows(uint32_t n)
{
	struct honest *h = self();
	if (is_subscriber()) {
		while (world->in_n > 0)
			world_round();
		struct batch *b = batch_make(world->next_id, n);
		if (n > 0 && link_take(world->e, b))
			world->next_id += n;
		else
			batch_unref(&b);
		world_round();
		return;
	}
	if (h->last - h->acked >= FRAMES - 1)
		return;
	uint64_t seq = ++h->last;
	h->frame[seq % FRAMES].is_gap = n == 0;
	h->frame[seq % FRAMES].id = h->next_id;
	h->frame[seq % FRAMES].n = n;
	h->next_id += n;
	send_frames();
}

static bool
all_done(void)
{
	const struct honest *h = self();
	if (!honest_is_up())
		return false;
	if (!is_subscriber())
		return h->asked && h->acked == h->last && h->want == h->next_id;
	for (int i = 0; i < CHANNELS; i++)
		if (h->way[i].id != 0 && !way_done(&h->way[i]))
			return false;
	return way_current() != NULL && world->in_n == 0;
}

void
honest_finish(void)
{
	for (unsigned k = 0; k < PEERS; k++) {
		world->peer[k].blocked = false;
		if (world->peer[k].deaf || (k > 0 && !world->e->is_bind))
			peer_lose(&world->peer[k]);
	}
	world->hold = false;
	while (world->n_held > 0)
		batch_unref(&world->held[--world->n_held]);
	/* first what there is, then, as it is here and works, something must come of new flows too */
	for (int twice = 0; twice < 2; twice++) {
		for (int i = 0; i < 600 && (!all_done() || i < 3); i++) {
			honest_step(false);
			world_later(100000);
		}
		assert_always(all_done());
		if (twice == 0)
			honest_flows(5);
	}
}
