/* SPDX-License-Identifier: Apache-2.0
 * unit/link/test_link.c - flows from probes to collectors: those asked for, exactly once. */
#include "rig.h"

#include <string.h>
#include <sys/types.h>

#define FAST "retry_min=10ms retry_max=60ms heartbeat=300ms"

static struct link *probe, *col_a, *col_b;
static struct batch_pool *pool;

static int
setup(void **state)
{
	(void)state;
	probe = node_start("probe", 101);
	col_a = node_start("col-a", 201);
	col_b = node_start("col-b", 202);
	pool = batch_pool_new(64);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	link_stop(&probe);
	link_stop(&col_a);
	link_stop(&col_b);
	assert_int_equal(batch_pool_out(pool), 0);
	batch_pool_free(&pool);
	flow_passes(NULL, 0);
	return 0;
}

/* Two collectors with different filters, in the direction and start order given. */
static void
two_collectors(bool push_mode, bool probe_first)
{
	struct end p, p2, a, b;
	int port = free_port(), port2 = free_port();
	memset(&p2, 0, sizeof(p2));
	for (int turn = 0; turn < 2; turn++) {
		bool probe_now = (turn == 0) == probe_first;
		if (probe_now && !push_mode) {
			end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=50ms " FAST, port);
		} else if (probe_now) {
			end_open(probe, &p, "publish tcp://127.0.0.1:%dc max_delay=50ms " FAST, port);
			end_open(probe, &p2, "publish tcp://127.0.0.1:%d?connect max_delay=50ms " FAST, port2);
		} else {
			end_open(col_a, &a, "subscribe tcp://127.0.0.1:%d%s filter='app http' " FAST, port,
			    push_mode ? "?bind" : "");
			end_open(col_b, &b, "subscribe tcp://127.0.0.1:%d%s filter='dst port 443' " FAST,
			    push_mode ? port2 : port, push_mode ? "?bind" : "c");
		}
		clock_sleep_us(100000);
	}
	assert_true(wait_subs(probe, 2, 5000));
	flows_push(&p, pool, 0, 30000, 1000);
	if (push_mode)
		flows_push(&p2, pool, 0, 30000, 1000);
	assert_ledger(probe);
	assert_true(wait_count(&a, 6000, 5000));
	assert_true(wait_count(&b, 10000, 5000));
	assert_flows(&a, "app http", 0, 30000);
	assert_flows(&b, "dst port 443", 0, 30000);
	pthread_mutex_lock(&a.lock);
	assert_string_equal(a.probe, "probe");
	pthread_mutex_unlock(&a.lock);
	assert_true(wait_acked(probe, 3000));
	assert_ledger(probe);
	struct link_subscription s;
	assert_true(sub_row(probe, "col-b", &s));
	assert_int_equal(s.offered, 30000);
	assert_int_equal(s.passed, 10000);
	assert_int_equal(s.acked, 10000);
	assert_true(s.bytes_sent > 0 && s.bytes_raw > s.bytes_sent);
	assert_string_equal(s.codec, "zstd");
	assert_false(s.is_shared);
	end_close(&a, false);
	end_close(&b, false);
	if (push_mode)
		end_close(&p2, true);
	end_close(&p, true);
}

static void
poll_probe_first(void **state)
{
	(void)state;
	two_collectors(false, true);
}

static void
poll_collector_first(void **state)
{
	(void)state;
	two_collectors(false, false);
}

static void
push_probe_first(void **state)
{
	(void)state;
	two_collectors(true, true);
}

static void
push_collector_first(void **state)
{
	(void)state;
	two_collectors(true, false);
}

