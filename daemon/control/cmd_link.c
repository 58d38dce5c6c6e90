/* SPDX-License-Identifier: Apache-2.0
 * control/cmd_link.c - the other ends of links: peers and subscriptions. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "control/control_priv.h"

/* Links of one endpoint, or of all: what @name means, -E_NOENT when it is no endpoint. */
struct scope {
	bool found_end;
	struct link_end *end;
};

static void
find_end(void *arg, const struct engine_endpoint *ep)
{
	struct scope *s = arg;
	s->end = ep->end;
	s->found_end = ep->end != NULL;
}

static int
scope_of(struct call *c, struct scope *s)
{
	*s = (struct scope){false, NULL};
	if (c->n_args == 0)
		return 0;
	int r = engine_endpoints(c->engine, strv_of(c->args[0]), find_end, s, &c->err);
	if (r == 0 && !s->found_end)
		r = err_set(&c->err, E_INVAL,
		    "%.63s is not a link that is up for peers; publish and subscribe endpoints are",
		    c->args[0]);
	return r;
}

static json_t *
words_json(const char *text)
{
	json_t *list = json_array();
	for (const char *p = text; *p != '\0';) {
		p += strspn(p, " ");
		size_t n = strcspn(p, " ");
		if (n > 0)
			json_array_append_new(list, json_strv((struct strv){p, n}));
		p += n;
	}
	return list;
}

static void
put_int(json_t *j, const char *key, uint64_t v)
{
	json_object_set_new(j, key, json_integer((json_int_t)v));
}

/* null where nothing is known */
static void
put_known(json_t *j, const char *key, bool is_known, json_int_t v)
{
	json_object_set_new(j, key, is_known ? json_integer(v) : json_null());
}

/* Numbers of the newest second; null where the peer sends none. */
static void
put_second(json_t *j, const struct link_peer *p)
{
	static const char *const keys[] = {"packets_per_s", "bits_per_s", "drops_per_s",
	    "drops_kernel", "drops_if", "drops_own", "flows_active"};
	const struct stats_second *s = &p->last;
	const uint64_t v[] = {s->packets, s->bytes * 8,
	    s->drops_kernel + s->drops_if + s->drops_own, s->drops_kernel, s->drops_if,
	    s->drops_own, s->flows_active};
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		json_object_set_new(
		    j, keys[i], p->has_second ? json_integer((json_int_t)v[i]) : json_null());
	json_object_set_new(
	    j, "second", p->has_second ? json_time(s->second * 1000000) : json_null());
}

static void
peer_row(void *arg, const struct link_peer *p)
{
	struct call *c = arg;
	char node[20];
	int64_t now = clock_real_us();
	snprintf(node, sizeof(node), "%016" PRIx64, p->node_id);
	json_t *j = json_pack("{s:o, s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "endpoint",
	    json_cstr(p->end), "role", p->is_probe ? "probe" : "collector", "name",
	    json_cstr(p->name), "state", p->state, "why", json_cstr(p->why), "since",
	    json_time(p->since_us), "addresses", words_json(p->addresses), "seen",
	    json_cstr(p->seen), "our_seen", json_cstr(p->our_seen), "interface",
	    json_cstr(p->interface));
	put_known(j, "speed_bps", p->speed_bps != 0, (json_int_t)p->speed_bps);
	put_second(j, p);
	/* its clock minus ours is known, so its start is told in our time */
	json_object_set_new(j, "uptime_s",
	    p->peer_started_us != 0 ? json_seconds(now + p->clock_offset_us - p->peer_started_us)
				    : json_null());
	json_object_set_new(j, "version", json_cstr(p->version));
	put_known(j, "clock_offset_us", p->has_clock, p->clock_offset_us);
	json_object_set_new(j, "clock", !p->has_clock ? json_null() :
	    json_string(p->is_clock_wrong ? "wrong" : "ok"));
	put_known(j, "rtt_us", p->has_clock, (json_int_t)p->rtt_us);
	put_int(j, "lag_us", p->lag_us);
	json_object_set_new(j, "encrypted", json_boolean(p->encrypted));
	json_object_set_new(j, "verified", json_boolean(p->verified));
	json_object_set_new(j, "key", p->key[0] != '\0' ? json_string(p->key) : json_null());
	json_object_set_new(j, "node_id", json_string(node));
	put_int(j, "flows", p->flows);
	put_int(j, "frames", p->frames);
	put_int(j, "bytes", p->bytes);
	put_int(j, "lost_flows", p->lost_flows);
	/* of relays: whose flows come through it, and what is wrong with the way they go */
	json_object_set_new(j, "behind", words_json(p->behind));
	json_object_set_new(j, "twice", words_json(p->twice));
	json_object_set_new(j, "loop", json_cstr(p->loop));
	reply_row(c->client, j);
}

