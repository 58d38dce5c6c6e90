/* SPDX-License-Identifier: Apache-2.0
 * engine/endpoint.c - attach, detach, change: the life cycle of endpoints.
 *
 * An output is on the bus from after its start until before its stop; an input pushes from its
 * start until its stop returns. Everything here runs in the main thread. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/engine_priv.h"
#include "input/input.h"
#include "output/output.h"

static const struct port_type *const types[] = {
    &input_capture, &input_pcap, &input_subscribe, &output_publish, &output_json};
enum { N_TYPES = sizeof(types) / sizeof(types[0]) };

const struct port_type *const *
engine_types(unsigned *n_out)
{
	*n_out = N_TYPES;
	return types;
}

const char *const *
engine_type_names(void)
{
	static const char *const names[] = {
	    "capture", "pcap", "subscribe", "publish", "json", NULL};
	_Static_assert(sizeof(names) / sizeof(names[0]) == N_TYPES + 1, "names follow types");
	return names;
}

const char *
port_state_name(enum port_state s)
{
	static const char *const names[] = {"starting", "up", "degraded", "down", "disabled"};
	return names[s];
}

const struct port_type *
endpoint_type(const char *name)
{
	for (unsigned i = 0; i < N_TYPES; i++)
		if (strcmp(types[i]->name, name) == 0)
			return types[i];
	return NULL;
}

static bool
needs_link(const struct port_type *t)
{
	return t == &input_subscribe || t == &output_publish;
}

/* ---- what an endpoint may call, from any thread */

void
endpoint_state(struct endpoint *ep, enum port_state state, const char *why)
{
	pthread_mutex_lock(&ep->lock); /* not on the packet path: states change a few times an hour */
	bool changed = ep->state != state || strcmp(ep->why, why) != 0;
	bool was_ill = ep->state == PORT_DEGRADED || ep->state == PORT_DOWN;
	if (ep->state != state || ep->since_us == 0) /* 0: just made, as `starting` */
		ep->since_us = clock_real_us();
	ep->state = state;
	snprintf(ep->why, sizeof(ep->why), "%s", why);
	pthread_mutex_unlock(&ep->lock);
	/* the link tells its own faults, with how often; what has ended as it should is no fault */
	if (changed && (state == PORT_DEGRADED || state == PORT_DOWN) && !needs_link(ep->type) &&
	    !atomic_load(&ep->ended))
		log_line(&ep->site, LOG_WARN, "engine: %s: %s: %s", ep->name, port_state_name(state),
		    why);
	if (was_ill && state == PORT_UP && !needs_link(ep->type))
		log_line(&ep->site_up, LOG_NOTICE, "engine: %s: up again", ep->name);
	if (changed)
		engine_event(ep->engine, "state %s %s%s%s", ep->name, port_state_name(state),
		    why[0] != '\0' ? ": " : "", why);
}

static void
host_state(void *ctx, enum port_state state, const char *why)
{
	endpoint_state(ctx, state, why);
}

static void
host_push(void *ctx, struct batch **b, bool may_wait)
{
	struct endpoint *ep = ctx;
	bus_push(&ep->engine->bus, ep, b, may_wait);
}

static void
host_second(void *ctx, const struct stats_second *s)
{
	struct endpoint *ep = ctx;
	struct message m = {.kind = MSG_SECOND, .second = *s};
	bus_second(&ep->engine->bus, s);
	if (!message_post(ep->engine, &m))
		atomic_fetch_add(&ep->counters.v[C_stats_lost], 1);
}

static void
host_ended(void *ctx, bool failed)
{
	struct endpoint *ep = ctx;
	struct message m = {.kind = MSG_ENDED};
	atomic_store(&ep->failed, failed);
	atomic_store(&ep->ended, true);
	if (!failed)
		endpoint_state(ep, PORT_DOWN, "end of input");
	(void)message_post(ep->engine, &m); /* if lost, the once timer looks again by itself */
}

/* ---- checks */

int
engine_check_option(void *arg, const struct option_info *o, struct strv text, struct err *err)
{
	(void)arg;
	if (o->type != OT_FILTER)
		return 0;
	struct filter *f = NULL;
	int rc = filter_compile(text, &f, err);
	filter_free(&f);
	return rc;
}

