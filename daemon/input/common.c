/* SPDX-License-Identifier: Apache-2.0
 * input/common.c - options, timeouts and counters of the inputs that meter packets. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "flow/app.h"
#include "input/input_priv.h"

void
input_timeouts_set(struct input_timeouts *t, const struct conf_endpoint *conf)
{
	atomic_store(&t->active_us, (uint64_t)conf_span_us(conf, "active"));
	atomic_store(&t->idle_us, (uint64_t)conf_span_us(conf, "idle"));
	atomic_store(&t->tcp_end_us, (uint64_t)conf_span_us(conf, "tcp_end"));
	atomic_fetch_add(&t->generation, 1);
}

void
input_timeouts_apply(struct input_timeouts *t, uint32_t *seen, struct flow_meter *m)
{
	uint32_t now = atomic_load_explicit(&t->generation, memory_order_acquire);
	if (now == *seen)
		return;
	*seen = now;
	flow_meter_timeouts(
	    m, atomic_load(&t->active_us), atomic_load(&t->idle_us), atomic_load(&t->tcp_end_us));
}

void
input_meter_conf(const struct conf_endpoint *conf, const struct port_host *host, char *probe,
    struct flow_meter_conf *out)
{
	const char *name = host->daemon != NULL ? conf_text(&host->daemon->bag, "name") : "";
	if (name[0] != '\0')
		snprintf(probe, INPUT_NAME, "%s", name);
	else if (gethostname(probe, INPUT_NAME) != 0)
		probe[0] = '\0';
	probe[INPUT_NAME - 1] = '\0';
	flow_meter_conf_default(out);
	out->active_us = (uint64_t)conf_span_us(conf, "active");
	out->idle_us = (uint64_t)conf_span_us(conf, "idle");
	out->tcp_end_us = (uint64_t)conf_span_us(conf, "tcp_end");
	out->max_flows = (uint32_t)conf_number(conf, "max_flows");
	out->max_batches = (uint32_t)conf_number(conf, "max_batches");
	out->batch_delay_us = (uint64_t)conf_span_us(conf, "batch_delay");
	out->key_vlan = conf_bool(conf, "key_vlan");
	out->l2 = conf_bool(conf, "l2");
	out->app_native = conf_choice(conf, "app") >= 1; /* off, native, ndpi */
	/* a build without nDPI does what it can, unless somebody asked for nDPI */
	out->app_ndpi =
	    conf_choice(conf, "app") == 2 && (conf_given(conf, "app") || app_ndpi_available());
	out->ndpi_flows = (uint32_t)conf_number(conf, "ndpi_flows");
	out->ndpi_packets = (uint32_t)conf_number(conf, "ndpi_packets");
	out->probe = probe;
	out->source = host->number;
}

uint64_t
input_machine_memory(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : UINT64_MAX;
}

int
input_memory_check(const struct flow_meter *m, unsigned workers, uint64_t machine, struct err *err)
{
	uint64_t total;
	uint32_t per_flow;
	flow_meter_memory(m, &total, &per_flow);
	if (total <= machine / workers)
		return 0;
	return err_set(err, E_NOMEM,
	    "%u worker%s would reserve %" PRIu64 " MiB each, this machine has %" PRIu64
	    " MiB (lower max_flows, ndpi_flows or workers)",
	    workers, workers == 1 ? "" : "s", total >> 20, machine >> 20);
}

void
input_counters_add(const struct counters *c, uint64_t sum[C_COUNT])
{
	uint64_t late = sum[C_flow_late_us_max];
	sum[C_flow_late_us_max] = 0;
	(void)counters_read(c, sum);
	if (late > sum[C_flow_late_us_max])
		sum[C_flow_late_us_max] = late;
}

void
input_detail_number(port_detail_fn *fn, void *arg, const char *key, uint64_t v)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRIu64, v);
	fn(arg, key, text, true);
}
