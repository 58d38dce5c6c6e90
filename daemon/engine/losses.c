/* SPDX-License-Identifier: Apache-2.0
 * engine/losses.c - what was lost, why, since when: for `explain drops` and `status`.
 *
 * Words and advice come from counters.def and link/causes.def. Once a second the counters of losses
 * are looked at, so that "since" and "in the last second" are known without a clock where they are
 * counted. What probes say of themselves is told beside what was counted here. */
#include <stdio.h>

#include "base/clock.h"
#include "engine/engine_priv.h"

enum { LOOK_US = 1000000 };

static bool
is_loss(enum counter c)
{
	const struct counter_info *i = &counter_info[c];
	return i->kind == CK_LOST && (strcmp(i->unit, "packets") == 0 ||
	    strcmp(i->unit, "flows") == 0 || c == C_frame_missing);
}

static void
look(void *arg, uint64_t now_us)
{
	struct engine *e = arg;
	(void)now_us;
	for (unsigned i = 0; i < e->n_ep; i++) {
		uint64_t v[C_COUNT];
		endpoint_counters(e->ep[i], v);
		for (int c = 0; c < C_COUNT; c++) {
			struct loss_mark *m = &e->ep[i]->losses[c];
			if (!is_loss((enum counter)c))
				continue;
			if (v[c] > 0 && m->since_us == 0)
				m->since_us = clock_real_us();
			m->last_second = v[c] > m->value ? v[c] - m->value : 0;
			m->value = v[c];
		}
	}
}

int
losses_init(struct engine *e)
{
	e->losses_timer = loop_timer_add(e->loop, LOOK_US, LOOK_US, look, e);
	return e->losses_timer != NULL ? 0 : -E_NOMEM;
}

void
losses_fini(struct engine *e)
{
	loop_timer_del(&e->losses_timer);
}

/* What came, of which a counter's losses are a part. */
static uint64_t
whole_of(const struct endpoint *ep, enum counter c, const uint64_t v[C_COUNT])
{
	if (strcmp(counter_info[c].unit, "packets") == 0)
		return v[C_pkt_seen] + v[C_pkt_dropped_kernel] + v[C_pkt_dropped_if] +
		    v[C_pkt_linktype];
	if (strcmp(counter_info[c].unit, "flows") != 0)
		return 0;
	if (ep->type->direction == PORT_OUTPUT)
		return v[C_flow_in] + v[C_flow_lost_queue];
	return v[C_flow_ended] + v[C_flow_in] + v[C_flow_lost_gap] + v[C_flow_lost_decode];
}

struct tell {
	struct engine *e;
	engine_loss_fn *fn;
	void *arg;
	const struct endpoint *ep;
};

static void
tell_cause(const struct tell *t, const struct link_account *a, enum gap_cause c, uint64_t n)
{
	const struct gap_cause_info *info = &gap_cause_info[c];
	bool more = (a->unknown_causes >> c & 1) != 0;
	uint64_t of = a->received;
	for (unsigned i = 0; i < GAP_CAUSES; i++)
		of += a->gap_flows[i];
	struct engine_loss l = {.node = a->probe, .endpoint = t->ep->name, .cause = info->name,
	    .text = info->text, .advice = info->advice, .unit = "flows", .n = n,
	    .of = of > n ? of : n, .more = more};
	if (n > 0 || more)
		t->fn(t->arg, &l);
}

struct drops {
	const char *node, *interface;
	uint64_t kernel, interface_own, no_flow;
	bool found;
};

static void
find_second(void *arg, const struct stats_second *s)
{
	struct drops *d = arg;
	if (strcmp(s->probe, d->node) != 0 || strcmp(s->interface, d->interface) != 0)
		return;
	d->found = true;
	d->kernel = s->drops_kernel;
	d->interface_own = s->drops_if;
	d->no_flow = s->drops_own;
}

