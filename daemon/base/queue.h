/* SPDX-License-Identifier: Apache-2.0
 * base/queue.h - bounded queues of pointers between threads.
 *
 * struct queue: any number of producers and consumers, fixed capacity, never blocks, no lock
 * (a ring of sequence-numbered cells). struct wake: an eventfd that a consumer sleeps on.
 * struct freelist: push from any thread, the owner takes all at once. */
#ifndef FLOWBUS_BASE_QUEUE_H
#define FLOWBUS_BASE_QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue;

/**
 * A queue of @capacity pointers (rounded up to a power of two, at least 2), or NULL without
 * memory.
 */
struct queue *queue_new(size_t capacity);
/** Free the queue; what is still in it is the caller's to take out first. */
void queue_free(struct queue **q);
/** Append; false when full (the caller counts it as lost and keeps @item). @item is not NULL. */
bool queue_push(struct queue *q, void *item);
/** Take the oldest, or NULL when empty. */
void *queue_pop(struct queue *q);
/** How many are in it, roughly when others are at work. */
size_t queue_len(const struct queue *q);
size_t queue_capacity(const struct queue *q);

struct wake {
	int fd;
};

/** 0 or -E_SYS. The descriptor is readable after a signal until it is cleared. */
int wake_init(struct wake *w);
void wake_fini(struct wake *w);
void wake_signal(struct wake *w);
void wake_clear(struct wake *w);
/** Sleep until signalled or @timeout_ms passed (-1: for ever), and clear. */
void wake_wait(struct wake *w, int timeout_ms);

struct freelink {
	struct freelink *next;
};

struct freelist {
	_Atomic(struct freelink *) head;
};

void freelist_push(struct freelist *f, struct freelink *item);
/** Take the whole list (last pushed first), or NULL. */
struct freelink *freelist_take(struct freelist *f);

#endif
