/* SPDX-License-Identifier: Apache-2.0
 * The meter against a naive model of its rules, on random packets: few hosts and ports, any flags,
 * times that jump, stand still and go back, any timeouts, any burst size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "meter_model.h"

enum { PACKETS = 3000, ROUNDS = 60 };

struct rng {
	uint64_t s;
};

static uint32_t
rnd(struct rng *r, uint32_t below)
{
	r->s += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t z = (r->s ^ (r->s >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)(((z ^ (z >> 31)) >> 32) * below >> 32);
}

static bool
one_in(struct rng *r, uint32_t n)
{
	return rnd(r, n) == 0;
}

struct plan {
	struct model_packet packet[PACKETS];
	uint8_t bytes[PACKETS][MODEL_FRAME];
	struct flow_frame frame[PACKETS];
	struct flow_meter_conf conf;
};

struct got {
	struct model_record record[MODEL_RECORDS];
	unsigned n;
	uint64_t seconds, second_packets, second_new, second_ended;
	int64_t last_second;
};

static unsigned
some_tcp_flags(struct rng *r)
{
	static const uint16_t usual[] = {TCP_syn, TCP_syn, TCP_syn | TCP_ack, TCP_ack, TCP_ack,
	    TCP_ack | TCP_psh, TCP_ack | TCP_fin, TCP_ack | TCP_fin, TCP_rst, TCP_rst | TCP_ack};
	return one_in(r, 20) ? rnd(r, 512) : usual[rnd(r, sizeof usual / sizeof usual[0])];
}

static struct model_packet
some_packet(struct rng *r, int64_t ts_us, unsigned hosts)
{
	static const uint8_t protos[] = {6, 6, 6, 6, 17, 17, 1, 47};
	static const uint16_t ports[] = {80, 443, 53, 68, 8080, 3306, 1023, 1024, 40000, 40001, 0};
	static const uint8_t icmp[] = {0, 8, 3, 128, 129, 1};
	struct model_packet p = {.ts_us = ts_us, .vlan = -1, .inner_vlan = -1};
	p.kind = one_in(r, 40) ? MODEL_NON_IP : one_in(r, 60) ? MODEL_MALFORMED : MODEL_IP;
	p.v6 = p.kind == MODEL_IP && one_in(r, 3);
	p.proto = protos[rnd(r, sizeof protos)];
	if (p.v6 && p.proto == 1)
		p.proto = 58;
	p.src = (uint8_t)(1 + rnd(r, hosts));
	p.dst = (uint8_t)(1 + rnd(r, hosts));
	p.sport = ports[rnd(r, sizeof ports / sizeof ports[0])];
	p.dport = ports[rnd(r, sizeof ports / sizeof ports[0])];
	p.tcp_flags = (uint16_t)some_tcp_flags(r);
	p.seq = rnd(r, 4);
	p.ack = rnd(r, 6);
	p.ip_len = (uint16_t)(60 + rnd(r, 1400));
	p.tos = (uint8_t)rnd(r, 256);
	p.ttl = (uint8_t)rnd(r, 256);
	p.mac = (uint8_t)rnd(r, 100);
	p.icmp_type = icmp[rnd(r, sizeof icmp)];
	p.icmp_code = (uint8_t)rnd(r, 3);
	if (one_in(r, 4))
		p.vlan = (int)rnd(r, 3);
	if (p.vlan >= 0 && one_in(r, 4))
		p.inner_vlan = (int)rnd(r, 4);
	if (!p.v6 && one_in(r, 10))
		p.fragment = one_in(r, 2) ? MODEL_FIRST : MODEL_LATER;
	return p;
}

static uint64_t
some_timeout(struct rng *r)
{
	static const uint64_t us[] = {0, 1, 1000, 131072, 2000000, 15000000, 60000000, 3600000000};
	return us[rnd(r, 8)];
}

/* Mostly small steps; sometimes none, back a little, a jump, or the source's clock is set back. */
static int64_t
some_time(struct rng *r, int64_t *base, int64_t t)
{
	switch (rnd(r, 40)) {
	case 0:
		return t + rnd(r, 30000000);
	case 1:
	case 2:
		return t + rnd(r, 4000000);
	case 3:
		return t - rnd(r, 3000000);
	case 4:
		return one_in(r, 20) ? t + INT64_C(1000000) * rnd(r, 100000) : t;
	case 5:
		if (one_in(r, 20))
			*base -= INT64_C(1000000) * rnd(r, 3000);
		return t;
	case 6:
		return one_in(r, 10) ? t - 200000000 : t;
	case 7: /* exactly a timeout later */
		return t + (int64_t)some_timeout(r) % 60000001;
	default:
		return t + rnd(r, 200000);
	}
}

