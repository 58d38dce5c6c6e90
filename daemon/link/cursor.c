/* SPDX-License-Identifier: Apache-2.0
 * link/cursor.c - one subscriber's position in one channel.
 *
 * Its ledger, since its first sequence: passed = acknowledged + in flight + queued + spooled +
 * lost. A frame is queued or spooled (its slot is at or after `at`), then in flight (sent, in the
 * list `fl`), then acknowledged. A frame given up before it was sent is lost, once, and joins the
 * pending gap; an announced gap waits in `fl` like a frame until it is acknowledged, so that a peer
 * that was cut off in between hears of it again. */
#include <stdio.h>
#include <stdlib.h>

#include "link/link_priv.h"

static struct flight *
flight_at(const struct cursor *c, uint32_t i)
{
	return &c->fl[(c->fl_head + i) & (c->fl_cap - 1)];
}

/* Room for one more; false when the list is at its bound or without memory. */
static bool
flight_room(struct cursor *c)
{
	if (c->fl_n < c->fl_cap)
		return true;
	if (c->fl_n >= FLIGHT_MAX)
		return false;
	uint32_t cap = c->fl_cap == 0 ? 16 : c->fl_cap * 2;
	struct flight *fl = malloc(cap * sizeof(*fl));
	if (fl == NULL)
		return false;
	for (uint32_t i = 0; i < c->fl_n; i++)
		fl[i] = *flight_at(c, i);
	free(c->fl);
	c->fl = fl;
	c->fl_cap = cap;
	c->fl_head = 0;
	return true;
}

static void
flight_push(struct cursor *c, struct flight f)
{
	*flight_at(c, c->fl_n++) = f;
	if (f.gap_from == 0) {
		c->fl_bytes += f.bytes;
		c->fl_flows += f.flows;
	}
}

static void
flight_pop(struct cursor *c)
{
	const struct flight *f = flight_at(c, 0);
	if (f->gap_from == 0) {
		c->fl_bytes -= f->bytes;
		c->fl_flows -= f->flows;
	}
	c->fl_head = (c->fl_head + 1) & (c->fl_cap - 1);
	c->fl_n--;
}

static void
session_join(struct cursor *c, struct session *s)
{
	struct cursor **at = &s->cursors;
	while (*at != NULL)
		at = &(*at)->sess_next;
	*at = c;
	c->sess_next = NULL;
	c->sess = s;
	c->parked_us = 0;
	snprintf(c->peer, sizeof(c->peer), "%s", s->name);
}

static void
session_leave(struct cursor *c)
{
	if (c->sess == NULL)
		return;
	struct cursor **at = &c->sess->cursors;
	while (*at != c)
		at = &(*at)->sess_next;
	*at = c->sess_next;
	c->sess_next = NULL;
	c->sess = NULL;
}

struct cursor *
cursor_new(struct channel *ch, struct session *s, uint64_t sub, bool stats)
{
	struct cursor *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return NULL;
	/* what was gathered before this subscription is not its business */
	channel_seal(ch, ch->end->link->now_us);
	c->ch = ch;
	c->sub = sub;
	c->stats = stats;
	c->node_id = s->node_id;
	memcpy(c->peer_end, s->peer_end, sizeof(c->peer_end));
	memcpy(c->user, s->user, sizeof(c->user));
	c->first = c->at = ch->next_seq;
	c->acked = ch->next_seq - 1;
	c->base_offered = ch->offered;
	c->base_filtered = ch->filtered;
	c->base_passed = ch->passed;
	c->base_ns = ch->filter_ns;
	c->base_early = atomic_load_explicit(&ch->end->early_flows, memory_order_relaxed);
	c->next = ch->cursors;
	ch->cursors = c;
	ch->meta_changed = true;
	session_join(c, s);
	return c;
}

void
cursor_free(struct cursor *c)
{
	struct cursor **at = &c->ch->cursors;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->ch->meta_changed = true;
	session_leave(c);
	free(c->fl);
	free(c);
}

void
cursor_park(struct cursor *c, uint64_t now)
{
	session_leave(c);
	c->parked_us = now;
}

static void
settle(struct cursor *c, uint64_t seq)
{
	struct counters *k = &c->ch->end->counters;
	while (c->fl_n > 0 && flight_at(c, 0)->seq <= seq) {
		const struct flight f = *flight_at(c, 0);
		if (f.gap_from == 0) {
			c->acked_flows += f.flows;
			c->acked_frames++;
			c->acked_bytes += f.bytes;
			counter_add(k, C_flow_out, f.flows);
			if (c->sess != NULL) {
				c->sess->flows += f.flows;
				c->sess->frames++;
				c->sess->bytes += f.bytes;
			}
		}
		c->acked = f.seq;
		flight_pop(c);
	}
}

