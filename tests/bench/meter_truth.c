/* SPDX-License-Identifier: Apache-2.0
 * meter_truth - the meter's records against the flow list of gen_traffic, to the packet and octet.
 *
 *     meter_truth CAPTURE.pcap FLOWS.csv [burst]
 *
 * All timeouts are off, so a record is a connection. The client of the list must be the initiator
 * of every record, and first and last time, TCP flags and counts of both directions must agree. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "flow/meter.h"

struct truth {
	struct addr client, server;
	uint16_t cport, sport, flags, rev_flags;
	uint8_t proto;
	bool seen;
	uint64_t packets, bytes, rev_packets, rev_bytes;
	int64_t start, end;
};

struct table {
	struct truth *row;
	uint32_t *index; /* by hash of the key; UINT32_MAX free */
	uint32_t n, mask;
	unsigned wrong, unknown;
};

static _Noreturn void
stop(const char *what)
{
	fprintf(stderr, "meter_truth: %s\n", what);
	exit(1);
}

static uint32_t
place(const struct table *t, const struct truth *k)
{
	uint8_t key[37];
	memcpy(key, &k->client, 16);
	memcpy(key + 16, &k->server, 16);
	memcpy(key + 32, &k->cport, 2);
	memcpy(key + 34, &k->sport, 2);
	key[36] = k->proto;
	uint32_t at = (uint32_t)hash_bytes((struct hash_key){1, 2}, key, sizeof key) & t->mask;
	for (; t->index[at] != UINT32_MAX; at = (at + 1) & t->mask) {
		const struct truth *r = &t->row[t->index[at]];
		if (memcmp(&r->client, &k->client, 16) == 0 && r->cport == k->cport &&
		    memcmp(&r->server, &k->server, 16) == 0 && r->sport == k->sport &&
		    r->proto == k->proto)
			break;
	}
	return at;
}

static void
list_read(struct table *t, const char *path)
{
	char line[512], client[64], server[64];
	FILE *f = fopen(path, "r");
	size_t room = 1 << 22;
	t->row = calloc(room, sizeof *t->row);
	t->index = malloc(room * 2 * sizeof *t->index);
	t->mask = (uint32_t)(room * 2 - 1);
	if (f == NULL || t->row == NULL || t->index == NULL || fgets(line, sizeof line, f) == NULL)
		stop("the flow list cannot be read");
	memset(t->index, 0xff, room * 2 * sizeof *t->index);
	while (fgets(line, sizeof line, f) != NULL) {
		struct truth *r = &t->row[t->n];
		if (t->n + 1 == room ||
		    sscanf(line,
			"%*u,%" SCNu8 ",%63[^,],%" SCNu16 ",%63[^,],%" SCNu16 ",%" SCNu64
			",%" SCNu64 ",%" SCNu64 ",%" SCNu64 ",%" SCNd64 ",%" SCNd64 ",%" SCNu16
			",%" SCNu16,
			&r->proto, client, &r->cport, server, &r->sport, &r->packets, &r->bytes,
			&r->rev_packets, &r->rev_bytes, &r->start, &r->end, &r->flags,
			&r->rev_flags) != 13 ||
		    addr_parse(strv_of(client), &r->client) != 0 ||
		    addr_parse(strv_of(server), &r->server) != 0)
			stop("a line of the flow list is not understood");
		r->start /= 1000;
		r->end /= 1000;
		uint32_t at = place(t, r);
		if (t->index[at] != UINT32_MAX)
			stop("a flow is twice in the list");
		t->index[at] = t->n++;
	}
	fclose(f);
}

#define COL(type, f) (((const type *)batch_get(b, f)->data)[r])

static void
take(void *arg, struct batch **bp)
{
	struct table *t = arg;
	const struct batch *b = *bp;
	for (uint32_t r = 0; r < b->n; r++) {
		struct truth k = {.client = COL(struct addr, F_src_addr),
		    .server = COL(struct addr, F_dst_addr),
		    .cport = COL(uint16_t, F_src_port),
		    .sport = COL(uint16_t, F_dst_port),
		    .proto = COL(uint8_t, F_proto)};
		uint32_t at = t->index[place(t, &k)];
		if (at == UINT32_MAX) {
			t->unknown++;
			continue;
		}
		struct truth *w = &t->row[at];
		t->wrong += w->seen || COL(uint64_t, F_packets) != w->packets ||
			    COL(uint64_t, F_bytes) != w->bytes ||
			    COL(uint64_t, F_rev_packets) != w->rev_packets ||
			    COL(uint64_t, F_rev_bytes) != w->rev_bytes ||
			    COL(int64_t, F_start) != w->start || COL(int64_t, F_end) != w->end ||
			    COL(uint16_t, F_tcp_flags) != w->flags ||
			    COL(uint16_t, F_rev_tcp_flags) != w->rev_flags;
		w->seen = true;
	}
	batch_unref(bp);
}

/* Read a classic pcap of this byte order frame by frame. */
static void
meter_file(struct flow_meter *m, const char *path, unsigned burst)
{
	static uint8_t bytes[FLOW_BURST][65536];
	struct flow_frame f[FLOW_BURST];
	uint32_t head[6], h[4];
	unsigned n = 0;
	FILE *in = fopen(path, "rb");
	if (in == NULL || fread(head, sizeof head, 1, in) != 1 ||
	    (head[0] != 0xa1b2c3d4 && head[0] != 0xa1b23c4d))
		stop("the capture cannot be read");
	while (fread(h, sizeof h, 1, in) == 1) {
		if (h[2] > sizeof bytes[0] || fread(bytes[n], 1, h[2], in) != h[2])
			stop("the capture ends in a packet");
		int64_t us = head[0] == 0xa1b2c3d4 ? h[1] : h[1] / 1000;
		f[n] = (struct flow_frame){bytes[n], h[2], h[3], (int64_t)h[0] * 1000000 + us};
		if (++n == burst) {
			flow_meter_burst(m, (int)(head[5] & 0xffff), f, n, 0);
			n = 0;
		}
	}
	flow_meter_burst(m, (int)(head[5] & 0xffff), f, n, 0);
	flow_meter_flush(m, 0);
	fclose(in);
}

int
main(int argc, char **argv)
{
	struct table t = {0};
	struct flow_meter_conf conf;
	struct err err = {0};
	unsigned burst = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : FLOW_BURST;
	if (argc < 3 || burst == 0 || burst > FLOW_BURST)
		stop("usage: meter_truth CAPTURE.pcap FLOWS.csv [burst 1-32]");
	list_read(&t, argv[2]);
	flow_meter_conf_default(&conf);
	conf.active_us = conf.idle_us = conf.tcp_end_us = 0;
	conf.app_native = false;
	conf.max_flows = t.n + 1;
	conf.push = take;
	conf.arg = &t;
	struct flow_meter *m = flow_meter_new(&conf, &err);
	if (m == NULL)
		stop(err.text);
	meter_file(m, argv[1], burst);
	uint64_t records = counter_get(flow_meter_counters(m), C_flow_ended);
	printf("%u flows in the list, %" PRIu64 " records, %u differ, %u unknown\n", t.n, records,
	    t.wrong, t.unknown);
	flow_meter_free(&m);
	free(t.row);
	free(t.index);
	return t.n == 0 || records != t.n || t.wrong != 0 || t.unknown != 0;
}
