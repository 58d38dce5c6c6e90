/* SPDX-License-Identifier: Apache-2.0
 * conf/source.c - a look at a configuration file's text before libconfig reads it.
 *
 * libconfig 1.5 takes `ring = 5000000000` and gives 705032704 without a word, stops at a NUL byte,
 * and opens whatever @include names. None of that can be seen afterwards, so it is looked for in
 * the source: a small lexer that knows comments, strings, names and numbers. */
#include <errno.h>
#include <stdlib.h>

#include "conf/conf_priv.h"

struct scan {
	const char *p, *end, *line_start;
	int line;
	unsigned n_assign, depth;
};

/* Tabs become spaces, so that the caret below stands where it should. */
static void
copy_line(const char *p, size_t n, struct err *err)
{
	if (err == NULL || n >= sizeof(err->source))
		return;
	for (size_t i = 0; i < n; i++)
		err->source[i] = p[i] == '\t' ? ' ' : p[i];
	err->source[n] = '\0';
}

static int
fail(const struct scan *s, const char *at, int code, struct err *err, const char *what)
{
	int r = err_set(err, code, "%s", what);
	if (err != NULL) {
		err->line = s->line;
		err->col = (int)(at - s->line_start) + 1;
		const char *nl = memchr(s->line_start, '\n', (size_t)(s->end - s->line_start));
		copy_line(s->line_start, (size_t)((nl != NULL ? nl : s->end) - s->line_start), err);
	}
	return r;
}

void
conf_source_line(struct strv text, int line, struct err *err)
{
	const char *p = text.p, *end = text.p + text.n;
	for (int i = 1; i < line && p < end; i++) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		p = nl != NULL ? nl + 1 : end;
	}
	const char *nl = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
	copy_line(p, (size_t)((nl != NULL ? nl : end) - p), err);
}

static void
newline(struct scan *s)
{
	s->line++;
	s->line_start = s->p;
}

static bool
skip_comment(struct scan *s)
{
	size_t left = (size_t)(s->end - s->p);
	if (s->p[0] == '#' || (left > 1 && s->p[0] == '/' && s->p[1] == '/')) {
		const char *nl = memchr(s->p, '\n', left);
		s->p = nl != NULL ? nl : s->end;
		return true;
	}
	if (left < 2 || s->p[0] != '/' || s->p[1] != '*')
		return false;
	s->p += 2;
	while (s->p < s->end) {
		if (s->p[0] == '*' && s->end - s->p > 1 && s->p[1] == '/') {
			s->p += 2;
			return true;
		}
		if (*s->p++ == '\n')
			newline(s);
	}
	return true;
}

static int
skip_string(struct scan *s, struct err *err)
{
	const struct scan from = *s;
	for (s->p++; s->p < s->end && *s->p != '"'; s->p++) {
		if (*s->p == '\\' && s->end - s->p > 1)
			s->p++;
		if (*s->p == '\n') {
			s->p++;
			newline(s);
			s->p--;
		}
	}
	if (s->p >= s->end)
		return fail(&from, from.p, E_SYNTAX, err, "this string is never closed");
	s->p++;
	return 0;
}

static bool
is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '*' || c == '-';
}

static const char *
skip_digits(const char *p, const char *end, bool hex)
{
	while (p < end && ((*p >= '0' && *p <= '9') ||
			      (hex && ((*p >= 'a' && *p <= 'f') || (*p >= 'A' && *p <= 'F')))))
		p++;
	return p;
}

/* A number: libconfig keeps 32 bits of one without L, 64 of one with it. */
static int
check_number(struct scan *s, struct err *err)
{
	char digits[32];
	const char *at = s->p;
	bool negative = *s->p == '-';
	if (*s->p == '-' || *s->p == '+')
		s->p++;
	bool hex = s->end - s->p > 2 && s->p[0] == '0' && (s->p[1] == 'x' || s->p[1] == 'X');
	const char *from = hex ? s->p + 2 : s->p;
	s->p = skip_digits(from, s->end, hex);
	size_t n = (size_t)(s->p - from);
	if (s->p < s->end && !hex && (*s->p == '.' || *s->p == 'e' || *s->p == 'E')) {
		while (s->p < s->end && (is_name(*s->p) || *s->p == '.' || *s->p == '+'))
			s->p++;
		return 0;
	}
	bool is_long = s->p < s->end && *s->p == 'L';
	while (s->p < s->end && *s->p == 'L')
		s->p++;
	uint64_t limit = is_long ? (uint64_t)INT64_MAX : (uint64_t)INT32_MAX;
	bool fits = n > 0 && n < sizeof(digits);
	if (fits) {
		memcpy(digits, from, n);
		digits[n] = '\0';
		errno = 0;
		unsigned long long v = strtoull(digits, NULL, hex ? 16 : 10);
		fits = errno == 0 && v <= limit + (negative ? 1 : 0);
	}
	if (!fits)
		return fail(s, at, E_RANGE, err,
		    "this integer is too large for a configuration file; write it as text, for "
		    "example \"5000000000\" or \"5G\"");
	return 0;
}

static int
token(struct scan *s, struct err *err)
{
	char c = *s->p;
	if (c == '@')
		return fail(
		    s, s->p, E_UNSUP, err, "@include is not supported; put the file into conf.d");
	if ((c >= '0' && c <= '9') ||
	    ((c == '-' || c == '+') && s->end - s->p > 1 && s->p[1] >= '0' && s->p[1] <= '9'))
		return check_number(s, err);
	if (is_name(c)) {
		while (s->p < s->end && is_name(*s->p))
			s->p++;
		return 0;
	}
	if ((c == '=' || c == ':') && ++s->n_assign > CONF_ASSIGN_MAX)
		return fail(s, s->p, E_LIMIT, err, "more than 20000 settings in one file");
	if ((c == '{' || c == '(' || c == '[') && ++s->depth > CONF_DEPTH_MAX)
		return fail(s, s->p, E_LIMIT, err, "nested too deep");
	if ((c == '}' || c == ')' || c == ']') && s->depth > 0)
		s->depth--;
	s->p++;
	return 0;
}

int
conf_source_check(struct strv text, struct err *err)
{
	struct scan s = {text.p, text.p + text.n, text.p, 1, 0, 0};
	int r = 0;
	if (text.n == 0)
		return 0;
	const char *nul = memchr(text.p, '\0', text.n);
	if (nul != NULL)
		s.end = nul;
	while (r == 0 && s.p < s.end) {
		if (*s.p == '\n') {
			s.p++;
			newline(&s);
		} else if (skip_comment(&s)) {
			continue;
		} else if (*s.p == '"') {
			r = skip_string(&s, err);
		} else {
			r = token(&s, err);
		}
	}
	if (r == 0 && nul != NULL)
		r = fail(&s, nul, E_SYNTAX, err, "NUL byte: not a text file");
	return r;
}
