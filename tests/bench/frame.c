/* SPDX-License-Identifier: Apache-2.0
 * bench/frame.c - what gathering, encoding and decoding cost for records the meter really makes.
 *
 * Meters a capture file, gathers the records again into batches of --rows (as a channel of the
 * link does), encodes and decodes them: all fields, and the 16 base fields. Each frame is decoded
 * once and its size checked before anything is timed. Times are of the calling thread's CPU clock,
 * the best of --rounds.
 *
 *   bench_frame [--rows N] [--rounds N] [--flows N] [--app off|native] [--codec C]
 *               [--only all|base] CAPTURE.pcap
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "batch/frame.h"
#include "flow/meter.h"
#include "input/reader.h"

enum { KEPT_MAX = 4096 };

struct bench {
	struct batch_pool *pool;
	struct batch *metered[KEPT_MAX], *batch[16 * KEPT_MAX];
	struct buf frame[16 * KEPT_MAX];
	size_t n_metered, n;
	uint64_t flows, metered_flows;
	size_t packed;           /* octets of all metered batches, packed */
	struct frame_work *work;
};

static _Noreturn void
die(const char *what)
{
	fprintf(stderr, "bench_frame: %s\n", what);
	exit(2);
}

static double
cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void
keep(void *arg, struct batch **b)
{
	struct bench *x = arg;
	if (x->n_metered == KEPT_MAX)
		die("too many flows");
	x->metered[x->n_metered++] = *b;
	*b = NULL;
}

static void
second(void *arg, const struct stats_second *s)
{
	(void)arg;
	(void)s;
}

static struct flow_meter *
meter_file(struct bench *x, const char *path, bool native, uint32_t max_flows)
{
	struct flow_meter_conf conf;
	struct flow_frame frames[FLOW_BURST];
	struct reader *r = NULL;
	struct err err = {0};
	int linktype, n;
	flow_meter_conf_default(&conf);
	conf.app_native = native;
	conf.app_ndpi = false;
	conf.max_flows = max_flows;
	conf.max_batches = KEPT_MAX;
	conf.interface = "bench";
	conf.push = keep;
	conf.second = second;
	conf.arg = x;
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

/* One frame's worth; false at the end of the records. */
static bool
gather_one(struct bench *x, uint32_t rows, size_t *at, uint32_t *row, struct batch *b)
{
	while (*at < x->n_metered && b->n < rows) {
		const struct batch *src = x->metered[*at];
		uint64_t mask[BATCH_WORDS] = {0};
		uint32_t n = src->n - *row, from = *row;
		if (n > rows - b->n)
			n = rows - b->n;
		for (uint32_t i = *row; i < *row + n; i++)
			mask[i >> 6] |= UINT64_C(1) << (i & 63);
		if (batch_gather(b, src, mask, field_set_all(), &from) != (int)n)
			die("cannot gather");
		*row += n;
		if (*row == src->n) {
			*row = 0;
			(*at)++;
		}
	}
	return b->n > 0;
}

/* What the history keeps: a packed copy. Two rounds, the second over memory that is there. */
static double
pack_all(struct bench *x)
{
	static uint8_t *room;
	double t0 = 0;
	if (room == NULL && (room = malloc(32 << 20)) == NULL)
		die("out of memory");
	for (int round = 0; round < 2; round++) {
		size_t at = 0;
		x->packed = 0;
		t0 = cpu_ns();
		for (size_t i = 0; i < x->n_metered; i++) {
			if (at + batch_pack_bound(x->metered[i]) > 32 << 20)
				at = 0;
			size_t n = batch_pack(x->metered[i], room + at);
			at += n;
			x->packed += n;
		}
	}
	return cpu_ns() - t0;
}

static double
gather_all(struct bench *x, uint32_t rows, bool keep_them)
{
	size_t at = 0, made = 0;
	uint32_t row = 0;
	double t0 = cpu_ns();
	for (;;) {
		struct batch *b = batch_pool_get(x->pool);
		if (b == NULL)
			die("out of memory");
		bool more = gather_one(x, rows, &at, &row, b);
		batch_seal(b, 0);
		if (keep_them && more && b->n == rows) {
			if (made == sizeof(x->batch) / sizeof(x->batch[0]))
				die("too many frames");
			x->batch[made++] = b;
		} else {
			batch_unref(&b);
		}
		if (!more)
			break;
	}
	if (keep_them)
		x->n = made;
	return cpu_ns() - t0;
}

static double
encode_all(struct bench *x, struct field_set want, enum frame_codec codec, size_t *bytes)
{
	double t0 = cpu_ns();
	*bytes = 0;
	for (size_t i = 0; i < x->n; i++) {
		buf_reset(&x->frame[i]);
		if (frame_encode(x->work, x->batch[i], want, codec, 0, &x->frame[i], NULL) != 0)
			die("a batch does not encode");
		*bytes += x->frame[i].n;
	}
	return cpu_ns() - t0;
}

static double
decode_all(struct bench *x, struct batch_pool *pool)
{
	double t0 = cpu_ns();
	for (size_t i = 0; i < x->n; i++) {
		struct batch *b = batch_pool_get(pool);
		unsigned skipped;
		if (b == NULL ||
		    frame_decode(x->work, x->frame[i].p, x->frame[i].n, b, 0, &skipped) != 0 ||
		    skipped != 0 || b->n != x->batch[i]->n)
			die("a frame does not decode");
		batch_unref(&b);
	}
	return cpu_ns() - t0;
}

static void
measure(struct bench *x, const char *set, struct field_set want, enum frame_codec codec, int rounds)
{
	struct batch_pool *pool = batch_pool_new(2);
	double encode = 1e30, decode = 1e30, flows = (double)x->flows;
	size_t bytes;
	(void)encode_all(x, want, codec, &bytes);
	(void)decode_all(x, pool);
	for (int i = 0; i < rounds; i++) {
		double t = encode_all(x, want, codec, &bytes);
		encode = t < encode ? t : encode;
		t = decode_all(x, pool);
		decode = t < decode ? t : decode;
	}
	printf("fields=%s codec=%s columns=%u bytes=%.2f encode_ns=%.1f decode_ns=%.1f\n", set,
	    frame_codec_name(codec), x->frame[0].p[6] | (unsigned)x->frame[0].p[7] << 8,
	    (double)bytes / flows, encode / flows, decode / flows);
	batch_pool_free(&pool);
}

struct options {
	const char *file, *only;
	uint32_t rows, flows;
	int rounds, codec;
	bool native;
};

static void
parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {{"rows", 1, NULL, 'r'}, {"rounds", 1, NULL, 'n'},
	    {"flows", 1, NULL, 'f'}, {"app", 1, NULL, 'a'}, {"codec", 1, NULL, 'c'},
	    {"only", 1, NULL, 'o'}, {NULL, 0, NULL, 0}};
	*o = (struct options){NULL, "", 4096, 1 << 20, 5, -1, true};
	for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
		if (c == 'r')
			o->rows = (uint32_t)strtoul(optarg, NULL, 10);
		else if (c == 'n')
			o->rounds = (int)strtol(optarg, NULL, 10);
		else if (c == 'f')
			o->flows = (uint32_t)strtoul(optarg, NULL, 10);
		else if (c == 'a')
			o->native = strcmp(optarg, "off") != 0;
		else if (c == 'c' && (o->codec = frame_codec_parse(strv_of(optarg))) < 0)
			die("unknown --codec");
		else if (c == 'o')
			o->only = optarg;
		else if (c == '?')
			exit(2);
	}
	if (optind + 1 != argc || o->rows < 1 || o->rows > BATCH_ROWS)
		die("usage: bench_frame [--rows N] [--rounds N] [--flows N] [--app off|native] "
		    "[--codec C] [--only all|base] CAPTURE");
	o->file = argv[optind];
}

