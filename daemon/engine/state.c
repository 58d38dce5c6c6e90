/* SPDX-License-Identifier: Apache-2.0
 * engine/state.c - save what was attached at run time; read the files again. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"
#include "engine/engine_priv.h"

void
engine_removed_add(struct engine *e, const char *name)
{
	for (unsigned i = 0; i < e->n_removed; i++)
		if (strcmp(e->removed[i], name) == 0)
			return;
	char **list = realloc(e->removed, (e->n_removed + 1) * sizeof(*list));
	char *copy = strv_dup(strv_of(name));
	if (list != NULL)
		e->removed = list;
	if (list == NULL || copy == NULL) {
		free(copy);
		return; /* without memory the name comes back at the next start: nothing is lost */
	}
	e->removed[e->n_removed++] = copy;
}

void
engine_removed_del(struct engine *e, const char *name)
{
	for (unsigned i = 0; i < e->n_removed; i++) {
		if (strcmp(e->removed[i], name) != 0)
			continue;
		free(e->removed[i]);
		e->removed[i--] = e->removed[--e->n_removed];
	}
}

int
engine_save(struct engine *e, unsigned *n_out, struct err *err)
{
	const struct conf_endpoint *list[MAX_ENDPOINTS];
	unsigned n = 0;
	const char *dir = conf_text(&e->conf->daemon.bag, "state_dir");
	for (unsigned i = 0; i < e->n_ep; i++)
		if (!e->ep[i]->persistent || e->ep[i]->altered)
			list[n++] = e->ep[i]->conf;
	struct stat st;
	int busy = undo_check(e, err);
	if (busy != 0)
		return busy;
	if (e->args.conf_file == NULL)
		return err_set(err, E_INVAL, "started without a configuration file: the next start would "
		    "not read what is saved (start with --config FILE)");
	if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
		return err_set(err, E_IO, "state directory %s does not exist (create it, or set "
		    "daemon option state_dir)", dir);
	int rc = conf_save(dir, list, n, (const char *const *)e->removed, e->n_removed, err);
	if (rc == 0)
		*n_out = n;
	return rc;
}

static const struct conf_endpoint *
conf_find(const struct conf *c, const char *name)
{
	for (unsigned i = 0; i < c->n_endpoints; i++)
		if (strcmp(c->endpoints[i]->name, name) == 0)
			return c->endpoints[i];
	return NULL;
}

/* Can every difference between two configurations of one endpoint be applied live? */
static bool
only_live(const struct conf_endpoint *a, const struct conf_endpoint *b)
{
	if (strcmp(a->type, b->type) != 0 || strcmp(a->address, b->address) != 0 ||
	    a->enabled != b->enabled)
		return false;
	for (unsigned i = 0; i < option_count; i++) {
		const struct option_info *o = &option_info[i];
		if (strcmp(o->owner, a->type) == 0 && o->apply != APPLY_LIVE &&
		    strcmp(conf_text(a, o->name), conf_text(b, o->name)) != 0)
			return false;
	}
	return true;
}

/* Close, take the new configuration (*fresh on success), open; if it fails the old one is back. */
static int
replace(struct engine *e, struct endpoint *ep, struct conf_endpoint **fresh, struct err *err)
{
	struct conf_endpoint *old = ep->conf;
	int rc = 0;
	endpoint_close(e, ep, true);
	ep->conf = *fresh;
	ep->type = endpoint_type(ep->conf->type); /* a file may make it something else */
	if (ep->conf->enabled)
		rc = endpoint_open(e, ep, err);
	else
		endpoint_state(ep, PORT_DISABLED, "");
	if (rc == 0) {
		conf_endpoint_free(&old);
		*fresh = NULL;
		return 0;
	}
	struct err again;
	ep->conf = old;
	ep->type = endpoint_type(old->type);
	if (old->enabled && endpoint_open(e, ep, &again) != 0) {
		log_err("engine: %s: the old configuration does not open either: %s", ep->name,
		    again.text);
		endpoint_state(ep, PORT_DISABLED, again.text);
	}
	return rc;
}

int
endpoint_become(struct engine *e, struct endpoint *ep, struct conf_endpoint **fresh,
    struct err *err)
{
	return only_live(ep->conf, *fresh) ? endpoint_change(ep, fresh, err) :
	    replace(e, ep, fresh, err);
}

