/* SPDX-License-Identifier: Apache-2.0
 * engine/undo.c - a reload that goes back by itself when nobody confirms it.
 *
 * Before the reload everything that is attached is remembered: configurations, where they came
 * from, names that were removed, daemon options. Going back attaches, changes and detaches until
 * that is what there is again; what was done at run time in between goes too. All of it is in this
 * process's memory: neither a lost control connection nor who asked for it matters, and a restart
 * takes the files as they are. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/engine_priv.h"

struct was {
	struct conf_endpoint *conf;
	bool persistent, altered;
};

struct undo {
	struct was *ep;
	unsigned n_ep;
	char **removed;
	unsigned n_removed;
	struct conf_endpoint *daemon;
	struct loop_timer *timer;
	uint64_t until_us; /* monotonic; 0: not armed yet */
};

static void
undo_free(struct undo **up)
{
	struct undo *u = *up;
	if (u == NULL)
		return;
	for (unsigned i = 0; i < u->n_ep; i++)
		conf_endpoint_free(&u->ep[i].conf);
	for (unsigned i = 0; i < u->n_removed; i++)
		free(u->removed[i]);
	free(u->ep);
	free(u->removed);
	conf_endpoint_free(&u->daemon);
	loop_timer_del(&u->timer);
	free(u);
	*up = NULL;
}

void
undo_forget(struct engine *e)
{
	undo_free(&e->undo);
}

uint64_t
engine_reload_pending_us(const struct engine *e)
{
	uint64_t now = clock_mono_us();
	if (e->undo == NULL)
		return 0;
	return e->undo->until_us > now ? e->undo->until_us - now : 1;
}

int
undo_check(const struct engine *e, struct err *err)
{
	if (e->undo == NULL)
		return 0;
	return err_set(err, E_BUSY, "a reload waits to be confirmed, for %.0f s more (flowctl reload "
	    "--confirmed keeps it, --undo takes it back)",
	    (double)engine_reload_pending_us(e) / 1e6);
}

int
undo_remember(struct engine *e, struct err *err)
{
	struct undo *u = calloc(1, sizeof(*u));
	bool ok = u != NULL;
	if (ok) {
		u->ep = calloc(e->n_ep + 1, sizeof(*u->ep));
		u->removed = calloc(e->n_removed + 1, sizeof(*u->removed));
		u->daemon = conf_endpoint_dup(&e->conf->daemon.bag);
		ok = u->ep != NULL && u->removed != NULL && u->daemon != NULL;
	}
	for (unsigned i = 0; ok && i < e->n_ep; i++) {
		const struct endpoint *ep = e->ep[i];
		u->ep[i] = (struct was){conf_endpoint_dup(ep->conf), ep->persistent, ep->altered};
		u->n_ep++;
		ok = u->ep[i].conf != NULL;
	}
	for (unsigned i = 0; ok && i < e->n_removed; i++) {
		u->removed[i] = strv_dup(strv_of(e->removed[i]));
		u->n_removed++;
		ok = u->removed[i] != NULL;
	}
	if (!ok) {
		undo_free(&u);
		return err_set(err, E_NOMEM, "out of memory: nothing was changed");
	}
	e->undo = u;
	return 0;
}

/* ---- going back */

static struct was *
was_find(struct undo *u, const char *name)
{
	for (unsigned i = 0; i < u->n_ep; i++)
		if (strcmp(u->ep[i].conf->name, name) == 0)
			return &u->ep[i];
	return NULL;
}

