/* SPDX-License-Identifier: Apache-2.0
 * unit/base/test_keytext.c - keys and tokens as text: back and forth, and no mistake unnoticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/keytext.h"

static void
round_trip(void **state)
{
	uint8_t key[KEY_SIZE], back[KEY_SIZE];
	char text[KEY_TEXT];
	(void)state;
	for (unsigned round = 0; round < 200; round++) {
		random_bytes(key, sizeof(key));
		key_text(KEY_PUBLIC, key, sizeof(key), text, sizeof(text));
		assert_int_equal(strlen(text), KEY_TEXT - 1);
		assert_int_equal(key_parse(strv_of(text), KEY_PUBLIC, back, KEY_SIZE), 0);
		assert_memory_equal(key, back, KEY_SIZE);
		assert_int_equal(key_parse(strv_of(text), KEY_PRIVATE, back, KEY_SIZE), -E_TYPE);
		memcpy(text, KEY_PRIVATE, 5); /* the checksum covers what it is */
		assert_int_equal(key_parse(strv_of(text), KEY_PRIVATE, back, KEY_SIZE), -E_CRC);
	}
}

/* Of one wrong or missing character none is missed, and nothing of the key is left in the output.
 */
static void
mistakes(void **state)
{
	uint8_t key[KEY_SIZE], back[KEY_SIZE], zero[KEY_SIZE] = {0};
	char text[KEY_TEXT + 1];
	(void)state;
	random_bytes(key, sizeof(key));
	key_text(KEY_PUBLIC, key, sizeof(key), text, KEY_TEXT);
	for (size_t i = 5; i < KEY_TEXT - 1; i++) {
		char was = text[i];
		for (const char *p = "abcdefghijklmnopqrstuvwxyz234567A01= "; *p != '\0'; p++) {
			text[i] = *p;
			memset(back, 1, sizeof(back));
			int rc = key_parse(strv_of(text), KEY_PUBLIC, back, KEY_SIZE);
			assert_int_equal(rc == 0, *p == was);
			if (rc != 0)
				assert_memory_equal(back, zero, KEY_SIZE);
		}
		text[i] = was;
		assert_int_equal(
		    key_parse((struct strv){text, i}, KEY_PUBLIC, back, KEY_SIZE), -E_FORMAT);
	}
	text[KEY_TEXT - 1] = 'a';
	text[KEY_TEXT] = '\0';
	assert_int_equal(key_parse(strv_of(text), KEY_PUBLIC, back, KEY_SIZE), -E_FORMAT);
	assert_int_equal(key_parse(STRV(""), KEY_PUBLIC, back, KEY_SIZE), -E_TYPE);
}

static void
tokens(void **state)
{
	struct key_token t = {.expires_us = 1800000000123456}, back;
	char text[TOKEN_TEXT];
	(void)state;
	random_bytes(t.server, sizeof(t.server));
	random_bytes(t.secret, sizeof(t.secret));
	key_token_text(&t, text);
	assert_int_equal(strlen(text), TOKEN_TEXT - 1);
	assert_int_equal(key_token_parse(strv_of(text), &back), 0);
	assert_memory_equal(t.server, back.server, KEY_SIZE);
	assert_memory_equal(t.secret, back.secret, TOKEN_SECRET);
	assert_int_equal(t.expires_us, back.expires_us);
	/* the last digit carries bits of nothing: they must be zero, so that a token has one
	 * spelling */
	text[TOKEN_TEXT - 2] = text[TOKEN_TEXT - 2] == 'b' ? 'd' : 'b';
	assert_int_equal(key_token_parse(strv_of(text), &back), -E_FORMAT);
}

static void
lines_and_names(void **state)
{
	(void)state;
	assert_true(strv_eq(key_line(STRV("# a key\n\n \tfbp1-x \r\nmore\n")), STRV("fbp1-x")));
	assert_true(strv_eq(key_line(STRV("fbp1-x")), STRV("fbp1-x")));
	assert_int_equal(key_line(STRV("# only a comment")).n, 0);
	assert_int_equal(key_line(STRV("")).n, 0);
	assert_true(key_name_ok(STRV("probe1.example_org:a@b-c")));
	for (unsigned i = 0; i < 7; i++) {
		static const char *const bad[] = {"", ".", "..", "-x", "a/b", "a b", "a\xff"};
		assert_false(key_name_ok(strv_of(bad[i])));
	}
	assert_false(key_name_ok((struct strv){"a\0b", 3}));
	char name[65];
	memset(name, 'a', 64);
	name[64] = '\0';
	assert_false(key_name_ok((struct strv){name, 64}));
	assert_true(key_name_ok((struct strv){name, 63}));
}

static void
fingerprint(void **state)
{
	uint8_t digest[32];
	char out[KEY_PRINT];
	(void)state;
	for (unsigned i = 0; i < 32; i++)
		digest[i] = (uint8_t)(i * 7);
	key_print(digest, out);
	/* the first 100 bits of 00 07 0e 15 ... in the base 32 of RFC 4648, lower case */
	assert_string_equal(out, "SHA256:aadq-4fi4-emvd-cob7-izgv");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(mistakes),
	    cmocka_unit_test(tokens), cmocka_unit_test(lines_and_names),
	    cmocka_unit_test(fingerprint)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
