/* SPDX-License-Identifier: Apache-2.0
 * link/end.c - attaching, changing and detaching ends. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "link/link_priv.h"

void
end_state(struct link_end *e, enum port_state state, const char *why)
{
	if (e->state == state && strncmp(e->state_why, why, sizeof(e->state_why) - 1) == 0)
		return;
	e->state = state;
	snprintf(e->state_why, sizeof(e->state_why), "%s", why);
	if (!e->draining)
		e->host.state(e->host.ctx, state, e->state_why);
}

void
end_up(struct link_end *e)
{
	for (const struct session *s = e->sessions; s != NULL && !e->is_publish; s = s->next)
		if (s->loop[0] != '\0') {
			end_state(e, PORT_DEGRADED, s->loop);
			return;
		}
	end_state(e, PORT_UP, "");
}

uint64_t
end_tick(struct link_end *e, uint64_t now)
{
	uint64_t due = min_u64(sock_tick(e, now), fault_tick(e, now));
	due = min_u64(due, enrol_tick(e, now));
	due = min_u64(due, session_ticks(e, now));
	return min_u64(due, e->is_publish ? publish_tick(e, now) : want_tick(e, now));
}

/* ---- options */

static int
read_publish(struct link_end *e, const struct conf_endpoint *conf, struct err *err)
{
	int codec = frame_codec_parse(strv_of(conf_text(conf, "codec")));
	if (codec < 0)
		return err_set(err, E_INVAL, "%s: unknown codec %s", e->name, conf_text(conf, "codec"));
	e->codec = (enum frame_codec)codec;
	e->max_delay_us = (uint64_t)conf_span_us(conf, "max_delay");
	e->ring = conf_number(conf, "ring");
	e->window = conf_number(conf, "window");
	e->resume_us = (uint64_t)conf_span_us(conf, "resume");
	e->on_full = (enum on_full)conf_choice(conf, "on_full");
	e->spool_size = conf_number(conf, "spool_size");
	e->max_channels = conf_number(conf, "max_channels");
	e->max_subscriptions = conf_number(conf, "max_subscriptions");
	return 0;
}

static int
read_subscribe(struct link_end *e, const struct conf_endpoint *conf, struct err *err)
{
	struct filter *f = NULL;
	const char *text = conf_text(conf, "filter");
	int rc = filter_compile(strv_of(text), &f, err);
	if (rc != 0) {
		err_prefix(err, "%s: filter: ", e->name);
		return rc;
	}
	filter_free(&f);
	want_unref(&e->want);
	e->want = want_new(text, conf_fields(conf, "fields"),
	    frame_codec_parse(strv_of(conf_text(conf, "codec")))); /* auto: -1 */
	if (e->want == NULL)
		return err_set(err, E_NOMEM, "%s: out of memory", e->name);
	e->want_stats = conf_bool(conf, "stats");
	e->by_outputs = conf_choice(conf, "demand") == 1;
	e->clock_limit_us = (uint64_t)conf_span_us(conf, "clock_limit");
	return 0;
}

int
end_options(struct link_end *e, const struct conf_endpoint *conf, struct err *err)
{
	e->max_peers = conf_number(conf, "max_peers");
	e->max_peers_per_address = conf_number(conf, "max_peers_per_address");
	int rc = named_lists(e, conf, err);
	if (rc != 0)
		return rc;
	return e->is_publish ? read_publish(e, conf, err) : read_subscribe(e, conf, err);
}

/* Clear text leaves this host only when that is written out. */
static int
read_security(struct link_end *e, const struct conf_endpoint *conf, struct err *err)
{
	const char *key_file = conf_text(conf, "key_file"), *want = conf_text(conf, "encryption");
	bool none = strcmp(want, "none") == 0;
	int rc = named_read(e, conf, err);
	if (rc != 0 || e->named)
		return rc;
	if (none && key_file[0] != '\0')
		return err_set(err, E_INVAL, "%s: encryption=none and a key_file do not go together "
		    "(leave out one of them)", e->name);
	if (key_file[0] != '\0') {
		rc = link_keys_load(key_file, &e->keys, err);
		if (rc != 0)
			err_prefix(err, "%s: ", e->name);
		e->encrypted = rc == 0;
		return rc;
	}
	if (strcmp(want, "curve") == 0)
		return err_set(err, E_KEY,
		    "%s: encryption=curve needs a key_file "
		    "or an identity (make them with `flowctl key secret` and `flowctl key new`)",
		    e->name);
	if (!none && !e->addr.loopback)
		return err_set(err, E_UNSAFE, "%s: %s %s without a key is refused: everything would go in "
		    "clear text (give key_file or identity, or write encryption=none)", e->name,
		    e->addr.bind ? "listening on" : "connecting to", e->addr.endpoint);
	return 0;
}

