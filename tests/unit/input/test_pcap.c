/* SPDX-License-Identifier: Apache-2.0
 * unit/input/test_pcap.c - the pcap input with a real meter and a host that counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "files.h"
#include "host.h"
#include "input/input.h"

enum { HOSTS = 50, PORTS = 40, PACKETS = 40000, SPACING_US = 500 };

/** PACKETS packets of HOSTS x PORTS flows over 20 s of packet time. */
static void
make_traffic(struct maker *m)
{
	uint8_t p[1600];
	srand(11);
	put_pcap_header(m, 0xa1b2c3d4, 2, 4, 1);
	for (uint32_t i = 0; i < PACKETS; i++) {
		uint64_t t = UINT64_C(1700000000500000) + i * SPACING_US;
		uint32_t n = make_udp(p, (uint8_t)(rand() % HOSTS),
		    (uint16_t)(1000 + rand() % PORTS), (uint32_t)rand() % 100);
		put_pcap_packet(m, (uint32_t)(t / 1000000), (uint32_t)(t % 1000000), p, n, n);
	}
}

static uint64_t
file_octets(const struct maker *m)
{
	uint64_t sum = 0;
	for (size_t at = 24; at < m->b.n;) {
		uint32_t n;
		memcpy(&n, m->b.p + at + 8, 4);
		sum += n - 14;
		at += 16 + n;
	}
	return sum;
}

static void
stop(void **self, uint64_t sum[C_COUNT])
{
	input_pcap.stop(*self, true);
	memset(sum, 0, C_COUNT * sizeof(*sum));
	input_pcap.counters(*self, sum);
	input_pcap.free(self);
	assert_null(*self);
}

