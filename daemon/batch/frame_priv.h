/* SPDX-License-Identifier: Apache-2.0
 * batch/frame_priv.h - what the files of the frame codec share.
 *
 * A column is coded as a sequence: n unsigned 64-bit numbers, coded in one of the ways below. Most
 * ways contain sequences themselves (the entries of a dictionary, the residuals of a prediction),
 * so a few small coders combine. README.md in this directory has the format byte by byte.
 *
 *   frame.c         header, checksum, order of the columns, encode and decode of a whole frame
 *   frame_body.c    none, zlib, zstd; where compression blocks end
 *   frame_load.c    numbers out of columns, contexts of rows
 *   frame_seq.c     encoder of sequences: looks at the numbers, chooses, writes
 *   frame_dict.c    distinct values: dictionary of numbers, addresses, texts
 *   frame_column.c  encoder of columns: numbers, addresses, text
 *   frame_unseq.c   decoder of sequences
 *   frame_uncolumn.c decoder of columns */
#ifndef FLOWBUS_BATCH_FRAME_PRIV_H
#define FLOWBUS_BATCH_FRAME_PRIV_H

#include <zlib.h>
#include <zstd.h>

#include "base/cur.h"
#include "base/hash.h"
#include "batch/frame.h"

enum encoding {
	ENC_CONSTANT = 0,
	ENC_PLAIN = 1,
	ENC_PACKED = 2,
	ENC_PLANES = 3,
	ENC_MAGNITUDE = 4,
	ENC_DELTA = 5,
	ENC_REF = 6,
	ENC_DICT = 7,
	ENC_CACHE = 8,
	ENC_TEXT = 16,
	ENC_TEXT_DICT = 17,
	ENC_ADDR = 18,
	ENC_ADDR_DICT = 19,
};

enum {
	FRAME_COLUMN_HEADER = 8,
	FRAME_SPARSE = 1,      /* column flag: a presence bitmap comes first */
	FRAME_REFS = 3,        /* columns a CACHE looks at, at most */
	FRAME_CACHE_WAYS = 4,
	FRAME_CACHE_BITS = 12, /* log2 of a CACHE's slots, at most */
	FRAME_DEPTH = 4,       /* sequences within sequences */
	FRAME_HASH_BITS = 13,
	FRAME_PROBES = 32,     /* then a value gets a second dictionary entry: no quadratic time */
	FRAME_PIECES = 512,
};

/* The multiplier of every hash in the format (2^64 / golden ratio). */
#define FRAME_MUL UINT64_C(0x9e3779b97f4a7c15)

/* A stretch of the body whose bytes are alike; compression blocks end between unlike ones. */
enum piece_kind { PIECE_SYMBOLS, PIECE_CLASSES, PIECE_NOISE };

struct piece {
	uint32_t at;
	uint32_t kind; /* enum piece_kind */
};

/* Distinct values of a column and, for each row, which one it has. */
struct dict {
	uint32_t n;                  /* entries */
	uint16_t slot[1 << FRAME_HASH_BITS]; /* entry + 1, or 0 */
	uint64_t key[BATCH_ROWS];    /* the number; of an address its high, of a text its cell */
	uint64_t low[BATCH_ROWS];    /* low half of an address */
	uint16_t count[BATCH_ROWS];
	uint64_t row[BATCH_ROWS];    /* the entry each row has */
};

struct frame_work {
	struct buf body;             /* columns before compression, or after decompression */
	struct piece piece[FRAME_PIECES];
	uint32_t n_pieces;
	struct hash_key key;
	ZSTD_CCtx *zc;
	ZSTD_DCtx *zd;
	z_stream deflate, inflate;
	bool has_deflate, has_inflate;
	int deflate_level;
	uint32_t cache[1 << FRAME_CACHE_BITS][FRAME_CACHE_WAYS];
	uint32_t context[BATCH_ROWS]; /* slot of each row */
	uint8_t symbol[BATCH_ROWS];
	uint64_t val[BATCH_ROWS];    /* the column at hand */
	uint64_t low[BATCH_ROWS];    /* of addresses */
	uint64_t aux[BATCH_ROWS];    /* of a reference; parts of addresses */
	uint64_t tmp[FRAME_DEPTH + 1][BATCH_ROWS];
	uint64_t sorted[BATCH_ROWS];
	struct dict dict;
	struct text cell[BATCH_ROWS];
	struct addr spare[BATCH_ROWS]; /* a column being decoded, of any type */
	float xlogx[BATCH_ROWS + 1]; /* c * log2(c) */
};

/* What a sequence may refer to: the rows of columns already written or read. */
struct rows {
	const struct batch *b;
	uint32_t n; /* rows; 0: the sequence is not one number per row, no references */
	struct field_set known;
};

/* The earlier columns a CACHE looks at. */
struct refs {
	uint8_t n;
	uint8_t field[FRAME_REFS];
};

/** Eight bytes, least significant first. */
static inline uint64_t
frame_load64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	return v;
}

static inline void
frame_store64(uint8_t *p, uint64_t v)
{
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	memcpy(p, &v, sizeof(v));
}

