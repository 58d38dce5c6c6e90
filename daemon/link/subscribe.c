/* SPDX-License-Identifier: Apache-2.0
 * link/subscribe.c - the subscribing end: ask for flows, decode frames, acknowledge.
 *
 * The link thread never stops reading. A frame that cannot be decoded yet, because all batches are
 * out at slow outputs, waits; it is acknowledged only when its flows are safe with the outputs
 * (mark.c), so that the publisher's window bounds what can wait, and the rest stays at the probe. A
 * session that comes back asks for everything after the safe position, and drops what this process
 * has pushed already. */
#include <stdio.h>
#include <stdlib.h>

#include "link/link_priv.h"

enum { DECODE_BURST = 32 };

static const uint64_t sub_number = 1; /* an end has one subscription */

/* ---- positions */

static struct position *
position_find(struct link_end *e, const struct session *s)
{
	for (unsigned i = 0; i < e->n_positions; i++)
		if (e->positions[i].node_id == s->node_id &&
		    strcmp(e->positions[i].peer_end, s->peer_end) == 0)
			return &e->positions[i];
	return NULL;
}

static void
position_keep(struct session *s, const struct inbox *b)
{
	struct link_end *e = s->end;
	struct position *p = position_find(e, s);
	if (p == NULL && e->n_positions < POSITIONS_MAX) {
		struct position *all = realloc(e->positions, (e->n_positions + 1) * sizeof(*all));
		if (all == NULL)
			return;
		e->positions = all;
		p = &all[e->n_positions++];
	} else if (p == NULL) {
		p = &e->positions[0];
		for (unsigned i = 1; i < e->n_positions; i++)
			if (e->positions[i].used < p->used)
				p = &e->positions[i];
	}
	*p = (struct position){.node_id = s->node_id, .channel = b->channel, .seq = b->done,
	    .marked = b->marked, .safe = b->safe, .used = ++e->position_clock};
	memcpy(p->peer_end, s->peer_end, sizeof(p->peer_end));
}

/* ---- asking */

static void
ask(struct session *s, const struct position *p)
{
	struct link_end *e = s->end;
	uint8_t numbers[2 * F_COUNT];
	struct msg m = MSG(M_SUBSCRIBE, s->me, s->peer);
	msg_num(&m, MI_sub, sub_number);
	if (e->filter[0] != '\0')
		msg_text(&m, MI_filter, strv_of(e->filter));
	if (!field_set_eq(e->fields, field_set_all()))
		msg_put_fields(&m, e->fields, numbers);
	if (e->want_codec >= 0)
		msg_num(&m, MI_codec, (uint64_t)e->want_codec);
	msg_num(&m, MI_stats, e->want_stats);
	if (p != NULL) {
		msg_num(&m, MI_resume_channel, p->channel);
		msg_num(&m, MI_resume_seq, p->safe);
	}
	session_send(s, &m);
}

void
subscribe_up(struct session *s)
{
	ask(s, position_find(s->end, s));
}

void
subscribe_changed(struct link_end *e)
{
	for (struct session *s = e->sessions; s != NULL; s = s->next)
		if (s->up && !s->dead)
			ask(s, NULL);
}

/* ---- answers */

static struct inbox *
inbox_find(struct session *s, uint64_t channel)
{
	for (unsigned i = 0; i < s->n_inbox; i++)
		if (s->inbox[i].channel == channel)
			return &s->inbox[i];
	return NULL;
}

static void
inbox_clear(struct inbox *b)
{
	while (b->head != NULL) {
		struct inframe *f = b->head;
		b->head = f->next;
		zmq_msg_close(&f->msg);
		free(f);
	}
	b->tail = NULL;
	b->waiting_bytes = 0;
}

/* A free place, if need be that of the oldest channel that has nothing left to do. */
static struct inbox *
inbox_new(struct session *s)
{
	for (unsigned i = 0; s->n_inbox == INBOX_MAX && i < INBOX_MAX; i++)
		if (s->inbox[i].head == NULL && s->inbox[i].channel != s->current) {
			memmove(&s->inbox[i], &s->inbox[i + 1],
			    (INBOX_MAX - 1 - i) * sizeof(s->inbox[0]));
			s->n_inbox--;
		}
	return s->n_inbox < INBOX_MAX ? &s->inbox[s->n_inbox++] : NULL;
}

