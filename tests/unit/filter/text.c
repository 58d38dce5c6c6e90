/* SPDX-License-Identifier: Apache-2.0
 * unit/filter/text.c - canonical texts, errors, limits, plans. */
#include "fixture.h"

static void
canonical_is(const char *text, const char *want)
{
	struct filter *f = must_compile(text);
	struct strv c = filter_canonical(f);
	if (!strv_eq(c, strv_of(want)))
		fail_msg("'%s' is '%.*s', not '%s'", text, (int)c.n, c.p, want);
	struct filter *again = must_compile(want);
	if (!strv_eq(filter_canonical(again), c))
		fail_msg("'%s' is no fixpoint: '%.*s'", want, (int)filter_canonical(again).n,
		    filter_canonical(again).p);
	filter_free(&again);
	filter_free(&f);
}

static void
test_canonical(void **state)
{
	static const struct {
		const char *text, *canonical;
	} cases[] = {
	    {" ", ""},
	    {"not false", ""},
	    {"TCP", "proto = tcp"},
	    {"proto 6", "proto = tcp"},
	    {"udp AND tcp", "false"},
	    {"udp or tcp", "proto in (tcp, udp)"},
	    {"proto in (17,6,6)", "proto in (tcp, udp)"},
	    {"proto = 200", "proto = 200"},
	    {"tcp and app http", "app ilike \"http\" and proto = tcp"},
	    {"app HTTP && proto 0x6", "app ilike \"http\" and proto = tcp"},
	    {"not not not tcp", "not proto = tcp"},
	    {"!(not (tcp))", "proto = tcp"},
	    {"bytes > 1M", "bytes > 1000000"},
	    {"bytes >= 1000001", "bytes > 1000000"},
	    {"1000K < bytes", "bytes > 1000000"},
	    {"bytes < 1Ki", "bytes < 1024"},
	    {"bytes>=0", "bytes is not absent"},
	    {"bytes < 0", "false"},
	    {"bytes <= 0", "bytes = 0"},
	    {"bytes != 5", "bytes != 5"},
	    {"bytes<5 or bytes>5", "bytes != 5"},
	    {"not bytes = 5", "not bytes = 5"},
	    {"bytes > 5 and bytes < 9", "bytes in (6-8)"},
	    {"dst port in (443,80,8000-8500,8400-8999,81)", "dst_port in (80-81, 443, 8000-8999)"},
	    {"src port 80 or dst port 80", "port 80"},
	    {"dst_port = 80 or src_port = 80", "port 80"},
	    {"port 80 or port 443", "port in (80, 443)"},
	    {"portrange 1-3", "port in (1-3)"},
	    {"port 80 or src port 5 or dst port 5", "port in (5, 80)"},
	    {"port > 1024", "port > 1024"},
	    {"host 10.0.0.1", "host 10.0.0.1"},
	    {"src or dst net 10.0.0.1/32", "host 10.0.0.1"},
	    {"net 10.1.2.3/8", "net 10.0.0.0/8"},
	    {"src net 10.0.0.0/8", "src_addr in 10.0.0.0/8"},
	    {"src_addr in (10.0.0.0/9, 10.128.0.0/9, 10.1.0.0/16)", "src_addr in 10.0.0.0/8"},
	    {"src_addr = 10.0.0.0/8 or src_addr = 11.0.0.0/8", "src_addr in 10.0.0.0/7"},
	    {"src_addr = ::ffff:1.2.3.4", "src_addr = 1.2.3.4"},
	    {"ip6", "src_addr in ::/0"},
	    {"ip", "src_addr in 0.0.0.0/0"},
	    {"src_addr != 10.0.0.0/8", "src_addr != 10.0.0.0/8"},
	    {"vlan 5 or vlan 4", "src or dst vlan in (4-5)"},
	    {"vlan 5", "src or dst vlan 5"},
	    {"vlan = 5", "vlan = 5"},
	    {"if 3", "if 3"},
	    {"as in (2,1)", "as in (1-2)"},
	    {"duration > 1m", "duration > 60s"},
	    {"duration > 1.5s", "duration > 1500ms"},
	    {"duration = 7us", "duration = 7us"},
	    {"duration > -5s", "duration > -5s"},
	    {"duration > 1s and duration < 5s", "duration < 5s and duration > 1s"},
	    {"start > 2026-11-22T11:00:00+01:00", "start > 2026-11-22T10:00:00.000000Z"},
	    {"rtt_client >= 1s", "rtt_client >= 1s"},
	    {"app = http", "app = \"http\""},
	    {"app = dns or app = http", "app in (\"dns\", \"http\")"},
	    {"app like tls", "app = \"tls\""},
	    {"app in (b, a, b)", "app in (\"a\", \"b\")"},
	    {"server_name '**?*'", "server_name like \"?*\""},
	    {"server_name \"*\"", "server_name is not absent"},
	    {"http_url '/\\*'", "http_url = \"/*\""},
	    {"server_name \"*.ExAmple.org\"", "server_name ilike \"*.example.org\""},
	    {"http_url = 'a\"\\\\\\x01'", "http_url = \"a\\\"\\\\\\x01\""},
	    {"http_url like '*\\*\\x5c'", "http_url like \"*\\*\\\\\""},
	    {"tcp_flags has (ack, syn)", "tcp_flags has (syn, ack)"},
	    {"tcp_flags has any S", "tcp_flags has syn"},
	    {"tcp_flags = SA", "tcp_flags = (syn, ack)"},
	    {"tcp_flags = 0x200", "tcp_flags = 0x200"},
	    {"end_reason in (active,idle)", "end_reason in (idle, active)"},
	    {"end_reason != idle", "end_reason != idle"},
	    {"tls_sni = http_host", "tls_sni = http_host"},
	    {"http_host = tls_sni", "tls_sni = http_host"},
	    {"not vlan is absent", "vlan is not absent"},
	    {"vlan is present", "vlan is not absent"},
	    {"rev_bytes + bytes > 2 * 50", "bytes + rev_bytes > 100"},
	    {"bytes < rev_bytes", "bytes < rev_bytes"},
	    {"rev_bytes > bytes", "bytes < rev_bytes"},
	    {"bytes - (packets - 5) > 1.50", "bytes - (packets - 5) > 1.5"},
	    {"(bytes + 5) * 2 > 1", "(bytes + 5) * 2 > 1"},
	    {"2 * (5 + bytes) > 1", "(bytes + 5) * 2 > 1"},
	    {"bytes / duration > 1K", "bytes / duration > 1000"},
	    {"-bytes < -5", "-bytes < -5"},
	    {"tcp and (udp or app a) and tcp", "(app ilike \"a\" or proto = udp) and proto = tcp"},
	    {"(tcp and app a) and app b", "app ilike \"a\" and app ilike \"b\" and proto = tcp"},
	    {"not (tcp port 80)", "not (port 80 and proto = tcp)"},
	    {"tcp or true", ""},
	    {"tcp and true", "proto = tcp"},
	    {"src_mac = AA:BB:CC:DD:EE:FF", "src_mac = aa:bb:cc:dd:ee:ff"},
	    {"BYTES = 1", "bytes = 1"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		canonical_is(cases[i].text, cases[i].canonical);
}

/* Text, where, code, and words that the message has. */
static const struct {
	const char *text;
	int line, col, code;
	const char *words;
} errors[] = {
    {"byts > 5", 1, 1, E_UNKNOWN, "'bytes'"},
    {"tcp and srcport = 5", 1, 9, E_UNKNOWN, "did you mean 'src_port'"},
    {"qqqqqqqqqqqq", 1, 1, E_UNKNOWN, "show fields"},
    {"tcp and\n  dst_prt = 5", 2, 3, E_UNKNOWN, "'dst_port'"},
    {"bytes", 1, 1, E_SYNTAX, "'bytes > 100'"},
    {"app", 1, 1, E_SYNTAX, "'app \"*.example.org\"'"},
    {"(bytes)", 1, 2, E_SYNTAX, "needs a comparison"},
    {"bytes >", 1, 8, E_SYNTAX, "not the end"},
    {"bytes 5", 1, 7, E_SYNTAX, "'bytes = 5'"},
    {"bytes > 5 5", 1, 11, E_SYNTAX, "'and', 'or'"},
    {"bytes > 5)", 1, 10, E_SYNTAX, "without a ("},
    {"(bytes > 5", 1, 11, E_SYNTAX, "column 1"},
    {"bytes > 5 and", 1, 14, E_SYNTAX, "the end"},
    {"bytes > x", 1, 9, E_SYNTAX, "a number"},
    {"bytes > 5x", 1, 9, E_SYNTAX, "1.5M"},
    {"bytes > 5m", 1, 9, E_TYPE, "time span"},
    {"bytes in (5m)", 1, 11, E_SYNTAX, "M is a million"},
    {"bytes > 1s", 1, 9, E_TYPE, "a time span"},
    {"duration > 30", 1, 12, E_TYPE, "30s"},
    {"rtt_client > 5", 1, 14, E_TYPE, "units"},
    {"duration in (30)", 1, 14, E_SYNTAX, "unit"},
    {"dst_port = 70000", 1, 12, E_RANGE, "65535"},
    {"port 70000", 1, 6, E_RANGE, "out of range"},
    {"bytes > -1", 1, 9, E_RANGE, "0 to"},
    {"port 90-80", 1, 6, E_RANGE, "before it begins"},
    {"bytes > 99999999999999999999", 1, 9, E_RANGE, "out of range"},
    {"proto foo", 1, 7, E_SYNTAX, "tcp, udp"},
    {"end_reason = bored", 1, 14, E_SYNTAX, "idle, active"},
    {"src_addr > 1.2.3.4", 1, 10, E_TYPE, "does not apply"},
    {"app > 5", 1, 5, E_TYPE, "like ilike"},
    {"bytes has syn", 1, 7, E_TYPE, "does not apply"},
    {"tcp_flags has sin", 1, 15, E_SYNTAX, "flags"},
    {"tcp_flags has 0", 1, 15, E_RANGE, "at least one"},
    {"bytes like \"a\"", 1, 7, E_TYPE, "like"},
    {"host www.example.org", 1, 6, E_SYNTAX, "never"},
    {"host 10.0.0.0/8", 1, 6, E_TYPE, "net 10.0.0.0/8"},
    {"src_addr = 10.0.0.300", 1, 12, E_SYNTAX, "2001:db8::/32"},
    {"src_addr = 10.0.0.0/33", 1, 12, E_SYNTAX, "address"},
    {"src bytes > 5", 1, 5, E_SYNTAX, "host, net, port"},
    {"port != 80", 1, 6, E_TYPE, "not port"},
    {"port is absent", 1, 6, E_TYPE, "src_port is absent"},
    {"vlan is missing", 1, 9, E_SYNTAX, "absent"},
    {"port in (80, 443", 1, 17, E_SYNTAX, ", or )"},
    {"port in ()", 1, 10, E_SYNTAX, "a number"},
    {"app = \"http", 1, 7, E_SYNTAX, "not closed"},
    {"app = \"\\q\"", 1, 7, E_SYNTAX, "escape"},
    {"app = @", 1, 7, E_SYNTAX, "unexpected"},
    {"server_name *.example.org", 1, 14, E_SYNTAX, "double quotes"},
    {"1 < 2", 1, 3, E_TYPE, "constants"},
    {"app + 1 > 2", 1, 1, E_TYPE, "numbers"},
    {"bytes + 30s > 5", 1, 7, E_TYPE, "cannot join"},
    {"start > 5", 1, 9, E_TYPE, "a time"},
    {"start > 1969-01-01T00:00:00Z", 1, 9, E_RANGE, "range"},
    {"(bytes > 5) > 5", 1, 13, E_TYPE, "condition"},
    {"bytes > (bytes > 5)", 1, 7, E_TYPE, "condition"},
    {"\"x\" = app", 1, 1, E_SYNTAX, "field comes first"},
    {"10.0.0.1 = src_addr", 1, 1, E_TYPE, "field comes first"},
    {"src_addr = tls_sni", 1, 12, E_TYPE, "cannot be compared"},
    {"bytes = app", 1, 9, E_TYPE, "cannot be compared"},
    {"(1 + 2) > 1", 1, 9, E_TYPE, "constants"},
    {"bytes + 1", 1, 10, E_SYNTAX, "comparison"},
    {"src_mac = 00:11", 1, 11, E_SYNTAX, "MAC"},
    {"tcp & udp", 1, 5, E_SYNTAX, "&&"},
};

static void
test_errors(void **state)
{
	unsigned bad = 0;
	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct filter *f = (struct filter *)1;
		struct err e = {0};
		int rc = filter_compile(strv_of(errors[i].text), &f, &e);
		assert_null(f);
		if (rc != -errors[i].code || e.code != errors[i].code || e.line != errors[i].line ||
		    e.col != errors[i].col || strstr(e.text, errors[i].words) == NULL) {
			print_error("%s\n  got %d:%d %d: %s\n  want %d:%d %d: %s\n", errors[i].text,
			    e.line, e.col, e.code, e.text, errors[i].line, errors[i].col,
			    errors[i].code, errors[i].words);
			bad++;
		}
		assert_true(e.source[0] != '\0');
		assert_int_equal(filter_compile(strv_of(errors[i].text), &f, NULL), rc);
	}
	assert_int_equal(bad, 0);
}

static void
test_caret(void **state)
{
	struct filter *f;
	struct err e = {0};
	char show[512];
	(void)state;
	filter_compile(STRV("tcp and\n\tbyts > 5\nor udp"), &f, &e);
	err_print(&e, show, sizeof(show));
	assert_non_null(strstr(show, "2:2: no field or word is called"));
	assert_non_null(strstr(show, "\n   byts > 5\n   ^"));
}

static int
code_of(const struct buf *b)
{
	struct filter *f;
	struct err e = {0};
	int rc = filter_compile(buf_view(b), &f, &e);
	filter_free(&f);
	return rc;
}

/* @before, then @n times @item with @sep between, then @after */
static int
code_of_many(const char *before, const char *item, const char *sep, const char *after, int n)
{
	struct buf b = buf_init(0);
	buf_str(&b, before);
	for (int i = 0; i < n; i++)
		buf_printf(&b, "%s%s", i > 0 ? sep : "", item);
	buf_str(&b, after);
	int rc = code_of(&b);
	buf_fini(&b);
	return rc;
}

static void
test_limits(void **state)
{
	struct buf b = buf_init(0);
	(void)state;
	assert_int_equal(code_of_many("", "(", "", "tcp))))))))))))))))))))))))))))))))", 32), 0);
	assert_int_equal(
	    code_of_many("", "(", "", "tcp)))))))))))))))))))))))))))))))))", 33), -E_LIMIT);
	assert_int_equal(code_of_many("", "not ", "", "tcp", 32), 0);
	assert_int_equal(code_of_many("", "not ", "", "tcp", 33), -E_LIMIT);
	assert_int_equal(code_of_many("", "- ", "", "bytes < 1", 400), -E_LIMIT);
	assert_int_equal(code_of_many("", "(", "", "", 4000), -E_LIMIT);
	assert_int_equal(code_of_many("", "tcp", " or ", "", 255), 0);
	assert_int_equal(code_of_many("", "tcp", " or ", "", 300), -E_LIMIT);
	assert_int_equal(code_of_many("proto in (", "6", ",", ")", 1024), 0);
	assert_int_equal(code_of_many("proto in (", "6", ",", ")", 1025), -E_LIMIT);
	assert_int_equal(code_of_many("app like (", "\"a*\"", ",", ")", 200), 0);
	assert_int_equal(code_of_many("app like \"*", "?", "", "x*\"", 63), 0);
	assert_int_equal(code_of_many("app like \"*a", "?", "", "x*\"", 64), -E_LIMIT);
	/* a quoted star is a character, and what stands at an end is compared in place */
	assert_int_equal(code_of_many("app like \"*a?", "\\*", "", "*\"", 62), 0);
	assert_int_equal(code_of_many("app like \"*a?", "\\*", "", "*\"", 63), -E_LIMIT);
	assert_int_equal(code_of_many("app like \"a?", "b", "", "*\"", 500), 0);
	assert_int_equal(code_of_many("app like \"", "*a?b", "", "*\"", 64), 0);
	assert_int_equal(code_of_many("app like \"", "*a?b", "", "*\"", 65), -E_LIMIT);
	assert_int_equal(code_of_many("tcp", " ", "", "", 4093), 0);
	assert_int_equal(code_of_many("tcp", " ", "", "", 4094), -E_LIMIT);
	/* the deepest mix of and, or, not that the limits allow still runs */
	for (int i = 0; i < 31; i++)
		buf_printf(&b, "bytes = %d or packets = %d and (", i, i);
	buf_str(&b, "not tcp");
	for (int i = 0; i < 31; i++)
		buf_str(&b, ")");
	assert_int_equal(code_of(&b), 0);
	buf_reset(&b);
	for (int i = 0; i < 32; i++)
		buf_str(&b, "1 + bytes * (");
	buf_str(&b, "2 - packets");
	for (int i = 0; i < 32; i++)
		buf_str(&b, ")");
	buf_str(&b, " > 1");
	assert_int_equal(code_of(&b), 0);
	buf_reset(&b);
	/* 65 different patterns, and a text that only its canonical form makes too long */
	buf_str(&b, "app like (\"x*\"");
	for (int i = 0; i < 64; i++)
		buf_printf(&b, ", \"%d*\"", i);
	buf_str(&b, ")");
	assert_int_equal(code_of(&b), -E_LIMIT);
	buf_reset(&b);
	buf_str(&b, "bytes in (1T");
	for (int i = 2; i < 500; i++)
		buf_printf(&b, ",%dT", i);
	buf_str(&b, ")");
	assert_true(b.n < FILTER_TEXT_MAX);
	assert_int_equal(code_of(&b), -E_LIMIT);
	buf_fini(&b);
}

/* Patterns against naive matching, and hostile ones against the clock. */
static bool
naive_glob(const char *p, const char *s)
{
	if (*p == '\0')
		return *s == '\0';
	if (*p == '*')
		return naive_glob(p + 1, s) || (*s != '\0' && naive_glob(p, s + 1));
	return *s != '\0' && (*p == '?' || *p == *s) && naive_glob(p + 1, s + 1);
}

static void
test_globs(void **state)
{
	struct batch_pool *pool = batch_pool_new(1);
	struct filter_work *w = filter_work_new();
	unsigned seed = 7;
	(void)state;
	for (int round = 0; round < 300; round++) {
		struct batch *b = batch_pool_get(pool);
		char text[64][12], pattern[12], expr[64];
		uint64_t mask[BATCH_WORDS];
		for (uint32_t r = 0; r < 64; r++) {
			unsigned n = (unsigned)rand_r(&seed) % 10;
			for (unsigned i = 0; i < n; i++)
				text[r][i] = "ab"[rand_r(&seed) % 2];
			text[r][n] = '\0';
			set_text(b, F_app, r, text[r]);
		}
		b->n = 64;
		batch_seal(b, 0);
		unsigned n = (unsigned)rand_r(&seed) % 9;
		for (unsigned i = 0; i < n; i++)
			pattern[i] = "ab*?*"[rand_r(&seed) % 5];
		pattern[n] = '\0';
		snprintf(
		    expr, sizeof(expr), "app %s \"%s\"", round % 2 ? "like" : "ilike", pattern);
		struct filter *f = must_compile(expr);
		filter_run(f, w, b, mask);
		for (uint32_t r = 0; r < 64; r++)
			if ((mask[0] >> r & 1) != naive_glob(pattern, text[r]))
				fail_msg("%s on '%s'", expr, text[r]);
		filter_free(&f);
		batch_unref(&b);
	}
	filter_work_free(&w);
	batch_pool_free(&pool);
}

static void
test_hostile_glob(void **state)
{
	struct batch_pool *pool = batch_pool_new(1);
	struct batch *b = batch_pool_get(pool);
	struct filter_work *w = filter_work_new();
	struct buf t = buf_init(0);
	char as[TEXT_MAX + 1];
	uint64_t mask[BATCH_WORDS];
	(void)state;
	memset(as, 'a', TEXT_MAX);
	as[TEXT_MAX] = '\0';
	for (uint32_t r = 0; r < 64; r++)
		set_text(b, F_app, r, as);
	b->n = 64;
	batch_seal(b, 0);
	buf_str(&t, "app ilike \"");
	for (int i = 0; i < 60; i++)
		buf_str(&t, "*?a");
	buf_str(&t, "*b*\"");
	struct filter *f = must_compile(buf_cstr(&t));
	assert_int_equal(filter_run(f, w, b, mask), 0);
	filter_free(&f);
	filter_work_free(&w);
	buf_fini(&t);
	batch_unref(&b);
	batch_pool_free(&pool);
}

static void
test_explain(void **state)
{
	struct buf b = buf_init(0);
	(void)state;
	struct filter *f = must_compile("server_name \"*.example.org\" and tcp and port 443");
	filter_explain(f, &b);
	const char *s = buf_cstr(&b);
	/* the cheap test first, the pattern last, each end of the port */
	const char *proto = strstr(s, "proto = tcp  ["),
		   *name = strstr(s, "server_name ilike \"*.example.org\"  [");
	assert_true(proto != NULL && name != NULL && proto < name);
	assert_non_null(strstr(s, "[src_port "));
	assert_non_null(strstr(s, "[dst_port "));
	assert_non_null(strstr(s, "is empty go to"));
	filter_free(&f);
	buf_reset(&b);
	f = must_compile("");
	filter_explain(f, &b);
	assert_non_null(strstr(buf_cstr(&b), "everything passes"));
	filter_free(&f);
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_canonical),
	    cmocka_unit_test(test_errors), cmocka_unit_test(test_caret),
	    cmocka_unit_test(test_limits), cmocka_unit_test(test_globs),
	    cmocka_unit_test(test_hostile_glob), cmocka_unit_test(test_explain)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
