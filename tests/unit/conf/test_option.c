/* SPDX-License-Identifier: Apache-2.0
 * Options and words: every default parses, every type refuses what it must, words become
 * endpoints, endpoints compare by what they mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "conf/conf.h"

static const char *const types[] = {"capture", "pcap", "publish", "subscribe", "json", NULL};

static void
test_table(void **state)
{
	(void)state;
	for (unsigned i = 0; i < option_count; i++) {
		const struct option_info *o = &option_info[i];
		struct conf_option v;
		struct err err = {0};
		if (conf_option_parse(o, strv_of(o->def), &v, &err) != 0)
			fail_msg("%s.%s: default: %s", o->owner, o->name, err.text);
		conf_option_fini(&v);
		assert_ptr_equal(option_find(o->owner, strv_of(o->name)), o); /* no duplicates */
		assert_true(o->min <= o->max);
		assert_true(o->help[0] != '\0' && o->help[strlen(o->help) - 1] == '.');
		assert_int_equal(o->choices[0] != '\0', o->type == OT_CHOICE);
		if (strcmp(o->owner, "daemon") != 0)
			assert_string_not_equal(o->name, "name");
		assert_string_not_equal(o->name, "type");
		assert_string_not_equal(o->name, "address");
		assert_string_not_equal(o->name, "enabled");
	}
}

static void
test_values(void **state)
{
	(void)state;
	static const struct {
		const char *owner, *name, *text;
		int want; /* E_* or 0 */
		const char *says;
	} t[] = {
	    {"capture", "promisc", "yes", 0, ""},
	    {"capture", "promisc", "OFF", 0, ""},
	    {"capture", "promisc", "maybe", E_TYPE, "not yes or no"},
	    {"capture", "promisc", "", E_TYPE, "not yes or no"},
	    {"capture", "workers", "64", 0, ""},
	    {"capture", "workers", "65", E_RANGE, "1..64"},
	    {"capture", "workers", "0", E_RANGE, "1..64"},
	    {"capture", "workers", "-1", E_TYPE, "not a number"},
	    {"capture", "workers", "x", E_TYPE, "not a number"},
	    {"capture", "workers", "99999999999999999999", E_RANGE, "1..64"},
	    {"capture", "ring", "4G", 0, ""},
	    {"capture", "ring", "4096M", 0, ""},
	    {"capture", "ring", "5G", E_RANGE, "64K..4G"},
	    {"capture", "ring", "lots", E_TYPE, "not a size"},
	    {"capture", "active", "1h", 0, ""},
	    {"capture", "active", "0", 0, ""},
	    {"capture", "active", "2d", E_RANGE, "0s..86400s"},
	    {"capture", "active", "soon", E_TYPE, "not a duration"},
	    {"publish", "codec", "zlib", 0, ""},
	    {"publish", "codec", "gzip", E_UNKNOWN, "none,zlib,zstd"},
	    {"json", "fields", "base,http_host", 0, ""},
	    {"json", "fields", "base,http_hots", E_UNKNOWN, "did you mean \"http_host\""},
	    {"json", "filter", "a\001b", E_SYNTAX, "control character"},
	    {"json", "rotate_size", "18446744073709551615", 0, ""},
	    {"json", "rotate_size", "18446744073709551616", E_RANGE, "too large"},
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct conf_option v;
		struct err err = {0};
		const struct option_info *o = option_find(t[i].owner, strv_of(t[i].name));
		assert_non_null(o);
		int r = conf_option_parse(o, strv_of(t[i].text), &v, &err);
		if (r != -t[i].want || (r != 0 && strstr(err.text, t[i].says) == NULL))
			fail_msg("%s=%s: got %d (%s)", t[i].name, t[i].text, r, err.text);
		assert_int_equal(err.code, r != 0 ? t[i].want : 0);
		conf_option_fini(&v);
	}
}

static void
test_long_value(void **state)
{
	(void)state;
	struct conf_option v;
	struct err err = {0};
	static char text[9000];
	memset(text, 'a', sizeof(text));
	const struct option_info *o = option_find("json", STRV("filter"));
	assert_int_equal(conf_option_parse(o, (struct strv){text, 8191}, &v, &err), 0);
	conf_option_fini(&v);
	assert_int_equal(conf_option_parse(o, (struct strv){text, 8192}, &v, &err), -E_LIMIT);
}

