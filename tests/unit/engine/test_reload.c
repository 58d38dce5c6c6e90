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
	if (engine_reload(e, 0, &changed, &last_error) != 0)
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
	assert_int_equal(engine_reload(e, 0, &changed, &last_error), -E_PARTLY);
	assert_int_equal(changed, 1);
	assert_non_null(strstr(last_error.text, "2 of the changes"));
	assert_int_equal(look(e, "a").state, PORT_UP);
	assert_string_equal(look(e, "a").address, file_of("a"));
	assert_int_equal(look(e, "b").state, PORT_UP);
	assert_string_equal(look(e, "b").address, file_of("b"));
	assert_int_equal(look(e, "new").state, PORT_UP);
	/* broken files change nothing at all */
	write_file("c", "endpoints = = (); # two\n");
	assert_int_equal(engine_reload(e, 0, &changed, &last_error), -E_SYNTAX);
	assert_int_equal(last_error.line, 1);
	assert_int_equal(count(e), 3);
	/* one that was attached at run time is not taken over by a file */
	assert_int_equal(attach(e, "json %s name=mine", file_of("m")), 0);
	write_file("c", "endpoints = ({name=\"mine\";type=\"json\";address=\"%s\";});",
	    file_of("other"));
	assert_int_equal(engine_reload(e, 0, &changed, &last_error), -E_PARTLY);
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

/* ---- saved and removed, over restarts */

static void
save(struct engine *e, unsigned want)
{
	unsigned n = 99;
	if (engine_save(e, &n, &last_error) != 0)
		fail_msg("save: %s", last_error.text);
	assert_int_equal(n, want);
}

static void
alter_and_save(struct engine *e)
{
	assert_true(look(e, "a").persistent);
	assert_int_equal(set(e, "a", "keep=7", NULL), 0);
	save(e, 1);
}

static void
detach_and_save(struct engine *e)
{
	assert_int_equal(count(e), 1); /* the saved one stands for the file's */
	assert_non_null(strstr(read_text("state/endpoints.conf"), "keep"));
	assert_int_equal(engine_detach(e, STRV("a"), true, NULL), 0);
	save(e, 0);
}

static void
attach_detach_save(struct engine *e)
{
	assert_int_equal(count(e), 0);
	assert_int_equal(reload(e), 0); /* what was removed and saved stays away */
	assert_int_equal(attach(e, "json %s name=a", file_of("a2")), 0);
	save(e, 1);
	assert_int_equal(engine_detach(e, STRV("a"), true, NULL), 0);
	save(e, 0);
	assert_int_equal(attach(e, "json %s name=a", file_of("a3")), 0);
	save(e, 1);
}

static void
saved_wins(struct engine *e)
{
	assert_int_equal(count(e), 1);
	assert_string_equal(look(e, "a").address, file_of("a3"));
	assert_false(look(e, "a").persistent);
	assert_int_equal(engine_detach(e, STRV("a"), true, NULL), 0);
	save(e, 0);
}

static void
nothing(struct engine *e)
{
	assert_int_equal(count(e), 0);
}

/* A name that a file defines and a person detached and saved stays away for good. */
static void
test_removed(void **state)
{
	(void)state;
	write_file("c", "endpoints = ({name=\"a\";type=\"json\";address=\"%s\";});", file_of("a"));
	assert_int_equal(RUN(alter_and_save, "-c", file_of("c")), 0);
	assert_int_equal(RUN(detach_and_save, "-c", file_of("c")), 0);
	assert_int_equal(RUN(attach_detach_save, "-c", file_of("c")), 0);
	assert_int_equal(RUN(saved_wins, "-c", file_of("c")), 0);
	assert_int_equal(RUN(nothing, "-c", file_of("c")), 0);
}

static void
save_commanded(struct engine *e)
{
	save(e, 1);
}

static void
look_commanded(struct engine *e)
{
	assert_int_equal(count(e), 1);
	assert_string_equal(look(e, "x").address, file_of("x2"));
}

