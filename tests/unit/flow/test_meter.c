/* SPDX-License-Identifier: Apache-2.0
 * The meter, one rule at a time: what a record says, batches and their limits, seconds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flow/direction.h"
#include "meter_model.h"

enum { S = 1000000, KEEP = 16 };
#define T0 INT64_C(1700000000000000)

struct fix {
	struct flow_meter *m;
	struct flow_meter_conf conf;
	struct model_record record[20100];
	int64_t in_if[64]; /* of the first records */
	unsigned n, batches, waits;
	struct batch *kept[KEEP]; /* batches not given back */
	unsigned n_kept;
	bool keep;
	struct stats_second second[64];
	unsigned n_seconds;
	char interface[32], probe[32];
	unsigned n_icmp;  /* records of application icmp */
	char app[64][16]; /* of the first records; "" unknown */
};

static void
push(void *arg, struct batch **bp)
{
	struct fix *f = arg;
	struct batch *b = *bp;
	struct value v;
	assert_true(f->n + b->n <= sizeof f->record / sizeof f->record[0]);
	model_read(b, f->record + f->n);
	f->batches++;
	for (uint32_t r = 0; r < b->n; r++) {
		if (f->n + r < 64)
			f->in_if[f->n + r] = batch_value(b, F_in_if, r, &v) ? v.i : -1;
		bool has = batch_value(b, F_app, r, &v);
		f->n_icmp += has && strv_eq(v.text, STRV("icmp"));
		if (has && f->n + r < 64 && v.text.n < sizeof f->app[0])
			memcpy(f->app[f->n + r], v.text.p, v.text.n);
	}
	f->n += b->n;
	assert_int_equal(b->source, 9);
	f->interface[0] = f->probe[0] = '\0';
	if (batch_value(b, F_interface, b->n - 1, &v))
		memcpy(f->interface, v.text.p, v.text.n);
	if (batch_value(b, F_probe, b->n - 1, &v))
		memcpy(f->probe, v.text.p, v.text.n);
	if (f->keep && f->n_kept < KEEP) {
		f->kept[f->n_kept++] = b;
		*bp = NULL;
	} else {
		batch_unref(bp);
	}
}

static void
second(void *arg, const struct stats_second *s)
{
	struct fix *f = arg;
	if (f->n_seconds < 64)
		f->second[f->n_seconds] = *s;
	f->n_seconds++;
}

static void
give_back(struct fix *f)
{
	while (f->n_kept > 0)
		batch_unref(&f->kept[--f->n_kept]);
}

static bool
wait(void *arg)
{
	struct fix *f = arg;
	f->waits++;
	give_back(f);
	return true;
}

static int
setup(void **state)
{
	struct fix *f = calloc(1, sizeof *f);
	assert_non_null(f);
	flow_meter_conf_default(&f->conf);
	f->conf.app_native = f->conf.app_ndpi = false;
	f->conf.max_flows = 8192;
	f->conf.push = push;
	f->conf.second = second;
	f->conf.arg = f;
	f->conf.source = 9;
	f->conf.interface = "eth7";
	f->conf.probe = "p1";
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fix *f = *state;
	give_back(f);
	flow_meter_free(&f->m);
	free(f);
	return 0;
}

static void
begin(struct fix *f)
{
	struct err err;
	f->m = flow_meter_new(&f->conf, &err);
	assert_non_null(f->m);
}

static struct model_packet
tcp(int64_t at, int src, int dst, int sport, int dport, int flags)
{
	return (struct model_packet){.ts_us = T0 + at,
	    .proto = 6,
	    .src = (uint8_t)src,
	    .dst = (uint8_t)dst,
	    .sport = (uint16_t)sport,
	    .dport = (uint16_t)dport,
	    .tcp_flags = (uint16_t)flags,
	    .ip_len = 100,
	    .ttl = 60,
	    .vlan = -1,
	    .inner_vlan = -1};
}

static void
feed_at(struct fix *f, const struct model_packet *p, uint64_t mono_us)
{
	uint8_t buf[MODEL_FRAME];
	struct flow_frame frame = model_frame(p, buf);
	flow_meter_burst(f->m, 1, &frame, 1, mono_us);
}

