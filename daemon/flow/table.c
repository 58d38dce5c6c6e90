/* SPDX-License-Identifier: Apache-2.0
 * flow/table.c - pool and index of live flows (table.h).
 *
 * An entry that finds its home bucket full goes to the next one with room and leaves its mark in
 * `passed` of those it passed; a search stops at the first bucket nobody passed. Removal takes the
 * marks back, so there are no tombstones and a full table that empties is as fast as a new one. */
#include "flow/table.h"

#include <string.h>
#include <sys/mman.h>

#include "base/hash.h"

enum { HUGE_PAGE = 2 << 20 };

static size_t
whole_pages(size_t bytes)
{
	size_t unit = bytes >= HUGE_PAGE ? HUGE_PAGE : 4096;
	return (bytes + unit - 1) / unit * unit;
}

/* More than a huge page is placed on a huge page's boundary, else the kernel cannot use one. */
void *
flow_memory_get(size_t bytes)
{
	size_t size = whole_pages(bytes), slack = size >= HUGE_PAGE ? HUGE_PAGE : 0;
	uint8_t *p =
	    mmap(NULL, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	if (slack != 0) {
		size_t front = (size_t)(-(uintptr_t)p & (HUGE_PAGE - 1));
		if (front != 0)
			(void)munmap(p, front);
		if (front != slack)
			(void)munmap(p + front + size, slack - front);
		p += front;
		(void)madvise(p, size, MADV_HUGEPAGE);
	}
	return p;
}

void
flow_memory_put(void *p, size_t bytes)
{
	if (p != NULL)
		(void)munmap(p, whole_pages(bytes));
}

int
flow_table_init(struct flow_table *t, uint32_t max, struct err *err)
{
	uint64_t buckets = 1;
	while (buckets * 4 < max)
		buckets *= 2;
	*t = (struct flow_table){.max = max, .mask = (uint32_t)(buckets - 1)};
	t->hot = flow_memory_get(max * sizeof *t->hot);
	t->cold = flow_memory_get(max * sizeof *t->cold);
	t->bucket = flow_memory_get(buckets * sizeof *t->bucket);
	t->spare = flow_memory_get(max * sizeof *t->spare);
	t->reserved = whole_pages(max * sizeof *t->hot) + whole_pages(max * sizeof *t->cold) +
		      whole_pages(buckets * sizeof *t->bucket) +
		      whole_pages(max * sizeof *t->spare);
	if (t->hot == NULL || t->cold == NULL || t->bucket == NULL || t->spare == NULL) {
		unsigned long long mib = t->reserved >> 20;
		flow_table_fini(t);
		return err_set(
		    err, E_NOMEM, "%llu MiB for %u flows cannot be had, lower max_flows", mib, max);
	}
	random_bytes(t->secret, sizeof t->secret);
	return 0;
}

void
flow_table_fini(struct flow_table *t)
{
	size_t max = t->max;
	flow_memory_put(t->hot, max * sizeof *t->hot);
	flow_memory_put(t->cold, max * sizeof *t->cold);
	flow_memory_put(t->bucket, ((size_t)t->mask + 1) * sizeof *t->bucket);
	flow_memory_put(t->spare, max * sizeof *t->spare);
	*t = (struct flow_table){0};
}

/* The index has at least twice as many places as the pool has entries: there is room. */
static void
index_add(struct flow_table *t, uint64_t hash, uint32_t i)
{
	for (uint32_t at = (uint32_t)hash & t->mask;; at = (at + 1) & t->mask) {
		struct flow_bucket *b = &t->bucket[at];
		for (unsigned half = 0; half < 2; half++) {
			uint64_t m = flow_lanes_equal(b->tags[half], 0);
			if (m == 0)
				continue;
			unsigned lane = (unsigned)__builtin_ctzll(m) / 16;
			uint64_t keep = UINT64_C(0xffff) << (lane * 16);
			b->tags[half] |= flow_tag_lanes(hash) & keep;
			b->slot[half * 4 + lane] = i;
			return;
		}
		b->passed++;
	}
}

static void
index_remove(struct flow_table *t, uint32_t hash, uint32_t i)
{
	uint32_t at = hash & t->mask;
	for (uint32_t n = 0; n <= t->mask; n++, at = (at + 1) & t->mask) {
		struct flow_bucket *b = &t->bucket[at];
		for (unsigned lane = 0; lane < 8; lane++) {
			uint64_t keep = UINT64_C(0xffff) << (lane % 4 * 16);
			if (b->slot[lane] == i && (b->tags[lane / 4] & keep) != 0) {
				b->tags[lane / 4] &= ~keep;
				return;
			}
		}
		b->passed--;
	}
	assert_always(!"a flow that is in use is in the index");
}

uint32_t
flow_table_take(struct flow_table *t, const struct flow_key *key, uint64_t hash)
{
	uint32_t i;
	if (t->n_spare != 0)
		i = t->spare[--t->n_spare];
	else if (t->fresh < t->max)
		i = t->fresh++;
	else
		return FLOW_NONE;
	struct flow *f = &t->hot[i];
	*f = (struct flow){.key = *key, .flags = FLOW_USED, .hash = (uint32_t)hash};
	t->cold[i].app = (struct app_state){0};
	index_add(t, hash, i);
	return i;
}

void
flow_table_drop(struct flow_table *t, uint32_t i)
{
	assert_hot(t->hot[i].flags & FLOW_USED);
	index_remove(t, t->hot[i].hash, i);
	t->hot[i].flags = 0;
	t->spare[t->n_spare++] = i;
}

uint32_t
flow_table_victim(struct flow_table *t)
{
	uint32_t best = t->hand;
	unsigned n = t->max < FLOW_VICTIMS ? t->max : FLOW_VICTIMS;
	for (unsigned k = 0; k < n; k++) {
		if (t->hot[t->hand].last < t->hot[best].last)
			best = t->hand;
		t->hand = t->hand + 1 < t->max ? t->hand + 1 : 0;
	}
	return best;
}
