/* SPDX-License-Identifier: Apache-2.0
 * unit/base/test_text.c - errors, borrowed text, cursor, buffer, hash. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/cur.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"

static void
test_err(void **state)
{
	struct err e = {0};
	char out[512];
	(void)state;
	assert_int_equal(err_set(&e, E_SYNTAX, "bad %s", "thing"), -E_SYNTAX);
	assert_int_equal(e.code, E_SYNTAX);
	err_prefix(&e, "%s: ", "eth0");
	assert_string_equal(e.text, "eth0: bad thing");
	snprintf(e.file, sizeof(e.file), "x.conf");
	e.line = 3;
	e.col = 5;
	snprintf(e.source, sizeof(e.source), "app htp");
	err_print(&e, out, sizeof(out));
	assert_string_equal(out, "x.conf:3:5: eth0: bad thing\n  app htp\n      ^");
	errno = ENOENT;
	assert_int_equal(err_sys(&e, E_IO, "open"), -E_IO);
	assert_string_equal(e.text, "open: No such file or directory");
	assert_int_equal(err_set(NULL, E_IO, "x"), -E_IO);
	assert_string_equal(err_text(-E_NOENT), "no such object");
	assert_int_equal(err_status(E_NOENT), 4);
	assert_int_equal(err_control(0), 1000);
	assert_int_equal(err_control(9999), 8000);
	/* a tiny buffer is never overrun */
	for (size_t n = 1; n < 60; n++) {
		char small[64];
		memset(small, 'x', sizeof(small));
		err_print(&e, small, n);
		assert_true(memchr(small, '\0', n) != NULL);
		assert_int_equal(small[n], 'x');
	}
}

static void
test_strv(void **state)
{
	char out[64];
	const char *names[] = {"src_addr", "dst_addr", "tcp_flags", "bytes", NULL};
	(void)state;
	assert_true(strv_ieq(STRV("AbC"), STRV("aBc")));
	assert_false(strv_ieq(STRV("AbC"), STRV("aB")));
	assert_string_equal(strv_quote((struct strv){"a\n\"\xff", 4}, out, sizeof(out)),
	    "\"a\\x0a\\x22\\xff\"");
	assert_string_equal(strv_quote(STRV("aaaaaaaaaaaaaaaaaaaaa"), out, 16), "\"aaaaaaa...\"");
	assert_string_equal(strv_nearest(STRV("src_adr"), names), "src_addr");
	assert_string_equal(strv_nearest(STRV("byte"), names), "bytes");
	assert_string_equal(strv_nearest(STRV("flags"), names), "tcp_flags");
	assert_null(strv_nearest(STRV("zzzz"), names));
	assert_null(strv_nearest(STRV(""), names));
}

static void
test_utf8(void **state)
{
	static const struct {
		const char *p;
		size_t n;
		int len;
	} t[] = {{"a", 1, 1}, {"\xc3\xa9", 2, 2}, {"\xc3", 1, 0}, {"\xc0\x80", 2, 0},
	    {"\xe2\x82\xac", 3, 3}, {"\xed\xa0\x80", 3, 0}, {"\xf0\x9f\x98\x80", 4, 4},
	    {"\xf4\x90\x80\x80", 4, 0}, {"\xff", 1, 0}, {"\xe0\x80\x80", 3, 0}, {"", 0, 0}};
	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		assert_int_equal(utf8_len((const uint8_t *)t[i].p, t[i].n), t[i].len);
}

