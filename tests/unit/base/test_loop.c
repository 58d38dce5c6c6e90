/* SPDX-License-Identifier: Apache-2.0
 * unit/base/test_loop.c - the poll loop: order, deletion from inside, timers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/loop.h"
#include "base/queue.h"

struct both {
	struct loop_io *io[2];
	int called;
};

static void
delete_both(void *arg, int fd, unsigned events)
{
	struct both *b = arg;
	(void)fd;
	(void)events;
	b->called++;
	loop_io_del(&b->io[0]);
	loop_io_del(&b->io[1]);
}

/* Two ready descriptors; whichever comes first deletes both: the other must not be called. */
static void
test_delete_inside(void **state)
{
	struct loop *l = loop_new();
	struct wake w[2];
	struct both b = {{NULL, NULL}, 0};
	(void)state;
	for (int i = 0; i < 2; i++) {
		wake_init(&w[i]);
		wake_signal(&w[i]);
		b.io[i] = loop_io_add(l, w[i].fd, EPOLLIN, delete_both, &b);
		assert_non_null(b.io[i]);
	}
	assert_int_equal(loop_once(l, 100), 0);
	assert_int_equal(loop_once(l, 0), 0);
	assert_int_equal(b.called, 1);
	wake_fini(&w[0]);
	wake_fini(&w[1]);
	loop_free(&l);
	assert_null(l);
}

struct ticks {
	struct loop *loop;
	struct loop_timer *timer;
	int n;
};

static void
tick(void *arg, uint64_t now_us)
{
	struct ticks *t = arg;
	(void)now_us;
	if (++t->n == 3)
		loop_stop(t->loop);
}

static void
once(void *arg, uint64_t now_us)
{
	struct ticks *t = arg;
	(void)now_us;
	t->n += 100;
	loop_timer_del(&t->timer);
}

static void
test_timers(void **state)
{
	struct ticks t = {loop_new(), NULL, 0};
	struct ticks o = {t.loop, NULL, 0};
	(void)state;
	uint64_t from = clock_mono_us();
	t.timer = loop_timer_add(t.loop, 5000, 5000, tick, &t);
	o.timer = loop_timer_add(t.loop, 1000, 0, once, &o);
	assert_int_equal(loop_run(t.loop), 0);
	assert_true(clock_mono_us() - from >= 15000);
	assert_int_equal(t.n, 3);
	assert_int_equal(o.n, 100); /* once, then deleted itself */
	assert_null(o.timer);
	loop_timer_set(t.timer, 1000000);
	from = clock_mono_us();
	loop_once(t.loop, 10);
	assert_true(clock_mono_us() - from >= 9000);
	assert_int_equal(t.n, 3);
	loop_timer_del(&t.timer);
	loop_free(&t.loop);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_delete_inside), cmocka_unit_test(test_timers)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