static void
feed(struct fix *f, struct model_packet p)
{
	feed_at(f, &p, 0);
}

/* The same with a payload. */
static void
feed_data(struct fix *f, struct model_packet p, const char *data)
{
	uint8_t buf[MODEL_FRAME];
	struct flow_frame frame = model_frame(&p, buf);
	size_t n = strlen(data);
	assert_true(frame.caplen + n <= frame.wirelen && frame.wirelen <= sizeof buf);
	memcpy(buf + frame.caplen, data, n);
	frame.caplen += (uint32_t)n;
	flow_meter_burst(f->m, 1, &frame, 1, 0);
}

static uint64_t
count(const struct fix *f, enum counter c)
{
	return counter_get(flow_meter_counters(f->m), c);
}

static void
one_connection(void **state)
{
	struct fix *f = *state;
	begin(f);
	struct model_packet p = tcp(0, 1, 2, 40000, 80, TCP_syn);
	p.seq = 100;
	p.mac = 10;
	p.vlan = 5;
	p.inner_vlan = 6;
	feed(f, p);
	p = tcp(3000, 2, 1, 80, 40000, TCP_syn | TCP_ack);
	p.seq = 900;
	p.ack = 101;
	p.ttl = 55;
	p.mac = 20;
	feed(f, p);
	p = tcp(10000, 1, 2, 40000, 80, TCP_ack);
	p.ack = 901;
	p.ttl = 1; /* not the first */
	feed(f, p);
	flow_meter_flush(f->m, 0);
	assert_int_equal(f->n, 1);
	const struct model_record want = {.start = T0,
	    .end = T0 + 10000,
	    .packets = 2,
	    .bytes = 200,
	    .rev_packets = 1,
	    .rev_bytes = 100,
	    .tcp_flags = TCP_syn | TCP_ack,
	    .rev_tcp_flags = TCP_syn | TCP_ack,
	    .ttl = 60,
	    .rev_ttl = 55,
	    .vlan = 5,
	    .rev_vlan = -1,
	    .inner_vlan = 6,
	    .src_mac = 10,
	    .dst_mac = 11,
	    .icmp_type = -1,
	    .icmp_code = -1,
	    .rtt_client = 7000,
	    .rtt_server = 3000,
	    .direction_by = DIRECTION_BY_SYN,
	    .end_reason = END_FORCED,
	    .src = 1,
	    .dst = 2,
	    .sport = 40000,
	    .dport = 80,
	    .proto = 6};
	assert_memory_equal(&f->record[0], &want, sizeof want);
	assert_string_equal(f->interface, "eth7");
	assert_string_equal(f->probe, "p1");
}

static void
l2_can_be_left_out(void **state)
{
	struct fix *f = *state;
	f->conf.l2 = false;
	f->conf.probe = "";
	begin(f);
	struct model_packet p = tcp(0, 1, 2, 40000, 80, TCP_syn);
	p.vlan = 5;
	feed(f, p);
	flow_meter_flush(f->m, 0);
	assert_int_equal(f->record[0].vlan, -1);
	assert_int_equal(f->record[0].src_mac, -1);
	assert_int_equal(f->record[0].rev_ttl, -1);
	assert_int_equal(f->record[0].rtt_server, -1);
	assert_string_equal(f->probe, "");
}

struct direction_case {
	int proto, sport, dport, flags, type; /* type -1: no ICMP */
	bool sender;
	unsigned by;
};