static void
test_cursor(void **state)
{
	static const uint8_t b[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
	struct cur c = cur_init(b, sizeof(b));
	(void)state;
	assert_int_equal(cur_u8(&c), 1);
	assert_int_equal(cur_u16(&c), 0x0203);
	assert_int_equal(cur_u32_le(&c), 0x07060504);
	assert_int_equal(cur_left(&c), 3);
	assert_int_equal(cur_u32(&c), 0); /* short: latched */
	assert_int_equal(c.err, -E_TRUNC);
	assert_int_equal(cur_u8(&c), 0); /* and stays */
	assert_null(cur_take(&c, 0));
}

static void
test_varint(void **state)
{
	static const uint64_t v[] = {0, 1, 127, 128, 300, UINT32_MAX, UINT64_MAX, UINT64_MAX - 1,
	    UINT64_C(1) << 63};
	struct buf b = buf_init(0);
	(void)state;
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		buf_varint(&b, v[i]);
	struct cur c = cur_init(b.p, b.n);
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		assert_true(cur_varint(&c) == v[i]);
	assert_int_equal(c.err, 0);
	assert_int_equal(cur_left(&c), 0);
	static const uint8_t over[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2};
	c = cur_init(over, sizeof(over));
	cur_varint(&c);
	assert_int_equal(c.err, -E_FORMAT);
	buf_reset(&b);
	buf_text(&b, STRV("hello"));
	c = cur_init(b.p, b.n);
	assert_true(strv_eq(cur_text(&c, 5), STRV("hello")));
	c = cur_init(b.p, b.n);
	assert_int_equal(cur_text(&c, 4).n, 0);
	assert_int_equal(c.err, -E_FORMAT);
	buf_fini(&b);
}

static void
test_buf(void **state)
{
	struct buf b = buf_init(10);
	(void)state;
	buf_str(&b, "12345");
	buf_u64_dec(&b, 678);
	assert_string_equal(buf_cstr(&b), "12345678");
	buf_str(&b, "abc"); /* over the limit: refused whole, latched */
	assert_int_equal(b.err, -E_LIMIT);
	assert_int_equal(b.n, 8);
	buf_u8(&b, 'x');
	assert_int_equal(b.n, 8);
	buf_reset(&b);
	buf_u32_le(&b, 0x01020304);
	assert_memory_equal(b.p, "\4\3\2\1", 4);
	buf_fini(&b);
	b = buf_init(0);
	for (int i = 0; i < 400; i++)
		buf_printf(&b, "%d,", i % 10);
	assert_int_equal(b.n, 800);
	char wide[400];
	memset(wide, 'w', sizeof(wide) - 1);
	wide[sizeof(wide) - 1] = '\0';
	buf_reset(&b);
	buf_printf(&b, "%s!", wide);
	assert_int_equal(b.n, 400);
	assert_int_equal(b.p[399], '!');
	buf_fini(&b);
}

static void
test_hash(void **state)
{
	/* CRC32C check value of RFC 3720's polynomial */
	(void)state;
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
	assert_int_equal(crc32c(crc32c(0, "12345", 5), "6789", 4), 0xe3069283u);
	assert_int_equal(crc32c(0, "", 0), 0);
	uint8_t zero[32] = {0};
	assert_int_equal(crc32c(0, zero, 32), 0x8a9136aau); /* RFC 3720 B.4 */
	struct hash_key k = {1, 2}, l = {1, 3};
	assert_true(hash_bytes(k, "abc", 3) == hash_bytes(k, "abc", 3));
	assert_true(hash_bytes(k, "abc", 3) != hash_bytes(l, "abc", 3));
	assert_true(hash_bytes(k, "abc", 3) != hash_bytes(k, "abd", 3));
	assert_true(hash_bytes(k, "\0", 1) != hash_bytes(k, "", 0));
	assert_true(hash_bytes(k, zero, 8) != hash_bytes(k, zero, 16));
}

static void
test_log_level(void **state)
{
	(void)state;
	assert_int_equal(log_level_parse("debug"), LOG_DEBUG);
	assert_int_equal(log_level_parse("loud"), -1);
	assert_string_equal(log_level_name(LOG_ERR), "err");
	log_set_level(LOG_ERR);
	assert_false(log_wants(LOG_WARN));
	assert_true(log_wants(LOG_ERR));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_err), cmocka_unit_test(test_strv),
	    cmocka_unit_test(test_utf8), cmocka_unit_test(test_cursor), cmocka_unit_test(test_varint),
	    cmocka_unit_test(test_buf), cmocka_unit_test(test_hash), cmocka_unit_test(test_log_level)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
