/* SPDX-License-Identifier: Apache-2.0
 * control/cmd_watch.c - streams: flows, seconds and events until the client leaves or --count.
 *
 * Rows come from callbacks of the engine in the main thread. While the client is slow rows are
 * dropped and counted; the count is told before the next row that gets through. */
#include <stdlib.h>

#include "base/clock.h"
#include "control/control_priv.h"
#include "schema/value.h"

struct stream {
	struct client *client;
	struct engine_tap *tap;
	struct engine_listener *listener;
	uint64_t left; /* rows until --count is reached; 0 with is_endless */
	bool is_endless;
	uint64_t dropped;  /* not yet told */
	uint64_t tap_lost; /* of the tap, told already */
	struct buf text;
};

void
stream_free(struct stream **sp)
{
	struct stream *s = *sp;
	if (s == NULL)
		return;
	engine_untap(&s->tap);
	engine_unlisten(&s->listener);
	buf_fini(&s->text);
	free(s);
	*sp = NULL;
}

/* May one more row go out? Tells first what was dropped since the last one. */
static bool
admit(struct stream *s)
{
	struct client *cl = s->client;
	if (!s->is_endless && s->left == 0)
		return false;
	if (client_is_slow(cl)) {
		s->dropped++;
		return false;
	}
	if (s->tap != NULL) {
		uint64_t lost = engine_tap_lost(s->tap);
		s->dropped += lost - s->tap_lost;
		s->tap_lost = lost;
	}
	if (s->dropped > 0) {
		reply_lost(cl, s->dropped);
		s->dropped = 0;
	}
	return true;
}

/* A row went out. */
static void
count(struct stream *s)
{
	struct client *cl = s->client;
	if (!s->is_endless && --s->left == 0) {
		cl->stream_done = true;
		cl->stream_result = 0;
		client_later(cl);
	}
}

static void
on_flows(void *arg, const struct batch *b, const uint64_t mask[BATCH_WORDS])
{
	struct stream *s = arg;
	for (uint32_t row = 0; row < b->n; row++) {
		if ((mask[row >> 6] >> (row & 63) & 1) == 0 || !admit(s))
			continue;
		buf_reset(&s->text);
		batch_row_json(&s->text, b, row, field_set_all(), VALUE_JSON);
		reply_row_text(s->client, buf_view(&s->text));
		count(s);
	}
	client_flush(s->client);
}

json_t *
second_json(const struct stats_second *s)
{
	json_t *apps = json_array();
	for (uint32_t i = 0; i < s->n_apps && i < STATS_APPS; i++)
		json_array_append_new(
		    apps, json_pack("{s:o, s:I, s:I}", "app", json_cstr(s->apps[i].name), "flows",
			      (json_int_t)s->apps[i].flows, "bytes", (json_int_t)s->apps[i].bytes));
	json_t *j = json_pack(
	    "{s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "second",
	    json_time(s->second * 1000000), "probe", json_cstr(s->probe), "interface",
	    json_cstr(s->interface), "packets", (json_int_t)s->packets, "bits",
	    (json_int_t)s->bytes * 8, "drops_kernel", (json_int_t)s->drops_kernel, "drops_if",
	    (json_int_t)s->drops_if, "drops_own", (json_int_t)s->drops_own, "non_ip",
	    (json_int_t)s->non_ip, "malformed", (json_int_t)s->malformed, "flows_active",
	    (json_int_t)s->flows_active, "flows_new", (json_int_t)s->flows_new, "flows_ended",
	    (json_int_t)s->flows_ended, "late_us", (json_int_t)s->late_us, "apps", apps);
	/* of the link it came by; null for what this daemon measured itself */
	const json_int_t v[] = {s->clock_offset_us, (json_int_t)s->rtt_us, (json_int_t)s->lag_us};
	static const char *const keys[] = {"clock_offset_us", "rtt_us", "lag_us"};
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		json_object_set_new(j, keys[i], s->has_peer ? json_integer(v[i]) : json_null());
	return j;
}

