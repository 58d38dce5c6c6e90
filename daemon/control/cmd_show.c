/* SPDX-License-Identifier: Apache-2.0
 * control/cmd_show.c - status and what is attached. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/control_priv.h"

static struct strv
name_arg(const struct call *c)
{
	return c->n_args > 0 ? strv_of(c->args[0]) : (struct strv){NULL, 0};
}

static const char *
direction_name(enum port_direction d)
{
	return d == PORT_INPUT ? "input" : "output";
}

/* Flow records or packets that entered, and everything named as lost, of one endpoint. */
static json_int_t
lost_flows(const uint64_t v[C_COUNT])
{
	uint64_t n = 0;
	for (unsigned i = 0; i < C_COUNT; i++)
		if (counter_info[i].kind == CK_LOST && strcmp(counter_info[i].unit, "flows") == 0)
			n += v[i];
	return (json_int_t)n;
}

static json_int_t
lost_packets(const uint64_t v[C_COUNT])
{
	uint64_t n = 0;
	for (unsigned i = 0; i < C_COUNT; i++)
		if (counter_info[i].kind == CK_LOST && strcmp(counter_info[i].unit, "packets") == 0)
			n += v[i];
	return (json_int_t)n;
}

static json_t *
endpoint_json(const struct engine_endpoint *ep)
{
	json_t *j = json_pack("{s:o, s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:b, s:b}", "name",
	    json_cstr(ep->name), "type", ep->type, "direction", direction_name(ep->direction),
	    "address", json_cstr(ep->address), "state", port_state_name(ep->state), "since",
	    json_time(ep->since_us), "for_s", json_seconds(clock_real_us() - ep->since_us), "why",
	    json_cstr(ep->why), "ended", ep->ended, "from_file", ep->persistent);
	const uint64_t *v = ep->counters;
	json_object_set_new(j, "packets", json_integer((json_int_t)v[C_pkt_seen]));
	uint64_t in = ep->direction == PORT_INPUT ? v[C_flow_ended] + v[C_flow_in] : v[C_flow_in];
	json_object_set_new(j, "flows", json_integer((json_int_t)in));
	json_object_set_new(j, "lost_packets", json_integer(lost_packets(v)));
	json_object_set_new(j, "lost_flows", json_integer(lost_flows(v)));
	return j;
}

static json_t *
options_json(const struct conf_endpoint *conf)
{
	json_t *j = json_object();
	for (unsigned i = 0; i < option_count; i++)
		if (strcmp(option_info[i].owner, conf->type) == 0)
			json_object_set_new(j, option_info[i].name,
			    json_cstr(conf_text(conf, option_info[i].name)));
	return j;
}

static void
add_detail(void *arg, const char *key, const char *value, bool is_number)
{
	json_t *details = arg, *v = NULL;
	if (is_number)
		v = json_loads(value, JSON_DECODE_ANY, NULL);
	json_object_set_new(details, key, v != NULL ? v : json_cstr(value));
}

struct show {
	struct call *call;
	bool with_details;
};

static void
show_one(void *arg, const struct engine_endpoint *ep)
{
	struct show *s = arg;
	json_t *j = endpoint_json(ep);
	if (s->with_details) {
		json_t *details = json_object();
		json_object_set_new(j, "options", options_json(ep->conf));
		if (engine_detail(s->call->engine, strv_of(ep->name), add_detail, details, NULL) !=
		    0)
			json_object_clear(details);
		json_object_set_new(j, "details", details);
	}
	reply_row(s->call->client, j);
}

int
control_cmd_show_endpoints(struct call *c)
{
	struct show s = {c, c->n_args > 0};
	return engine_endpoints(c->engine, name_arg(c), show_one, &s, &c->err);
}

static void
counters_of(void *arg, const struct engine_endpoint *ep)
{
	static const char *const kinds[] = {"in", "out", "lost", "info"};
	struct call *c = arg;
	for (unsigned i = 0; i < C_COUNT; i++) {
		const struct counter_info *info = &counter_info[i];
		if (ep->counters[i] == 0 && !c->all)
			continue;
		reply_row(c->client,
		    json_pack("{s:o, s:s, s:I, s:s, s:s, s:s}", "endpoint", json_cstr(ep->name),
			"counter", info->name, "value", (json_int_t)ep->counters[i], "unit",
			info->unit, "kind", kinds[info->kind], "text", info->text));
	}
}

int
control_cmd_show_counters(struct call *c)
{
	return engine_endpoints(c->engine, name_arg(c), counters_of, c, &c->err);
}

struct config_list {
	struct buf out;
	unsigned n;
};

static void
config_one(void *arg, const struct engine_endpoint *ep)
{
	struct config_list *l = arg;
	buf_str(&l->out, l->n++ > 0 ? ",\n" : "\n");
	conf_print_endpoint(&l->out, ep->conf);
}

int
control_cmd_show_config(struct call *c)
{
	struct config_list l = {buf_init(8 << 20), 0};
	conf_print_daemon(&l.out, engine_daemon(c->engine));
	buf_str(&l.out, "endpoints = (");
	int r = engine_endpoints(c->engine, (struct strv){NULL, 0}, config_one, &l, &c->err);
	buf_str(&l.out, l.n > 0 ? "\n);\n" : ");\n");
	if (r == 0 && l.out.err != 0)
		r = err_set(&c->err, -l.out.err, "the configuration is too large to show");
	if (r == 0)
		reply_text(c->client, buf_view(&l.out));
	buf_fini(&l.out);
	return r;
}

