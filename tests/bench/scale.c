/* SPDX-License-Identifier: Apache-2.0
 * bench/scale.c - one probe, many subscribers: flows a second, CPU, memory, latency, losses.
 *
 * Two processes over loopback TCP: the link library as a probe that is fed at a paced rate
 * (scale_probe.c), and a client with all subscribers (scale_client.c). Prints one line of
 * name=value. Exit status 1 when anything was lost, by name or without, or came damaged or out of
 * order, or was encoded more than once, or when the two ends disagree about any subscription.
 *
 *   bench_scale [--subs N] [--filters N] [--rate FLOWS_PER_S] [--seconds N] [--delay MS]
 *               [--codec C] [--decode N] [--stopped N] [--plain] [--log LEVEL] CAPTURE
 *
 * --decode N: the client decodes one frame of N. --stopped N: so many subscribers never read. */
#include "scale.h"

#include <dirent.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "link/link.h"

_Noreturn void
scale_die(const char *what)
{
	fprintf(stderr, "bench_scale: %s\n", what);
	exit(2);
}

static double
seconds_of(const struct rusage *r)
{
	return (double)(r->ru_utime.tv_sec + r->ru_stime.tv_sec) +
	    (double)(r->ru_utime.tv_usec + r->ru_stime.tv_usec) / 1e6;
}

/* CPU time of the threads of libzmq that read, write, encrypt and decrypt, by the scheduler. */
static double
io_seconds(void)
{
	double sum = 0;
	DIR *d = opendir("/proc/self/task");
	for (struct dirent *t; d != NULL && (t = readdir(d)) != NULL;) {
		char path[320], name[32] = "";
		uint64_t ns = 0;
		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", t->d_name);
		FILE *f = fopen(path, "r");
		if (f != NULL && fgets(name, sizeof(name), f) == NULL)
			name[0] = '\0';
		if (f != NULL)
			fclose(f);
		snprintf(path, sizeof(path), "/proc/self/task/%s/schedstat", t->d_name);
		f = strstr(name, "/IO/") != NULL ? fopen(path, "r") : NULL;
		if (f != NULL && fscanf(f, "%" SCNu64, &ns) == 1)
			sum += (double)ns / 1e9;
		if (f != NULL)
			fclose(f);
	}
	if (d != NULL)
		closedir(d);
	return sum;
}

struct scale_cpu
scale_cpu_now(void)
{
	struct rusage all, thread;
	(void)getrusage(RUSAGE_SELF, &all);
	(void)getrusage(RUSAGE_THREAD, &thread);
	return (struct scale_cpu){seconds_of(&all), io_seconds(), seconds_of(&thread)};
}

struct scale_cpu
scale_cpu_since(struct scale_cpu before)
{
	struct scale_cpu now = scale_cpu_now();
	return (struct scale_cpu){now.all - before.all, now.io - before.io,
	    now.feeder - before.feeder};
}

uint64_t
scale_memory(const char *what)
{
	char line[128];
	uint64_t kib = 0;
	FILE *f = fopen("/proc/self/status", "r");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, what, strlen(what)) == 0)
			kib = strtoull(line + strlen(what), NULL, 10);
	if (f != NULL)
		fclose(f);
	return kib << 10;
}

/* ---- what both ends found, side by side */

static unsigned failures;

static void
expect(bool ok, const char *what, uint64_t got, uint64_t want)
{
	if (ok)
		return;
	failures++;
	fprintf(stderr, "bench_scale: FAIL %s: %" PRIu64 ", not %" PRIu64 "\n", what, got, want);
}

static void
expect_same(const char *what, uint64_t got, uint64_t want)
{
	expect(got == want, what, got, want);
}

/* Frames of the distinct channels, and the same times their subscribers that read. */
static void
count_channels(const struct scale *s, uint64_t *channels, uint64_t *frames, uint64_t *sent)
{
	*channels = *frames = *sent = 0;
	for (unsigned i = 0; i < s->o.subs; i++) {
		const struct scale_row *a = &s->probe.row[i];
		bool is_first = i >= s->o.stopped;
		*sent += i >= s->o.stopped ? a->frames : 0;
		for (unsigned k = s->o.stopped; k < i && is_first; k++)
			is_first = s->probe.row[k].channel != a->channel;
		*channels += is_first;
		*frames += is_first ? a->frames : 0;
	}
}

