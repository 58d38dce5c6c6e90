/* SPDX-License-Identifier: Apache-2.0
 * input/capture.c - the `capture` endpoint type: opening, starting, stopping. */
#include "input/capture.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

static void
capture_push(void *arg, struct batch **b)
{
	struct capture_worker *w = arg;
	w->capture->host->push(w->capture->host->ctx, b, false);
}

static void
capture_second(void *arg, const struct stats_second *s)
{
	struct capture_worker *w = arg;
	seconds_add(w->capture->seconds, w->index, s, clock_real_us());
}

static void
capture_free(void **self)
{
	struct capture *c = *self;
	if (c == NULL)
		return;
	for (unsigned i = 0; c->worker != NULL && i < c->n_workers; i++) {
		struct capture_worker *w = &c->worker[i];
		live_close(&w->live);
		flow_meter_free(&w->meter);
		if (w->wake.fd >= 0)
			wake_fini(&w->wake);
		free(w->bytes);
	}
	seconds_free(&c->seconds);
	free(c->worker);
	free(c->filter);
	free(c);
	*self = NULL;
}

static int
open_worker(struct capture *c, struct capture_worker *w, struct flow_meter_conf *m, struct err *err)
{
	if (wake_init(&w->wake) != 0) {
		w->wake.fd = -1;
		return err_sys(err, E_SYS, "capture: cannot make an eventfd");
	}
	w->bytes = malloc((size_t)FLOW_BURST * (size_t)c->live_conf.snaplen);
	if (w->bytes == NULL)
		return err_set(err, E_NOMEM, "capture: out of memory");
	w->timeouts_seen = atomic_load(&c->timeouts.generation);
	m->arg = w;
	w->meter = flow_meter_new(m, err);
	return w->meter != NULL ? 0 : err->code != 0 ? -err->code : -E_NOMEM;
}

/** The interface is there and down, as often at boot: begin as if it had just been lost. */
static int
begin_lost(struct capture *c, struct err *err)
{
	snprintf(c->why_down, sizeof(c->why_down), "%.200s; trying again every second",
	    strncmp(err->text, "capture: ", 9) == 0 ? err->text + 9 : err->text);
	*err = (struct err){0};
	atomic_store(&c->lost, true);
	return live_filter_check(&c->live_conf, err);
}

/** Sockets first, since they fail for reasons people can mend; then meters. */
static int
open_parts(struct capture *c, const struct conf_endpoint *conf, struct err *err)
{
	struct live h[64];
	struct flow_meter_conf m;
	c->n_workers = (unsigned)conf_number(conf, "workers");
	size_t size = c->n_workers * sizeof(*c->worker);
	c->worker = aligned_alloc(64, (size + 63) / 64 * 64);
	c->seconds = seconds_new(c->n_workers, c->host);
	if (c->worker == NULL || c->seconds == NULL || c->filter == NULL)
		return err_set(err, E_NOMEM, "capture: out of memory");
	memset(c->worker, 0, size);
	for (unsigned i = 0; i < c->n_workers; i++) {
		c->worker[i].capture = c;
		c->worker[i].index = i;
		c->worker[i].wake.fd = -1;
	}
	int rc = live_open(&c->live_conf, h, c->n_workers, err);
	if (rc == -E_AGAIN)
		rc = begin_lost(c, err);
	if (rc != 0)
		return rc;
	for (unsigned i = 0; i < c->n_workers; i++)
		c->worker[i].live = h[i];
	atomic_store(&c->ifindex, h[0].ifindex);
	input_meter_conf(conf, c->host, c->probe, &m);
	m.in_if = h[0].ifindex;
	c->max_batches = m.max_batches;
	m.interface = c->device;
	m.push = capture_push;
	m.second = capture_second;
	for (unsigned i = 0; i < c->n_workers && rc == 0; i++)
		if ((rc = open_worker(c, &c->worker[i], &m, err)) == 0 && i == 0)
			rc = input_memory_check(
			    c->worker[0].meter, c->n_workers, input_machine_memory(), err);
	return rc;
}