int
main(int argc, char **argv)
{
	struct options o;
	parse_options(argc, argv, &o);
	struct bench *x = calloc(1, sizeof(*x));
	if (x == NULL || (x->work = frame_work_new()) == NULL ||
	    (x->pool = batch_pool_new(sizeof(x->batch) / sizeof(x->batch[0]) + 1)) == NULL)
		die("out of memory");
	struct flow_meter *m = meter_file(x, o.file, o.native, o.flows);
	(void)gather_all(x, o.rows, true);
	if (x->n == 0)
		die("fewer flows than --rows");
	x->flows = (uint64_t)x->n * o.rows;
	double best = 1e30;
	for (int i = 0; i < o.rounds && o.only[0] == '\0'; i++) {
		double t = gather_all(x, o.rows, false);
		best = t < best ? t : best;
	}
	for (size_t i = 0; i < x->n_metered; i++)
		x->metered_flows += x->metered[i]->n;
	double pack = 1e30;
	for (int i = 0; i < o.rounds && o.only[0] == '\0'; i++) {
		double t = pack_all(x);
		pack = t < pack ? t : pack;
	}
	if (o.only[0] == '\0')
		printf("flows=%llu rows=%u gather_ns=%.1f pack_ns=%.1f pack_bytes=%.1f\n",
		    (unsigned long long)x->flows, o.rows, best / (double)x->flows,
		    pack / (double)x->metered_flows, (double)x->packed / (double)x->metered_flows);
	for (int c = 0; c < FRAME_CODECS; c++) {
		if (o.codec >= 0 ? c != o.codec : c == FRAME_NONE)
			continue;
		if (strcmp(o.only, "base") != 0)
			measure(x, "all", field_set_all(), (enum frame_codec)c, o.rounds);
		if (strcmp(o.only, "all") != 0)
			measure(x, "base", field_set_base(), (enum frame_codec)c, o.rounds);
	}
	for (size_t i = 0; i < x->n; i++) {
		buf_fini(&x->frame[i]);
		batch_unref(&x->batch[i]);
	}
	for (size_t i = 0; i < x->n_metered; i++)
		batch_unref(&x->metered[i]);
	flow_meter_free(&m);
	batch_pool_free(&x->pool);
	frame_work_free(&x->work);
	free(x);
	return 0;
}
