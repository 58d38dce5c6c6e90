/* SPDX-License-Identifier: Apache-2.0
 * The ledger of a meter, read by another thread while packets are metered: exact in each snapshot;
 * and the totals that go with each second. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "meter_model.h"

enum { BURSTS = 30000, KEEP = 4 };
#define T0 INT64_C(1700000000000000)

struct fix {
	struct flow_meter *m;
	struct batch *kept[KEEP]; /* an output that is slow: no batch is free for a while */
	unsigned n_kept, n_seconds;
	_Atomic int stop;
	_Atomic unsigned snapshots, moved, wrong;
};

static void
push(void *arg, struct batch **b)
{
	struct fix *f = arg;
	if (f->n_kept < KEEP) {
		f->kept[f->n_kept++] = *b;
		*b = NULL;
	} else {
		batch_unref(b);
	}
}

static bool
adds_up(const uint64_t v[C_COUNT])
{
	return v[C_pkt_seen] ==
		   v[C_pkt_metered] + v[C_pkt_non_ip] + v[C_pkt_malformed] + v[C_pkt_no_flow] &&
	       v[C_flow_opened] == v[C_flow_ended] + v[C_flow_active] &&
	       v[C_flow_ended] == v[C_flow_out] + v[C_flow_batching] + v[C_flow_lost_batch];
}

static void
second(void *arg, const struct stats_second *s)
{
	struct fix *f = arg;
	const struct stats_totals *t = &s->totals;
	f->n_seconds++;
	assert_true(t->is_known);
	assert_int_equal(t->seen, t->metered + t->non_ip + t->malformed + t->no_flow);
	assert_int_equal(t->opened, t->ended + t->active);
	assert_int_equal(t->ended, t->given + t->batching + t->lost_batch);
	assert_int_equal(t->drops_kernel, 70);
	assert_int_equal(t->drops_if, 3);
}

static void *
look(void *arg)
{
	struct fix *f = arg;
	uint64_t last = 0;
	while (atomic_load(&f->stop) == 0) {
		uint64_t v[C_COUNT] = {0};
		if (!counters_read(flow_meter_counters(f->m), v))
			continue;
		atomic_fetch_add(&f->snapshots, 1);
		atomic_fetch_add(&f->moved, v[C_pkt_seen] != last);
		atomic_fetch_add(&f->wrong, !adds_up(v));
		last = v[C_pkt_seen];
	}
	return NULL;
}

static struct model_packet
packet(uint32_t n)
{
	return (struct model_packet){.kind = n % 17 == 0 ? MODEL_NON_IP :
		n % 23 == 0 ? MODEL_MALFORMED : MODEL_IP,
	    .ts_us = T0 + (int64_t)n * 37,
	    .proto = 6,
	    .src = (uint8_t)(n % 5),
	    .dst = 200,
	    .sport = (uint16_t)(1024 + n % 4099),
	    .dport = 80,
	    .tcp_flags = n % 7 == 0 ? TCP_rst : TCP_ack,
	    .ip_len = 100,
	    .vlan = -1,
	    .inner_vlan = -1};
}

/* Too few flows and batches, so that every kind of loss and early end is met. */
static void
exact_while_metering(void **state)
{
	static struct fix f;
	struct flow_meter_conf conf;
	struct err err;
	pthread_t t;
	(void)state;
	flow_meter_conf_default(&conf);
	conf.app_native = conf.app_ndpi = false;
	conf.max_flows = 512;
	conf.max_batches = KEEP;
	conf.push = push;
	conf.second = second;
	conf.arg = &f;
	f.m = flow_meter_new(&conf, &err);
	assert_non_null(f.m);
	flow_meter_drops(f.m, 70, 3);
	assert_int_equal(pthread_create(&t, NULL, look, &f), 0);
	for (uint32_t k = 0; k < BURSTS; k++) {
		uint8_t bytes[8][MODEL_FRAME];
		struct flow_frame frame[8];
		for (uint32_t i = 0; i < 8; i++) {
			struct model_packet p = packet(k * 8 + i);
			frame[i] = model_frame(&p, bytes[i]);
		}
		flow_meter_burst(f.m, 1, frame, 8, k * 1000);
		if (k % 1000 == 999) /* the slow output goes on */
			while (f.n_kept > 0)
				batch_unref(&f.kept[--f.n_kept]);
	}
	uint64_t end = clock_mono_us() + 10000000;
	while (atomic_load(&f.snapshots) < 100 && clock_mono_us() < end)
		clock_sleep_us(1000);
	flow_meter_flush(f.m, 0);
	atomic_store(&f.stop, 1);
	pthread_join(t, NULL);
	const struct counters *c = flow_meter_counters(f.m);
	assert_int_equal(atomic_load(&f.wrong), 0);
	assert_true(atomic_load(&f.snapshots) >= 100 && atomic_load(&f.moved) > 10);
	assert_true(counter_get(c, C_flow_lost_batch) > 0);
	assert_true(counter_get(c, C_flow_ended_resources) > 0);
	assert_true(counter_get(c, C_pkt_malformed) > 0 && counter_get(c, C_pkt_non_ip) > 0);
	assert_true(f.n_seconds > 5);
	assert_int_equal(counter_get(c, C_flow_active) + counter_get(c, C_flow_batching), 0);
	while (f.n_kept > 0)
		batch_unref(&f.kept[--f.n_kept]);
	flow_meter_free(&f.m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(exact_while_metering)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
