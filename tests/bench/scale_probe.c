/* SPDX-License-Identifier: Apache-2.0
 * bench/scale_probe.c - the probe of bench_scale: the link library fed at a paced rate.
 *
 * The flows are those a meter made of a capture file, again and again, with the times of now: a
 * batch is made when a meter would seal it (4096 rows or 200 ms) and the ends of its flows lie
 * evenly in the time since the one before. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "conf/conf.h"
#include "flow/meter.h"
#include "input/reader.h"
#include "link/link.h"
#include "scale.h"

enum { KEPT_MAX = 4096, POOL = 1024 };
#define SEAL_US UINT64_C(200000)
#define ACK_PATIENCE_US UINT64_C(30000000)

struct probe {
	struct scale *s;
	struct flow_meter *meter;
	struct batch *kept[KEPT_MAX]; /* what the meter made */
	size_t n_kept, at;            /* at: the next row's batch */
	uint32_t row;
	struct batch_pool *pool;
	struct link *link;
	struct link_end *end;
	struct conf_endpoint *conf;
	struct port_host host;
};

static void
keep(void *arg, struct batch **b)
{
	struct probe *p = arg;
	if (p->n_kept == KEPT_MAX)
		scale_die("too many flows in the capture");
	p->kept[p->n_kept++] = *b;
	*b = NULL;
}

static void
no_second(void *arg, const struct stats_second *s)
{
	(void)arg;
	(void)s;
}

static void
no_state(void *ctx, enum port_state state, const char *why)
{
	(void)ctx;
	(void)state;
	(void)why;
}

static void
meter_file(struct probe *p)
{
	struct flow_meter_conf conf;
	struct flow_frame frames[FLOW_BURST];
	struct reader *r = NULL;
	struct err err = {0};
	int linktype, n;
	flow_meter_conf_default(&conf);
	conf.app_ndpi = false;
	conf.max_batches = KEPT_MAX;
	conf.interface = "bench";
	conf.push = keep;
	conf.second = no_second;
	conf.arg = p;
	p->meter = flow_meter_new(&conf, &err);
	if (p->meter == NULL || reader_open(p->s->o.file, -1, &r, &err) != 0)
		scale_die(err.text);
	while ((n = reader_burst(r, frames, FLOW_BURST, &linktype, &err)) > 0)
		flow_meter_burst(p->meter, linktype, frames, (unsigned)n, 0);
	if (n < 0)
		scale_die(err.text);
	flow_meter_flush(p->meter, 0);
	reader_close(&r);
	if (p->n_kept == 0)
		scale_die("no flows in the capture");
}

static void
attach(struct probe *p)
{
	static const char *const types[] = {"publish", NULL};
	const struct scale_options *o = &p->s->o;
	struct link_host h = {.version = FLOWBUS_VERSION, .node_id = 1, .name = "probe"};
	struct err err = {0};
	char text[8][160];
	const char *words[8];
	unsigned n = 0;
	h.started_us = clock_real_us();
	snprintf(text[n++], sizeof(text[0]), "publish");
	snprintf(text[n++], sizeof(text[0]), "%s?bind", o->address);
	snprintf(text[n++], sizeof(text[0]), "max_delay=%ums", o->delay_ms);
	snprintf(text[n++], sizeof(text[0]), "codec=%s", o->codec);
	snprintf(text[n++], sizeof(text[0]), "max_peers=%u", o->subs + 16);
	snprintf(text[n++], sizeof(text[0]), "max_peers_per_address=%u", o->subs + 16);
	snprintf(text[n++], sizeof(text[0]), "max_channels=%u", o->filters + 16);
	if (!o->plain)
		snprintf(text[n++], sizeof(text[0]), "key_file=%s", o->key);
	for (unsigned i = 0; i < n; i++)
		words[i] = text[i];
	if (link_start(&h, &p->link, &err) != 0 ||
	    conf_endpoint_parse(words, n, types, &p->conf, &err) != 0)
		scale_die(err.text);
	p->host = (struct port_host){.ctx = p, .name = p->conf->name, .number = 1, .link = p->link,
	    .state = no_state};
	if (link_attach(p->link, p->conf, &p->host, &p->end, &err) != 0)
		scale_die(err.text);
}

/* Append up to @want rows of what the meter made, in its order. */
static void
append(struct probe *p, struct batch *b, uint32_t want)
{
	while (want > 0) {
		const struct batch *from = p->kept[p->at];
		uint64_t mask[BATCH_WORDS] = {0};
		uint32_t start = p->row, end = start + want < from->n ? start + want : from->n;
		for (uint32_t r = start; r < end; r++)
			mask[r >> 6] |= UINT64_C(1) << (r & 63);
		int n = batch_gather(b, from, mask, field_set_all(), &start);
		if (n <= 0)
			break;
		want -= (uint32_t)n < want ? (uint32_t)n : want;
		p->row = end;
		if (p->row == from->n) {
			p->row = 0;
			p->at = (p->at + 1) % p->n_kept;
		}
	}
}

/* Row r of n ended at from + (r + 1) / n of the way to @to. */
static void
stamp(struct batch *b, int64_t from, int64_t to)
{
	int64_t *start = b->col[F_start].data, *end = b->col[F_end].data;
	for (uint32_t r = 0; r < b->n; r++) {
		int64_t lasted = end[r] - start[r];
		end[r] = from + (to - from) * (r + 1) / b->n;
		start[r] = end[r] - (lasted > 0 ? lasted : 0);
	}
}

