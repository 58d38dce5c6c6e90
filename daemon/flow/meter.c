/* SPDX-License-Identifier: Apache-2.0
 * flow/meter.c - life cycle, bursts and the meter's clock (meter.h; rules in README.md). */
#include "flow/meter.h"

#include <stdlib.h>
#include <string.h>

#include "flow/meter_priv.h"

/* What the meter counts itself; application detection writes its own counters. */
static const uint8_t own_counters[] = {C_pkt_seen, C_pkt_bytes, C_pkt_metered, C_ip_bytes,
    C_pkt_non_ip, C_pkt_malformed, C_pkt_no_flow, C_pkt_fragments, C_pkt_truncated, C_pkt_time_back,
    C_flow_opened, C_flow_ended, C_flow_ended_idle, C_flow_ended_active, C_flow_ended_finished,
    C_flow_ended_forced, C_flow_ended_resources, C_flow_lost_batch, C_flow_late_us_max, C_batch_out,
    C_flow_out};

void
flow_meter_conf_default(struct flow_meter_conf *c)
{
	*c = (struct flow_meter_conf){
	    .active_us = 60 * 1000000,
	    .idle_us = 15 * 1000000,
	    .tcp_end_us = 2 * 1000000,
	    .max_flows = 262144,
	    .max_batches = 64,
	    .batch_delay_us = 200000,
	    .app_native = true,
	    .ndpi_flows = 32768,
	    .ndpi_packets = 16,
	    .l2 = true,
	};
}

static int64_t
timeout_of(uint64_t us)
{
	if (us == 0)
		return METER_NEVER;
	return us < (uint64_t)METER_SPAN_MAX ? (int64_t)us : METER_SPAN_MAX;
}