static void
on_subscribed(struct session *s, const struct msg *m)
{
	struct link_end *e = s->end;
	struct position *p = position_find(e, s);
	uint64_t next = m->u[MI_next], channel = m->u[MI_channel];
	struct inbox *b = inbox_find(s, channel);
	if (m->u[MI_sub] != sub_number || next == 0 || channel == 0) {
		counter_add(&e->counters, C_msg_bad, 1);
		return;
	}
	s->current = channel;
	snprintf(s->sub_codec, sizeof(s->sub_codec), "%s", m->u[MI_codec] < FRAME_CODECS ?
	    frame_codec_name((enum frame_codec)m->u[MI_codec]) : "?");
	if (b == NULL) {
		b = inbox_new(s);
		if (b == NULL) {
			session_die(s, "out of memory, or too many subscriptions change");
			return;
		}
		*b = (struct inbox){.channel = channel, .received = next - 1, .done = next - 1,
		    .marked = next - 1, .safe = next - 1, .acked = next - 1, .ack_due_us = NEVER};
		s->sub_first = next;
		if (p != NULL && m->u[MI_resumed] != 0 && p->channel == channel && p->seq >= next) {
			/* pushed before, not yet safe then: it comes again and is dropped */
			b->received = b->done = p->seq;
			b->marked = b->safe = p->safe;
			b->ack_due_us = e->link->now_us;
		}
		if (p != NULL && m->u[MI_resumed] == 0 && s->n_inbox == 1) {
			counter_add(&e->counters, C_resume_failed, 1);
			log_notice("link: %s: %s no longer has our position, flows since then may be "
			    "missing (it restarted, its resume time passed, or we asked for something "
			    "else)", e->name, s->name);
		}
	}
	if (p != NULL && p->channel != channel)
		p->seq = p->safe = p->marked = 0; /* of a channel that is over */
	if (p != NULL)
		p->is_live = true;
	if (next > b->received)
		b->jump = next;
	b->window = m->u[MI_window] > 0 ? m->u[MI_window] : 2 << 20;
	end_state(e, PORT_UP, "");
}

static void
on_refused(struct session *s, const struct msg *m)
{
	struct link_end *e = s->end;
	char text[200], why[320];
	msg_copy(m, MI_text, text, sizeof(text));
	if (m->u[MI_line] != 0)
		snprintf(why, sizeof(why), "%.40s refused our subscription: line %u column %u: %s",
		    s->name, (unsigned)m->u[MI_line], (unsigned)m->u[MI_col], text);
	else
		snprintf(why, sizeof(why), "%.40s refused our subscription: %s", s->name, text);
	counter_add(&e->counters, C_peer_refused, 1);
	fault_note(e, e->is_bind ? s->seen : e->addr.endpoint, true, why);
	end_state(e, PORT_DEGRADED, why);
}

/* ---- frames */

static void
enqueue(struct session *s, struct inbox *b, const struct msg *m, zmq_msg_t *frame)
{
	struct link_end *e = s->end;
	struct inframe *f = malloc(sizeof(*f));
	size_t size = frame != NULL ? zmq_msg_size(frame) : 0;
	if (f == NULL || b->waiting_bytes + size > b->window + FRAME_MAX) {
		free(f);
		log_warn("link: %s: %s sends more than its window, cutting it off", e->name, s->name);
		session_die(s, "sends more than its window");
		return;
	}
	*f = (struct inframe){.is_gap = frame == NULL, .seq = b->received, .flows = m->u[MI_flows]};
	zmq_msg_init(&f->msg);
	if (frame != NULL)
		zmq_msg_move(&f->msg, frame);
	b->waiting_bytes += size;
	if (b->tail != NULL)
		b->tail->next = f;
	else
		b->head = f;
	b->tail = f;
	end_due(e, 0);
}