static void
test_split(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int n; /* -E_* when it must fail */
		const char *words[6];
	} t[] = {
	    {"", 0, {NULL}},
	    {"  a  b\t\nc ", 3, {"a", "b", "c"}},
	    {"json - filter=\"app http\"", 3, {"json", "-", "filter=app http"}},
	    {"a 'b \"c\" \\' d", 3, {"a", "b \"c\" \\", "d"}},
	    {"\"a\\\"b\\\\c\\n\"", 1, {"a\"b\\c\\n"}},
	    {"a\\ b c\\\\", 2, {"a b", "c\\"}},
	    {"'' \"\"x", 2, {"", "x"}},
	    {"a'b'\"c\"d", 1, {"abcd"}},
	    {"a 'b", -E_SYNTAX, {NULL}},
	    {"a \"b\\\"", -E_SYNTAX, {NULL}},
	    {"a \"b\\", -E_SYNTAX, {NULL}},
	    {"a\\", -E_SYNTAX, {NULL}},
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char **words;
		unsigned n;
		struct err err = {0};
		int r = conf_split(t[i].text, &words, &n, &err);
		if (t[i].n < 0) {
			assert_int_equal(r, t[i].n);
			assert_null(words);
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(n, t[i].n);
		for (unsigned w = 0; w < n; w++)
			assert_string_equal(words[w], t[i].words[w]);
		conf_words_free(&words, n);
		assert_null(words);
	}
}

static void
test_split_limits(void **state)
{
	(void)state;
	char **words, *text = malloc(70002);
	unsigned n;
	struct err err = {0};
	memset(text, 'a', 70000);
	text[70000] = '\0';
	assert_int_equal(conf_split(text, &words, &n, &err), -E_LIMIT);
	for (int i = 1; i < 70000; i += 2)
		text[i] = ' ';
	assert_int_equal(conf_split(text, &words, &n, &err), -E_LIMIT);
	free(text);
}

static int
parse(const char *text, struct conf_endpoint **out, struct err *err)
{
	char **words;
	unsigned n;
	assert_int_equal(conf_split(text, &words, &n, err), 0);
	int r = conf_endpoint_parse((const char *const *)words, n, types, out, err);
	conf_words_free(&words, n);
	return r;
}

static void
test_endpoint_errors(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int want;
		const char *says;
	} t[] = {
	    {"", E_INVAL, "usage: TYPE ADDRESS"},
	    {"capture", E_INVAL, "usage: TYPE ADDRESS"},
	    {"captur eth0", E_UNKNOWN, "did you mean \"capture\""},
	    {"zzz eth0", E_UNKNOWN, "there are capture pcap publish subscribe json"},
	    {"capture ''", E_INVAL, "address is empty"},
	    {"capture promisc=no", E_INVAL, "address is missing"},
	    {"capture name=x", E_INVAL, "address is missing"},
	    {"capture eth0 fast", E_SYNTAX, "not option=value"},
	    {"capture eth0 =x", E_SYNTAX, "not option=value"},
	    {"capture eth0 promsic=no", E_UNKNOWN, "did you mean \"promisc\""},
	    {"capture eth0 zzzzzz=no", E_UNKNOWN, "show options capture"},
	    {"capture eth0 idle=1s idle=2s", E_INVAL, "given twice"},
	    {"capture eth0 name=a name=b", E_INVAL, "given twice"},
	    {"capture eth0 'name=a b'", E_SYNTAX, "a name is 1 to 63"},
	    {"capture eth0 name=", E_SYNTAX, "a name is 1 to 63"},
	    {"capture eth0 name=-x", E_SYNTAX, "a name is 1 to 63"},
	    {"capture eth0 enabled=perhaps", E_TYPE, "not yes or no"},
	    {"capture eth0 idle=2d", E_RANGE, "out of range"},
	    {"capture eth\0010", E_SYNTAX, "control character"},
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct conf_endpoint *e;
		struct err err = {0};
		int r = parse(t[i].text, &e, &err);
		if (r != -t[i].want || strstr(err.text, t[i].says) == NULL)
			fail_msg("%s: got %d (%s)", t[i].text, r, err.text);
		assert_null(e);
	}
}

static void
test_endpoint_names(void **state)
{
	(void)state;
	static const char *const t[][2] = {
	    {"capture eth0", "capture-eth0"},
	    {"publish tcp://*:5556", "publish-tcp-5556"},
	    {"json -", "json"},
	    {"json /var/log/flows.jsonl", "json-var-log-flows.jsonl"},
	    {"json - name=out:1", "out:1"},
	    {"pcap /a/very/long/path/that/goes/on/and/on/for/more/than/sixty/three/bytes/x.pcap",
		"pcap-nd-on-for-more-than-sixty-three-bytes-x.pcap"},
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct conf_endpoint *e = NULL;
		struct err err = {0};
		assert_int_equal(parse(t[i][0], &e, &err), 0);
		if (i < 5)
			assert_string_equal(e->name, t[i][1]);
		assert_true(strlen(e->name) <= 63);
		assert_true(e->enabled);
		conf_endpoint_free(&e);
	}
}

