/* SPDX-License-Identifier: Apache-2.0
 * unit/input/test_live.c - what of a live capture needs no interface. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "input/input_priv.h"
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

/** Workers that together want more than the machine has are refused, with what helps. */
static void
test_memory(void **state)
{
	(void)state;
	struct flow_meter_conf conf;
	struct err err = {0};
	uint64_t total;
	uint32_t per_flow;
	flow_meter_conf_default(&conf);
	conf.app_ndpi = false;
	struct flow_meter *m = flow_meter_new(&conf, &err);
	assert_non_null(m);
	flow_meter_memory(m, &total, &per_flow);
	assert_true(total >= 262144 * (252 + 256)); /* entries and texts */
	assert_int_equal(input_memory_check(m, 4, 4 * total, &err), 0);
	assert_int_equal(input_memory_check(m, 64, UINT64_MAX, &err), 0);
	assert_int_equal(input_memory_check(m, 5, 4 * total, &err), -E_NOMEM);
	assert_non_null(strstr(err.text, "5 workers"));
	assert_non_null(strstr(err.text, "lower max_flows"));
	assert_true(input_machine_memory() > 64 << 20);
	flow_meter_free(&m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_counts),
	    cmocka_unit_test(test_filter),
	    cmocka_unit_test(test_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
