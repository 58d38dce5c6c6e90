/* SPDX-License-Identifier: Apache-2.0
 * flow/end.c - when records end, and how they leave.
 *
 * The times kept with a flow decide (meter_due); the wheels only say when to look. An active
 * timeout ends the record and keeps the entry, so that the next piece has the same orientation and
 * application; every other end drops the entry. */
#include "flow/meter_priv.h"

struct meter_due
meter_due(const struct flow_meter *m, const struct flow *f)
{
	struct meter_due d = {METER_NEVER, END_FORCED};
	if (m->idle != METER_NEVER)
		d = (struct meter_due){f->last + m->idle, END_IDLE};
	if ((f->flags & FLOW_FINISHED) != 0 && m->tcp_end != METER_NEVER &&
	    f->last + m->tcp_end <= d.at)
		d = (struct meter_due){f->last + m->tcp_end, END_FINISHED};
	if ((f->flags & FLOW_OPEN) != 0 && m->active != METER_NEVER && f->first + m->active < d.at)
		d = (struct meter_due){f->first + m->active, END_ACTIVE};
	return d;
}

void
meter_queue(struct flow_meter *m, uint32_t i)
{
	if (m->span == METER_NEVER || wheel_has(&m->wheel, i))
		return;
	int64_t at = meter_due(m, &m->table.hot[i]).at, latest = m->now + m->span;
	if (at != METER_NEVER)
		wheel_add(&m->wheel, i, at < latest ? at : latest);
}

void
meter_queue_finished(struct flow_meter *m, uint32_t i)
{
	if (m->tcp_end != METER_NEVER && !wheel_has(&m->closing, i))
		wheel_add(&m->closing, i, m->table.hot[i].last + m->tcp_end);
}

void
meter_push(struct flow_meter *m)
{
	struct batch *b = m->writer.b;
	if (b == NULL)
		return;
	m->writer.b = NULL;
	if (b->n == 0) {
		batch_unref(&b);
		return;
	}
	b->source = m->conf.source;
	batch_seal(b, m->mono_us);
	m->tot[C_batch_out]++;
	m->tot[C_flow_out] += b->n;
	m->conf.push(m->conf.arg, &b);
}

static bool
batch_open(struct flow_meter *m)
{
	struct batch *b = batch_pool_get(m->pool);
	while (b == NULL && m->conf.wait != NULL && m->conf.wait(m->conf.arg))
		b = batch_pool_get(m->pool);
	if (b == NULL)
		return false;
	if (!record_begin(&m->writer, b)) {
		batch_unref(&b);
		return false;
	}
	m->batch_since_us = m->mono_us;
	return true;
}

static enum counter
reason_counter(uint8_t reason)
{
	switch (reason) {
	case END_IDLE:
		return C_flow_ended_idle;
	case END_ACTIVE:
		return C_flow_ended_active;
	case END_FINISHED:
		return C_flow_ended_finished;
	case END_RESOURCES:
		return C_flow_ended_resources;
	default:
		return C_flow_ended_forced;
	}
}

/* The flow ends: nothing more will tell its application. */
static void
app_close(struct flow_meter *m, struct flow *f, struct flow_cold *c)
{
	unsigned from = (f->flags & FLOW_SWAPPED) != 0;
	f->flags &= ~(uint32_t)FLOW_APP_OPEN;
	app_finish(m->app, &c->app, flow_key_proto(&f->key), flow_key_port(&f->key, from),
	    flow_key_port(&f->key, !from), &m->counters);
}

/* The application of a record, the last one of its flow or not. */
static void
app_record(struct flow_meter *m, const struct flow *f, const struct flow_cold *c)
{
	struct batch *b = m->writer.b;
	unsigned from = (f->flags & FLOW_SWAPPED) != 0;
	struct app_state st = c->app;
	if ((f->flags & FLOW_APP_OPEN) != 0)
		app_guess(m->app, &c->app, flow_key_proto(&f->key), flow_key_port(&f->key, from),
		    flow_key_port(&f->key, !from), &st);
	if (st.name != 0)
		second_app(m, st.name, f->bytes[0] + f->bytes[1]);
	if (b != NULL)
		app_write(m->app, &st, b, b->n);
}

/* The record of an open flow. */
static void
record_end(struct flow_meter *m, uint32_t i, uint8_t reason)
{
	struct flow *f = &m->table.hot[i];
	struct flow_cold *c = &m->table.cold[i];
	m->tot[C_flow_ended]++;
	m->tot[reason_counter(reason)]++;
	m->active_flows--;
	bool has_batch = m->writer.b != NULL || batch_open(m);
	if (has_batch)
		record_write(&m->writer, f, c, reason);
	else
		m->tot[C_flow_lost_batch]++;
	if (m->app != NULL)
		app_record(m, f, c);
	if (has_batch) {
		struct batch *b = m->writer.b;
		b->n++;
		if (batch_full(b))
			meter_push(m);
	}
	f->flags &= ~(uint32_t)FLOW_OPEN;
}

