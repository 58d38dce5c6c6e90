/* SPDX-License-Identifier: Apache-2.0
 * link/demand.c - the union of what several outputs want.
 *
 * Canonical texts are joined with `or` and compiled again, which sorts, merges and removes
 * duplicates; what else is cheap is done here on the top level of each text. A text whose top level
 * is `and` is cut into its conjuncts: leaving some of them out widens it, and one that has all
 * conjuncts of another adds nothing to it. */
#include "link/demand.h"

#include <stdlib.h>

enum {
	CONJUNCTS_MAX = 16, /* more stay together as the last */
	ABSORB_MAX = 64,    /* terms compared with each other */
	WIDEN_MAX = 128,
	WIDENED_MAX = 16,   /* conjuncts that may stand for all terms */
};

/** The conjuncts of one canonical text, borrowed from it. */
struct conjuncts {
	struct strv at[CONJUNCTS_MAX];
	unsigned n;
};

/** The filters of all terms on their way into one. */
struct joint {
	char *text[DEMAND_TERMS_MAX];
	unsigned n;
	bool is_all;     /* one of them wants everything */
	bool is_widened;
};

const char *
demand_how_name(enum demand_how how)
{
	static const char *const names[] = {"nothing", "exact", "widened", "own"};
	return names[how];
}

void
demand_fini(struct demand *d)
{
	free(d->filter);
	d->filter = NULL;
}

/* ---- the top level of a canonical text */

/* Behind the quoted text that begins at @i. */
static size_t
skip_quoted(struct strv s, size_t i)
{
	for (i++; i < s.n && s.p[i] != '"'; i++)
		if (s.p[i] == '\\')
			i++;
	return i + 1;
}

static bool
is_here(struct strv s, size_t i, struct strv word)
{
	return s.n - i >= word.n && memcmp(s.p + i, word.p, word.n) == 0;
}

/* Cut @s at its top-level `and`; a text whose top level is `or` is one piece. */
static void
cut(struct strv s, struct conjuncts *out)
{
	static const struct strv both = {" and ", 5}, either = {" or ", 4};
	size_t from = 0, depth = 0;
	out->n = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"') {
			i = skip_quoted(s, i) - 1;
		} else if (s.p[i] == '(' || s.p[i] == ')') {
			depth += s.p[i] == '(' ? 1 : (size_t)-1;
		} else if (depth == 0 && is_here(s, i, either)) {
			from = 0;
			out->n = 0;
			break;
		} else if (depth == 0 && is_here(s, i, both) && out->n + 1 < CONJUNCTS_MAX) {
			out->at[out->n++] = (struct strv){s.p + from, i - from};
			i += both.n - 1;
			from = i + 1;
		}
	}
	out->at[out->n++] = (struct strv){s.p + from, s.n - from};
}

static bool
has_conjunct(const struct conjuncts *c, struct strv one)
{
	for (unsigned i = 0; i < c->n; i++)
		if (strv_eq(c->at[i], one))
			return true;
	return false;
}

/* Does all that passes @b pass @a? False when that is not obvious. */
static bool
covers(const struct conjuncts *a, const struct conjuncts *b)
{
	for (unsigned i = 0; i < a->n; i++)
		if (!has_conjunct(b, a->at[i]))
			return false;
	return true;
}

/* ---- the list of texts */

static void
joint_clear(struct joint *j)
{
	while (j->n > 0)
		free(j->text[--j->n]);
}

static void
joint_drop(struct joint *j, unsigned i)
{
	free(j->text[i]);
	j->text[i] = j->text[--j->n];
}