static struct plan *
plan_make(struct rng *r)
{
	struct plan *p = malloc(sizeof *p);
	unsigned hosts = 1 + rnd(r, 4);
	int64_t base = 0, t = INT64_C(1700000000000000);
	assert_non_null(p);
	for (unsigned k = 0; k < PACKETS; k++) {
		int64_t now = some_time(r, &base, t);
		if (now > t)
			t = now;
		p->packet[k] = some_packet(r, now + base, hosts);
		if (k > 0 && one_in(r, 2)) { /* an answer to, or more of, what came before */
			const struct model_packet *o = &p->packet[k - 1];
			struct model_packet *q = &p->packet[k];
			bool turn = one_in(r, 2);
			q->kind = o->kind;
			q->v6 = o->v6;
			q->proto = o->proto;
			q->vlan = o->vlan;
			q->inner_vlan = o->inner_vlan;
			q->src = turn ? o->dst : o->src;
			q->dst = turn ? o->src : o->dst;
			q->sport = turn ? o->dport : o->sport;
			q->dport = turn ? o->sport : o->dport;
			if (q->v6)
				q->fragment = MODEL_WHOLE;
		}
		p->frame[k] = model_frame(&p->packet[k], p->bytes[k]);
	}
	flow_meter_conf_default(&p->conf);
	p->conf.app_native = p->conf.app_ndpi = false;
	p->conf.max_flows = MODEL_FLOWS;
	p->conf.active_us = some_timeout(r);
	p->conf.idle_us = some_timeout(r);
	p->conf.tcp_end_us = some_timeout(r);
	p->conf.key_vlan = one_in(r, 2);
	return p;
}

static void
push(void *arg, struct batch **b)
{
	struct got *g = arg;
	assert_true(g->n + (*b)->n <= MODEL_RECORDS);
	model_read(*b, g->record + g->n);
	g->n += (*b)->n;
	batch_unref(b);
}

static void
second(void *arg, const struct stats_second *s)
{
	struct got *g = arg;
	g->seconds++;
	g->second_packets += s->packets;
	g->second_new += s->flows_new;
	g->second_ended += s->flows_ended;
	g->last_second = s->second;
}

static int
order(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct model_record));
}

static uint64_t
count(const struct flow_meter *m, enum counter c)
{
	return counter_get(flow_meter_counters(m), c);
}

/* What must be so whatever the packets were. */
static void
check_ledger(const struct flow_meter *m, const struct got *g)
{
	uint64_t packets = 0, bytes = 0;
	for (unsigned k = 0; k < g->n; k++) {
		packets += (uint64_t)(g->record[k].packets + g->record[k].rev_packets);
		bytes += (uint64_t)(g->record[k].bytes + g->record[k].rev_bytes);
		assert_true(g->record[k].packets + g->record[k].rev_packets > 0);
		assert_true(g->record[k].start <= g->record[k].end);
	}
	assert_int_equal(packets, count(m, C_pkt_metered));
	assert_int_equal(bytes, count(m, C_ip_bytes));
	assert_int_equal(count(m, C_pkt_seen), count(m, C_pkt_metered) + count(m, C_pkt_non_ip) +
						   count(m, C_pkt_malformed) +
						   count(m, C_pkt_no_flow));
	assert_int_equal(count(m, C_flow_opened), count(m, C_flow_ended));
	assert_int_equal(count(m, C_flow_ended), g->n);
	assert_int_equal(count(m, C_flow_ended),
	    count(m, C_flow_ended_idle) + count(m, C_flow_ended_active) +
		count(m, C_flow_ended_finished) + count(m, C_flow_ended_forced) +
		count(m, C_flow_ended_resources));
	assert_int_equal(count(m, C_flow_active), 0);
	assert_int_equal(g->second_packets, count(m, C_pkt_seen));
	assert_int_equal(g->second_new, count(m, C_flow_opened));
	assert_int_equal(g->second_ended, count(m, C_flow_ended));
}

