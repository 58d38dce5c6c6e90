/* SPDX-License-Identifier: Apache-2.0
 * filter/glob.c - patterns with * (any bytes, also none) and ? (one byte), matched in linear time.
 *
 * A pattern is cut at its stars into segments. The first and last are compared in place when no
 * star stands outside them; those between are searched for from left to right, each after the one
 * before, which is all that backtracking could find. A segment without ? is searched by memmem
 * (two-way, linear), one with ? by shift-and, 64 characters in one word. Case is folded on the
 * text once. */
#include "filter/filter_priv.h"

static bool
is_wild(const char *p, size_t i, size_t n)
{
	return i < n && (p[i] == '*' || p[i] == '?');
}

void
glob_normalise(char *p, size_t *n, bool fold)
{
	size_t to = 0;
	for (size_t i = 0; i < *n;) {
		bool star = false;
		/* among neighbours the ? come first and one star is enough */
		for (; is_wild(p, i, *n); i++) {
			if (p[i] == '?')
				p[to++] = '?';
			else
				star = true;
		}
		if (star)
			p[to++] = '*';
		for (; i < *n && !is_wild(p, i, *n); i++) {
			if (p[i] == '\\' && i + 1 < *n)
				p[to++] = p[i++];
			p[to++] = fold && p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] + 32) : p[i];
		}
	}
	*n = to;
}

bool
glob_is_plain(struct strv s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\')
			i++;
		else if (is_wild(s.p, i, s.n))
			return false;
	}
	return true;
}

bool
glob_is_caseless(struct strv s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((s.p[i] | 0x20) >= 'a' && (s.p[i] | 0x20) <= 'z')
			return false;
	return true;
}

bool
glob_is_any(struct strv s)
{
	return s.n == 1 && s.p[0] == '*';
}

void
glob_unquote(char *p, size_t *n)
{
	size_t to = 0;
	for (size_t i = 0; i < *n; i++) {
		if (p[i] == '\\' && i + 1 < *n)
			i++;
		p[to++] = p[i];
	}
	*n = to;
}

/* The table of shift-and: bit i of word c says that byte c fits at place i. */
static bool
seg_table(struct arena *a, struct glob_seg *s)
{
	s->table = arena_get(a, 256 * sizeof(*s->table));
	if (s->table == NULL)
		return false;
	for (uint32_t i = 0; i < s->n; i++)
		for (unsigned c = 0; c < 256; c++)
			if (s->any[i] != 0 || s->lit[i] == c)
				s->table[c] |= UINT64_C(1) << i;
	return true;
}

static bool
seg_compile(struct arena *a, struct strv pattern, size_t *at, struct glob_seg *s)
{
	uint8_t *lit = arena_get(a, pattern.n + 1), *any = arena_get(a, pattern.n + 1);
	bool wild = false;
	if (lit == NULL || any == NULL)
		return false;
	for (; *at < pattern.n && pattern.p[*at] != '*'; (*at)++, s->n++) {
		char c = pattern.p[*at];
		any[s->n] = c == '?';
		wild = wild || c == '?';
		if (c == '\\' && *at + 1 < pattern.n)
			c = pattern.p[++*at];
		lit[s->n] = (uint8_t)c;
	}
	s->lit = lit;
	s->any = wild ? any : NULL;
	return true;
}

bool
glob_compile(struct arena *a, struct strv pattern, struct glob *g)
{
	uint32_t most = 1;
	bool star = false;
	for (size_t i = 0; i < pattern.n; i++)
		most += pattern.p[i] == '*';
	*g = (struct glob){.head = pattern.n == 0 || pattern.p[0] != '*', .tail = true};
	g->segs = arena_get(a, most * sizeof(*g->segs));
	if (g->segs == NULL)
		return false;
	for (size_t i = 0; i < pattern.n;) {
		if (pattern.p[i] == '*') {
			star = true;
			g->tail = ++i < pattern.n;
			continue;
		}
		struct glob_seg *s = &g->segs[g->n_segs++];
		if (!seg_compile(a, pattern, &i, s))
			return false;
		g->min_len += s->n;
	}
	g->max_len = star ? TEXT_MAX : g->min_len;
	for (uint32_t i = 0; i < g->n_segs; i++) {
		bool inside = !(i == 0 && g->head) && !(i == g->n_segs - 1 && g->tail);
		if (inside && g->segs[i].any != NULL &&
		    (g->segs[i].n > FILTER_ANY_SEG_MAX || !seg_table(a, &g->segs[i])))
			return false;
	}
	return true;
}

static inline uint8_t
lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/* Compare in place, last byte first: names differ most at the end of what is asked for. */
static bool
seg_at(const struct glob_seg *s, const uint8_t *p, bool fold)
{
	for (uint32_t i = s->n; i-- > 0;) {
		uint8_t c = fold ? lower(p[i]) : p[i];
		if (c != s->lit[i] && (s->any == NULL || s->any[i] == 0))
			return false;
	}
	return true;
}

/* Where the segment ends when it is found first in [p, end), else NULL. */
static const uint8_t *
seg_find(const struct glob_seg *s, const uint8_t *p, const uint8_t *end)
{
	if (s->any == NULL) {
		const uint8_t *at = memmem(p, (size_t)(end - p), s->lit, s->n);
		return at != NULL ? at + s->n : NULL;
	}
	uint64_t state = 0, last = UINT64_C(1) << (s->n - 1);
	for (; p < end; p++) {
		state = (state << 1 | 1) & s->table[*p];
		if ((state & last) != 0)
			return p + 1;
	}
	return NULL;
}

bool
glob_match(const struct glob *g, const uint8_t *s, size_t n, bool fold, uint8_t *scratch)
{
	uint32_t from = 0, to = g->n_segs;
	const uint8_t *p = s, *end = s + n;
	if (n < g->min_len || n > g->max_len)
		return false;
	if (to == 0)
		return true;
	if (g->head) {
		if (!seg_at(&g->segs[0], p, fold))
			return false;
		p += g->segs[0].n;
		from = 1;
	}
	if (g->tail && to > from) {
		end -= g->segs[to - 1].n;
		if (!seg_at(&g->segs[to - 1], end, fold))
			return false;
		to--;
	}
	if (from == to)
		return true;
	if (fold) {
		size_t left = (size_t)(end - p);
		for (size_t i = 0; i < left; i++)
			scratch[i] = lower(p[i]);
		p = scratch;
		end = scratch + left;
	}
	for (; from < to; from++) {
		p = seg_find(&g->segs[from], p, end);
		if (p == NULL)
			return false;
	}
	return true;
}