static inline uint64_t
zigzag(uint64_t d)
{
	return d << 1 ^ (0 - (d >> 63));
}

static inline uint64_t
unzigzag(uint64_t z)
{
	return z >> 1 ^ (0 - (z & 1));
}

/** Class of a number in ENC_MAGNITUDE and how many bits follow it; without a branch. */
static inline uint32_t
magnitude_class(uint64_t v, uint32_t *extra_out)
{
	uint32_t top = 63 - (uint32_t)__builtin_clzll(v | 4);
	*extra_out = top - 2;
	return 4 * top - 4 + (uint32_t)(v >> (top - 2) & 3) - (v < 4 ? 4 : 0);
}

/** Bits that follow a class. */
static inline uint32_t
magnitude_extra(uint32_t class)
{
	return class < 8 ? 0 : ((class - 8) >> 2) + 1;
}

/* frame_body.c */
/** Note that bytes of this kind begin at the end of the body. */
void frame_piece(struct frame_work *w, enum piece_kind kind);
/** Append the compressed body to @out. 0, -E_NOMEM, -E_LIMIT. */
int frame_pack(struct frame_work *w, enum frame_codec codec, int level, struct buf *out);
/** Decompress into w->body, which then has exactly @raw_len bytes. 0, -E_FORMAT, -E_NOMEM. */
int frame_unpack(struct frame_work *w, enum frame_codec codec, const uint8_t *p, size_t n,
    uint32_t raw_len);

/* frame_seq.c, for the encoder; all write to w->body */
/**
 * Choose a coding and write the data of the sequence; returns its enum encoding. @v is destroyed.
 * @depth counts nesting from 0. A CACHE on @refs (may be NULL) is tried when there are any.
 */
uint8_t frame_seq_put(struct frame_work *w, uint64_t *v, uint32_t n, unsigned depth,
    const struct rows *rows, const struct refs *refs);
/** The same with the coding's byte in front: for sequences inside others. */
void frame_seq_nest(struct frame_work *w, uint64_t *v, uint32_t n, unsigned depth,
    const struct rows *rows, const struct refs *refs);
/** Bits that @n numbers would take by the better of magnitude and differences, from a sample. */
float frame_seq_guess(const struct frame_work *w, const uint64_t *v, uint32_t n);
/** Write numbers below @top, the indexes of a dictionary. */
void frame_seq_index(struct frame_work *w, const uint64_t *v, uint32_t n, uint32_t top);
/** Write v - reference as ENC_REF data (the encoding's byte is the caller's). */
void frame_seq_ref(struct frame_work *w, uint64_t *v, uint32_t n, enum field ref,
    const uint64_t *ref_val);

/* frame_load.c, for both */
/** The first @n numbers of a column as 64 bits; TIME and SPAN as two's complement. */
void frame_load(const struct batch *b, enum field f, uint64_t *to, uint32_t n);
/** Numbers that may serve as a reference: an address counts as 4 or 6. */
void frame_load_ref(const struct batch *b, enum field f, uint64_t *to);
/** May @f serve as a reference in these rows? It is there, dense, and not text. */
bool frame_ref_ok(const struct rows *rows, enum field f);
/** The slot of each row in a CACHE of 2^@bits slots on the columns of @refs, into w->context. */
void frame_contexts(struct frame_work *w, const struct rows *rows, const struct refs *refs,
    unsigned bits);

/* frame_dict.c */
/** Collect distinct numbers; false when there are more than @limit or it looks hopeless. */
bool frame_dict_numbers(struct frame_work *w, const uint64_t *v, uint32_t n, uint32_t limit);
bool frame_dict_addrs(struct frame_work *w, const uint64_t *hi, const uint64_t *lo, uint32_t n,
    uint32_t limit);
/** @cell: the struct text of each row, as its 8 bytes. Always succeeds with @limit >= n. */
bool frame_dict_texts(struct frame_work *w, const struct batch *b, const uint64_t *cell, uint32_t n,
    uint32_t limit);
/** Put frequent entries first, sort alike ones by address or value, renumber the rows. */
void frame_dict_rank(struct frame_work *w, uint32_t rows);
/** Bits of the entropy of the rows' entries. */
float frame_dict_bits(const struct frame_work *w, uint32_t n);

/* frame_column.c */
/** Write one column with its header. @rows->known is not changed. */
void frame_column_put(struct frame_work *w, const struct rows *rows, enum field f);

/* frame_unseq.c, for the decoder; errors latch in @c */
/** Read @n numbers of coding @enc. False: unknown coding or reference (the column is skipped). */
bool frame_seq_get(struct frame_work *w, struct cur *c, uint8_t enc, uint64_t *to, uint32_t n,
    unsigned depth, const struct rows *rows);
bool frame_seq_unnest(struct frame_work *w, struct cur *c, uint64_t *to, uint32_t n, unsigned depth,
    const struct rows *rows);

/* frame_uncolumn.c */
/** Read one column's data into @b. 1: done; 0: skipped, unknown coding; or -E_*. */
int frame_column_get(struct frame_work *w, struct cur *c, uint8_t enc, uint8_t flags,
    enum field f, struct batch *b, struct field_set known);

#endif
