/* SPDX-License-Identifier: Apache-2.0
 * base/strv.c - borrowed text. */
#include "base/strv.h"

#include <stdio.h>
#include <stdlib.h>

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool
strv_ieq(struct strv a, struct strv b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (lower(a.p[i]) != lower(b.p[i]))
			return false;
	return true;
}

char *
strv_quote(struct strv s, char *out, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	size_t o = 0;
	if (size == 0)
		return out;
	if (size < 8) {
		out[0] = '\0';
		return out;
	}
	out[o++] = '"';
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = (uint8_t)s.p[i];
		if (o + 4 + 5 > size) { /* this byte, then ..." and NUL */
			memcpy(out + o, "...", 3);
			o += 3;
			break;
		}
		if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
			out[o++] = (char)c;
		} else {
			out[o++] = '\\';
			out[o++] = 'x';
			out[o++] = hex[c >> 4];
			out[o++] = hex[c & 15];
		}
	}
	out[o++] = '"';
	out[o] = '\0';
	return out;
}

char *
strv_dup(struct strv s)
{
	char *p = malloc(s.n + 1);
	if (p == NULL)
		return NULL;
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return p;
}

int
utf8_len(const uint8_t *p, size_t n)
{
	if (n == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	int len = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 :
	    p[0] >= 0xf0 && p[0] <= 0xf4	    ? 4 :
						      0;
	if (len == 0 || (size_t)len > n)
		return 0;
	for (int i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* overlong forms, surrogates, beyond U+10FFFF */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

enum { NEAR_MAX = 48 };

static unsigned
edit_distance(struct strv a, const char *b)
{
	size_t nb = strlen(b);
	unsigned row[NEAR_MAX + 1];
	if (a.n > NEAR_MAX || nb > NEAR_MAX)
		return 1000;
	for (size_t j = 0; j <= nb; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= a.n; i++) {
		unsigned diag = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned up = row[j], best = diag + (lower(a.p[i - 1]) != lower(b[j - 1]));
			if (up + 1 < best)
				best = up + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
			diag = up;
		}
	}
	return row[nb];
}

const char *
strv_nearest(struct strv word, const char *const *names)
{
	const char *best = NULL;
	unsigned least = 1000;
	for (size_t i = 0; names[i] != NULL; i++) {
		unsigned d = edit_distance(word, names[i]);
		size_t longer = strlen(names[i]) > word.n ? strlen(names[i]) : word.n;
		/* a name that begins with the word, or holds it, is near too */
		if (word.n >= 3 && d > 1 && strlen(names[i]) > word.n &&
		    memmem(names[i], strlen(names[i]), word.p, word.n) != NULL)
			d = 2;
		if (d < least && (d <= 1 || d * 5 <= longer * 2)) {
			least = d;
			best = names[i];
		}
	}
	return best;
}