static void
on_batch(struct session *s, const struct msg *m, zmq_msg_t *frame)
{
	struct counters *k = &s->end->counters;
	struct inbox *b = inbox_find(s, m->u[MI_channel]);
	uint64_t seq = m->u[MI_seq];
	if (b == NULL || frame == NULL || m->u[MI_flows] > BATCH_ROWS) {
		counter_add(k, C_msg_bad, 1);
		return;
	}
	if (s->end->draining)
		return; /* it comes again when we are back */
	if (seq <= b->received) {
		counter_add(k, C_frame_repeated, 1);
		return;
	}
	if (seq > b->received + 1 && seq != b->jump)
		counter_add(k, C_frame_missing, seq - b->received - 1);
	counter_add(k, C_frame_in, 1);
	b->received = seq;
	enqueue(s, b, m, frame);
}

static void
on_gap(struct session *s, const struct msg *m)
{
	struct inbox *b = inbox_find(s, m->u[MI_channel]);
	if (b == NULL || m->u[MI_to] < m->u[MI_from]) {
		counter_add(&s->end->counters, C_msg_bad, 1);
		return;
	}
	if (m->u[MI_to] <= b->received) {
		counter_add(&s->end->counters, C_frame_repeated, 1);
		return;
	}
	b->received = m->u[MI_to];
	unsigned cause = m->u[MI_cause] < GAP_CAUSES ? (unsigned)m->u[MI_cause] : GAP_NONE;
	log_line(&s->end->gap_site, LOG_WARN, "link: %s: %s lost %s%llu flows before they were sent: "
	    "%s", s->end->name, s->name, cause == GAP_PROBE_RESTART ? "some, known are " : "",
	    (unsigned long long)m->u[MI_flows], gap_text(cause));
	enqueue(s, b, m, NULL);
}

/* Records that say nothing about their probe come from the peer itself. */
static void
fill_probe(struct batch *b, const char *name)
{
	struct column *c = &b->col[F_probe];
	if (b->n == 0 || (c->used && c->dense))
		return;
	struct text t = batch_text_add(b, strv_of(name));
	bool was_used = c->used;
	if (t.len == 0 || batch_column(b, F_probe, true) == NULL)
		return;
	struct text *cells = c->data;
	for (uint32_t r = 0; r < b->n; r++)
		if (!was_used || (c->present[r >> 6] >> (r & 63) & 1) == 0)
			cells[r] = t;
	c->dense = true;
}

/* True when the frame is dealt with, false when no batch is at home. */
static bool
decode(struct session *s, struct inframe *f, uint64_t now)
{
	struct link_end *e = s->end;
	struct counters *k = &e->counters;
	struct frame_info info = {0};
	size_t size = zmq_msg_size(&f->msg);
	if (f->is_gap) {
		counter_add(k, C_flow_lost_gap, f->flows);
		s->lost_flows += f->flows;
		return true;
	}
	struct batch *b = batch_pool_get(e->pool);
	if (b == NULL)
		return false;
	if (frame_peek(zmq_msg_data(&f->msg), size, &info) != 0 ||
	    frame_decode(e->link->work, zmq_msg_data(&f->msg), size, b, now, NULL) != 0) {
		counter_add(k, C_frame_bad, 1);
		counter_add(k, C_flow_lost_decode, f->flows);
		s->lost_flows += f->flows;
		batch_unref(&b);
		return true;
	}
	fill_probe(b, s->name);
	b->source = e->host.number;
	counter_add(k, C_frame_bytes, size);
	counter_add(k, C_frame_raw_bytes, info.raw_len);
	counter_add(k, C_flow_in, b->n);
	counter_add(k, C_flow_out, b->n);
	counter_add(k, C_batch_out, 1);
	s->flows += b->n;
	s->frames++;
	s->bytes += size;
	s->raw_bytes += info.raw_len;
	e->host.push(e->host.ctx, &b, false);
	return true;
}

void
subscribe_ack(struct session *s, bool all, uint64_t now)
{
	for (unsigned i = 0; i < s->n_inbox; i++) {
		struct inbox *b = &s->inbox[i];
		bool marks = s->end->link->mark_fn != NULL;
		uint64_t upto = marks ? b->safe : b->done;
		if (upto <= b->acked ||
		    (!all && !marks && upto - b->acked < ACK_EVERY && b->unacked_bytes < b->window / 4 &&
			now < b->ack_due_us))
			continue;
		struct msg m = MSG(M_ACK, s->me, s->peer);
		msg_num(&m, MI_channel, b->channel);
		msg_num(&m, MI_seq, upto);
		b->acked = upto;
		if (!marks)
			b->unacked_bytes = 0;
		b->ack_due_us = upto == b->done ? NEVER : now + ACK_US;
		session_send(s, &m);
	}
}