static void
directions(void **state)
{
	(void)state;
	static const struct direction_case cases[] = {
	    {6, 80, 4000, TCP_syn, -1, true, DIRECTION_BY_SYN},
	    {6, 4000, 80, TCP_syn | TCP_ack, -1, false, DIRECTION_BY_SYN},
	    {6, 4000, 80, TCP_ack, -1, true, DIRECTION_BY_SERVICE},
	    {6, 80, 4000, TCP_ack, -1, false, DIRECTION_BY_SERVICE},
	    {6, 8080, 4000, TCP_ack, -1, false, DIRECTION_BY_SERVICE},
	    {6, 8080, 80, TCP_ack, -1, true, DIRECTION_BY_SERVICE},
	    {6, 80, 443, TCP_ack, -1, true, DIRECTION_BY_FIRST},
	    {6, 4000, 4001, TCP_ack, -1, true, DIRECTION_BY_FIRST},
	    {17, 67, 68, 0, -1, false, DIRECTION_BY_SERVICE},
	    {17, 53, 53, 0, -1, true, DIRECTION_BY_FIRST},
	    {17, 51820, 40000, 0, -1, false, DIRECTION_BY_SERVICE},
	    {17, 0, 40000, 0, -1, true, DIRECTION_BY_FIRST},
	    {1, 0, 0, 0, 8, true, DIRECTION_BY_SERVICE},
	    {1, 0, 0, 0, 0, false, DIRECTION_BY_SERVICE},
	    {1, 0, 0, 0, 3, true, DIRECTION_BY_FIRST},
	    {58, 0, 0, 0, 128, true, DIRECTION_BY_SERVICE},
	    {58, 0, 0, 0, 129, false, DIRECTION_BY_SERVICE},
	    {47, 0, 0, 0, -1, true, DIRECTION_BY_FIRST},
	};
	for (unsigned k = 0; k < sizeof cases / sizeof cases[0]; k++) {
		const struct direction_case *c = &cases[k];
		struct wire_pkt p = {.proto = (uint8_t)c->proto,
		    .sport = (uint16_t)c->sport,
		    .dport = (uint16_t)c->dport,
		    .tcp_flags = (uint16_t)c->flags};
		unsigned by = 0;
		p.flags = c->type >= 0 ? WIRE_HAS_ICMP : c->proto == 47 ? 0 : WIRE_HAS_PORTS;
		p.flags |= c->proto == 6 ? WIRE_HAS_TCP : 0;
		p.icmp_type = (uint8_t)c->type;
		assert_int_equal(flow_direction(&p, &by), c->sender);
		assert_int_equal(by, c->by);
	}
	unsigned n = 0;
	for (unsigned port = 1024; port < 65536; port++)
		n += flow_port_is_service((uint16_t)port);
	assert_int_equal(n, 85); /* the table is in order: each one is found */
}

/* A long flow in pieces keeps its orientation although a later piece begins with the server. */
static void
pieces_keep_their_orientation(void **state)
{
	struct fix *f = *state;
	f->conf.active_us = 10 * S;
	begin(f);
	for (int k = 0; k < 40; k++)
		feed(f, k % 20 == 0 && k > 0
			    ? tcp(k * S, 2, 1, 40001, 40000, TCP_ack)
			    : tcp(k * S, 1, 2, 40000, 40001, k == 0 ? TCP_syn : TCP_ack));
	flow_meter_flush(f->m, 0);
	assert_int_equal(f->n, 4);
	for (int k = 0; k < 4; k++) {
		assert_int_equal(f->record[k].src, 1);
		assert_int_equal(f->record[k].direction_by, DIRECTION_BY_SYN);
		assert_int_equal(f->record[k].packets + f->record[k].rev_packets, 10);
		assert_int_equal(f->record[k].start, T0 + k * 10 * S);
		assert_int_equal(f->record[k].end_reason, k < 3 ? END_ACTIVE : END_FORCED);
	}
	assert_int_equal(f->record[2].rev_packets, 1);
	assert_int_equal(f->record[2].tcp_flags, TCP_ack);
}

/* After the active timeout and then silence there is nothing left to report. */
static void
silent_piece_is_not_a_record(void **state)
{
	struct fix *f = *state;
	f->conf.active_us = 5 * S;
	begin(f);
	feed(f, tcp(0, 1, 2, 40000, 80, TCP_syn));
	feed(f, tcp(4 * S, 1, 2, 40000, 80, TCP_ack));
	flow_meter_tick(f->m, T0 + 6 * S, 0);
	assert_int_equal(count(f, C_flow_active), 0);
	flow_meter_tick(f->m, T0 + 60 * S, 0);
	flow_meter_flush(f->m, 0);
	assert_int_equal(f->n, 1);
	assert_int_equal(f->record[0].end_reason, END_ACTIVE);
	assert_int_equal(count(f, C_flow_opened), 1);
}

