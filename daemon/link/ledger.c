/* SPDX-License-Identifier: Apache-2.0
 * link/ledger.c - the link's part of the ledger: what came in, where it is, why it was lost.
 *
 * A publishing end has its intake (the queue before the channels) and a ledger for each
 * subscription (its cursor). A subscribing end has an account for each probe, kept over sessions.
 * With each PING a publisher sends the ledgers of that session's subscriptions, so that both ends
 * can show both sides. All numbers of one snapshot are of one moment of the link thread. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/cur.h"
#include "link/link_priv.h"

enum { ACCOUNTS_MAX = 1024, ACCOUNT_INPUTS = 8, TRIES_US = 1000000 };

const struct gap_cause_info gap_cause_info[GAP_CAUSES] = {
#define CAUSE(number, id, name, text, advice) [GAP_##id] = {name, text, advice},
#include "link/causes.def"
};

enum gap_cause
gap_cause_of(uint64_t number)
{
	return number < GAP_CAUSES ? (enum gap_cause)number : GAP_SEVERAL;
}

/* ---- subscriber: accounts */

static void
account_name(struct account *a, const struct session *s)
{
	snprintf(a->a.end, sizeof(a->a.end), "%s", s->end->name);
	snprintf(a->a.probe, sizeof(a->a.probe), "%s", s->name);
}

static bool
account_in_use(const struct link_end *e, const struct account *a)
{
	for (const struct session *s = e->sessions; s != NULL; s = s->next)
		if (s->account == a)
			return true;
	return false;
}

/* The oldest account that no session needs gives way. */
static void
accounts_bound(struct link_end *e)
{
	struct account **oldest = NULL;
	for (struct account **at = &e->accounts; *at != NULL; at = &(*at)->next)
		if (!account_in_use(e, *at))
			oldest = at;
	if (oldest == NULL)
		return;
	struct account *a = *oldest;
	*oldest = a->next;
	e->n_accounts--;
	free(a);
}

struct account *
account_open(struct session *s)
{
	struct link_end *e = s->end;
	struct account *a = e->accounts;
	while (a != NULL && (a->node_id != s->node_id || strcmp(a->peer_end, s->peer_end) != 0 ||
	    strcmp(a->user, s->user) != 0))
		a = a->next;
	if (a == NULL) {
		if (e->n_accounts >= ACCOUNTS_MAX)
			accounts_bound(e);
		a = calloc(1, sizeof(*a));
		if (a == NULL)
			return NULL;
		a->node_id = s->node_id;
		memcpy(a->peer_end, s->peer_end, sizeof(a->peer_end));
		memcpy(a->user, s->user, sizeof(a->user));
		a->next = e->accounts;
		e->accounts = a;
		e->n_accounts++;
	}
	account_name(a, s);
	return a;
}

void
accounts_free(struct link_end *e)
{
	for (struct account *a; (a = e->accounts) != NULL; free(a))
		e->accounts = a->next;
}

void
account_received(struct session *s, uint64_t flows)
{
	if (s->account == NULL)
		return;
	s->account->a.received += flows;
	s->account->a.waiting += flows;
}

void
account_frame(struct session *s, uint64_t flows, uint64_t rows, bool is_decoded)
{
	if (s->account == NULL)
		return;
	struct link_account *a = &s->account->a;
	a->waiting -= flows;
	if (is_decoded) {
		a->frames++;
		a->decoded += rows;
		a->received += rows - flows; /* a frame that has not what was said of it */
	} else {
		a->frames_bad++;
		a->lost_decode += flows;
	}
}

void
account_return(struct session *s, uint64_t flows)
{
	if (s->account == NULL)
		return;
	s->account->a.waiting -= flows;
	s->account->a.returned += flows;
}

void
account_gap(struct session *s, uint64_t flows, uint64_t cause, bool unknown)
{
	if (s->account == NULL)
		return;
	enum gap_cause c = gap_cause_of(cause);
	s->account->a.gap_flows[c] += flows;
	if (!unknown && !gap_is_unknown(c))
		return;
	s->account->a.gaps_unknown++;
	s->account->a.unknown_causes |= UINT64_C(1) << c;
}