int
engine_check_endpoint(const struct conf_endpoint *conf, struct err *err)
{
	if (endpoint_type(conf->type) == NULL) {
		const char *near = strv_nearest(strv_of(conf->type), engine_type_names());
		return err_set(err, E_UNKNOWN, "unknown endpoint type '%s'%s%s%s", conf->type,
		    near != NULL ? ", did you mean '" : " (see flowctl show types)",
		    near != NULL ? near : "", near != NULL ? "'?" : "");
	}
	for (unsigned i = 0; i < conf->n_options; i++) {
		const struct conf_option *o = &conf->options[i];
		int rc = engine_check_option(NULL, o->info, strv_of(o->text), err);
		if (rc != 0) {
			err_prefix(err, "%s: option %s: ", conf->name, o->info->name);
			return rc;
		}
	}
	return 0;
}

/* ---- opening and closing */

struct endpoint *
endpoint_find(struct engine *e, struct strv name)
{
	for (unsigned i = 0; i < e->n_ep; i++)
		if (strv_eq(name, strv_of(e->ep[i]->conf->name)))
			return e->ep[i];
	return NULL;
}

int
endpoint_unknown(struct engine *e, struct strv name, struct err *err)
{
	const char *names[MAX_ENDPOINTS + 1];
	char quoted[96];
	for (unsigned i = 0; i < e->n_ep; i++)
		names[i] = e->ep[i]->conf->name;
	names[e->n_ep] = NULL;
	const char *near = strv_nearest(name, names);
	strv_quote(name, quoted, sizeof(quoted));
	return err_set(err, E_NOENT, "no endpoint %s%s%s%s", quoted,
	    near != NULL ? ", did you mean '" : " (see flowctl show endpoints)",
	    near != NULL ? near : "", near != NULL ? "'?" : "");
}

/* The link thread starts with the first endpoint or command that needs it: a run over files never
 * pays for it. */
int
engine_link_start(struct engine *e, struct err *err)
{
	struct link_host host;
	char dir[4000];
	if (e->link != NULL)
		return 0;
	facts_host(e, &host);
	int rc = link_start(&host, &e->link, err);
	const char *given = conf_text(&e->conf->daemon.bag, "trust_dir");
	const char *state = conf_text(&e->conf->daemon.bag, "state_dir");
	snprintf(dir, sizeof(dir), "%s%s", given[0] != '\0' ? given : state,
	    given[0] != '\0' ? "" : "/trust");
	if (rc == 0)
		link_trust_dir(e->link, dir);
	if (rc != 0 || e->checkpoint == NULL)
		return rc;
	rc = checkpoint_link(e, err);
	if (rc != 0)
		link_stop(&e->link);
	return rc;
}

int
endpoint_open(struct engine *e, struct endpoint *ep, struct err *err)
{
	int rc = needs_link(ep->type) ? engine_link_start(e, err) : 0;
	if (rc != 0)
		return rc;
	ep->host = (struct port_host){ep, ep->name, ep->number, &e->conf->daemon, e->link,
	    host_push, host_second, host_state, host_ended};
	atomic_store(&ep->ended, false);
	atomic_store(&ep->failed, false);
	atomic_store(&ep->wait_until_us, 0);
	endpoint_state(ep, PORT_STARTING, "");
	if (endpoint_ends(ep))
		history_is_file(e, ep->number);
	rc = ep->type->open(ep->conf, &ep->host, &ep->self, err);
	if (rc != 0)
		return rc;
	rc = ep->type->start(ep->self, err);
	if (rc == 0 && ep->type->direction == PORT_OUTPUT) {
		checkpoint_output(e, ep->conf);
		struct bus_out out = {ep, ep->type, ep->self, ep->number};
		rc = bus_add(&e->bus, &out);
		if (rc != 0) {
			ep->type->stop(ep->self, false);
			err_set(err, E_NOMEM, "%s: out of memory", ep->conf->name);
		}
	}
	if (rc != 0) {
		ep->type->free(&ep->self);
		return rc;
	}
	ep->on_bus = ep->type->direction == PORT_OUTPUT;
	if (ep->on_bus)
		checkpoint_touch(e);
	if (ep->type == &input_capture)
		facts_update(e);
	demand_update(e);
	return 0;
}

