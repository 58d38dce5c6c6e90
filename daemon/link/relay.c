/* SPDX-License-Identifier: Apache-2.0
 * link/relay.c - a subscribing end that asks for what the outputs of this daemon want.
 *
 * Outputs are the channels of all publishing ends, parked ones too, and what link_demand named.
 * Each distinct wish is a term; one that has gone lingers for some seconds, so that a collector
 * that comes back finds its flows still flowing. Their union (demand.c) is asked for with the
 * number of the subscription that is there, which changes it without a gap. A session that comes
 * back asks first for what it had, so that the rest of that channel still arrives, and then for
 * what is wanted now. */
#include <stdio.h>
#include <stdlib.h>

#include "link/link_priv.h"

#define LINGER_US  UINT64_C(3000000)
#define PAUSE_US   UINT64_C(250000)  /* between two changes: the channel left must empty */
#define LOOK_US    UINT64_C(20000)   /* between two looks at the outputs */
#define NOMEM_US   UINT64_C(1000000)

/** A wish of one or more outputs. */
struct term {
	char *filter; /* canonical */
	struct field_set fields, read;
	uint64_t gone_us; /* NEVER: wanted; else when it is forgotten */
	bool is_seen;
};

struct local {
	char name[64];
	char *filter;
	struct field_set fields, read;
};

struct relay {
	struct term *terms;
	unsigned n_terms, cap_terms;
	bool too_many; /* more than terms hold: everything is wanted */
	struct local *local;
	unsigned n_local;
	bool is_dirty;
	uint64_t next_us; /* look again, not before */
	uint64_t due_us;  /* a term is forgotten then */
};

static void
local_free(struct local *all, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		free(all[i].filter);
	free(all);
}

struct relay *
relay_new(void)
{
	struct relay *r = calloc(1, sizeof(*r));
	if (r != NULL)
		r->due_us = NEVER;
	return r;
}

void
relay_free(struct relay **rp)
{
	struct relay *r = *rp;
	if (r == NULL)
		return;
	for (unsigned i = 0; i < r->n_terms; i++)
		free(r->terms[i].filter);
	free(r->terms);
	local_free(r->local, r->n_local);
	free(r);
	*rp = NULL;
}

void
relay_touch(struct link *l)
{
	l->relay->is_dirty = true;
}

/* ---- wishes */

static bool
is_wanted(const struct channel *ch)
{
	const struct cursor *c = ch->cursors;
	while (c != NULL && c->last != 0)
		c = c->next;
	return c != NULL && !strv_eq(filter_canonical(ch->filter), STRV("false"));
}

static void
wish(struct relay *r, struct strv filter, struct field_set fields, struct field_set read)
{
	struct term *t = r->terms;
	while (t < r->terms + r->n_terms &&
	    !(field_set_eq(t->fields, fields) && strv_eq(strv_of(t->filter), filter)))
		t++;
	if (t == r->terms + r->n_terms) {
		char *copy = r->n_terms < DEMAND_TERMS_MAX ? strv_dup(filter) : NULL;
		if (r->n_terms == r->cap_terms && copy != NULL) {
			unsigned cap = r->cap_terms == 0 ? 16 : 2 * r->cap_terms;
			struct term *all = realloc(r->terms, cap * sizeof(*all));
			r->terms = all != NULL ? all : r->terms;
			r->cap_terms = all != NULL ? cap : r->cap_terms;
		}
		if (copy == NULL || r->n_terms == r->cap_terms) {
			free(copy);
			r->too_many = true;
			return;
		}
		t = &r->terms[r->n_terms++];
		*t = (struct term){copy, fields, read, NEVER, false};
	}
	t->is_seen = true;
	t->gone_us = NEVER;
}

/* Bring the terms up to date; those that nobody wants any more go after a while. */
static void
look(struct link *l, uint64_t now)
{
	struct relay *r = l->relay;
	r->is_dirty = r->too_many = false;
	r->next_us = now + LOOK_US;
	r->due_us = NEVER;
	for (unsigned i = 0; i < r->n_terms; i++)
		r->terms[i].is_seen = false;
	for (const struct link_end *e = l->ends; e != NULL; e = e->next)
		for (const struct channel *ch = e->channels; ch != NULL && !e->draining; ch = ch->next)
			if (is_wanted(ch))
				wish(r, filter_canonical(ch->filter), ch->want,
				    filter_fields(ch->filter));
	for (unsigned i = 0; i < r->n_local; i++)
		wish(r, strv_of(r->local[i].filter), r->local[i].fields, r->local[i].read);
	for (unsigned i = 0; i < r->n_terms; i++) {
		struct term *t = &r->terms[i];
		if (!t->is_seen && t->gone_us == NEVER)
			t->gone_us = now + LINGER_US;
		if (now >= t->gone_us) {
			free(t->filter);
			*t = r->terms[--r->n_terms];
			i--;
		} else {
			r->due_us = min_u64(r->due_us, t->gone_us);
		}
	}
}

