/* SPDX-License-Identifier: Apache-2.0
 * flow/account.c - one packet to its flow: the innermost work of the meter. */
#include "flow/direction.h"
#include "flow/meter_priv.h"

static void
set_initiator(struct flow *f, unsigned side, unsigned by)
{
	f->flags &= ~(uint32_t)(FLOW_SWAPPED | FLOW_BY_MASK);
	f->flags |= by << FLOW_BY_SHIFT;
	/* a host that talks to itself on one port: all packets count as the initiator's */
	if (side == 1 && (f->key.w[0] != f->key.w[2] || f->key.w[1] != f->key.w[3] ||
			     flow_key_port(&f->key, 0) != flow_key_port(&f->key, 1)))
		f->flags |= FLOW_SWAPPED;
}

static uint32_t
entry_open(struct flow_meter *m, const struct meter_look *l, const struct wire_pkt *pkt)
{
	uint32_t i = flow_table_take(&m->table, &l->key, l->hash);
	if (i == FLOW_NONE) {
		meter_evict(m);
		i = flow_table_take(&m->table, &l->key, l->hash);
		if (i == FLOW_NONE)
			return i;
	}
	struct flow *f = &m->table.hot[i];
	unsigned by;
	bool sender = flow_direction(pkt, &by);
	set_initiator(f, sender ? l->side : !l->side, by);
	if (m->app != NULL)
		f->flags |= FLOW_APP_OPEN;
	return i;
}

static void
record_open(struct flow_meter *m, uint32_t i, int64_t ts_us)
{
	struct flow *f = &m->table.hot[i];
	f->flags |= FLOW_OPEN;
	f->first = f->last = m->now;
	f->start = f->end = ts_us;
	m->tot[C_flow_opened]++;
	m->active_flows++;
	meter_queue(m, i);
}

static void
facts_note(struct flow_facts *to, const struct wire_pkt *pkt)
{
	to->flags = pkt->flags;
	if (pkt->mac != NULL)
		memcpy(to->mac, pkt->mac, sizeof to->mac);
	else
		to->flags &= (uint16_t)~WIRE_HAS_MAC;
	to->mpls_label = pkt->mpls_label;
	to->vlan = pkt->vlan;
	to->inner_vlan = pkt->inner_vlan;
	to->tos = pkt->tos;
	to->ttl = pkt->ttl;
	to->icmp_type = pkt->icmp_type;
	to->icmp_code = pkt->icmp_code;
}

static void
handshake_set(
    struct flow *f, struct flow_cold *c, unsigned state, const struct wire_pkt *pkt, int64_t ts_us)
{
	f->flags = (f->flags & ~(uint32_t)FLOW_HS_MASK) | state << FLOW_HS_SHIFT;
	c->hs_us = ts_us;
	c->hs_seq = pkt->tcp_seq;
}

/* Does this ACK answer the segment being timed, and how long did that take? */
static bool
handshake_answer(
    const struct flow_cold *c, const struct wire_pkt *pkt, int64_t ts_us, uint32_t *rtt_out)
{
	int64_t took = ts_us - c->hs_us;
	if ((int32_t)(pkt->tcp_ack - c->hs_seq) <= 0 || took < 0 || took > UINT32_MAX)
		return false;
	*rtt_out = (uint32_t)took;
	return true;
}

/*
 * SYN, SYN-ACK, ACK, each once and answering the one before, give the two round-trip times. A
 * segment that was sent twice is not timed: the answer could be to either.
 */
static void
handshake_time(
    struct flow *f, struct flow_cold *c, unsigned side, const struct wire_pkt *pkt, int64_t ts_us)
{
	unsigned state = (f->flags & FLOW_HS_MASK) >> FLOW_HS_SHIFT;
	bool from_syn = side == ((f->flags & FLOW_SYN_SIDE1) != 0);
	unsigned what = pkt->tcp_flags & (TCP_syn | TCP_ack | TCP_rst | TCP_fin);
	if (state == HS_OVER)
		return;
	if (state == HS_NONE) {
		if (what != TCP_syn)
			return;
		handshake_set(f, c, HS_SYN, pkt, ts_us);
		if (side == 1)
			f->flags |= FLOW_SYN_SIDE1;
	} else if (state == HS_SYN && what == (TCP_syn | TCP_ack) && !from_syn &&
		   handshake_answer(c, pkt, ts_us, &c->rtt_server)) {
		f->flags |= FLOW_HAS_RTT_SERVER;
		handshake_set(f, c, HS_SYNACK, pkt, ts_us);
	} else if (state == HS_SYNACK && what == TCP_ack && !from_syn) {
		return; /* the responder's early data */
	} else {
		if (state == HS_SYNACK && what == TCP_ack &&
		    handshake_answer(c, pkt, ts_us, &c->rtt_client))
			f->flags |= FLOW_HAS_RTT_CLIENT;
		handshake_set(f, c, HS_OVER, pkt, ts_us);
	}
}