/* What the type counted goes on to count when it is freed. The endpoint is off the bus, stopped. */
static void
keep_counters(struct endpoint *ep)
{
	uint64_t sum[C_COUNT];
	endpoint_counters(ep, sum);
	/* not sums over time */
	sum[C_flow_active] = sum[C_flow_batching] = sum[C_flow_queued] = sum[C_flow_in_hand] = 0;
	for (int c = 0; c < C_COUNT; c++)
		atomic_store_explicit(&ep->counters.v[c], sum[c], memory_order_relaxed);
}

void
endpoint_close(struct engine *e, struct endpoint *ep, bool drain)
{
	if (ep->self == NULL)
		return;
	uint64_t timeout = (uint64_t)conf_span_us(&e->conf->daemon.bag, "stop_timeout");
	/* one deadline for all when the daemon stops */
	atomic_store(&ep->wait_until_us,
	    e->stopping ? e->stop_deadline_us : clock_mono_us() + timeout);
	if (ep->on_bus)
		bus_remove(&e->bus, ep->number);
	ep->on_bus = false;
	ep->type->stop(ep->self, drain);
	keep_counters(ep);
	ep->type->free(&ep->self);
	if (ep->type == &input_capture && !e->stopping)
		facts_update(e);
	if (!e->stopping)
		demand_update(e);
}

static void
endpoint_free(struct endpoint **epp)
{
	struct endpoint *ep = *epp;
	if (ep == NULL)
		return;
	conf_endpoint_free(&ep->conf);
	pthread_mutex_destroy(&ep->lock);
	free(ep);
	*epp = NULL;
}

static void
list_drop(struct engine *e, struct endpoint *ep)
{
	for (unsigned i = 0; i < e->n_ep; i++) {
		if (e->ep[i] != ep)
			continue;
		memmove(&e->ep[i], &e->ep[i + 1], (e->n_ep - i - 1) * sizeof(struct endpoint *));
		e->n_ep--;
		break;
	}
}

int
engine_attach(struct engine *e, struct conf_endpoint **confp, bool persistent, struct err *err)
{
	struct conf_endpoint *conf = *confp;
	int rc = engine_check_endpoint(conf, err);
	if (rc != 0)
		return rc;
	if (endpoint_find(e, strv_of(conf->name)) != NULL)
		return err_set(err, E_EXIST,
		    "an endpoint named '%s' is attached already (choose another with name=..., or "
		    "detach it first)", conf->name);
	if (e->n_ep >= MAX_ENDPOINTS)
		return err_set(err, E_LIMIT, "%d endpoints are attached, no more are possible",
		    MAX_ENDPOINTS);
	struct endpoint *ep = aligned_alloc(64, (sizeof(*ep) + 63) / 64 * 64);
	if (ep == NULL)
		return err_set(err, E_NOMEM, "out of memory");
	memset(ep, 0, sizeof(*ep));
	ep->engine = e;
	ep->type = endpoint_type(conf->type);
	ep->conf = conf;
	snprintf(ep->name, sizeof(ep->name), "%s", conf->name);
	ep->number = e->next_number++;
	ep->persistent = persistent;
	pthread_mutex_init(&ep->lock, NULL);
	if (conf->enabled)
		rc = endpoint_open(e, ep, err);
	else
		endpoint_state(ep, PORT_DISABLED, "");
	if (rc != 0) {
		ep->conf = NULL; /* stays the caller's */
		endpoint_free(&ep);
		return rc;
	}
	*confp = NULL;
	e->ep[e->n_ep++] = ep;
	if (ep->type == &input_capture && ep->self != NULL)
		facts_update(e); /* endpoint_open could not: the list did not have it */
	demand_update(e);
	if (persistent) /* a file has it again; one of that name from elsewhere does not change that */
		engine_removed_del(e, ep->name);
	log_line(NULL, LOG_NOTICE, "engine: %s: attached %s %s, memory at most %.1f MiB", conf->name,
	    conf->type, conf->address, (double)endpoint_memory(ep) / (1 << 20));
	engine_event(e, "attach %s %s %s", conf->name, conf->type, conf->address);
	return 0;
}