/* What is left after an active timeout: identity, orientation, handshake, application. */
static void
piece_end(struct flow_meter *m, uint32_t i)
{
	struct flow *f = &m->table.hot[i];
	record_end(m, i, END_ACTIVE);
	f->packets[0] = f->packets[1] = f->bytes[0] = f->bytes[1] = 0;
	f->tcp_flags[0] = f->tcp_flags[1] = 0;
	f->fragments = 0;
}

static void
entry_end(struct flow_meter *m, uint32_t i, uint8_t reason)
{
	if (m->app != NULL)
		app_close(m, &m->table.hot[i], &m->table.cold[i]);
	if ((m->table.hot[i].flags & FLOW_OPEN) != 0)
		record_end(m, i, reason);
	if (m->app != NULL)
		app_release(m->app, &m->table.cold[i].app);
	flow_table_drop(&m->table, i);
}

/* End what is due now. False when the entry has left the table. */
static bool
end_due(struct flow_meter *m, uint32_t i)
{
	const struct flow *f = &m->table.hot[i];
	for (;;) {
		struct meter_due d = meter_due(m, f);
		if (d.at > m->now)
			return true;
		if ((f->flags & FLOW_OPEN) != 0 &&
		    (uint64_t)(m->now - d.at) > m->tot[C_flow_late_us_max])
			m->tot[C_flow_late_us_max] = (uint64_t)(m->now - d.at);
		if (d.reason != END_ACTIVE) {
			entry_end(m, i, d.reason);
			return false;
		}
		piece_end(m, i);
	}
}

uint32_t
meter_end_before(struct flow_meter *m, uint32_t i, uint16_t tcp_flags)
{
	if (!end_due(m, i))
		return FLOW_NONE;
	if ((tcp_flags & (TCP_syn | TCP_ack)) == TCP_syn && m->tcp_end != METER_NEVER &&
	    (m->table.hot[i].flags & FLOW_FINISHED) != 0) {
		entry_end(m, i, END_FINISHED);
		return FLOW_NONE;
	}
	return i;
}

void
meter_evict(struct flow_meter *m)
{
	uint32_t i = flow_table_victim(&m->table);
	if (end_due(m, i))
		entry_end(m, i, END_RESOURCES);
}

/* Fetch what looking at these entries will touch, in two steps. */
static void
export_fetch(const struct flow_meter *m, const uint32_t *i, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		flow_table_prefetch(&m->table, i[k]);
	for (unsigned k = 0; k < n; k++) {
		const struct flow *f = &m->table.hot[i[k]];
		if ((f->flags & FLOW_USED) == 0 || meter_due(m, f).at > m->now)
			continue;
		flow_cold_prefetch(&m->table, i[k]);
		flow_bucket_prefetch(&m->table, f->hash);
	}
}

/* Look at all entries of a wheel whose time has come; @queue puts back those that live on. */
static void
export_wheel(struct flow_meter *m, struct wheel *w, uint32_t wanted,
    void (*queue)(struct flow_meter *m, uint32_t i))
{
	uint32_t group[32];
	unsigned n;
	while ((n = wheel_take(w, m->now, group, 32)) != 0) {
		export_fetch(m, group, n);
		for (unsigned k = 0; k < n; k++)
			if ((m->table.hot[group[k]].flags & wanted) != 0 && end_due(m, group[k]))
				queue(m, group[k]);
	}
}

void
meter_export_due(struct flow_meter *m)
{
	export_wheel(m, &m->closing, FLOW_FINISHED, meter_queue_finished);
	export_wheel(m, &m->wheel, FLOW_USED, meter_queue);
}

void
meter_end_due(struct flow_meter *m)
{
	for (uint32_t i = 0; i < m->table.fresh; i++)
		if ((m->table.hot[i].flags & FLOW_USED) != 0)
			(void)end_due(m, i);
}

void
meter_end_all(struct flow_meter *m)
{
	for (uint32_t i = 0; i < m->table.fresh; i++) {
		if (i + 8 < m->table.fresh && (m->table.hot[i + 8].flags & FLOW_USED) != 0)
			flow_bucket_prefetch(&m->table, m->table.hot[i + 8].hash);
		if ((m->table.hot[i].flags & FLOW_USED) != 0 && end_due(m, i))
			entry_end(m, i, END_FORCED);
	}
}