void
cursor_ack(struct cursor *c, uint64_t seq)
{
	struct channel *ch = c->ch;
	uint64_t before = c->acked;
	if (seq >= c->at) {
		counter_add(&ch->end->counters, C_msg_bad, 1);
		return;
	}
	settle(c, seq);
	ch->acked_changed |= c->acked != before;
	if (c->last != 0 && c->acked >= c->last)
		cursor_free(c);
	/* only the slowest one holds frames */
	if (ch->n_slots > 0 && before < ch->slots[ch->slot_head].to)
		channel_trim(ch);
}

static void
gap_add(struct cursor *c, const struct flight *g)
{
	if (c->gap_from == 0)
		c->gap_from = g->gap_from;
	c->gap_cause = c->gap_cause == GAP_NONE || c->gap_cause == g->cause ? g->cause : GAP_SEVERAL;
	c->gap_to = g->seq;
	c->gap_flows += g->flows;
	c->gap_bytes += g->bytes;
}

static void
gap_forget(struct cursor *c)
{
	c->gap_from = c->gap_to = c->gap_flows = c->gap_bytes = 0;
	c->gap_cause = GAP_NONE;
}

/* By name, at the cursor and at the end. Negative: what will be met and counted again. */
static void
lost(struct cursor *c, uint64_t flows, enum gap_cause cause)
{
	struct counters *k = &c->ch->end->counters;
	c->lost_flows += flows;
	c->lost_by[cause] += flows;
	if (c->sess != NULL)
		c->sess->lost_flows += flows;
	if (cause == GAP_RING_FULL)
		counter_add(k, C_flow_lost_ring, flows);
	else if (cause == GAP_SPOOL_FULL)
		counter_add(k, C_flow_lost_spool, flows);
	else if (cause == GAP_DAMAGED)
		counter_add(k, C_flow_lost_damaged, flows);
	/* one that could not be encoded was counted when it was made */
}

/* Several causes: whatever they were, the sum is right and none goes below 0. */
static void
unlose(struct cursor *c, uint64_t flows, enum gap_cause cause)
{
	for (unsigned i = 0; i <= GAP_CAUSES && flows > 0; i++) {
		enum gap_cause k = i == 0 ? cause : (enum gap_cause)(i - 1);
		uint64_t n = min_u64(flows, c->lost_by[k]);
		lost(c, -n, k);
		flows -= n;
	}
}

void
cursor_lose(struct cursor *c, uint64_t flows)
{
	lost(c, flows, GAP_ENCODE);
}

void
cursor_drop(struct cursor *c, const struct slot *s, enum gap_cause cause)
{
	struct flight g = {s->to, c->at > s->seq ? c->at : s->seq, s->flows, s->len, 0, (uint8_t)cause};
	if (c->last != 0 && s->seq > c->last)
		return;
	lost(c, s->flows, cause);
	gap_add(c, &g);
	c->at = s->to + 1;
	if (c->sess != NULL)
		session_wake(c->sess);
}

/* Its subscriber had more than we remembered when we were killed: that is acknowledged. */
static void
catch_up(struct cursor *c, uint64_t seq)
{
	if (seq < c->at)
		return;
	uint64_t flows = channel_before(c->ch, seq + 1) - channel_before(c->ch, c->at);
	c->acked_flows += flows;
	counter_add(&c->ch->end->counters, C_flow_out, flows);
	c->at = seq + 1;
	c->acked = seq;
}

void
cursor_resume(struct cursor *c, struct session *s, uint64_t seq)
{
	struct flight pending = {c->gap_to, c->gap_from, c->gap_flows, c->gap_bytes, 0, c->gap_cause};
	session_join(c, s);
	settle(c, seq);
	if (c->is_recovered)
		catch_up(c, seq);
	c->is_recovered = false;
	gap_forget(c);
	/* what was sent and did not arrive: again if it is still there, else it is lost now */
	while (c->fl_n > 0) {
		struct flight f = *flight_at(c, 0);
		const struct slot *slot = channel_slot(c->ch, f.seq);
		if (f.gap_from == 0 && slot != NULL && slot->len > 0)
			break;
		if (f.gap_from == 0) {
			f.gap_from = f.seq;
			f.cause = c->ch->end->spool != NULL ? GAP_SPOOL_FULL : GAP_RING_FULL;
			lost(c, f.flows, f.cause);
		}
		gap_add(c, &f);
		flight_pop(c);
	}
	if (c->fl_n > 0) {
		/* from here on the channel is whole; holes in it will be met and counted again */
		c->at = flight_at(c, 0)->seq;
		for (; c->fl_n > 0; flight_pop(c))
			if (flight_at(c, 0)->gap_from != 0)
				unlose(c, flight_at(c, 0)->flows, flight_at(c, 0)->cause);
		unlose(c, pending.flows, pending.cause);
	} else if (pending.gap_from != 0) {
		gap_add(c, &pending);
	}
	channel_trim(c->ch);
}

