/* SPDX-License-Identifier: Apache-2.0
 * bench/wire_size.c - what a flow costs on the wire: bytes per flow, by column, codec and order.
 *
 * Reads a flow list of gen_traffic (--flow-list), fills batches with the 16 base fields and encodes
 * them. Every frame is decoded again and compared value by value, so that a small frame is also a
 * right one. Times are of the calling thread's CPU clock, the best of several rounds.
 *
 *   wire_size FILE.csv [--rows N] [--order csv|start|end|wheel|random] [--codec C] [--level L]
 *             [--columns] [--max BYTES] [--rounds N]
 *
 * Orders: as listed, by first packet, by last packet, by the second of the last packet and random
 * within it (how a timer wheel ends flows), random. --max makes the exit status 1 when a flow costs
 * more: the size is a promise, checked by ctest. */
#include <arpa/inet.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "batch/frame.h"

#define NETFLOW9_BYTES 85.0 /* a flow as NetFlow v9: netflow9_formula in tests/bench/run */

struct flow {
	struct addr src, dst;
	int64_t start, end;
	uint64_t packets, bytes, rev_packets, rev_bytes, key;
	uint16_t src_port, dst_port, flags, rev_flags;
	uint8_t proto;
	char app[16];
};

struct options {
	const char *file, *order;
	uint32_t rows;
	int codec, level, rounds;
	bool columns;
	double max;
};

static void
die(const char *what)
{
	fprintf(stderr, "wire_size: %s\n", what);
	exit(2);
}

static uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static bool
parse_line(char *line, struct flow *f, uint64_t seq, const char *order)
{
	char src[64], dst[64], app[16];
	unsigned proto, sport, dport, ff, rf;
	uint64_t first, last;
	if (sscanf(line, "%*u,%u,%63[^,],%u,%63[^,],%u,%" SCNu64 ",%" SCNu64 ",%" SCNu64 ",%" SCNu64
	    ",%" SCNu64 ",%" SCNu64 ",%u,%u,%*u,%15s", &proto, src, &sport, dst, &dport, &f->packets,
	    &f->bytes, &f->rev_packets, &f->rev_bytes, &first, &last, &ff, &rf, app) != 14)
		return false;
	if (addr_parse(strv_of(src), &f->src) != 0 || addr_parse(strv_of(dst), &f->dst) != 0)
		return false;
	f->proto = (uint8_t)proto;
	f->src_port = (uint16_t)sport;
	f->dst_port = (uint16_t)dport;
	f->flags = (uint16_t)ff;
	f->rev_flags = (uint16_t)rf;
	f->start = (int64_t)(first / 1000);
	f->end = (int64_t)(last / 1000);
	snprintf(f->app, sizeof(f->app), "%s", app);
	if (strcmp(app, "ping") == 0)
		snprintf(f->app, sizeof(f->app), "%s", proto == 1 ? "icmp" : "icmpv6");
	else if (strcmp(app, "none") == 0)
		f->app[0] = '\0';
	uint64_t random = mix(seq * UINT64_C(0x9e3779b97f4a7c15) + 1);
	if (strcmp(order, "start") == 0)
		f->key = first;
	else if (strcmp(order, "end") == 0)
		f->key = last;
	else if (strcmp(order, "wheel") == 0)
		f->key = last / 1000000000 << 32 | random >> 32;
	else if (strcmp(order, "random") == 0)
		f->key = random;
	else if (strcmp(order, "csv") == 0)
		f->key = seq;
	else
		die("unknown --order");
	return true;
}

static int
by_key(const void *a, const void *b)
{
	const struct flow *x = a, *y = b;
	return x->key < y->key ? -1 : x->key > y->key;
}

static struct flow *
read_flows(const struct options *o, size_t *n_out)
{
	FILE *in = fopen(o->file, "r");
	char line[512];
	size_t n = 0, cap = 1 << 16;
	struct flow *all = malloc(cap * sizeof(*all));
	if (in == NULL || all == NULL || fgets(line, sizeof(line), in) == NULL)
		die("cannot read the flow list");
	while (fgets(line, sizeof(line), in) != NULL) {
		if (n == cap && (all = realloc(all, (cap *= 2) * sizeof(*all))) == NULL)
			die("out of memory");
		if (!parse_line(line, &all[n], n, o->order))
			die("this is not a flow list of gen_traffic");
		n++;
	}
	fclose(in);
	qsort(all, n, sizeof(*all), by_key);
	*n_out = n;
	return all;
}

