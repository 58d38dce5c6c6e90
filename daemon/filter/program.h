/* SPDX-License-Identifier: Apache-2.0
 * filter/program.h - a compiled filter: instructions over registers, each one bit a row.
 *
 * A test reads its candidates from one register and writes those that pass to another. `and` hands
 * what is left from test to test, `or` asks the next only about rows that have not passed yet, and
 * both skip ahead when nothing is left. Everything a program points to is in its own arena. */
#ifndef FLOWBUS_FILTER_PROGRAM_H
#define FLOWBUS_FILTER_PROGRAM_H

#include "filter/filter_priv.h"
#include "filter/kernel.h"

enum {
	PROGRAM_REGS = 4 * FILTER_DEPTH_MAX,	  /* and takes one a level, or two */
	PROGRAM_STACK = 2 * FILTER_DEPTH_MAX + 8, /* values of arithmetic at once */
	RANGES_INLINE = 6,			  /* more are searched or looked up */
	NETS_INLINE = 8,
	MEMO_SLOTS = 256,
};

enum test_how {
	HOW_ABSENT,
	HOW_RANGES, /* up to RANGES_INLINE comparisons on the column */
	HOW_TABLE,  /* 8-bit values: a table of bytes */
	HOW_BITMAP, /* 16-bit values: 65536 bits */
	HOW_SEARCH, /* binary search per candidate row */
	HOW_BITS,
	HOW_NETS,      /* up to NETS_INLINE masked comparisons */
	HOW_NETSEARCH, /* binary search per candidate row */
	HOW_TEXT,
	HOW_SAME,
	HOW_SAMETEXT,
	HOW_CMP,
};

struct wide_range { /* of IPv6 addresses, most significant half first */
	uint64_t lo[2], hi[2];
};

struct arith_op {
	uint8_t op; /* enum k_op; loads have a field */
	bool load;
	enum field f;
	double value;
};

struct test {
	uint8_t how, text_op;
	bool negate, any;
	enum field f, g;
	uint16_t mask;
	float cost, pass; /* estimates: ns a row, share of rows that pass */
	uint32_t n;
	struct k_range *ranges;
	uint64_t flip; /* what makes values ordered: the sign bit of signed ones */
	uint8_t *table;
	uint64_t *bitmap;
	struct k_net *nets;
	struct k_range *v4;    /* sorted */
	struct wide_range *v6; /* sorted */
	uint32_t n_v4, n_v6;
	struct strv *texts; /* sorted */
	struct glob *globs;
	uint32_t least, most; /* lengths that can match */
	struct arith_op *ops;
	uint32_t n_ops;
	uint8_t rel;	   /* enum k_rel */
	struct strv words; /* the test as canonical text */
};

enum insn_op { I_TEST, I_MINUS, I_OR, I_COPY, I_EMPTY, I_ALL, I_NONE };

struct insn {
	uint8_t op, dst, a, b; /* registers */
	uint16_t arg;	       /* I_TEST: which test; I_EMPTY: where to go when a is empty */
};

struct filter {
	struct arena arena;
	struct strv canonical;
	struct field_set fields;
	bool all;
	struct insn *insns;
	struct test *tests;
	uint16_t n_insns, n_tests;
};

struct memo {
	uint64_t cell;
	uint32_t generation;
	bool hit;
};

struct filter_work {
	const struct kernels *k;
	uint32_t generation;
	struct memo memo[MEMO_SLOTS];
	uint8_t scratch[TEXT_MAX];
	_Alignas(64) uint64_t regs[PROGRAM_REGS][BATCH_WORDS];
	_Alignas(64) double stack[PROGRAM_STACK][64];
};

/** Make the program of a normal form. 0, -E_NOMEM, -E_LIMIT. */
int compile(struct filter *f, const struct node *root);
/** Run a text test over the cells of one column; in may be out. */
void run_text(const struct test *t, struct filter_work *w, const struct batch *b,
    const struct column *c, const uint64_t *in, uint64_t *out, unsigned nw);
/** Two text fields, row by row. */
void run_same_text(
    const struct test *t, const struct batch *b, const uint64_t *in, uint64_t *out, unsigned nw);

#endif