static void
compare(const struct scale *s)
{
	const struct scale_client_result *c = &s->client;
	uint64_t channels, frames, sent, wrong = 0, lost = 0;
	for (unsigned i = s->o.stopped; i < s->o.subs; i++) {
		const struct scale_row *a = &s->probe.row[i], *b = &c->row[i];
		wrong += !a->is_set || !b->is_set || a->channel != b->channel || a->flows != b->flows ||
		    a->lost != b->lost || a->flows + a->lost != a->passed;
		lost += b->lost;
	}
	count_channels(s, &channels, &frames, &sent);
	expect_same("frames with a wrong checksum", c->bad_crc, 0);
	expect_same("frames out of sequence", c->bad_seq, 0);
	expect_same("frames that did not decode", c->bad_decode, 0);
	expect_same("sessions that ended", c->broken, 0);
	expect_same("subscriptions whose ends disagree on flows and losses", wrong, 0);
	expect_same("flows lost, by name", lost + s->probe.early, 0);
	expect_same("channels", channels, s->o.filters);
	expect_same("frames encoded, all channels", s->probe.encoded, frames);
	/* those that never read are sent some, and what a lost connection had is sent again */
	expect(s->probe.sent >= sent && (s->o.stopped + c->reconnects > 0 || s->probe.sent == sent),
	    "frames sent, all subscribers", s->probe.sent, sent);
	expect_same("frames received", c->frames, sent);
	expect(c->decoded > 0, "frames decoded", c->decoded, 1);
}

static void
report(const struct scale *s)
{
	const struct scale_probe_result *p = &s->probe;
	const struct scale_client_result *c = &s->client;
	uint64_t got = 0, lost = 0;
	for (unsigned i = s->o.stopped; i < s->o.subs; i++) {
		got += c->row[i].flows;
		lost += c->row[i].lost;
	}
	printf("subs=%u filters=%u stopped=%u curve=%d rate=%" PRIu64 " fed_s=%.2f acked_s=%.2f "
	    "offered_per_s=%.0f delivered_per_s=%.0f frames_per_s=%.0f mb_per_s=%.1f ",
	    s->o.subs, s->o.filters, s->o.stopped, !s->o.plain, s->o.rate, p->fed_s, p->seconds,
	    (double)p->offered / p->fed_s, (double)got / p->fed_s,
	    (double)c->frames / p->fed_s, (double)c->bytes / p->fed_s / 1e6);
	printf("probe_cpu=%.3f probe_link_cpu=%.3f probe_io_cpu=%.3f feeder_cpu=%.3f "
	    "client_cpu=%.3f client_io_cpu=%.3f ",
	    (p->cpu.all - p->cpu.feeder) / p->fed_s,
	    (p->cpu.all - p->cpu.feeder - p->cpu.io) / p->fed_s, p->cpu.io / p->fed_s,
	    p->cpu.feeder / p->fed_s, c->cpu.all / p->fed_s, c->cpu.io / p->fed_s);
	printf("rss_bare_mb=%.1f rss_idle_mb=%.1f rss_peak_mb=%.1f kb_per_sub=%.1f "
	    "delay_ms=%u p50_ms=%.1f p99_ms=%.1f max_ms=%.1f ",
	    (double)p->rss_bare / 1e6, (double)p->rss_idle / 1e6, (double)p->rss_peak / 1e6,
	    ((double)p->rss_idle - (double)p->rss_bare) / s->o.subs / 1e3, s->o.delay_ms,
	    (double)c->p50_us / 1e3, (double)c->p99_us / 1e3, (double)c->max_us / 1e3);
	printf("encoded=%" PRIu64 " sent=%" PRIu64 " received=%" PRIu64 " decoded=%" PRIu64
	    " stats=%" PRIu64 " lost_ring=%" PRIu64 " lost_queue=%" PRIu64 " peers_down=%" PRIu64
	    " refused=%" PRIu64 " reconnects=%" PRIu64 "\n",
	    p->encoded, p->sent, c->frames, c->decoded, c->stats, lost, p->early, p->peers_down,
	    p->refused, c->reconnects);
}