void
cursor_end(struct cursor *c)
{
	channel_seal(c->ch, c->ch->end->link->now_us);
	c->last = c->ch->next_seq - 1;
	c->stats = false;
	c->end_offered = c->ch->offered;
	c->end_filtered = c->ch->filtered;
	c->end_passed = c->ch->passed;
	c->end_early = atomic_load_explicit(&c->ch->end->early_flows, memory_order_relaxed);
	c->end_ns = c->ch->filter_ns;
	if (c->acked >= c->last) {
		struct channel *ch = c->ch;
		cursor_free(c);
		channel_trim(ch);
	}
}

static int
send_gap(struct cursor *c)
{
	struct session *s = c->sess;
	struct link *l = s->end->link;
	struct msg m = MSG(M_GAP, s->me, s->peer);
	msg_num(&m, MI_channel, c->ch->id);
	msg_num(&m, MI_from, c->gap_from);
	msg_num(&m, MI_to, c->gap_to);
	msg_num(&m, MI_flows, c->gap_flows);
	msg_num(&m, MI_bytes, c->gap_bytes);
	msg_num(&m, MI_cause, c->gap_cause);
	if (gap_is_unknown(c->gap_cause))
		msg_num(&m, MI_unknown, 1);
	msg_text(&m, MI_text, strv_of(gap_cause_info[c->gap_cause].text));
	buf_reset(&l->out);
	msg_encode(&m, &l->out);
	int rc = session_put(s, &l->out, NULL);
	if (rc != 0)
		return rc;
	flight_push(c, (struct flight){c->gap_to, c->gap_from, c->gap_flows, c->gap_bytes, l->now_us,
	    c->gap_cause});
	gap_forget(c);
	return 0;
}

static int
send_frame(struct cursor *c, const struct slot *slot)
{
	struct session *s = c->sess;
	struct link *l = s->end->link;
	struct frame *f = slot->f;
	struct msg m = MSG(M_BATCH, s->me, s->peer);
	msg_num(&m, MI_channel, c->ch->id);
	msg_num(&m, MI_seq, slot->seq);
	msg_num(&m, MI_flows, slot->flows);
	buf_reset(&l->out);
	msg_encode(&m, &l->out);
	zmq_msg_t body;
	frame_ref(f);
	if (zmq_msg_init_data(&body, f->data, f->len, frame_sent, f) != 0) {
		frame_unref(f);
		return -E_NOMEM;
	}
	int rc = session_put(s, &l->out, &body);
	if (rc != 0) {
		zmq_msg_close(&body);
		return rc;
	}
	flight_push(c, (struct flight){.seq = slot->seq, .flows = slot->flows, .bytes = slot->len,
	    .sealed_us = slot->sealed_us});
	c->at = slot->seq + 1;
	c->sent_bytes += slot->len;
	c->sent_raw += slot->raw_len;
	counter_add(&s->end->counters, C_frame_out, 1);
	return 0;
}

bool
cursor_pump(struct cursor *c)
{
	while (flight_room(c)) {
		if (c->gap_from != 0) {
			if (send_gap(c) != 0)
				return false;
			continue;
		}
		if (c->at >= c->ch->next_seq || (c->last != 0 && c->at > c->last) ||
		    c->fl_bytes >= c->ch->end->window)
			break;
		struct slot *slot = channel_slot(c->ch, c->at);
		assert_always(slot != NULL);
		if (slot->len == 0) {
			cursor_drop(c, slot, slot->cause);
		} else if (slot->f == NULL) {
			channel_fetch(c->ch, slot);
			if (!slot->is_wanted)
				return false; /* not asked for: later again */
			break; /* goes on when it is read */
		} else if (send_frame(c, slot) != 0) {
			return false;
		}
	}
	return c->fl_n < c->fl_cap || c->fl_n >= FLIGHT_MAX; /* else: no memory */
}

bool
cursor_idle(const struct cursor *c)
{
	uint64_t last = c->last != 0 ? c->last : c->ch->next_seq - 1;
	return c->fl_n == 0 && c->gap_from == 0 && c->at > last &&
	    (c->last != 0 || c->ch->gather == NULL);
}

uint64_t
cursor_lag_us(const struct cursor *c, uint64_t now)
{
	uint64_t sent = c->fl_n > 0 ? flight_at(c, 0)->sealed_us : now;
	if (now > sent + ACK_US + ACK_US / 2)
		return now - sent;
	const struct slot *slot = channel_slot(c->ch, c->at);
	if (slot == NULL || (c->last != 0 && slot->seq > c->last) || slot->sealed_us > now)
		return 0;
	return now - slot->sealed_us;
}

uint64_t
cursor_waiting(const struct cursor *c, uint64_t *spooled_out)
{
	const struct channel *ch = c->ch;
	uint64_t end = c->last != 0 ? c->last + 1 : ch->next_seq;
	uint64_t at = c->at < end ? c->at : end;
	uint64_t n = channel_before(ch, end) - channel_before(ch, at);
	uint64_t mem = min_u64(ch->mem_from, end);
	if (spooled_out != NULL)
		*spooled_out = mem > at ? channel_before(ch, mem) - channel_before(ch, at) : 0;
	if (c->last == 0 && ch->gather != NULL)
		n += ch->gather->n;
	return n;
}
