/* SPDX-License-Identifier: Apache-2.0
 * bench/link.c - flows through filter, gathering, encoding, the encrypted link and decoding.
 *
 * Two processes over loopback TCP with CURVE: a probe that metered a capture file beforehand and
 * pushes its batches again and again, and a collector that counts what it is given. Prints wall and
 * CPU time from the first push to the last flow received, both sides, and octets on the link. Any
 * flow lost, in either ledger, is a failure.
 *
 *   bench_link [--flows N] [--filter EXPR] [--fields all|base] [--codec C] [--delay MS] [--plain]
 *              [--rate FLOWS_PER_S] CAPTURE
 *
 * Without --rate the batches are pushed as fast as the link takes them. */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "conf/conf.h"
#include "flow/meter.h"
#include "input/reader.h"
#include "link/link.h"

enum { KEPT_MAX = 4096, AHEAD = 512 << 10, PATIENCE_S = 120 };

struct options {
	const char *file, *filter, *fields, *codec;
	uint64_t flows, rate;
	unsigned delay_ms;
	bool plain;
};

struct result {
	uint64_t offered, passed, bytes, filter_ns;
	int64_t began_us;
	double cpu_s;
};

struct side {
	const struct options *o;
	struct link *link;
	struct link_end *end;
	struct conf_endpoint *conf;
	struct port_host host;
	struct batch *batch[KEPT_MAX];
	size_t n;
	_Atomic uint64_t got;
};

static const char *const types[] = {"publish", "subscribe", NULL};

static _Noreturn void
die(const char *what)
{
	fprintf(stderr, "bench_link: %s\n", what);
	exit(2);
}