static void
over_ipc_late_and_leaving(void **state)
{
	struct end p, a, b;
	(void)state;
	end_open(probe, &p, "publish ipc://@flowbus-test-%d max_delay=20ms " FAST, free_port());
	end_open(col_a, &a, "subscribe %s?connect " FAST, p.conf->address);
	assert_true(wait_subs(probe, 1, 5000));
	flows_push(&p, pool, 0, 500, 100);
	assert_true(wait_offered(probe, "col-a", 500, 5000));
	/* a late one starts with what comes after it */
	end_open(col_b, &b, "subscribe %s?connect " FAST, p.conf->address);
	assert_true(wait_subs(probe, 2, 5000));
	struct link_subscription s;
	assert_true(sub_row(probe, "col-b", &s));
	assert_true(s.is_shared);
	flows_push(&p, pool, 500, 500, 100);
	assert_true(wait_count(&a, 1000, 5000));
	assert_true(wait_count(&b, 500, 5000));
	assert_flows(&a, "", 0, 1000);
	assert_flows(&b, "", 500, 1000);
	assert_ledger(probe);
	/* one leaves for good, the other goes on */
	end_close(&a, false);
	assert_true(wait_subs(probe, 1, 3000));
	flows_push(&p, pool, 1000, 500, 100);
	assert_true(wait_count(&b, 1000, 5000));
	assert_flows(&b, "", 500, 1500);
	end_close(&b, false);
	assert_true(wait_subs(probe, 0, 3000));
	flows_push(&p, pool, 1500, 100, 100);
	for (int i = 0; i < 400 && end_counter(&p, C_flow_unasked) < 100; i++)
		clock_sleep_us(5000);
	assert_int_equal(end_counter(&p, C_flow_unasked), 100);
	end_close(&p, true);
}

/* What is wrong is told with whose it is, in words that are apart. */
static void
errors_have_names(void **state)
{
	struct end e;
	struct err err;
	(void)state;
	assert_int_not_equal(end_attach(col_a, &e, &err, "subscribe tcp://127.0.0.1:9 name=in "
	    "filter='src_port 7'"), 0);
	assert_non_null(strstr(err.text, "in: filter: an operator"));
	assert_int_not_equal(end_attach(col_a, &e, &err, "subscribe tcp://127.0.0.1 name=in"), 0);
	assert_non_null(strstr(err.text, "in: address "));
}

static void
fields_and_codecs(void **state)
{
	struct end p, a, b;
	int port = free_port();
	(void)state;
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=20ms " FAST, port);
	end_open(col_a, &a, "subscribe tcp://127.0.0.1:%dc fields=bytes,app codec=zlib " FAST, port);
	end_open(col_b, &b, "subscribe tcp://127.0.0.1:%dc codec=none filter='proto udp' " FAST, port);
	assert_true(wait_subs(probe, 2, 5000));
	flows_push(&p, pool, 0, 9000, 3000);
	assert_true(wait_count(&a, 9000, 5000));
	assert_true(wait_count(&b, 2250, 5000));
	assert_flows(&a, "", 0, 9000);
	assert_flows(&b, "proto udp", 0, 9000);
	struct link_subscription s;
	assert_true(sub_row(probe, "col-a", &s));
	assert_string_equal(s.codec, "zlib");
	assert_string_equal(s.fields, "3 fields"); /* and probe, which relays have */
	assert_true(sub_row(probe, "col-b", &s));
	assert_string_equal(s.codec, "none");
	assert_true(s.bytes_sent >= s.bytes_raw);
	end_close(&a, false);
	end_close(&b, false);
	end_close(&p, true);
}

/* A collector's process restarts: same node id, no memory of its own; the probe kept its place. */
static void
collector_restarts(void **state)
{
	struct end p, a;
	int port = free_port();
	(void)state;
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=20ms " FAST, port);
	end_open(col_a, &a, "subscribe tcp://127.0.0.1:%dc name=in " FAST, port);
	assert_true(wait_subs(probe, 1, 5000));
	flows_push(&p, pool, 0, 5000, 500);
	assert_true(wait_count(&a, 5000, 5000));
	assert_flows(&a, "", 0, 5000);
	end_close(&a, true);
	link_stop(&col_a);
	flows_push(&p, pool, 5000, 5000, 500);
	struct link_subscription s;
	assert_true(sub_row(probe, "col-a", &s));
	for (int i = 0; i < 200 && !s.is_parked; i++) {
		clock_sleep_us(5000);
		assert_true(sub_row(probe, "col-a", &s));
	}
	assert_true(s.is_parked);
	assert_ledger(probe);
	col_a = node_start("col-a", 201);
	end_open(col_a, &a, "subscribe tcp://127.0.0.1:%dc name=in " FAST, port);
	assert_true(wait_count(&a, 5000, 5000));
	flows_push(&p, pool, 10000, 1000, 500);
	assert_true(wait_count(&a, 6000, 5000));
	clock_sleep_us(100000);
	assert_flows(&a, "", 5000, 11000);
	assert_true(wait_acked(probe, 3000));
	assert_ledger(probe);
	assert_true(sub_row(probe, "col-a", &s));
	assert_int_equal(s.acked, 11000);
	end_close(&a, false);
	end_close(&p, true);
}