/* Burst sizes: @fixed, or random ones with ticks in between when 0. New timeouts at @change. */
static struct got *
meter_run(const struct plan *p, unsigned fixed, unsigned change, uint64_t active, uint64_t idle,
    uint64_t tcp_end, struct model *model)
{
	struct flow_meter_conf conf = p->conf;
	struct got *g = calloc(1, sizeof *g);
	struct rng r = {fixed + 77};
	struct err err;
	assert_non_null(g);
	conf.push = push;
	conf.second = second;
	conf.arg = g;
	struct flow_meter *m = flow_meter_new(&conf, &err);
	assert_non_null(m);
	for (unsigned k = 0; k < PACKETS;) {
		unsigned n = fixed != 0 ? fixed : 1 + rnd(&r, FLOW_BURST);
		if (k == change)
			flow_meter_timeouts(m, active, idle, tcp_end);
		if (n > PACKETS - k)
			n = PACKETS - k;
		if (k < change && n > change - k)
			n = change - k;
		uint64_t back = count(m, C_pkt_time_back);
		flow_meter_burst(m, 1, p->frame + k, n, 0);
		k += n;
		if (fixed == 0 && n == 1 && back == count(m, C_pkt_time_back))
			flow_meter_tick(m, p->frame[k - 1].ts_us, 0);
	}
	flow_meter_flush(m, 0);
	check_ledger(m, g);
	if (model != NULL) {
		assert_int_equal(model->seen, count(m, C_pkt_seen));
		assert_int_equal(model->metered, count(m, C_pkt_metered));
		assert_int_equal(model->non_ip, count(m, C_pkt_non_ip));
		assert_int_equal(model->malformed, count(m, C_pkt_malformed));
		assert_int_equal(model->back, count(m, C_pkt_time_back));
		assert_int_equal(model->fragments, count(m, C_pkt_fragments));
		assert_int_equal(model->opened, count(m, C_flow_opened));
	}
	flow_meter_free(&m);
	return g;
}

static void
same_records(struct model_record *want, unsigned n_want, struct got *g)
{
	qsort(want, n_want, sizeof *want, order);
	qsort(g->record, g->n, sizeof *g->record, order);
	for (unsigned k = 0; k < n_want && k < g->n; k++)
		if (memcmp(&want[k], &g->record[k], sizeof *want) != 0) {
			const int64_t *a = (const int64_t *)&want[k];
			const int64_t *b = (const int64_t *)&g->record[k];
			for (unsigned f = 0; f < sizeof *want / sizeof *a; f++)
				if (a[f] != b[f])
					print_error("record %u value %u: model %lld meter %lld\n",
					    k, f, (long long)a[f], (long long)b[f]);
			fail();
		}
	assert_int_equal(n_want, g->n);
}

static void
model_agrees(void **state)
{
	(void)state;
	unsigned total = 0;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct rng r = {round};
		struct plan *p = plan_make(&r);
		struct model *m = calloc(1, sizeof *m);
		unsigned change = one_in(&r, 2) ? rnd(&r, PACKETS) : PACKETS;
		uint64_t active = some_timeout(&r), idle = some_timeout(&r), fin = some_timeout(&r);
		assert_non_null(m);
		m->active = (int64_t)p->conf.active_us;
		m->idle = (int64_t)p->conf.idle_us;
		m->tcp_end = (int64_t)p->conf.tcp_end_us;
		m->key_vlan = p->conf.key_vlan;
		for (unsigned k = 0; k < PACKETS; k++) {
			if (k == change) {
				m->active = (int64_t)active;
				m->idle = (int64_t)idle;
				m->tcp_end = (int64_t)fin;
			}
			model_packet(m, &p->packet[k]);
		}
		model_flush(m);
		struct got *g = meter_run(p, 0, change, active, idle, fin, m);
		same_records(m->record, m->n_records, g);
		total += g->n;
		free(g);
		free(m);
		free(p);
	}
	assert_true(total > 10000);
}

/* The very same records in the same order for every burst size. */
static void
burst_size_does_not_matter(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 6; round++) {
		struct rng r = {1000 + round};
		struct plan *p = plan_make(&r);
		struct got *one = meter_run(p, 1, PACKETS, 0, 0, 0, NULL);
		for (unsigned n = 2; n <= FLOW_BURST; n += n < 4 ? 1 : 7) {
			struct got *g = meter_run(p, n, PACKETS, 0, 0, 0, NULL);
			assert_int_equal(one->n, g->n);
			assert_memory_equal(one->record, g->record, g->n * sizeof *g->record);
			assert_int_equal(one->seconds, g->seconds);
			assert_int_equal(one->last_second, g->last_second);
			free(g);
		}
		free(one);
		free(p);
	}
}

/* A pool far too small: records are cut short, nothing is lost. */
static void
small_pool_conserves(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		struct rng r = {2000 + round};
		struct plan *p = plan_make(&r);
		p->conf.max_flows = 1 + rnd(&r, 64);
		free(meter_run(p, 0, PACKETS, 0, 0, 0, NULL));
		free(p);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(model_agrees),
	    cmocka_unit_test(burst_size_does_not_matter),
	    cmocka_unit_test(small_pool_conserves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
