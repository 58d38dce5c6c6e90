/* SPDX-License-Identifier: Apache-2.0
 * input/capture_worker.c - one thread of a live capture: ring to meter, and the clock. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "base/clock.h"
#include "input/capture.h"

enum {
	DISPATCH = 1024,			    /* packets between looks at the clock */
	POLL_MS = 50,				    /* a tick at least this often */
	STOP_US = 2 * LIVE_BLOCK_MS * 1000 + 10000, /* the ring's last blocks, when stopping */
};

static void
flush_frames(struct capture_worker *w)
{
	if (w->n_frames > 0)
		flow_meter_burst(w->meter, w->live.linktype, w->frames, w->n_frames, w->mono_us);
	w->n_frames = 0;
}

/** libpcap's callback. The octets are copied: a burst may outlive the block of the ring. */
static void
on_packet(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes)
{
	struct capture_worker *w = (struct capture_worker *)(void *)user;
	uint32_t max = (uint32_t)w->capture->live_conf.snaplen;
	uint32_t len = h->caplen < max ? h->caplen : max;
	uint8_t *to = w->bytes + (size_t)w->n_frames * max;
	memcpy(to, bytes, len);
	w->frames[w->n_frames++] =
	    (struct flow_frame){to, len, h->len, (int64_t)h->ts.tv_sec * 1000000 + h->ts.tv_usec};
	if (w->n_frames == FLOW_BURST)
		flush_frames(w);
}

/** The interface is lost: the first worker to notice reports it. */
static void
lose(struct capture *c, const char *why)
{
	char text[256];
	if (atomic_exchange(&c->lost, true))
		return;
	snprintf(text, sizeof(text), "%s: %.160s; trying again every second", c->device, why);
	c->host->state(c->host->ctx, PORT_DOWN, text);
}

/** Losses before the meter. Also before a socket is closed, since its counts go with it. */
static void
read_drops(struct capture_worker *w)
{
	struct pcap_stat st;
	if (w->live.pcap == NULL || pcap_stats(w->live.pcap, &st) != 0)
		return;
	live_count_add(&w->kernel_drops, st.ps_drop);
	if (w->index == 0) /* the interface's own drops are the same for all sockets */
		live_count_add(&w->if_drops, st.ps_ifdrop);
	counter_set(&w->counters, C_pkt_dropped_kernel, w->kernel_drops.total);
	counter_set(&w->counters, C_pkt_dropped_if, w->if_drops.total);
	flow_meter_drops(w->meter, w->kernel_drops.total, w->if_drops.total);
}

static void
close_socket(struct capture_worker *w)
{
	read_drops(w);
	w->kernel_drops.seen = w->if_drops.seen = 0; /* a new socket counts from 0 */
	live_close(&w->live);
}

/** Worker 0 once a second: is the interface still the one that was opened, and up? */
static void
check_link(struct capture *c)
{
	char text[256];
	enum live_link link = live_check(c->device, atomic_load(&c->ifindex));
	switch (link) {
	case LIVE_GONE:
		lose(c, "the interface disappeared");
		return;
	case LIVE_REPLACED:
		lose(c, "the interface was removed and made again");
		return;
	case LIVE_LINK_DOWN:
	case LIVE_UP:
		break;
	}
	if (link == c->link)
		return;
	c->link = link;
	snprintf(text, sizeof(text), "%s: the interface is down; try: ip link set %s up", c->device,
	    c->device);
	if (link == LIVE_UP)
		c->host->state(c->host->ctx, PORT_UP, "");
	else
		c->host->state(c->host->ctx, PORT_DEGRADED, text);
}

/** What is due once a second. */
static void
once_a_second(struct capture_worker *w)
{
	if (w->mono_us < w->next_second_us)
		return;
	w->next_second_us = w->mono_us + 1000000;
	read_drops(w);
	if (w->index == 0)
		check_link(w->capture);
}

