/* SPDX-License-Identifier: Apache-2.0
 * unit/filter/readme.c - the examples of daemon/filter/README.md do what it says. */
#include "fixture.h"

static void
example(const char *block, char *line, unsigned *n)
{
	struct filter *f;
	struct err e = {0};
	char *other = strstr(line, "  <=>  ");
	++*n;
	if (strcmp(block, "filter") == 0) {
		f = must_compile(line);
		filter_free(&f);
	} else if (strcmp(block, "refused") == 0) {
		if (filter_compile(strv_of(line), &f, &e) == 0)
			fail_msg("'%s' compiles", line);
		assert_true(e.line > 0 && e.text[0] != '\0');
	} else {
		assert_string_equal(block, "same");
		assert_non_null(other);
		*other = '\0';
		f = must_compile(line);
		struct filter *g = must_compile(other + 7);
		if (!strv_eq(filter_canonical(f), filter_canonical(g)))
			fail_msg("'%s' is '%s', '%s' is '%s'", line, filter_canonical(f).p,
			    other + 7, filter_canonical(g).p);
		filter_free(&f);
		filter_free(&g);
	}
}

static void
test_readme(void **state)
{
	char line[512], block[32] = "";
	unsigned n = 0, blocks = 0;
	FILE *in = fopen(README, "r");
	(void)state;
	assert_non_null(in);
	while (fgets(line, sizeof(line), in) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "```", 3) == 0) {
			blocks += line[3] != '\0';
			snprintf(block, sizeof(block), "%.30s", line + 3);
		} else if (block[0] != '\0') {
			example(block, line, &n);
		}
	}
	fclose(in);
	assert_true(n >= 30 && blocks >= 9);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_readme)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
