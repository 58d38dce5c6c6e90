/* SPDX-License-Identifier: Apache-2.0
 * unit/schema/test_schema.c - the field table and one value of every type. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"
#include "schema/value.h"

static void
test_registry(void **state)
{
	(void)state;
	for (int f = 0; f < F_COUNT; f++) {
		const struct field_info *i = &field_info[f];
		assert_int_equal(field_by_name(strv_of(i->name)), f);
		assert_int_equal(field_by_number(i->number), f);
		assert_true(field_width((enum field)f) > 0);
		assert_int_equal(i->text[strlen(i->text) - 1], '.');
		struct field_set s = field_sources((enum field)f);
		for (int k = 0; k < F_COUNT; k++)
			if (field_set_has(&s, (enum field)k))
				assert_int_equal(field_info[k].flags & FF_DERIVED, 0);
		assert_true(s.w[0] != 0 || s.w[1] != 0);
	}
	assert_int_equal(field_by_name(STRV("bytess")), F_NONE);
	assert_int_equal(field_by_number(999), F_NONE);
	struct field_set base = field_set_base();
	assert_int_equal(__builtin_popcountll(base.w[0]) + __builtin_popcountll(base.w[1]), 16);
}

static void
test_sets(void **state)
{
	struct field_set s;
	struct strv bad;
	(void)state;
	assert_int_equal(field_set_parse(STRV("base, http_host"), &s, &bad), 0);
	assert_true(field_set_has(&s, F_http_host) && field_set_has(&s, F_src_addr));
	assert_false(field_set_has(&s, F_tls_sni));
	assert_int_equal(field_set_parse(STRV("duration"), &s, &bad), 0);
	assert_true(field_set_has(&s, F_start) && field_set_has(&s, F_end));
	assert_false(field_set_has(&s, F_duration));
	assert_int_equal(field_set_parse(STRV("all"), &s, &bad), 0);
	assert_true(field_set_eq(s, field_set_all()));
	assert_int_equal(field_set_parse(STRV("base,nonsense,bytes"), &s, &bad), -E_UNKNOWN);
	assert_true(strv_eq(bad, STRV("nonsense")));
}

/* A value of each field that is not the type's zero. */
static struct value
sample(enum field f)
{
	struct value v = {.type = (enum field_type)field_info[f].type};
	static const uint8_t v6[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xab, 0, 1};
	switch (v.type) {
	case FT_ADDR:
		memcpy(v.addr.b, v6, 16);
		break;
	case FT_TEXT:
		v.text = STRV("www.example.org");
		break;
	case FT_TIME:
		v.i = INT64_C(1763800000123456);
		break;
	case FT_SPAN:
		v.i = 61500000;
		break;
	case FT_MAC:
		v.u = UINT64_C(0x0200deadbeef);
		break;
	case FT_BITS:
		v.u = TCP_syn | TCP_ack;
		break;
	case FT_U8:
	case FT_U16:
	case FT_U32:
	case FT_U64:
	case FT_ENUM:
		v.u = 2;
		break;
	case FT_COUNT:
		break;
	}
	return v;
}

static void
test_print_parse(void **state)
{
	struct buf b = buf_init(0);
	(void)state;
	for (int f = 0; f < F_COUNT; f++) {
		struct value v = sample((enum field)f), w;
		buf_reset(&b);
		value_print(&b, (enum field)f, &v, VALUE_TEXT);
		assert_int_equal(value_parse((enum field)f, buf_view(&b), &w), 0);
		assert_int_equal(w.type, v.type);
		if (v.type == FT_ADDR)
			assert_memory_equal(v.addr.b, w.addr.b, 16);
		else if (v.type == FT_TEXT)
			assert_true(strv_eq(v.text, w.text));
		else
			assert_true(v.u == w.u);
	}
	buf_fini(&b);
}

static void
expect_json(enum field f, struct value v, enum value_style style, const char *want)
{
	struct buf b = buf_init(0);
	v.type = (enum field_type)field_info[f].type;
	value_print(&b, f, &v, style);
	assert_string_equal(buf_cstr(&b), want);
	buf_fini(&b);
}

static void
test_json(void **state)
{
	(void)state;
	expect_json(F_start, (struct value){.i = INT64_C(1700000000000001)}, VALUE_JSON,
	    "\"2023-11-14T22:13:20.000001Z\"");
	expect_json(F_start, (struct value){.i = INT64_C(1700000000000001)}, VALUE_JSON_US,
	    "1700000000000001");
	expect_json(F_start, (struct value){.i = -1}, VALUE_JSON, "\"1969-12-31T23:59:59.999999Z\"");
	expect_json(F_start, (struct value){.i = INT64_C(951782400000000)}, VALUE_JSON,
	    "\"2000-02-29T00:00:00.000000Z\"");
	expect_json(F_tcp_flags, (struct value){.u = TCP_syn | TCP_fin}, VALUE_JSON, "\"SF\"");
	expect_json(F_proto, (struct value){.u = 6}, VALUE_JSON, "6");
	expect_json(F_proto, (struct value){.u = 6}, VALUE_TEXT, "tcp");
	expect_json(F_end_reason, (struct value){.u = END_IDLE}, VALUE_JSON, "\"idle\"");
	expect_json(F_duration, (struct value){.i = 1500000}, VALUE_JSON, "1.500000");
	expect_json(F_duration, (struct value){.i = -1}, VALUE_JSON, "-0.000001");
	expect_json(F_src_mac, (struct value){.u = 0x0200deadbeef}, VALUE_JSON,
	    "\"02:00:de:ad:be:ef\"");
	/* bytes that are not UTF-8 read \xHH in the value, a backslash reads two */
	expect_json(F_tls_sni, (struct value){.text = {"a\xff\\\"\n\xc3\xa9", 7}}, VALUE_JSON,
	    "\"a\\\\xff\\\\\\\\\\\"\\u000a\xc3\xa9\"");
	static const uint8_t v4[4] = {10, 0, 255, 1};
	expect_json(F_src_addr, (struct value){.addr = addr_v4(v4)}, VALUE_JSON, "\"10.0.255.1\"");
}