int
engine_detach(struct engine *e, struct strv name, bool drain, struct err *err)
{
	struct endpoint *ep = endpoint_find(e, name);
	if (ep == NULL)
		return endpoint_unknown(e, name, err);
	endpoint_close(e, ep, drain);
	if (ep->type == &input_subscribe && !drain)
		checkpoint_forget(e, ep->name);
	list_drop(e, ep);
	if (ep->persistent || ep->conf->in_files)
		engine_removed_add(e, ep->name);
	log_line(NULL, LOG_NOTICE, "engine: %s: detached", ep->conf->name);
	engine_event(e, "detach %s", ep->conf->name);
	endpoint_free(&ep);
	return 0;
}

static int
set_one(struct conf_endpoint *conf, const char *word, struct err *err)
{
	const char *eq = strchr(word, '=');
	if (eq == NULL)
		return err_set(err, E_SYNTAX, "'%s' is not option=value", word);
	return conf_endpoint_set(conf, (struct strv){word, (size_t)(eq - word)}, strv_of(eq + 1), err);
}

static bool
differs(const struct option_info *o, const struct conf_endpoint *a, const struct conf_endpoint *b)
{
	return strcmp(o->owner, a->type) == 0 &&
	    strcmp(conf_text(a, o->name), conf_text(b, o->name)) != 0;
}

int
endpoint_change(struct endpoint *ep, struct conf_endpoint **fresh, struct err *err)
{
	struct conf_endpoint *to = *fresh, *from = ep->conf;
	int rc = 0;
	/* what is closed takes anything: its next open reads it */
	for (unsigned i = 0; i < option_count && ep->self != NULL && rc == 0; i++) {
		const struct option_info *o = &option_info[i];
		if (differs(o, from, to) && (o->apply != APPLY_LIVE || ep->type->set == NULL))
			rc = err_set(err, E_UNSUP, "%s: option %s cannot change while it is up "
			    "(disable '%s', set it, enable it again)", ep->name, o->name, ep->name);
	}
	unsigned done = 0;
	for (; done < option_count && ep->self != NULL && rc == 0; done++)
		if (differs(&option_info[done], from, to))
			rc = ep->type->set(ep->self, to, option_info[done].name, err);
	if (rc != 0) {
		while (done-- > 0) /* the one that failed changed nothing, the earlier ones go back */
			if (differs(&option_info[done], from, to))
				(void)ep->type->set(ep->self, from, option_info[done].name, NULL);
		return rc;
	}
	ep->conf = to;
	*fresh = NULL;
	demand_update(ep->engine);
	conf_endpoint_free(&from);
	return 0;
}

int
engine_set(struct engine *e, struct strv name, const char *const *words, unsigned n,
    struct err *err)
{
	struct endpoint *ep = endpoint_find(e, name);
	if (ep == NULL)
		return endpoint_unknown(e, name, err);
	struct conf_endpoint *fresh = conf_endpoint_dup(ep->conf);
	if (fresh == NULL)
		return err_set(err, E_NOMEM, "out of memory");
	int rc = 0;
	for (unsigned i = 0; i < n && rc == 0; i++)
		rc = set_one(fresh, words[i], err);
	if (rc == 0)
		rc = engine_check_endpoint(fresh, err);
	if (rc == 0)
		rc = endpoint_change(ep, &fresh, err);
	if (rc == 0) {
		ep->altered = true;
		engine_event(e, "set %s", ep->name);
	}
	conf_endpoint_free(&fresh);
	return rc;
}

int
engine_enable(struct engine *e, struct strv name, bool on, struct err *err)
{
	struct endpoint *ep = endpoint_find(e, name);
	int rc = 0;
	if (ep == NULL)
		return endpoint_unknown(e, name, err);
	if (on && ep->self == NULL) {
		rc = endpoint_open(e, ep, err);
		if (rc != 0) {
			endpoint_state(ep, PORT_DISABLED, err != NULL ? err->text : "");
			return rc;
		}
	} else if (!on && ep->self != NULL) {
		endpoint_close(e, ep, true);
		endpoint_state(ep, PORT_DISABLED, "");
	}
	ep->conf->enabled = on;
	ep->altered = true;
	return 0;
}

