/* SPDX-License-Identifier: Apache-2.0
 * filter/filter.h - an expression over flow records, compiled to one bit mask per batch (DESIGN 3).
 *
 * Pure: no clock, no I/O, names are never resolved. A compiled filter is read-only and may be used
 * by any number of threads, each with its own struct filter_work. */
#ifndef FLOWBUS_FILTER_FILTER_H
#define FLOWBUS_FILTER_FILTER_H

#include "base/buf.h"
#include "base/err.h"
#include "batch/batch.h"

enum {
	FILTER_TEXT_MAX = 4096,
	FILTER_DEPTH_MAX = 32,
	FILTER_NODES_MAX = 256,
	FILTER_LIST_MAX = 1024,
};

struct filter;
struct filter_work;

/**
 * Compile @text (empty or blank: everything passes). 0 and *out, or -E_SYNTAX, -E_UNKNOWN, -E_TYPE,
 * -E_RANGE, -E_LIMIT with @err: line, column, source line and a suggestion; or -E_NOMEM.
 */
int filter_compile(struct strv text, struct filter **out, struct err *err);
void filter_free(struct filter **f);

/** Canonical text: two spellings of one filter give the same; compiles to itself. Borrowed. */
struct strv filter_canonical(const struct filter *f);
/** Stored fields the filter looks at. */
struct field_set filter_fields(const struct filter *f);
/** True when every record passes. */
bool filter_is_all(const struct filter *f);

/** Working memory; NULL without memory. One per thread, good for any filter. */
struct filter_work *filter_work_new(void);
void filter_work_free(struct filter_work **w);

/**
 * Which rows of a sealed batch pass: bits of @mask (all BATCH_WORDS are written; rows from n
 * on are 0).
 * Returns how many.
 */
uint32_t filter_run(const struct filter *f, struct filter_work *w, const struct batch *b,
    uint64_t mask[BATCH_WORDS]);

/**
 * The plan in words, one step a line: what runs in which order, over which column, at what
 * cost.
 */
void filter_explain(const struct filter *f, struct buf *out);

#endif
