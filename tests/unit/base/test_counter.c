/* SPDX-License-Identifier: Apache-2.0
 * Counters read as one unit while they change, and the words of the table. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/counter.h"

enum { READS = 2000, MOVES = 300, WRITERS = 3, LIMIT_US = 20000000 };

struct shared {
	struct counters c;
	_Atomic int stop;
};

static void
pause_a_little(void)
{
	for (volatile int i = 0; i < 300; i++)
		continue;
}

/* a = b + d always, seen from outside; never inside a change. */
static void *
write_alone(void *arg)
{
	struct shared *s = arg;
	for (uint64_t n = 1; atomic_load_explicit(&s->stop, memory_order_relaxed) == 0; n++) {
		counters_begin(&s->c);
		counter_set(&s->c, C_pkt_seen, 3 * n);
		counter_add(&s->c, C_pkt_metered, 1);
		counter_set(&s->c, C_pkt_non_ip, 2 * n);
		counters_end(&s->c);
		pause_a_little();
	}
	return NULL;
}

static void *
write_shared(void *arg)
{
	struct shared *s = arg;
	while (atomic_load_explicit(&s->stop, memory_order_relaxed) == 0) {
		counters_begin_shared(&s->c);
		counter_add_shared(&s->c, C_flow_in, 5);
		counter_add_shared(&s->c, C_flow_queued, 5);
		counters_end_shared(&s->c);
		counters_begin_shared(&s->c);
		counter_add_shared(&s->c, C_flow_queued, -5);
		counter_add_shared(&s->c, C_flow_out, 5);
		counters_end_shared(&s->c);
		pause_a_little();
	}
	return NULL;
}

static void
run(void *(*writer)(void *), unsigned n, enum counter left, enum counter a, enum counter b)
{
	static struct shared s;
	pthread_t t[WRITERS];
	unsigned whole = 0, moved = 0, wrong = 0;
	uint64_t last = 0, end = clock_mono_us() + LIMIT_US;
	memset(&s, 0, sizeof(s));
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_create(&t[i], NULL, writer, &s), 0);
	/* until it has looked often enough while things changed */
	while ((whole < READS || moved < MOVES) && clock_mono_us() < end) {
		uint64_t v[C_COUNT] = {0};
		if (!counters_read(&s.c, v))
			continue;
		whole++;
		moved += v[left] != last;
		last = v[left];
		if (v[left] != v[a] + v[b])
			wrong++;
	}
	atomic_store(&s.stop, 1);
	for (unsigned i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(wrong, 0);
	uint64_t v[C_COUNT] = {0};
	assert_true(counters_read(&s.c, v));
	assert_int_equal(v[left], v[a] + v[b]);
	assert_true(whole >= 100 && moved >= 20); /* even where the time did not suffice */
}

static void
one_writer(void **state)
{
	(void)state;
	run(write_alone, 1, C_pkt_seen, C_pkt_metered, C_pkt_non_ip);
}

static void
many_writers(void **state)
{
	(void)state;
	run(write_shared, WRITERS, C_flow_in, C_flow_queued, C_flow_out);
}

/* In the middle of a change nothing is given; the end of it is waited for, not for ever. */
static void
inside_a_change(void **state)
{
	static struct counters c;
	uint64_t v[C_COUNT], sum[C_COUNT] = {0}, began = clock_mono_us();
	(void)state;
	memset(&c, 0, sizeof(c));
	counter_set(&c, C_pkt_seen, 7);
	assert_true(counters_try(&c, v));
	assert_int_equal(v[C_pkt_seen], 7);
	counters_begin(&c);
	assert_false(counters_try(&c, v));
	assert_false(counters_read(&c, sum));
	assert_true(clock_mono_us() - began >= 1000000);
	assert_int_equal(sum[C_pkt_seen], 7); /* one by one they are right */
	counters_end(&c);
	assert_true(counters_read(&c, sum));
	assert_int_equal(sum[C_pkt_seen], 14);
}

/* A loss says what to do about it; other counters have nothing to advise. */
static void
advice(void **state)
{
	(void)state;
	for (int i = 0; i < C_COUNT; i++) {
		const struct counter_info *c = &counter_info[i];
		size_t n = strlen(c->advice);
		if ((c->kind == CK_LOST) != (n > 0))
			fail_msg("%s: advice \"%s\"", c->name, c->advice);
		if (n > 0 && (c->advice[n - 1] == '.' || strchr(c->text, '(') == c->text))
			fail_msg("%s: \"%s\": \"%s\"", c->name, c->text, c->advice);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(one_writer),
	    cmocka_unit_test(many_writers), cmocka_unit_test(inside_a_change),
	    cmocka_unit_test(advice)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