/* The text without its conjuncts that read `probe`; all is wanted when nothing is left. */
static int
without_probe(struct joint *j, struct strv text)
{
	struct conjuncts c;
	struct buf out = buf_init(0);
	int rc = 0;
	cut(text, &c);
	for (unsigned i = 0; i < c.n && rc == 0; i++) {
		struct filter *f = NULL;
		rc = filter_compile(c.at[i], &f, NULL);
		struct field_set read = f != NULL ? filter_fields(f) : (struct field_set){{0, 0}};
		filter_free(&f);
		if (rc != 0 || field_set_has(&read, F_probe))
			continue;
		buf_str(&out, out.n > 0 ? " and " : "");
		buf_strv(&out, c.at[i]);
	}
	j->is_widened = true;
	j->is_all = j->is_all || out.n == 0;
	if (rc == 0 && !j->is_all)
		j->text[j->n++] = strv_dup(buf_view(&out));
	rc = rc == 0 ? -out.err : rc;
	buf_fini(&out);
	return rc != 0 || (j->n > 0 && j->text[j->n - 1] == NULL) ? -E_NOMEM : 0;
}

static int
collect(struct joint *j, const struct demand_term *t, unsigned n)
{
	for (unsigned i = 0; i < n && !j->is_all; i++) {
		if (strv_eq(t[i].filter, STRV("false"))) {
			continue;
		} else if (t[i].filter.n == 0) {
			j->is_all = true;
		} else if (field_set_has(&t[i].read, F_probe)) {
			if (without_probe(j, t[i].filter) != 0)
				return -E_NOMEM;
		} else {
			j->text[j->n] = strv_dup(t[i].filter);
			if (j->text[j->n++] == NULL)
				return -E_NOMEM;
		}
	}
	return 0;
}

/* Take out what another one covers. */
static void
absorb(struct joint *j)
{
	struct conjuncts *c = j->n <= ABSORB_MAX ? malloc(j->n * sizeof(*c) + 1) : NULL;
	for (unsigned i = 0; c != NULL && i < j->n; i++)
		cut(strv_of(j->text[i]), &c[i]);
	for (unsigned i = 0; c != NULL && i < j->n; i++)
		for (unsigned k = 0; k < j->n; k++) {
			if (k == i || !covers(&c[i], &c[k]))
				continue;
			joint_drop(j, k);
			c[k] = c[j->n];
			if (i == j->n) /* the last one took the free place */
				i = k;
			k--;
		}
	free(c);
}

/* The conjunct that most of the texts from @from on have; the longer of two as good. */
static struct strv
commonest(const struct conjuncts *c, unsigned from, unsigned n)
{
	struct strv best = {NULL, 0};
	unsigned most = 0;
	for (unsigned i = from; i < n; i++)
		for (unsigned k = 0; k < c[i].n; k++) {
			unsigned count = 0;
			for (unsigned o = from; o < n; o++)
				count += has_conjunct(&c[o], c[i].at[k]);
			if (count > most || (count == most && c[i].at[k].n > best.n)) {
				most = count;
				best = c[i].at[k];
			}
		}
	return best;
}

/* Fewer and shorter texts that cover the same: one conjunct stands for all that have it. */
static int
widen(struct joint *j)
{
	struct conjuncts *c = j->n <= WIDEN_MAX ? malloc(j->n * sizeof(*c) + 1) : NULL;
	char *kept[WIDENED_MAX] = {NULL};
	unsigned n_kept = 0, from = 0;
	int rc = c != NULL ? 0 : -E_LIMIT;
	for (unsigned i = 0; rc == 0 && i < j->n; i++)
		cut(strv_of(j->text[i]), &c[i]);
	while (rc == 0 && from < j->n) {
		if (n_kept == WIDENED_MAX) {
			rc = -E_LIMIT;
			break;
		}
		struct strv one = commonest(c, from, j->n);
		for (unsigned i = from; i < j->n; i++)
			if (has_conjunct(&c[i], one))
				c[i] = c[from++];
		kept[n_kept] = strv_dup(one);
		rc = kept[n_kept] != NULL ? 0 : -E_NOMEM;
		n_kept += rc == 0;
	}
	free(c);
	joint_clear(j);
	memcpy(j->text, kept, n_kept * sizeof(kept[0]));
	j->n = n_kept;
	return rc;
}

/* ---- joining */

/* *sum becomes the canonical form of @text. */
static int
compile_into(char **sum, struct strv text)
{
	struct filter *f = NULL;
	int rc = filter_compile(text, &f, NULL);
	if (rc != 0)
		return rc;
	char *fresh = strv_dup(filter_canonical(f));
	filter_free(&f);
	if (fresh == NULL)
		return -E_NOMEM;
	free(*sum);
	*sum = fresh;
	return 0;
}