static int64_t
lesser(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void
timeouts_set(struct flow_meter *m, uint64_t active_us, uint64_t idle_us, uint64_t tcp_end_us)
{
	m->active = timeout_of(active_us);
	m->idle = timeout_of(idle_us);
	m->tcp_end = timeout_of(tcp_end_us);
	m->span = lesser(m->active, m->idle);
	m->silence_finished = lesser(m->idle, m->tcp_end);
}

static int
app_open(struct flow_meter *m, struct err *err)
{
	const struct flow_meter_conf *c = &m->conf;
	if (!c->app_native && !c->app_ndpi)
		return 0;
	struct app_conf conf = {
	    .native = c->app_native,
	    .ndpi = c->app_ndpi,
	    .max_texts = c->max_flows,
	    .ndpi_flows = c->ndpi_flows,
	    .ndpi_packets = c->ndpi_packets,
	};
	m->app = app_engine_new(&conf, err);
	if (m->app == NULL)
		return -E_NOMEM;
	m->second.tally = calloc(UINT16_MAX + 1, sizeof *m->second.tally);
	m->second.touched = calloc(METER_TALLY_APPS, sizeof *m->second.touched);
	if (m->second.tally == NULL || m->second.touched == NULL)
		return err_set(err, E_NOMEM, "no memory for the one-second statistics");
	return 0;
}

struct flow_meter *
flow_meter_new(const struct flow_meter_conf *conf, struct err *err)
{
	if (conf->max_flows == 0 || conf->max_flows > 1u << 28 || conf->max_batches == 0) {
		err_set(err, E_RANGE, "max_flows %u or max_batches %u is out of range",
		    conf->max_flows, conf->max_batches);
		return NULL;
	}
	struct flow_meter *m = aligned_alloc(64, (sizeof *m + 63) / 64 * 64);
	if (m == NULL) {
		err_set(err, E_NOMEM, "no memory for a meter");
		return NULL;
	}
	memset(m, 0, sizeof *m);
	m->conf = *conf;
	m->next_event = INT64_MIN;
	m->writer.interface_name = conf->interface;
	m->writer.probe_name = conf->probe;
	m->writer.l2 = conf->l2;
	timeouts_set(m, conf->active_us, conf->idle_us, conf->tcp_end_us);
	if (flow_table_init(&m->table, conf->max_flows, err) != 0)
		goto fail;
	m->pool = batch_pool_new(conf->max_batches);
	if (wheel_init(&m->wheel, conf->max_flows) != 0 ||
	    wheel_init(&m->closing, conf->max_flows) != 0 || m->pool == NULL) {
		err_set(err, E_NOMEM, "no memory for the timers of %u flows, lower max_flows",
		    conf->max_flows);
		goto fail;
	}
	if (app_open(m, err) != 0)
		goto fail;
	return m;
fail:
	flow_meter_free(&m);
	return NULL;
}

/* Texts and nDPI slots of flows still there belong to the engine and go with it. */
void
flow_meter_free(struct flow_meter **mp)
{
	struct flow_meter *m = *mp;
	*mp = NULL;
	if (m == NULL)
		return;
	if (m->writer.b != NULL)
		batch_unref(&m->writer.b);
	batch_pool_free(&m->pool);
	if (m->app != NULL)
		app_engine_free(&m->app);
	free(m->second.tally);
	free(m->second.touched);
	wheel_fini(&m->wheel);
	wheel_fini(&m->closing);
	flow_table_fini(&m->table);
	free(m);
}

void
flow_meter_memory(const struct flow_meter *m, uint64_t *total_out, uint32_t *per_flow_out)
{
	uint64_t flows = m->table.reserved + m->wheel.reserved + m->closing.reserved;
	*total_out = flows + sizeof *m + (m->app != NULL ? app_engine_memory(m->app) : 0);
	*per_flow_out = (uint32_t)((flows + m->table.max - 1) / m->table.max);
}

const struct counters *
flow_meter_counters(const struct flow_meter *m)
{
	return &m->counters;
}

void
flow_meter_drops(struct flow_meter *m, uint64_t kernel, uint64_t interface)
{
	m->drops_kernel = kernel;
	m->drops_if = interface;
}

void
flow_meter_interface(struct flow_meter *m, uint32_t in_if)
{
	m->conf.in_if = in_if;
}

static int64_t
time_bounded(int64_t ts_us)
{
	return ts_us < 0 ? 0 : ts_us > METER_TIME_MAX ? METER_TIME_MAX : ts_us;
}

/* The clock has reached a boundary: a second is complete, a slot of the wheel has come. */
static __attribute__((noinline)) void
clock_event(struct flow_meter *m)
{
	if (!m->started) {
		m->started = true;
		m->wheel.pos = m->closing.pos = (uint64_t)m->now >> WHEEL_SHIFT;
		second_begin(m, m->now - m->offset);
	}
	if (m->now >= m->second.end)
		second_advance(m);
	meter_export_due(m);
	m->next_event = lesser(m->second.end, (int64_t)(m->wheel.pos + 1) << WHEEL_SHIFT);
}

/*
 * Time went back. A few late packets change nothing; many in a row, far back, are a step of the
 * source's clock: from then on their times continue the meter's clock.
 */
static __attribute__((noinline)) void
clock_back(struct flow_meter *m, int64_t ts_us)
{
	int64_t back = m->now - (ts_us + m->offset);
	if (back <= METER_STEP_US || m->now > METER_CLOCK_MAX) {
		m->n_back = 0;
	} else if (++m->n_back >= METER_STEP_PACKETS) {
		m->n_back = 0;
		m->offset += back;
		second_complete(m);
		second_begin(m, ts_us);
		m->next_event = lesser(m->next_event, m->second.end);
	}
}

/* Returns whether the time is older than the clock. */
static inline bool
clock_set(struct flow_meter *m, int64_t ts_us)
{
	int64_t t = ts_us + m->offset;
	if (t < m->now) {
		clock_back(m, ts_us);
		return true;
	}
	m->now = t;
	m->n_back = 0;
	if (t >= m->next_event)
		clock_event(m);
	return false;
}

/* The batch that has waited long enough; and counters for readers, all of one moment: between
 * bursts the equations of the ledger hold (README.md). */
static void
burst_end(struct flow_meter *m)
{
	if (m->writer.b != NULL && m->mono_us - m->batch_since_us >= m->conf.batch_delay_us)
		meter_push(m);
	counters_begin(&m->counters);
	for (size_t k = 0; k < sizeof own_counters; k++)
		counter_set(&m->counters, own_counters[k], m->tot[own_counters[k]]);
	counter_set(&m->counters, C_flow_active, m->active_flows);
	counter_set(&m->counters, C_flow_batching, meter_batching(m));
	counters_end(&m->counters);
}

/* Will this packet touch the cold part: handshake or application not over? */
static inline bool
wants_cold(const struct flow_meter *m, const struct flow *f, const struct wire_pkt *pkt)
{
	unsigned state = (f->flags & FLOW_HS_MASK) >> FLOW_HS_SHIFT;
	return state == HS_SYN || state == HS_SYNACK ||
	       ((f->flags & FLOW_APP_OPEN) != 0 && app_wants(m->conf.app_native, pkt));
}

/* Decode, hash, and fetch first the index, then the entries of all packets of the burst. */
static void
burst_look(struct flow_meter *m, int linktype, const struct flow_frame *f, unsigned n,
    struct wire_pkt *pkt, struct meter_look *look)
{
	struct {
		uint32_t entry, packet;
	} known[FLOW_BURST];
	unsigned fresh = 0, n_known = 0;
	for (unsigned k = 0; k < n; k++) {
		struct meter_look *l = &look[k];
		l->status =
		    wire_packet_decode(linktype, f[k].data, f[k].caplen, f[k].wirelen, &pkt[k]);
		if (l->status != WIRE_IP)
			continue;
		bool vlan = m->conf.key_vlan && (pkt[k].flags & WIRE_HAS_VLAN) != 0;
		l->side = flow_key_make(&l->key, &pkt[k], vlan ? pkt[k].vlan : 0);
		l->hash = flow_table_hash(&m->table, &l->key);
		flow_bucket_prefetch(&m->table, (uint32_t)l->hash);
	}
	for (unsigned k = 0; k < n; k++) {
		if (look[k].status != WIRE_IP)
			continue;
		uint32_t i = flow_table_likely(&m->table, look[k].hash);
		if (i == FLOW_NONE) {
			i = flow_table_upcoming(&m->table, fresh++);
			if (i == FLOW_NONE)
				continue;
			flow_cold_prefetch(&m->table, i);
		} else {
			known[n_known].entry = i;
			known[n_known++].packet = k;
		}
		flow_table_prefetch(&m->table, i);
	}
	for (unsigned k = 0; k < n_known; k++)
		if (wants_cold(m, &m->table.hot[known[k].entry], &pkt[known[k].packet]))
			flow_cold_prefetch(&m->table, known[k].entry);
}

static void
burst(struct flow_meter *m, int linktype, const struct flow_frame *f, unsigned n)
{
	struct wire_pkt pkt[FLOW_BURST];
	struct meter_look look[FLOW_BURST];
	burst_look(m, linktype, f, n, pkt, look);
	for (unsigned k = 0; k < n; k++) {
		int64_t ts_us = time_bounded(f[k].ts_us);
		bool back = clock_set(m, ts_us);
		m->tot[C_pkt_seen]++;
		m->tot[C_pkt_bytes] += f[k].wirelen;
		m->tot[C_pkt_time_back] += back;
		m->tot[C_pkt_truncated] += (pkt[k].flags & WIRE_TRUNCATED) != 0;
		if (look[k].status == WIRE_IP)
			meter_account(m, &look[k], &pkt[k], ts_us);
		else if (look[k].status == WIRE_NON_IP)
			m->tot[C_pkt_non_ip]++;
		else
			m->tot[C_pkt_malformed]++;
	}
}

void
flow_meter_burst(
    struct flow_meter *m, int linktype, const struct flow_frame *f, unsigned n, uint64_t mono_us)
{
	m->mono_us = mono_us;
	for (unsigned k = 0; k < n; k += FLOW_BURST)
		burst(m, linktype, f + k, n - k < FLOW_BURST ? n - k : FLOW_BURST);
	burst_end(m);
}

void
flow_meter_tick(struct flow_meter *m, int64_t ts_us, uint64_t mono_us)
{
	m->mono_us = mono_us;
	(void)clock_set(m, time_bounded(ts_us));
	burst_end(m);
}

void
flow_meter_flush(struct flow_meter *m, uint64_t mono_us)
{
	m->mono_us = mono_us;
	meter_end_all(m);
	meter_push(m);
	if (m->started) {
		second_complete(m);
		second_begin(m, m->second.number * 1000000);
	}
	burst_end(m);
}

/*
 * What was due by the old ones ends by them. Nobody may be queued for later than the new timeouts
 * from now: queue all anew.
 */
void
flow_meter_timeouts(struct flow_meter *m, uint64_t active_us, uint64_t idle_us, uint64_t tcp_end_us)
{
	meter_end_due(m);
	timeouts_set(m, active_us, idle_us, tcp_end_us);
	m->conf.active_us = active_us;
	m->conf.idle_us = idle_us;
	m->conf.tcp_end_us = tcp_end_us;
	wheel_reset(&m->wheel, m->now);
	wheel_reset(&m->closing, m->now);
	for (uint32_t i = 0; i < m->table.fresh; i++) {
		uint32_t flags = m->table.hot[i].flags;
		if ((flags & FLOW_USED) != 0)
			meter_queue(m, i);
		if ((flags & FLOW_FINISHED) != 0)
			meter_queue_finished(m, i);
	}
}