static bool
work_inbox(struct session *s, struct inbox *b, unsigned *left, uint64_t now)
{
	if (s->end->link->mark_fn != NULL && !b->is_saved)
		return true; /* until the first mark */
	while (b->head != NULL && *left > 0) {
		struct inframe *f = b->head;
		size_t size = zmq_msg_size(&f->msg);
		if (!decode(s, f, now))
			return false;
		b->done = f->seq;
		b->waiting_bytes -= size;
		b->unacked_bytes += size;
		b->head = f->next;
		if (b->head == NULL)
			b->tail = NULL;
		zmq_msg_close(&f->msg);
		free(f);
		(*left)--;
		if (b->ack_due_us == NEVER) {
			b->ack_due_us = now + ACK_US;
			session_due(s->end, b->ack_due_us);
		}
		subscribe_ack(s, false, now);
	}
	return true;
}

void
subscribe_work(struct link_end *e, uint64_t now)
{
	unsigned left = DECODE_BURST;
	e->starved = false;
	for (struct session *s = e->sessions; s != NULL && e->link->mark_fn != NULL; s = s->next)
		if (s->up)
			subscribe_ack(s, false, now);
	for (struct session *s = e->sessions; s != NULL; s = s->next)
		for (unsigned i = 0; i < s->n_inbox && s->up && !e->starved; i++)
			e->starved = !work_inbox(s, &s->inbox[i], &left, now);
	if (e->starved)
		end_due(e, now + BLOCKED_US);
	else if (left == 0)
		end_due(e, 0);
}

uint64_t
subscribe_tick(struct session *s, uint64_t now)
{
	uint64_t due = NEVER;
	subscribe_ack(s, false, now);
	/* with marks it is mark_work() that looks at ack_due_us */
	for (unsigned i = 0; i < s->n_inbox && s->end->link->mark_fn == NULL; i++)
		due = min_u64(due, s->inbox[i].ack_due_us);
	return due;
}

void
subscribe_gone(struct session *s)
{
	const struct inbox *b = inbox_find(s, s->current);
	if (b != NULL)
		position_keep(s, b);
	for (unsigned i = 0; i < s->n_inbox; i++)
		inbox_clear(&s->inbox[i]);
	s->n_inbox = 0;
}

bool
subscribe_busy(const struct link_end *e)
{
	for (const struct session *s = e->sessions; s != NULL; s = s->next)
		for (unsigned i = 0; i < s->n_inbox; i++)
			if (s->inbox[i].head != NULL)
				return true;
	return false;
}

static void
on_stats(struct session *s, const struct msg *m)
{
	struct link_end *e = s->end;
	struct stats_second sec;
	unsigned i = 0;
	if (msg_get_stats(m, &sec) != 0) {
		counter_add(&e->counters, C_msg_bad, 1);
		return;
	}
	if (sec.probe[0] == '\0')
		snprintf(sec.probe, sizeof(sec.probe), "%s", s->name);
	counter_add(&e->counters, C_stats_in, 1);
	while (i < s->n_second && (strcmp(s->second[i].interface, sec.interface) != 0 ||
	    strcmp(s->second[i].probe, sec.probe) != 0))
		i++;
	if (i < sizeof(s->second) / sizeof(s->second[0])) {
		if (i == s->n_second)
			s->n_second++;
		s->second[i] = sec;
	}
	e->host.second(e->host.ctx, &sec);
}

void
subscribe_message(struct session *s, const struct msg *m, zmq_msg_t *frame, uint64_t now)
{
	(void)now;
	if (m->type == M_SUBSCRIBED)
		on_subscribed(s, m);
	else if (m->type == M_REFUSED)
		on_refused(s, m);
	else if (m->type == M_BATCH)
		on_batch(s, m, frame);
	else if (m->type == M_GAP)
		on_gap(s, m);
	else if (m->type == M_STATS)
		on_stats(s, m);
	else
		counter_add(&s->end->counters, C_msg_bad, 1);
}