static int
reload_one(struct engine *e, const struct conf_endpoint *want, unsigned *changed, struct err *err)
{
	struct endpoint *ep = endpoint_find(e, strv_of(want->name));
	if (ep != NULL && conf_endpoint_eq(ep->conf, want)) {
		ep->persistent = !want->is_saved;
		ep->conf->is_saved = want->is_saved;
		ep->conf->in_files = want->in_files;
		return 0;
	}
	if (ep != NULL && !ep->persistent && !want->is_saved)
		return err_set(err, E_EXIST,
		    "%s: %s:%d defines it, but one of that name was attached at run time "
		    "(detach it first)", want->name, want->file, want->line);
	struct conf_endpoint *fresh = conf_endpoint_dup(want);
	if (fresh == NULL)
		return err_set(err, E_NOMEM, "out of memory");
	int rc;
	if (ep == NULL)
		rc = engine_attach(e, &fresh, !want->is_saved, err);
	else
		rc = endpoint_become(e, ep, &fresh, err);
	conf_endpoint_free(&fresh);
	if (rc == 0) {
		ep = endpoint_find(e, strv_of(want->name));
		ep->altered = false;
		ep->persistent = !want->is_saved;
		(*changed)++;
	}
	return rc;
}

int
engine_load_files(struct engine *e, struct conf **out, struct err *err)
{
	const struct conf_loading how = {engine_type_names(), engine_check_option, NULL};
	return conf_load_set(e->args.conf_file, e->args.conf_may_miss, e->args.set, e->args.n_set,
	    &how, out, err);
}

void
engine_take_daemon(struct engine *e, const struct conf_endpoint *bag)
{
	struct conf_endpoint *now = &e->conf->daemon.bag;
	for (unsigned i = 0; i < option_count; i++) {
		const struct option_info *o = &option_info[i];
		if (strcmp(o->owner, "daemon") != 0 ||
		    strcmp(conf_text(now, o->name), conf_text(bag, o->name)) == 0)
			continue;
		struct strv text = strv_of(conf_text(bag, o->name));
		if (o->apply != APPLY_LIVE)
			log_line(NULL, LOG_WARN, "engine: reload: daemon option %s changes at the next "
			    "start (restart flowbusd)", o->name);
		else if (conf_endpoint_set(now, strv_of(o->name), text, NULL) == 0 &&
		    strcmp(o->name, "log_level") == 0)
			log_set_level((enum log_level)conf_choice(now, "log_level"));
	}
}

static int
take_files(struct engine *e, struct conf *c, unsigned *changed_out, struct err *err)
{
	struct err first = {0};
	unsigned failed = 0;
	for (unsigned i = 0; i < e->n_ep;) {
		struct endpoint *ep = e->ep[i];
		char name[sizeof(ep->conf->name)];
		snprintf(name, sizeof(name), "%s", ep->conf->name);
		if (!ep->persistent || conf_find(c, name) != NULL) {
			i++;
			continue;
		}
		(void)engine_detach(e, strv_of(name), true, NULL);
		engine_removed_del(e, name);
		(*changed_out)++;
	}
	/* outputs before inputs, so that the first record finds them */
	for (unsigned k = 0; k < 2 * c->n_endpoints; k++) {
		unsigned i = k < c->n_endpoints ? k : k - c->n_endpoints;
		const struct conf_endpoint *want = c->endpoints[i];
		assert_always(want != NULL);
		bool is_input = endpoint_type(want->type)->direction == PORT_INPUT;
		struct err one;
		if (is_input != (k >= c->n_endpoints))
			continue;
		if (reload_one(e, want, changed_out, &one) != 0) {
			if (strncmp(one.text, want->name, strlen(want->name)) != 0)
				err_prefix(&one, "%s: ", want->name);
			log_line(NULL, LOG_ERR, "engine: reload: %s:%d: %s", want->file, want->line,
			    one.text);
			if (failed++ == 0)
				first = one;
		}
	}
	engine_take_daemon(e, &c->daemon.bag);
	struct err keys = {0};
	if (e->link != NULL && link_trust_reload(e->link, &keys) != 0) {
		log_line(
		    NULL, LOG_ERR, "engine: reload: trusted keys stay as they were: %s", keys.text);
		if (failed++ == 0)
			first = keys;
	}
	facts_update(e);
	if (failed > 0)
		return err_set(err, E_PARTLY, "%u of the changes failed, these endpoints stay as they "
		    "were; first: %s", failed, first.text);
	return 0;
}

int
engine_reload(struct engine *e, uint64_t confirm_us, unsigned *changed_out, struct err *err)
{
	struct conf *c = NULL;
	*changed_out = 0;
	if (e->args.conf_file == NULL)
		return err_set(err, E_INVAL, "started without a configuration file: nothing to reload");
	int rc = undo_check(e, err);
	if (rc == 0)
		rc = engine_load_files(e, &c, err);
	if (rc == 0 && confirm_us > 0)
		rc = undo_remember(e, err);
	if (rc == 0) {
		rc = take_files(e, c, changed_out, err);
		if (confirm_us > 0)
			undo_arm(e, confirm_us);
	}
	conf_free(&c);
	return rc;
}