/* What one end should ask for. */
static void
want(struct link_end *e)
{
	struct relay *r = e->link->relay;
	struct demand_term *t = malloc(r->n_terms * sizeof(*t) + 1);
	struct filter *own = NULL;
	int rc = t != NULL ? filter_compile(strv_of(e->want->filter), &own, NULL) : -E_NOMEM;
	for (unsigned i = 0; t != NULL && i < r->n_terms; i++)
		t[i] = (struct demand_term){strv_of(r->terms[i].filter), r->terms[i].fields,
		    r->terms[i].read};
	if (rc == 0)
		rc = demand_union(t, r->too_many ? DEMAND_TERMS_MAX + 1 : r->n_terms,
		    filter_canonical(own), e->want->fields, e->demand_least, &e->demand);
	if (rc == 0 && r->too_many)
		e->demand.fields = e->want->fields;
	if (rc != 0) { /* what was asked for goes on until there is memory */
		r->is_dirty = true;
		r->next_us = e->link->now_us + NOMEM_US;
	}
	filter_free(&own);
	free(t);
}

static void
refresh(struct link *l, uint64_t now)
{
	look(l, now);
	for (struct link_end *e = l->ends; e != NULL; e = e->next)
		if (e->by_outputs)
			want(e);
}

/* ---- asking */

static bool
is_asked(const struct session *s)
{
	const struct demand *w = &s->end->demand;
	return s->relayed != NULL && strcmp(s->relayed, w->filter) == 0 &&
	    field_set_eq(s->relayed_fields, w->fields);
}

static void
ask(struct session *s, struct want *w, const struct position *p)
{
	char *copy = s->n_asked < ASKED_MAX ? strv_dup(strv_of(w->filter)) : NULL;
	if (copy == NULL) /* the next look finds that it was not asked */
		return;
	want_ask(s, w, p);
	free(s->relayed);
	s->relayed = copy;
	s->relayed_fields = w->fields;
}

static void
ask_demand(struct session *s, const struct position *p)
{
	const struct link_end *e = s->end;
	struct want *w = want_new(e->demand.filter, e->demand.fields, e->want->codec);
	if (w != NULL)
		ask(s, w, p);
	want_unref(&w);
}

/* Nobody wants anything yet: just after a start, collectors are on their way back, and a probe
 * keeps for us what a subscription to nothing would give up. */
static bool
is_held(const struct session *s, uint64_t now)
{
	return s->relayed == NULL && s->end->demand.how == DEMAND_NOTHING && now < s->end->ask_hold_us;
}

void
relay_up(struct session *s, const struct position *p)
{
	struct link_end *e = s->end;
	e->demand_least = DEMAND_NOTHING; /* what was refused may be known now */
	refresh(e->link, e->link->now_us);
	if (p != NULL && p->want != NULL)
		ask(s, p->want, p);
	else if (e->demand.filter != NULL && !is_held(s, e->link->now_us))
		ask_demand(s, p);
}

void
relay_end_changed(struct link_end *e)
{
	e->demand_least = DEMAND_NOTHING;
	e->ask_hold_us = 0;
	for (struct session *s = e->sessions; s != NULL; s = s->next) {
		free(s->relayed); /* also what is not in it may have changed: codec, stats */
		s->relayed = NULL;
	}
	if (e->by_outputs)
		refresh(e->link, e->link->now_us);
}

bool
relay_refused(struct session *s)
{
	struct link_end *e = s->end;
	if (!e->by_outputs || e->demand_least == DEMAND_OWN)
		return false;
	e->demand_least = e->demand_least < DEMAND_WIDENED ? DEMAND_WIDENED : DEMAND_OWN;
	free(s->relayed);
	s->relayed = NULL;
	want(e);
	return true;
}

static uint64_t
ask_changes(struct link_end *e, uint64_t now)
{
	uint64_t due = NEVER;
	bool may_ask = now >= e->ask_next_us;
	for (struct session *s = e->sessions; s != NULL; s = s->next) {
		if (!s->up || s->dead || s->is_challenger || s->loop[0] != '\0' || is_asked(s) ||
		    s->n_asked == ASKED_MAX)
			continue;
		if (is_held(s, now)) {
			due = min_u64(due, e->ask_hold_us);
		} else if (!may_ask) {
			due = min_u64(due, e->ask_next_us);
		} else {
			if (s->relayed != NULL) {
				counter_add(&e->counters, C_demand_changes, 1);
				e->n_asked++;
				if (e->demand.how == DEMAND_WIDENED || e->demand.how == DEMAND_OWN)
					counter_add(&e->counters, C_demand_widened, 1);
			}
			ask_demand(s, NULL);
			e->ask_next_us = now + PAUSE_US;
		}
	}
	return due;
}