/* ---- looking */

uint64_t
endpoint_memory(const struct endpoint *ep)
{
	return ep->self != NULL && ep->type->memory != NULL ? ep->type->memory(ep->self) : 0;
}

void
endpoint_counters(const struct endpoint *ep, uint64_t sum[C_COUNT])
{
	for (int c = 0; c < C_COUNT; c++)
		sum[c] = counter_get(&ep->counters, (enum counter)c);
	if (ep->self != NULL && ep->type->counters != NULL)
		ep->type->counters(ep->self, sum);
}

bool
endpoint_is_link(const struct endpoint *ep)
{
	return needs_link(ep->type);
}

struct link_end *
endpoint_link(const struct endpoint *ep)
{
	if (ep->self == NULL || !needs_link(ep->type))
		return NULL;
	return ep->type == &input_subscribe ? input_subscribe_end(ep->self) :
					      output_publish_end(ep->self);
}

static void
describe(struct endpoint *ep, engine_endpoint_fn *fn, void *arg)
{
	struct engine_endpoint x = {.name = ep->conf->name, .type = ep->type->name,
	    .address = ep->conf->address, .direction = ep->type->direction,
	    .persistent = ep->persistent, .conf = ep->conf};
	char why[sizeof(ep->why)];
	pthread_mutex_lock(&ep->lock); /* a writer may be in endpoint_state */
	x.state = ep->state;
	x.since_us = ep->since_us;
	snprintf(why, sizeof(why), "%s", ep->why);
	pthread_mutex_unlock(&ep->lock);
	x.why = why;
	x.ended = atomic_load(&ep->ended);
	x.end = endpoint_link(ep);
	endpoint_counters(ep, x.counters);
	fn(arg, &x);
}

int
engine_endpoints(struct engine *e, struct strv name, engine_endpoint_fn *fn, void *arg,
    struct err *err)
{
	if (name.n > 0) {
		struct endpoint *ep = endpoint_find(e, name);
		if (ep == NULL)
			return endpoint_unknown(e, name, err);
		describe(ep, fn, arg);
		return 0;
	}
	for (unsigned i = 0; i < e->n_ep; i++)
		describe(e->ep[i], fn, arg);
	return 0;
}

int
engine_detail(struct engine *e, struct strv name, port_detail_fn *fn, void *arg, struct err *err)
{
	const struct endpoint *ep = endpoint_find(e, name);
	if (ep == NULL)
		return endpoint_unknown(e, name, err);
	if (ep->self != NULL && ep->type->detail != NULL)
		ep->type->detail(ep->self, fn, arg);
	if (ep->self != NULL) {
		char text[24];
		snprintf(text, sizeof(text), "%" PRIu64, endpoint_memory(ep));
		fn(arg, "memory_max_bytes", text, true);
	}
	return 0;
}

/* ---- stopping */

bool
endpoint_ends(const struct endpoint *ep)
{
	return ep->type == &input_pcap;
}

bool
outputs_busy(const struct engine *e)
{
	for (unsigned i = 0; i < e->n_ep; i++) {
		const struct endpoint *ep = e->ep[i];
		if (ep->self != NULL && ep->type->busy != NULL &&
		    !needs_link(ep->type) && ep->type->busy(ep->self))
			return true;
	}
	return false;
}

void
endpoints_stop(struct engine *e, uint64_t deadline_us)
{
	e->stopping = true;
	e->stop_deadline_us = deadline_us;
	for (unsigned i = 0; i < e->n_ep; i++)
		if (e->ep[i]->type->direction == PORT_INPUT)
			endpoint_close(e, e->ep[i], true);
	while (outputs_busy(e) && clock_mono_us() < deadline_us)
		clock_sleep_us(2000);
	for (unsigned i = 0; i < e->n_ep; i++)
		endpoint_close(e, e->ep[i],
		    needs_link(e->ep[i]->type) || clock_mono_us() < deadline_us);
}

void
endpoints_free(struct engine *e)
{
	while (e->n_ep > 0)
		endpoint_free(&e->ep[--e->n_ep]);
}
