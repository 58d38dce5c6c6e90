/* SPDX-License-Identifier: Apache-2.0
 * fuzz/link_check.c - what holds after each step, whatever peers send. */
#include "link_world.h"

static void
check_ledger(void *arg, const struct link_subscription *s)
{
	uint64_t *n = arg;
	(*n)++;
	if (world->e->is_publish)
		assert_always(s->offered == s->filtered + s->passed);
	assert_always(s->passed == s->acked + s->in_flight + s->queued + s->spooled + s->lost);
	assert_always(!world->e->is_publish || s->seq_acked < s->seq_next);
}

static void
check_peer(void *arg, const struct link_peer *p)
{
	(void)arg;
	assert_always(strlen(p->name) < sizeof(p->name) && strlen(p->why) < sizeof(p->why));
}

static void
check_cursor(const struct cursor *c)
{
	const struct channel *ch = c->ch;
	assert_always(c->acked < c->at && c->at <= ch->next_seq && c->first <= c->at);
	assert_always(c->fl_n <= FLIGHT_MAX && c->fl_n <= c->fl_cap);
	uint64_t seq = c->acked, bytes = 0, flows = 0;
	for (uint32_t i = 0; i < c->fl_n; i++) {
		const struct flight *f = &c->fl[(c->fl_head + i) & (c->fl_cap - 1)];
		assert_always(f->seq > seq && f->seq < c->at);
		seq = f->seq;
		bytes += f->gap_from == 0 ? f->bytes : 0;
		flows += f->gap_from == 0 ? f->flows : 0;
	}
	assert_always(bytes == c->fl_bytes && flows == c->fl_flows);
	assert_always(c->sess == NULL || c->sess->end == ch->end);
}

static void
check_slots(const struct channel *ch)
{
	uint64_t next = 0, bytes = 0;
	assert_always(ch->n_slots <= ch->cap_slots);
	for (uint32_t i = 0; i < ch->n_slots; i++) {
		const struct slot *s = &ch->slots[(ch->slot_head + i) & (ch->cap_slots - 1)];
		assert_always(s->to >= s->seq && (i == 0 || s->seq == next));
		next = s->to + 1;
		bytes += s->f != NULL && !s->is_loaded ? sizeof(struct frame) + s->len : 0;
	}
	assert_always(ch->n_slots == 0 || next == ch->next_seq);
	assert_always(bytes <= ch->mem_bytes); /* holes count a little */
}

static void
check_publish(const struct link_end *e)
{
	unsigned n = 0;
	uint64_t parked = 0;
	for (const struct channel *ch = e->channels; ch != NULL; ch = ch->next) {
		n++;
		check_slots(ch);
		assert_always(ch->mem_bytes <= e->ring || ch->n_slots <= 1);
		for (const struct cursor *c = ch->cursors; c != NULL; c = c->next) {
			check_cursor(c);
			parked += c->sess == NULL;
		}
	}
	assert_always(n == e->n_channels && n <= e->max_channels);
	assert_always(parked <= e->max_peers);
}

static void
check_inboxes(const struct session *s)
{
	uint64_t all = 0;
	assert_always(s->n_inbox <= INBOX_MAX);
	for (unsigned i = 0; i < s->n_inbox; i++) {
		const struct inbox *b = &s->inbox[i];
		uint64_t bytes = 0;
		unsigned n = 0;
		assert_always(b->acked <= b->done && b->done <= b->received);
		for (const struct inframe *f = b->head; f != NULL; f = f->next) {
			bytes += zmq_msg_size(&f->msg);
			n++;
			assert_always(f->seq <= b->received && f->seq > b->done);
		}
		assert_always(bytes == b->waiting_bytes && b->window <= UINT64_C(1) << 30);
		/* what an honest publisher may have unacknowledged, and no more */
		assert_always(n <= FLIGHT_MAX);
		all += bytes;
	}
	assert_always(all <= (UINT64_C(1) << 30) + FRAME_MAX);
}

/* However much others send, the honest probe's frames have their turn. */
static void
check_turn(const struct session *s)
{
	const struct inbox *b = s->n_inbox > 0 ? &s->inbox[0] : NULL;
	if (s->node_id != honest_node() || !s->up)
		return;
	/* (nothing is taken before a mark was saved once) */
	bool may = b != NULL && b->head != NULL && !world->hold &&
	    (world->l.mark_fn == NULL || b->is_saved);
	if (!may || b->done != world->served)
		world->waits = 0;
	world->served = b != NULL ? b->done : 0;
	assert_always(world->waits++ <= 4 * PEERS);
}

void
check_bounds(void)
{
	const struct link_end *e = world->e;
	uint64_t rows = 0;
	unsigned n = 0;
	for (const struct session *s = e->sessions; s != NULL; s = s->next) {
		unsigned pending = 0;
		n++;
		for (const struct pending *p = s->pend; p != NULL; p = p->next)
			pending++;
		assert_always(pending == s->n_pend && pending <= CONTROL_MAX);
		if (!e->is_publish) {
			check_inboxes(s);
			check_turn(s);
		}
		unsigned cursors = 0;
		for (const struct cursor *c = s->cursors; c != NULL; c = c->sess_next, cursors++)
			assert_always(c->sess == s);
		assert_always(cursors <= e->max_subscriptions + INBOX_MAX / 2);
		for (const struct session *t = s->next; t != NULL && s->up && !s->dead; t = t->next)
			assert_always(!t->up || t->dead || t->node_id != s->node_id ||
			    strcmp(t->peer_end, s->peer_end) != 0);
	}
	assert_always(n == e->n_sessions && n <= e->max_peers + 1 && (e->is_bind || n <= 1));
	assert_always(e->n_positions <= POSITIONS_MAX);
	assert_always(world->zap_all <= (int64_t)e->n_conns);
	if (e->is_publish)
		check_publish(e);
	link_subscriptions(&world->l, NULL, check_ledger, &rows);
	link_peers(&world->l, NULL, check_peer, NULL);
}