static void
ticks_export_live(void **state)
{
	struct fix *f = *state;
	begin(f);
	feed(f, tcp(0, 1, 2, 40000, 80, TCP_rst));
	feed(f, tcp(0, 1, 3, 40000, 80, TCP_ack));
	flow_meter_tick(f->m, T0 + 2 * S + 140000, 0);
	assert_int_equal(count(f, C_flow_ended_finished), 1);
	flow_meter_tick(f->m, T0 + 14 * S, 0);
	assert_int_equal(count(f, C_flow_ended_idle), 0);
	flow_meter_tick(f->m, T0 + 15 * S + 140000, 0);
	assert_int_equal(count(f, C_flow_ended_idle), 1);
	assert_in_range(count(f, C_flow_late_us_max), 1, 140000);
	assert_int_equal(f->n, 0); /* the batch waits for its delay */
	flow_meter_tick(f->m, T0 + 15 * S + 140000, 199999);
	assert_int_equal(f->n, 0);
	flow_meter_tick(f->m, T0 + 15 * S + 140000, 200000);
	assert_int_equal(f->n, 2);
}

static void
new_timeouts_reach_old_flows(void **state)
{
	struct fix *f = *state;
	f->conf.idle_us = f->conf.active_us = 0;
	begin(f);
	feed(f, tcp(0, 1, 2, 40000, 80, TCP_ack));
	flow_meter_tick(f->m, T0 + 1000 * (int64_t)S, 0);
	assert_int_equal(count(f, C_flow_ended), 0);
	flow_meter_timeouts(f->m, 0, 1500 * (uint64_t)S, 0);
	flow_meter_tick(f->m, T0 + 1499 * (int64_t)S, 0);
	assert_int_equal(count(f, C_flow_ended), 0);
	flow_meter_tick(f->m, T0 + 1501 * (int64_t)S, 0);
	assert_int_equal(count(f, C_flow_ended_idle), 1);
}

static void
syn_after_the_end_is_a_new_flow(void **state)
{
	struct fix *f = *state;
	begin(f);
	for (int k = 0; k < 3; k++) {
		feed(f, tcp(k * 1000, 1, 2, 40000, 80, TCP_syn));
		feed(f, tcp(k * 1000 + 10, 2, 1, 80, 40000, TCP_rst | TCP_ack));
	}
	flow_meter_flush(f->m, 0);
	assert_int_equal(f->n, 3);
	assert_int_equal(f->record[0].end_reason, END_FINISHED);
	assert_int_equal(f->record[2].rev_packets, 1);
}

static void
without_batches_records_are_lost(void **state)
{
	struct fix *f = *state;
	f->conf.max_batches = 1;
	f->keep = true;
	begin(f);
	for (int k = 0; k < BATCH_ROWS + 100; k++)
		feed(f, tcp(k, 1 + k % 3, 9, 1024 + k / 3, 80, TCP_syn));
	flow_meter_flush(f->m, 0);
	assert_int_equal(f->n, BATCH_ROWS);
	assert_int_equal(count(f, C_flow_lost_batch), 100);
	assert_int_equal(count(f, C_flow_ended), BATCH_ROWS + 100);
	assert_int_equal(count(f, C_flow_out), BATCH_ROWS);
}

static void
file_inputs_wait_for_batches(void **state)
{
	struct fix *f = *state;
	f->conf.max_batches = 1;
	f->conf.wait = wait;
	f->keep = true;
	begin(f);
	for (int k = 0; k < BATCH_ROWS + 100; k++)
		feed(f, tcp(k, 1 + k % 3, 9, 1024 + k / 3, 80, TCP_syn));
	flow_meter_flush(f->m, 0);
	assert_int_equal(f->n, BATCH_ROWS + 100);
	assert_int_equal(f->batches, 2);
	assert_int_equal(f->waits, 1);
	assert_int_equal(count(f, C_flow_lost_batch), 0);
}

static void
batches_are_not_late(void **state)
{
	struct fix *f = *state;
	begin(f);
	struct model_packet rst = tcp(0, 1, 2, 40000, 80, TCP_rst),
			    syn = tcp(1, 1, 2, 40000, 80, TCP_syn);
	feed_at(f, &rst, 1000000);
	feed_at(f, &syn, 1000000); /* ends the first */
	feed_at(f, &syn, 1199999);
	assert_int_equal(f->batches, 0);
	feed_at(f, &syn, 1200000);
	assert_int_equal(f->batches, 1);
}