/** Worker 0, when all sockets are closed: open them again. */
static void
try_again(struct capture *c, uint64_t mono_us)
{
	struct live h[64];
	struct err err = {0};
	char text[600];
	if (mono_us < c->next_try_us || atomic_load(&c->n_closed) != c->n_workers)
		return;
	c->next_try_us = mono_us + 1000000;
	if (live_open(&c->live_conf, h, c->n_workers, &err) != 0) {
		snprintf(text, sizeof(text), "%s; trying again every second", err.text);
		c->host->state(c->host->ctx, PORT_DOWN, text);
		return;
	}
	for (unsigned i = 0; i < c->n_workers; i++)
		c->worker[i].live = h[i];
	atomic_store(&c->ifindex, h[0].ifindex);
	atomic_store(&c->n_closed, 0);
	c->link = LIVE_UP;
	c->host->state(c->host->ctx, PORT_UP, "");
	atomic_store(&c->lost, false);
	atomic_fetch_add(&c->n_opened, 1); /* the workers go on with their new sockets */
}

/** The interface is gone: close, keep time, wait for it. */
static void
wait_for_interface(struct capture_worker *w)
{
	struct capture *c = w->capture;
	flush_frames(w);
	close_socket(w);
	atomic_fetch_add(&c->n_closed, 1);
	while (atomic_load(&c->n_opened) == w->opened_seen && !atomic_load(&c->stopping)) {
		int64_t now_us = clock_real_us();
		w->mono_us = clock_mono_us();
		input_timeouts_apply(&c->timeouts, &w->timeouts_seen, w->meter);
		flow_meter_tick(w->meter, now_us - LIVE_MARGIN_US, w->mono_us);
		seconds_poll(c->seconds, now_us);
		if (w->index == 0)
			try_again(c, w->mono_us);
		if (atomic_load(&c->n_opened) == w->opened_seen)
			wake_wait(&w->wake, POLL_MS);
	}
	w->opened_seen = atomic_load(&c->n_opened);
	flow_meter_interface(w->meter, atomic_load(&c->ifindex));
}

/** The ring is empty: time has come to what it was before we looked. */
static void
idle(struct capture_worker *w, int64_t looked_us)
{
	struct pollfd p[2] = {{w->live.fd, POLLIN, 0}, {w->wake.fd, POLLIN, 0}};
	flow_meter_tick(w->meter, looked_us - LIVE_MARGIN_US, w->mono_us);
	(void)poll(p, 2, POLL_MS);
}

static void
run(struct capture_worker *w)
{
	struct capture *c = w->capture;
	uint64_t stop_us = 0;
	for (;;) {
		if (atomic_load(&c->stopping) && stop_us == 0) {
			stop_us = clock_mono_us() + STOP_US;
			wake_clear(&w->wake); /* so that waiting for the last blocks waits */
		}
		if (atomic_load(&c->lost)) {
			if (stop_us != 0)
				break;
			wait_for_interface(w);
			continue;
		}
		int64_t now_us = clock_real_us();
		w->mono_us = clock_mono_us();
		if (stop_us != 0 && w->mono_us >= stop_us)
			break;
		input_timeouts_apply(&c->timeouts, &w->timeouts_seen, w->meter);
		int n = pcap_dispatch(w->live.pcap, DISPATCH, on_packet, (u_char *)w);
		flush_frames(w);
		if (n < 0)
			lose(c, pcap_geterr(w->live.pcap));
		else if (n == 0)
			idle(w, now_us);
		seconds_poll(c->seconds, now_us);
		once_a_second(w);
	}
}

void *
capture_thread(void *arg)
{
	struct capture_worker *w = arg;
	char name[16];
	snprintf(name, sizeof(name), "capture/%u", w->index % 1000);
	pthread_setname_np(pthread_self(), name);
	w->next_second_us = clock_mono_us() + 1000000;
	run(w);
	read_drops(w);
	flow_meter_flush(w->meter, clock_mono_us());
	return NULL;
}
