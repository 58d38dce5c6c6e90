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

/* ---- positions */

static struct position *
position_find(struct link_end *e, const struct session *s)
{
	for (unsigned i = 0; i < e->n_positions; i++)
		if (e->positions[i].node_id == s->node_id &&
		    strcmp(e->positions[i].peer_end, s->peer_end) == 0 &&
		    strcmp(e->positions[i].user, s->user) == 0)
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
		p->want = NULL;
	} else if (p == NULL) {
		p = &e->positions[0];
		for (unsigned i = 1; i < e->n_positions; i++)
			if (e->positions[i].used < p->used)
				p = &e->positions[i];
	}
	want_unref(&p->want);
	*p = (struct position){.node_id = s->node_id, .channel = b->channel, .seq = b->done,
	    .marked = b->marked, .safe = b->safe, .used = ++e->position_clock};
	/* whatever is asked for later: the position is one of what this answered */
	if (s->want != NULL)
		p->want = want_ref(s->want);
	memcpy(p->peer_end, s->peer_end, sizeof(p->peer_end));
	memcpy(p->user, s->user, sizeof(p->user));
}

/* ---- asking */

void
subscribe_up(struct session *s)
{
	s->account = account_open(s);
	const struct position *p = position_find(s->end, s);
	if (!path_allows(s))
		return;
	if (s->end->by_outputs) {
		relay_up(s, p);
		return;
	}
	if (p != NULL && p->want != NULL && !want_eq(p->want, s->end->want)) {
		want_ask(s, p->want, p); /* what was queued for it, then the change once more */
		p = NULL;
	}
	want_ask(s, s->end->want, p);
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
inbox_clear(struct session *s, struct inbox *b)
{
	while (b->head != NULL) {
		struct inframe *f = b->head;
		b->head = f->next;
		if (!f->is_gap)
			account_return(s, f->flows);
		zmq_msg_close(&f->msg);
		free(f);
	}
	b->tail = NULL;
	b->n_waiting = 0;
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
jump_add(struct inbox *b, uint64_t seq)
{
	memmove(&b->jump[1], &b->jump[0], sizeof(b->jump) - sizeof(b->jump[0]));
	b->jump[0] = seq;
}

static bool
is_jump(const struct inbox *b, uint64_t seq)
{
	for (unsigned i = 0; i < JUMPS_MAX; i++)
		if (b->jump[i] == seq)
			return true;
	return false;
}

static void
on_subscribed(struct session *s, const struct msg *m)
{
	struct link_end *e = s->end;
	struct position *p = position_find(e, s);
	uint64_t next = m->u[MI_next], channel = m->u[MI_channel];
	struct inbox *b = inbox_find(s, channel);
	if (m->u[MI_sub] != SUB_NUMBER || next == 0 || channel == 0) {
		counter_add(&e->counters, C_msg_bad, 1);
		return;
	}
	if (!s->is_subscribed)
		return; /* given up meanwhile */
	want_taken(s, m);
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
		if (p != NULL && m->u[MI_resumed] != 0 && p->channel == channel && p->seq >= next) {
			/* pushed before, not yet safe then: it comes again and is dropped */
			b->received = b->done = p->seq;
			b->marked = b->safe = p->safe;
			b->ack_due_us = e->link->now_us;
		} else if (p != NULL && m->u[MI_resumed] != 0 && p->channel == channel &&
		    next > p->seq + 1) {
			log_warn("link: %s: %s goes on %llu frames behind our position: they were "
			    "acknowledged and are not here (an older state of this collector was put "
			    "back, or its state directory was full)", e->name, s->name,
			    (unsigned long long)(next - p->seq - 1));
			account_missing(s, next - p->seq - 1);
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
		jump_add(b, next);
	b->window = m->u[MI_window] > 0 ? min_u64(m->u[MI_window], WINDOW_MAX) : 2 << 20;
	end_up(e);
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
	if (msg_has(m, MI_sub))
		want_refused(s, m);
	if (m->u[MI_line] != 0 && relay_refused(s)) {
		s->change.refused[0] = '\0';
		log_notice("link: %s: %s; asking for more than is wanted", e->name, why);
		return;
	}
	if (e->by_outputs && msg_has(m, MI_sub)) { /* it is not what is asked for: again, later */
		free(s->relayed);
		s->relayed = NULL;
		e->ask_next_us = e->link->now_us + ACK_US;
		end_due(e, e->ask_next_us);
	}
	fault_note(e, e->is_bind ? s->seen : e->addr.endpoint, true, why);
	end_state(e, PORT_DEGRADED, why);
}

/* ---- frames */

/* More than a publisher may have unacknowledged, of one channel and in all of a session. */
static bool
is_too_much(const struct session *s, const struct inbox *b, size_t size)
{
	uint64_t all = size;
	for (unsigned i = 0; i < s->n_inbox; i++)
		all += s->inbox[i].waiting_bytes;
	return b->n_waiting >= FLIGHT_MAX || b->waiting_bytes + size > b->window + FRAME_MAX ||
	    all > WINDOW_MAX + FRAME_MAX;
}

static void
enqueue(struct session *s, struct inbox *b, const struct msg *m, zmq_msg_t *frame)
{
	struct link_end *e = s->end;
	struct inframe *f = malloc(sizeof(*f));
	size_t size = frame != NULL ? zmq_msg_size(frame) : 0;
	if (f == NULL || is_too_much(s, b, size)) {
		free(f);
		log_warn("link: %s: %s sends more than its window, cutting it off", e->name, s->name);
		session_die(s, "sends more than its window");
		return;
	}
	*f = (struct inframe){.is_gap = frame == NULL, .seq = b->received, .flows = m->u[MI_flows],
	    .cause = m->u[MI_cause], .unknown = m->u[MI_unknown] != 0};
	zmq_msg_init(&f->msg);
	if (frame != NULL)
		zmq_msg_move(&f->msg, frame);
	b->n_waiting++;
	if (frame != NULL)
		account_received(s, f->flows);
	b->waiting_bytes += size;
	if (b->tail != NULL)
		b->tail->next = f;
	else
		b->head = f;
	b->tail = f;
	end_due(e, 0);
}

/* The publisher does not know that we have it: it is acknowledged again, not taken again. */
static void
on_repeated(struct session *s, struct inbox *b, uint64_t seq)
{
	struct link_end *e = s->end;
	counter_add(&e->counters, C_frame_repeated, 1);
	if (seq == 0 || seq > b->done)
		return;
	b->acked = min_u64(b->acked, seq - 1);
	b->ack_due_us = min_u64(b->ack_due_us, e->link->now_us + ACK_US);
	session_due(e, b->ack_due_us);
}

static void
on_batch(struct session *s, const struct msg *m, zmq_msg_t *frame)
{
	struct counters *k = &s->end->counters;
	struct inbox *b = inbox_find(s, m->u[MI_channel]);
	uint64_t seq = m->u[MI_seq];
	if (b == NULL && s->current == 0 && s->n_loops > 0) {
		counter_add(k, C_flow_lost_loop, m->u[MI_flows]); /* on its way when we gave way */
		return;
	}
	if (b == NULL || frame == NULL || m->u[MI_flows] > BATCH_ROWS) {
		counter_add(k, C_msg_bad, 1);
		return;
	}
	if (s->end->draining)
		return; /* it comes again when we are back */
	if (seq <= b->received) {
		on_repeated(s, b, seq);
		return;
	}
	if (seq > b->received + 1 && !is_jump(b, seq))
		account_missing(s, seq - b->received - 1);
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
	if (s->end->draining)
		return; /* frames before it were left, too: all of it comes again */
	if (m->u[MI_to] <= b->received) {
		on_repeated(s, b, m->u[MI_to]);
		return;
	}
	b->received = m->u[MI_to];
	const struct gap_cause_info *why = &gap_cause_info[gap_cause_of(m->u[MI_cause])];
	log_line(&s->end->gap_site, LOG_WARN,
	    "link: %s: %s lost %llu flows%s before they were sent: %s (%s)", s->end->name, s->name,
	    (unsigned long long)m->u[MI_flows], m->u[MI_unknown] != 0 ? " and more" : "", why->text,
	    why->advice);
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

/* A peer that is known by its key has the name of that key, on its records too; only those that are
 * listed as relays may bring records of others. */
static bool
may_relay(const struct session *s)
{
	const char *list = s->end->relays;
	return !s->verified || trust_listed(list, s->name) || trust_listed(list, "*");
}

static void
tell_renamed(struct session *s, struct strv other)
{
	char q[80];
	if (!s->told_renamed)
		log_line(NULL, LOG_NOTICE,
		    "link: %s: %s sends records of probe %s, they get its own name "
		    "(list it in relays= to keep theirs)",
		    s->end->name, s->name, strv_quote(other, q, sizeof(q)));
	s->told_renamed = true;
}

static void
own_probe(struct session *s, struct batch *b)
{
	struct column *c = &b->col[F_probe];
	struct strv name = strv_of(s->name);
	struct text t = {0};
	uint64_t n = 0;
	if (!c->used || may_relay(s))
		return;
	struct text *cells = c->data;
	for (uint32_t r = 0; r < b->n; r++) {
		if (!column_has(c, r) || strv_eq(batch_text(b, cells[r]), name))
			continue;
		tell_renamed(s, batch_text(b, cells[r]));
		if (t.len == 0) /* a full arena leaves it empty: better than another's name */
			t = batch_text_add(b, name);
		cells[r] = t;
		n++;
	}
	counter_add(&s->end->counters, C_flow_renamed, n);
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
		account_gap(s, f->flows, f->cause, f->unknown);
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
		account_frame(s, f->flows, 0, false);
		batch_unref(&b);
		return true;
	}
	own_probe(s, b);
	fill_probe(b, s->name);
	clock_fill(s, b);
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
	account_frame(s, f->flows, b->n, true);
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
		b->n_waiting--;
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

/* Who came first this time comes last the next: a peer that always has more does not hold the
 * others up. */
static void
take_turns(struct link_end *e)
{
	struct session *first = e->sessions, **at = &e->sessions;
	if (first == NULL || first->next == NULL)
		return;
	e->sessions = first->next;
	while (*at != NULL)
		at = &(*at)->next;
	*at = first;
	first->next = NULL;
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
	if (e->starved || left == 0)
		take_turns(e);
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
		inbox_clear(s, &s->inbox[i]);
	s->n_inbox = 0;
}

void
subscribe_give_up(struct session *s)
{
	struct msg m = MSG(M_UNSUBSCRIBE, s->me, s->peer);
	struct position *p = position_find(s->end, s);
	msg_num(&m, MI_sub, SUB_NUMBER);
	session_send(s, &m);
	if (p != NULL) {
		want_unref(&p->want);
		*p = s->end->positions[--s->end->n_positions];
	}
	for (unsigned i = 0; i < s->n_inbox; i++) {
		for (const struct inframe *f = s->inbox[i].head; f != NULL; f = f->next)
			if (!f->is_gap)
				counter_add(&s->end->counters, C_flow_lost_loop, f->flows);
		inbox_clear(s, &s->inbox[i]);
	}
	s->n_inbox = 0;
	s->current = 0;
	s->is_subscribed = false;
	free(s->relayed);
	s->relayed = NULL;
	want_gone(s);
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

static struct stats_second *
second_find(struct session *s, const struct stats_second *sec)
{
	for (unsigned i = 0; i < s->n_second; i++)
		if (strcmp(s->second[i].interface, sec->interface) == 0 &&
		    strcmp(s->second[i].probe, sec->probe) == 0)
			return &s->second[i];
	return NULL;
}

/* Remember the newest of each interface and probe: a relay tells those of all its probes. */
static void
second_keep(struct session *s, const struct stats_second *sec)
{
	struct stats_second *to = second_find(s, sec);
	if (to == NULL && s->n_second < SECONDS_MAX) {
		struct stats_second *all = realloc(s->second, (s->n_second + 1) * sizeof(*all));
		if (all == NULL)
			return;
		s->second = all;
		to = &all[s->n_second++];
	}
	if (to != NULL)
		*to = *sec;
}

/* Has the very same second come through another peer? */
static bool
second_is_repeated(const struct session *s, const struct stats_second *sec)
{
	for (struct link_end *e = s->end->link->ends; e != NULL; e = e->next)
		for (struct session *o = e->sessions; o != NULL && !e->is_publish; o = o->next) {
			const struct stats_second *x = o != s ? second_find(o, sec) : NULL;
			if (x != NULL && x->second == sec->second && x->packets == sec->packets &&
			    x->bytes == sec->bytes && x->flows_active == sec->flows_active &&
			    x->flows_new == sec->flows_new && x->flows_ended == sec->flows_ended)
				return true;
		}
	return false;
}

static void
on_stats(struct session *s, const struct msg *m)
{
	struct link_end *e = s->end;
	struct stats_second sec;
	if (s->loop[0] != '\0')
		return; /* these would come back as well */
	if (msg_get_stats(m, &sec) != 0) {
		counter_add(&e->counters, C_msg_bad, 1);
		return;
	}
	if (sec.probe[0] == '\0' || !may_relay(s))
		snprintf(sec.probe, sizeof(sec.probe), "%s", s->name);
	sec.has_peer = s->rtt_best_us != 0;
	sec.clock_offset_us = s->offset_us;
	sec.rtt_us = s->rtt_us;
	sec.lag_us = s->peer_age_us;
	counter_add(&e->counters, C_stats_in, 1);
	second_keep(s, &sec);
	account_second(s, &sec);
	if (second_is_repeated(s, &sec))
		counter_add(&e->counters, C_stats_repeated, 1);
	else
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
