/* SPDX-License-Identifier: Apache-2.0
 * bench/meter.c - packets to flows to frames, per CPU second.
 *
 * Reads a capture file as the pcap input does (or, with --map, a classic pcap file mapped), meters
 * it and, with --encode, turns every batch into a compressed frame that is thrown away. CPU time is
 * the process's, user and system, from making the meter to the last frame: reading the file and the
 * first touch of all memory are in it. With --repeat the process keeps the file open, nothing else.
 */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "batch/frame.h"
#include "flow/meter.h"
#include "input/reader.h"
#include "wire/packet.h"

struct capture {
	struct reader *reader; /* NULL: mapped */
	const uint8_t *p;
	size_t n, at;
	bool nanoseconds;
	int linktype;
};

struct sink {
	struct frame_work *work;
	struct buf out;
	enum frame_codec codec;
	bool encode;
	uint64_t flows, batches, packets, raw, bytes, seconds;
};

static void
usage(void)
{
	fputs(
	    "usage: bench_meter [--app off|native|ndpi] [--encode zstd|zlib|none] [--flows N]\n"
	    "           [--active S] [--idle S] [--tcp-end S] [--burst N] [--no-l2] [--repeat N]\n"
	    "           [--decode-only] [--map] CAPTURE.pcap\n",
	    stderr);
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

static bool
capture_map(struct capture *c, const char *path)
{
	struct stat st;
	uint32_t head[6];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0 || st.st_size < 24)
		return false;
	c->n = (size_t)st.st_size;
	void *p = mmap(NULL, c->n, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return false;
	(void)madvise(p, c->n, MADV_SEQUENTIAL);
	memcpy(head, p, sizeof head);
	if (head[0] != 0xa1b2c3d4 && head[0] != 0xa1b23c4d)
		return false;
	c->p = p;
	c->nanoseconds = head[0] == 0xa1b23c4d;
	c->linktype = (int)(head[5] & 0xffff);
	c->at = 24;
	return true;
}

static void
capture_read(struct capture *c, const char *path)
{
	struct err err = {0};
	if (reader_open(path, -1, &c->reader, &err) != 0) {
		fprintf(stderr, "bench_meter: %s\n", err.text);
		exit(1);
	}
}

static unsigned
capture_burst(struct capture *c, struct flow_frame *f, unsigned max)
{
	unsigned n = 0;
	if (c->reader != NULL) {
		struct err err = {0};
		int got = reader_burst(c->reader, f, max, &c->linktype, &err);
		if (got < 0) {
			fprintf(stderr, "bench_meter: %s\n", err.text);
			exit(1);
		}
		return (unsigned)got;
	}
	while (n < max && c->n - c->at >= 16) {
		uint32_t h[4];
		memcpy(h, c->p + c->at, sizeof h);
		if (h[2] > c->n - c->at - 16)
			break;
		__builtin_prefetch(c->p + c->at + 2048);
		f[n].ts_us = (int64_t)h[0] * 1000000 + (c->nanoseconds ? h[1] / 1000 : h[1]);
		f[n].caplen = h[2];
		f[n].wirelen = h[3];
		f[n].data = c->p + c->at + 16;
		c->at += 16 + h[2];
		n++;
	}
	return n;
}

static void
take(void *arg, struct batch **bp)
{
	struct sink *s = arg;
	struct batch *b = *bp;
	const struct column *fwd = batch_get(b, F_packets), *rev = batch_get(b, F_rev_packets);
	for (uint32_t r = 0; r < b->n; r++)
		s->packets += ((const uint64_t *)fwd->data)[r] + ((const uint64_t *)rev->data)[r];
	s->flows += b->n;
	s->batches++;
	if (s->encode) {
		size_t raw = 0;
		buf_reset(&s->out);
		if (frame_encode(s->work, b, field_set_all(), s->codec, 0, &s->out, &raw) != 0) {
			fputs("bench_meter: a batch does not encode\n", stderr);
			exit(1);
		}
		s->raw += raw;
		s->bytes += s->out.n;
	}
	batch_unref(bp);
}

static void
second(void *arg, const struct stats_second *s)
{
	(void)s;
	((struct sink *)arg)->seconds++;
}

/* Peak of this program alone: getrusage remembers what ran in the process before it. */
static double
peak_mb(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	unsigned long kib = 0;
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "VmHWM: %lu kB", &kib) == 1)
			break;
	if (f != NULL)
		fclose(f);
	return (double)kib * 1024 / 1e6;
}

static void
report(const struct flow_meter *m, const struct sink *s, double cpu)
{
	const struct counters *c = flow_meter_counters(m);
	uint64_t memory, packets = counter_get(c, C_pkt_seen);
	uint32_t per_flow;
	flow_meter_memory(m, &memory, &per_flow);
	printf("%.2f Mpps/CPU-s  %.1f ns/packet  %" PRIu64 " packets  %" PRIu64 " flows",
	    (double)packets / cpu / 1e6, cpu * 1e9 / (double)packets, packets, s->flows);
	if (s->encode)
		printf("  %.1f octets/flow (raw %.1f)", (double)s->bytes / (double)s->flows,
		    (double)s->raw / (double)s->flows);
	printf("\n  %u octets/entry  %.0f MB reserved  %.1f MB resident with the file's pages",
	    per_flow, (double)memory / 1e6, peak_mb());
	printf("  resources %" PRIu64 "  late max %.3f s\n", counter_get(c, C_flow_ended_resources),
	    (double)counter_get(c, C_flow_late_us_max) / 1e6);
	if (s->packets != counter_get(c, C_pkt_metered) || counter_get(c, C_flow_lost_batch) != 0) {
		fputs("bench_meter: records and packets do not add up\n", stderr);
		exit(1);
	}
}