static void
seconds_are_complete(void **state)
{
	struct fix *f = *state;
	begin(f);
	struct model_packet arp = tcp(300000, 1, 2, 1, 1, 0);
	arp.kind = MODEL_NON_IP;
	feed(f, tcp(0, 1, 2, 40000, 80, TCP_syn));
	feed(f, arp);
	feed(f, tcp(999999, 1, 3, 40000, 80, TCP_rst));
	assert_int_equal(f->n_seconds, 0);
	flow_meter_drops(f->m, 7, 2);
	feed(f, tcp(3 * S + 500000, 1, 2, 40000, 80, TCP_ack));
	assert_int_equal(f->n_seconds, 3);
	const struct stats_second *s = f->second;
	assert_int_equal(s[0].second, T0 / S);
	assert_string_equal(s[0].interface, "eth7");
	assert_int_equal(s[0].packets, 3);
	assert_int_equal(s[0].bytes, 3 * 114);
	assert_int_equal(s[0].non_ip, 1);
	assert_int_equal(s[0].flows_new, 2);
	assert_int_equal(s[0].flows_active, 2);
	assert_int_equal(s[0].flows_ended, 0);
	assert_int_equal(s[0].drops_kernel, 7);
	assert_int_equal(s[0].drops_if, 2);
	assert_int_equal(s[0].late_us, 2500000);
	assert_int_equal(s[2].second, T0 / S + 2);
	assert_int_equal(s[2].packets, 0);
	assert_int_equal(s[2].drops_kernel, 0);
	flow_meter_flush(f->m, 0);
	assert_int_equal(f->n_seconds, 4);
	assert_int_equal(s[3].flows_ended, 2);
	assert_int_equal(s[3].flows_active, 0);
}

static void
gaps_are_bounded(void **state)
{
	struct fix *f = *state;
	begin(f);
	feed(f, tcp(0, 1, 2, 40000, 80, TCP_ack));
	feed(f, tcp(INT64_C(86400) * S, 1, 2, 40000, 80, TCP_ack));
	assert_int_equal(f->n_seconds, 11);
	assert_int_equal(f->second[10].second, T0 / S + 10);
	flow_meter_flush(f->m, 0);
	assert_int_equal(f->n_seconds, 12);
	assert_int_equal(f->second[11].second, T0 / S + 86400);
	assert_int_equal(f->second[11].packets, 1);
	assert_int_equal(f->second[11].flows_ended, 2);
}

/* One packet from the past changes nothing; a clock set back is followed after 64 packets. */
static void
clock_steps_are_followed(void **state)
{
	struct fix *f = *state;
	int64_t hour = INT64_C(3600) * S;
	begin(f);
	feed(f, tcp(hour, 1, 2, 40000, 80, TCP_ack));
	feed(f, tcp(0, 1, 3, 40000, 80, TCP_ack));
	feed(f, tcp(hour + 1, 1, 2, 40000, 80, TCP_ack));
	assert_int_equal(count(f, C_pkt_time_back), 1);
	for (int k = 0; k < 64; k++)
		feed(f, tcp(k, 1, 2, 40000, 80, TCP_ack));
	assert_int_equal(count(f, C_pkt_time_back), 65);
	assert_int_equal(count(f, C_flow_ended), 0);
	feed(f, tcp(16 * S, 1, 4, 40000, 80, TCP_ack)); /* the flows above are silent for 16 s */
	assert_int_equal(count(f, C_pkt_time_back), 65);
	assert_int_equal(count(f, C_flow_ended_idle), 2);
	flow_meter_flush(f->m, 0);
	assert_int_equal(f->n, 3);
	for (unsigned k = 0; k < f->n; k++)
		if (f->record[k].dst == 2) {
			assert_int_equal(f->record[k].start, T0);
			assert_int_equal(f->record[k].end, T0 + hour + 1);
			assert_int_equal(f->record[k].packets, 66);
		}
	assert_int_equal(f->second[f->n_seconds - 1].second, T0 / S + 16);
}

