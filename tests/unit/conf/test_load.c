/* SPDX-License-Identifier: Apache-2.0
 * Files on disk: their order, who wins, what save writes is what load reads, and what may fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/conf.h"

static const char *const types[] = {"capture", "pcap", "publish", "subscribe", "json", NULL};

struct dir {
	char path[64];
};

static int
setup(void **state)
{
	struct dir *d = calloc(1, sizeof(*d));
	char sub[128];
	snprintf(d->path, sizeof(d->path), "/tmp/flowbus-conf-XXXXXX");
	if (mkdtemp(d->path) == NULL)
		return -1;
	snprintf(sub, sizeof(sub), "%s/conf.d", d->path);
	*state = d;
	return mkdir(sub, 0700);
}

static int
teardown(void **state)
{
	struct dir *d = *state;
	char cmd[128];
	snprintf(cmd, sizeof(cmd), "rm -rf %s", d->path);
	int r = system(cmd);
	free(d);
	return r;
}

static void
put(const struct dir *d, const char *name, const char *text)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", d->path, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int
load(const struct dir *d, struct conf **c, struct err *err)
{
	char file[256], set[256];
	snprintf(file, sizeof(file), "%s/flowbus.conf", d->path);
	snprintf(set, sizeof(set), "state_dir=%s", d->path);
	const char *const words[] = {set};
	const struct conf_loading how = {types, NULL, NULL};
	return conf_load_set(file, true, words, 1, &how, c, err);
}

static void
test_missing(void **state)
{
	const struct dir *d = *state;
	char file[256];
	struct conf *c = NULL;
	struct err err = {0};
	snprintf(file, sizeof(file), "%s/none.conf", d->path);
	assert_int_equal(conf_load(file, false, types, NULL, NULL, &c, &err), -E_NOENT);
	assert_null(c);
	assert_int_equal(load(d, &c, &err), 0);
	assert_int_equal(c->n_endpoints, 0);
	assert_int_equal(conf_number(&c->daemon.bag, "max_clients"), 64);
	conf_free(&c);
	assert_int_equal(conf_load(d->path, false, types, NULL, NULL, &c, &err), -E_IO);
	assert_non_null(strstr(err.text, "is a directory"));
	assert_int_equal(conf_load(NULL, false, types, NULL, NULL, &c, &err), 0);
	conf_free(&c);
}

static void
test_order(void **state)
{
	const struct dir *d = *state;
	struct conf *c = NULL;
	struct err err = {0};
	put(d, "flowbus.conf",
	    "daemon = { name = \"main\"; max_clients = 7; };\n"
	    "endpoints = ( { name = \"a\"; type = \"capture\"; address = \"e0\";\n"
	    "  idle = \"5s\"; ring = \"1M\"; } );");
	put(d, "conf.d/20.conf", "daemon = { name = \"twenty\"; };");
	put(d, "conf.d/10.conf",
	    "daemon = { name = \"ten\"; };\n"
	    "endpoints = ( { name = \"b\"; type = \"json\"; address = \"-\"; },\n"
	    "  { name = \"a\"; idle = 9; enabled = false; } );");
	put(d, "conf.d/.30.conf", "broken (");
	put(d, "conf.d/30.conf~", "broken (");
	put(d, "conf.d/30.txt", "broken (");
	assert_int_equal(load(d, &c, &err), 0);
	assert_string_equal(conf_text(&c->daemon.bag, "name"), "twenty");
	assert_int_equal(conf_number(&c->daemon.bag, "max_clients"), 7);
	assert_int_equal(c->n_endpoints, 2);
	assert_string_equal(c->endpoints[0]->name, "a");
	assert_int_equal(conf_span_us(c->endpoints[0], "idle"), 9000000);
	assert_int_equal(conf_number(c->endpoints[0], "ring"), 1 << 20);
	assert_false(c->endpoints[0]->enabled);
	assert_false(c->endpoints[0]->is_saved);
	assert_non_null(strstr(c->endpoints[0]->file, "flowbus.conf"));
	assert_int_equal(c->endpoints[0]->line, 2);
	assert_string_equal(c->endpoints[1]->name, "b");
	conf_free(&c);
}

static void
test_saved(void **state)
{
	const struct dir *d = *state;
	struct conf *c = NULL;
	struct conf_endpoint *e = NULL;
	struct err err = {0};
	put(d, "flowbus.conf",
	    "endpoints = ( { name = \"a\"; type = \"json\"; address = \"-\"; },\n"
	    "{ name = \"b\"; type = \"json\"; address = \"-\"; keep = 2; },\n"
	    "{ name = \"c\"; type = \"json\"; address = \"-\"; } );");
	/* b is another type now, c is gone, d is new; a quote, a backslash, a newline, UTF-8 */
	const char *b[] = {"capture", "eth0", "name=b", "enabled=no"};
	const char *dd[] = {"json", "/tmp/\xc3\xa9 \"x\\", "name=d", "filter=app\n\"htt\\p\"\t"};
	assert_int_equal(conf_endpoint_parse(b, 4, types, &e, &err), 0);
	struct conf_endpoint *list[2] = {e, NULL};
	assert_int_equal(conf_endpoint_parse(dd, 4, types, &list[1], &err), 0);
	const char *removed[] = {"c", "never-there"};
	assert_int_equal(
	    conf_save(d->path, (const struct conf_endpoint *const *)list, 2, removed, 2, &err), 0);
	assert_int_equal(load(d, &c, &err), 0);
	assert_int_equal(c->n_endpoints, 3);
	assert_string_equal(c->endpoints[0]->name, "a");
	assert_true(conf_endpoint_eq(c->endpoints[1], list[0]));
	assert_true(c->endpoints[1]->is_saved);
	assert_true(conf_endpoint_eq(c->endpoints[2], list[1]));
	assert_int_equal(c->n_removed, 2);
	assert_string_equal(c->removed[0], "c");
	conf_free(&c);
	conf_endpoint_free(&list[0]);
	conf_endpoint_free(&list[1]);
}