int
control_cmd_show_peers(struct call *c)
{
	struct scope s;
	int r = scope_of(c, &s);
	struct link *l = engine_link(c->engine);
	if (r == 0 && l != NULL)
		link_peers(l, s.end, peer_row, c);
	return r;
}

static void
put_ratio(json_t *j, const char *key, double a, double b)
{
	json_object_set_new(j, key, b > 0 ? json_real(round(a / b * 100) / 100) : json_null());
}

/* Where it takes effect, and what became of the newest change. */
static void
put_change(json_t *j, const struct link_subscription *s)
{
	char old[20];
	snprintf(old, sizeof(old), "%016" PRIx64, s->old_channel);
	put_known(j, "seq_first", s->first != 0, (json_int_t)s->first);
	json_object_set_new(j, "old_channel", s->old_channel != 0 ? json_string(old) : json_null());
	put_known(j, "old_last", s->old_channel != 0 && s->old_last != UINT64_MAX,
	    (json_int_t)s->old_last);
	json_object_set_new(j, "change", json_string(s->change));
	json_object_set_new(j, "refused", json_cstr(s->refused));
}

static void
subscription_row(void *arg, const struct link_subscription *s)
{
	struct call *c = arg;
	char channel[20];
	snprintf(channel, sizeof(channel), "%016" PRIx64, s->channel);
	json_t *j = json_pack("{s:o, s:o, s:o, s:o, s:s, s:s, s:b, s:b}", "endpoint",
	    json_cstr(s->end), "peer", json_cstr(s->peer), "filter", json_cstr(s->filter), "fields",
	    json_cstr(s->fields), "codec", s->codec, "channel", channel, "shared", s->is_shared,
	    "parked", s->is_parked);
	put_known(j, "offered", !s->is_ours, (json_int_t)s->offered);
	put_known(j, "filtered", !s->is_ours, (json_int_t)s->filtered);
	put_int(j, "passed", s->passed);
	put_int(j, "acked", s->acked);
	put_int(j, "in_flight", s->in_flight);
	put_int(j, "queued", s->queued);
	put_int(j, "spooled", s->spooled);
	put_int(j, "lost", s->lost);
	put_int(j, "seq_next", s->seq_next);
	put_int(j, "seq_acked", s->seq_acked);
	put_int(j, "bytes_raw", s->bytes_raw);
	put_int(j, "bytes_sent", s->bytes_sent);
	put_int(j, "lag_us", s->lag_us);
	put_known(j, "filter_ns", !s->is_ours, (json_int_t)s->filter_ns);
	put_ratio(j, "ratio", (double)s->bytes_raw, (double)s->bytes_sent);
	put_ratio(j, "filter_ns_per_flow", (double)s->filter_ns, s->is_ours ? 0 : (double)s->offered);
	put_change(j, s);
	reply_row(c->client, j);
}

struct changes {
	json_t *list;
	unsigned *n;
};

static void
change_row(void *arg, const struct link_subscription *s)
{
	struct changes *x = arg;
	char channel[20];
	bool is_refused = strcmp(s->change, "refused") == 0;
	if (!s->is_ours)
		return;
	snprintf(channel, sizeof(channel), "%016" PRIx64, s->channel);
	x->n[is_refused ? CHANGE_REFUSED : strcmp(s->change, "asked") == 0 ? CHANGE_ASKED :
	    CHANGE_TAKEN]++;
	json_t *j = json_pack("{s:o, s:o, s:s}", "peer", json_cstr(s->peer), "filter",
	    json_cstr(s->filter), "channel", channel);
	put_change(j, s);
	put_known(j, "line", is_refused && s->change_line > 0, s->change_line);
	put_known(j, "col", is_refused && s->change_col > 0, s->change_col);
	json_array_append_new(x->list, j);
}

json_t *
changes_json(struct call *c, const char *name, unsigned n_out[3])
{
	struct changes x = {json_array(), n_out};
	struct scope s = {false, NULL};
	struct link *l = engine_link(c->engine);
	n_out[CHANGE_TAKEN] = n_out[CHANGE_REFUSED] = n_out[CHANGE_ASKED] = 0;
	if (l != NULL && engine_endpoints(c->engine, strv_of(name), find_end, &s, NULL) == 0 &&
	    s.end != NULL)
		link_subscriptions(l, s.end, change_row, &x);
	return x.list;
}

int
control_cmd_show_subscriptions(struct call *c)
{
	struct scope s;
	int r = scope_of(c, &s);
	struct link *l = engine_link(c->engine);
	if (r == 0 && l != NULL)
		link_subscriptions(l, s.end, subscription_row, c);
	return r;
}