/* Every piece of a long flow has its application, and the seconds add up its octets. */
static void
pieces_keep_their_application(void **state)
{
	struct fix *f = *state;
	f->conf.app_native = true;
	f->conf.active_us = 2 * S;
	begin(f);
	for (int k = 0; k < 8; k++) {
		struct model_packet p = tcp(k * S, 1, 2, 0, 0, 0);
		p.proto = 1;
		p.icmp_type = 8;
		feed(f, p);
	}
	flow_meter_flush(f->m, 0);
	assert_int_equal(f->n, 4);
	assert_int_equal(f->n_icmp, 4);
	assert_int_equal(count(f, C_app_native), 1);
	uint64_t bytes = 0, flows = 0;
	for (unsigned k = 0; k < f->n_seconds; k++)
		if (f->second[k].n_apps != 0) {
			assert_string_equal(f->second[k].apps[0].name, "icmp");
			bytes += f->second[k].apps[0].bytes;
			flows += f->second[k].apps[0].flows;
		}
	assert_int_equal(bytes, 800);
	assert_int_equal(flows, 4);
}

/* A connection that says nothing for longer than an active timeout is known when it speaks. */
static void
pieces_are_still_looked_at(void **state)
{
	struct fix *f = *state;
	f->conf.app_native = true;
	f->conf.active_us = 2 * S;
	begin(f);
	feed(f, tcp(0, 1, 2, 40000, 4444, TCP_syn));
	feed(f, tcp(1, 2, 1, 4444, 40000, TCP_syn | TCP_ack));
	for (int k = 1; k < 5; k++)
		feed(f, tcp(k * S, 1, 2, 40000, 4444, TCP_ack));
	feed_data(f, tcp(5 * S, 1, 2, 40000, 4444, TCP_ack), "SSH-2.0-one\r\n");
	feed_data(f, tcp(5 * S, 2, 1, 4444, 40000, TCP_ack), "SSH-2.0-two\r\n");
	feed(f, tcp(6 * S, 1, 2, 40000, 4444, TCP_ack));
	/* and one that never does */
	feed(f, tcp(6 * S, 3, 4, 40000, 4444, TCP_ack));
	feed(f, tcp(9 * S, 3, 4, 40000, 4444, TCP_ack));
	flow_meter_flush(f->m, 0);
	unsigned ssh = 0, none = 0;
	for (unsigned k = 0; k < f->n; k++) {
		ssh += strcmp(f->app[k], "ssh") == 0;
		none += f->app[k][0] == '\0';
		assert_true(f->app[k][0] == '\0' || f->record[k].start >= T0 + 4 * S);
	}
	assert_int_equal(ssh, 2); /* the pieces from 4 s and from 6 s on */
	assert_int_equal(none, 4);
	assert_int_equal(count(f, C_app_native), 1);
	assert_int_equal(count(f, C_app_unknown), 1);
}

/* A packet in the cooked form that names its interface. */
static void
feed_cooked(struct fix *f, struct model_packet p, uint8_t in_if)
{
	uint8_t buf[MODEL_FRAME], cooked[MODEL_FRAME + 20] = {8, 0, 0, 0, 0, 0, 0, in_if};
	struct flow_frame frame = model_frame(&p, buf);
	memcpy(cooked + 20, frame.data + 14, frame.caplen - 14);
	frame.data = cooked;
	frame.caplen += 6;
	frame.wirelen += 6;
	flow_meter_burst(f->m, 276, &frame, 1, 0);
}

/* Of all interfaces, the one where the initiator's first packet of the record was seen. */
static void
packets_name_their_interface(void **state)
{
	struct fix *f = *state;
	begin(f);
	feed_cooked(
	    f, tcp(0, 1, 2, 40000, 50000, TCP_ack), 3); /* the responder, as is seen later */
	feed_cooked(f, tcp(1, 2, 1, 50000, 40000, TCP_syn), 5);
	feed_cooked(f, tcp(2, 2, 1, 50000, 40000, TCP_ack), 6);
	feed_cooked(f, tcp(3, 3, 1, 9, 50000, TCP_syn | TCP_ack), 4); /* of this one only answers */
	flow_meter_flush(f->m, 0);
	assert_int_equal(f->n, 2);
	assert_int_equal(f->in_if[f->record[0].src == 2 ? 0 : 1], 5);
	assert_int_equal(f->in_if[f->record[0].src == 2 ? 1 : 0], 4);
}

