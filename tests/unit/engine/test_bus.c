/* SPDX-License-Identifier: Apache-2.0
 * unit/engine/test_bus.c - batches to outputs that come and go while inputs push. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/clock.h"
#include "engine/engine_priv.h"

enum { GUARD = 0x600d, ROUNDS = 300, PER_INPUT = 20000 };

struct sink {
	int guard;
	_Atomic uint64_t flows, batches, lost;
	_Atomic bool full;
};

static bool
sink_take(void *self, struct batch *b)
{
	struct sink *s = self;
	assert_int_equal(s->guard, GUARD); /* a removed output must never be called */
	if (atomic_load(&s->full))
		return false;
	atomic_fetch_add(&s->flows, b->n);
	atomic_fetch_add(&s->batches, 1);
	batch_unref(&b);
	return true;
}

static void
sink_lost(void *self, uint32_t flows)
{
	struct sink *s = self;
	atomic_fetch_add(&s->lost, flows);
}

static const struct port_type sink_type = {
    .name = "sink", .direction = PORT_OUTPUT, .help = "", .take = sink_take, .lost = sink_lost};

static struct sink *
sink_new(void)
{
	struct sink *s = calloc(1, sizeof(*s));
	s->guard = GUARD;
	return s;
}

static struct endpoint *
endpoint_new(void)
{
	struct endpoint *ep = aligned_alloc(64, (sizeof(*ep) + 63) / 64 * 64);
	memset(ep, 0, sizeof(*ep));
	return ep;
}

struct input {
	struct bus *bus;
	struct endpoint *ep;
	unsigned n;
	bool may_wait;
};

static void *
push_many(void *arg)
{
	struct input *in = arg;
	struct batch_pool *pool = batch_pool_new(16);
	for (unsigned i = 0; i < in->n; i++) {
		struct batch *b = batch_pool_get(pool);
		assert_non_null(b);
		b->n = 3;
		batch_seal(b, 0);
		bus_push(in->bus, in->ep, &b, in->may_wait);
		assert_null(b);
	}
	assert_int_equal(batch_pool_out(pool), 0);
	batch_pool_free(&pool);
	return NULL;
}

/* One output stays and must get everything; others are attached and detached all the time. */
static void
test_attach_detach_under_load(void **state)
{
	struct bus *bus = calloc(1, sizeof(*bus));
	struct endpoint *in_ep = endpoint_new(), *out_ep = endpoint_new();
	struct sink *stays = sink_new();
	struct input in = {bus, in_ep, PER_INPUT, false};
	struct bus_out o = {out_ep, &sink_type, stays, 1};
	pthread_t t[2];
	(void)state;
	assert_int_equal(bus_add(bus, &o), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, push_many, &in), 0);
	for (uint32_t k = 0; k < ROUNDS; k++) {
		struct sink *s = sink_new();
		struct bus_out x = {out_ep, &sink_type, s, 2 + k};
		assert_int_equal(bus_add(bus, &x), 0);
		if (k % 10 == 0)
			clock_sleep_us(100);
		bus_remove(bus, 2 + k);
		s->guard = 0;
		free(s);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(atomic_load(&stays->batches), 2 * PER_INPUT);
	assert_int_equal(atomic_load(&stays->flows), 6 * PER_INPUT);
	assert_int_equal(counter_get(&out_ep->counters, C_flow_lost_queue), 0);
	bus_free(bus);
	free(stays);
	free(in_ep);
	free(out_ep);
	free(bus);
}

/* A live input never waits: a full output loses, counted at that output only. */
static void
test_full_is_counted(void **state)
{
	struct bus *bus = calloc(1, sizeof(*bus));
	struct endpoint *in_ep = endpoint_new(), *good_ep = endpoint_new(), *full_ep = endpoint_new();
	struct sink *good = sink_new(), *full = sink_new();
	struct bus_out a = {good_ep, &sink_type, good, 1}, b = {full_ep, &sink_type, full, 2};
	struct input in = {bus, in_ep, 10, false};
	(void)state;
	atomic_store(&full->full, true);
	bus_add(bus, &a);
	bus_add(bus, &b);
	push_many(&in);
	assert_int_equal(atomic_load(&good->flows), 30);
	assert_int_equal(counter_get(&full_ep->counters, C_flow_lost_queue), 30);
	assert_int_equal(counter_get(&full_ep->counters, C_batch_lost_queue), 10);
	assert_int_equal(atomic_load(&full->lost), 30);
	assert_int_equal(counter_get(&good_ep->counters, C_flow_lost_queue), 0);
	/* a file input whose stop was asked for long ago does not wait either, and is counted too */
	in.may_wait = true;
	atomic_store(&in_ep->wait_until_us, 1);
	push_many(&in);
	assert_int_equal(counter_get(&full_ep->counters, C_flow_lost_queue), 60);
	assert_int_equal(atomic_load(&good->flows), 60); /* once each, not once per try */
	bus_remove(bus, 1);
	bus_remove(bus, 2);
	push_many(&in);
	assert_int_equal(counter_get(&in_ep->counters, C_flow_no_output), 30);
	bus_free(bus);
	free(good);
	free(full);
	free(in_ep);
	free(good_ep);
	free(full_ep);
	free(bus);
}

static void *
make_room(void *arg)
{
	struct sink *s = arg;
	clock_sleep_us(50000);
	atomic_store(&s->full, false);
	return NULL;
}

static void
test_file_waits(void **state)
{
	struct bus *bus = calloc(1, sizeof(*bus));
	struct endpoint *in_ep = endpoint_new(), *ep = endpoint_new();
	struct sink *good = sink_new(), *full = sink_new();
	struct bus_out a = {ep, &sink_type, good, 1}, b = {ep, &sink_type, full, 2};
	struct input in = {bus, in_ep, 5, true};
	pthread_t t;
	(void)state;
	atomic_store(&full->full, true);
	bus_add(bus, &a);
	bus_add(bus, &b);
	uint64_t from = clock_mono_us();
	assert_int_equal(pthread_create(&t, NULL, make_room, full), 0);
	push_many(&in);
	pthread_join(t, NULL);
	assert_true(clock_mono_us() - from >= 40000);
	assert_int_equal(atomic_load(&good->batches), 5);
	assert_int_equal(atomic_load(&full->batches), 5);
	assert_int_equal(atomic_load(&full->lost), 0); /* refused many times, lost never */
	assert_int_equal(counter_get(&ep->counters, C_flow_lost_queue), 0);
	bus_free(bus);
	free(good);
	free(full);
	free(in_ep);
	free(ep);
	free(bus);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_attach_detach_under_load),
	    cmocka_unit_test(test_full_is_counted), cmocka_unit_test(test_file_waits)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