static void
probe_restarts(void **state)
{
	struct end p, a;
	int port = free_port();
	(void)state;
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=20ms " FAST, port);
	end_open(col_a, &a, "subscribe tcp://127.0.0.1:%dc " FAST, port);
	assert_true(wait_subs(probe, 1, 5000));
	flows_push(&p, pool, 0, 1000, 500);
	assert_true(wait_count(&a, 1000, 5000));
	end_close(&p, true);
	assert_true(wait_why(&a, "goodbye", 3000) || wait_why(&a, "no connection", 3000));
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=20ms " FAST, port);
	assert_true(wait_subs(probe, 1, 5000));
	flows_push(&p, pool, 1000, 1000, 500);
	assert_true(wait_count(&a, 2000, 5000));
	assert_flows(&a, "", 0, 2000);
	assert_int_equal(end_counter(&a, C_resume_failed), 1);
	assert_int_equal(end_state_now(&a), PORT_UP);
	end_close(&a, false);
	end_close(&p, true);
}

/* An output behind one collector is stuck: its flows wait at the probe, the other gets all. */
static void
stuck_reader(void **state)
{
	struct end p, a, b;
	int port = free_port();
	enum { N = 400000 };
	(void)state;
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=20ms codec=none window=200K " FAST,
	    port);
	end_open(col_a, &a, "subscribe tcp://127.0.0.1:%dc max_batches=4 " FAST, port);
	end_open(col_b, &b, "subscribe tcp://127.0.0.1:%dc " FAST, port);
	assert_true(wait_subs(probe, 2, 5000));
	end_hold(&a, true);
	flows_push(&p, pool, 0, N, 4096);
	assert_true(wait_count(&b, N, 20000));
	assert_flows(&b, "", 0, N);
	clock_sleep_us(1500000); /* several heartbeats: slow is not dead */
	assert_true(wait_up(probe, 2, 1000));
	assert_true(end_count(&a) <= 4 * 4096);
	struct link_subscription s;
	assert_true(sub_row(probe, "col-a", &s));
	assert_true(s.in_flight > 0 && s.queued > 0 && s.lag_us > 500000);
	assert_int_equal(s.lost, 0);
	assert_ledger(probe);
	end_hold(&a, false);
	assert_true(wait_count(&a, N, 20000));
	assert_flows(&a, "", 0, N);
	assert_true(wait_acked(probe, 3000));
	assert_ledger(probe);
	end_close(&a, false);
	end_close(&b, false);
	end_close(&p, true);
}

static bool
wait_told(struct end *e, struct link_account *out, uint64_t offered)
{
	for (int i = 0; i < 1000; i++) {
		account_row(e, out);
		if (out->is_told && out->told.offered + out->told.early == offered)
			return true;
		clock_sleep_us(5000);
	}
	return false;
}

