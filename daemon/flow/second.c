/* SPDX-License-Identifier: Apache-2.0
 * flow/second.c - one second of the meter (batch/stats.h), as differences of its totals.
 *
 * Records count in the second in which they were exported. Over a gap in packet time the first
 * METER_EMPTY_SECONDS empty seconds are reported, the rest of the gap is left out. */
#include <stdio.h>
#include <string.h>

#include "flow/meter_priv.h"

static void
second_mark(struct flow_meter *m)
{
	struct meter_second *s = &m->second;
	s->packets = m->tot[C_pkt_seen];
	s->bytes = m->tot[C_pkt_bytes];
	s->non_ip = m->tot[C_pkt_non_ip];
	s->malformed = m->tot[C_pkt_malformed];
	s->opened = m->tot[C_flow_opened];
	s->ended = m->tot[C_flow_ended];
	s->no_flow = m->tot[C_pkt_no_flow];
	s->kernel = m->drops_kernel;
	s->interface = m->drops_if;
	for (uint32_t i = 0; i < s->n_touched; i++)
		s->tally[s->touched[i]] = (struct meter_tally){0, 0};
	s->n_touched = 0;
}

void
second_begin(struct flow_meter *m, int64_t ts_us)
{
	m->second.number = ts_us / 1000000;
	m->second.end = (m->second.number + 1) * 1000000 + m->offset;
	second_mark(m);
}

void
second_app(struct flow_meter *m, uint16_t name, uint64_t bytes)
{
	struct meter_second *s = &m->second;
	struct meter_tally *t = &s->tally[name];
	if (t->flows == 0) {
		if (s->n_touched == METER_TALLY_APPS)
			return;
		s->touched[s->n_touched++] = name;
	}
	t->flows++;
	t->bytes += bytes;
}

/* The largest by bytes, kept in order by insertion. */
static void
second_top(const struct flow_meter *m, struct stats_second *out)
{
	const struct meter_second *s = &m->second;
	for (uint32_t i = 0; i < s->n_touched; i++) {
		const struct meter_tally *t = &s->tally[s->touched[i]];
		const char *name = app_name(m->app, s->touched[i]);
		uint32_t at = out->n_apps;
		if (at == STATS_APPS) {
			if (out->apps[at - 1].bytes >= t->bytes)
				continue;
			at--;
		} else {
			out->n_apps++;
		}
		while (at > 0 && out->apps[at - 1].bytes < t->bytes) {
			out->apps[at] = out->apps[at - 1];
			at--;
		}
		out->apps[at].flows = t->flows;
		out->apps[at].bytes = t->bytes;
		(void)snprintf(out->apps[at].name, sizeof out->apps[at].name, "%s", name);
	}
}

/* Everything since the meter began. Between two packets, so all equations hold. */
static void
second_totals(const struct flow_meter *m, struct stats_totals *t)
{
	*t = (struct stats_totals){.is_known = true,
	    .seen = m->tot[C_pkt_seen],
	    .metered = m->tot[C_pkt_metered],
	    .non_ip = m->tot[C_pkt_non_ip],
	    .malformed = m->tot[C_pkt_malformed],
	    .no_flow = m->tot[C_pkt_no_flow],
	    .drops_kernel = m->drops_kernel,
	    .drops_if = m->drops_if,
	    .opened = m->tot[C_flow_opened],
	    .ended = m->tot[C_flow_ended],
	    .active = m->active_flows,
	    .given = m->tot[C_flow_out],
	    .batching = meter_batching(m),
	    .lost_batch = m->tot[C_flow_lost_batch]};
}

void
second_complete(struct flow_meter *m)
{
	const struct meter_second *s = &m->second;
	if (m->conf.second == NULL)
		return;
	struct stats_second out = {.second = s->number};
	if (m->conf.interface != NULL)
		(void)snprintf(out.interface, sizeof out.interface, "%s", m->conf.interface);
	out.packets = m->tot[C_pkt_seen] - s->packets;
	out.bytes = m->tot[C_pkt_bytes] - s->bytes;
	out.non_ip = m->tot[C_pkt_non_ip] - s->non_ip;
	out.malformed = m->tot[C_pkt_malformed] - s->malformed;
	out.drops_kernel = m->drops_kernel - s->kernel;
	out.drops_if = m->drops_if - s->interface;
	out.drops_own = m->tot[C_pkt_no_flow] - s->no_flow;
	out.flows_active = m->active_flows;
	out.flows_new = m->tot[C_flow_opened] - s->opened;
	out.flows_ended = m->tot[C_flow_ended] - s->ended;
	second_totals(m, &out.totals);
	if (m->now > s->end)
		out.late_us =
		    m->now - s->end < UINT32_MAX ? (uint32_t)(m->now - s->end) : UINT32_MAX;
	if (s->tally != NULL)
		second_top(m, &out);
	m->conf.second(m->conf.arg, &out);
}

void
second_advance(struct flow_meter *m)
{
	int64_t last = (m->now - m->offset) / 1000000; /* the one that begins */
	second_complete(m);
	for (int n = 0; n < METER_EMPTY_SECONDS && m->second.number + 1 < last; n++) {
		second_begin(m, (m->second.number + 1) * 1000000);
		second_complete(m);
	}
	second_begin(m, last * 1000000);
}
