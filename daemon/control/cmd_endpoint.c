/* SPDX-License-Identifier: Apache-2.0
 * control/cmd_endpoint.c - commands that change what is attached. */
#include <stdio.h>

#include "base/log.h"
#include "control/control_priv.h"
#include "schema/value.h"

#define DONE(c, ...) snprintf((c)->done, sizeof((c)->done), __VA_ARGS__)

struct found {
	char name[64], type[32], state[16], why[160];
};

static void
find_one(void *arg, const struct engine_endpoint *ep)
{
	struct found *f = arg;
	snprintf(f->name, sizeof(f->name), "%s", ep->name);
	snprintf(f->type, sizeof(f->type), "%s", ep->type);
	snprintf(f->state, sizeof(f->state), "%s", port_state_name(ep->state));
	snprintf(f->why, sizeof(f->why), "%s", ep->why);
}

/* One row: the endpoint as it is now. */
static void
reply_endpoint(struct call *c, const char *name)
{
	struct found f = {0};
	if (engine_endpoints(c->engine, strv_of(name), find_one, &f, NULL) != 0)
		return;
	reply_row(c->client, json_pack("{s:o, s:s, s:s, s:o}", "name", json_cstr(f.name), "type",
				 f.type, "state", f.state, "why", json_cstr(f.why)));
}

static void
reply_name(struct call *c, const char *name)
{
	reply_row(c->client, json_pack("{s:o}", "name", json_cstr(name)));
}

int
control_cmd_attach(struct call *c)
{
	struct conf_endpoint *e = NULL;
	int r = conf_endpoint_parse(
	    (const char *const *)c->args, c->n_args, engine_type_names(), &e, &c->err);
	if (r == 0)
		r = guard_attach(c, e, &c->err);
	if (r == 0) {
		char name[sizeof(e->name)];
		snprintf(name, sizeof(name), "%s", e->name);
		r = engine_attach(c->engine, &e, false, &c->err);
		if (r == 0) {
			reply_endpoint(c, name);
			DONE(c, "attached %s", name);
		}
	}
	conf_endpoint_free(&e);
	return r;
}

int
control_cmd_detach(struct call *c)
{
	int r = engine_detach(c->engine, strv_of(c->args[0]), c->drain, &c->err);
	if (r != 0)
		return r;
	reply_name(c, c->args[0]);
	DONE(c, "detached %.63s", c->args[0]);
	return 0;
}

/* Does one of these words change what probes are asked for? */
static bool
asks(const char *const *words, unsigned n)
{
	static const char *const names[] = {"filter=", "fields=", "codec=", "stats="};
	for (unsigned i = 0; i < n; i++)
		for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
			if (strncmp(words[i], names[k], strlen(names[k])) == 0)
				return true;
	return false;
}

int
control_cmd_set(struct call *c)
{
	struct found f = {0};
	const char *const *words = (const char *const *)c->args + 1;
	int r = engine_endpoints(c->engine, strv_of(c->args[0]), find_one, &f, &c->err);
	if (r == 0)
		r = guard_set(c, f.type, words, c->n_args - 1, &c->err);
	if (r == 0)
		r = engine_set(c->engine, strv_of(c->args[0]), words, c->n_args - 1, &c->err);
	if (r != 0)
		return r;
	unsigned n[3];
	json_t *probes = changes_json(c, f.name, n);
	memset(&f, 0, sizeof(f));
	(void)engine_endpoints(c->engine, strv_of(c->args[0]), find_one, &f, NULL);
	reply_row(c->client, json_pack("{s:o, s:s, s:s, s:o, s:o}", "name", json_cstr(f.name),
	    "type", f.type, "state", f.state, "why", json_cstr(f.why), "probes", probes));
	if (strcmp(f.type, "subscribe") != 0 || !asks(words, c->n_args - 1))
		DONE(c, "changed %s", f.name);
	else if (n[CHANGE_TAKEN] + n[CHANGE_REFUSED] + n[CHANGE_ASKED] == 0)
		DONE(c, "changed %s, no probe is connected: each is asked when it comes", f.name);
	else if (n[CHANGE_REFUSED] == 0 && n[CHANGE_ASKED] == 0)
		DONE(c, "changed %s, %u probes have taken it", f.name, n[CHANGE_TAKEN]);
	else if (n[CHANGE_REFUSED] == 0)
		DONE(c, "changed %s, %u probes have taken it, %u have not answered yet "
		    "(see flowctl show subscriptions)", f.name, n[CHANGE_TAKEN], n[CHANGE_ASKED]);
	else
		r = err_set(&c->err, E_PARTLY, "changed %s, but %u of %u probes refuse it and go on "
		    "with what they had (see flowctl show subscriptions)", f.name, n[CHANGE_REFUSED],
		    n[CHANGE_TAKEN] + n[CHANGE_REFUSED] + n[CHANGE_ASKED]);
	return r;
}