/* More than the queue to the link takes: lost before the filter, and the collector is told. */
static void
queue_overflow(void **state)
{
	struct end p, a;
	struct link_account x;
	struct link_subscription s;
	uint64_t n = 0, taken = 0;
	int port = free_port();
	(void)state;
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=20ms queue=4 " FAST, port);
	end_open(col_a, &a, "subscribe tcp://127.0.0.1:%dc filter='dst port 443' " FAST, port);
	assert_true(wait_subs(probe, 1, 5000));
	for (int i = 0; i < 3000 && (i < 300 || n == taken); i++, n += 500) {
		taken += flows_offer(&p, pool, n, 500) ? 500 : 0;
		assert_ledger(probe);
		for (int k = 0; k < 7; k++, n += 500) /* faster than it can filter them */
			taken += flows_offer(&p, pool, n, 500) ? 500 : 0;
	}
	assert_true(n > taken && taken > 0);
	assert_true(wait_acked(probe, 8000));
	assert_true(wait_told(&a, &x, n));
	assert_true(sub_row(probe, "col-a", &s));
	assert_int_equal(s.early, n - taken);
	assert_int_equal(s.offered, taken);
	assert_int_equal(x.told.early, s.early);
	assert_int_equal(x.told.filtered, s.filtered);
	assert_int_equal(x.told.passed, s.passed);
	assert_int_equal(x.decoded, s.acked);
	assert_int_equal(x.received, x.decoded);
	assert_true(x.up);
	assert_ledger(col_a);
	end_close(&a, false);
	end_close(&p, false);
}

static void
ring_overflow(void **state)
{
	struct end p, a;
	int port = free_port();
	enum { N = 300000 };
	(void)state;
	end_open(probe, &p,
	    "publish tcp://127.0.0.1:%d max_delay=20ms codec=none window=64K ring=1M " FAST, port);
	end_open(col_a, &a, "subscribe tcp://127.0.0.1:%dc max_batches=4 " FAST, port);
	assert_true(wait_subs(probe, 1, 5000));
	end_hold(&a, true);
	for (uint64_t at = 0; at < N; at += 10000) {
		flows_push(&p, pool, at, 10000, 1000);
		assert_ledger(probe);
	}
	struct link_subscription s, mine;
	for (int i = 0; i < 400; i++) {
		assert_true(sub_row(probe, "col-a", &s));
		if (s.offered == N)
			break;
		clock_sleep_us(5000);
	}
	assert_int_equal(s.passed, N);
	assert_true(s.lost > 0);
	end_hold(&a, false);
	assert_true(wait_acked(probe, 8000));
	assert_true(sub_row(probe, "col-a", &s));
	assert_ledger(probe);
	assert_int_equal(s.acked + s.lost, N);
	assert_int_equal(end_count(&a), s.acked);
	assert_int_equal(end_counter(&a, C_flow_lost_gap), s.lost);
	assert_int_equal(end_counter(&a, C_frame_missing), 0);
	assert_int_equal(end_counter(&p, C_flow_lost_ring), s.lost);
	assert_true(sub_row(col_a, "", &mine));
	assert_int_equal(mine.acked, s.acked);
	assert_int_equal(mine.lost, s.lost);
	/* with the cause, in the gaps and in the ledger that the probe sends */
	struct link_account x;
	assert_true(wait_told(&a, &x, N));
	assert_int_equal(x.gap_flows[GAP_RING_FULL], s.lost);
	assert_int_equal(x.told.lost_by[GAP_RING_FULL], s.lost);
	assert_int_equal(s.lost_by[GAP_RING_FULL], s.lost);
	assert_int_equal(x.decoded, s.acked);
	assert_int_equal(x.gaps_unknown, 0);
	end_close(&a, false);
	end_close(&p, true);
}

