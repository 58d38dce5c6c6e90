/* SPDX-License-Identifier: Apache-2.0
 * link/publish.c - the publishing end: subscriptions in, frames and statistics out. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "link/link_priv.h"

/* ---- subscriptions */

static void
say_refused(struct session *s, uint64_t sub, const struct err *err)
{
	struct msg m = MSG(M_REFUSED, s->me, s->peer);
	msg_num(&m, MI_sub, sub);
	msg_num(&m, MI_code, (uint64_t)err->code);
	msg_text(&m, MI_text, strv_of(err->text));
	if (err->line > 0) {
		msg_num(&m, MI_line, (uint64_t)err->line);
		msg_num(&m, MI_col, (uint64_t)err->col);
	}
	session_send(s, &m);
	log_info("link: %s: subscription of %s refused: %s", s->end->name, s->name, err->text);
}

static void
say_subscribed(struct session *s, const struct cursor *c, bool resumed)
{
	struct msg m = MSG(M_SUBSCRIBED, s->me, s->peer);
	msg_num(&m, MI_sub, c->sub);
	msg_num(&m, MI_channel, c->ch->id);
	msg_num(&m, MI_next, c->gap_from != 0 ? c->gap_from : c->at);
	msg_num(&m, MI_codec, c->ch->codec);
	msg_num(&m, MI_window, s->end->window);
	msg_num(&m, MI_resumed, resumed);
	msg_text(&m, MI_filter, filter_canonical(c->ch->filter));
	if (c->old_channel != 0) {
		msg_num(&m, MI_old_channel, c->old_channel);
		msg_num(&m, MI_old_last, c->old_last);
	}
	session_send(s, &m);
}

struct wish {
	struct filter *filter;
	struct field_set fields;
	enum frame_codec codec;
	bool is_auto;
};

static int
read_wish(struct link_end *e, const struct msg *m, struct wish *w, struct err *err)
{
	*w = (struct wish){NULL, field_set_all(), e->codec, true};
	if (msg_has(m, MI_script))
		return err_set(err, E_UNSUP, "scripts of collectors are not run here "
		    "(run it at the collector, after the filter)");
	if (msg_has(m, MI_codec)) {
		if (m->u[MI_codec] >= FRAME_CODECS)
			return err_set(err, E_UNSUP, "unknown codec %llu (0 none, 1 zlib, 2 zstd)",
			    (unsigned long long)m->u[MI_codec]);
		w->codec = (enum frame_codec)m->u[MI_codec];
		w->is_auto = false;
	}
	if (msg_has(m, MI_fields)) {
		struct field_set none = {{0, 0}};
		if (msg_get_fields(m, &w->fields) != 0 || field_set_eq(w->fields, none))
			return err_set(err, E_INVAL, "none of the fields asked for is known here");
	}
	return filter_compile(m->s[MI_filter], &w->filter, err);
}

static struct cursor *
find_sub(struct session *s, uint64_t sub)
{
	struct cursor *c = s->cursors;
	while (c != NULL && (c->sub != sub || c->last != 0))
		c = c->sess_next;
	return c;
}

static bool
is_parked_of(const struct cursor *c, const struct session *s, uint64_t sub)
{
	return c->sess == NULL && c->sub == sub && c->node_id == s->node_id &&
	    strcmp(c->peer_end, s->peer_end) == 0 && strcmp(c->user, s->user) == 0;
}

/* Nobody is going to fetch what this cursor still had. */
static void
discard(struct cursor *c, enum counter why)
{
	struct channel *ch = c->ch;
	counter_add(&ch->end->counters, why, cursor_waiting(c, NULL) + c->fl_flows);
	cursor_free(c);
	channel_trim(ch);
	end_due(ch->end, 0); /* a channel without cursors goes */
}

/* As many positions are kept as there may be peers: whoever comes again and again under new names
 * pushes out the oldest, not the memory. */
static void
bound_parked(struct link_end *e)
{
	for (;;) {
		uint64_t n = 0;
		struct cursor *oldest = NULL;
		for (struct channel *ch = e->channels; ch != NULL; ch = ch->next)
			for (struct cursor *c = ch->cursors; c != NULL; c = c->next) {
				if (c->sess != NULL)
					continue;
				n++;
				if (oldest == NULL || c->parked_us < oldest->parked_us)
					oldest = c;
			}
		if (n <= e->max_peers)
			return;
		discard(oldest, C_flow_lost_expired);
	}
}

