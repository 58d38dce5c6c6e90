/* SPDX-License-Identifier: Apache-2.0
 * input/subscribe.c - the link's subscriber as an endpoint type: all work is the link thread's. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "conf/conf.h"
#include "input/input.h"
#include "link/link.h"

struct subscribe {
	struct link *link;
	struct link_end *end; /* NULL once stopped */
	const struct conf_daemon *daemon;
	uint64_t memory;
	uint64_t counters[C_COUNT]; /* of the time before it was stopped */
};

static int
subscribe_open(const struct conf_endpoint *conf, const struct port_host *host, void **self_out,
    struct err *err)
{
	if (host->link == NULL)
		return err_set(err, E_UNSUP, "subscribe: there is no link in this process");
	struct subscribe *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return err_set(err, E_NOMEM, "subscribe: out of memory");
	s->link = host->link;
	s->daemon = host->daemon;
	/* the text of decoded batches is up to the probes */
	s->memory = conf_number(conf, "max_batches") * batch_memory(BATCH_TEXT_MAX);
	int rc = link_attach(s->link, conf, host, &s->end, err);
	if (rc != 0) {
		free(s);
		return rc;
	}
	*self_out = s;
	return 0;
}

/** Attaching has begun everything; the link reports states itself. */
static int
subscribe_start(void *self, struct err *err)
{
	(void)self, (void)err;
	return 0;
}

static void
subscribe_stop(void *self, bool drain)
{
	struct subscribe *s = self;
	if (s->end == NULL)
		return;
	/* with @drain the position stays at the probe: a restart goes on where this one stopped */
	uint64_t timeout = (uint64_t)conf_span_us(&s->daemon->bag, "stop_timeout");
	link_detach_sum(s->link, &s->end, drain, clock_mono_us() + timeout, s->counters);
}

static void
subscribe_free(void **self)
{
	if (*self != NULL)
		subscribe_stop(*self, false);
	free(*self);
	*self = NULL;
}

static int
subscribe_set(void *self, const struct conf_endpoint *conf, const char *option, struct err *err)
{
	struct subscribe *s = self;
	if (s->end == NULL)
		return err_set(err, E_CLOSED, "subscribe: stopped");
	return link_set(s->end, conf, option, err);
}

static void
subscribe_counters(void *self, uint64_t sum[C_COUNT])
{
	struct subscribe *s = self;
	if (s->end != NULL)
		link_counters(s->end, sum);
	for (int i = 0; s->end == NULL && i < C_COUNT; i++)
		sum[i] += s->counters[i];
}

static uint64_t
subscribe_memory(void *self)
{
	const struct subscribe *s = self;
	return s->memory;
}

/* What the probes are asked for, and for whom. */
static void
subscribe_detail(void *self, port_detail_fn *fn, void *arg)
{
	struct subscribe *s = self;
	struct link_asked *x = s->end != NULL ? malloc(sizeof(*x)) : NULL;
	char text[32];
	if (x == NULL)
		return;
	link_asked(s->end, x);
	fn(arg, "asked_demand", x->demand, false);
	fn(arg, "asked_how", x->how, false);
	fn(arg, "asked_filter", x->filter, false);
	fn(arg, "asked_fields", x->fields, false);
	fn(arg, "asked_for", x->outputs, false);
	snprintf(text, sizeof(text), "%u", x->n_outputs);
	fn(arg, "asked_outputs", text, true);
	snprintf(text, sizeof(text), "%u", x->n_lingering);
	fn(arg, "asked_lingering", text, true);
	snprintf(text, sizeof(text), "%" PRIu64, x->changes);
	fn(arg, "asked_changes", text, true);
	free(x);
}

const struct port_type input_subscribe = {
    .name = "subscribe",
    .direction = PORT_INPUT,
    .help = "Take flows from probes; ADDRESS is tcp://HOST:PORT of a probe, or tcp://*:PORT for "
	    "probes that connect.",
    .open = subscribe_open,
    .start = subscribe_start,
    .stop = subscribe_stop,
    .free = subscribe_free,
    .set = subscribe_set,
    .counters = subscribe_counters,
    .memory = subscribe_memory,
    .detail = subscribe_detail,
};

struct link_end *
input_subscribe_end(void *self)
{
	struct subscribe *s = self;
	return s->end;
}