/* The filter changes while flows come: one before, the other after, nothing twice or missing. */
static void
live_filter_change(void **state)
{
	struct end p, a;
	struct err err;
	int port = free_port();
	(void)state;
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=500ms " FAST, port);
	end_open(col_a, &a, "subscribe tcp://127.0.0.1:%dc filter='app http' " FAST, port);
	assert_true(wait_subs(probe, 1, 5000));
	flows_push(&p, pool, 0, 1000, 100);
	struct link_subscription s;
	/* all of it must be offered to the first filter */
	assert_true(wait_offered(probe, "col-a", 1000, 5000));
	assert_true(sub_row(col_a, "", &s));
	uint64_t before = s.channel;
	/* it returns with the probe's answer: where the old ends and the new begins */
	assert_int_equal(end_set(&a, "filter", "app dns or app http", &err), 0);
	assert_true(sub_row(col_a, "", &s));
	assert_string_equal(s.change, "taken");
	assert_non_null(strstr(s.filter, "dns"));
	assert_int_not_equal(s.channel, before);
	assert_int_equal(s.old_channel, before);
	assert_int_equal(s.old_last, 1);
	assert_int_equal(s.first, 1);
	flows_push(&p, pool, 1000, 1000, 100);
	assert_true(wait_count(&a, 200 + 400, 5000));
	/* and back, which gives the first channel again */
	assert_int_equal(end_set(&a, "filter", "app http", &err), 0);
	before = s.channel;
	assert_true(sub_row(col_a, "", &s));
	assert_int_equal(s.old_channel, before);
	assert_int_not_equal(s.channel, before);
	flows_push(&p, pool, 2000, 1000, 100);
	assert_true(wait_count(&a, 200 + 400 + 200, 5000));
	clock_sleep_us(100000);
	pthread_mutex_lock(&a.lock);
	assert_int_equal(a.n_ids, 800);
	for (size_t i = 0; i < a.n_ids; i++)
		assert_true(flow_passes(a.ids[i] / 1000 == 1 ? "app dns or app http" : "app http",
		    a.ids[i]));
	pthread_mutex_unlock(&a.lock);
	assert_int_equal(end_counter(&a, C_frame_missing), 0);
	assert_int_equal(end_counter(&a, C_peer_up), 1); /* without a reconnect */
	assert_int_not_equal(end_set(&a, "filter", "app http and", &err), 0);
	assert_true(err.text[0] != '\0' && err.col > 0);
	end_close(&a, false);
	end_close(&p, true);
}

static void
statistics_and_peers(void **state)
{
	struct end p, a;
	struct link_peer r;
	int port = free_port();
	(void)state;
	end_open(probe, &p, "publish tcp://127.0.0.1:%d " FAST, port);
	end_open(col_a, &a, "subscribe tcp://127.0.0.1:%dc " FAST, port);
	assert_true(wait_subs(probe, 1, 5000));
	for (int i = 0; i < 3; i++) {
		struct stats_second s = {.second = 1700000000 + i, .interface = "eth0", .packets = 1000,
		    .bytes = 64000, .flows_active = 12, .late_us = 150, .n_apps = 2,
		    .apps = {{"http", 5, 5000}, {"dns", 3, 300}}};
		link_second(p.end, &s);
		snprintf(s.interface, sizeof(s.interface), "eth1");
		link_second(p.end, &s);
	}
	for (int i = 0; i < 400 && end_seconds(&a) < 6; i++)
		clock_sleep_us(5000);
	pthread_mutex_lock(&a.lock);
	assert_int_equal(a.n_seconds, 6);
	assert_int_equal(a.second.second, 1700000002);
	assert_string_equal(a.second.probe, "probe");
	assert_string_equal(a.second.interface, "eth1");
	assert_string_equal(a.second.apps[1].name, "dns");
	assert_int_equal(a.second.apps[1].bytes, 300);
	pthread_mutex_unlock(&a.lock);
	clock_sleep_us(700000);
	assert_true(peer_row(col_a, "up", &r));
	assert_string_equal(r.name, "probe");
	assert_true(r.is_probe && !r.encrypted && !r.verified);
	assert_int_equal(r.node_id, 101);
	assert_string_equal(r.interface, "eth0 eth1");
	assert_int_equal(r.speed_bps, 20000000000);
	assert_string_equal(r.addresses, "192.0.2.7 2001:db8::7");
	assert_int_equal(strncmp(r.our_seen, "127.0.0.1:", 10), 0);
	assert_true(r.has_second);
	assert_int_equal(r.last.packets, 2000);
	assert_true(r.rtt_us > 0 && r.rtt_us < 1000000);
	assert_true(llabs(r.clock_offset_us) < 200000);
	assert_true(peer_row(probe, "up", &r));
	assert_string_equal(r.name, "col-a");
	assert_false(r.is_probe);
	assert_int_equal(strncmp(r.seen, "127.0.0.1:", 10), 0);
	end_close(&a, false);
	end_close(&p, true);
}

