/* SPDX-License-Identifier: Apache-2.0
 * link/want.c - what a subscribing end asks for, and changes of it while sessions are up.
 *
 * A session asks by SUBSCRIBE and each is answered once, in order, so that an answer belongs to the
 * oldest that was asked. SUBSCRIBED says at which sequence of which channel it takes effect, and
 * with which sequence the old channel ends. REFUSED leaves the session what it had: it goes on with
 * that, also after a reconnect. A change that every probe refuses is undone for the end. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "link/link_priv.h"

#define ANSWER_US UINT64_C(1000000) /* how long a change waits for answers */

struct want *
want_new(const char *filter, struct field_set fields, int codec)
{
	size_t n = strlen(filter) + 1;
	struct want *w = malloc(sizeof(*w) + n);
	if (w == NULL)
		return NULL;
	atomic_init(&w->refs, 1);
	w->fields = fields;
	w->codec = codec;
	memcpy(w->filter, filter, n);
	return w;
}

struct want *
want_ref(struct want *w)
{
	atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
	return w;
}

void
want_unref(struct want **wp)
{
	struct want *w = *wp;
	*wp = NULL;
	if (w != NULL && atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) == 1)
		free(w);
}

bool
want_eq(const struct want *a, const struct want *b)
{
	return a == b || (strcmp(a->filter, b->filter) == 0 && a->codec == b->codec &&
	    field_set_eq(a->fields, b->fields));
}

void
want_ask(struct session *s, struct want *w, const struct position *p)
{
	uint8_t numbers[2 * F_COUNT];
	struct msg m = MSG(M_SUBSCRIBE, s->me, s->peer);
	if (s->n_asked == ASKED_MAX) {
		s->ask_again = true; /* for the newest, when there is room */
		return;
	}
	msg_num(&m, MI_sub, SUB_NUMBER);
	if (w->filter[0] != '\0')
		msg_text(&m, MI_filter, strv_of(w->filter));
	/* a relay has who made them, a probe does not and sends nothing for it */
	struct field_set fields = w->fields;
	field_set_add(&fields, F_probe);
	if (!field_set_eq(fields, field_set_all()))
		msg_put_fields(&m, fields, numbers);
	if (w->codec >= 0)
		msg_num(&m, MI_codec, (uint64_t)w->codec);
	msg_num(&m, MI_stats, s->end->want_stats);
	if (p != NULL) {
		msg_num(&m, MI_resume_channel, p->channel);
		msg_num(&m, MI_resume_seq, p->safe);
	}
	s->asked[s->n_asked++] = want_ref(w);
	s->is_subscribed = true;
	session_send(s, &m);
}

/* ---- answers */

static bool
is_waiting(const struct session *s)
{
	return s->up && !s->dead && s->n_asked > 0;
}

/* Has everybody answered? Then the one who made the change goes on. */
static void
settle(struct link_end *e)
{
	struct call *c = e->set_call;
	if (c == NULL)
		return;
	for (const struct session *s = e->sessions; s != NULL; s = s->next)
		if (is_waiting(s))
			return;
	e->set_call = NULL;
	link_call_done(e->link, c);
}

/* The oldest that was asked; the caller's reference. NULL when nothing was. */
static struct want *
answered(struct session *s)
{
	if (s->n_asked == 0)
		return NULL;
	struct want *w = s->asked[0];
	s->n_asked--;
	memmove(&s->asked[0], &s->asked[1], s->n_asked * sizeof(struct want *));
	bool again = s->ask_again;
	s->ask_again = false;
	if (again && !s->end->by_outputs) /* those ask in their own time */
		want_ask(s, s->end->want, NULL);
	return w;
}

/* In words, for the log and those who watch it. */
static void
tell(const struct session *s, const struct change *c)
{
	char old[96];
	if (c->old_last != NEVER)
		snprintf(old, sizeof(old), "old channel %016" PRIx64 " ends at %" PRIu64,
		    c->old_channel, c->old_last);
	else
		snprintf(old, sizeof(old), "old channel %016" PRIx64, c->old_channel);
	log_line(NULL, LOG_NOTICE, "link: %s: %s: filter '%.160s' takes effect at sequence %" PRIu64
	    " of channel %016" PRIx64 " (%s)", s->end->name, s->name, s->sub_filter, c->first,
	    c->channel, old);
}