void
account_missing(struct session *s, uint64_t frames)
{
	counter_add(&s->end->counters, C_frame_missing, frames);
	if (s->account != NULL)
		s->account->a.frames_missing += frames;
}

void
account_second(struct session *s, const struct stats_second *sec)
{
	if (s->account == NULL || !sec->totals.is_known)
		return;
	struct link_account *a = &s->account->a;
	const char *probe = strcmp(sec->probe, s->name) == 0 ? "" : sec->probe;
	unsigned i = 0;
	while (i < a->n_inputs && (strcmp(a->input[i].interface, sec->interface) != 0 ||
	    strcmp(a->input[i].probe, probe) != 0))
		i++;
	if (i == ACCOUNT_INPUTS)
		return;
	if (i == a->n_inputs)
		a->n_inputs++;
	snprintf(a->input[i].interface, sizeof(a->input[i].interface), "%s", sec->interface);
	snprintf(a->input[i].probe, sizeof(a->input[i].probe), "%s", probe);
	a->input[i].totals = sec->totals;
	s->account->input_mono_us[i] = s->end->link->now_us;
}

/* ---- the ledger of a subscription on the wire */

/* The order in which its numbers are sent; those of causes follow, as many as there are. */
static unsigned
flows_list(struct link_flows *f, uint64_t *v[])
{
	uint64_t *const list[] = {&f->offered, &f->filtered, &f->passed, &f->acked, &f->in_flight,
	    &f->queued, &f->spooled, &f->early};
	memcpy(v, list, sizeof(list));
	return sizeof(list) / sizeof(list[0]);
}

static void
flows_of(const struct cursor *c, struct link_flows *f)
{
	const struct channel *ch = c->ch;
	*f = (struct link_flows){.offered = ch->offered - c->base_offered,
	    .filtered = ch->filtered - c->base_filtered,
	    .passed = ch->passed - c->base_passed,
	    .acked = c->acked_flows,
	    .in_flight = c->fl_flows,
	    .early = atomic_load_explicit(&ch->end->early_flows, memory_order_relaxed) -
		c->base_early};
	f->queued = cursor_waiting(c, &f->spooled) - f->spooled;
	memcpy(f->lost_by, c->lost_by, sizeof(f->lost_by));
}

void
ledger_put(struct msg *m, const struct session *s, struct buf *scratch)
{
	uint64_t *v[8];
	struct link_flows f;
	size_t end = 0;
	for (const struct cursor *c = s->cursors; c != NULL; c = c->sess_next) {
		if (c->last != 0)
			continue;
		flows_of(c, &f);
		unsigned n = flows_list(&f, v);
		buf_varint(scratch, c->sub);
		buf_varint(scratch, n + GAP_CAUSES);
		for (unsigned i = 0; i < n; i++)
			buf_varint(scratch, *v[i]);
		for (unsigned i = 0; i < GAP_CAUSES; i++)
			buf_varint(scratch, f.lost_by[i]);
		if (scratch->err != 0)
			break; /* what fits is sent */
		end = scratch->n;
	}
	if (end > 0)
		msg_text(m, MI_ledger, (struct strv){(const char *)scratch->p, end});
}

void
account_told(struct session *s, const struct msg *m)
{
	struct cur c = cur_init(m->s[MI_ledger].p, m->s[MI_ledger].n);
	if (s->account == NULL || !msg_has(m, MI_ledger))
		return;
	while (cur_left(&c) > 0) {
		struct link_flows f = {0};
		uint64_t *v[8], sub = cur_varint(&c), n = cur_varint(&c);
		unsigned known = flows_list(&f, v);
		for (uint64_t i = 0; i < n && c.err == 0; i++) {
			uint64_t x = cur_varint(&c);
			if (i < known)
				*v[i] = x;
			else if (i - known < GAP_CAUSES)
				f.lost_by[i - known] = x;
			else
				f.lost_by[GAP_SEVERAL] += x;
		}
		if (c.err != 0) {
			counter_add(&s->end->counters, C_msg_bad, 1);
			return;
		}
		if (sub != 1) /* an end has one subscription */
			continue;
		s->account->a.told = f;
		s->account->a.is_told = true;
		s->account->told_mono_us = s->end->link->now_us;
	}
}