static void
second(struct probe *p, int64_t now)
{
	struct stats_second sec = {.second = now / 1000000, .packets = p->s->o.rate * 10,
	    .bytes = p->s->o.rate * 6000, .flows_new = p->s->o.rate, .flows_ended = p->s->o.rate};
	snprintf(sec.interface, sizeof(sec.interface), "bench");
	link_second(p->end, &sec);
}

static void
feed(struct probe *p)
{
	const struct scale_options *o = &p->s->o;
	uint64_t step = BATCH_ROWS * UINT64_C(1000000) / o->rate, begun = clock_mono_us();
	int64_t from = clock_real_us(), next_second = from;
	if (step > SEAL_US)
		step = SEAL_US;
	uint64_t steps = o->seconds * UINT64_C(1000000) / step, made = 0;
	for (uint64_t i = 1; i <= steps; i++) {
		uint64_t due = begun + i * step, now = clock_mono_us();
		if (due > now)
			clock_sleep_us(due - now);
		int64_t to = clock_real_us();
		uint64_t n = o->rate * step * i / 1000000 - made;
		struct batch *b = batch_pool_get(p->pool);
		made += n;
		p->s->probe.offered += n;
		if (b == NULL) { /* all are with the link: it does not keep up */
			p->s->probe.early += n;
			link_lost(p->end, (uint32_t)n);
			continue;
		}
		append(p, b, (uint32_t)(n < BATCH_ROWS ? n : BATCH_ROWS));
		if (b->n != n)
			scale_die("cannot make a batch");
		stamp(b, from, to);
		batch_seal(b, clock_mono_us());
		from = to;
		if (!link_take(p->end, b)) {
			p->s->probe.early += n;
			link_lost(p->end, (uint32_t)n);
			batch_unref(&b);
		}
		if (to >= next_second) {
			second(p, to);
			next_second += 1000000;
		}
	}
}

struct look {
	struct probe *p;
	bool busy, is_last; /* is_last: say who is late */
};

/* Peers are called s0, s1, ... */
static void
look_row(void *arg, const struct link_subscription *x)
{
	struct look *l = arg;
	struct scale *s = l->p->s;
	unsigned long i = strtoul(x->peer + 1, NULL, 10);
	if (x->peer[0] != 's' || i >= s->o.subs)
		scale_die("a subscription of an unknown peer");
	s->probe.row[i] = (struct scale_row){x->channel, x->seq_next - 1, x->acked,
	    x->lost, x->passed, true};
	bool busy = x->offered + x->early < s->probe.offered ||
	    (i >= s->o.stopped && x->acked + x->lost < x->passed);
	if (busy && l->is_last)
		fprintf(stderr, "bench_scale: %s%s: offered %llu of %llu, passed %llu, acknowledged "
		    "%llu, in flight %llu, queued %llu, lost %llu, next %llu, acknowledged %llu\n", x->peer,
		    x->is_parked ? " (away)" : "", (unsigned long long)x->offered,
		    (unsigned long long)s->probe.offered, (unsigned long long)x->passed,
		    (unsigned long long)x->acked, (unsigned long long)x->in_flight,
		    (unsigned long long)x->queued, (unsigned long long)x->lost,
		    (unsigned long long)x->seq_next, (unsigned long long)x->seq_acked);
	l->busy |= busy;
}

static void
wait_acknowledged(struct probe *p)
{
	uint64_t until = clock_mono_us() + ACK_PATIENCE_US;
	for (bool late = false;; late = clock_mono_us() > until) {
		struct look l = {p, false, late};
		link_subscriptions(p->link, p->end, look_row, &l);
		if (!l.busy || late)
			return; /* what is missing shows in the comparison */
		clock_sleep_us(50000);
	}
}

static void
wait_phase(struct scale *s, int phase)
{
	while (atomic_load(&s->phase) < phase)
		clock_sleep_us(5000);
	if (atomic_load(&s->phase) == SCALE_FAILED)
		scale_die("the client failed");
}

void
scale_probe(struct scale *s)
{
	struct scale_probe_result *r = &s->probe;
	struct probe *p = calloc(1, sizeof(*p));
	uint64_t sum[C_COUNT] = {0};
	if (p == NULL || (p->pool = batch_pool_new(POOL)) == NULL)
		scale_die("out of memory");
	p->s = s;
	meter_file(p);
	attach(p);
	r->rss_bare = scale_memory("VmRSS:");
	atomic_store(&s->phase, SCALE_BOUND);
	wait_phase(s, SCALE_SUBSCRIBED);
	clock_sleep_us(300000);
	r->rss_idle = scale_memory("VmRSS:");
	struct scale_cpu before = scale_cpu_now();
	uint64_t begun = clock_mono_us();
	feed(p);
	r->fed_s = (double)(clock_mono_us() - begun) / 1e6;
	wait_acknowledged(p);
	r->seconds = (double)(clock_mono_us() - begun) / 1e6;
	r->cpu = scale_cpu_since(before);
	r->rss_peak = scale_memory("VmHWM:");
	link_counters(p->end, sum);
	r->encoded = sum[C_frame_made];
	r->sent = sum[C_frame_out];
	r->bytes = sum[C_frame_bytes];
	r->peers_down = sum[C_peer_down];
	r->refused = sum[C_peer_refused];
	atomic_store(&s->phase, SCALE_DONE);
	wait_phase(s, SCALE_READ); /* a BYE is not for it to see */
	link_detach(p->link, &p->end, false, 0);
	link_stop(&p->link);
	conf_endpoint_free(&p->conf);
	batch_pool_free(&p->pool);
	for (size_t i = 0; i < p->n_kept; i++)
		batch_unref(&p->kept[i]);
	flow_meter_free(&p->meter);
	free(p);
}
