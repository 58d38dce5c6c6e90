/* SPDX-License-Identifier: Apache-2.0
 * filter/lex.c - text into tokens, and errors that point at them. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

#include "filter/filter_priv.h"

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool
is_run(char c)
{
	return is_digit(c) || is_alpha(c) || c == '.' || c == ':';
}

/* The source line around @off, printable, for the caret. Lines too long for it are left out. */
static void
err_place(struct err *e, struct strv src, size_t off)
{
	size_t from = off, to = off;
	e->line = 1;
	for (size_t i = 0; i < off; i++)
		e->line += src.p[i] == '\n';
	while (from > 0 && src.p[from - 1] != '\n')
		from--;
	while (to < src.n && src.p[to] != '\n')
		to++;
	e->col = (int)(off - from) + 1;
	size_t n = to - from;
	if (off - from >= sizeof(e->source) - 8)
		return;
	if (n >= sizeof(e->source))
		n = sizeof(e->source) - 1;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)src.p[from + i];
		e->source[i] = c == '\t' ? ' ' : c < 32 || c > 126 ? '?' : (char)c;
	}
	e->source[n] = '\0';
}

int
parse_fail(struct parser *p, size_t off, int code, const char *fmt, ...)
{
	char text[sizeof(p->err->text)];
	if (p->rc != 0)
		return p->rc;
	p->rc = -code;
	if (p->err == NULL)
		return p->rc;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err_set(p->err, code, "%s", text);
	err_place(p->err, p->src, off < p->src.n ? off : p->src.n);
	return p->rc;
}

char *
token_show(const struct parser *p, const struct token *t, char *out, size_t size)
{
	if (t->type == T_END) {
		snprintf(out, size, "the end");
		return out;
	}
	return strv_quote(token_text(p, t), out, size);
}

struct strv
word_lower(struct strv w, char *out, size_t size)
{
	if (w.n >= size)
		return (struct strv){out, 0};
	for (size_t i = 0; i < w.n; i++)
		out[i] = w.p[i] >= 'A' && w.p[i] <= 'Z' ? (char)(w.p[i] + 32) : w.p[i];
	return (struct strv){out, w.n};
}

static const struct {
	const char *word;
	enum token_type type;
} keywords[] = {{"and", T_AND}, {"or", T_OR}, {"not", T_NOT}, {"in", T_IN}, {"has", T_HAS},
    {"is", T_IS}, {"like", T_LIKE}, {"ilike", T_ILIKE}};

static enum token_type
word_type(struct strv w)
{
	for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++)
		if (strv_ieq(w, strv_of(keywords[i].word)))
			return keywords[i].type;
	return T_WORD;
}

/* Length of an RFC 3339 time at @s, or 0: 2026-11-22T10:00:00[.frac](Z|+hh:mm). */
static size_t
time_len(struct strv s)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd";
	size_t i = 0;
	for (; form[i] != '\0'; i++) {
		if (i >= s.n)
			return 0;
		char c = s.p[i], f = form[i];
		if (f == 'd' ? !is_digit(c) : f == 'T' ? c != 'T' && c != 't' : c != f)
			return 0;
	}
	if (i < s.n && s.p[i] == '.')
		for (i++; i < s.n && is_digit(s.p[i]); i++)
			;
	if (i < s.n && (s.p[i] == 'Z' || s.p[i] == 'z'))
		return i + 1;
	if (i + 6 <= s.n && (s.p[i] == '+' || s.p[i] == '-') && s.p[i + 3] == ':' &&
	    is_digit(s.p[i + 1]) && is_digit(s.p[i + 2]) && is_digit(s.p[i + 4]) &&
	    is_digit(s.p[i + 5]))
		return i + 6;
	return i;
}