/* *sum, a filter, becomes *sum or any of text[from..to): at once, or when that is too long half
 * by half, since what is merged is often shorter. */
static int
fold(char **sum, char *const *text, unsigned from, unsigned to)
{
	struct buf b = buf_init(FILTER_TEXT_MAX);
	buf_printf(&b, "(%s)", *sum);
	for (unsigned i = from; i < to; i++)
		buf_printf(&b, " or (%s)", text[i]);
	int rc = b.err != 0 ? -E_LIMIT : compile_into(sum, buf_view(&b));
	buf_fini(&b);
	if (rc == 0 || rc == -E_NOMEM || to - from <= 1)
		return rc;
	unsigned half = from + (to - from) / 2;
	rc = fold(sum, text, from, half);
	return rc == 0 ? fold(sum, text, half, to) : rc;
}

/* (@own) and (the union). */
static int
join(const struct joint *j, struct strv own, char **out)
{
	char *sum = strv_dup(STRV("false"));
	struct buf b = buf_init(FILTER_TEXT_MAX);
	int rc = sum != NULL ? fold(&sum, j->text, 0, j->n) : -E_NOMEM;
	if (rc == 0 && own.n > 0) {
		buf_printf(&b, "(%.*s) and (%s)", (int)own.n, own.p, sum[0] != '\0' ? sum : "true");
		rc = b.err != 0 ? -E_LIMIT : compile_into(&sum, buf_view(&b));
	}
	buf_fini(&b);
	if (rc == 0)
		*out = sum;
	else
		free(sum);
	return rc;
}

static struct field_set
fields_of(const struct demand_term *t, unsigned n, struct field_set own)
{
	struct field_set all = {{0, 0}};
	for (unsigned i = 0; i < n; i++)
		all = field_set_union(all, field_set_union(t[i].fields, t[i].read));
	all.w[0] &= own.w[0];
	all.w[1] &= own.w[1];
	field_set_add(&all, F_probe);
	field_set_add(&all, F_exporter);
	return all;
}

/* The closest filter that fits. */
static int
express(struct joint *j, struct strv own, enum demand_how least, struct demand *out)
{
	int rc = -E_LIMIT;
	out->how = j->is_widened ? DEMAND_WIDENED : DEMAND_EXACT;
	if (j->is_all || least == DEMAND_OWN) {
		out->how = least == DEMAND_OWN ? DEMAND_OWN : out->how;
		return compile_into(&out->filter, own);
	}
	absorb(j);
	if (least < DEMAND_WIDENED)
		rc = join(j, own, &out->filter);
	if (rc != 0 && rc != -E_NOMEM) {
		out->how = DEMAND_WIDENED;
		rc = widen(j);
		if (rc == 0)
			rc = join(j, own, &out->filter);
	}
	if (rc != 0 && rc != -E_NOMEM) {
		out->how = DEMAND_OWN;
		rc = compile_into(&out->filter, own);
	}
	return rc;
}

int
demand_union(const struct demand_term *t, unsigned n, struct strv own,
    struct field_set own_fields, enum demand_how least, struct demand *out)
{
	struct joint *j = calloc(1, sizeof(*j));
	struct demand d = {DEMAND_NOTHING, NULL, {{0, 0}}};
	int rc = j != NULL ? 0 : -E_NOMEM;
	bool too_many = n > DEMAND_TERMS_MAX;
	if (rc == 0 && !too_many)
		rc = collect(j, t, n);
	d.fields = fields_of(t, n, own_fields);
	if (rc == 0 && (j->n > 0 || j->is_all || too_many))
		rc = express(j, own, too_many ? DEMAND_OWN : least, &d);
	else if (rc == 0)
		rc = compile_into(&d.filter, STRV("false"));
	if (j != NULL)
		joint_clear(j);
	free(j);
	if (rc != 0) {
		free(d.filter);
		return -E_NOMEM;
	}
	demand_fini(out);
	*out = d;
	return 0;
}
