/* SPDX-License-Identifier: Apache-2.0
 * base/keytext.c - keys, fingerprints and tokens as text. */
#include "base/keytext.h"

#include <stdio.h>

#include "base/err.h"
#include "base/hash.h"

enum { CHECK = 3, WHOLE_MAX = TOKEN_SIZE + CHECK };

static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";

/* Without a copy of secret octets that nobody wipes. */
static void
to_base32(const uint8_t *p, size_t n, char *out)
{
	unsigned bits = 0, held = 0;
	for (size_t i = 0; i < n; i++) {
		held = (held << 8 | p[i]) & 0xffff;
		for (bits += 8; bits >= 5; bits -= 5)
			*out++ = digits[held >> (bits - 5) & 31];
	}
	if (bits > 0)
		*out++ = digits[held << (5 - bits) & 31];
	*out = '\0';
}

static int
digit_of(char c)
{
	if (c >= 'a' && c <= 'z')
		return c - 'a';
	return c >= '2' && c <= '7' ? c - '2' + 26 : -1;
}

static bool
from_base32(struct strv s, uint8_t *out, size_t n)
{
	unsigned bits = 0, held = 0;
	size_t at = 0;
	if (s.n != (n * 8 + 4) / 5)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		int v = digit_of(s.p[i]);
		if (v < 0)
			return false;
		held = (held << 5 | (unsigned)v) & 0xffff;
		bits += 5;
		if (bits >= 8 && at < n) {
			bits -= 8;
			out[at++] = (uint8_t)(held >> bits);
		}
	}
	return at == n && (held & ((1U << bits) - 1)) == 0; /* one spelling only */
}

static void
check_of(const char *prefix, const uint8_t *p, size_t n, uint8_t out[CHECK])
{
	uint32_t crc = crc32c(crc32c(0, prefix, strlen(prefix)), p, n);
	for (unsigned i = 0; i < CHECK; i++)
		out[i] = (uint8_t)(crc >> 8 * i);
}

void
key_text(const char *prefix, const uint8_t *p, size_t n, char *out, size_t size)
{
	uint8_t whole[WHOLE_MAX];
	size_t head = strlen(prefix);
	assert_always(n <= TOKEN_SIZE && size > head + ((n + CHECK) * 8 + 4) / 5);
	memcpy(whole, p, n);
	check_of(prefix, p, n, whole + n);
	memcpy(out, prefix, head);
	to_base32(whole, n + CHECK, out + head);
	explicit_bzero(whole, sizeof(whole));
}

int
key_parse(struct strv text, const char *prefix, uint8_t *out, size_t n)
{
	uint8_t whole[WHOLE_MAX], check[CHECK];
	size_t head = strlen(prefix);
	int rc = 0;
	assert_always(n <= TOKEN_SIZE);
	if (text.n < head || memcmp(text.p, prefix, head) != 0)
		return -E_TYPE;
	if (!from_base32((struct strv){text.p + head, text.n - head}, whole, n + CHECK))
		rc = -E_FORMAT;
	if (rc == 0) {
		check_of(prefix, whole, n, check);
		rc = memcmp(check, whole + n, CHECK) == 0 ? 0 : -E_CRC;
	}
	if (rc == 0)
		memcpy(out, whole, n);
	else
		explicit_bzero(out, n);
	explicit_bzero(whole, sizeof(whole));
	return rc;
}

void
key_print(const uint8_t digest[32], char out[KEY_PRINT])
{
	char all[64];
	to_base32(digest, 32, all);
	snprintf(out, KEY_PRINT, "SHA256:%.4s-%.4s-%.4s-%.4s-%.4s", all, all + 4, all + 8, all + 12,
	    all + 16);
}

struct strv
key_line(struct strv text)
{
	struct strv s;
	do {
		s = (struct strv){text.p, 0};
		while (s.n < text.n && text.p[s.n] != '\n')
			s.n++;
		size_t used = s.n < text.n ? s.n + 1 : s.n;
		text.p += used;
		text.n -= used;
		while (s.n > 0 && strchr(" \t\r", s.p[s.n - 1]) != NULL)
			s.n--;
		while (s.n > 0 && (*s.p == ' ' || *s.p == '\t'))
			s.p++, s.n--;
	} while ((s.n == 0 || *s.p == '#') && text.n > 0);
	return s.n > 0 && *s.p == '#' ? (struct strv){s.p, 0} : s;
}

bool
key_name_ok(struct strv name)
{
	if (name.n == 0 || name.n > 63 || name.p[0] == '.' || name.p[0] == '-')
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];
		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
		    (c == '\0' || strchr("._:@-", c) == NULL))
			return false;
	}
	return true;
}

void
key_token_text(const struct key_token *t, char out[TOKEN_TEXT])
{
	uint8_t raw[TOKEN_SIZE];
	memcpy(raw, t->server, KEY_SIZE);
	memcpy(raw + KEY_SIZE, t->secret, TOKEN_SECRET);
	for (unsigned i = 0; i < 8; i++)
		raw[KEY_SIZE + TOKEN_SECRET + i] = (uint8_t)((uint64_t)t->expires_us >> 8 * i);
	key_text(KEY_TOKEN, raw, sizeof(raw), out, TOKEN_TEXT);
	explicit_bzero(raw, sizeof(raw));
}

int
key_token_parse(struct strv text, struct key_token *out)
{
	uint8_t raw[TOKEN_SIZE];
	uint64_t us = 0;
	int rc = key_parse(text, KEY_TOKEN, raw, sizeof(raw));
	if (rc != 0)
		return rc;
	memcpy(out->server, raw, KEY_SIZE);
	memcpy(out->secret, raw + KEY_SIZE, TOKEN_SECRET);
	for (unsigned i = 0; i < 8; i++)
		us |= (uint64_t)raw[KEY_SIZE + TOKEN_SECRET + i] << 8 * i;
	out->expires_us = (int64_t)us;
	explicit_bzero(raw, sizeof(raw));
	return 0;
}