static int
enable(struct call *c, bool on)
{
	int r = engine_enable(c->engine, strv_of(c->args[0]), on, &c->err);
	if (r != 0)
		return r;
	reply_endpoint(c, c->args[0]);
	DONE(c, "%s %.63s", on ? "enabled" : "disabled", c->args[0]);
	return 0;
}

int
control_cmd_enable(struct call *c)
{
	return enable(c, true);
}

int
control_cmd_disable(struct call *c)
{
	return enable(c, false);
}

int
control_cmd_save(struct call *c)
{
	unsigned n = 0;
	int r = engine_save(c->engine, &n, &c->err);
	if (r != 0)
		return r;
	const char *dir = conf_text(&engine_daemon(c->engine)->bag, "state_dir");
	char file[256];
	snprintf(file, sizeof(file), "%s/endpoints.conf", dir);
	reply_row(c->client, json_pack("{s:i, s:o}", "saved", (int)n, "file", json_cstr(file)));
	DONE(c, "saved %u endpoints", n);
	return 0;
}

int
call_span(struct call *c, const char *flag, const char *text, int64_t *out_us)
{
	char q[64];
	if (span_parse(strv_of(text), out_us) == 0 && *out_us >= 1000000 &&
	    *out_us <= INT64_C(86400000000))
		return 0;
	return err_set(&c->err, E_RANGE, "%s %s: not a time of 1s to 24h (60, 90s, 5m)", flag,
	    strv_quote(strv_of(text), q, sizeof(q)));
}

int
control_cmd_reload(struct call *c)
{
	unsigned n = 0;
	int64_t us = 0;
	int r;
	if ((c->confirm != NULL) + c->confirmed + c->undo > 1)
		return err_set(&c->err, E_INVAL, "--confirm, --confirmed and --undo exclude each other");
	if (c->confirm != NULL && call_span(c, "--confirm", c->confirm, &us) != 0)
		return -E_RANGE;
	if (c->confirmed)
		r = engine_reload_confirm(c->engine, &c->err);
	else if (c->undo)
		r = engine_reload_undo(c->engine, &n, &c->err);
	else
		r = engine_reload(c->engine, (uint64_t)us, &n, &c->err);
	if (r != 0 && r != -E_PARTLY)
		return r;
	json_t *j = json_pack("{s:i}", "changed", (int)n);
	uint64_t left = engine_reload_pending_us(c->engine);
	json_object_set_new(j, "pending_s", left > 0 ? json_seconds((int64_t)left) : json_null());
	reply_row(c->client, j);
	if (c->confirmed)
		DONE(c, "confirmed, it stays");
	else if (c->undo)
		DONE(c, "undone, %u endpoints changed back", n);
	else if (left > 0)
		DONE(c, "%u endpoints changed; undone in %.0f s without flowctl reload --confirmed", n,
		    (double)left / 1e6);
	else
		DONE(c, "%u endpoints changed", n);
	return r;
}

int
control_cmd_log(struct call *c)
{
	char q[64];
	if (c->n_args == 1) {
		int level = log_level_parse(c->args[0]);
		if (level < 0)
			return err_set(&c->err, E_UNKNOWN,
			    "no log level %s; there are err, warn, notice, info, debug",
			    strv_quote(strv_of(c->args[0]), q, sizeof(q)));
		log_set_level((enum log_level)level);
	}
	reply_row(c->client, json_pack("{s:s}", "level", log_level_name(log_get_level())));
	DONE(c, "log level is %s", log_level_name(log_get_level()));
	return 0;
}