static struct batch *
fill(struct batch_pool *pool, const struct flow *f, uint32_t n)
{
	struct batch *b = batch_pool_get(pool);
	if (b == NULL)
		die("out of memory");
	for (uint32_t i = 0; i < n; i++, f++) {
		b->n = i + 1;
		bool ok = batch_set_addr(b, F_src_addr, i, &f->src) &&
		    batch_set_addr(b, F_dst_addr, i, &f->dst) &&
		    batch_set_u(b, F_src_port, i, f->src_port) &&
		    batch_set_u(b, F_dst_port, i, f->dst_port) &&
		    batch_set_u(b, F_proto, i, f->proto) && batch_set_time(b, F_start, i, f->start) &&
		    batch_set_time(b, F_end, i, f->end) && batch_set_u(b, F_packets, i, f->packets) &&
		    batch_set_u(b, F_bytes, i, f->bytes) &&
		    batch_set_u(b, F_rev_packets, i, f->rev_packets) &&
		    batch_set_u(b, F_rev_bytes, i, f->rev_bytes) &&
		    batch_set_u(b, F_tcp_flags, i, f->flags) &&
		    batch_set_u(b, F_rev_tcp_flags, i, f->rev_flags) &&
		    batch_set_text(b, F_app, i, f->app[0] != '\0' ? strv_of(f->app) : STRV("unknown")) &&
		    batch_set_u(b, F_in_if, i, 2) && batch_set_u(b, F_out_if, i, 3);
		if (!ok)
			die("cannot fill a batch");
	}
	batch_seal(b, 0);
	return b;
}

static bool
same_value(enum field f, const struct value *x, const struct value *y)
{
	if (field_info[f].type == FT_TEXT)
		return strv_eq(x->text, y->text);
	if (field_info[f].type == FT_ADDR)
		return memcmp(&x->addr, &y->addr, sizeof(x->addr)) == 0;
	return x->u == y->u;
}

static void
check_same(const struct batch *a, const struct batch *b)
{
	struct value x, y;
	if (a->n != b->n || a->min_start != b->min_start || a->max_end != b->max_end)
		die("a decoded frame differs");
	for (uint32_t i = 0; i < a->n; i++) {
		for (int f = 0; f < F_COUNT; f++) {
			bool has = batch_value(a, (enum field)f, i, &x);
			if (has != batch_value(b, (enum field)f, i, &y) ||
			    (has && !same_value((enum field)f, &x, &y)))
				die("a decoded value differs");
		}
	}
}

static double
cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

struct bench {
	struct frame_work *w;
	struct batch **batch;
	struct buf *frame;
	size_t n_frames, n_flows;
};

static size_t
encode_all(struct bench *x, struct field_set want, enum frame_codec codec, int level)
{
	size_t bytes = 0;
	for (size_t i = 0; i < x->n_frames; i++) {
		buf_reset(&x->frame[i]);
		if (frame_encode(x->w, x->batch[i], want, codec, level, &x->frame[i], NULL) != 0)
			die("frame_encode failed");
		bytes += x->frame[i].n;
	}
	return bytes;
}

static void
decode_all(struct bench *x, struct batch_pool *pool, bool check)
{
	for (size_t i = 0; i < x->n_frames; i++) {
		struct batch *b = batch_pool_get(pool);
		unsigned skipped;
		if (b == NULL || frame_decode(x->w, x->frame[i].p, x->frame[i].n, b, 0, &skipped) != 0 ||
		    skipped != 0)
			die("frame_decode failed");
		if (check)
			check_same(x->batch[i], b);
		batch_unref(&b);
	}
}

static double
measure(struct bench *x, const struct options *o, enum frame_codec codec, int level)
{
	struct batch_pool *pool = batch_pool_new(2);
	double encode = 1e30, decode = 1e30, flows = (double)x->n_flows;
	size_t bytes = encode_all(x, field_set_base(), codec, level);
	decode_all(x, pool, true);
	for (int i = 0; i < o->rounds; i++) {
		double t0 = cpu_ns();
		encode_all(x, field_set_base(), codec, level);
		double t1 = cpu_ns();
		decode_all(x, pool, false);
		double t2 = cpu_ns();
		encode = t1 - t0 < encode ? t1 - t0 : encode;
		decode = t2 - t1 < decode ? t2 - t1 : decode;
	}
	batch_pool_free(&pool);
	double each = (double)bytes / flows;
	printf("%-7s %4u rows  %-4s level %2d: %6.2f bytes/flow, %4.1f %% of NetFlow v9; "
	    "encode %5.1f ns/flow, decode %5.1f\n", o->order, o->rows, frame_codec_name(codec), level,
	    each, each / NETFLOW9_BYTES * 100, encode / flows, decode / flows);
	return each;
}

