/* SPDX-License-Identifier: Apache-2.0
 * input/seconds.c - merge the seconds of several workers. */
#include "input/seconds.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 8, SLOT_APPS = 128, OVERDUE_US = 400000 };

struct slot {
	bool used;
	uint64_t delivered; /* bit per worker */
	struct stats_second sum;
	unsigned n_apps;
	struct stats_app apps[SLOT_APPS];
};

struct seconds {
	const struct port_host *host;
	uint64_t all;
	/* a lock on the packet path: taken by each worker once a second, for microseconds */
	pthread_mutex_t lock;
	struct stats_totals totals[64]; /* newest of each worker */
	_Atomic int64_t next_due_us; /* so that polling needs no lock */
	struct slot slot[SLOTS];
};

struct seconds *
seconds_new(unsigned n_workers, const struct port_host *host)
{
	struct seconds *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return NULL;
	s->host = host;
	s->all = n_workers >= 64 ? UINT64_MAX : (UINT64_C(1) << n_workers) - 1;
	atomic_init(&s->next_due_us, INT64_MAX);
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

void
seconds_free(struct seconds **sp)
{
	if (*sp == NULL)
		return;
	pthread_mutex_destroy(&(*sp)->lock);
	free(*sp);
	*sp = NULL;
}

static int64_t
slot_end_us(const struct slot *sl)
{
	return (sl->sum.second + 1) * 1000000;
}

static void
add_app(struct slot *sl, const struct stats_app *app)
{
	for (unsigned i = 0; i < sl->n_apps; i++) {
		if (strncmp(sl->apps[i].name, app->name, STATS_NAME) != 0)
			continue;
		sl->apps[i].flows += app->flows;
		sl->apps[i].bytes += app->bytes;
		return;
	}
	if (sl->n_apps < SLOT_APPS)
		sl->apps[sl->n_apps++] = *app;
}

static void
add_part(struct slot *sl, const struct stats_second *p)
{
	struct stats_second *s = &sl->sum;
	s->packets += p->packets;
	s->bytes += p->bytes;
	s->drops_kernel += p->drops_kernel;
	s->drops_if += p->drops_if;
	s->drops_own += p->drops_own;
	s->non_ip += p->non_ip;
	s->malformed += p->malformed;
	s->flows_active += p->flows_active;
	s->flows_new += p->flows_new;
	s->flows_ended += p->flows_ended;
	for (uint32_t i = 0; i < p->n_apps && i < STATS_APPS; i++)
		add_app(sl, &p->apps[i]);
}

static int
by_bytes(const void *a, const void *b)
{
	const struct stats_app *x = a, *y = b;
	return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1)
				    : strncmp(x->name, y->name, STATS_NAME);
}

/* The totals of all workers: of different moments, but each complete in itself. */
static void
sum_totals(const struct seconds *s, struct stats_totals *sum)
{
	*sum = (struct stats_totals){0};
	for (unsigned i = 0; i < 64; i++)
		stats_totals_add(sum, &s->totals[i]);
}

/** Empty a slot into *out. */
static void
take_slot(const struct seconds *s, struct slot *sl, struct stats_second *out, int64_t now_us)
{
	qsort(sl->apps, sl->n_apps, sizeof(sl->apps[0]), by_bytes);
	*out = sl->sum;
	sum_totals(s, &out->totals);
	out->n_apps = sl->n_apps < STATS_APPS ? sl->n_apps : STATS_APPS;
	memcpy(out->apps, sl->apps, out->n_apps * sizeof(out->apps[0]));
	int64_t late = now_us == INT64_MAX ? 0 : now_us - slot_end_us(sl);
	out->late_us = late < 0 ? 0 : late > UINT32_MAX ? UINT32_MAX : (uint32_t)late;
	sl->used = false;
}

static void
set_next_due(struct seconds *s)
{
	int64_t due = INT64_MAX;
	for (unsigned i = 0; i < SLOTS; i++)
		if (s->slot[i].used && slot_end_us(&s->slot[i]) + OVERDUE_US < due)
			due = slot_end_us(&s->slot[i]) + OVERDUE_US;
	atomic_store_explicit(&s->next_due_us, due, memory_order_relaxed);
}

/** The slot of a second, or a free one; the oldest is emptied into *evicted when all are taken. */
static struct slot *
find_slot(struct seconds *s, const struct stats_second *part, struct stats_second *evicted,
    bool *is_evicted, int64_t now_us)
{
	struct slot *free_slot = NULL, *oldest = &s->slot[0];
	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *sl = &s->slot[i];
		if (sl->used && sl->sum.second == part->second)
			return sl;
		if (!sl->used)
			free_slot = sl;
		else if (sl->sum.second < oldest->sum.second)
			oldest = sl;
	}
	if (free_slot == NULL) {
		take_slot(s, oldest, evicted, now_us);
		*is_evicted = true;
		free_slot = oldest;
	}
	free_slot->used = true;
	free_slot->delivered = 0;
	free_slot->n_apps = 0;
	memset(&free_slot->sum, 0, sizeof(free_slot->sum));
	free_slot->sum.second = part->second;
	memcpy(free_slot->sum.interface, part->interface, sizeof(part->interface));
	memcpy(free_slot->sum.probe, part->probe, sizeof(part->probe));
	return free_slot;
}

void
seconds_add(struct seconds *s, unsigned worker, const struct stats_second *part, int64_t now_us)
{
	struct stats_second evicted, done;
	bool is_evicted = false, is_done = false;
	uint64_t bit = UINT64_C(1) << (worker & 63);
	pthread_mutex_lock(&s->lock);
	struct slot *sl = find_slot(s, part, &evicted, &is_evicted, now_us);
	add_part(sl, part);
	s->totals[worker & 63] = part->totals;
	sl->delivered |= bit;
	if (sl->delivered == s->all) {
		take_slot(s, sl, &done, now_us);
		is_done = true;
	}
	set_next_due(s);
	pthread_mutex_unlock(&s->lock);
	if (is_evicted)
		s->host->second(s->host->ctx, &evicted);
	if (is_done)
		s->host->second(s->host->ctx, &done);
}

void
seconds_poll(struct seconds *s, int64_t now_us)
{
	while (atomic_load_explicit(&s->next_due_us, memory_order_relaxed) <= now_us) {
		struct stats_second due;
		struct slot *oldest = NULL;
		pthread_mutex_lock(&s->lock);
		for (unsigned i = 0; i < SLOTS; i++)
			if (s->slot[i].used &&
			    (oldest == NULL || s->slot[i].sum.second < oldest->sum.second))
				oldest = &s->slot[i];
		if (oldest != NULL && now_us != INT64_MAX &&
		    slot_end_us(oldest) + OVERDUE_US > now_us)
			oldest = NULL;
		if (oldest != NULL)
			take_slot(s, oldest, &due, now_us);
		set_next_due(s);
		pthread_mutex_unlock(&s->lock);
		if (oldest == NULL)
			return;
		s->host->second(s->host->ctx, &due);
	}
}