static int
capture_open(const struct conf_endpoint *conf, const struct port_host *host, void **self_out,
    struct err *err)
{
	if (conf->address[0] == '\0')
		return err_set(err, E_INVAL, "capture: an interface is needed, or any for all");
	struct capture *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return err_set(err, E_NOMEM, "capture: out of memory");
	c->host = host;
	snprintf(c->device, sizeof(c->device), "%.63s", conf->address);
	c->filter = strdup(conf_text(conf, "filter"));
	c->speed = conf_number(conf, "speed");
	/* every octet is copied twice: without detection nobody looks behind the headers */
	bool is_headers = conf_choice(conf, "app") == 0 && !conf_given(conf, "snaplen");
	c->live_conf = (struct live_conf){c->device, c->filter,
	    is_headers ? CAPTURE_HEADERS : (int)conf_number(conf, "snaplen"),
	    conf_bool(conf, "promisc"), conf_number(conf, "ring")};
	input_timeouts_set(&c->timeouts, conf);
	int rc = open_parts(c, conf, err);
	void *self = c;
	if (rc != 0)
		capture_free(&self);
	*self_out = self;
	return rc;
}

static void
capture_stop(void *self, bool drain)
{
	struct capture *c = self;
	(void)drain; /* the flows are ended and pushed in any case */
	atomic_store(&c->stopping, true);
	for (unsigned i = 0; i < c->n_workers; i++)
		if (c->worker[i].is_started)
			wake_signal(&c->worker[i].wake);
	for (unsigned i = 0; i < c->n_workers; i++) {
		if (c->worker[i].is_started)
			pthread_join(c->worker[i].thread, NULL);
		c->worker[i].is_started = false;
	}
	seconds_poll(c->seconds, INT64_MAX);
}

static int
capture_start(void *self, struct err *err)
{
	struct capture *c = self;
	c->host->state(c->host->ctx, c->why_down[0] == '\0' ? PORT_UP : PORT_DOWN, c->why_down);
	for (unsigned i = 0; i < c->n_workers; i++) {
		struct capture_worker *w = &c->worker[i];
		int rc = pthread_create(&w->thread, NULL, capture_thread, w);
		if (rc != 0) {
			capture_stop(c, false);
			errno = rc;
			return err_sys(err, E_SYS, "capture: %s: cannot start a thread", c->device);
		}
		w->is_started = true;
	}
	return 0;
}

static int
capture_set(void *self, const struct conf_endpoint *conf, const char *option, struct err *err)
{
	struct capture *c = self;
	(void)option, (void)err; /* the live options are the timeouts */
	input_timeouts_set(&c->timeouts, conf);
	return 0;
}

static void
capture_counters(void *self, uint64_t sum[C_COUNT])
{
	struct capture *c = self;
	for (unsigned i = 0; i < c->n_workers; i++) {
		input_counters_add(flow_meter_counters(c->worker[i].meter), sum);
		input_counters_add(&c->worker[i].counters, sum);
	}
}

static uint64_t
capture_memory(void *self)
{
	struct capture *c = self;
	uint64_t total, burst = (uint64_t)FLOW_BURST * (uint64_t)c->live_conf.snaplen;
	uint32_t per_flow;
	flow_meter_memory(c->worker[0].meter, &total, &per_flow);
	return c->n_workers * (total + burst + c->max_batches * batch_memory(BATCH_TEXT_FIRST));
}

static void
capture_detail(void *self, port_detail_fn *fn, void *arg)
{
	struct capture *c = self;
	uint64_t total;
	uint32_t per_flow;
	flow_meter_memory(c->worker[0].meter, &total, &per_flow);
	input_detail_number(fn, arg, "ifindex", atomic_load(&c->ifindex));
	input_detail_number(
	    fn, arg, "speed_bps", c->speed != 0 ? c->speed : input_interface_speed(c->device));
	input_detail_number(fn, arg, "workers", c->n_workers);
	input_detail_number(fn, arg, "snaplen", (uint64_t)c->live_conf.snaplen);
	input_detail_number(fn, arg, "ring_bytes_per_worker", c->live_conf.ring);
	input_detail_number(fn, arg, "meter_bytes_per_worker", total);
	input_detail_number(fn, arg, "meter_bytes_per_flow", per_flow);
	for (unsigned i = 0; i < c->n_workers; i++) {
		const struct counters *k = flow_meter_counters(c->worker[i].meter);
		char key[48];
		snprintf(key, sizeof(key), "worker_%u_packets", i);
		input_detail_number(fn, arg, key, counter_get(k, C_pkt_seen));
		snprintf(key, sizeof(key), "worker_%u_dropped", i);
		input_detail_number(
		    fn, arg, key, counter_get(&c->worker[i].counters, C_pkt_dropped_kernel));
	}
}

const struct port_type input_capture = {
    .name = "capture",
    .direction = PORT_INPUT,
    .help = "Meter live packets; ADDRESS is an interface, or any for all of them.",
    .open = capture_open,
    .start = capture_start,
    .stop = capture_stop,
    .free = capture_free,
    .set = capture_set,
    .counters = capture_counters,
    .memory = capture_memory,
    .detail = capture_detail,
};