static void
run(const struct capture *from, const struct flow_meter_conf *conf, struct sink *s, unsigned burst)
{
	struct capture c = *from;
	struct err err = {0};
	struct flow_frame frames[FLOW_BURST];
	double began = cpu_seconds();
	struct flow_meter *m = flow_meter_new(conf, &err);
	if (m == NULL) {
		fprintf(stderr, "bench_meter: %s\n", err.text);
		exit(1);
	}
	unsigned n;
	while ((n = capture_burst(&c, frames, burst)) != 0)
		flow_meter_burst(m, c.linktype, frames, n, 0);
	flow_meter_flush(m, 0);
	report(m, s, cpu_seconds() - began);
	flow_meter_free(&m);
}

static void
decode_only(const struct capture *from)
{
	struct capture c = *from;
	struct flow_frame f[FLOW_BURST];
	struct wire_pkt pkt;
	uint64_t n_packets = 0, sum = 0;
	double began = cpu_seconds();
	unsigned n;
	while ((n = capture_burst(&c, f, FLOW_BURST)) != 0)
		for (unsigned k = 0; k < n; k++, n_packets++)
			if (wire_packet_decode(
				c.linktype, f[k].data, f[k].caplen, f[k].wirelen, &pkt) == WIRE_IP)
				sum += pkt.ip_len + pkt.sport;
	double cpu = cpu_seconds() - began;
	printf("decoding only: %.2f Mpps/CPU-s  %.1f ns/packet  (%" PRIu64 ")\n",
	    (double)n_packets / cpu / 1e6, cpu * 1e9 / (double)n_packets, sum);
}

enum {
	O_APP = 1,
	O_ENCODE,
	O_FLOWS,
	O_ACTIVE,
	O_IDLE,
	O_TCP_END,
	O_BURST,
	O_NO_L2,
	O_REPEAT,
	O_DECODE,
	O_MAP
};

static const struct option options[] = {
    {"app", required_argument, NULL, O_APP},
    {"encode", required_argument, NULL, O_ENCODE},
    {"flows", required_argument, NULL, O_FLOWS},
    {"active", required_argument, NULL, O_ACTIVE},
    {"idle", required_argument, NULL, O_IDLE},
    {"tcp-end", required_argument, NULL, O_TCP_END},
    {"burst", required_argument, NULL, O_BURST},
    {"no-l2", no_argument, NULL, O_NO_L2},
    {"repeat", required_argument, NULL, O_REPEAT},
    {"decode-only", no_argument, NULL, O_DECODE},
    {"map", no_argument, NULL, O_MAP},
    {NULL, 0, NULL, 0},
};

static uint64_t
number(const char *s, uint64_t max)
{
	char *end;
	unsigned long long v = strtoull(s, &end, 10);
	if (end == s || *end != '\0' || v > max)
		usage();
	return v;
}

static void
option_app(struct flow_meter_conf *conf, const char *s)
{
	conf->app_native = strcmp(s, "off") != 0;
	conf->app_ndpi = strcmp(s, "ndpi") == 0;
	if (conf->app_native && !conf->app_ndpi && strcmp(s, "native") != 0)
		usage();
}

int
main(int argc, char **argv)
{
	struct flow_meter_conf conf;
	struct sink sink = {.out = buf_init(0), .work = frame_work_new()};
	struct capture c = {0};
	unsigned burst = FLOW_BURST, repeat = 1;
	bool decode = false, map = false;
	int o, codec;
	flow_meter_conf_default(&conf);
	conf.app_native = false;
	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (o) {
		case O_APP:
			option_app(&conf, optarg);
			break;
		case O_ENCODE:
			codec = frame_codec_parse(strv_of(optarg));
			if (codec < 0)
				usage();
			sink.codec = (enum frame_codec)codec;
			sink.encode = true;
			break;
		case O_FLOWS:
			conf.max_flows = (uint32_t)number(optarg, 1u << 28);
			break;
		case O_ACTIVE:
			conf.active_us = number(optarg, 1 << 30) * 1000000;
			break;
		case O_IDLE:
			conf.idle_us = number(optarg, 1 << 30) * 1000000;
			break;
		case O_TCP_END:
			conf.tcp_end_us = number(optarg, 1 << 30) * 1000000;
			break;
		case O_BURST:
			burst = (unsigned)number(optarg, FLOW_BURST);
			break;
		case O_NO_L2:
			conf.l2 = false;
			break;
		case O_REPEAT:
			repeat = (unsigned)number(optarg, 1000);
			break;
		case O_DECODE:
			decode = true;
			break;
		case O_MAP:
			map = true;
			break;
		default:
			usage();
		}
	if (optind + 1 != argc || burst == 0 || sink.work == NULL)
		usage();
	if (map && !capture_map(&c, argv[optind])) {
		fprintf(stderr, "bench_meter: %s: not a classic pcap file of this byte order\n",
		    argv[optind]);
		return 1;
	}
	conf.interface = "bench";
	conf.push = take;
	conf.second = second;
	conf.arg = &sink;
	for (unsigned k = 0; k < repeat; k++) {
		if (!map)
			capture_read(&c, argv[optind]);
		sink.flows = sink.batches = sink.packets = sink.raw = sink.bytes = 0;
		if (decode)
			decode_only(&c);
		else
			run(&c, &conf, &sink, burst);
		if (!map)
			reader_close(&c.reader);
	}
	buf_fini(&sink.out);
	frame_work_free(&sink.work);
	if (map)
		(void)munmap((void *)(uintptr_t)c.p, c.n);
	return 0;
}