/* A column's share: the frame with it minus the frame without it is what it really costs. */
static void
show_columns(struct bench *x, enum frame_codec codec, int level)
{
	struct field_set base = field_set_base();
	double all = (double)encode_all(x, base, codec, level), flows = (double)x->n_flows;
	for (int f = 0; f < F_COUNT; f++) {
		struct field_set less = base;
		if (!field_set_has(&base, (enum field)f))
			continue;
		less.w[f >> 6] &= ~(UINT64_C(1) << (f & 63));
		double without = (double)encode_all(x, less, codec, level);
		printf("    %-14s %6.3f\n", field_info[f].name, (all - without) / flows);
	}
}

static void
parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {{"rows", 1, NULL, 'r'}, {"order", 1, NULL, 'o'},
	    {"codec", 1, NULL, 'c'}, {"level", 1, NULL, 'l'}, {"columns", 0, NULL, 'C'},
	    {"max", 1, NULL, 'm'}, {"rounds", 1, NULL, 'n'}, {NULL, 0, NULL, 0}};
	*o = (struct options){NULL, "end", 1024, -1, 0, 3, false, 0};
	for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
		if (c == 'r')
			o->rows = (uint32_t)strtoul(optarg, NULL, 10);
		else if (c == 'o')
			o->order = optarg;
		else if (c == 'c' && (o->codec = frame_codec_parse(strv_of(optarg))) < 0)
			die("unknown --codec");
		else if (c == 'l')
			o->level = (int)strtol(optarg, NULL, 10);
		else if (c == 'C')
			o->columns = true;
		else if (c == 'm')
			o->max = strtod(optarg, NULL);
		else if (c == 'n')
			o->rounds = (int)strtol(optarg, NULL, 10);
		else if (c == '?')
			exit(2);
	}
	if (optind + 1 != argc || o->rows < 1 || o->rows > BATCH_ROWS)
		die("usage: wire_size FILE.csv [--rows N] [--order csv|start|end|wheel|random] "
		    "[--codec C] [--level L] [--columns] [--max BYTES] [--rounds N]");
	o->file = argv[optind];
}

int
main(int argc, char **argv)
{
	struct options o;
	parse_options(argc, argv, &o);
	struct bench x = {frame_work_new(), NULL, NULL, 0, 0};
	struct flow *flows = read_flows(&o, &x.n_flows);
	x.n_frames = x.n_flows / o.rows; /* whole frames only: the size promised is of those */
	x.n_flows = x.n_frames * o.rows;
	x.batch = calloc(x.n_frames + 1, sizeof(*x.batch));
	x.frame = calloc(x.n_frames + 1, sizeof(*x.frame));
	struct batch_pool *pool = batch_pool_new((uint32_t)x.n_frames);
	if (x.w == NULL || x.n_frames == 0 || x.batch == NULL || x.frame == NULL || pool == NULL)
		die("out of memory, or fewer flows than --rows");
	for (size_t i = 0; i < x.n_frames; i++)
		x.batch[i] = fill(pool, flows + i * o.rows, o.rows);
	double worst = 0;
	for (int c = 0; c < FRAME_CODECS; c++) {
		if (o.codec >= 0 && c != o.codec)
			continue;
		double each = measure(&x, &o, (enum frame_codec)c, o.level);
		if (c != FRAME_NONE && each > worst)
			worst = each;
		if (o.columns)
			show_columns(&x, (enum frame_codec)c, o.level);
	}
	for (size_t i = 0; i < x.n_frames; i++) {
		buf_fini(&x.frame[i]);
		batch_unref(&x.batch[i]);
	}
	batch_pool_free(&pool);
	frame_work_free(&x.w);
	free(x.batch);
	free(x.frame);
	free(flows);
	if (o.max > 0 && worst > o.max)
		fprintf(stderr, "wire_size: %.2f bytes a flow, the limit is %.2f\n", worst, o.max);
	return o.max > 0 && worst > o.max;
}
