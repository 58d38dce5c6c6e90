/* SPDX-License-Identifier: Apache-2.0
 * meter_model.c - the meter in simple (meter_model.h). */
#include "meter_model.h"

#include <stdlib.h>
#include <string.h>

enum { NONE, SYN, SYNACK, OVER };

static void
record(struct model *m, struct model_flow *f, int reason)
{
	struct model_side *i = &f->side[0], *r = &f->side[1];
	if (m->n_records == MODEL_RECORDS)
		abort();
	struct model_record *o = &m->record[m->n_records++];
	*o = (struct model_record){.start = f->start,
	    .end = f->end,
	    .packets = i->packets,
	    .bytes = i->bytes,
	    .rev_packets = r->packets,
	    .rev_bytes = r->bytes,
	    .fragments = f->fragments,
	    .tcp_flags = i->tcp_flags,
	    .rev_tcp_flags = r->tcp_flags,
	    .tos = -1,
	    .rev_tos = -1,
	    .ttl = -1,
	    .rev_ttl = -1,
	    .vlan = -1,
	    .rev_vlan = -1,
	    .inner_vlan = -1,
	    .src_mac = -1,
	    .dst_mac = -1,
	    .icmp_type = -1,
	    .icmp_code = -1,
	    .rtt_client = f->rtt_client,
	    .rtt_server = f->rtt_server,
	    .direction_by = f->by,
	    .end_reason = reason,
	    .v6 = f->v6,
	    .src = i->host,
	    .dst = r->host,
	    .sport = i->port,
	    .dport = r->port,
	    .proto = f->proto};
	if (i->packets > 0) {
		o->tos = i->first.tos;
		o->ttl = i->first.ttl;
		o->vlan = i->first.vlan;
		o->inner_vlan = i->first.inner_vlan;
		o->src_mac = i->first.mac;
		o->dst_mac = i->first.mac + 1;
		if ((f->proto == 1 || f->proto == 58) && i->first.fragment != MODEL_LATER) {
			o->icmp_type = i->first.icmp_type;
			o->icmp_code = i->first.icmp_code;
		}
	}
	if (r->packets > 0) {
		o->rev_tos = r->first.tos;
		o->rev_ttl = r->first.ttl;
		o->rev_vlan = r->first.vlan;
	}
	f->counting = false;
	i->packets = i->bytes = i->tcp_flags = r->packets = r->bytes = r->tcp_flags = 0;
	f->fragments = 0;
}

static void
end(struct model *m, struct model_flow *f, int reason)
{
	if (f->counting)
		record(m, f, reason);
	f->used = false;
}

/* The earliest of the times at which a flow ends by itself; later ones do not matter. */
static void
due(struct model *m, struct model_flow *f)
{
	while (f->used) {
		int64_t at = INT64_MAX;
		int reason = 0;
		if (m->tcp_end != 0 && f->finished) {
			at = f->last + m->tcp_end;
			reason = END_FINISHED;
		}
		if (m->idle != 0 && f->last + m->idle < at) {
			at = f->last + m->idle;
			reason = END_IDLE;
		}
		if (m->active != 0 && f->counting && f->first + m->active < at) {
			at = f->first + m->active;
			reason = END_ACTIVE;
		}
		if (at > m->now)
			return;
		if (reason == END_ACTIVE)
			record(m, f, reason);
		else
			end(m, f, reason);
	}
}

void
model_due(struct model *m)
{
	for (int i = 0; i < MODEL_FLOWS; i++)
		due(m, &m->flow[i]);
}

void
model_flush(struct model *m)
{
	model_due(m);
	for (int i = 0; i < MODEL_FLOWS; i++)
		if (m->flow[i].used)
			end(m, &m->flow[i], END_FORCED);
}

static bool
has_ports(const struct model_packet *p)
{
	return (p->proto == 6 || p->proto == 17) && p->fragment != MODEL_LATER;
}

static bool
service(unsigned port)
{
	return (port > 0 && port < 1024 && port != 68 && port != 546) || port == 8080 ||
	       port == 3306;
}

/* 1: the sender is the initiator, -1: the other one, 0: first packet decides. */
static int
asks(const struct model_packet *p)
{
	if (p->fragment == MODEL_LATER)
		return 0;
	if (p->proto == 1)
		return p->icmp_type == 8 ? 1 : p->icmp_type == 0 ? -1 : 0;
	if (p->proto == 58)
		return p->icmp_type == 128 ? 1 : p->icmp_type == 129 ? -1 : 0;
	if (!has_ports(p))
		return 0;
	bool s = service(p->sport), d = service(p->dport);
	if (s && d) {
		s = p->sport < 1024;
		d = p->dport < 1024;
	}
	return s == d ? 0 : d ? 1 : -1;
}

static bool
same_ends(const struct model_flow *f)
{
	return f->side[0].host == f->side[1].host && f->side[0].port == f->side[1].port;
}

static void
turn(struct model_flow *f)
{
	struct model_side s = f->side[0];
	if (same_ends(f))
		return;
	f->side[0] = f->side[1];
	f->side[1] = s;
	if (f->stage != NONE)
		f->syn_side = !f->syn_side;
}

