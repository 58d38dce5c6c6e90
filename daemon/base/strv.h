/* SPDX-License-Identifier: Apache-2.0
 * base/strv.h - borrowed text: a pointer and a length, never NUL-trusted. */
#ifndef FLOWBUS_BASE_STRV_H
#define FLOWBUS_BASE_STRV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct strv {
	const char *p;
	size_t n;
};

#define STRV(lit) ((struct strv){(lit), sizeof(lit) - 1})

static inline struct strv
strv_of(const char *s)
{
	return (struct strv){s, s != NULL ? strlen(s) : 0};
}

static inline bool
strv_eq(struct strv a, struct strv b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/** Equal without regard to ASCII case. */
bool strv_ieq(struct strv a, struct strv b);

/**
 * Make untrusted bytes printable: quotes, escapes control bytes and non-ASCII as \xHH, cuts at the
 * end of @out with "...". Returns @out (always terminated).
 */
char *strv_quote(struct strv s, char *out, size_t size);

/** Copy into a fresh NUL-terminated heap string, or NULL without memory. Caller frees. */
char *strv_dup(struct strv s);

/** Length of the UTF-8 sequence at @p (1-4), or 0 when it is not valid UTF-8 within @n bytes. */
int utf8_len(const uint8_t *p, size_t n);

/**
 * The entry of @names (NULL-terminated array) nearest to @word by edit distance, or NULL when none
 * is near enough to be worth suggesting.
 */
const char *strv_nearest(struct strv word, const char *const *names);

#endif