static int
put_back(struct engine *e, const struct was *w, unsigned *changed, struct err *err)
{
	struct endpoint *ep = endpoint_find(e, strv_of(w->conf->name));
	int rc = 0;
	if (ep == NULL || !conf_endpoint_eq(ep->conf, w->conf)) {
		struct conf_endpoint *fresh = conf_endpoint_dup(w->conf);
		if (fresh == NULL)
			return err_set(err, E_NOMEM, "out of memory");
		rc = ep == NULL ? engine_attach(e, &fresh, w->persistent, err) :
		    endpoint_become(e, ep, &fresh, err);
		conf_endpoint_free(&fresh);
		(*changed)++;
	}
	ep = endpoint_find(e, strv_of(w->conf->name));
	if (rc != 0 || ep == NULL)
		return rc;
	ep->persistent = w->persistent;
	ep->altered = w->altered;
	ep->conf->is_saved = w->conf->is_saved;
	ep->conf->in_files = w->conf->in_files;
	return 0;
}

static void
detach_new(struct engine *e, struct undo *u, unsigned *changed)
{
	for (unsigned i = 0; i < e->n_ep;) {
		char name[sizeof(e->ep[i]->name)];
		memcpy(name, e->ep[i]->name, sizeof(name));
		if (was_find(u, name) != NULL) {
			i++;
			continue;
		}
		(void)engine_detach(e, strv_of(name), true, NULL);
		(*changed)++;
	}
}

static int
go_back(struct engine *e, unsigned *changed, struct err *err)
{
	struct undo *u = e->undo;
	struct err first = {0}, one;
	unsigned failed = 0;
	e->undo = NULL;
	loop_timer_del(&u->timer);
	detach_new(e, u, changed);
	/* outputs before inputs, so that the first record finds them */
	for (unsigned k = 0; k < 2 * u->n_ep; k++) {
		const struct was *w = &u->ep[k < u->n_ep ? k : k - u->n_ep];
		bool is_input = endpoint_type(w->conf->type)->direction == PORT_INPUT;
		if (is_input != (k >= u->n_ep) || put_back(e, w, changed, &one) == 0)
			continue;
		log_line(NULL, LOG_ERR, "engine: undo of the reload: %s: %s", w->conf->name, one.text);
		if (failed++ == 0)
			first = one;
	}
	while (e->n_removed > 0)
		free(e->removed[--e->n_removed]);
	for (unsigned i = 0; i < u->n_removed; i++)
		engine_removed_add(e, u->removed[i]);
	engine_take_daemon(e, u->daemon);
	undo_free(&u);
	facts_update(e);
	engine_event(e, "reload undone, %u endpoints changed back", *changed);
	if (failed > 0)
		return err_set(err, E_PARTLY, "%u endpoints cannot be put back; first: %s", failed,
		    first.text);
	return 0;
}

static void
on_time(void *arg, uint64_t now_us)
{
	struct engine *e = arg;
	struct err err = {0};
	unsigned changed = 0;
	(void)now_us;
	int rc = go_back(e, &changed, &err);
	log_line(NULL, LOG_WARN, "engine: reload: not confirmed in time, undone: %u endpoints changed "
	    "back%s%s", changed, rc != 0 ? ", but " : "", rc != 0 ? err.text : "");
}

void
undo_arm(struct engine *e, uint64_t us)
{
	struct undo *u = e->undo;
	u->until_us = clock_mono_us() + us;
	u->timer = loop_timer_add(e->loop, us, 0, on_time, e);
	if (u->timer == NULL)
		log_err("engine: reload: out of memory, it will not undo itself (flowctl reload --undo)");
}

static int
none_pending(struct err *err)
{
	return err_set(err, E_NOENT, "no reload waits to be confirmed (flowctl reload --confirm 60 "
	    "makes one that does)");
}

int
engine_reload_confirm(struct engine *e, struct err *err)
{
	if (e->undo == NULL)
		return none_pending(err);
	undo_forget(e);
	log_line(NULL, LOG_NOTICE, "engine: reload confirmed");
	engine_event(e, "reload confirmed");
	return 0;
}

int
engine_reload_undo(struct engine *e, unsigned *changed_out, struct err *err)
{
	*changed_out = 0;
	return e->undo != NULL ? go_back(e, changed_out, err) : none_pending(err);
}