static struct model_flow *
find(struct model *m, const struct model_packet *p, unsigned sport, unsigned dport, int *side)
{
	int vlan = m->key_vlan && p->vlan > 0 ? p->vlan : 0;
	for (int i = 0; i < MODEL_FLOWS; i++) {
		struct model_flow *f = &m->flow[i];
		if (!f->used || f->v6 != p->v6 || f->proto != p->proto || f->vlan != vlan)
			continue;
		for (*side = 0; *side < 2; ++*side) {
			const struct model_side *a = &f->side[*side], *b = &f->side[!*side];
			if (a->host == p->src && a->port == sport && b->host == p->dst &&
			    b->port == dport)
				return f;
		}
	}
	return NULL;
}

static struct model_flow *
open_flow(struct model *m, const struct model_packet *p, unsigned sport, unsigned dport,
    unsigned tcp, int *side)
{
	struct model_flow *f = NULL;
	for (int i = 0; i < MODEL_FLOWS && f == NULL; i++)
		if (!m->flow[i].used)
			f = &m->flow[i];
	if (f == NULL)
		abort();
	*f = (struct model_flow){.used = true,
	    .v6 = p->v6,
	    .proto = p->proto,
	    .vlan = m->key_vlan && p->vlan > 0 ? p->vlan : 0,
	    .rtt_client = -1,
	    .rtt_server = -1};
	f->side[0].host = p->src;
	f->side[0].port = (uint16_t)sport;
	f->side[1].host = p->dst;
	f->side[1].port = (uint16_t)dport;
	bool sender = true;
	f->by = DIRECTION_BY_FIRST;
	if ((tcp & TCP_syn) != 0) {
		f->by = DIRECTION_BY_SYN;
		sender = (tcp & TCP_ack) == 0;
	} else if (asks(p) != 0) {
		f->by = DIRECTION_BY_SERVICE;
		sender = asks(p) > 0;
	}
	*side = 0;
	if (!sender && !same_ends(f)) {
		turn(f);
		*side = 1;
	}
	return f;
}

static void
handshake(struct model_flow *f, int side, const struct model_packet *p, unsigned tcp)
{
	unsigned what = tcp & (TCP_syn | TCP_ack | TCP_fin | TCP_rst);
	bool newer = (int32_t)(p->ack - f->stage_seq) > 0;
	int64_t took = p->ts_us - f->stage_us;
	bool timed = newer && took >= 0 && took <= UINT32_MAX;
	if (f->stage == NONE && what == TCP_syn) {
		f->syn_side = side;
		f->stage = SYN;
	} else if (f->stage == SYN && what == (TCP_syn | TCP_ack) && side != f->syn_side && timed) {
		f->rtt_server = took;
		f->stage = SYNACK;
	} else if (f->stage == SYN && (what & (TCP_syn | TCP_fin | TCP_rst)) != 0) {
		f->stage = OVER;
		return;
	} else if (f->stage == SYNACK && tcp != 0 && !(side != f->syn_side && what == TCP_ack)) {
		if (what == TCP_ack && timed)
			f->rtt_client = took;
		f->stage = OVER;
		return;
	} else {
		return;
	}
	f->stage_us = p->ts_us;
	f->stage_seq = p->seq;
}

static void
account(struct model *m, struct model_flow *f, int side, const struct model_packet *p, unsigned tcp)
{
	if (!f->counting) {
		f->counting = true;
		f->first = m->now;
		f->start = f->end = p->ts_us;
		m->opened++;
	}
	if ((tcp & TCP_syn) != 0 && f->by != DIRECTION_BY_SYN) {
		f->by = DIRECTION_BY_SYN;
		int initiator = (tcp & TCP_ack) == 0 ? side : !side;
		if (initiator == 1 && !same_ends(f)) {
			turn(f);
			side = !side;
		}
	}
	struct model_side *s = &f->side[side];
	if (s->packets++ == 0)
		s->first = *p;
	s->bytes += p->ip_len;
	s->tcp_flags |= tcp;
	s->fin |= (tcp & TCP_fin) != 0;
	f->finished |= (tcp & TCP_rst) != 0 || (f->side[0].fin && f->side[1].fin);
	f->last = m->now;
	f->start = p->ts_us < f->start ? p->ts_us : f->start;
	f->end = p->ts_us > f->end ? p->ts_us : f->end;
	f->fragments += p->fragment != MODEL_WHOLE;
	m->fragments += p->fragment != MODEL_WHOLE;
	handshake(f, side, p, tcp);
}

static void
set_clock(struct model *m, int64_t ts_us)
{
	int64_t t = ts_us + m->offset;
	if (t >= m->now) {
		m->now = t;
		m->n_back = 0;
		return;
	}
	m->back++;
	m->n_back = m->now - t > 60000000 ? m->n_back + 1 : 0;
	if (m->n_back == 64) {
		m->offset += m->now - t;
		m->n_back = 0;
	}
}