/* A packet with SYN, FIN or RST, or one that may complete a handshake. */
static __attribute__((noinline)) void
tcp_event(
    struct flow_meter *m, uint32_t i, unsigned side, const struct wire_pkt *pkt, int64_t ts_us)
{
	struct flow *f = &m->table.hot[i];
	unsigned tcp = pkt->tcp_flags;
	if ((tcp & TCP_syn) != 0 && (f->flags & FLOW_BY_MASK) >> FLOW_BY_SHIFT != DIRECTION_BY_SYN)
		set_initiator(f, (tcp & TCP_ack) == 0 ? side : !side, DIRECTION_BY_SYN);
	if ((tcp & TCP_fin) != 0)
		f->flags |= side == 0 ? FLOW_FIN0 : FLOW_FIN1;
	if ((f->flags & FLOW_FINISHED) == 0 &&
	    ((tcp & TCP_rst) != 0 ||
		(f->flags & (FLOW_FIN0 | FLOW_FIN1)) == (FLOW_FIN0 | FLOW_FIN1))) {
		f->flags |= FLOW_FINISHED;
		meter_queue_finished(m, i);
	}
	handshake_time(f, &m->table.cold[i], side, pkt, ts_us);
}

static __attribute__((noinline)) void
app_packet(
    struct flow_meter *m, uint32_t i, unsigned side, const struct wire_pkt *pkt, int64_t ts_us)
{
	struct flow *f = &m->table.hot[i];
	struct app_state *st = &m->table.cold[i].app;
	bool reverse = side != ((f->flags & FLOW_SWAPPED) != 0);
	app_look(m->app, st, pkt, reverse, ts_us, &m->counters);
	if (st->progress == APP_DONE)
		f->flags &= ~(uint32_t)FLOW_APP_OPEN;
}

/* Must something end before a packet with these flags is added? */
static inline bool
must_end(const struct flow_meter *m, const struct flow *f, unsigned tcp)
{
	bool finished = (f->flags & FLOW_FINISHED) != 0;
	int64_t silence = finished ? m->silence_finished : m->idle;
	return m->now - f->last >= silence || m->now - f->first >= m->active ||
	       (finished && (tcp & (TCP_syn | TCP_ack)) == TCP_syn);
}

void
meter_account(
    struct flow_meter *m, const struct meter_look *l, const struct wire_pkt *pkt, int64_t ts_us)
{
	unsigned side = l->side, tcp = (pkt->flags & WIRE_HAS_TCP) != 0 ? pkt->tcp_flags : 0;
	uint32_t i = flow_table_find(&m->table, &l->key, l->hash);
	if (i != FLOW_NONE && must_end(m, &m->table.hot[i], tcp))
		i = meter_end_before(m, i, (uint16_t)tcp);
	if (i == FLOW_NONE) {
		i = entry_open(m, l, pkt);
		if (i == FLOW_NONE) {
			m->tot[C_pkt_no_flow]++;
			return;
		}
	}
	struct flow *f = &m->table.hot[i];
	if ((f->flags & FLOW_OPEN) == 0)
		record_open(m, i, ts_us);
	if (f->packets[side] == 0) {
		facts_note(&m->table.cold[i].facts[side], pkt);
		f->in_if[side] = pkt->in_if != 0 ? pkt->in_if : m->conf.in_if;
	}
	f->packets[side]++;
	f->bytes[side] += pkt->ip_len;
	f->last = m->now;
	if (ts_us < f->start)
		f->start = ts_us;
	if (ts_us > f->end)
		f->end = ts_us;
	f->tcp_flags[side] |= (uint16_t)tcp;
	if ((pkt->flags & WIRE_FRAGMENT) != 0) {
		f->fragments++;
		m->tot[C_pkt_fragments]++;
	}
	m->tot[C_pkt_metered]++;
	m->tot[C_ip_bytes] += pkt->ip_len;
	if (tcp != 0 && ((tcp & (TCP_syn | TCP_fin | TCP_rst)) != 0 ||
			    (f->flags & FLOW_HS_MASK) >> FLOW_HS_SHIFT == HS_SYNACK))
		tcp_event(m, i, side, pkt, ts_us);
	if ((f->flags & FLOW_APP_OPEN) != 0 && app_wants(m->conf.app_native, pkt))
		app_packet(m, i, side, pkt, ts_us);
}