static int
open_spool(struct link_end *e, const struct conf_endpoint *conf, struct err *err)
{
	const char *dir = conf_text(conf, "spool");
	if (dir[0] == '\0')
		return 0;
	const struct spool_where w = {dir, e->name, e->spool_size};
	int rc = spool_open(&w, &e->link->wake, &e->link->frames, &e->spool, &e->found, &e->n_found,
	    err);
	if (rc != 0)
		err_prefix(err, "%s", e->name);
	return rc;
}

static int
make_queues(struct link_end *e, const struct conf_endpoint *conf, struct err *err)
{
	if (e->is_publish) {
		e->batches = queue_new(conf_number(conf, "queue"));
		e->seconds = queue_new(SECONDS_QUEUE);
		e->pool = batch_pool_new(UINT32_MAX); /* bounded by channels */
	} else {
		e->pool = batch_pool_new((uint32_t)conf_number(conf, "max_batches"));
	}
	if (e->pool == NULL || (e->is_publish && (e->batches == NULL || e->seconds == NULL)))
		return err_set(err, E_NOMEM, "%s: out of memory", e->name);
	return 0;
}

void
end_free(struct link_end *e)
{
	struct batch *b;
	void *sec;
	e->closing = true;
	spool_close(&e->spool);
	spool_found_free(&e->found, e->n_found);
	while (e->channels != NULL)
		channel_free(e->channels);
	while (e->batches != NULL && (b = queue_pop(e->batches)) != NULL)
		batch_unref(&b);
	accounts_free(e);
	while (e->seconds != NULL && (sec = queue_pop(e->seconds)) != NULL)
		free(sec);
	queue_free(&e->batches);
	queue_free(&e->seconds);
	batch_pool_free(&e->pool);
	enrol_free(e);
	named_free(e);
	link_keys_wipe(&e->keys);
	for (unsigned i = 0; i < e->n_positions; i++) {
		want_unref(&e->positions[i].want);
	}
	free(e->positions);
	demand_fini(&e->demand);
	free(e->conns);
	want_unref(&e->want);
	free(e);
}

/* ---- attach */

static int
attach_call(struct link *l, void *arg, struct call *c)
{
	struct {
		struct link_end *e;
		struct err *err;
	} *a = arg;
	(void)c;
	for (const struct link_end *o = l->ends; o != NULL; o = o->next)
		if (strcmp(o->name, a->e->name) == 0)
			return err_set(a->err, E_EXIST, "%s: there is an endpoint of this name", o->name);
	int rc = sock_open(a->e, a->err);
	if (rc == 0 && channel_recover(a->e) != 0)
		rc = err_set(a->err, E_NOMEM, "%s: out of memory for what the spool has", a->e->name);
	if (rc != 0) {
		sock_close(a->e);
		return rc;
	}
	mark_restore(a->e);
	a->e->next = l->ends;
	l->ends = a->e;
	l->n_ends++;
	a->e->ask_hold_us = l->now_us + ASK_HOLD_US;
	if (a->e->is_bind)
		end_state(a->e, PORT_UP, "");
	else if (a->e->dial.cause[0] == '\0')
		end_state(a->e, PORT_STARTING, "connecting");
	return 0;
}

int
link_attach(struct link *l, const struct conf_endpoint *conf, const struct port_host *host,
    struct link_end **out, struct err *err)
{
	struct link_end *e = calloc(1, sizeof(*e));
	if (e == NULL)
		return err_set(err, E_NOMEM, "%s: out of memory", conf->name);
	e->link = l;
	e->host = *host;
	e->state = PORT_DISABLED; /* so that the first state is told */
	snprintf(e->name, sizeof(e->name), "%s", conf->name);
	e->is_publish = strcmp(conf->type, "publish") == 0;
	e->heartbeat_us = (uint64_t)conf_span_us(conf, "heartbeat");
	e->retry_min_us = (uint64_t)conf_span_us(conf, "retry_min");
	e->retry_max_us = (uint64_t)conf_span_us(conf, "retry_max");
	if (e->retry_max_us < e->retry_min_us)
		e->retry_max_us = e->retry_min_us;
	int rc = address_parse(conf->address, &e->addr, err);
	/* A collector that names an address of this host means a probe there: it connects. Only a
	 * wildcard (or ?bind) says that it waits for probes. */
	if (!e->is_publish && !e->addr.stated && !e->addr.wildcard)
		e->addr.bind = false;
	e->is_bind = e->addr.bind;
	if (rc != 0)
		err_prefix(err, "%s: ", e->name);
	if (rc == 0)
		rc = read_security(e, conf, err);
	if (rc == 0)
		rc = end_options(e, conf, err);
	if (rc == 0)
		rc = make_queues(e, conf, err);
	if (rc == 0 && e->is_publish)
		rc = open_spool(e, conf, err);
	struct {
		struct link_end *e;
		struct err *err;
	} a = {e, err};
	if (rc == 0)
		rc = link_call(l, attach_call, &a);
	if (rc != 0) {
		end_free(e);
		return rc;
	}
	*out = e;
	return 0;
}

/* ---- change */

struct set_args {
	struct link_end *e;
	struct link_end *with; /* holds the new values */
};

