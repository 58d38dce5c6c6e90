/* SPDX-License-Identifier: Apache-2.0
 * base/queue.c - bounded queue, wake-up, free list.
 *
 * The queue is a ring of cells, each with a sequence number that says whose turn it is: a producer
 * may fill cell i when its number is i, a consumer may empty it when it is i + 1, and leaves it at
 * i + capacity for the next lap. Positions are claimed by compare-and-swap, so nobody waits for a
 * lock; a claimed but unfinished cell makes the queue look empty (or full) for that moment. */
#include "base/queue.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"

struct cell {
	_Atomic size_t turn;
	void *item;
};

struct queue {
	size_t mask;
	struct cell *cells;
	_Alignas(64) _Atomic size_t head; /* next to fill */
	_Alignas(64) _Atomic size_t tail; /* next to take */
};

struct queue *
queue_new(size_t capacity)
{
	size_t n = 2;
	while (n < capacity)
		n *= 2;
	struct queue *q = aligned_alloc(64, sizeof(*q));
	struct cell *cells = calloc(n, sizeof(*cells));
	if (q == NULL || cells == NULL) {
		free(q);
		free(cells);
		return NULL;
	}
	q->mask = n - 1;
	q->cells = cells;
	atomic_init(&q->head, 0);
	atomic_init(&q->tail, 0);
	for (size_t i = 0; i < n; i++)
		atomic_init(&cells[i].turn, i);
	return q;
}

void
queue_free(struct queue **q)
{
	if (*q != NULL) {
		free((*q)->cells);
		free(*q);
		*q = NULL;
	}
}

bool
queue_push(struct queue *q, void *item)
{
	size_t pos = atomic_load_explicit(&q->head, memory_order_relaxed);
	for (;;) {
		struct cell *c = &q->cells[pos & q->mask];
		size_t turn = atomic_load_explicit(&c->turn, memory_order_acquire);
		if (turn == pos) {
			if (atomic_compare_exchange_weak_explicit(&q->head, &pos, pos + 1,
				memory_order_relaxed, memory_order_relaxed)) {
				c->item = item;
				atomic_store_explicit(&c->turn, pos + 1, memory_order_release);
				return true;
			}
		} else if ((ptrdiff_t)(turn - pos) < 0) {
			return false;
		} else {
			pos = atomic_load_explicit(&q->head, memory_order_relaxed);
		}
	}
}

void *
queue_pop(struct queue *q)
{
	size_t pos = atomic_load_explicit(&q->tail, memory_order_relaxed);
	for (;;) {
		struct cell *c = &q->cells[pos & q->mask];
		size_t turn = atomic_load_explicit(&c->turn, memory_order_acquire);
		if (turn == pos + 1) {
			if (atomic_compare_exchange_weak_explicit(&q->tail, &pos, pos + 1,
				memory_order_relaxed, memory_order_relaxed)) {
				void *item = c->item;
				atomic_store_explicit(&c->turn, pos + q->mask + 1,
				    memory_order_release);
				return item;
			}
		} else if ((ptrdiff_t)(turn - (pos + 1)) < 0) {
			return NULL;
		} else {
			pos = atomic_load_explicit(&q->tail, memory_order_relaxed);
		}
	}
}

size_t
queue_len(const struct queue *q)
{
	size_t tail = atomic_load_explicit(&q->tail, memory_order_acquire);
	size_t head = atomic_load_explicit(&q->head, memory_order_acquire);
	return head > tail ? head - tail : 0;
}

size_t
queue_capacity(const struct queue *q)
{
	return q->mask + 1;
}

int
wake_init(struct wake *w)
{
	w->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return w->fd >= 0 ? 0 : -E_SYS;
}

void
wake_fini(struct wake *w)
{
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

void
wake_signal(struct wake *w)
{
	uint64_t one = 1;
	ssize_t n = write(w->fd, &one, sizeof(one)); /* only fails when it is signalled 2^64 times */
	(void)n;
}

void
wake_clear(struct wake *w)
{
	uint64_t v;
	ssize_t n = read(w->fd, &v, sizeof(v)); /* EAGAIN: was clear */
	(void)n;
}

void
wake_wait(struct wake *w, int timeout_ms)
{
	struct pollfd p = {w->fd, POLLIN, 0};
	if (poll(&p, 1, timeout_ms) > 0)
		wake_clear(w);
}

void
freelist_push(struct freelist *f, struct freelink *item)
{
	struct freelink *head = atomic_load_explicit(&f->head, memory_order_relaxed);
	do
		item->next = head;
	while (!atomic_compare_exchange_weak_explicit(&f->head, &head, item, memory_order_release,
	    memory_order_relaxed));
}

struct freelink *
freelist_take(struct freelist *f)
{
	if (atomic_load_explicit(&f->head, memory_order_relaxed) == NULL)
		return NULL;
	return atomic_exchange_explicit(&f->head, NULL, memory_order_acquire);
}