/* ---- snapshots */

struct ledger_args {
	struct rows intakes, subscriptions, accounts;
	const struct link_end *only;
	bool is_whole;
};

/* Only takers move while the link thread looks: did one, between the two counts? */
static bool
intake_row(struct rows *r, const struct link_end *e)
{
	struct link_intake *i = row_add(r);
	if (i == NULL)
		return true;
	uint64_t ended = atomic_load_explicit(&e->take_ended, memory_order_acquire);
	snprintf(i->end, sizeof(i->end), "%s", e->name);
	i->taken = atomic_load_explicit(&e->taken_flows, memory_order_acquire);
	i->queued = atomic_load_explicit(&e->queued_flows, memory_order_acquire);
	i->handed = counter_get(&e->counters, C_flow_in);
	i->lost = atomic_load_explicit(&e->early_flows, memory_order_relaxed);
	i->unasked = counter_get(&e->counters, C_flow_unasked);
	return atomic_load_explicit(&e->take_begun, memory_order_acquire) == ended;
}

static void
account_rows(struct rows *r, const struct link_end *e, uint64_t now)
{
	for (const struct account *a = e->accounts; a != NULL; a = a->next) {
		struct link_account *x = row_add(r);
		if (x == NULL)
			return;
		*x = a->a;
		x->up = account_in_use(e, a);
		x->told_us = (int64_t)(now - a->told_mono_us);
		for (unsigned i = 0; i < x->n_inputs; i++)
			x->input[i].told_us = (int64_t)(now - a->input_mono_us[i]);
	}
}

static int
ledger_call(struct link *l, void *arg, struct call *c)
{
	struct ledger_args *a = arg;
	(void)c;
	for (const struct link_end *e = l->ends; e != NULL; e = e->next) {
		if (a->only != NULL && a->only != e)
			continue;
		if (!e->is_publish) {
			account_rows(&a->accounts, e, l->now_us);
			continue;
		}
		a->is_whole = intake_row(&a->intakes, e) && a->is_whole;
		show_subscriptions(&a->subscriptions, e, l->now_us);
	}
	return 0;
}

bool
link_ledger(struct link *l, struct link_end *e, const struct link_ledger *sink)
{
	struct ledger_args a = {.intakes.width = sizeof(struct link_intake),
	    .subscriptions.width = sizeof(struct link_subscription),
	    .accounts.width = sizeof(struct link_account), .only = e};
	uint64_t give_up = clock_mono_us() + TRIES_US;
	do {
		a.intakes.n = a.subscriptions.n = a.accounts.n = 0;
		a.is_whole = true;
		link_call(l, ledger_call, &a);
	} while (!a.is_whole && clock_mono_us() < give_up);
	for (size_t i = 0; i < a.intakes.n; i++)
		sink->intake(sink->arg, (const struct link_intake *)a.intakes.p + i);
	for (size_t i = 0; i < a.subscriptions.n; i++)
		sink->subscription(
		    sink->arg, (const struct link_subscription *)a.subscriptions.p + i);
	for (size_t i = 0; i < a.accounts.n; i++)
		sink->account(sink->arg, (const struct link_account *)a.accounts.p + i);
	free(a.intakes.p);
	free(a.subscriptions.p);
	free(a.accounts.p);
	return a.is_whole;
}

void
ledger_abandon(struct link_end *e)
{
	uint64_t n = 0;
	if (!e->is_publish || e->spool != NULL) /* a spool goes on with its channels */
		return;
	for (const struct channel *ch = e->channels; ch != NULL; ch = ch->next)
		for (const struct cursor *c = ch->cursors; c != NULL; c = c->next)
			n += cursor_waiting(c, NULL) + c->fl_flows;
	/* with a subscription each batch still queued would have been somebody's */
	if (e->channels != NULL)
		n += atomic_load(&e->queued_flows);
	counter_add(&e->counters, C_flow_lost_stop, n);
}