uint64_t
relay_tick(struct link *l, uint64_t now)
{
	struct relay *r = l->relay;
	uint64_t due = NEVER;
	bool is_needed = false;
	for (const struct link_end *e = l->ends; e != NULL; e = e->next)
		is_needed = is_needed || e->by_outputs;
	if (!is_needed)
		return NEVER;
	if ((r->is_dirty && now >= r->next_us) || now >= r->due_us)
		refresh(l, now);
	for (struct link_end *e = l->ends; e != NULL; e = e->next)
		if (e->by_outputs && !e->draining && e->demand.filter != NULL)
			due = min_u64(due, ask_changes(e, now));
	return min_u64(due, r->is_dirty ? min_u64(r->next_us, r->due_us) : r->due_us);
}

/* ---- local outputs */

struct wishes {
	struct local *all;
	unsigned n;
};

static int
demand_call(struct link *l, void *arg, struct call *c)
{
	struct wishes *w = arg;
	struct relay *r = l->relay;
	struct wishes old = {r->local, r->n_local};
	(void)c;
	r->local = w->all;
	r->n_local = w->n;
	*w = old;
	relay_touch(l);
	return 0;
}

int
link_demand(struct link *l, const struct link_wish *w, unsigned n)
{
	struct wishes x = {calloc(n + 1, sizeof(*x.all)), 0};
	int rc = x.all != NULL ? 0 : -E_NOMEM;
	for (; x.n < n && rc == 0; x.n++) {
		struct local *to = &x.all[x.n];
		struct filter *f = NULL;
		rc = filter_compile(strv_of(w[x.n].filter), &f, NULL);
		if (rc != 0)
			break;
		snprintf(to->name, sizeof(to->name), "%s", w[x.n].name);
		to->filter = strv_dup(filter_canonical(f));
		to->fields = w[x.n].fields;
		to->read = filter_fields(f);
		filter_free(&f);
		rc = to->filter != NULL ? 0 : -E_NOMEM;
	}
	if (rc == 0)
		link_call(l, demand_call, &x);
	local_free(x.all, x.n);
	return rc;
}

/* ---- show */

static void
add_output(struct link_asked *out, const char *end, const char *peer)
{
	size_t n = strlen(out->outputs);
	if (out->n_outputs++ > 0 && n + 2 < sizeof(out->outputs))
		out->outputs[n++] = ' ';
	snprintf(out->outputs + n, sizeof(out->outputs) - n, "%s%s%s", end, peer[0] != '\0' ? ":" : "",
	    peer);
}

static void
list_outputs(const struct link *l, struct link_asked *out)
{
	const struct relay *r = l->relay;
	for (const struct link_end *e = l->ends; e != NULL; e = e->next)
		for (const struct channel *ch = e->channels; ch != NULL && !e->draining; ch = ch->next)
			for (const struct cursor *c = ch->cursors; c != NULL && is_wanted(ch); c = c->next)
				if (c->last == 0)
					add_output(out, e->name, c->peer);
	for (unsigned i = 0; i < r->n_local; i++)
		add_output(out, r->local[i].name, "");
	for (unsigned i = 0; i < r->n_terms; i++)
		out->n_lingering += r->terms[i].gone_us != NEVER;
}

static void
list_fields(struct field_set f, char *out, size_t size)
{
	size_t n = 0;
	if (field_set_eq(f, field_set_all())) {
		snprintf(out, size, "all");
		return;
	}
	for (unsigned i = 0; i < F_COUNT && n < size; i++)
		if (field_set_has(&f, (enum field)i))
			n += (size_t)snprintf(out + n, size - n, "%s%s", n > 0 ? "," : "",
			    field_info[i].name);
}

struct asked_args {
	const struct link_end *e;
	struct link_asked *out;
};

static int
asked_call(struct link *l, void *arg, struct call *c)
{
	struct asked_args *a = arg;
	struct link_asked *out = a->out;
	const struct link_end *e = a->e;
	struct filter *own = NULL;
	(void)c;
	snprintf(out->demand, sizeof(out->demand), "%s", e->by_outputs ? "outputs" : "own");
	if (!e->by_outputs) {
		if (filter_compile(strv_of(e->want->filter), &own, NULL) == 0)
			snprintf(out->filter, sizeof(out->filter), "%.*s",
			    (int)filter_canonical(own).n, filter_canonical(own).p);
		filter_free(&own);
		list_fields(e->want->fields, out->fields, sizeof(out->fields));
		snprintf(out->how, sizeof(out->how), "own");
		return 0;
	}
	refresh(l, l->now_us);
	snprintf(out->how, sizeof(out->how), "%s", demand_how_name(e->demand.how));
	snprintf(out->filter, sizeof(out->filter), "%s",
	    e->demand.filter != NULL ? e->demand.filter : "");
	list_fields(e->demand.fields, out->fields, sizeof(out->fields));
	out->changes = e->n_asked;
	list_outputs(l, out);
	return 0;
}

void
link_asked(struct link_end *e, struct link_asked *out)
{
	struct asked_args a = {e, out};
	memset(out, 0, sizeof(*out));
	link_call(e->link, asked_call, &a);
}
