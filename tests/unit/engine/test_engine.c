/* SPDX-License-Identifier: Apache-2.0
 * unit/engine/test_engine.c - attach, detach, set, enable of real endpoints, and every refusal. */
#include "fixture.h"

#include "base/log.h"

/* The name of an endpoint is lent to its threads: it must stay where it is when options change. */
static void
name_stays(struct engine *e)
{
	assert_int_equal(attach(e, "json %s name=out flush=0", file_of("o.json")), 0);
	struct seen before = look(e, "out");
	assert_int_equal(before.state, PORT_UP);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(set(e, "out", i % 2 ? "time=us" : "time=rfc3339", "keep=3"), 0);
		/* a state that the writer's thread tells is told under the name */
		assert_int_equal(attach(e, "pcap %s name=in app=off max_flows=64", file_of("p")), 0);
		wait_ended(e, "in");
		assert_int_equal(engine_detach(e, STRV("in"), true, NULL), 0);
	}
	assert_int_equal(attach(e, "json /dev/full name=full flush=0"), 0);
	assert_int_equal(set(e, "full", "fields=bytes", NULL), 0);
	assert_int_equal(attach(e, "pcap %s name=in app=off max_flows=64", file_of("p")), 0);
	wait_ended(e, "in");
	for (int i = 0; i < 5000 && look(e, "full").state != PORT_DEGRADED; i++)
		clock_sleep_us(1000);
	assert_int_equal(look(e, "full").state, PORT_DEGRADED);
	assert_non_null(strstr(look(e, "full").why, "write"));
}

static void
test_name_stays(void **state)
{
	(void)state;
	make_pcap("p", 50);
	assert_int_equal(RUN(name_stays, "--attach", "json /dev/null name=null"), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_name_stays, lab_setup, lab_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