static void
save_refused(struct engine *e)
{
	unsigned n;
	assert_int_equal(engine_save(e, &n, &last_error), -E_INVAL);
	assert_non_null(strstr(last_error.text, "--config"));
	assert_int_equal(engine_reload(e, 0, &n, &last_error), -E_INVAL);
}

static void
no_state_dir(struct engine *e)
{
	unsigned n;
	assert_int_equal(engine_save(e, &n, &last_error), -E_IO);
	assert_non_null(strstr(last_error.text, "state_dir"));
}

/* What the command line attaches may be saved: the next start with the same words comes up. */
static void
test_command_line_and_saved(void **state)
{
	char one[300], two[300];
	(void)state;
	write_file("c", "# empty\n");
	snprintf(one, sizeof(one), "json %s name=x", file_of("x"));
	snprintf(two, sizeof(two), "json %s name=x", file_of("x2"));
	assert_int_equal(RUN(save_commanded, "-c", file_of("c"), "--attach", one), 0);
	assert_int_equal(RUN(look_commanded, "-c", file_of("c"), "--attach", two), 0);
	/* twice on one command line is a mistake, also for --check */
	assert_int_equal(RUN(NULL, "-c", file_of("c"), "--attach", one, "--attach", two), 1);
	assert_int_equal(RUN(NULL, "-c", file_of("c"), "--attach", one, "--attach", two, "--check"), 1);
	/* without a configuration file nothing would read what was saved */
	assert_int_equal(RUN(save_refused, "--attach", one), 0);
	assert_int_equal(RUN(no_state_dir, "-c", file_of("c"), "--set", "state_dir=/nonexistent/d"), 0);
}

/* ---- daemon options */

static void
daemon_options(struct engine *e)
{
	const struct conf_endpoint *bag = &engine_daemon(e)->bag;
	assert_int_equal(log_get_level(), LOG_ERR);
	assert_int_equal(conf_number(bag, "max_clients"), 5);
	write_file("c", "daemon = {max_clients=9;stop_timeout=\"1s\";output_dirs=\"/tmp/x\";"
	    "log_level=\"warn\";control_group=\"other\";};");
	assert_int_equal(reload(e), 0);
	assert_int_equal(log_get_level(), LOG_WARN);
	assert_int_equal(conf_number(bag, "max_clients"), 9);
	assert_int_equal(conf_span_us(bag, "stop_timeout"), 1000000);
	assert_string_equal(conf_text(bag, "output_dirs"), "/tmp/x");
	assert_string_equal(conf_text(bag, "control_group"), "flowbus"); /* needs a restart */
	/* `flowctl log` lasts until the file says something else */
	log_set_level(LOG_ERR);
	write_file("c", "daemon = {log_level=\"warn\";};");
	assert_int_equal(reload(e), 0);
	assert_int_equal(log_get_level(), LOG_ERR);
	assert_int_equal(conf_number(bag, "max_clients"), 64);
	write_file("c", "daemon = {log_level=\"notice\";};");
	assert_int_equal(reload(e), 0);
	assert_int_equal(log_get_level(), LOG_NOTICE);
	/* the command line goes over files, also now */
	assert_string_equal(conf_text(bag, "name"), "me");
	write_file("c", "daemon = {name=\"you\";};");
	assert_int_equal(reload(e), 0);
	assert_string_equal(conf_text(bag, "name"), "me");
}

static void
test_daemon_options(void **state)
{
	(void)state;
	write_file("c", "daemon = {max_clients=5;log_level=\"err\";};");
	assert_int_equal(RUN(daemon_options, "-c", file_of("c"), "--name", "me"), 0);
	log_set_level(LOG_NOTICE);
}

#define T(name) cmocka_unit_test_setup_teardown(name, lab_setup, lab_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {T(test_kinds_of_change), T(test_partly),
	    T(test_removed), T(test_command_line_and_saved), T(test_daemon_options)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
