/* SPDX-License-Identifier: Apache-2.0
 * link/show.c - peers and subscriptions as `show` prints them: copied in the link thread, so that
 * the numbers of one snapshot belong together, and handed out in the main thread. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "link/link_priv.h"

void *
row_add(struct rows *r)
{
	if (r->n == r->cap) {
		size_t cap = r->cap == 0 ? 16 : r->cap * 2;
		void *p = realloc(r->p, cap * r->width);
		if (p == NULL)
			return NULL;
		r->p = p;
		r->cap = cap;
	}
	void *row = (char *)r->p + r->n++ * r->width;
	memset(row, 0, r->width);
	return row;
}

static void
copy(char *out, size_t size, const char *from)
{
	snprintf(out, size, "%.*s", (int)size - 1, from);
}

/* The newest second of all interfaces of a peer, added up. */
static void
add_seconds(struct link_peer *p, const struct session *s)
{
	int64_t newest = INT64_MIN;
	for (unsigned i = 0; i < s->n_second; i++)
		if (s->second[i].second > newest)
			newest = s->second[i].second;
	for (unsigned i = 0; i < s->n_second; i++) {
		const struct stats_second *x = &s->second[i];
		struct stats_second *sum = &p->last;
		if (x->second < newest - 1)
			continue; /* an interface that has stopped reporting */
		if (!p->has_second)
			*sum = (struct stats_second){.second = newest};
		p->has_second = true;
		sum->packets += x->packets;
		sum->bytes += x->bytes;
		sum->drops_kernel += x->drops_kernel;
		sum->drops_if += x->drops_if;
		sum->drops_own += x->drops_own;
		sum->non_ip += x->non_ip;
		sum->malformed += x->malformed;
		sum->flows_active += x->flows_active;
		sum->flows_new += x->flows_new;
		sum->flows_ended += x->flows_ended;
		if (x->late_us > sum->late_us)
			sum->late_us = x->late_us;
		for (uint32_t k = 0; k < x->n_apps && sum->n_apps < STATS_APPS; k++)
			sum->apps[sum->n_apps++] = x->apps[k];
	}
}

/* Another word of a list, once. */
static void
add_word(char *list, size_t size, const char *word)
{
	size_t n = strlen(list), w = strlen(word);
	for (const char *p = list; (p = strstr(p, word)) != NULL; p += w)
		if ((p == list || p[-1] == ' ') && (p[w] == ' ' || p[w] == '\0'))
			return;
	if (w > 0 && n + w + 2 <= size)
		snprintf(list + n, size - n, "%s%s", n > 0 ? " " : "", word);
}

static void
peer_row(struct rows *r, const struct session *s, uint64_t now)
{
	const struct link_end *e = s->end;
	struct link_peer *p = row_add(r);
	if (p == NULL)
		return;
	copy(p->end, sizeof(p->end), e->name);
	p->is_probe = !e->is_publish;
	p->encrypted = e->encrypted;
	p->verified = s->verified;
	if (s->verified)
		trust_print(s->key, p->key);
	p->node_id = s->node_id;
	copy(p->name, sizeof(p->name), s->name);
	copy(p->version, sizeof(p->version), s->version);
	copy(p->addresses, sizeof(p->addresses), s->addresses);
	copy(p->seen, sizeof(p->seen), s->seen[0] != '\0' ? s->seen : "local");
	copy(p->our_seen, sizeof(p->our_seen), s->our_seen);
	copy(p->interface, sizeof(p->interface), s->interface);
	p->speed_bps = s->speed_bps;
	copy(p->state, sizeof(p->state), s->up ? "up" : "handshake");
	p->since_us = s->since_us;
	p->peer_started_us = s->peer_started_us;
	p->clock_offset_us = s->offset_us;
	p->has_clock = s->rtt_best_us != 0;
	p->is_clock_wrong = s->clock_wrong;
	p->rtt_us = s->rtt_us;
	p->lag_us = e->is_publish ? publish_age(s, now) : s->peer_age_us;
	p->flows = s->flows;
	p->frames = s->frames;
	p->bytes = s->bytes;
	p->lost_flows = s->lost_flows;
	copy(p->loop, sizeof(p->loop), s->loop);
	for (unsigned i = 0; s->path != NULL && i < s->path->n; i++)
		add_word(p->behind, sizeof(p->behind), s->path->at[i].name);
	for (const struct link_end *oe = e->link->ends; oe != NULL; oe = oe->next)
		for (const struct session *o = oe->sessions; o != NULL && p->twice[0] == '\0'; o = o->next)
			if (!path_twin(s, o, p->twice, sizeof(p->twice)))
				p->twice[0] = '\0';
	add_seconds(p, s);
}

