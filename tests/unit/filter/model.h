/* SPDX-License-Identifier: Apache-2.0
 * unit/filter/model.h - a naive model: a random condition as text and as a tree, and its value for
 * one row, taken from batch_value() and nothing else. */
#ifndef FLOWBUS_TESTS_FILTER_MODEL_H
#define FLOWBUS_TESTS_FILTER_MODEL_H

#include "filter/filter.h"

enum model_kind { M_AND, M_OR, M_NOT, M_NUM, M_ADDR, M_TEXT, M_HAS, M_ABSENT, M_SAME, M_ARITH };
enum model_op { O_EQ, O_NE, O_LT, O_LE, O_GT, O_GE, O_IN, O_LIKE, O_ILIKE };
enum { MODEL_ITEMS = 14, MODEL_TEXT = 12 };

struct model_net {
	struct addr addr;
	unsigned bits; /* of 128 */
	bool v4;
};

/* One arithmetic term: field, or number when f is F_NONE. */
struct model_term {
	enum field f;
	double number;
	char op; /* before it: + - * / or 0 for the first */
};

struct model {
	enum model_kind kind;
	enum model_op op;
	enum field f, g; /* g: the other end; or the right side of M_SAME */
	bool negate, any;
	unsigned n;
	__int128 lo[MODEL_ITEMS], hi[MODEL_ITEMS];
	struct model_net nets[MODEL_ITEMS];
	char texts[MODEL_ITEMS][MODEL_TEXT];
	struct model_term terms[4];
	double number;
	uint16_t mask;
	struct model *kid[2];
};

uint32_t model_rnd(uint64_t *seed, uint32_t n);
/** A random condition of at most @depth levels; its text is appended to @out. */
struct model *model_make(uint64_t *seed, unsigned depth, struct buf *out);
void model_free(struct model *m);
bool model_eval(const struct model *m, const struct batch *b, uint32_t row);
/** Fill an empty batch with @n rows; which columns there are is random as well. */
void model_batch(uint64_t *seed, struct batch *b, uint32_t n);

#endif
