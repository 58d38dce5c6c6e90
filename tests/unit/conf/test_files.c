/* SPDX-License-Identifier: Apache-2.0
 * Files that are tests: tests/conf/NAME.in prints as NAME.ok, and NAME.ok prints as itself;
 * tests/conf/bad/NAME.conf gives the error in NAME.err, caret and all; every shipped file of
 * conf.d loads as it is and with its examples taken in, and shows every option of its types.
 * FLOWBUS_UPDATE=1 rewrites .ok and .err: look at the diff before committing it. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "conf/conf.h"

/* every owner of an option but the daemon; and whether a shipped file shows it */
static const char *types[64];
static bool is_shown[64];

static void
collect_types(void)
{
	unsigned n = 0;
	for (unsigned i = 0; i < option_count; i++) {
		bool seen = strcmp(option_info[i].owner, "daemon") == 0;
		for (unsigned k = 0; k < n; k++)
			seen = seen || strcmp(types[k], option_info[i].owner) == 0;
		if (!seen && n < 63)
			types[n++] = option_info[i].owner;
	}
}

static void
shown(const char *type)
{
	for (unsigned k = 0; types[k] != NULL; k++)
		is_shown[k] = is_shown[k] || strcmp(types[k], type) == 0;
}

static struct buf
slurp(const char *path)
{
	struct buf b = buf_init(0);
	FILE *f = fopen(path, "rb");
	for (int c; f != NULL && (c = getc(f)) != EOF;)
		buf_u8(&b, (uint8_t)c);
	if (f != NULL)
		fclose(f);
	return b;
}

static void
expect(const char *path, struct buf *got)
{
	if (getenv("FLOWBUS_UPDATE") != NULL) {
		FILE *f = fopen(path, "wb");
		assert_non_null(f);
		fwrite(got->p, 1, got->n, f);
		fclose(f);
	}
	struct buf want = slurp(path);
	if (!strv_eq(buf_view(&want), buf_view(got)))
		fail_msg("%s differs; got:\n%s", path, buf_cstr(got));
	buf_fini(&want);
}

typedef void each_fn(const char *path, const char *base);

static void
each(const char *dir, const char *suffix, unsigned at_least, each_fn *fn)
{
	unsigned n = 0;
	DIR *d = opendir(dir);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		char path[1024];
		size_t len = strlen(e->d_name), s = strlen(suffix);
		if (len <= s || strcmp(e->d_name + len - s, suffix) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		fn(path, e->d_name);
		n++;
	}
	closedir(d);
	assert_true(n >= at_least);
}

static void
print_of(const char *name, struct buf *text, struct buf *out)
{
	struct err err = {0};
	struct conf *c = conf_new();
	if (conf_parse_text(c, (struct strv){buf_cstr(text), text->n}, name, types, &err) != 0)
		fail_msg("%s line %d: %s", name, err.line, err.text);
	conf_print_daemon(out, &c->daemon);
	conf_print(out, (const struct conf_endpoint *const *)c->endpoints, c->n_endpoints, NULL, 0);
	conf_free(&c);
}

static void
good(const char *path, const char *base)
{
	char ok[1024];
	struct buf text = slurp(path), once = buf_init(0), twice = buf_init(0);
	snprintf(ok, sizeof(ok), "%.*s.ok", (int)strlen(path) - 3, path);
	print_of(base, &text, &once);
	expect(ok, &once);
	print_of(ok, &once, &twice);
	expect(ok, &twice);
	buf_fini(&text);
	buf_fini(&once);
	buf_fini(&twice);
}

static void
bad(const char *path, const char *base)
{
	char want[1024], got[1024];
	struct err err = {0};
	struct conf *c = conf_new();
	struct buf text = slurp(path), out = buf_init(0);
	snprintf(want, sizeof(want), "%.*s.err", (int)strlen(path) - 5, path);
	int r = conf_parse_text(c, (struct strv){buf_cstr(&text), text.n}, base, types, &err);
	if (r == 0)
		fail_msg("%s was accepted", path);
	err_print(&err, got, sizeof(got));
	buf_str(&out, got);
	if (out.n > 0 && out.p[out.n - 1] != '\n')
		buf_u8(&out, '\n');
	expect(want, &out);
	buf_fini(&text);
	buf_fini(&out);
	conf_free(&c);
}

