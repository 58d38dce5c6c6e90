/* SPDX-License-Identifier: Apache-2.0
 * unit/base/test_queue.c - queues, free lists and snapshots between real threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/queue.h"
#include "base/snap.h"

enum { PER_PRODUCER = 50000, PRODUCERS = 3 };

static void
test_queue_alone(void **state)
{
	struct queue *q = queue_new(3);
	int x[5];
	(void)state;
	assert_int_equal(queue_capacity(q), 4);
	assert_null(queue_pop(q));
	for (int lap = 0; lap < 10; lap++) {
		for (int i = 0; i < 4; i++)
			assert_true(queue_push(q, &x[i]));
		assert_false(queue_push(q, &x[4]));
		assert_int_equal(queue_len(q), 4);
		for (int i = 0; i < 4; i++)
			assert_ptr_equal(queue_pop(q), &x[i]);
		assert_null(queue_pop(q));
	}
	queue_free(&q);
	assert_null(q);
}

struct shared {
	struct queue *q;
	struct wake wake;
	unsigned char seen[PRODUCERS * PER_PRODUCER];
};

struct producer {
	struct shared *s;
	unsigned first;
};

static void *
produce(void *arg)
{
	struct producer *p = arg;
	for (unsigned i = 0; i < PER_PRODUCER; i++) {
		while (!queue_push(p->s->q, &p->s->seen[p->first + i]))
			clock_sleep_us(10);
		wake_signal(&p->s->wake);
	}
	return NULL;
}

static void
test_queue_threads(void **state)
{
	struct shared *s = calloc(1, sizeof(*s));
	struct producer p[PRODUCERS];
	pthread_t t[PRODUCERS];
	(void)state;
	s->q = queue_new(64);
	assert_int_equal(wake_init(&s->wake), 0);
	for (unsigned i = 0; i < PRODUCERS; i++) {
		p[i] = (struct producer){s, i * PER_PRODUCER};
		assert_int_equal(pthread_create(&t[i], NULL, produce, &p[i]), 0);
	}
	unsigned got = 0;
	unsigned char *last[PRODUCERS] = {0};
	while (got < PRODUCERS * PER_PRODUCER) {
		unsigned char *x = queue_pop(s->q);
		if (x == NULL) {
			wake_wait(&s->wake, 1000);
			continue;
		}
		unsigned who = (unsigned)(x - s->seen) / PER_PRODUCER;
		assert_true(last[who] == NULL || x > last[who]); /* in order per producer */
		last[who] = x;
		(*x)++;
		got++;
	}
	for (unsigned i = 0; i < PRODUCERS; i++)
		pthread_join(t[i], NULL);
	for (unsigned i = 0; i < PRODUCERS * PER_PRODUCER; i++)
		assert_int_equal(s->seen[i], 1);
	queue_free(&s->q);
	wake_fini(&s->wake);
	free(s);
}

struct home {
	struct freelist list;
	struct freelink items[20000];
};

static void *
push_items(void *arg)
{
	struct home *h = arg;
	for (int i = 10000; i < 20000; i++)
		freelist_push(&h->list, &h->items[i]);
	return NULL;
}

static void
test_freelist(void **state)
{
	struct home *h = calloc(1, sizeof(*h));
	pthread_t t;
	unsigned got = 0;
	(void)state;
	assert_int_equal(pthread_create(&t, NULL, push_items, h), 0);
	for (int i = 0; i < 10000; i++) {
		freelist_push(&h->list, &h->items[i]);
		if (i % 100 == 0)
			for (struct freelink *l = freelist_take(&h->list); l != NULL; l = l->next)
				got++;
	}
	pthread_join(t, NULL);
	for (struct freelink *l = freelist_take(&h->list); l != NULL; l = l->next)
		got++;
	assert_int_equal(got, 20000);
	assert_null(freelist_take(&h->list));
	free(h);
}

struct snapped {
	struct snap snap;
	_Atomic int stop;
	_Atomic uint64_t reads, wrong;
};

enum { ALIVE = 0x1234, DEAD = 0x5678 };

static void *
read_snap(void *arg)
{
	struct snapped *s = arg;
	while (!atomic_load(&s->stop)) {
		int slot;
		_Atomic int *p = snap_enter(&s->snap, &slot);
		if (p != NULL) {
			if (atomic_load(p) != ALIVE)
				atomic_fetch_add(&s->wrong, 1);
			snap_leave(&s->snap, slot);
		}
		atomic_fetch_add(&s->reads, 1);
	}
	return NULL;
}

static void
test_snap(void **state)
{
	struct snapped *s = calloc(1, sizeof(*s));
	pthread_t t[3];
	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, read_snap, s), 0);
	for (int i = 0; i < 20000; i++) {
		_Atomic int *fresh = malloc(sizeof(*fresh));
		atomic_init(fresh, ALIVE);
		_Atomic int *old = snap_swap(&s->snap, i % 7 == 6 ? NULL : fresh);
		if (i % 7 == 6)
			free(fresh);
		if (old != NULL) {
			atomic_store(old, DEAD); /* nobody may see this */
			free(old);
		}
	}
	while (atomic_load(&s->reads) < 1000)
		clock_sleep_us(100);
	atomic_store(&s->stop, 1);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(atomic_load(&s->wrong), 0);
	free(snap_swap(&s->snap, NULL));
	free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_queue_alone),
	    cmocka_unit_test(test_queue_threads), cmocka_unit_test(test_freelist),
	    cmocka_unit_test(test_snap)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
