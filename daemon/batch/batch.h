/* SPDX-License-Identifier: Apache-2.0
 * batch/batch.h - up to 4096 flow records as columns: the unit of work everywhere.
 *
 * A batch is filled by one thread, sealed, then read-only and shared by one reference count. The
 * last release, in any thread, puts it on its maker's free list; nothing is freed on the packet
 * path. A column is an array indexed by row. It is `dense` when every row has a value; otherwise
 * bit r of `present` says whether row r has one, and the data of absent rows is unspecified (but
 * initialised). Text cells point into the batch's arena, where equal strings may share bytes. */
#ifndef FLOWBUS_BATCH_BATCH_H
#define FLOWBUS_BATCH_BATCH_H

#include <stdatomic.h>

#include "base/queue.h"
#include "schema/field.h"
#include "schema/value.h"

enum {
	BATCH_ROWS = 4096,
	BATCH_WORDS = BATCH_ROWS / 64,
	BATCH_TEXT_SEAL = 256 << 10, /* seal when this much text is in it */
	BATCH_TEXT_FIRST = BATCH_TEXT_SEAL + 64 * TEXT_MAX, /* what an arena begins with */
	BATCH_TEXT_MAX = 8 << 20,    /* the arena never grows beyond (text of a decoded frame) */
};

struct column {
	void *data; /* BATCH_ROWS values of field_width(), 64-byte aligned; NULL until first used */
	uint64_t present[BATCH_WORDS];
	bool used;  /* this batch has the column */
	bool dense; /* every row 0..n-1 has a value; `present` is not maintained */
};

struct batch_pool;
struct batch;

/** A file that an output appends to. */
struct batch_file {
	const char *name, *path; /* of the endpoint; of the file */
	uint64_t device, inode, size;
};

/**
 * A batch without rows that goes the way of all batches, so that an output knows what came before
 * it. `done` is called in the thread of the last release.
 */
struct batch_mark {
	void (*done)(struct batch_mark *m);
	/** An output tells what its file holds now: everything before the mark. Any thread. */
	void (*file)(struct batch_mark *m, const struct batch_file *f);
	_Atomic bool failed; /* an output did not get it, or could not do what it asks */
};

struct batch {
	struct freelink link; /* first: on the maker's free list */
	uint32_t n;           /* rows filled */
	uint32_t source;      /* which input made it (engine's endpoint number); 0 = none */
	int64_t min_start, max_end; /* least `start`, greatest `end`; set by batch_seal */
	uint64_t sealed_us;   /* monotonic; set by batch_seal from its parameter */
	bool may_wait;        /* holding it up harms nobody; set by who hands it to outputs */
	struct batch_pool *pool;
	struct batch_mark *mark; /* NULL for flows */
	_Atomic uint32_t refs;
	struct field_set used; /* the columns with used = true */
	char *text;
	uint32_t text_len, text_cap;
	struct column col[F_COUNT];
};

/**
 * A pool that makes at most @max_batches; NULL without memory. Batches are allocated on first
 * need.
 */
struct batch_pool *batch_pool_new(uint32_t max_batches);
/** The owner is done with it: freed now, or when the last batch comes home (any thread). */
void batch_pool_free(struct batch_pool **p);
/** A mark on its way, with one reference; NULL without memory. @m lives until its `done`. */
struct batch *batch_mark_new(struct batch_mark *m);
/** An empty batch with one reference, or NULL when all are out. Owner's thread only. */
struct batch *batch_pool_get(struct batch_pool *p);
/** Batches made and not at home. */
uint32_t batch_pool_out(const struct batch_pool *p);
/** Is half of what the pool may make under way? Any thread that holds one of its batches. */
bool batch_pool_is_low(const struct batch_pool *p);

void batch_ref(struct batch *b);
/** NULLs *b; the last one sends the batch home. Any thread. */
void batch_unref(struct batch **b);

/**
 * The data array of a column, created absent in all rows when this batch does not have it yet.
 * @dense: the caller promises to fill every row. Returns NULL without memory. Filling thread only.
 */
void *batch_column(struct batch *b, enum field f, bool dense);

/** The column if the batch has it, else NULL. */
static inline const struct column *
batch_get(const struct batch *b, enum field f)
{
	return b->col[f].used ? &b->col[f] : NULL;
}

static inline bool
column_has(const struct column *c, uint32_t row)
{
	return c->dense || (c->present[row >> 6] >> (row & 63) & 1) != 0;
}

static inline void
column_mark(struct column *c, uint32_t row)
{
	c->present[row >> 6] |= UINT64_C(1) << (row & 63);
}

/** Most octets one batch can take: every column, and @text_max octets of text. */
uint64_t batch_memory(uint32_t text_max);

/** Set one value of a row in a column (created when missing). False without memory. */
/* U8..U64 MAC BITS ENUM */
bool batch_set_u(struct batch *b, enum field f, uint32_t row, uint64_t v);
bool batch_set_time(struct batch *b, enum field f, uint32_t row, int64_t us);
bool batch_set_addr(struct batch *b, enum field f, uint32_t row, const struct addr *a);
/**
 * Copies the bytes into the arena, cut at TEXT_MAX; when the arena is full the value stays
 * absent.
 */
bool batch_set_text(struct batch *b, enum field f, uint32_t row, struct strv s);
/** Put bytes into the arena once and get a cell to store in many rows. cell.len 0 when full. */
struct text batch_text_add(struct batch *b, struct strv s);
bool batch_set_text_cell(struct batch *b, enum field f, uint32_t row, struct text t);

static inline struct strv
batch_text(const struct batch *b, struct text t)
{
	return (struct strv){b->text + t.off, t.len};
}

/** The value of a row (derived fields are computed); false when absent. Text is borrowed. */
bool batch_value(const struct batch *b, enum field f, uint32_t row, struct value *out);

/**
 * Finish filling: columns without any value are dropped, those present in every row become dense,
 * min_start and max_end are set. The batch is read-only from now on.
 */
void batch_seal(struct batch *b, uint64_t now_mono_us);

static inline bool
batch_full(const struct batch *b)
{
	return b->n >= BATCH_ROWS || b->text_len >= BATCH_TEXT_SEAL;
}

/**
 * Append rows of @src whose bit is set in @mask, from row *from on, into @dst, columns in @want
 * only, until @dst is full. *from is moved to the first row not looked at (src->n: done).
 * Returns the number of rows appended or -E_NOMEM. @dst must not be sealed.
 */
int batch_gather(struct batch *dst, const struct batch *src, const uint64_t mask[BATCH_WORDS],
    struct field_set want, uint32_t *from);

/** Octets batch_pack may write for this batch. */
size_t batch_pack_bound(const struct batch *b);
/** Copy a sealed batch into @out, for keeping in this process. Returns the octets written. */
size_t batch_pack(const struct batch *b, void *out);
/** The batch again, into an empty one, sealed. Trusts its input. 0 or -E_NOMEM. */
int batch_unpack(const void *in, struct batch *b, uint64_t now_mono_us);

/** One row as a JSON object on one line, no newline; absent values are left out. */
void batch_row_json(struct buf *out, const struct batch *b, uint32_t row, struct field_set want,
    enum value_style style);

#endif