static double
cpu_seconds(void)
{
	struct rusage r;
	(void)getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
	    (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static void
keep(void *arg, struct batch **b)
{
	struct side *s = arg;
	if (s->n == KEPT_MAX)
		die("too many flows in the capture");
	s->batch[s->n++] = *b;
	*b = NULL;
}

static void
no_second(void *arg, const struct stats_second *s)
{
	(void)arg;
	(void)s;
}

static struct flow_meter *
meter_file(struct side *s, const char *path)
{
	struct flow_meter_conf conf;
	struct flow_frame frames[FLOW_BURST];
	struct reader *r = NULL;
	struct err err = {0};
	int linktype, n;
	flow_meter_conf_default(&conf);
	conf.app_ndpi = false;
	conf.max_flows = 1 << 20;
	conf.max_batches = KEPT_MAX;
	conf.interface = "bench";
	conf.push = keep;
	conf.second = no_second;
	conf.arg = s;
	struct flow_meter *m = flow_meter_new(&conf, &err);
	if (m == NULL || reader_open(path, -1, &r, &err) != 0)
		die(err.text);
	while ((n = reader_burst(r, frames, FLOW_BURST, &linktype, &err)) > 0)
		flow_meter_burst(m, linktype, frames, (unsigned)n, 0);
	if (n < 0)
		die(err.text);
	flow_meter_flush(m, 0);
	reader_close(&r);
	return m; /* owns the batches */
}

static void
received(void *ctx, struct batch **b, bool may_wait)
{
	struct side *s = ctx;
	(void)may_wait;
	atomic_fetch_add(&s->got, (*b)->n);
	batch_unref(b);
}

static void
no_state(void *ctx, enum port_state state, const char *why)
{
	(void)ctx;
	(void)state;
	(void)why;
}

static void
attach(struct side *s, const char *name, uint64_t node, const char *const *words, unsigned n)
{
	struct link_host h = {.version = FLOWBUS_VERSION, .node_id = node,
	    .started_us = clock_real_us()};
	struct err err = {0};
	snprintf(h.name, sizeof(h.name), "%s", name);
	if (link_start(&h, &s->link, &err) != 0 ||
	    conf_endpoint_parse(words, n, types, &s->conf, &err) != 0)
		die(err.text);
	s->host = (struct port_host){.ctx = s, .name = s->conf->name, .number = 1, .link = s->link,
	    .push = received, .second = no_second, .state = no_state};
	if (link_attach(s->link, s->conf, &s->host, &s->end, &err) != 0)
		die(err.text);
}

static void
sum_row(void *arg, const struct link_subscription *row)
{
	struct link_subscription *sum = arg;
	sum->offered += row->offered;
	sum->passed += row->passed;
	sum->acked += row->acked;
	sum->lost += row->lost + row->early;
	sum->bytes_sent += row->bytes_sent;
	sum->filter_ns += row->filter_ns;
	sum->channel = row->channel;
}

static struct link_subscription
ledger(struct side *s)
{
	struct link_subscription sum = {.channel = 0};
	link_subscriptions(s->link, s->end, sum_row, &sum);
	return sum;
}

/* Push all batches, round after round; never so far ahead that the ring would drop. */
static void
push_all(struct side *s)
{
	uint64_t sent = 0, began = clock_mono_us();
	for (size_t i = 0; sent < s->o->flows; i = (i + 1) % s->n) {
		struct batch *b = s->batch[i];
		batch_ref(b);
		while (!link_take(s->end, b))
			clock_sleep_us(200);
		sent += b->n;
		uint64_t due = s->o->rate == 0 ? 0 : began + sent * 1000000 / s->o->rate;
		uint64_t now = clock_mono_us();
		if (due > now)
			clock_sleep_us(due - now);
		if (i % 16 != 0)
			continue;
		for (;;) {
			struct link_subscription l = ledger(s);
			if (l.offered + AHEAD > sent && l.acked + l.lost + AHEAD > l.passed)
				break;
			clock_sleep_us(1000);
		}
	}
}

static void
probe(struct side *s, const char *const *words, unsigned n, int to)
{
	struct flow_meter *m = meter_file(s, s->o->file);
	struct link_subscription l;
	attach(s, "probe", 1, words, n);
	if (write(to, "", 1) != 1)
		die("cannot report");
	while (ledger(s).channel == 0)
		clock_sleep_us(2000);
	struct result r = {.began_us = clock_real_us(), .cpu_s = cpu_seconds()};
	push_all(s);
	do {
		clock_sleep_us(1000);
		l = ledger(s);
	} while (link_busy(s->end) || l.acked + l.lost < l.passed);
	if (l.lost != 0)
		die("the link lost flows");
	r.cpu_s = cpu_seconds() - r.cpu_s;
	r.offered = l.offered;
	r.passed = l.passed;
	r.bytes = l.bytes_sent;
	r.filter_ns = l.filter_ns;
	if (write(to, &r, sizeof(r)) != sizeof(r))
		die("cannot report");
	link_detach(s->link, &s->end, false, 0);
	link_stop(&s->link);
	conf_endpoint_free(&s->conf);
	for (size_t i = 0; i < s->n; i++)
		batch_unref(&s->batch[i]);
	flow_meter_free(&m);
}

static void
collector(struct side *s, const char *const *words, unsigned n, int from)
{
	struct result r;
	char ready;
	if (read(from, &ready, 1) != 1)
		die("the probe ended early");
	attach(s, "collector", 2, words, n);
	double cpu = cpu_seconds();
	if (read(from, &r, sizeof(r)) != sizeof(r))
		die("the probe ended early");
	int64_t last_us = clock_real_us();
	cpu = cpu_seconds() - cpu;
	if (atomic_load(&s->got) != r.passed)
		die("not every flow arrived");
	double wall = (double)(last_us - r.began_us) / 1e6;
	printf("offered=%" PRIu64 " passed=%" PRIu64 " wall_s=%.3f flows_per_s=%.0f "
	    "probe_cpu_s=%.3f collector_cpu_s=%.3f flows_per_cpu_s=%.0f bytes_per_flow=%.2f "
	    "filter_ns=%.2f\n",
	    r.offered, r.passed, wall, (double)r.offered / wall, r.cpu_s, cpu,
	    (double)r.offered / (r.cpu_s + cpu), (double)r.bytes / (double)r.passed,
	    (double)r.filter_ns / (double)r.offered);
	link_detach(s->link, &s->end, false, 0);
	link_stop(&s->link);
	conf_endpoint_free(&s->conf);
}

static void
parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {{"flows", 1, NULL, 'n'}, {"filter", 1, NULL, 'f'},
	    {"fields", 1, NULL, 'F'}, {"codec", 1, NULL, 'c'}, {"delay", 1, NULL, 'd'},
	    {"plain", 0, NULL, 'p'}, {"rate", 1, NULL, 'r'}, {NULL, 0, NULL, 0}};
	*o = (struct options){NULL, "", "all", "zstd", 1000000, 0, 1000, false};
	for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
		if (c == 'n')
			o->flows = strtoull(optarg, NULL, 10);
		else if (c == 'f')
			o->filter = optarg;
		else if (c == 'F')
			o->fields = optarg;
		else if (c == 'c')
			o->codec = optarg;
		else if (c == 'd')
			o->delay_ms = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'r')
			o->rate = strtoull(optarg, NULL, 10);
		else if (c == 'p')
			o->plain = true;
		else
			exit(2);
	}
	if (optind + 1 != argc || o->flows == 0)
		die("usage: bench_link [--flows N] [--filter EXPR] [--fields all|base] [--codec C] "
		    "[--delay MS] [--plain] [--rate N] CAPTURE");
	o->file = argv[optind];
}

