/* SPDX-License-Identifier: Apache-2.0
 * engine/ledger.c - the two ledgers, stage by stage: packets and flows from the interface to the
 * last output, here and, as far as they tell, at the probes.
 *
 * A stage row says what a stage took, gave, put aside and lost, with names. An equation row
 * compares numbers that are counted independently of each other and come from one snapshot: a
 * meter's are published as a unit once per burst, an output's as units of its batches
 * (base/counter.h), those of the link are copied in its thread. So each equation holds at any
 * instant, not only at rest. */
#include <stdio.h>

#include "engine/engine_priv.h"

struct sheet {
	struct engine *e;
	engine_ledger_fn *fn;
	void *arg;
	struct ledger_row row; /* who: node, endpoint, peer, told_us */
};

static struct ledger_row
row_of(const struct sheet *s, const char *ledger, const char *stage, const char *unit)
{
	struct ledger_row r = s->row;
	r.ledger = ledger;
	r.stage = stage;
	r.unit = unit;
	return r;
}

static void
lose(struct ledger_row *r, const char *name, uint64_t n)
{
	r->lost += n;
	if (r->n_losses < LEDGER_LOSSES)
		r->loss[r->n_losses++] = (struct ledger_loss){name, n};
}

static void
lose_counted(struct ledger_row *r, enum counter c, uint64_t n)
{
	lose(r, counter_info[c].name, n);
}

static void
put(const struct sheet *s, const struct ledger_row *r)
{
	s->fn(s->arg, r);
}

static void
equation(const struct sheet *s, const char *ledger, const char *text, uint64_t left, uint64_t right)
{
	struct ledger_row r = row_of(s, ledger, "equation", strcmp(ledger, "packets") == 0 ?
	    "packets" : "flows");
	r.is_equation = true;
	r.text = text;
	r.in = left;
	r.out = right;
	r.difference = (int64_t)(left - right);
	put(s, &r);
}

/* ---- packets, and flows of a meter */

static void
packet_rows(const struct sheet *s, const struct stats_totals *t, bool is_live)
{
	if (is_live) {
		struct ledger_row i = row_of(s, "packets", "interface", "packets");
		i.in = t->seen + t->drops_kernel + t->drops_if;
		i.out = t->seen + t->drops_kernel;
		lose_counted(&i, C_pkt_dropped_if, t->drops_if);
		put(s, &i);
		struct ledger_row k = row_of(s, "packets", "kernel", "packets");
		k.in = t->seen + t->drops_kernel;
		k.out = t->seen;
		lose_counted(&k, C_pkt_dropped_kernel, t->drops_kernel);
		put(s, &k);
	}
	struct ledger_row d = row_of(s, "packets", "decode", "packets");
	d.in = t->seen;
	d.out = t->metered + t->no_flow;
	d.filtered = t->non_ip;
	lose_counted(&d, C_pkt_malformed, t->malformed);
	put(s, &d);
	struct ledger_row p = row_of(s, "packets", "pool", "packets");
	p.in = t->metered + t->no_flow;
	p.out = t->metered;
	lose_counted(&p, C_pkt_no_flow, t->no_flow);
	put(s, &p);
	equation(s, "packets", "seen = metered + not IP + malformed + without a flow entry", t->seen,
	    t->metered + t->non_ip + t->malformed + t->no_flow);
	struct ledger_row m = row_of(s, "flows", "meter", "flows");
	m.in = t->opened;
	m.out = t->ended;
	m.held = t->active;
	put(s, &m);
	equation(s, "flows", "opened = ended + active", t->opened, t->ended + t->active);
	struct ledger_row b = row_of(s, "flows", "batches", "flows");
	b.in = t->ended;
	b.out = t->given;
	b.held = t->batching;
	lose_counted(&b, C_flow_lost_batch, t->lost_batch);
	put(s, &b);
	equation(s, "flows", "ended = given + in the batch being filled + lost", t->ended,
	    t->given + t->batching + t->lost_batch);
}