/* The examples of a shipped file: lines with ## dropped, one # taken away. */
static void
uncomment(const struct buf *text, struct buf *out)
{
	for (size_t i = 0; i < text->n;) {
		size_t end = i;
		while (end < text->n && text->p[end] != '\n')
			end++;
		size_t hashes = 0;
		while (i + hashes < end && text->p[i + hashes] == '#')
			hashes++;
		if (hashes < 2)
			buf_put(out, text->p + i + hashes, end - i - hashes);
		buf_u8(out, '\n');
		i = end + 1;
	}
}

static void
has_all_options(const char *base, const char *owner, struct buf *text)
{
	for (unsigned i = 0; i < option_count; i++) {
		char line[80];
		if (strcmp(option_info[i].owner, owner) != 0)
			continue;
		snprintf(line, sizeof(line), "\n    %s = ", option_info[i].name);
		if (strstr(buf_cstr(text), line) == NULL)
			fail_msg("%s does not show option %s", base, option_info[i].name);
	}
}

static void
shipped(const char *path, const char *base)
{
	struct err err = {0};
	struct conf *c = conf_new();
	struct buf text = slurp(path), code = buf_init(0);
	assert_int_equal(
	    conf_parse_text(c, (struct strv){buf_cstr(&text), text.n}, base, types, &err), 0);
	uncomment(&text, &code);
	int r = conf_parse_text(c, (struct strv){buf_cstr(&code), code.n}, base, types, &err);
	if (r != 0)
		fail_msg("%s line %d: %s", base, err.line, err.text);
	for (unsigned i = 0; i < c->n_endpoints; i++)
		shown(c->endpoints[i]->type);
	if (c->n_endpoints > 0)
		has_all_options(base, c->endpoints[0]->type, &code);
	else
		has_all_options(base, "daemon", &code);
	/* what is shown as the default is the default */
	for (unsigned i = 0; i < c->daemon.bag.n_options; i++)
		assert_string_equal(
		    c->daemon.bag.options[i].text, c->daemon.bag.options[i].info->def);
	conf_free(&c);
	buf_fini(&text);
	buf_fini(&code);
}

static void
test_good(void **state)
{
	(void)state;
	each(FLOWBUS_TREE "/tests/conf", ".in", 3, good);
}

static void
test_bad(void **state)
{
	(void)state;
	each(FLOWBUS_TREE "/tests/conf/bad", ".conf", 20, bad);
}

/* The main file: nothing is set, and its example is right. */
static void
test_main_file(void **state)
{
	(void)state;
	struct err err = {0};
	struct conf *c = conf_new();
	struct buf text = slurp(FLOWBUS_TREE "/packaging/flowbus.conf"), code = buf_init(0);
	assert_int_equal(conf_parse_text(c, buf_view(&text), "main", types, &err), 0);
	assert_int_equal(c->n_endpoints, 0);
	uncomment(&text, &code);
	if (conf_parse_text(c, buf_view(&code), "main", types, &err) != 0)
		fail_msg("line %d: %s", err.line, err.text);
	assert_int_equal(c->n_endpoints, 2);
	conf_free(&c);
	buf_fini(&text);
	buf_fini(&code);
}

static void
test_shipped(void **state)
{
	(void)state;
	each(FLOWBUS_TREE "/conf.d", ".conf", 6, shipped);
	for (unsigned k = 0; types[k] != NULL; k++)
		if (!is_shown[k])
			fail_msg("no file of conf.d shows endpoint type %s", types[k]);
}

int
main(void)
{
	collect_types();
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good),
	    cmocka_unit_test(test_bad),
	    cmocka_unit_test(test_shipped),
	    cmocka_unit_test(test_main_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