/* The words of an attach line for one side. */
struct words {
	char text[8][512];
	const char *at[8];
	unsigned n;
};

static void
add(struct words *w, const char *form, const char *value)
{
	if (snprintf(w->text[w->n], sizeof(w->text[0]), "%s%s", form, value) >=
	    (int)sizeof(w->text[0]))
		die("a word is too long");
	w->at[w->n] = w->text[w->n];
	w->n++;
}

int
main(int argc, char **argv)
{
	struct options o;
	char dir[] = "/tmp/bench_link.XXXXXX", key[64], secret[64], address[128], delay[32];
	struct words pub = {.n = 0}, sub = {.n = 0};
	int pipe_fd[2], status = 0;
	parse_options(argc, argv, &o);
	if (mkdtemp(dir) == NULL || pipe(pipe_fd) != 0)
		die("cannot make a directory in /tmp");
	snprintf(key, sizeof(key), "%s/key", dir);
	link_secret_new(secret);
	umask(077);
	FILE *f = fopen(key, "w");
	if (f == NULL || fprintf(f, "%s\n", secret) < 0 || fclose(f) != 0)
		die("cannot write the key");
	snprintf(address, sizeof(address), "tcp://127.0.0.1:%d", 20000 + getpid() % 10000);
	snprintf(delay, sizeof(delay), "%ums", o.delay_ms);
	add(&pub, "publish", "");
	add(&pub, address, "?bind");
	add(&pub, "ring=", "512M");
	add(&pub, "codec=", o.codec);
	add(&pub, "max_delay=", delay);
	add(&sub, "subscribe", "");
	add(&sub, address, "?connect");
	add(&sub, "retry_min=", "200ms");
	add(&sub, "filter=", o.filter);
	add(&sub, "fields=", o.fields);
	if (!o.plain) {
		add(&pub, "key_file=", key);
		add(&sub, "key_file=", key);
	}
	struct side *s = calloc(1, sizeof(*s));
	if (s == NULL)
		die("out of memory");
	s->o = &o;
	pid_t pid = fork();
	if (pid == 0) {
		close(pipe_fd[0]);
		(void)alarm(PATIENCE_S);
		probe(s, pub.at, pub.n, pipe_fd[1]);
		free(s);
		exit(0);
	}
	close(pipe_fd[1]);
	(void)alarm(PATIENCE_S);
	collector(s, sub.at, sub.n, pipe_fd[0]);
	free(s);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		die("the probe failed");
	(void)unlink(key);
	(void)rmdir(dir);
	return 0;
}