static void
test_addresses(void **state)
{
	static const struct {
		const char *in, *out;
	} t[] = {{"::", "::"}, {"::1", "::1"}, {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
	    {"2001:DB8::", "2001:db8::"}, {"1:0:2:0:3:0:4:0", "1:0:2:0:3:0:4:0"},
	    {"fe80::1:0:0:0", "fe80::1:0:0:0"}, {"1.2.3.4", "1.2.3.4"}, {"::ffff:1.2.3.4", "1.2.3.4"}};
	struct buf b = buf_init(0);
	struct addr a;
	unsigned bits;
	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		buf_reset(&b);
		assert_int_equal(addr_parse(strv_of(t[i].in), &a), 0);
		addr_print(&b, &a);
		assert_string_equal(buf_cstr(&b), t[i].out);
	}
	buf_fini(&b);
	assert_int_equal(addr_parse(STRV("1.2.3"), &a), -E_SYNTAX);
	assert_int_equal(addr_parse(STRV("www.example.org"), &a), -E_SYNTAX);
	assert_int_equal(addr_parse_net(STRV("10.0.0.0/8"), &a, &bits), 0);
	assert_int_equal(bits, 104);
	assert_int_equal(addr_parse_net(STRV("2001:db8::/32"), &a, &bits), 0);
	assert_int_equal(bits, 32);
	assert_int_equal(addr_parse_net(STRV("10.0.0.1"), &a, &bits), 0);
	assert_int_equal(bits, 128);
	assert_int_equal(addr_parse_net(STRV("10.0.0.0/33"), &a, &bits), -E_RANGE);
	assert_int_equal(addr_parse_net(STRV("10.0.0.0/"), &a, &bits), -E_SYNTAX);
}

static void
test_numbers(void **state)
{
	uint64_t u;
	int64_t us;
	struct value v;
	(void)state;
	static const struct {
		const char *s;
		int rc;
		uint64_t v;
	} n[] = {{"0", 0, 0}, {"64K", 0, 64000}, {"2Mi", 0, 2097152}, {"1.5M", 0, 1500000},
	    {"5G", 0, UINT64_C(5000000000)}, {"0x1f", 0, 31}, {"18446744073709551615", 0, UINT64_MAX},
	    {"18446744073709551616", -E_RANGE, 0}, {"99999999999T", -E_RANGE, 0}, {"", -E_SYNTAX, 0},
	    {"5X", -E_SYNTAX, 0}, {"K", -E_SYNTAX, 0}, {"1.5", -E_SYNTAX, 0}, {"-1", -E_SYNTAX, 0}};
	for (size_t i = 0; i < sizeof(n) / sizeof(n[0]); i++) {
		assert_int_equal(number_parse(strv_of(n[i].s), &u), n[i].rc);
		if (n[i].rc == 0)
			assert_true(u == n[i].v);
	}
	assert_int_equal(size_parse(STRV("64K"), &u), 0);
	assert_int_equal(u, 65536);
	assert_int_equal(size_parse(STRV("64KiB"), &u), 0);
	assert_int_equal(u, 65536);
	static const struct {
		const char *s;
		int rc;
		int64_t us;
	} p[] = {{"30s", 0, 30000000}, {"250ms", 0, 250000}, {"10us", 0, 10}, {"1h", 0, 3600000000},
	    {"1.5s", 0, 1500000}, {"5", 0, 5000000}, {"2d", 0, 172800000000}, {"5x", -E_SYNTAX, 0},
	    {"", -E_SYNTAX, 0}, {"99999999999999d", -E_RANGE, 0}};
	for (size_t i = 0; i < sizeof(p) / sizeof(p[0]); i++) {
		assert_int_equal(span_parse(strv_of(p[i].s), &us), p[i].rc);
		if (p[i].rc == 0)
			assert_true(us == p[i].us);
	}
	assert_int_equal(value_parse(F_src_port, STRV("65536"), &v), -E_RANGE);
	assert_int_equal(value_parse(F_proto, STRV("UDP"), &v), 0);
	assert_int_equal(v.u, 17);
	assert_int_equal(value_parse(F_tcp_flags, STRV("syn|ack"), &v), 0);
	assert_int_equal(v.u, TCP_syn | TCP_ack);
	assert_int_equal(value_parse(F_tcp_flags, STRV("syn|zzz"), &v), -E_SYNTAX);
	assert_int_equal(value_parse(F_start, STRV("2023-11-14T23:13:20+01:00"), &v), 0);
	assert_true(v.i == INT64_C(1700000000000000));
	assert_int_equal(value_parse(F_start, STRV("1700000000.5"), &v), 0);
	assert_true(v.i == INT64_C(1700000000500000));
	assert_int_equal(value_parse(F_start, STRV("2023-13-14"), &v), -E_RANGE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_registry),
	    cmocka_unit_test(test_sets), cmocka_unit_test(test_print_parse),
	    cmocka_unit_test(test_json), cmocka_unit_test(test_addresses),
	    cmocka_unit_test(test_numbers)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
