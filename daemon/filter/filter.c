/* SPDX-License-Identifier: Apache-2.0
 * filter/filter.c - the public face: compile, ask, work memory, arena. */
#include "filter/filter.h"

#include <stdlib.h>

#include "filter/program.h"

struct arena_chunk {
	struct arena_chunk *next;
	_Alignas(16) unsigned char data[];
};

void *
arena_get(struct arena *a, size_t size)
{
	size = (size + 15) & ~(size_t)15;
	if (a->chunks == NULL || size > a->cap - a->used) {
		size_t cap = size > 8192 ? size : 8192;
		struct arena_chunk *c = calloc(1, sizeof(*c) + cap);
		if (c == NULL)
			return NULL;
		c->next = a->chunks;
		a->chunks = c;
		a->cap = cap;
		a->used = 0;
	}
	void *p = a->chunks->data + a->used;
	a->used += size;
	return p;
}

void
arena_fini(struct arena *a)
{
	while (a->chunks != NULL) {
		struct arena_chunk *c = a->chunks;
		a->chunks = c->next;
		free(c);
	}
	a->used = a->cap = 0;
}

/* Segments between two stars that have a ? are searched through a table of 2 KiB each. */
static int
check_pattern(struct parser *p, const struct node *n, struct strv s)
{
	size_t width = 0, any = 0;
	bool star = false;
	for (size_t k = 0; k < s.n; k++, width++) {
		if (s.p[k] == '\\') {
			k++;
		} else if (s.p[k] == '?') {
			any++;
		} else if (s.p[k] == '*') {
			if (star && any > 0 && width > FILTER_ANY_SEG_MAX)
				return parse_fail(p, n->off, E_LIMIT,
				    "more than %d characters between "
				    "two * with a ? among them",
				    FILTER_ANY_SEG_MAX);
			if (star && any > 0 && ++p->any_segs > FILTER_ANY_SEGS)
				return parse_fail(p, n->off, E_LIMIT,
				    "a ? between two * more than %d "
				    "times",
				    FILTER_ANY_SEGS);
			star = true;
			any = 0;
			width = (size_t)-1; /* the star itself is not counted */
		}
	}
	return 0;
}

/* Patterns cost per byte of text; how many there may be and how wide bounds that. */
static int
check_patterns(struct parser *p, const struct node *n)
{
	for (const struct node *k = n->kid; k != NULL; k = k->next)
		if (check_patterns(p, k) != 0)
			return p->rc;
	for (uint32_t i = 0; n->kind == N_TEXT && n->op >= TEXT_LIKE && i < n->n; i++) {
		if (++p->globs > FILTER_GLOBS_MAX)
			return parse_fail(p, n->off, E_LIMIT,
			    "more than %d patterns; exact texts in "
			    "'in (...)' are not limited so",
			    FILTER_GLOBS_MAX);
		if (check_pattern(p, n, n->texts[i]) != 0)
			return p->rc;
	}
	return 0;
}

static int
build(struct parser *p, struct filter *f)
{
	unsigned nodes = 0, items = 0, depth = 0;
	if (lex(p) != 0)
		return p->rc;
	struct node *n = parse_filter(p);
	if (n == NULL)
		return p->rc != 0 ? p->rc : -E_NOMEM;
	n = canon(p->arena, n);
	if (n == NULL)
		return -E_NOMEM;
	node_measure(n, 0, &nodes, &items, &depth);
	if (nodes > FILTER_NODES_MAX || items > FILTER_LIST_MAX || depth > FILTER_DEPTH_MAX)
		return parse_fail(p, 0, E_LIMIT,
		    "too large: %u of %d tests and operators, %u of %d list items, %u of %d levels",
		    nodes, FILTER_NODES_MAX, items, FILTER_LIST_MAX, depth, FILTER_DEPTH_MAX);
	if (n->text.n > FILTER_TEXT_MAX)
		return parse_fail(p, 0, E_LIMIT,
		    "too long: %zu bytes in canonical form, %d are allowed", n->text.n,
		    FILTER_TEXT_MAX);
	if (check_patterns(p, n) != 0)
		return p->rc;
	char *text = arena_get(&f->arena, n->text.n + 1);
	if (text == NULL)
		return -E_NOMEM;
	memcpy(text, n->text.p, n->text.n);
	f->canonical = (struct strv){text, n->kind == N_TRUE ? 0 : n->text.n};
	int rc = compile(f, n);
	return rc == -E_LIMIT ? parse_fail(p, 0, E_LIMIT, "nested too deeply to run") : rc;
}

int
filter_compile(struct strv text, struct filter **out, struct err *err)
{
	struct arena arena = {0};
	struct parser p = {.src = text, .err = err, .arena = &arena};
	*out = NULL;
	if (text.n > FILTER_TEXT_MAX)
		return err_set(err, E_LIMIT, "the filter has %zu bytes, %d are allowed", text.n,
		    FILTER_TEXT_MAX);
	struct filter *f = calloc(1, sizeof(*f));
	int rc = f != NULL ? build(&p, f) : -E_NOMEM;
	arena_fini(&arena);
	if (rc == -E_NOMEM)
		err_set(err, E_NOMEM, "no memory for the filter");
	if (rc != 0)
		filter_free(&f);
	*out = f;
	return rc;
}

void
filter_free(struct filter **f)
{
	if (*f == NULL)
		return;
	arena_fini(&(*f)->arena);
	free(*f);
	*f = NULL;
}

struct strv
filter_canonical(const struct filter *f)
{
	return f->canonical;
}

struct field_set
filter_fields(const struct filter *f)
{
	return f->fields;
}

bool
filter_is_all(const struct filter *f)
{
	return f->all;
}

struct filter_work *
filter_work_new(void)
{
	size_t size = (sizeof(struct filter_work) + 63) / 64 * 64;
	struct filter_work *w = aligned_alloc(64, size);
	if (w == NULL)
		return NULL;
	memset(w, 0, size);
	w->k = &kernels_base;
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2") && kernels_avx2() != NULL)
		w->k = kernels_avx2();
#endif
	return w;
}

void
filter_work_free(struct filter_work **w)
{
	free(*w);
	*w = NULL;
}