static int
set_call(struct link *l, void *arg, struct call *c)
{
	struct set_args *a = arg;
	struct link_end *e = a->e, *w = a->with;
	(void)c;
	e->max_peers = w->max_peers;
	e->max_peers_per_address = w->max_peers_per_address;
	if (e->is_bind)
		zap_limits(e->link->zap, e->name, e->max_peers, e->max_peers_per_address);
	char *lists[] = {e->allow, e->relays};
	e->allow = w->allow;
	e->relays = w->relays;
	w->allow = lists[0];
	w->relays = lists[1];
	if (e->named && e->is_bind && strcmp(lists[0], e->allow) != 0) {
		if (zap_named(l->zap, e->name, l->trust, e->id.own, e->allow) != 0)
			return -E_NOMEM;
		named_recheck(e);
	}
	if (!e->is_publish) {
		e->clock_limit_us = w->clock_limit_us;
		for (struct session *s = e->sessions; s != NULL; s = s->next)
			clock_judge(s);
		return 0;
	}
	e->max_delay_us = w->max_delay_us;
	e->ring = w->ring;
	e->window = w->window;
	e->resume_us = w->resume_us;
	e->on_full = w->on_full;
	e->spool_size = w->spool_size;
	e->max_channels = w->max_channels;
	e->max_subscriptions = w->max_subscriptions;
	for (struct channel *ch = e->channels; ch != NULL; ch = ch->next) {
		if (ch->auto_codec && ch->codec != w->codec) {
			channel_seal(ch, e->link->now_us);
			ch->codec = w->codec;
		}
		channel_bound(ch);
	}
	e->codec = w->codec;
	channel_unblock(e);
	for (struct session *s = e->sessions; s != NULL; s = s->next)
		session_wake(s); /* the window may be wider */
	e->parked_us = 0;
	end_due(e, 0);
	return 0;
}

/* Ask for something else. What every probe refuses is not kept: the old goes on, everywhere. */
static int
set_want(struct link_end *e, struct link_end *with, struct err *err)
{
	struct want_set a = {.e = e, .want = with->want, .want_stats = with->want_stats,
	    .by_outputs = with->by_outputs};
	struct err why = {0};
	with->want = NULL;
	link_call(e->link, want_set_call, &a);
	struct want_undo undo = {e, a.before, a.by_outputs, a.want_stats, &why};
	int rc = a.changed ? link_call(e->link, want_undo_call, &undo) : 0;
	want_unref(&undo.before);
	if (rc != 0 && err != NULL)
		*err = why;
	return rc;
}

int
link_set(struct link_end *e, const struct conf_endpoint *conf, const char *option, struct err *err)
{
	const struct option_info *info = option_find(conf->type, strv_of(option));
	if (info == NULL || info->apply != APPLY_LIVE)
		return err_set(err, E_INVAL, "%s: %s cannot be changed while attached "
		    "(detach and attach again)", e->name, option);
	struct link_end *w = calloc(1, sizeof(*w));
	if (w == NULL)
		return err_set(err, E_NOMEM, "%s: out of memory", e->name);
	memcpy(w->name, e->name, sizeof(w->name));
	w->is_publish = e->is_publish;
	w->is_bind = e->is_bind;
	w->named = e->named;
	int rc = end_options(w, conf, err);
	struct set_args a = {e, w};
	if (rc == 0)
		rc = link_call(e->link, set_call, &a);
	free(w->allow);
	free(w->relays);
	if (rc == 0 && !e->is_publish)
		rc = set_want(e, w, err);
	want_unref(&w->want);
	free(w);
	return rc;
}

/* ---- detach */

struct detach_args {
	struct link_end *e;
	bool drain;
	uint64_t deadline_us;
};

static int
detach_call(struct link *l, void *arg, struct call *c)
{
	const struct detach_args *a = arg;
	struct link_end *e = a->e;
	if (!a->drain && !e->is_publish)
		for (struct session *s = e->sessions; s != NULL; s = s->next) {
			struct msg m = MSG(M_UNSUBSCRIBE, s->me, s->peer);
			msg_num(&m, MI_sub, SUB_NUMBER);
			if (s->up)
				session_send(s, &m);
		}
	e->draining = true;
	e->drain_us = a->drain ? a->deadline_us : l->now_us;
	e->drain_call = c;
	c->later = true;
	end_due(e, 0);
	return 0;
}

void
link_detach_sum(struct link *l, struct link_end **ep, bool drain, uint64_t deadline_us,
    uint64_t sum[C_COUNT])
{
	struct detach_args a = {*ep, drain, deadline_us};
	if (*ep == NULL)
		return;
	link_call(l, detach_call, &a);
	ledger_abandon(*ep);
	link_counters(*ep, sum);
	end_free(*ep);
	*ep = NULL;
}

void
link_detach(struct link *l, struct link_end **ep, bool drain, uint64_t deadline_us)
{
	uint64_t sum[C_COUNT] = {0};
	link_detach_sum(l, ep, drain, deadline_us, sum);
}
