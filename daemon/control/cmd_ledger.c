/* SPDX-License-Identifier: Apache-2.0
 * control/cmd_ledger.c - `show ledger` and `explain drops`. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "control/control_priv.h"

static void
put_int(json_t *j, const char *key, uint64_t v)
{
	json_object_set_new(j, key, json_integer((json_int_t)v));
}

/* What a person reads in the last column. */
static void
words_of(const struct ledger_row *r, struct buf *out)
{
	if (r->is_equation && r->difference == 0)
		buf_printf(out, "balanced: %s", r->text);
	else if (r->is_equation)
		buf_printf(out, "OFF BY %" PRId64 ": %s", r->difference, r->text);
	for (unsigned i = 0; i < r->n_losses; i++)
		if (r->loss[i].n > 0)
			buf_printf(out, "%s%s %" PRIu64, out->n > 0 ? ", " : "", r->loss[i].name,
			    r->loss[i].n);
	if (r->unknown > 0)
		buf_printf(out, "%s%" PRIu64 " times nobody knows how many", out->n > 0 ? ", " : "",
		    r->unknown);
	if (r->is_told && !r->is_equation)
		buf_printf(out, "%stold %.1f s ago", out->n > 0 ? ", " : "", (double)r->told_us / 1e6);
	if (r->is_away && !r->is_equation)
		buf_printf(out, "%saway", out->n > 0 ? ", " : "");
}

static void
ledger_row(void *arg, const struct ledger_row *r)
{
	struct call *c = arg;
	struct buf words = buf_init(1024);
	json_t *losses = json_object();
	for (unsigned i = 0; i < r->n_losses; i++)
		put_int(losses, r->loss[i].name, r->loss[i].n);
	words_of(r, &words);
	json_t *j = json_pack("{s:o, s:o, s:o, s:s, s:s, s:s, s:s}", "node", json_cstr(r->node),
	    "endpoint", json_cstr(r->endpoint), "peer", json_cstr(r->peer), "ledger", r->ledger,
	    "kind", r->is_equation ? "equation" : "stage", "stage", r->stage, "unit", r->unit);
	put_int(j, "in", r->in);
	put_int(j, "out", r->out);
	put_int(j, "held", r->held);
	put_int(j, "filtered", r->filtered);
	put_int(j, "lost", r->lost);
	json_object_set_new(j, "losses", losses);
	put_int(j, "unknown", r->unknown);
	json_object_set_new(j, "told", json_boolean(r->is_told));
	json_object_set_new(j, "told_us",
	    r->is_told && r->told_us != 0 ? json_integer(r->told_us) : json_null());
	json_object_set_new(j, "away", json_boolean(r->is_away));
	json_object_set_new(j, "balanced",
	    r->is_equation ? json_boolean(r->difference == 0) : json_null());
	json_object_set_new(j, "difference", json_integer(r->difference));
	json_object_set_new(j, "what", json_strv(buf_view(&words)));
	reply_row(c->client, j);
	buf_fini(&words);
}

int
control_cmd_show_ledger(struct call *c)
{
	struct strv name = c->n_args > 0 ? strv_of(c->args[0]) : (struct strv){NULL, 0};
	return engine_ledger(c->engine, name, ledger_row, c, &c->err);
}

/* ---- explain drops */

struct reason {
	struct engine_loss loss;
	char node[64], endpoint[64];
};

struct reasons {
	struct reason *r;
	size_t n;
};

static void
reason_add(void *arg, const struct engine_loss *l)
{
	struct reasons *all = arg;
	struct reason *r = realloc(all->r, (all->n + 1) * sizeof(*r));
	if (r == NULL)
		return;
	all->r = r;
	r += all->n++;
	r->loss = *l;
	snprintf(r->node, sizeof(r->node), "%s", l->node);
	snprintf(r->endpoint, sizeof(r->endpoint), "%s", l->endpoint);
}

static int
by_size(const void *a, const void *b)
{
	const struct engine_loss *x = &((const struct reason *)a)->loss;
	const struct engine_loss *y = &((const struct reason *)b)->loss;
	return x->n != y->n ? (x->n < y->n ? 1 : -1) : strcmp(x->cause, y->cause);
}

static void
reason_words(const struct reason *r, struct buf *out)
{
	const struct engine_loss *l = &r->loss;
	buf_printf(out, "%s, %s: %s%" PRIu64 " %s lost", r->node, r->endpoint,
	    l->more ? "at least " : "", l->n, l->unit);
	if (l->of > 0)
		buf_printf(out, ", %.2g %% of %" PRIu64, 100.0 * (double)l->n / (double)l->of, l->of);
	if (l->since_us != 0) {
		buf_str(out, ", since ");
		time_print(out, l->since_us);
	}
	if (l->has_second)
		buf_printf(out, ", %" PRIu64 " in the last second", l->last_second);
	buf_printf(out, ": %s. To do: %s.", l->text, l->advice);
}

static json_t *
reason_json(const struct reason *r)
{
	const struct engine_loss *l = &r->loss;
	struct buf words = buf_init(2048);
	reason_words(r, &words);
	json_t *j = json_pack("{s:o, s:o, s:s, s:I, s:s}", "node", json_cstr(r->node), "endpoint",
	    json_cstr(r->endpoint), "cause", l->cause, "lost", (json_int_t)l->n, "unit", l->unit);
	json_object_set_new(j, "at_least", json_boolean(l->more));
	json_object_set_new(j, "of", l->of > 0 ? json_integer((json_int_t)l->of) : json_null());
	json_object_set_new(j, "share",
	    l->of > 0 ? json_real((double)l->n / (double)l->of) : json_null());
	json_object_set_new(j, "last_second",
	    l->has_second ? json_integer((json_int_t)l->last_second) : json_null());
	json_object_set_new(j, "since", json_time(l->since_us));
	json_object_set_new(j, "why", json_cstr(l->text));
	json_object_set_new(j, "advice", json_cstr(l->advice));
	json_object_set_new(j, "text", json_strv(buf_view(&words)));
	buf_fini(&words);
	return j;
}

int
control_cmd_explain_drops(struct call *c)
{
	struct reasons all = {NULL, 0};
	engine_losses(c->engine, reason_add, &all);
	if (all.n > 0)
		qsort(all.r, all.n, sizeof(all.r[0]), by_size);
	for (size_t i = 0; i < all.n; i++)
		reply_row(c->client, reason_json(&all.r[i]));
	if (all.n == 0)
		reply_row(c->client,
		    json_pack("{s:s, s:s, s:s, s:i, s:s, s:b, s:n, s:n, s:n, s:n, s:s, s:s, s:s}",
			"node", engine_name(c->engine), "endpoint", "", "cause", "", "lost", 0,
			"unit", "", "at_least", 0, "of", "share", "last_second", "since", "why", "",
			"advice", "", "text", "nothing was lost"));
	free(all.r);
	return 0;
}