void
want_taken(struct session *s, const struct msg *m)
{
	struct want *w = answered(s);
	struct change c = {.channel = m->u[MI_channel], .first = m->u[MI_next]};
	msg_copy(m, MI_filter, s->sub_filter, sizeof(s->sub_filter));
	if (w != NULL) {
		want_unref(&s->want);
		s->want = w;
	}
	if (msg_has(m, MI_old_channel) && s->current != c.channel) {
		c.old_channel = m->u[MI_old_channel];
		c.old_last = m->u[MI_old_last];
	} else if (s->current != c.channel) {
		c.old_channel = s->current; /* a publisher that does not say where it ends */
		c.old_last = NEVER;
	}
	if (c.channel != s->current || s->change.first == 0)
		s->change = c;
	s->change.refused[0] = '\0';
	if (c.old_channel != 0)
		tell(s, &c);
	settle(s->end);
}

void
want_refused(struct session *s, const struct msg *m)
{
	struct want *w = answered(s);
	struct change *c = &s->change;
	uint64_t code = m->u[MI_code];
	msg_copy(m, MI_text, c->refused, sizeof(c->refused));
	if (c->refused[0] == '\0')
		snprintf(c->refused, sizeof(c->refused), "no reason given");
	c->code = code > 0 && code <= E_DOWN ? (int)code : E_INVAL;
	c->line = m->u[MI_line] <= FILTER_TEXT_MAX ? (int)m->u[MI_line] : 0;
	c->col = m->u[MI_col] <= FILTER_TEXT_MAX ? (int)m->u[MI_col] : 0;
	want_unref(&w);
	settle(s->end);
}

void
want_gone(struct session *s)
{
	while (s->n_asked > 0)
		want_unref(&s->asked[--s->n_asked]);
	want_unref(&s->want);
	settle(s->end);
}

uint64_t
want_tick(struct link_end *e, uint64_t now)
{
	struct call *c = e->set_call;
	if (c == NULL)
		return NEVER;
	if (now < e->set_us)
		return e->set_us;
	e->set_call = NULL;
	link_call_done(e->link, c);
	return NEVER;
}

/* ---- changing */

int
want_set_call(struct link *l, void *arg, struct call *c)
{
	struct want_set *a = arg;
	struct link_end *e = a->e;
	bool waits = false;
	a->before = e->want;
	a->changed = !want_eq(e->want, a->want) || e->want_stats != a->want_stats ||
	    e->by_outputs != a->by_outputs;
	bool was[] = {e->by_outputs, e->want_stats};
	e->want = a->want;
	e->want_stats = a->want_stats;
	e->by_outputs = a->by_outputs;
	a->by_outputs = was[0];
	a->want_stats = was[1];
	if (a->changed)
		relay_end_changed(e); /* if it asks by outputs, then in its own time */
	for (struct session *s = e->sessions; a->changed && s != NULL; s = s->next) {
		s->change.refused[0] = '\0';
		if (!s->up || s->dead || e->by_outputs || !path_allows(s))
			continue;
		want_ask(s, e->want, NULL);
		waits = waits || is_waiting(s);
	}
	if (waits) {
		c->later = true;
		e->set_call = c;
		e->set_us = l->now_us + ANSWER_US;
		end_due(e, e->set_us);
	}
	return 0;
}

/* The line of the filter that the caret points into. */
static void
quote_line(const char *filter, struct err *err)
{
	const char *p = filter;
	for (int i = 1; i < err->line && p != NULL; i++)
		p = (p = strchr(p, '\n')) != NULL ? p + 1 : NULL;
	if (p != NULL && err->line > 0)
		snprintf(err->source, sizeof(err->source), "%.*s", (int)strcspn(p, "\n"), p);
}

int
want_undo_call(struct link *l, void *arg, struct call *c)
{
	struct want_undo *a = arg;
	struct link_end *e = a->e;
	const struct session *who = NULL;
	bool has_all = true;
	(void)l;
	(void)c;
	for (const struct session *s = e->sessions; s != NULL; s = s->next) {
		if (!s->up || s->dead || s->loop[0] != '\0')
			continue;
		if (s->change.refused[0] == '\0')
			return 0; /* taken, or not answered yet */
		who = s;
		has_all = has_all && s->current != 0;
	}
	if (who == NULL)
		return 0;
	const struct change *why = &who->change;
	int rc = err_set(a->err, why->code, "%s: probe %s refuses this: %s", e->name, who->name,
	    why->refused);
	a->err->line = why->line;
	a->err->col = why->col;
	quote_line(e->want->filter, a->err);
	struct want *refused = e->want;
	e->want = a->before;
	a->before = refused;
	e->want_stats = a->want_stats;
	if (e->by_outputs != a->by_outputs) {
		e->by_outputs = a->by_outputs;
		relay_end_changed(e);
	}
	for (struct session *s = e->sessions; s != NULL; s = s->next)
		s->change.refused[0] = '\0';
	if (has_all)
		end_up(e);
	return rc;
}
