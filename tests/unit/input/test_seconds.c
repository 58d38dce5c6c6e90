/* SPDX-License-Identifier: Apache-2.0
 * unit/input/test_seconds.c - seconds of several workers become one, none is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "host.h"
#include "input/seconds.h"

static struct stats_second
part(int64_t second, uint64_t packets, const char *app, uint64_t bytes)
{
	struct stats_second s = {.second = second,
	    .interface = "eth0",
	    .packets = packets,
	    .bytes = packets * 100,
	    .flows_active = 1,
	    .drops_kernel = packets / 10,
	    .n_apps = 1};
	snprintf(s.apps[0].name, sizeof(s.apps[0].name), "%s", app);
	s.apps[0].bytes = bytes;
	s.apps[0].flows = 1;
	return s;
}

static void
test_merge(void **state)
{
	(void)state;
	struct fake_host h;
	host_init(&h);
	struct seconds *s = seconds_new(3, &h.port);
	struct stats_second a = part(100, 10, "http", 50), b = part(100, 20, "tls", 60),
			    c = part(100, 30, "http", 20);
	seconds_add(s, 0, &a, 101100000);
	seconds_add(s, 2, &c, 101150000);
	seconds_poll(s, 101200000);
	assert_int_equal(h.n_seconds, 0);
	seconds_add(s, 1, &b, 101250000);
	assert_int_equal(h.n_seconds, 1);
	assert_true(h.seconds[0].second == 100);
	assert_int_equal(h.seconds[0].packets, 60);
	assert_int_equal(h.seconds[0].bytes, 6000);
	assert_int_equal(h.seconds[0].drops_kernel, 6);
	assert_int_equal(h.seconds[0].flows_active, 3);
	assert_int_equal(h.seconds[0].late_us, 250000);
	assert_int_equal(h.seconds[0].n_apps, 2);
	assert_string_equal(h.seconds[0].apps[0].name, "http");
	assert_int_equal(h.seconds[0].apps[0].bytes, 70);
	assert_int_equal(h.seconds[0].apps[0].flows, 2);
	assert_string_equal(h.seconds[0].apps[1].name, "tls");
	assert_string_equal(h.seconds[0].interface, "eth0");
	seconds_free(&s);
	host_fini(&h);
}

/** A second that is overdue goes out; what comes later goes out too, on its own. */
static void
test_late(void **state)
{
	(void)state;
	struct fake_host h;
	host_init(&h);
	struct seconds *s = seconds_new(2, &h.port);
	struct stats_second a = part(100, 10, "http", 50), b = part(100, 20, "tls", 60);
	seconds_add(s, 0, &a, 101100000);
	seconds_poll(s, 101399999);
	assert_int_equal(h.n_seconds, 0);
	seconds_poll(s, 101400000);
	assert_int_equal(h.n_seconds, 1);
	assert_int_equal(h.seconds[0].packets, 10);
	seconds_add(s, 1, &b, 103000000);
	seconds_poll(s, 103000001);
	assert_int_equal(h.n_seconds, 2);
	assert_int_equal(h.seconds[1].packets, 20);
	assert_int_equal(h.seconds[1].late_us, 2000001);
	seconds_free(&s);
	host_fini(&h);
}

/** Random order and loss of workers: sums are exact, each second comes in order when it can. */
static void
test_sums(void **state)
{
	(void)state;
	struct fake_host h;
	host_init(&h);
	struct seconds *s = seconds_new(4, &h.port);
	uint64_t given = 0, got = 0;
	srand(3);
	int64_t at[4] = {0};
	for (int i = 0; i < 200; i++) {
		unsigned w = (unsigned)rand() % 4;
		struct stats_second p = part(at[w], (uint64_t)rand() % 100, "dns", 1);
		at[w] += 1 + rand() % 3;
		given += p.packets;
		seconds_add(s, w, &p, (p.second + 1) * 1000000);
		if (rand() % 20 == 0)
			seconds_poll(s, (p.second + 2) * 1000000);
	}
	seconds_poll(s, INT64_MAX);
	for (unsigned i = 0; i < h.n_seconds && i < HOST_SECONDS; i++)
		got += h.seconds[i].packets;
	assert_true(h.n_seconds <= HOST_SECONDS);
	assert_int_equal(got, given);
	seconds_free(&s);
	host_fini(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_merge),
	    cmocka_unit_test(test_late),
	    cmocka_unit_test(test_sums),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
