/* SPDX-License-Identifier: Apache-2.0
 * output/publish.c - flows to collectors: the publishing end of the link as an output. */
#include <stdlib.h>

#include "base/clock.h"
#include "conf/conf.h"
#include "link/link.h"
#include "output/output.h"

struct publish {
	struct link *link;
	struct link_end *end;     /* NULL once stopped */
	const struct conf_daemon *daemon;
	uint64_t memory;
	uint64_t counters[C_COUNT]; /* of the time before it was stopped */
};

/* A channel has a ring and a batch it gathers in. */
static uint64_t
memory_of(const struct conf_endpoint *conf)
{
	return conf_number(conf, "max_channels") *
	    (conf_number(conf, "ring") + batch_memory(BATCH_TEXT_FIRST));
}

static int
publish_open(const struct conf_endpoint *conf, const struct port_host *host, void **self_out,
    struct err *err)
{
	struct publish *p = calloc(1, sizeof(*p));
	if (p == NULL || host->link == NULL) {
		free(p);
		return err_set(err, E_NOMEM, "%s: cannot publish: no link thread", conf->name);
	}
	p->link = host->link;
	p->daemon = host->daemon;
	p->memory = memory_of(conf);
	int rc = link_attach(host->link, conf, host, &p->end, err);
	if (rc != 0) {
		free(p);
		return rc;
	}
	*self_out = p;
	return 0;
}

static int
publish_start(void *self, struct err *err)
{
	(void)self; /* the link thread runs already */
	(void)err;
	return 0;
}

static bool
publish_take(void *self, struct batch *b)
{
	struct publish *p = self;
	return link_take(p->end, b);
}

static void
publish_lost(void *self, uint32_t flows)
{
	struct publish *p = self;
	link_lost(p->end, flows);
}

static void
publish_second(void *self, const struct stats_second *s)
{
	struct publish *p = self;
	link_second(p->end, s);
}

static bool
publish_is_busy(void *self)
{
	struct publish *p = self;
	return p->end != NULL && link_busy(p->end);
}

static void
publish_stop(void *self, bool drain)
{
	struct publish *p = self;
	if (p->end == NULL)
		return;
	uint64_t timeout = (uint64_t)conf_span_us(&p->daemon->bag, "stop_timeout");
	link_detach_sum(p->link, &p->end, drain, clock_mono_us() + timeout, p->counters);
}

static void
publish_free(void **self)
{
	struct publish *p = *self;
	if (p != NULL)
		link_detach(p->link, &p->end, false, 0);
	free(p);
	*self = NULL;
}

static int
publish_set(void *self, const struct conf_endpoint *conf, const char *option, struct err *err)
{
	struct publish *p = self;
	int rc = link_set(p->end, conf, option, err);
	if (rc == 0)
		p->memory = memory_of(conf);
	return rc;
}

static void
publish_counters(void *self, uint64_t sum[C_COUNT])
{
	struct publish *p = self;
	if (p->end != NULL)
		link_counters(p->end, sum);
	for (int i = 0; p->end == NULL && i < C_COUNT; i++)
		sum[i] += p->counters[i];
}

static uint64_t
publish_memory(void *self)
{
	const struct publish *p = self;
	return p->memory;
}

const struct port_type output_publish = {
	.name = "publish",
	.direction = PORT_OUTPUT,
	.help = "Flows to collectors that subscribe. ADDRESS is tcp://HOST:PORT or ipc://PATH: * or a "
		"local address listens, another one connects (a collector in push mode); ?bind and "
		"?connect override.",
	.open = publish_open,
	.start = publish_start,
	.take = publish_take,
	.lost = publish_lost,
	.second = publish_second,
	.busy = publish_is_busy,
	.stop = publish_stop,
	.free = publish_free,
	.set = publish_set,
	.counters = publish_counters,
	.memory = publish_memory,
};

struct link_end *
output_publish_end(void *self)
{
	struct publish *p = self;
	return p->end;
}
