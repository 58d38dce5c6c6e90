/* SPDX-License-Identifier: Apache-2.0
 * unit/engine/test_reload.c - configuration files, saved endpoints and removed names over reloads
 * and restarts of a whole engine. */
#include "fixture.h"

#include "base/log.h"

static unsigned
reload(struct engine *e)
{
	unsigned changed = 0;
	memset(&last_error, 0, sizeof(last_error));
	if (engine_reload(e, &changed, &last_error) != 0)
		fail_msg("reload: %s", last_error.text);
	return changed;
}

/* ---- a file changes beneath a running engine */

static void
kinds_of_change(struct engine *e)
{
	assert_int_equal(count(e), 2);
	assert_true(look(e, "a").persistent);
	assert_int_equal(reload(e), 0);
	/* live, then one that needs a new attach, another address, another type, disabled, gone */
	write_file("c", "endpoints = ({name=\"a\";type=\"json\";address=\"%s\";time=\"us\";},"
	    "{name=\"b\";type=\"json\";address=\"%s\";});", file_of("a"), file_of("b"));
	assert_int_equal(reload(e), 1);
	write_file("c", "endpoints = ({name=\"a\";type=\"json\";address=\"%s\";queue=8;},"
	    "{name=\"b\";type=\"json\";address=\"%s\";});", file_of("a"), file_of("b2"));
	assert_int_equal(reload(e), 2);
	assert_string_equal(look(e, "b").address, file_of("b2"));
	write_file("c", "endpoints = ({name=\"a\";type=\"json\";address=\"%s\";queue=8;},"
	    "{name=\"b\";type=\"pcap\";address=\"%s\";app=\"off\";max_flows=64;idle=0;"
	    "active=0;});", file_of("a"), file_of("p"));
	assert_int_equal(reload(e), 1);
	wait_ended(e, "b");
	wait_written(e, "a", 20);
	write_file("c", "endpoints = ({name=\"a\";type=\"json\";address=\"%s\";queue=8;},"
	    "{name=\"b\";type=\"json\";address=\"%s\";enabled=false;});", file_of("a"),
	    file_of("b"));
	assert_int_equal(reload(e), 1);
	assert_int_equal(look(e, "b").state, PORT_DISABLED);
	assert_int_equal(reload(e), 0);
	write_file("c", "# nothing\n");
	assert_int_equal(reload(e), 2);
	assert_int_equal(count(e), 0);
}

static void
test_kinds_of_change(void **state)
{
	(void)state;
	make_pcap("p", 20);
	write_file("c", "endpoints = ({name=\"a\";type=\"json\";address=\"%s\";},"
	    "{name=\"b\";type=\"json\";address=\"%s\";});", file_of("a"), file_of("b"));
	assert_int_equal(RUN(kinds_of_change, "-c", file_of("c")), 0);
}

/* What cannot be taken over stays as it was, and is said; the rest is taken over. */
static void
partly(struct engine *e)
{
	unsigned changed;
	write_file("c", "endpoints = ({name=\"a\";type=\"json\";address=\"/nonexistent/x\";},"
	    "{name=\"b\";type=\"pcap\";address=\"%s\";},"
	    "{name=\"new\";type=\"json\";address=\"%s\";});", file_of("missing"), file_of("n"));
	assert_int_equal(engine_reload(e, &changed, &last_error), -E_PARTLY);
	assert_int_equal(changed, 1);
	assert_non_null(strstr(last_error.text, "2 of the changes"));
	assert_int_equal(look(e, "a").state, PORT_UP);
	assert_string_equal(look(e, "a").address, file_of("a"));
	assert_int_equal(look(e, "b").state, PORT_UP);
	assert_string_equal(look(e, "b").address, file_of("b"));
	assert_int_equal(look(e, "new").state, PORT_UP);
	/* broken files change nothing at all */
	write_file("c", "endpoints = = (); # two\n");
	assert_int_equal(engine_reload(e, &changed, &last_error), -E_SYNTAX);
	assert_int_equal(last_error.line, 1);
	assert_int_equal(count(e), 3);
	/* one that was attached at run time is not taken over by a file */
	assert_int_equal(attach(e, "json %s name=mine", file_of("m")), 0);
	write_file("c", "endpoints = ({name=\"mine\";type=\"json\";address=\"%s\";});",
	    file_of("other"));
	assert_int_equal(engine_reload(e, &changed, &last_error), -E_PARTLY);
	assert_non_null(strstr(last_error.text, "detach it first"));
	assert_string_equal(look(e, "mine").address, file_of("m"));
}

static void
test_partly(void **state)
{
	(void)state;
	write_file("c", "endpoints = ({name=\"a\";type=\"json\";address=\"%s\";},"
	    "{name=\"b\";type=\"json\";address=\"%s\";});", file_of("a"), file_of("b"));
	assert_int_equal(RUN(partly, "-c", file_of("c")), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, lab_setup, lab_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {T(test_kinds_of_change), T(test_partly)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