static void
test_save_errors(void **state)
{
	const struct dir *d = *state;
	struct err err = {0};
	char path[256];
	snprintf(path, sizeof(path), "%s/nowhere", d->path);
	assert_int_equal(conf_save(path, NULL, 0, NULL, 0, &err), -E_IO);
	assert_non_null(strstr(err.text, "state directory"));
	/* a failed rename leaves nothing behind: endpoints.conf is a directory */
	snprintf(path, sizeof(path), "%s/endpoints.conf", d->path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(conf_save(d->path, NULL, 0, NULL, 0, &err), -E_IO);
	char cmd[256];
	snprintf(cmd, sizeof(cmd), "ls %s | grep -q 'endpoints.conf\\.'", d->path);
	assert_int_not_equal(system(cmd), 0);
}

static int
refuse(void *arg, const struct option_info *o, struct strv text, struct err *err)
{
	*(unsigned *)arg += 1;
	assert_int_equal(o->type, OT_FILTER);
	if (!strv_eq(text, STRV("bad")))
		return 0;
	err_set(err, E_SYNTAX, "no such thing");
	err->col = 3;
	snprintf(err->source, sizeof(err->source), "bad");
	return -E_SYNTAX;
}

static void
test_check(void **state)
{
	const struct dir *d = *state;
	char file[256];
	unsigned n = 0;
	struct conf *c = NULL;
	struct err err = {0};
	snprintf(file, sizeof(file), "%s/flowbus.conf", d->path);
	put(d, "flowbus.conf",
	    "endpoints = ( { name = \"a\"; type = \"json\"; address = \"-\";\n\n"
	    "filter = \"bad\"; keep = 1; } );");
	assert_int_equal(conf_load(file, false, types, refuse, &n, &c, &err), -E_SYNTAX);
	assert_int_equal(n, 1);
	assert_int_equal(err.line, 3);
	assert_string_equal(err.file, file);
	assert_string_equal(err.source, "bad");
	put(d, "flowbus.conf",
	    "endpoints = ( { name = \"a\"; type = \"json\"; address = \"-\";\n"
	    "filter = \"good\"; keep = 1; } );");
	assert_int_equal(conf_load(file, false, types, refuse, &n, &c, &err), 0);
	assert_int_equal(n, 2);
	conf_free(&c);
}

/* The error is in the file it names, whichever file that is. */
static void
test_where(void **state)
{
	const struct dir *d = *state;
	static const char *const files[] = {"flowbus.conf", "conf.d/1.conf", "endpoints.conf"};
	for (int i = 0; i < 3; i++) {
		struct conf *c = NULL;
		struct err err = {0};
		char path[256];
		put(d, files[i], "endpoints = (\n{ name = \"x\"; } );\n");
		assert_int_equal(load(d, &c, &err), -E_INVAL);
		snprintf(path, sizeof(path), "%s/%s", d->path, files[i]);
		assert_string_equal(err.file, path);
		assert_int_equal(err.line, 2);
		assert_string_equal(err.source, "{ name = \"x\"; } );");
		put(d, files[i], "");
	}
}

static void
test_large(void **state)
{
	const struct dir *d = *state;
	struct conf *c = NULL;
	struct err err = {0};
	char *text = malloc((1 << 20) + 2);
	memset(text, '#', (1 << 20) + 1);
	text[(1 << 20) + 1] = '\0';
	put(d, "flowbus.conf", text);
	assert_int_equal(load(d, &c, &err), -E_LIMIT);
	text[1 << 20] = '\0';
	put(d, "flowbus.conf", text);
	assert_int_equal(load(d, &c, &err), 0);
	conf_free(&c);
	/* many settings: refused before libconfig spends seconds on them */
	size_t n = 0;
	for (int i = 0; i < 20001; i++)
		n += (size_t)snprintf(text + n, 32, "a%d=1;\n", i);
	put(d, "flowbus.conf", text);
	assert_int_equal(load(d, &c, &err), -E_LIMIT);
	free(text);
}

static void
test_daemon_set(void **state)
{
	(void)state;
	struct conf *c = conf_new();
	struct err err = {0};
	assert_int_equal(conf_daemon_set(&c->daemon, "name=x", &err), 0);
	assert_string_equal(conf_text(&c->daemon.bag, "name"), "x");
	assert_int_equal(conf_daemon_set(&c->daemon, "name", &err), -E_SYNTAX);
	assert_int_equal(conf_daemon_set(&c->daemon, "nmae=x", &err), -E_UNKNOWN);
	assert_non_null(strstr(err.text, "the daemon has no option"));
	conf_free(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_missing, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_saved, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_save_errors, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_check, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_where, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_large, setup, teardown),
	    cmocka_unit_test(test_daemon_set),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
