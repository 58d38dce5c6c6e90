/* SPDX-License-Identifier: Apache-2.0
 * control/cmd_watch.c - streams: flows, seconds and events until the client leaves or --count.
 *
 * Rows come from callbacks of the engine in the main thread. While the client is slow rows are
 * dropped and counted; the count is told before the next row that gets through. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "control/control_priv.h"
#include "schema/value.h"

struct stream {
	struct client *client;
	struct engine_tap *tap;
	struct engine_listener *listener;
	struct engine_test_job *job;
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
	engine_filter_test_cancel(&s->job);
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

static json_t *
rows_json(const struct engine_test *t)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < t->n_rows; i++)
		json_array_append_new(list, json_loadb(t->rows[i].p, t->rows[i].n, 0, NULL));
	return list;
}

static void
on_test(void *arg, const struct engine_test *t)
{
	struct stream *s = arg;
	struct client *cl = s->client;
	double span = (double)t->span_us / 1e6;
	bool is_complete = t->span_us >= t->asked_us && t->missed == 0;
	s->job = NULL;
	json_t *j = json_pack("{s:o, s:o, s:o, s:b, s:s}", "filter", json_strv(buf_view(&s->text)),
	    "asked_s", json_seconds((int64_t)t->asked_us), "span_s",
	    json_seconds((int64_t)t->span_us), "complete", is_complete, "time",
	    t->by_packets ? "packets" : "clock");
	const struct {
		const char *key;
		uint64_t v;
	} numbers[] = {{"seen", t->seen}, {"matched", t->matched}, {"missed", t->missed},
	    {"encoded", t->encoded}, {"frames", t->frames}, {"bytes_raw", t->bytes_raw},
	    {"bytes", t->bytes}, {"history_bytes", t->history_bytes},
	    {"history_flows", t->history_flows}};
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_set_new(j, numbers[i].key, json_integer((json_int_t)numbers[i].v));
	json_object_set_new(j, "share", t->seen > 0 ?
	    json_real((double)t->matched / (double)t->seen) : json_null());
	json_object_set_new(j, "bytes_per_s", span > 0 ? json_real((double)t->bytes / span) :
	    json_null());
	json_object_set_new(j, "codec", json_string(frame_codec_name(t->codec)));
	json_object_set_new(j, "scaled", json_boolean(t->encoded < t->matched));
	json_object_set_new(j, "rows", rows_json(t));
	reply_row(cl, j);
	snprintf(cl->call->done, sizeof(cl->call->done), "%llu of %llu records match, %llu octets%s%s",
	    (unsigned long long)t->matched, (unsigned long long)t->seen, (unsigned long long)t->bytes,
	    t->span_us < t->asked_us ? "; the history does not reach as far back as asked" : "",
	    t->missed > 0 ? "; it missed some records" : "");
	cl->stream_done = true;
	cl->stream_result = 0;
	client_later(cl);
}

int
control_cmd_filter_test(struct call *c)
{
	struct stream *s = NULL;
	struct filter *f = NULL;
	int64_t last = 60000000;
	int r = filter_compile(strv_of(c->args[0]), &f, &c->err);
	if (r == 0 && c->last != NULL)
		r = call_span(c, "--last", c->last, &last);
	if (r == 0)
		r = stream_new(c, &s);
	if (r == 0) {
		struct engine_test_ask ask = {(uint64_t)last, on_test, s};
		/* NOLINTNEXTLINE(clang-analyzer-core.*): stream_new gave one */
		buf_strv(&s->text, filter_canonical(f));
		r = engine_filter_test(c->engine, &f, &ask, &s->job, &c->err);
		if (r == 0)
			r = begin(c, s, true);
		else
			stream_free(&s);
	}
	filter_free(&f);
	return r;
}
