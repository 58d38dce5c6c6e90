/* SPDX-License-Identifier: Apache-2.0
 * unit/input/host.h - a port_host that counts what an input gives it. */
#ifndef FLOWBUS_TESTS_INPUT_HOST_H
#define FLOWBUS_TESTS_INPUT_HOST_H

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "batch/port.h"
#include "conf/conf.h"

enum { HOST_SECONDS = 256 };

struct fake_host {
	struct port_host port;
	pthread_mutex_t lock;
	uint64_t flows, packets, octets, rev_packets, batches;
	int64_t start, end;	   /* least and greatest time */
	uint64_t digest;	   /* of all records, whatever their order */
	_Atomic unsigned delay_us; /* a slow output */
	struct batch *kept[64];	   /* a stuck output: batches never come home */
	unsigned n_kept, keep;
	bool waited; /* some push had may_wait */
	unsigned n_seconds;
	struct stats_second seconds[HOST_SECONDS];
	enum port_state state;
	char why[512];
	_Atomic int ended; /* 0 no, 1 well, 2 failed */
};

static inline uint64_t
host_field(const struct batch *b, enum field f, uint32_t row)
{
	struct value v = {0};
	return batch_value(b, f, row, &v) ? v.u : 0;
}

static inline uint64_t
host_digest(const struct batch *b, uint32_t row)
{
	struct buf line = buf_init(0);
	uint64_t h = 1469598103934665603u;
	batch_row_json(&line, b, row, field_set_all(), VALUE_JSON_US);
	for (size_t i = 0; i < line.n; i++)
		h = (h ^ line.p[i]) * 1099511628211u;
	buf_fini(&line);
	return h;
}

static inline void
host_push(void *ctx, struct batch **b, bool may_wait)
{
	struct fake_host *h = ctx;
	if (h->delay_us > 0)
		clock_sleep_us(h->delay_us);
	pthread_mutex_lock(&h->lock);
	for (uint32_t r = 0; r < (*b)->n; r++) {
		h->flows++;
		h->packets += host_field(*b, F_packets, r);
		h->rev_packets += host_field(*b, F_rev_packets, r);
		h->octets += host_field(*b, F_bytes, r) + host_field(*b, F_rev_bytes, r);
		int64_t start = (int64_t)host_field(*b, F_start, r);
		int64_t end = (int64_t)host_field(*b, F_end, r);
		h->start = start < h->start ? start : h->start;
		h->end = end > h->end ? end : h->end;
		h->digest += host_digest(*b, r);
	}
	h->batches++;
	h->waited |= may_wait;
	if (h->n_kept < h->keep)
		h->kept[h->n_kept++] = *b;
	else
		batch_unref(b);
	*b = NULL;
	pthread_mutex_unlock(&h->lock);
}

static inline void
host_second(void *ctx, const struct stats_second *s)
{
	struct fake_host *h = ctx;
	pthread_mutex_lock(&h->lock);
	if (h->n_seconds < HOST_SECONDS)
		h->seconds[h->n_seconds] = *s;
	h->n_seconds++;
	pthread_mutex_unlock(&h->lock);
}

static inline void
host_state(void *ctx, enum port_state state, const char *why)
{
	struct fake_host *h = ctx;
	pthread_mutex_lock(&h->lock);
	h->state = state;
	snprintf(h->why, sizeof(h->why), "%s", why);
	pthread_mutex_unlock(&h->lock);
}

static inline void
host_ended(void *ctx, bool failed)
{
	struct fake_host *h = ctx;
	atomic_store(&h->ended, failed ? 2 : 1);
}

static inline void
host_init(struct fake_host *h)
{
	memset(h, 0, sizeof(*h));
	h->start = INT64_MAX;
	h->end = INT64_MIN;
	pthread_mutex_init(&h->lock, NULL);
	h->port = (struct port_host){
	    h, "test", 1, NULL, NULL, host_push, host_second, host_state, host_ended};
}

static inline void
host_fini(struct fake_host *h)
{
	for (unsigned i = 0; i < h->n_kept; i++)
		batch_unref(&h->kept[i]);
	pthread_mutex_destroy(&h->lock);
}

/** Open an input from words as `flowctl attach` would. */
static inline int
host_open(struct fake_host *h, const struct port_type *type, const char *text, void **self,
    struct err *err)
{
	static const char *const types[] = {"capture", "pcap", "subscribe", NULL};
	struct conf_endpoint *conf = NULL;
	char **words = NULL;
	unsigned n = 0;
	int rc = conf_split(text, &words, &n, err);
	if (rc == 0)
		rc = conf_endpoint_parse((const char *const *)words, n, types, &conf, err);
	if (rc == 0)
		rc = type->open(conf, &h->port, self, err);
	conf_words_free(&words, n);
	conf_endpoint_free(&conf);
	return rc;
}

/** Wait at most @ms for an input to end by itself; how it ended. */
static inline int
host_wait_end(struct fake_host *h, unsigned ms)
{
	for (unsigned i = 0; i < ms && atomic_load(&h->ended) == 0; i++)
		clock_sleep_us(1000);
	return atomic_load(&h->ended);
}

#endif