/* ---- status */

struct status {
	unsigned by_state[PORT_DISABLED + 1];
	bool publishes, subscribes, meters, outputs;
	json_t *problems;
	struct stats_second sum;
};

static void
problem(struct status *s, const char *name, const char *text)
{
	char line[320];
	snprintf(line, sizeof(line), "%s: %s", name, text);
	json_array_append_new(s->problems, json_cstr(line));
}

static void
status_endpoint(void *arg, const struct engine_endpoint *ep)
{
	struct status *s = arg;
	char text[240];
	s->by_state[ep->state]++;
	s->publishes = s->publishes || strcmp(ep->type, "publish") == 0;
	s->subscribes = s->subscribes || strcmp(ep->type, "subscribe") == 0;
	s->meters =
	    s->meters || (ep->direction == PORT_INPUT && strcmp(ep->type, "subscribe") != 0);
	s->outputs = s->outputs || ep->direction == PORT_OUTPUT;
	if (ep->state == PORT_DEGRADED || ep->state == PORT_DOWN) {
		snprintf(text, sizeof(text), "%s%s%s", port_state_name(ep->state),
		    ep->why[0] != '\0' ? ": " : "", ep->why);
		problem(s, ep->name, text);
	}
	for (unsigned i = 0; i < C_COUNT; i++) {
		if (counter_info[i].kind != CK_LOST || ep->counters[i] == 0)
			continue;
		snprintf(text, sizeof(text), "%llu %s: %s", (unsigned long long)ep->counters[i],
		    counter_info[i].text, counter_info[i].advice);
		problem(s, ep->name, text);
	}
}

static void
status_peer(void *arg, const struct link_peer *p)
{
	char text[200];
	if (!p->is_clock_wrong)
		return;
	snprintf(text, sizeof(text), "the clock of probe %s is %.3f s %s ours", p->name,
	    (double)llabs(p->clock_offset_us) / 1e6, p->clock_offset_us > 0 ? "ahead of" : "behind");
	problem(arg, p->end, text);
}

static void
add_second(void *arg, const struct stats_second *in)
{
	struct stats_second *sum = &((struct status *)arg)->sum;
	sum->packets += in->packets;
	sum->bytes += in->bytes;
	sum->drops_kernel += in->drops_kernel + in->drops_if + in->drops_own;
	sum->flows_active += in->flows_active;
	sum->flows_new += in->flows_new;
	sum->flows_ended += in->flows_ended;
}

static const char *
role_of(const struct status *s)
{
	if (s->publishes)
		return s->subscribes ? "relay" : "probe";
	if (s->subscribes)
		return "collector";
	if (s->meters)
		return "meter";
	return s->outputs ? "waiting" : "idle";
}

/* Resident memory in bytes, 0 when /proc does not say. */
static json_int_t
resident_bytes(void)
{
	unsigned long long size, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (f == NULL)
		return 0;
	/* NOLINTNEXTLINE(cert-err34-c): the kernel writes it */
	if (fscanf(f, "%llu %llu", &size, &resident) != 2)
		resident = 0;
	fclose(f);
	return (json_int_t)resident * sysconf(_SC_PAGESIZE);
}

int
control_cmd_status(struct call *c)
{
	struct status s = {.problems = json_array()};
	json_t *states = json_object();
	int r = engine_endpoints(c->engine, (struct strv){NULL, 0}, status_endpoint, &s, &c->err);
	if (engine_link(c->engine) != NULL)
		link_peers(engine_link(c->engine), NULL, status_peer, &s);
	uint64_t left = engine_reload_pending_us(c->engine);
	if (left > 0) {
		char text[160];
		snprintf(text, sizeof(text), "not confirmed, undone in %.0f s (flowctl reload --confirmed "
		    "keeps it)", (double)left / 1e6);
		problem(&s, "reload", text);
	}
	engine_seconds(c->engine, add_second, &s);
	for (unsigned i = 0; i <= PORT_DISABLED; i++)
		json_object_set_new(states, port_state_name((enum port_state)i),
		    json_integer((json_int_t)s.by_state[i]));
	int64_t started = engine_started_us(c->engine);
	json_t *row = json_pack("{s:o, s:s, s:s, s:i, s:o, s:o, s:o, s:s, s:I, s:i, s:o, s:o}",
	    "name", json_cstr(engine_name(c->engine)), "version", engine_version(), "role",
	    role_of(&s), "pid", (int)getpid(), "started", json_time(started), "uptime_s",
	    json_seconds(clock_real_us() - started), "endpoints", states, "your_role",
	    role_name(c->client->peer.role), "memory_bytes", resident_bytes(), "clients",
	    (int)control_clients(c->client->server), "last_second",
	    json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "packets", (json_int_t)s.sum.packets,
		"bits", (json_int_t)s.sum.bytes * 8, "drops", (json_int_t)s.sum.drops_kernel,
		"flows_active", (json_int_t)s.sum.flows_active, "flows_new",
		(json_int_t)s.sum.flows_new, "flows_ended", (json_int_t)s.sum.flows_ended),
	    "problems", s.problems);
	json_object_set_new(row, "reload_pending_s",
	    left > 0 ? json_seconds((int64_t)left) : json_null());
	if (r != 0)
		json_decref(row);
	else
		reply_row(c->client, row);
	return r;
}
