/* SPDX-License-Identifier: Apache-2.0
 * fuzz/fuzz_app.c - application detection over hostile payloads of both directions.
 *
 * First byte: bit 0 UDP, bit 1 the native decoders only, bits 2-7 choose the server's port. Then
 * packets: one byte (bit 0 from the server, bit 1 a gap before it, bit 2 a retransmission, bit 3
 * truncated), two bytes length, payload. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "flow/app_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINKTYPE_RAW = 101 };

static struct app_engine *engines[2];
static struct batch_pool *pool;
static struct counters counters;

static void
start(void)
{
	struct err err = {0};
	for (int i = 0; i < 2; i++) {
		/* a small pool, so that it is full at times */
		struct app_conf conf = {.native = true, .ndpi = i == 1 && app_ndpi_available(),
		    .max_texts = 1, .ndpi_flows = 1, .ndpi_packets = 8};
		engines[i] = app_engine_new(&conf, &err);
		if (engines[i] == NULL) {
			fprintf(stderr, "%s\n", err.text);
			abort();
		}
	}
	pool = batch_pool_new(1);
}

static void
put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* An IPv4 packet around the payload, in an allocation of its exact size. */
static uint8_t *
packet(bool udp, bool reverse, uint16_t port, uint32_t seq, const uint8_t *p, size_t n, size_t *len)
{
	size_t l4 = udp ? 8 : 20;
	*len = 20 + l4 + n;
	uint8_t *q = calloc(1, *len);
	if (q == NULL)
		abort();
	q[0] = 0x45;
	put16(q + 2, (unsigned)*len);
	q[8] = 64;
	q[9] = udp ? 17 : 6;
	q[12] = q[16] = 10;
	q[reverse ? 19 : 15] = 1;
	put16(q + 20, reverse ? port : 40000);
	put16(q + 22, reverse ? 40000 : port);
	if (udp) {
		put16(q + 24, (unsigned)(8 + n));
	} else {
		put16(q + 24, seq >> 16);
		put16(q + 26, seq & 0xffff);
		q[32] = 0x50;
		q[33] = 0x18;
	}
	memcpy(q + 20 + l4, p, n);
	return q;
}

static void
check(const struct app_engine *e, struct app_state *st, uint8_t proto, uint16_t port)
{
	struct app_engine *engine = engines[e == engines[1]];
	struct batch *b = batch_pool_get(pool);
	app_finish(engine, st, proto, 40000, port, &counters);
	assert_always(st->progress == APP_DONE);
	app_write(engine, st, b, 0);
	b->n = 1;
	struct value v;
	assert_always(!batch_value(b, F_app, 0, &v) || (v.text.n > 0 && v.text.n < APP_NAME_LEN));
	app_release(engine, st);
	assert_always(e->texts.n_chains == 0);
	assert_always(e->texts.n_free == e->texts.fresh);
	batch_unref(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t ports[] = {443, 80, 53, 22, 5353, 123, 67, 1900, 25, 993, 8080, 5060};
	if (pool == NULL)
		start();
	if (size < 1)
		return 0;
	bool udp = (data[0] & 1) != 0;
	struct app_engine *e = engines[(data[0] & 2) == 0];
	uint16_t port = ports[(data[0] >> 2) % (sizeof(ports) / sizeof(ports[0]))];
	struct app_state st = {0};
	uint32_t seq[2] = {0xfffffff0, 1};
	for (size_t at = 1; size - at >= 3;) {
		uint8_t ctl = data[at];
		bool reverse = (ctl & 1) != 0;
		size_t n = ((size_t)data[at + 1] << 8 | data[at + 2]) % 1461, len;
		at += 3;
		n = n < size - at ? n : size - at;
		seq[reverse] += (ctl & 2) != 0 ? 3 : 0;
		seq[reverse] -= (ctl & 4) != 0 ? 5 : 0;
		uint8_t *p = packet(udp, reverse, port, seq[reverse], data + at, n, &len);
		struct wire_pkt pkt;
		if (wire_packet_decode(LINKTYPE_RAW, p, (uint32_t)len,
		    (uint32_t)len + ((ctl & 8) != 0), &pkt) == WIRE_IP)
			app_look(e, &st, &pkt, reverse, 1000000 + (int64_t)at, &counters);
		free(p);
		seq[reverse] += (uint32_t)n;
		at += n;
	}
	check(e, &st, udp ? 17 : 6, port);
	return 0;
}