static void
a_while_of_traffic(void **state)
{
	struct end p, a;
	int port = free_port();
	(void)state;
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=100ms " FAST, port);
	end_open(col_a, &a, "subscribe tcp://127.0.0.1:%dc " FAST, port);
	assert_true(wait_subs(probe, 1, 5000));
	uint64_t start = clock_mono_us(), id = 0;
	for (int i = 0; i < 60; i++) { /* 1000 a second for three seconds */
		flows_push(&p, pool, id, 50, 50);
		id += 50;
		uint64_t due = start + (uint64_t)(i + 1) * 50000, now = clock_mono_us();
		if (due > now)
			clock_sleep_us(due - now);
	}
	assert_true(wait_count(&a, 3000, 2000));
	assert_flows(&a, "", 0, 3000);
	end_close(&a, false);
	end_close(&p, true);
}

/* Many frames at once go through without waiting for the next timer. */
static void
a_burst(void **state)
{
	struct end p, a;
	int port = free_port();
	enum { N = 600 * 4096 };
	(void)state;
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=20ms heartbeat=5s ", port);
	end_open(col_a, &a, "subscribe tcp://127.0.0.1:%d max_batches=512 heartbeat=5s ", port);
	assert_true(wait_subs(probe, 1, 5000));
	end_hold(&a, true); /* let them pile up, then come all together */
	flows_push(&p, pool, 0, N, 4096);
	assert_true(wait_offered(probe, "col-a", N, 20000));
	uint64_t start = clock_mono_us();
	end_hold(&a, false);
	assert_true(wait_count(&a, N, 20000));
	assert_true(clock_mono_us() - start < (uint64_t)(3000000 * slowness()));
	assert_int_equal(end_count(&a), N);
	end_close(&a, false);
	end_close(&p, true);
}

static void
node_id_in_use(void **state)
{
	struct end p, a, b;
	int port = free_port();
	(void)state;
	struct link *twin = node_start("twin", 201);
	end_open(probe, &p, "publish tcp://127.0.0.1:%d " FAST, port);
	end_open(col_a, &a, "subscribe tcp://127.0.0.1:%dc name=in " FAST, port);
	assert_true(wait_subs(probe, 1, 5000));
	end_open(twin, &b, "subscribe tcp://127.0.0.1:%dc name=in " FAST, port);
	assert_true(wait_why(&b, "node id in use", 5000));
	assert_true(wait_up(probe, 1, 1000));
	end_close(&b, false);
	/* another endpoint of the same node is another peer */
	end_open(twin, &b, "subscribe tcp://127.0.0.1:%dc name=in2 " FAST, port);
	assert_true(wait_up(probe, 2, 5000));
	end_close(&b, false);
	end_close(&a, false);
	end_close(&p, false);
	link_stop(&twin);
}

static void
resume_expires(void **state)
{
	struct end p, a;
	int port = free_port();
	(void)state;
	end_open(probe, &p, "publish tcp://127.0.0.1:%d max_delay=20ms resume=300ms " FAST, port);
	end_open(col_a, &a, "subscribe tcp://127.0.0.1:%dc name=in " FAST, port);
	assert_true(wait_subs(probe, 1, 5000));
	end_close(&a, true);
	assert_true(wait_subs(probe, 0, 5000));
	flows_push(&p, pool, 0, 1000, 500);
	clock_sleep_us(600000);
	struct link_subscription s;
	assert_false(sub_row(probe, "", &s));
	assert_int_equal(end_counter(&p, C_flow_lost_expired), 1000);
	end_close(&p, false);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(poll_probe_first),
	    cmocka_unit_test(poll_collector_first),
	    cmocka_unit_test(push_probe_first),
	    cmocka_unit_test(push_collector_first),
	    cmocka_unit_test(over_ipc_late_and_leaving),
	    cmocka_unit_test(errors_have_names),
	    cmocka_unit_test(fields_and_codecs),
	    cmocka_unit_test(collector_restarts),
	    cmocka_unit_test(probe_restarts),
	    cmocka_unit_test(stuck_reader),
	    cmocka_unit_test(ring_overflow), cmocka_unit_test(queue_overflow),
	    cmocka_unit_test(live_filter_change),
	    cmocka_unit_test(statistics_and_peers),
	    cmocka_unit_test(a_while_of_traffic),
	    cmocka_unit_test(a_burst),
	    cmocka_unit_test(node_id_in_use),
	    cmocka_unit_test(resume_expires),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
