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

/* ---- set */

static void
set_refused(struct engine *e)
{
	assert_int_equal(attach(e, "json %s name=out", file_of("o.json")), 0);
	assert_int_equal(set(e, "nout", "time=us", NULL), E_NOENT);
	assert_non_null(strstr(last_error.text, "'out'"));
	assert_int_equal(set(e, "out", "time", NULL), E_SYNTAX);
	assert_int_equal(set(e, "out", "tine=us", NULL), E_UNKNOWN);
	assert_non_null(strstr(last_error.text, "time"));
	assert_int_equal(set(e, "out", "keep=1", "flush=never"), E_TYPE);
	assert_int_equal(set(e, "out", "keep=1", "filter=app htp and ("), E_SYNTAX);
	assert_int_equal(set(e, "out", "keep=1", "queue=8"), E_UNSUP);
	assert_non_null(strstr(last_error.text, "queue"));
	/* an option that stays as it is needs no new attach */
	assert_int_equal(set(e, "out", "keep=1", "queue=256"), 0);
	/* nothing of the refused was taken */
	unsigned n;
	assert_int_equal(engine_save(e, &n, &last_error), 0);
	assert_int_equal(n, 1);
	assert_null(strstr(read_text("state/endpoints.conf"), "filter"));
	assert_null(strstr(read_text("state/endpoints.conf"), "flush"));
	assert_non_null(strstr(read_text("state/endpoints.conf"), "keep"));
}

/* While it is disabled every option may change; what was refused changes nothing. */
static void
set_disabled(struct engine *e)
{
	make_pcap("p", 10);
	assert_int_equal(attach(e, "pcap %s name=in enabled=no app=off max_flows=64", file_of("p")), 0);
	assert_int_equal(look(e, "in").state, PORT_DISABLED);
	assert_int_equal(set(e, "in", "idle=5s", "max_flows=0"), E_RANGE);
	assert_int_equal(set(e, "in", "idle=5s", "max_flows=128"), 0);
	assert_int_equal(set(e, "in", "max_flows=256", "idle=6s"), 0);
	assert_int_equal(engine_enable(e, STRV("in"), true, &last_error), 0);
	wait_ended(e, "in");
	assert_int_equal(set(e, "in", "idle=5s", "max_flows=64"), E_UNSUP);
}

static void
test_set(void **state)
{
	(void)state;
	write_file("c", "# empty\n");
	assert_int_equal(RUN(set_refused, "-c", file_of("c")), 0);
	assert_int_equal(RUN(set_disabled, "-c", file_of("c")), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_name_stays, lab_setup, lab_teardown),
	    cmocka_unit_test_setup_teardown(test_set, lab_setup, lab_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