void
model_packet(struct model *m, const struct model_packet *p)
{
	set_clock(m, p->ts_us);
	m->seen++;
	m->non_ip += p->kind == MODEL_NON_IP;
	m->malformed += p->kind == MODEL_MALFORMED;
	model_due(m);
	if (p->kind != MODEL_IP)
		return;
	unsigned sport = has_ports(p) ? p->sport : 0, dport = has_ports(p) ? p->dport : 0;
	unsigned tcp = p->proto == 6 && p->fragment != MODEL_LATER ? p->tcp_flags : 0;
	int side;
	struct model_flow *f = find(m, p, sport, dport, &side);
	if (f != NULL && f->finished && m->tcp_end != 0 && (tcp & (TCP_syn | TCP_ack)) == TCP_syn) {
		end(m, f, END_FINISHED);
		f = NULL;
	}
	if (f == NULL)
		f = open_flow(m, p, sport, dport, tcp, &side);
	m->metered++;
	account(m, f, side, p, tcp);
}

/* ---- bytes ---- */

static uint8_t *
put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	return p + 2;
}

static uint8_t *
put32(uint8_t *p, uint32_t v)
{
	return put16(put16(p, v >> 16), v & 0xffff);
}

static uint8_t *
put_ip(uint8_t *o, const struct model_packet *p)
{
	if (p->v6) {
		o = put32(o, 6u << 28 | (uint32_t)p->tos << 20);
		o = put16(o, p->ip_len - 40u);
		*o++ = p->proto;
		*o++ = p->ttl;
		memset(o, 0, 32);
		o[0] = o[16] = 0x20;
		o[15] = p->src;
		o[31] = p->dst;
		return o + 32;
	}
	*o++ = p->kind == MODEL_MALFORMED ? 0x44 : 0x45;
	*o++ = p->tos;
	o = put16(o, p->ip_len);
	o = put16(o, 0);
	o = put16(o, p->fragment == MODEL_FIRST ? 0x2000 : p->fragment == MODEL_LATER ? 7 : 0);
	*o++ = p->ttl;
	*o++ = p->proto;
	o = put16(o, 0);
	o = put32(o, 0x0a000000u | p->src);
	return put32(o, 0x0a000000u | p->dst);
}

struct flow_frame
model_frame(const struct model_packet *p, uint8_t buf[MODEL_FRAME])
{
	uint8_t *o = buf;
	memset(buf, 0, MODEL_FRAME);
	o[5] = (uint8_t)(p->mac + 1);
	o[11] = p->mac;
	o += 12;
	if (p->inner_vlan >= 0)
		o = put16(put16(o, 0x88a8), (unsigned)p->vlan);
	else if (p->vlan >= 0)
		o = put16(put16(o, 0x8100), (unsigned)p->vlan);
	if (p->inner_vlan >= 0)
		o = put16(put16(o, 0x8100), (unsigned)p->inner_vlan);
	o = put16(o, p->kind == MODEL_NON_IP ? 0x0806 : p->v6 ? 0x86dd : 0x0800);
	uint8_t *ip = o;
	o = put_ip(o, p);
	if (p->proto == 1 || p->proto == 58) {
		o[0] = p->icmp_type;
		o[1] = p->icmp_code;
		o += 8;
	} else {
		uint8_t *l4 = put16(put16(o, p->sport), p->dport);
		if (p->proto == 6) {
			l4 = put32(put32(l4, p->seq), p->ack);
			l4 = put16(l4, 0x5000u | p->tcp_flags);
			o = put16(l4, 1000) + 4;
		} else {
			o = put16(l4, 8) + 2;
		}
	}
	struct flow_frame f = {buf, (uint32_t)(o - buf), 0, p->ts_us};
	f.wirelen = (uint32_t)(ip - buf) + p->ip_len;
	if (f.wirelen < f.caplen)
		f.wirelen = f.caplen;
	return f;
}

static int64_t
cell(const struct batch *b, enum field f, uint32_t row)
{
	struct value v;
	if (!batch_value(b, f, row, &v))
		return -1;
	return v.type == FT_ADDR ? v.addr.b[15] : v.i;
}

void
model_read(const struct batch *b, struct model_record *out)
{
	for (uint32_t r = 0; r < b->n; r++)
		out[r] = (struct model_record){
#define GET(name) .name = cell(b, F_##name, r)
		    GET(start), GET(end), GET(packets), GET(bytes), GET(rev_packets),
		    GET(rev_bytes), GET(fragments), GET(tcp_flags), GET(rev_tcp_flags), GET(tos),
		    GET(rev_tos), GET(ttl), GET(rev_ttl), GET(vlan), GET(rev_vlan), GET(inner_vlan),
		    GET(src_mac), GET(dst_mac), GET(icmp_type), GET(icmp_code), GET(rtt_client),
		    GET(rtt_server), GET(direction_by), GET(end_reason), GET(proto),
#undef GET
		    .v6 = cell(b, F_ip_version, r) == 6, .src = cell(b, F_src_addr, r),
		    .dst = cell(b, F_dst_addr, r), .sport = cell(b, F_src_port, r),
		    .dport = cell(b, F_dst_port, r)};
}