/** Meter @path to its end with @options; how it ended. */
static int
meter(struct fake_host *h, const char *path, const char *options, uint64_t sum[C_COUNT])
{
	char text[256];
	struct err err = {0};
	void *self = NULL;
	snprintf(text, sizeof(text), "pcap %s app=off %s", path, options);
	if (host_open(h, &input_pcap, text, &self, &err) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(input_pcap.start(self, &err), 0);
	int ended = host_wait_end(h, 20000);
	stop(&self, sum);
	return ended;
}

static void
test_totals(void **state)
{
	(void)state;
	char path[64];
	struct fake_host h;
	struct maker m = {buf_init(0), false};
	uint64_t sum[C_COUNT], in_seconds = 0;
	make_traffic(&m);
	uint64_t octets = file_octets(&m);
	assert_true(write_file(&m, path));
	host_init(&h);
	assert_int_equal(meter(&h, path, "idle=0 active=0", sum), 1);
	assert_int_equal(h.flows, HOSTS * PORTS);
	assert_int_equal(h.packets, PACKETS);
	assert_int_equal(h.octets, octets);
	assert_true(h.waited);
	assert_int_equal(h.state, PORT_UP);
	assert_int_equal(sum[C_pkt_seen], PACKETS);
	assert_int_equal(sum[C_pkt_metered], PACKETS);
	assert_int_equal(sum[C_ip_bytes], octets);
	assert_int_equal(sum[C_flow_ended], HOSTS * PORTS);
	/* 20 s from .5 on touch 21 seconds */
	assert_int_equal(h.n_seconds, 21);
	for (unsigned i = 0; i < h.n_seconds; i++) {
		in_seconds += h.seconds[i].packets;
		assert_true(h.seconds[i].second == 1700000000 + i);
	}
	assert_int_equal(in_seconds, PACKETS);
	host_fini(&h);
	unlink(path);
}

/** The records are the same however fast the file is read and however slow outputs are. */
static void
test_same_records(void **state)
{
	(void)state;
	char path[64], dir[] = "/tmp/flowbus-test-XXXXXX", fifo[64];
	struct fake_host h, slow, piped;
	struct maker m = {buf_init(0), false};
	struct err err = {0};
	void *self = NULL;
	uint64_t sum[C_COUNT];
	char text[256];
	const char *options = "idle=100ms active=2s";
	make_traffic(&m);
	uint8_t *whole = malloc(m.b.n);
	size_t size = m.b.n;
	memcpy(whole, m.b.p, size);
	assert_true(write_file(&m, path));
	host_init(&h);
	assert_int_equal(meter(&h, path, options, sum), 1);
	assert_int_equal(h.packets, PACKETS);
	assert_true(h.flows > HOSTS * PORTS);
	host_init(&slow);
	slow.delay_us = 20000;
	assert_int_equal(meter(&slow, path, "idle=100ms active=2s max_batches=4", sum), 1);
	assert_int_equal(sum[C_flow_lost_batch], 0);
	assert_int_equal(slow.flows, h.flows);
	assert_true(slow.digest == h.digest);

	assert_non_null(mkdtemp(dir));
	snprintf(fifo, sizeof(fifo), "%s/test.pcap", dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	host_init(&piped);
	snprintf(text, sizeof(text), "pcap %s app=off batch_delay=1ms %s", fifo, options);
	assert_int_equal(host_open(&piped, &input_pcap, text, &self, &err), 0);
	assert_int_equal(input_pcap.start(self, &err), 0);
	FILE *w = fopen(fifo, "wb");
	assert_non_null(w);
	srand(5);
	for (size_t at = 0; at < size;) {
		size_t n = 1 + (size_t)rand() % 60000;
		n = n < size - at ? n : size - at;
		assert_int_equal(fwrite(whole + at, 1, n, w), n);
		fflush(w);
		at += n;
		if (rand() % 10 == 0)
			clock_sleep_us(20000);
	}
	clock_sleep_us(300000); /* long enough to be told that nothing comes */
	fclose(w);
	assert_int_equal(host_wait_end(&piped, 20000), 1);
	stop(&self, sum);
	assert_int_equal(piped.flows, h.flows);
	assert_int_equal(piped.packets, h.packets);
	free(whole);
	host_fini(&h);
	host_fini(&slow);
	host_fini(&piped);
	unlink(path);
	unlink(fifo);
	rmdir(dir);
}

/** Times of the packets decide when they are metered. */
static void
test_real_pace(void **state)
{
	(void)state;
	char path[64];
	uint8_t p[1600];
	struct fake_host h;
	struct maker m = {buf_init(0), false};
	uint64_t sum[C_COUNT];
	put_pcap_header(&m, 0xa1b2c3d4, 2, 4, 1);
	for (uint32_t i = 0; i < 7; i++) {
		uint32_t n = make_udp(p, 1, (uint16_t)(1000 + i), 10);
		put_pcap_packet(&m, 1000, i * 100000, p, n, n);
	}
	assert_true(write_file(&m, path));
	host_init(&h);
	uint64_t start = clock_mono_us();
	assert_int_equal(meter(&h, path, "pace=real", sum), 1);
	uint64_t took = clock_mono_us() - start;
	assert_true(took >= 590000);
	assert_true(took < 5000000);
	assert_int_equal(h.flows, 7);
	host_fini(&h);
	/* stopping does not wait for the file's end */
	struct err err = {0};
	void *self = NULL;
	char text[128];
	snprintf(text, sizeof(text), "pcap %s app=off pace=real", path);
	host_init(&h);
	assert_int_equal(host_open(&h, &input_pcap, text, &self, &err), 0);
	assert_int_equal(input_pcap.start(self, &err), 0);
	clock_sleep_us(50000);
	start = clock_mono_us();
	stop(&self, sum);
	assert_true(clock_mono_us() - start < 300000);
	assert_int_equal(atomic_load(&h.ended), 0); /* it did not end by itself */
	assert_true(h.flows >= 1 && h.flows < 7);
	assert_int_equal(h.flows, sum[C_pkt_seen]);
	host_fini(&h);
	unlink(path);
}

static void
test_filter(void **state)
{
	(void)state;
	char path[64], text[160];
	struct fake_host h;
	struct maker m = {buf_init(0), false};
	struct err err = {0};
	void *self = NULL;
	uint64_t sum[C_COUNT];
	make_traffic(&m);
	assert_true(write_file(&m, path));
	host_init(&h);
	assert_int_equal(
	    meter(&h, path, "idle=0 active=0 filter='udp port 1003 and src host 10.0.0.7'", sum),
	    1);
	assert_int_equal(h.flows, 1);
	assert_int_equal(sum[C_pkt_seen], h.packets);
	assert_true(h.packets > 0);
	host_fini(&h);
	host_init(&h);
	snprintf(text, sizeof(text), "pcap %s filter='port of call'", path);
	assert_int_equal(host_open(&h, &input_pcap, text, &self, &err), -E_SYNTAX);
	assert_null(self);
	assert_non_null(strstr(err.text, "port of call"));
	host_fini(&h);
	unlink(path);
}

/** A filter for each link type we read, as its packets are in files. */
static void
test_filter_linktypes(void **state)
{
	(void)state;
	static const int linktypes[] = {0, 1, 9, 12, 14, 50, 101, 104, 108, 113, 228, 229, 276};
	for (size_t i = 0; i < sizeof(linktypes) / sizeof(linktypes[0]); i++) {
		char path[64];
		uint8_t p[1600];
		struct fake_host h;
		struct maker m = {buf_init(0), false};
		uint64_t sum[C_COUNT];
		uint32_t n = make_udp(p, 1, 1000, 10);
		put_pcap_header(&m, 0xa1b2c3d4, 2, 4, (uint32_t)linktypes[i]);
		put_pcap_packet(&m, 1000, 0, p + 14, n - 14, n - 14); /* right for raw IP */
		assert_true(write_file(&m, path));
		host_init(&h);
		assert_int_equal(
		    meter(&h, path, linktypes[i] == 229 ? "filter=ip6" : "filter='udp port 1000'",
			sum),
		    1);
		bool is_raw = linktypes[i] == 12 || linktypes[i] == 14 || linktypes[i] == 101 ||
			      linktypes[i] == 228;
		assert_int_equal(is_raw ? h.flows : 1, 1);
		host_fini(&h);
		unlink(path);
	}
}

/** One packet with the time @ticks and the offset @offset_s, as pcapng. */
static void
make_ng_time(struct maker *m, uint64_t ticks, int64_t offset_s)
{
	uint8_t p[1600];
	uint32_t n = make_udp(p, 1, 1000, 10);
	struct maker b = {buf_init(0), false};
	put32(&b, 0x1a2b3c4d);
	put16(&b, 1);
	put16(&b, 0);
	put32(&b, UINT32_MAX);
	put32(&b, UINT32_MAX);
	put_block(m, 0x0a0d0d0a, &b);
	b.b.n = 0;
	put16(&b, 1);
	put16(&b, 0);
	put32(&b, 0);
	put16(&b, 14); /* if_tsoffset */
	put16(&b, 8);
	put32(&b, (uint32_t)offset_s);
	put32(&b, (uint32_t)((uint64_t)offset_s >> 32));
	put_block(m, 1, &b);
	b.b.n = 0;
	put32(&b, 0);
	put32(&b, (uint32_t)(ticks >> 32));
	put32(&b, (uint32_t)ticks);
	put32(&b, n);
	put32(&b, n);
	buf_put(&b.b, p, n);
	put_block(m, 6, &b);
	buf_fini(&b.b);
}

/** Times that no clock shows: cut to 0..2^53 us in the records, and the file is read on. */
static void
test_times(void **state)
{
	(void)state;
	static const struct {
		uint64_t ticks;
		int64_t offset_s, want;
	} cases[] = {{0, 0, 0}, {0, -1, 0}, {0, INT64_MIN, 0}, {UINT64_MAX, INT64_MIN, 0},
	    {UINT64_C(1) << 53, 0, INT64_C(1) << 53}, {INT64_MAX, 0, INT64_C(1) << 53},
	    {UINT64_MAX, 0, INT64_C(1) << 53}, {UINT64_C(1) << 63, 0, INT64_C(1) << 53},
	    {UINT64_MAX, INT64_MAX, INT64_C(1) << 53}, {1500000, 2, 3500000}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char path[64];
		struct fake_host h;
		struct maker m = {buf_init(0), false};
		uint64_t sum[C_COUNT];
		make_ng_time(&m, cases[i].ticks, cases[i].offset_s);
		assert_true(write_file(&m, path));
		host_init(&h);
		assert_int_equal(meter(&h, path, i % 2 ? "pace=real" : "", sum), 1);
		assert_int_equal(h.flows, 1);
		assert_int_equal(h.start, cases[i].want);
		assert_int_equal(h.end, cases[i].want);
		host_fini(&h);
		unlink(path);
	}
	/* both ends of time in one file, at real pace: it can be stopped */
	char path[64], text[128];
	struct fake_host h;
	struct err err = {0};
	struct maker m = {buf_init(0), false};
	void *self = NULL;
	uint64_t sum[C_COUNT];
	make_ng_time(&m, 0, INT64_MIN);
	make_ng_time(&m, UINT64_MAX, INT64_MAX);
	assert_true(write_file(&m, path));
	host_init(&h);
	snprintf(text, sizeof(text), "pcap %s app=off pace=real", path);
	assert_int_equal(host_open(&h, &input_pcap, text, &self, &err), 0);
	assert_int_equal(input_pcap.start(self, &err), 0);
	clock_sleep_us(50000);
	assert_int_equal(atomic_load(&h.ended), 0);
	stop(&self, sum);
	assert_int_equal(sum[C_pkt_seen], 1);
	host_fini(&h);
	unlink(path);
}

/** A file cut short: what is there is metered, the state says why it failed. */
static void
test_cut(void **state)
{
	(void)state;
	char path[64];
	struct fake_host h;
	struct maker m = {buf_init(0), false};
	uint64_t sum[C_COUNT];
	make_traffic(&m);
	m.b.n -= 3;
	assert_true(write_file(&m, path));
	host_init(&h);
	assert_int_equal(meter(&h, path, "idle=0 active=0", sum), 2);
	assert_int_equal(h.packets, PACKETS - 1);
	assert_int_equal(h.state, PORT_DEGRADED);
	assert_non_null(strstr(h.why, path));
	assert_non_null(strstr(h.why, "cut short"));
	host_fini(&h);
	unlink(path);
}

/** A pipe that turns out not to be a capture: down, with the reason. */
static void
test_bad_pipe(void **state)
{
	(void)state;
	char dir[] = "/tmp/flowbus-test-XXXXXX", fifo[64], text[128];
	struct fake_host h;
	struct err err = {0};
	void *self = NULL;
	uint64_t sum[C_COUNT];
	assert_non_null(mkdtemp(dir));
	snprintf(fifo, sizeof(fifo), "%s/x", dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	host_init(&h);
	snprintf(text, sizeof(text), "pcap %s app=off", fifo);
	assert_int_equal(host_open(&h, &input_pcap, text, &self, &err), 0);
	assert_int_equal(input_pcap.start(self, &err), 0);
	FILE *w = fopen(fifo, "wb");
	assert_non_null(w);
	fputs("this is not a capture file at all", w);
	fclose(w);
	assert_int_equal(host_wait_end(&h, 5000), 2);
	stop(&self, sum);
	assert_int_equal(h.state, PORT_DOWN);
	assert_non_null(strstr(h.why, "unknown file format"));
	host_fini(&h);
	unlink(fifo);
	rmdir(dir);
}

/** Outputs that never give a batch back: reading waits, a stop ends it, every record is accounted.
 */
static void
test_stuck(void **state)
{
	(void)state;
	char path[64], text[160];
	static struct fake_host h;
	struct maker m = {buf_init(0), false};
	struct err err = {0};
	void *self = NULL;
	uint64_t sum[C_COUNT] = {0};
	make_traffic(&m);
	assert_true(write_file(&m, path));
	host_init(&h);
	h.keep = 64;
	snprintf(text, sizeof(text), "pcap %s app=off idle=1ms max_batches=4", path);
	assert_int_equal(host_open(&h, &input_pcap, text, &self, &err), 0);
	assert_int_equal(input_pcap.start(self, &err), 0);
	clock_sleep_us(500000);
	assert_int_equal(atomic_load(&h.ended), 0);
	input_pcap.counters(self, sum);
	assert_int_equal(sum[C_flow_lost_batch], 0);
	uint64_t start = clock_mono_us();
	stop(&self, sum);
	assert_true(clock_mono_us() - start < 3000000);
	assert_int_equal(sum[C_flow_ended], h.flows + sum[C_flow_lost_batch]);
	host_fini(&h);
	unlink(path);
}

static void
test_refused(void **state)
{
	(void)state;
	struct fake_host h;
	struct err err = {0};
	void *self = NULL;
	host_init(&h);
	assert_int_equal(
	    host_open(&h, &input_pcap, "pcap /nonexistent.pcap", &self, &err), -E_NOENT);
	assert_null(self);
	assert_non_null(strstr(err.text, "/nonexistent.pcap"));
	host_fini(&h);
}

/** A live option reaches the meter of a running input. */
static void
test_set(void **state)
{
	(void)state;
	static const char *const types[] = {"pcap", NULL};
	char dir[] = "/tmp/flowbus-test-XXXXXX", fifo[64], text[128];
	uint8_t p[1600];
	struct fake_host h;
	struct err err = {0};
	struct conf_endpoint *conf = NULL;
	struct maker m = {buf_init(0), false};
	void *self = NULL;
	uint64_t sum[C_COUNT];
	uint32_t n = make_udp(p, 1, 1000, 10);
	assert_non_null(mkdtemp(dir));
	snprintf(fifo, sizeof(fifo), "%s/x", dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	host_init(&h);
	snprintf(text, sizeof(text), "pcap %s app=off", fifo);
	assert_int_equal(host_open(&h, &input_pcap, text, &self, &err), 0);
	assert_int_equal(input_pcap.start(self, &err), 0);
	const char *words[] = {"pcap", fifo, "idle=10ms"};
	assert_int_equal(conf_endpoint_parse(words, 3, types, &conf, &err), 0);
	assert_int_equal(input_pcap.set(self, conf, "idle", &err), 0);
	FILE *w = fopen(fifo, "wb");
	assert_non_null(w);
	put_pcap_header(&m, 0xa1b2c3d4, 2, 4, 1);
	for (uint32_t i = 0; i < 5; i++)
		put_pcap_packet(&m, 1000, i * 20000, p, n, n); /* further apart than the new idle */
	fwrite(m.b.p, 1, m.b.n, w);
	fclose(w);
	assert_int_equal(host_wait_end(&h, 5000), 1);
	stop(&self, sum);
	assert_int_equal(h.flows, 5);
	buf_fini(&m.b);
	conf_endpoint_free(&conf);
	host_fini(&h);
	unlink(fifo);
	rmdir(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_totals),
	    cmocka_unit_test(test_same_records),
	    cmocka_unit_test(test_real_pace),
	    cmocka_unit_test(test_filter),
	    cmocka_unit_test(test_filter_linktypes),
	    cmocka_unit_test(test_times),
	    cmocka_unit_test(test_cut),
	    cmocka_unit_test(test_bad_pipe),
	    cmocka_unit_test(test_stuck),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_set),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