static void
meter_rows(const struct sheet *s, const uint64_t v[C_COUNT], bool is_live)
{
	struct stats_totals t = {true, v[C_pkt_dropped_if], v[C_pkt_dropped_kernel],
	    v[C_pkt_seen], v[C_pkt_metered], v[C_pkt_non_ip], v[C_pkt_malformed],
	    v[C_pkt_no_flow], v[C_flow_opened], v[C_flow_ended], v[C_flow_active],
	    v[C_flow_out], v[C_flow_batching], v[C_flow_lost_batch]};
	if (!is_live) {
		struct ledger_row r = row_of(s, "packets", "reader", "packets");
		r.in = t.seen + v[C_pkt_linktype] + v[C_pkt_filtered];
		r.out = t.seen;
		r.filtered = v[C_pkt_filtered];
		lose_counted(&r, C_pkt_linktype, v[C_pkt_linktype]);
		put(s, &r);
	}
	packet_rows(s, &t, is_live);
}

/* ---- outputs that write */

static void
output_rows(const struct sheet *s, const uint64_t v[C_COUNT])
{
	uint64_t popped = v[C_flow_in] - v[C_flow_queued];
	struct ledger_row q = row_of(s, "flows", "queue", "flows");
	q.in = v[C_flow_in] + v[C_flow_lost_queue];
	q.out = popped;
	q.held = v[C_flow_queued];
	lose_counted(&q, C_flow_lost_queue, v[C_flow_lost_queue]);
	put(s, &q);
	struct ledger_row f = row_of(s, "flows", "filter", "flows");
	f.in = popped;
	f.out = popped - v[C_flow_filtered];
	f.filtered = v[C_flow_filtered];
	put(s, &f);
	struct ledger_row w = row_of(s, "flows", "write", "flows");
	w.in = f.out;
	w.out = v[C_flow_out];
	w.held = v[C_flow_in_hand];
	lose_counted(&w, C_flow_lost_write, v[C_flow_lost_write]);
	lose_counted(&w, C_flow_lost_stop, v[C_flow_lost_stop]);
	put(s, &w);
	equation(s, "flows", "taken = filtered + written + in hand + queued + lost", v[C_flow_in],
	    v[C_flow_filtered] + v[C_flow_out] + v[C_flow_in_hand] + v[C_flow_queued] +
		v[C_flow_lost_write] + v[C_flow_lost_stop]);
}

/* ---- the link */

static void
set_who(struct sheet *s, const char *node, const char *endpoint, const char *peer)
{
	s->row.node = node;
	s->row.endpoint = endpoint;
	s->row.peer = peer;
}

static void
intake(void *arg, const struct link_intake *i)
{
	struct sheet *s = arg;
	set_who(s, s->e->name, i->end, "");
	struct ledger_row q = row_of(s, "flows", "queue", "flows");
	q.in = i->taken + i->lost;
	q.out = i->handed;
	q.held = i->queued;
	lose_counted(&q, C_flow_lost_queue, i->lost);
	put(s, &q);
	equation(s, "flows", "taken = handed to the subscriptions + queued", i->taken,
	    i->handed + i->queued);
}

static void
subscription_rows(const struct sheet *s, const struct link_flows *f)
{
	struct ledger_row r = row_of(s, "flows", "filter", "flows");
	r.in = f->offered + f->early;
	r.out = f->passed;
	r.filtered = f->filtered;
	lose(&r, gap_cause_info[GAP_QUEUE_FULL].name, f->early);
	put(s, &r);
	equation(s, "flows", "offered = filtered + passed + lost before the filter",
	    f->offered + f->early, f->filtered + f->passed + f->early);
	uint64_t sent = f->acked + f->in_flight;
	struct ledger_row ring = row_of(s, "flows", "ring", "flows");
	ring.in = f->passed;
	ring.out = sent + f->spooled; /* on disk only: no longer in memory */
	ring.held = f->queued;
	for (unsigned i = 0; i < GAP_CAUSES; i++)
		if (f->lost_by[i] != 0 || i == GAP_RING_FULL)
			lose(&ring, gap_cause_info[i].name, f->lost_by[i]);
	put(s, &ring);
	struct ledger_row spool = row_of(s, "flows", "spool", "flows");
	spool.in = spool.held = f->spooled;
	put(s, &spool);
	struct ledger_row wire = row_of(s, "flows", "wire", "flows");
	wire.in = sent;
	wire.out = f->acked;
	wire.held = f->in_flight;
	put(s, &wire);
	equation(s, "flows", "passed = acknowledged + in flight + queued + spooled + lost", f->passed,
	    sent + f->queued + f->spooled + ring.lost);
}