/* The parked position of this subscription in @ch; those in other channels are given up. */
static struct cursor *
find_parked(struct session *s, uint64_t sub, const struct channel *ch)
{
	struct cursor *found = NULL;
	for (struct channel *at = s->end->channels; at != NULL; at = at->next)
		for (struct cursor *c = at->cursors, *next; c != NULL; c = next) {
			next = c->next;
			if (!is_parked_of(c, s, sub))
				continue;
			if (at == ch && found == NULL)
				found = c;
			else
				discard(c, C_flow_unwanted);
		}
	return found;
}

static int
check_room(struct session *s, uint64_t sub, const struct channel *ch, struct err *err)
{
	unsigned n = 0, all = 0;
	for (const struct cursor *c = s->cursors; c != NULL; c = c->sess_next) {
		all++;
		if (c->last != 0 || c->sub == sub)
			continue;
		n++;
		if (c->ch == ch)
			return err_set(err, E_EXIST, "this peer has the same subscription already");
	}
	if (n >= s->end->max_subscriptions)
		return err_set(err, E_LIMIT, "too many subscriptions of one peer, %llu are allowed "
		    "(raise max_subscriptions at the probe)",
		    (unsigned long long)s->end->max_subscriptions);
	if (all >= s->end->max_subscriptions + INBOX_MAX / 2)
		return err_set(err, E_AGAIN, "too many changes of subscriptions under way");
	return 0;
}

static int
subscribe(struct session *s, const struct msg *m, struct wish *w, struct err *err)
{
	struct link_end *e = s->end;
	uint64_t sub = m->u[MI_sub];
	bool stats = m->u[MI_stats] != 0;
	struct cursor *old = find_sub(s, sub);
	struct channel *ch = channel_find(e, w->filter, w->fields, w->codec, w->is_auto);
	int rc = check_room(s, sub, ch, err);
	if (rc != 0)
		return rc;
	if (ch == NULL)
		ch = channel_new(e, &w->filter, w->fields, w->codec, w->is_auto);
	if (ch == NULL)
		return err_set(err, E_LIMIT, "too many distinct subscriptions here, %llu are allowed "
		    "(raise max_channels at the probe)", (unsigned long long)e->max_channels);
	if (old != NULL && old->ch == ch) {
		old->stats = stats;
		say_subscribed(s, old, true);
		return 0;
	}
	struct cursor *c = find_parked(s, sub, ch);
	bool resumed = c != NULL;
	if (resumed) {
		bool told = m->u[MI_resume_channel] == ch->id &&
		    m->u[MI_resume_seq] < (c->is_recovered ? ch->next_seq : c->at);
		cursor_resume(c, s, told ? m->u[MI_resume_seq] : c->acked);
		c->stats = stats;
	} else {
		c = cursor_new(ch, s, sub, stats);
	}
	if (c == NULL)
		return err_set(err, E_NOMEM, "out of memory at the probe");
	if (old != NULL) {
		const struct channel *was = old->ch;
		cursor_end(old);
		c->old_channel = was->id;
		c->old_last = was->next_seq - 1;
	}
	relay_touch(e->link);
	say_subscribed(s, c, resumed);
	session_wake(s);
	end_due(e, 0);
	return 0;
}

static void
on_subscribe(struct session *s, const struct msg *m)
{
	struct err err = {0};
	struct wish w;
	int rc = read_wish(s->end, m, &w, &err);
	if (s->loop[0] != '\0')
		end_state(s->end, PORT_UP, "");
	s->loop[0] = '\0';
	if (rc == 0)
		rc = subscribe(s, m, &w, &err);
	if (rc != 0) {
		if (err.code == 0)
			err_set(&err, -rc, "%s", err_text(rc));
		say_refused(s, m->u[MI_sub], &err);
	}
	filter_free(&w.filter);
}

void
publish_message(struct session *s, const struct msg *m, uint64_t now)
{
	struct cursor *c;
	(void)now;
	if (m->type == M_SUBSCRIBE) {
		on_subscribe(s, m);
	} else if (m->type == M_UNSUBSCRIBE) {
		if ((c = find_sub(s, m->u[MI_sub])) != NULL)
			discard(c, C_flow_unwanted);
		session_wake(s);
	} else if (m->type == M_ACK) {
		for (c = s->cursors; c != NULL && c->ch->id != m->u[MI_channel];)
			c = c->sess_next;
		if (c != NULL)
			cursor_ack(c, m->u[MI_seq]);
		session_wake(s);
	} else if (m->type == M_REFUSED) {
		path_refused(s, m);
	} else {
		counter_add(&s->end->counters, C_msg_bad, 1);
	}
}

void
publish_gone(struct session *s, uint64_t now)
{
	while (s->cursors != NULL) {
		struct cursor *c = s->cursors;
		/* a replaced subscription cannot be asked for again */
		if (c->last != 0 || s->end->resume_us == 0)
			discard(c, C_flow_lost_expired);
		else
			cursor_park(c, now);
	}
	bound_parked(s->end);
	s->end->parked_us = 0;
	end_due(s->end, 0);
}