/* ---- options and processes */

static void
parse_options(int argc, char **argv, struct scale_options *o)
{
	static const struct option longs[] = {{"subs", 1, NULL, 's'}, {"filters", 1, NULL, 'f'},
	    {"rate", 1, NULL, 'r'}, {"seconds", 1, NULL, 't'}, {"delay", 1, NULL, 'd'},
	    {"codec", 1, NULL, 'c'}, {"decode", 1, NULL, 'D'}, {"stopped", 1, NULL, 'S'},
	    {"plain", 0, NULL, 'p'}, {"log", 1, NULL, 'l'}, {NULL, 0, NULL, 0}};
	*o = (struct scale_options){.codec = "zstd", .subs = 100, .filters = 1, .seconds = 5,
	    .delay_ms = 1000, .decode = 100, .rate = 10000};
	for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
		unsigned n = optarg != NULL ? (unsigned)strtoul(optarg, NULL, 10) : 0;
		if (c == 's')
			o->subs = n;
		else if (c == 'f')
			o->filters = n;
		else if (c == 'r')
			o->rate = n;
		else if (c == 't')
			o->seconds = n;
		else if (c == 'd')
			o->delay_ms = n;
		else if (c == 'c')
			o->codec = optarg;
		else if (c == 'D')
			o->decode = n;
		else if (c == 'S')
			o->stopped = n;
		else if (c == 'l' && log_level_parse(optarg) >= 0)
			log_set_level((enum log_level)log_level_parse(optarg));
		else if (c == 'p')
			o->plain = true;
		else
			exit(2);
	}
	if (optind + 1 != argc || o->subs == 0 || o->subs > SCALE_SUBS_MAX || o->filters == 0 ||
	    o->filters > o->subs || o->filters > SCALE_FILTERS_MAX || o->rate < 100 ||
	    o->seconds == 0 || o->stopped >= o->subs || o->decode == 0)
		scale_die("usage: bench_scale [--subs N] [--filters N] [--rate FLOWS_PER_S] "
		    "[--seconds N] [--delay MS] [--codec C] [--decode N] [--stopped N] [--plain] "
		    "[--log LEVEL] CAPTURE");
	o->file = argv[optind];
}

static void
make_key(struct scale_options *o, const char *dir)
{
	char secret[64];
	link_secret_new(secret);
	snprintf(o->key, sizeof(o->key), "%s/key", dir);
	umask(077);
	FILE *f = fopen(o->key, "w");
	if (f == NULL || fprintf(f, "%s\n", secret) < 0 || fclose(f) != 0)
		scale_die("cannot write the key");
}

static pid_t
start(struct scale *s, void (*run)(struct scale *s))
{
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	(void)alarm(SCALE_PATIENCE_S);
	run(s);
	exit(0);
}

/* Both ended well? When one fails the other is told. */
static bool
wait_both(struct scale *s, pid_t probe, pid_t client)
{
	bool ok = probe > 0 && client > 0;
	for (int left = (probe > 0) + (client > 0), status; left > 0; left--) {
		if (wait(&status) < 0 || status != 0) {
			ok = false;
			atomic_store(&s->phase, SCALE_FAILED);
		}
	}
	return ok;
}

int
main(int argc, char **argv)
{
	char dir[] = "/tmp/bench_scale.XXXXXX";
	struct rlimit files;
	struct scale *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
	    -1, 0);
	if (s == MAP_FAILED || mkdtemp(dir) == NULL)
		scale_die("cannot make a directory in /tmp");
	parse_options(argc, argv, &s->o);
	/* a DEALER takes two descriptors, the ROUTER one a peer */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	make_key(&s->o, dir);
	snprintf(s->o.address, sizeof(s->o.address), "tcp://127.0.0.1:%d", 20000 + getpid() % 10000);
	pid_t probe = start(s, scale_probe), client = start(s, scale_client);
	bool ok = wait_both(s, probe, client);
	(void)unlink(s->o.key);
	(void)rmdir(dir);
	if (!ok)
		scale_die("a process failed");
	report(s);
	compare(s);
	return failures > 0 ? 1 : 0;
}