static void
subscription(void *arg, const struct link_subscription *x)
{
	struct sheet *s = arg;
	struct link_flows f = {x->offered, x->filtered, x->passed, x->acked, x->in_flight, x->queued,
	    x->spooled, x->early, {0}};
	memcpy(f.lost_by, x->lost_by, sizeof(f.lost_by));
	set_who(s, s->e->name, x->end, x->peer);
	s->row.is_away = x->is_parked;
	if (x->is_cursor)
		subscription_rows(s, &f);
	s->row.is_away = false;
}

/* What we have from a probe, as counted here. */
static void
receive_rows(const struct sheet *s, const struct link_account *a)
{
	uint64_t decoding = a->received - a->waiting - a->returned;
	struct ledger_row g = row_of(s, "flows", "announced", "flows");
	for (unsigned i = 0; i < GAP_CAUSES; i++)
		if (a->gap_flows[i] != 0 || i == GAP_RING_FULL)
			lose(&g, gap_cause_info[i].name, a->gap_flows[i]);
	g.in = g.lost;
	g.unknown = a->gaps_unknown;
	put(s, &g);
	struct ledger_row r = row_of(s, "flows", "receive", "flows");
	r.in = a->received;
	r.out = decoding;
	r.held = a->waiting;
	r.filtered = a->returned;
	r.unknown = a->frames_missing;
	put(s, &r);
	struct ledger_row d = row_of(s, "flows", "decode", "flows");
	d.in = decoding;
	d.out = a->decoded;
	lose_counted(&d, C_flow_lost_decode, a->lost_decode);
	put(s, &d);
	equation(s, "flows", "received = decoded + lost + waiting + to come again", a->received,
	    a->decoded + a->lost_decode + a->waiting + a->returned);
}

static void
account(void *arg, const struct link_account *a)
{
	struct sheet *s = arg;
	s->row.is_away = !a->up;
	for (unsigned i = 0; i < a->n_inputs; i++) {
		const struct link_account_input *in = &a->input[i];
		set_who(s, in->probe[0] != '\0' ? in->probe : a->probe, a->end, in->interface);
		s->row.is_told = true;
		s->row.told_us = in->told_us;
		packet_rows(s, &in->totals, true);
	}
	set_who(s, a->probe, a->end, s->e->name);
	s->row.is_told = true;
	s->row.told_us = a->told_us;
	if (a->is_told)
		subscription_rows(s, &a->told);
	s->row.is_told = false;
	s->row.told_us = 0;
	set_who(s, s->e->name, a->end, a->probe);
	receive_rows(s, a);
	s->row.is_away = false;
}

/* ---- all of it */

static bool
link_rows(struct sheet *s, struct link_end *end)
{
	const struct link_ledger sink = {intake, subscription, account, s};
	return s->e->link == NULL || link_ledger(s->e->link, end, &sink);
}

static bool
endpoint_rows(struct sheet *s, const struct endpoint *ep)
{
	uint64_t v[C_COUNT];
	struct link_end *end = endpoint_link(ep);
	if (endpoint_is_link(ep))
		return end == NULL || link_rows(s, end);
	set_who(s, s->e->name, ep->name, "");
	endpoint_counters(ep, v);
	if (ep->type->direction == PORT_INPUT)
		meter_rows(s, v, !endpoint_ends(ep));
	else
		output_rows(s, v);
	return true;
}

int
engine_ledger(struct engine *e, struct strv name, engine_ledger_fn *fn, void *arg, struct err *err)
{
	struct sheet s = {.e = e, .fn = fn, .arg = arg, .row = {.node = e->name, .text = ""}};
	bool is_whole = true;
	const struct endpoint *only = name.n > 0 ? endpoint_find(e, name) : NULL;
	if (name.n > 0 && only == NULL)
		return endpoint_unknown(e, name, err);
	/* in the order of the way: inputs, then outputs */
	for (int pass = PORT_INPUT; pass <= PORT_OUTPUT; pass++)
		for (unsigned i = 0; i < e->n_ep; i++)
			if (e->ep[i]->type->direction == (enum port_direction)pass &&
			    (only == NULL || only == e->ep[i]))
				is_whole = endpoint_rows(&s, e->ep[i]) && is_whole;
	return is_whole ? 0 : err_set(err, E_AGAIN, "no quiet moment for a snapshot within a second, "
	    "the machine is overloaded (ask again)");
}