/* ---- flows and statistics */

static void
send_second(struct link_end *e, const struct stats_second *sec)
{
	uint8_t room[1024], bytes[2048];
	struct buf apps = {room, 0, sizeof(room), sizeof(room), 0};
	struct buf out = {bytes, 0, sizeof(bytes), sizeof(bytes), 0};
	struct msg m = MSG(M_STATS, 0, 0);
	/* the same for all but for the numbers of the sessions */
	msg_put_stats(&m, sec, &apps);
	msg_encode(&m, &out);
	for (struct session *s = e->sessions; s != NULL; s = s->next) {
		bool wants = false;
		for (const struct cursor *c = s->cursors; c != NULL; c = c->sess_next)
			wants |= c->stats;
		if (!wants || !s->up || s->dead)
			continue;
		session_send_encoded(s, &out, true);
		counter_add(&e->counters, C_stats_out, 1);
	}
}

void
publish_queues(struct link_end *e, uint64_t now)
{
	struct batch *b;
	struct stats_second *sec;
	channel_spool(e, now);
	uint64_t until = queue_len(e->batches) > 0 ? clock_mono_us() + TURN_US : 0;
	while ((b = queue_pop(e->batches)) != NULL) {
		atomic_fetch_sub_explicit(&e->queued_flows, b->n, memory_order_relaxed);
		if (b->mark != NULL) {
			batch_unref(&b);
			continue;
		}
		counter_add(&e->counters, C_batch_in, 1);
		counter_add(&e->counters, C_flow_in, b->n);
		if (e->channels == NULL)
			counter_add(&e->counters, C_flow_unasked, b->n);
		for (struct channel *ch = e->channels; ch != NULL; ch = ch->next) {
			channel_take(ch, b, now);
			session_pump(e, now); /* out while the next channel is encoded */
		}
		batch_unref(&b);
		if (clock_mono_us() >= until)
			break;
	}
	while ((sec = queue_pop(e->seconds)) != NULL) {
		send_second(e, sec);
		free(sec);
	}
	channel_spool(e, now);
	if (queue_len(e->batches) > 0)
		end_due(e, 0);
}

/* Changed there and back: the end of the first subscription to a channel goes before the second. */
static bool
is_behind(const struct session *s, const struct cursor *c)
{
	for (const struct cursor *o = s->cursors; o != c; o = o->sess_next)
		if (o->ch == c->ch)
			return true;
	return false;
}

bool
publish_pump(struct session *s)
{
	for (struct cursor *c = s->cursors; c != NULL && s->up; c = c->sess_next)
		if (!is_behind(s, c) && !cursor_pump(c))
			return false;
	return true;
}

/* Positions nobody came back for. Returns when to look again. */
static uint64_t
expire_parked(struct link_end *e, uint64_t now)
{
	uint64_t due = NEVER;
	if (now < e->parked_us)
		return e->parked_us;
	for (struct channel *ch = e->channels; ch != NULL; ch = ch->next)
		for (struct cursor *c = ch->cursors, *after; c != NULL; c = after) {
			after = c->next;
			if (c->sess != NULL)
				continue;
			if (now >= c->parked_us + e->resume_us)
				discard(c, C_flow_lost_expired);
			else
				due = min_u64(due, c->parked_us + e->resume_us);
		}
	return e->parked_us = due;
}

uint64_t
publish_tick(struct link_end *e, uint64_t now)
{
	uint64_t due = expire_parked(e, now);
	for (struct channel *ch = e->channels, *next; ch != NULL; ch = next) {
		next = ch->next;
		if (ch->gather != NULL && (e->draining || now >= ch->gather_us + e->max_delay_us)) {
			channel_seal(ch, now);
			session_pump(e, now); /* out while the next channel is encoded */
		} else if (ch->gather != NULL) {
			due = min_u64(due, ch->gather_us + e->max_delay_us);
		}
		if (ch->cursors == NULL)
			channel_free(ch);
	}
	channel_unblock(e);
	return due;
}

bool
publish_busy(const struct link_end *e)
{
	if (queue_len(e->batches) > 0)
		return true;
	for (const struct session *s = e->sessions; s != NULL; s = s->next)
		for (const struct cursor *c = s->cursors; c != NULL; c = c->sess_next)
			if (!cursor_idle(c))
				return true;
	return false;
}

uint64_t
publish_age(const struct session *s, uint64_t now)
{
	uint64_t age = 0, lag;
	for (const struct cursor *c = s->cursors; c != NULL; c = c->sess_next)
		if ((lag = cursor_lag_us(c, now)) > age)
			age = lag;
	return age;
}