static void
test_values_of(void **state)
{
	(void)state;
	struct conf_endpoint *e = NULL, *d = NULL;
	struct err err = {0};
	assert_int_equal(parse("capture eth0 idle=250ms ring=32M promisc=no workers=2 app=native "
			       "enabled=no",
			     &e, &err),
	    0);
	assert_int_equal(conf_span_us(e, "idle"), 250000);
	assert_int_equal(conf_span_us(e, "active"), 60000000);
	assert_int_equal(conf_number(e, "ring"), 32 << 20);
	assert_int_equal(conf_number(e, "workers"), 2);
	assert_int_equal(conf_number(e, "max_flows"), 262144);
	assert_false(conf_bool(e, "promisc"));
	assert_true(conf_bool(e, "l2"));
	assert_int_equal(conf_choice(e, "app"), 1);
	assert_string_equal(conf_text(e, "idle"), "250ms");
	assert_string_equal(conf_text(e, "active"), "60s");
	assert_true(conf_given(e, "idle"));
	assert_false(conf_given(e, "active"));
	assert_false(e->enabled);

	d = conf_endpoint_dup(e);
	assert_non_null(d);
	assert_true(conf_endpoint_eq(e, d));
	assert_int_equal(conf_endpoint_set(d, STRV("idle"), STRV("0.25s"), &err), 0);
	assert_true(conf_endpoint_eq(e, d)); /* the same value in other words */
	assert_int_equal(conf_endpoint_set(d, STRV("active"), STRV("1m"), &err), 0);
	assert_true(conf_endpoint_eq(e, d)); /* given, but what the default is */
	assert_int_equal(conf_endpoint_set(d, STRV("idle"), STRV("zzz"), &err), -E_TYPE);
	assert_string_equal(conf_text(d, "idle"), "0.25s"); /* nothing changed */
	assert_int_equal(conf_endpoint_set(d, STRV("idel"), STRV("1s"), &err), -E_UNKNOWN);
	assert_int_equal(conf_endpoint_set(d, STRV("idle"), STRV("1s"), &err), 0);
	assert_false(conf_endpoint_eq(e, d));
	assert_int_equal(d->n_options, e->n_options + 1);
	conf_endpoint_free(&d);
	conf_endpoint_free(&e);
	assert_null(e);
}

/* Every value type takes part in the comparison. */
static void
test_eq(void **state)
{
	(void)state;
	static const char *const t[][2] = {
	    {"json - name=a", "json - name=b"},
	    {"json - name=a", "json x name=a"},
	    {"json - name=a", "json - name=a enabled=no"},
	    {"json - name=a", "json - name=a fields=base"},
	    {"json - name=a", "json - name=a time=us"},
	    {"json - name=a", "json - name=a filter='app http'"},
	    {"json - name=a", "json - name=a rotate=1h"},
	    {"json - name=a", "json - name=a rotate_size=1M"},
	    {"json - name=a", "json - name=a keep=3"},
	    {"capture e name=a", "capture e name=a promisc=no"},
	    {"capture e name=a", "pcap e name=a"},
	    {"publish tcp://*:1 name=a", "publish tcp://*:1 name=a key_file=/k"},
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct conf_endpoint *a = NULL, *b = NULL;
		struct err err = {0};
		assert_int_equal(parse(t[i][0], &a, &err), 0);
		assert_int_equal(parse(t[i][1], &b, &err), 0);
		if (conf_endpoint_eq(a, b) || !conf_endpoint_eq(a, a) || !conf_endpoint_eq(b, b))
			fail_msg("%s against %s", t[i][0], t[i][1]);
		conf_endpoint_free(&a);
		conf_endpoint_free(&b);
	}
}

static void
test_names(void **state)
{
	(void)state;
	const char *names[4];
	option_names("daemon", names, 4);
	assert_non_null(names[2]);
	assert_null(names[3]);
	option_names("nothing", names, 4);
	assert_null(names[0]);
	assert_null(option_find("json", STRV("promisc")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_long_value),
	    cmocka_unit_test(test_split),
	    cmocka_unit_test(test_split_limits),
	    cmocka_unit_test(test_endpoint_errors),
	    cmocka_unit_test(test_endpoint_names),
	    cmocka_unit_test(test_values_of),
	    cmocka_unit_test(test_eq),
	    cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