/* A word or literal at @i; returns where it ends. */
static size_t
lex_run(const struct parser *p, size_t i, enum token_type *type)
{
	struct strv s = p->src;
	size_t from = i, dots = 0, colons = 0;
	size_t t = is_digit(s.p[i]) ? time_len((struct strv){s.p + i, s.n - i}) : 0;
	if (t > 0) {
		*type = T_LIT;
		return i + t;
	}
	for (; i < s.n && is_run(s.p[i]); i++) {
		dots += s.p[i] == '.';
		colons += s.p[i] == ':';
	}
	bool word = is_alpha(s.p[from]) && colons == 0;
	*type = word ? word_type((struct strv){s.p + from, i - from}) : T_LIT;
	if (!word && (dots > 1 || colons > 1) && i + 1 < s.n && s.p[i] == '/' &&
	    is_digit(s.p[i + 1])) /* a network */
		for (i++; i < s.n && is_digit(s.p[i]); i++)
			;
	return i;
}

static size_t
lex_string(struct parser *p, size_t i, struct token *t)
{
	struct strv s = p->src;
	char quote = s.p[i];
	size_t from = i + 1;
	for (i = from; i < s.n && s.p[i] != quote; i++)
		if (s.p[i] == '\\')
			i++;
	if (i >= s.n) {
		parse_fail(
		    p, from - 1, E_SYNTAX, "text is not closed: %c is missing at its end", quote);
		return s.n;
	}
	*t = (struct token){T_STRING, (uint32_t)from - 1, (uint32_t)(i - from) + 2};
	return i + 1;
}

static size_t
lex_operator(struct parser *p, size_t i, struct token *t)
{
	static const struct {
		const char *text;
		enum token_type type;
	} ops[] = {{"&&", T_AND}, {"||", T_OR}, {"!=", T_NE}, {"==", T_EQ}, {"<=", T_LE},
	    {">=", T_GE}, {"<>", T_NE}, {"(", T_LPAREN}, {")", T_RPAREN}, {",", T_COMMA},
	    {"|", T_BAR}, {"=", T_EQ}, {"<", T_LT}, {">", T_GT}, {"+", T_ADD}, {"-", T_SUB},
	    {"*", T_MUL}, {"/", T_DIV}, {"!", T_NOT}};
	struct strv s = p->src;
	for (size_t k = 0; k < sizeof(ops) / sizeof(ops[0]); k++) {
		size_t n = strlen(ops[k].text);
		if (s.n - i >= n && memcmp(s.p + i, ops[k].text, n) == 0) {
			*t = (struct token){(uint8_t)ops[k].type, (uint32_t)i, (uint32_t)n};
			return i + n;
		}
	}
	char show[32];
	const char *hint = s.p[i] == '&'   ? "; 'and' is && or the word"
			   : s.p[i] == '~' ? "; patterns are: FIELD \"*.example.org\""
					   : "; text belongs in double quotes";
	parse_fail(p, i, E_SYNTAX, "unexpected %s%s",
	    strv_quote((struct strv){s.p + i, 1}, show, sizeof(show)), hint);
	return s.n;
}

int
lex(struct parser *p)
{
	struct strv s = p->src;
	size_t n = 0, i = 0;
	struct token *t = arena_get(p->arena, (s.n + 1) * sizeof(*t));
	if (t == NULL)
		return p->rc = -E_NOMEM;
	p->tok = t;
	while (i < s.n && p->rc == 0) {
		char c = s.p[i];
		if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
			i++;
		} else if (c == '#') {
			while (i < s.n && s.p[i] != '\n')
				i++;
		} else if (c == '"' || c == '\'') {
			i = lex_string(p, i, &t[n++]);
		} else if (is_run(c) && c != '.') {
			enum token_type type;
			size_t end = lex_run(p, i, &type);
			t[n++] = (struct token){(uint8_t)type, (uint32_t)i, (uint32_t)(end - i)};
			i = end;
		} else {
			i = lex_operator(p, i, &t[n++]);
		}
	}
	t[n] = (struct token){T_END, (uint32_t)s.n, 0};
	return p->rc;
}