/* An interface that was made again has another index; flows seen before keep the one they had. */
static void
interface_made_again(void **state)
{
	struct fix *f = *state;
	f->conf.in_if = 7;
	begin(f);
	feed(f, tcp(0, 1, 2, 40000, 80, TCP_syn));
	flow_meter_interface(f->m, 8);
	feed(f, tcp(1, 1, 2, 40000, 80, TCP_ack));
	feed(f, tcp(2, 1, 2, 40001, 80, TCP_syn));
	flow_meter_flush(f->m, 0);
	assert_int_equal(f->n, 2);
	assert_int_equal(f->in_if[0] + f->in_if[1], 15);
	assert_int_equal(f->in_if[f->record[0].sport == 40000 ? 0 : 1], 7);
}

static void
absurd_times_do_no_harm(void **state)
{
	struct fix *f = *state;
	static const int64_t times[] = {INT64_MAX, INT64_MIN, 0, -1, INT64_MAX - 1, T0};
	f->conf.active_us = f->conf.idle_us = f->conf.tcp_end_us = UINT64_MAX;
	begin(f);
	for (int k = 0; k < 6000; k++) {
		struct model_packet p =
		    tcp(0, 1 + k % 5, 9, 40000, 80, k % 7 == 0 ? TCP_rst : TCP_ack);
		p.ts_us = times[k / 70 % 6];
		feed(f, p);
	}
	flow_meter_flush(f->m, 0);
	uint64_t packets = 0;
	for (unsigned k = 0; k < f->n; k++)
		packets += (uint64_t)(f->record[k].packets + f->record[k].rev_packets);
	assert_int_equal(packets, 6000);
}

static void
full_pool_keeps_the_busy(void **state)
{
	struct fix *f = *state;
	f->conf.max_flows = 64;
	begin(f);
	for (int k = 0; k < 20000; k++) {
		feed(f, tcp(k * 100, 1, 2, 40000, 80, k == 0 ? TCP_syn : TCP_ack)); /* busy */
		feed(f, tcp(k * 100 + 50, 3, 4, 1 + k, 81, TCP_syn));		    /* a scan */
	}
	uint64_t early = count(f, C_flow_ended_resources);
	flow_meter_flush(f->m, 0);
	assert_int_equal(early, f->n - 64);
	unsigned busy = 0;
	for (unsigned k = 0; k < f->n; k++)
		busy += f->record[k].dport == 80;
	assert_int_equal(busy, 1);
	assert_int_equal(count(f, C_pkt_no_flow), 0);
	assert_int_equal(count(f, C_pkt_metered), 40000);
}

static void
limits_are_checked(void **state)
{
	struct fix *f = *state;
	struct err err = {0};
	uint64_t total;
	uint32_t each;
	f->conf.max_flows = 0;
	assert_null(flow_meter_new(&f->conf, &err));
	assert_int_equal(err.code, E_RANGE);
	f->conf.max_flows = 1 << 18;
	begin(f);
	flow_meter_memory(f->m, &total, &each);
	assert_in_range(each, 200, 300);
	assert_in_range(total, (uint64_t)each << 17, (uint64_t)each << 19);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(one_connection),
	    TEST(l2_can_be_left_out),
	    TEST(directions),
	    TEST(pieces_keep_their_orientation),
	    TEST(silent_piece_is_not_a_record),
	    TEST(ticks_export_live),
	    TEST(new_timeouts_reach_old_flows),
	    TEST(syn_after_the_end_is_a_new_flow),
	    TEST(without_batches_records_are_lost),
	    TEST(file_inputs_wait_for_batches),
	    TEST(batches_are_not_late),
	    TEST(seconds_are_complete),
	    TEST(gaps_are_bounded),
	    TEST(clock_steps_are_followed),
	    TEST(pieces_keep_their_application),
	    TEST(pieces_are_still_looked_at),
	    TEST(packets_name_their_interface),
	    TEST(interface_made_again),
	    TEST(absurd_times_do_no_harm),
	    TEST(full_pool_keeps_the_busy),
	    TEST(limits_are_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
