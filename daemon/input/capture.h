/* SPDX-License-Identifier: Apache-2.0
 * input/capture.h - the live capture input: its workers and what they share.
 *
 * Each worker has its own socket, meter and counters. They share whether the interface is there:
 * the worker that loses it says so, all close their sockets, and worker 0 opens the whole set
 * again, once a second, until it succeeds. Meanwhile the meters go on: their flows end by timeout.
 * A worker waits for the next set (n_opened), not for the interface: that may be lost again before
 * it looks, and then its new socket is to be closed as well.
 */
#ifndef FLOWBUS_INPUT_CAPTURE_H
#define FLOWBUS_INPUT_CAPTURE_H

#include <pthread.h>

#include "input/input_priv.h"
#include "input/live.h"
#include "input/seconds.h"

enum { CAPTURE_HEADERS = 256 }; /* octets that hold all headers we read */

struct capture_worker {
	_Alignas(64) struct counters counters; /* what the meter does not count: drops */
	struct capture *capture;
	unsigned index;
	struct live live; /* written by worker 0 while `lost`, else by its owner */
	struct flow_meter *meter;
	uint32_t timeouts_seen;
	unsigned opened_seen; /* n_opened of its socket */
	struct flow_frame frames[FLOW_BURST];
	unsigned n_frames;
	uint8_t *bytes; /* the frames' octets: the ring's are lost at a block's end */
	uint64_t mono_us, next_second_us;
	struct live_count kernel_drops, if_drops;
	struct wake wake;
	pthread_t thread;
	bool is_started;
};

struct capture {
	const struct port_host *host;
	char device[INPUT_NAME], probe[INPUT_NAME];
	char *filter;
	struct live_conf live_conf;
	char why_down[256]; /* at start; "" up */
	uint64_t speed;	    /* as configured; 0 ask the kernel */
	struct input_timeouts timeouts;
	struct seconds *seconds;
	_Atomic bool stopping;
	_Atomic bool lost;	   /* the interface is gone */
	_Atomic unsigned n_closed; /* workers that have closed their sockets since */
	_Atomic unsigned n_opened; /* how often the set of sockets was opened again */
	_Atomic unsigned ifindex;
	enum live_link link;  /* worker 0 only: what was last reported */
	uint64_t next_try_us; /* worker 0 only */
	uint64_t max_batches; /* per worker */
	unsigned n_workers;
	struct capture_worker *worker;
};

/** A worker's thread. */
void *capture_thread(void *arg);

#endif