static void
tell_counter(const struct tell *t, const struct drops *d, enum counter c, uint64_t n, uint64_t of)
{
	const struct counter_info *info = &counter_info[c];
	struct engine_loss l = {.node = d->node, .endpoint = d->interface, .cause = info->name,
	    .text = info->text, .advice = info->advice, .unit = info->unit, .n = n, .of = of};
	l.has_second = d->found &&
	    (c == C_pkt_dropped_kernel || c == C_pkt_dropped_if || c == C_pkt_no_flow);
	if (l.has_second)
		l.last_second = c == C_pkt_dropped_kernel ? d->kernel :
		    c == C_pkt_dropped_if ? d->interface_own : d->no_flow;
	if (n > 0)
		t->fn(t->arg, &l);
}

/* What the probe says of its own inputs. */
static void
tell_input(const struct tell *t, const struct link_account *a, const struct link_account_input *in)
{
	const struct stats_totals *x = &in->totals;
	uint64_t packets = x->seen + x->drops_kernel + x->drops_if;
	struct drops d = {.node = in->probe[0] != '\0' ? in->probe : a->probe,
	    .interface = in->interface};
	engine_seconds(t->e, find_second, &d);
	tell_counter(t, &d, C_pkt_dropped_if, x->drops_if, packets);
	tell_counter(t, &d, C_pkt_dropped_kernel, x->drops_kernel, packets);
	tell_counter(t, &d, C_pkt_malformed, x->malformed, packets);
	tell_counter(t, &d, C_pkt_no_flow, x->no_flow, packets);
	tell_counter(t, &d, C_flow_lost_batch, x->lost_batch, x->ended);
}

/* Announced in gaps, or told and not announced yet: the same losses, so the larger number. */
static void
tell_account(void *arg, const struct link_account *a)
{
	const struct tell *t = arg;
	for (unsigned c = 0; c < GAP_CAUSES; c++) {
		uint64_t n = a->is_told ? a->told.lost_by[c] : 0;
		n = n > a->gap_flows[c] ? n : a->gap_flows[c];
		if (c == GAP_QUEUE_FULL && a->is_told)
			n += a->told.early;
		tell_cause(t, a, (enum gap_cause)c, n);
	}
	for (unsigned i = 0; i < a->n_inputs; i++)
		tell_input(t, a, &a->input[i]);
}

static void
no_intake(void *arg, const struct link_intake *i)
{
	(void)arg, (void)i;
}

static void
no_subscription(void *arg, const struct link_subscription *s)
{
	(void)arg, (void)s;
}

static void
tell_endpoint(const struct tell *t)
{
	uint64_t v[C_COUNT];
	const struct link_ledger sink = {
	    no_intake, no_subscription, tell_account, (void *)(uintptr_t)t};
	struct link_end *end = endpoint_link(t->ep);
	endpoint_counters(t->ep, v);
	for (int c = 0; c < C_COUNT; c++) {
		const struct loss_mark *m = &t->ep->losses[c];
		/* causes are told by probe */
		if (!is_loss((enum counter)c) || v[c] == 0 || (c == C_flow_lost_gap && end != NULL))
			continue;
		struct engine_loss l = {.node = t->e->name, .endpoint = t->ep->name,
		    .cause = counter_info[c].name, .text = counter_info[c].text,
		    .advice = counter_info[c].advice, .unit = counter_info[c].unit, .n = v[c],
		    .of = whole_of(t->ep, (enum counter)c, v), .has_second = true,
		    .last_second = m->last_second, .since_us = m->since_us};
		t->fn(t->arg, &l);
	}
	if (end != NULL && t->ep->type->direction == PORT_INPUT)
		(void)link_ledger(t->e->link, end, &sink);
}

void
engine_losses(struct engine *e, engine_loss_fn *fn, void *arg)
{
	for (unsigned i = 0; i < e->n_ep; i++) {
		struct tell t = {e, fn, arg, e->ep[i]};
		tell_endpoint(&t);
	}
}
