/* SPDX-License-Identifier: Apache-2.0
 * unit/input/test_live.c - what of a live capture needs no interface. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "input/live.h"

/** libpcap's counts are 32 bits wide and begin anew with each socket; ours go on. */
static void
test_counts(void **state)
{
	(void)state;
	struct live_count c = {0};
	live_count_add(&c, 5);
	live_count_add(&c, 4000000000u);
	live_count_add(&c, 4000000000u);
	assert_int_equal(c.total, 4000000000u);
	live_count_add(&c, 10); /* 294967306 more */
	assert_int_equal(c.total, 4294967306u);
	c.seen = 0; /* a new socket */
	live_count_add(&c, 7);
	assert_int_equal(c.total, 4294967313u);
}

/** A filter is read without the interface. */
static void
test_filter(void **state)
{
	(void)state;
	struct live_conf conf = {.device = "eth0", .filter = "tcp port 80", .snaplen = 1600};
	struct err err = {0};
	assert_int_equal(live_filter_check(&conf, &err), 0);
	conf.filter = "";
	assert_int_equal(live_filter_check(&conf, &err), 0);
	conf.filter = "port of call";
	assert_int_equal(live_filter_check(&conf, &err), -E_SYNTAX);
	assert_non_null(strstr(err.text, "eth0: filter \"port of call\": "));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_counts),
	    cmocka_unit_test(test_filter),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