/* A peer that is not there: the one we connect to, or an address that was refused. */
static void
absent_row(struct rows *r, const struct link_end *e, const char *who, const char *state,
    const char *why, int64_t since_us)
{
	struct link_peer *p = row_add(r);
	if (p == NULL)
		return;
	copy(p->end, sizeof(p->end), e->name);
	p->is_probe = !e->is_publish;
	p->encrypted = e->encrypted;
	copy(p->seen, sizeof(p->seen), who);
	copy(p->state, sizeof(p->state), state);
	copy(p->why, sizeof(p->why), why);
	p->since_us = since_us;
}

static int
peers_call(struct link *l, void *arg, struct call *c)
{
	struct rows *r = arg;
	(void)c;
	for (const struct link_end *e = l->ends; e != NULL; e = e->next) {
		if (r->only != NULL && r->only != e)
			continue;
		for (const struct session *s = e->sessions; s != NULL; s = s->next)
			peer_row(r, s, l->now_us);
		if (!e->is_bind && e->sessions == NULL)
			absent_row(r, e, e->addr.endpoint, e->dial.cause[0] != '\0' ? "down" :
			    "connecting", e->dial.cause, e->down_since_us);
		for (unsigned i = 0; e->is_bind && i < FAULTS_MAX; i++)
			if (e->faults[i].why[0] != '\0' && fault_is_recent(&e->faults[i], l->now_us))
				absent_row(r, e, e->faults[i].address, "down", e->faults[i].why,
				    e->faults[i].since_us);
	}
	return 0;
}

void
link_peers(struct link *l, struct link_end *e, link_peer_fn *fn, void *arg)
{
	struct rows r = {.only = e, .width = sizeof(struct link_peer)};
	link_call(l, peers_call, &r);
	for (size_t i = 0; i < r.n; i++)
		fn(arg, (const struct link_peer *)r.p + i);
	free(r.p);
}

static void
fields_text(struct field_set f, char *out, size_t size)
{
	if (field_set_eq(f, field_set_all())) {
		copy(out, size, "all");
	} else if (field_set_eq(f, field_set_base())) {
		copy(out, size, "base");
	} else {
		unsigned n = 0;
		for (unsigned i = 0; i < F_COUNT; i++)
			n += field_set_has(&f, (enum field)i);
		snprintf(out, size, "%u fields", n);
	}
}

static void
cursor_row(struct rows *r, const struct cursor *c, uint64_t now)
{
	const struct channel *ch = c->ch;
	struct link_subscription *s = row_add(r);
	if (s == NULL)
		return;
	struct strv canon = filter_canonical(ch->filter);
	copy(s->end, sizeof(s->end), ch->end->name);
	copy(s->peer, sizeof(s->peer), c->peer);
	snprintf(s->filter, sizeof(s->filter), "%.*s", (int)canon.n, canon.p);
	fields_text(ch->want, s->fields, sizeof(s->fields));
	copy(s->codec, sizeof(s->codec), frame_codec_name(ch->codec));
	s->channel = ch->id;
	s->seq_next = c->at;
	s->seq_acked = c->acked;
	bool ended = c->last != 0;
	s->offered = (ended ? c->end_offered : ch->offered) - c->base_offered;
	s->filtered = (ended ? c->end_filtered : ch->filtered) - c->base_filtered;
	s->passed = (ended ? c->end_passed : ch->passed) - c->base_passed;
	uint64_t early = atomic_load_explicit(&ch->end->early_flows, memory_order_relaxed);
	s->early = (ended ? c->end_early : early) - c->base_early;
	s->acked = c->acked_flows;
	s->in_flight = c->fl_flows;
	s->queued = cursor_waiting(c, &s->spooled);
	s->queued -= s->spooled;
	s->lost = c->lost_flows;
	memcpy(s->lost_by, c->lost_by, sizeof(s->lost_by));
	s->is_cursor = true;
	s->bytes_raw = c->sent_raw;
	s->bytes_sent = c->sent_bytes;
	s->lag_us = cursor_lag_us(c, now);
	s->filter_ns = (ended ? c->end_ns : ch->filter_ns) - c->base_ns;
	s->is_shared = ch->cursors != c || c->next != NULL;
	s->is_parked = c->sess == NULL;
	s->first = c->first;
	s->old_channel = c->old_channel;
	s->old_last = c->old_last;
	copy(s->change, sizeof(s->change), "taken");
}

