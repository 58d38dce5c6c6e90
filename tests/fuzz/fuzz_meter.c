/* SPDX-License-Identifier: Apache-2.0
 * fuzz/fuzz_meter.c - frames, times and timeouts of any kind through a small meter with native
 * applications: the ledgers balance, every packet is in a record, every row can be written.
 *
 * Input: how the meter is made (1 octet), then steps. A step is an octet that says what follows:
 * frames of a link type in one burst (time difference, octets missing, length, data), a tick, or
 * new timeouts. */
#include <stdlib.h>

#include "base/cur.h"
#include "batch/batch.h"
#include "flow/meter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sums {
	uint64_t rows, packets, octets;
};

static void
push(void *arg, struct batch **b)
{
	struct sums *s = arg;
	struct buf line = buf_init(0);
	for (uint32_t r = 0; r < (*b)->n; r++) {
		static const enum field packets[] = {F_packets, F_rev_packets};
		static const enum field octets[] = {F_bytes, F_rev_bytes};
		struct value v, start, end;
		for (int k = 0; k < 2; k++) {
			s->packets += batch_value(*b, packets[k], r, &v) ? v.u : 0;
			s->octets += batch_value(*b, octets[k], r, &v) ? v.u : 0;
		}
		assert_always(batch_value(*b, F_start, r, &start));
		assert_always(batch_value(*b, F_end, r, &end));
		assert_always(start.i >= 0 && start.i <= end.i && end.i <= INT64_C(1) << 53);
		batch_row_json(&line, *b, r, field_set_all(), VALUE_JSON);
	}
	s->rows += (*b)->n;
	buf_fini(&line);
	batch_unref(b);
}

static void
second(void *arg, const struct stats_second *s)
{
	(void)arg;
	assert_always(s->n_apps <= STATS_APPS);
}

/** Frames until the burst is full or one is empty. */
static void
burst(struct flow_meter *m, struct cur *c, unsigned what, int64_t *now)
{
	static const int linktypes[] = {1, 1, 1, 12, 0, 9, 104, 108, 113, 228, 229, 239, 276, 147};
	struct flow_frame f[FLOW_BURST];
	unsigned n = 0;
	for (; n < FLOW_BURST && cur_left(c) > 0; n++) {
		unsigned time = cur_u8(c), missing = cur_u8(c), len = cur_u8(c);
		/* mostly milliseconds, now and then an hour, sometimes back */
		int64_t step =
		    time < 240 ? (int64_t)time * 1000 : ((int64_t)time - 247) * 3600000000;
		*now += step;
		len = len < cur_left(c) ? len : (unsigned)cur_left(c);
		if (len == 0)
			break;
		f[n] = (struct flow_frame){cur_take(c, len), len, len + missing, *now};
	}
	if (n > 0)
		flow_meter_burst(m, linktypes[what % 14], f, n, (uint64_t)*now);
}

static void
check(const struct flow_meter *m, const struct sums *s)
{
	const struct counters *c = flow_meter_counters(m);
	assert_always(counter_get(c, C_pkt_seen) ==
		      counter_get(c, C_pkt_metered) + counter_get(c, C_pkt_non_ip) +
			  counter_get(c, C_pkt_malformed) + counter_get(c, C_pkt_no_flow));
	assert_always(counter_get(c, C_flow_opened) == counter_get(c, C_flow_ended));
	assert_always(counter_get(c, C_flow_ended) == s->rows);
	assert_always(counter_get(c, C_pkt_metered) == s->packets);
	assert_always(counter_get(c, C_ip_bytes) == s->octets);
	assert_always(counter_get(c, C_flow_active) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cur c = cur_init(data, size);
	struct sums sums = {0};
	struct flow_meter_conf conf;
	struct err err = {0};
	int64_t now = INT64_C(1700000000000000);
	unsigned how = cur_u8(&c);
	flow_meter_conf_default(&conf);
	conf.max_flows = (how & 1) != 0 ? 3 : 200;
	conf.app_native = (how & 2) != 0;
	conf.app_ndpi = false;
	conf.key_vlan = (how & 4) != 0;
	conf.l2 = (how & 8) != 0;
	conf.interface = (how & 16) != 0 ? "eth0" : NULL;
	conf.active_us = (how & 32) != 0 ? 0 : 50000;
	conf.idle_us = (how & 64) != 0 ? 0 : 20000;
	conf.push = push;
	conf.second = second;
	conf.arg = &sums;
	struct flow_meter *m = flow_meter_new(&conf, &err);
	assert_always(m != NULL);
	while (cur_left(&c) > 0) {
		unsigned what = cur_u8(&c);
		if (what < 200) {
			burst(m, &c, what, &now);
		} else if (what < 230) {
			flow_meter_tick(m, now, (uint64_t)now);
		} else {
			uint64_t t = cur_u8(&c);
			flow_meter_timeouts(m, t % 7 * 20000, t % 5 * 10000, t % 3 * 5000);
		}
	}
	flow_meter_flush(m, (uint64_t)now);
	check(m, &sums);
	flow_meter_free(&m);
	return 0;
}