static void
on_second(void *arg, const struct stats_second *second)
{
	struct stream *s = arg;
	if (!admit(s))
		return;
	reply_row(s->client, second_json(second));
	count(s);
	client_flush(s->client);
}

static void
on_event(void *arg, const char *line)
{
	struct stream *s = arg;
	if (!admit(s))
		return;
	reply_row(s->client,
	    json_pack("{s:o, s:o}", "time", json_time(clock_real_us()), "event", json_cstr(line)));
	count(s);
	client_flush(s->client);
}

static int
stream_new(struct call *c, struct stream **out)
{
	uint64_t n = 0;
	char q[64];
	if (c->count != NULL && (number_parse(strv_of(c->count), &n) != 0 || n == 0))
		return err_set(&c->err, E_INVAL, "--count %s: not a number above 0",
		    strv_quote(strv_of(c->count), q, sizeof(q)));
	struct stream *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return err_set(&c->err, E_NOMEM, "out of memory");
	s->client = c->client;
	s->left = n;
	s->is_endless = c->count == NULL;
	s->text = buf_init(1 << 20);
	*out = s;
	return 0;
}

/* The stream is the client's from here on, if it got its source. */
static int
begin(struct call *c, struct stream *s, bool has_source)
{
	if (!has_source) {
		stream_free(&s);
		return err_set(&c->err, E_NOMEM, "out of memory");
	}
	c->client->stream = s;
	c->client->stream_done = false;
	return CALL_STREAM;
}

int
control_cmd_watch_flows(struct call *c)
{
	struct stream *s = NULL;
	struct filter *f = NULL;
	int r = filter_compile(c->n_args > 0 ? strv_of(c->args[0]) : STRV(""), &f, &c->err);
	if (r == 0)
		r = stream_new(c, &s);
	if (r == 0) {
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): r == 0: stream_new gave one */
		s->tap = engine_tap_flows(c->engine, &f, on_flows, s);
		r = begin(c, s, s->tap != NULL);
	}
	filter_free(&f);
	return r;
}

int
control_cmd_watch_stats(struct call *c)
{
	struct stream *s = NULL;
	int r = stream_new(c, &s);
	if (r != 0)
		return r;
	/* NOLINTNEXTLINE(clang-analyzer-core.*): stream_new gave one */
	s->tap = engine_tap_stats(c->engine, on_second, s);
	return begin(c, s, s->tap != NULL);
}

int
control_cmd_watch_events(struct call *c)
{
	struct stream *s = NULL;
	int r = stream_new(c, &s);
	if (r != 0)
		return r;
	/* NOLINTNEXTLINE(clang-analyzer-core.*): stream_new gave one */
	s->listener = engine_listen(c->engine, on_event, s);
	return begin(c, s, s->listener != NULL);
}

int
control_cmd_filter_check(struct call *c)
{
	struct filter *f = NULL;
	int r = filter_compile(strv_of(c->args[0]), &f, &c->err);
	if (r != 0)
		return r;
	json_t *fields = json_array();
	struct field_set set = filter_fields(f);
	for (unsigned i = 0; i < F_COUNT; i++)
		if (field_set_has(&set, (enum field)i))
			json_array_append_new(fields, json_string(field_info[i].name));
	reply_row(
	    c->client, json_pack("{s:o, s:b, s:o}", "canonical", json_strv(filter_canonical(f)),
			   "all", filter_is_all(f), "fields", fields));
	filter_free(&f);
	return 0;
}

int
control_cmd_filter_explain(struct call *c)
{
	struct filter *f = NULL;
	struct buf plan = buf_init(1 << 20);
	int r = filter_compile(strv_of(c->args[0]), &f, &c->err);
	if (r != 0)
		return r;
	filter_explain(f, &plan);
	reply_text(c->client, buf_view(&plan));
	buf_fini(&plan);
	filter_free(&f);
	return 0;
}