static void
inbox_row(struct rows *r, const struct session *s)
{
	const struct link_end *e = s->end;
	struct link_subscription *x = row_add(r);
	if (x == NULL)
		return;
	copy(x->end, sizeof(x->end), e->name);
	copy(x->peer, sizeof(x->peer), s->name);
	x->is_ours = true;
	copy(x->filter, sizeof(x->filter), s->sub_filter);
	fields_text(s->want != NULL ? s->want->fields : e->want->fields, x->fields,
	    sizeof(x->fields));
	copy(x->codec, sizeof(x->codec), s->sub_codec);
	x->channel = s->current;
	for (unsigned i = 0; i < s->n_inbox; i++) {
		const struct inbox *b = &s->inbox[i];
		for (const struct inframe *f = b->head; f != NULL; f = f->next)
			x->queued += f->flows;
		if (b->channel != s->current)
			continue;
		x->seq_next = b->received + 1;
		x->seq_acked = b->acked;
	}
	x->acked = s->flows;
	x->lost = s->lost_flows;
	x->passed = x->acked + x->queued + x->lost;
	x->bytes_raw = s->raw_bytes;
	x->bytes_sent = s->bytes;
	x->lag_us = s->peer_age_us;
	x->first = s->change.first;
	x->old_channel = s->change.old_channel;
	x->old_last = s->change.old_last;
	copy(x->refused, sizeof(x->refused), s->change.refused);
	copy(x->change, sizeof(x->change), s->n_asked > 0 ? "asked" :
	    s->change.refused[0] != '\0' ? "refused" : "taken");
	x->change_line = (uint32_t)s->change.line;
	x->change_col = (uint32_t)s->change.col;
}

void
show_subscriptions(struct rows *r, const struct link_end *e, uint64_t now)
{
	for (const struct channel *ch = e->channels; ch != NULL; ch = ch->next)
		for (const struct cursor *k = ch->cursors; k != NULL; k = k->next)
			cursor_row(r, k, now);
	for (const struct session *s = e->sessions; s != NULL && !e->is_publish; s = s->next)
		if (s->up && (s->current != 0 || s->change.refused[0] != '\0'))
			inbox_row(r, s);
}

static int
subscriptions_call(struct link *l, void *arg, struct call *c)
{
	struct rows *r = arg;
	(void)c;
	for (const struct link_end *e = l->ends; e != NULL; e = e->next)
		if (r->only == NULL || r->only == e)
			show_subscriptions(r, e, l->now_us);
	return 0;
}

void
link_subscriptions(struct link *l, struct link_end *e, link_subscription_fn *fn, void *arg)
{
	struct rows r = {.only = e, .width = sizeof(struct link_subscription)};
	link_call(l, subscriptions_call, &r);
	for (size_t i = 0; i < r.n; i++)
		fn(arg, (const struct link_subscription *)r.p + i);
	free(r.p);
}

struct busy_args {
	const struct link_end *e;
	bool busy;
};

static int
busy_call(struct link *l, void *arg, struct call *c)
{
	struct busy_args *a = arg;
	(void)l;
	(void)c;
	a->busy = a->e->is_publish ? publish_busy(a->e) : subscribe_busy(a->e);
	return 0;
}

bool
link_busy(struct link_end *e)
{
	struct busy_args a = {e, false};
	link_call(e->link, busy_call, &a);
	return a.busy;
}
