/* SPDX-License-Identifier: Apache-2.0
 * filter/filter_priv.h - the tree between text and program, and what the stages share.
 *
 * lex.c cuts text into tokens; parse.c, relation.c and operand.c make typed nodes of them (there is
 * no untyped tree: the field on the left decides how the right is read); canon.c brings the tree
 * into normal form, print.c writes it as the canonical text; compile.c turns it into a program. The
 * tree lives in one arena and is gone after compilation. */
#ifndef FLOWBUS_FILTER_PRIV_H
#define FLOWBUS_FILTER_PRIV_H

#include "filter/filter.h"

enum {
	FILTER_GLOBS_MAX = 64,	 /* patterns with a * or ? in one filter */
	FILTER_ANY_SEG_MAX = 64, /* characters between two * when there is a ? among them */
	FILTER_ANY_SEGS = 64,	 /* how often that may be in one filter */
};

/* ---- memory of one compilation ---- */

struct arena_chunk;
struct arena {
	struct arena_chunk *chunks;
	size_t used, cap; /* of the newest chunk */
};

/** Zeroed and aligned for anything; NULL without memory. Freed all at once. */
void *arena_get(struct arena *a, size_t size);
void arena_fini(struct arena *a);

/* ---- tokens ---- */

enum token_type {
	T_END,
	T_WORD,
	T_LIT,
	T_STRING,
	T_LPAREN,
	T_RPAREN,
	T_COMMA,
	T_BAR,
	T_EQ,
	T_NE,
	T_LT,
	T_LE,
	T_GT,
	T_GE,
	T_ADD,
	T_SUB,
	T_MUL,
	T_DIV,
	T_AND,
	T_OR,
	T_NOT,
	T_IN,
	T_HAS,
	T_IS,
	T_LIKE,
	T_ILIKE,
};

/* A word is letters, digits, _ and dots, starting with a letter; a literal starts with a digit or
 * has a colon: numbers, times, addresses. Its type is only known where it is used. */
struct token {
	uint8_t type;	   /* enum token_type */
	uint32_t off, len; /* in the source; strings with their quotes */
};

struct parser {
	struct strv src;
	struct err *err;
	struct arena *arena;
	struct token *tok; /* the current one; the array ends with T_END */
	unsigned depth, nodes, items, globs, any_segs;
	int rc; /* the first failure; everything returns NULL after it */
};

int lex(struct parser *p);
/** Latch a failure at source offset @off; returns its rc. */
int parse_fail(struct parser *p, size_t off, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static inline struct strv
token_text(const struct parser *p, const struct token *t)
{
	unsigned quote = t->type == T_STRING;
	return (struct strv){p->src.p + t->off + quote, t->len - 2 * quote};
}
/** The token as people see it, quoted and printable, into @out; returns @out. */
char *token_show(const struct parser *p, const struct token *t, char *out, size_t size);
/** Lower-case copy of a word for look-ups, into @out; longer ones give an empty text. */
struct strv word_lower(struct strv w, char *out, size_t size);

/* ---- nodes ---- */

enum node_kind {
	N_TRUE,
	N_FALSE,
	N_AND,
	N_OR,
	N_NOT,
	N_SET,	  /* integer field within ranges */
	N_HAS,	  /* bits: all of a mask, or (any) some of it */
	N_ADDR,	  /* address within networks; negate: present and not within */
	N_TEXT,	  /* text; op says how */
	N_ABSENT, /* negate: present */
	N_SAME,	  /* field = field, not numbers; negate: both present and different */
	N_CMP,	  /* comparison of arithmetic */
	N_NUM,
	N_FIELD,
	N_NEG,
	N_ADD,
	N_SUB,
	N_MUL,
	N_DIV,
};
enum { TEXT_EQ, TEXT_NE, TEXT_LIKE, TEXT_ILIKE };
enum dim { DIM_NUM, DIM_SPAN, DIM_TIME };

/* Ranges are of keys: the value, or for signed types the value with its sign bit flipped, so that
 * the order of keys is the order of values. */
struct range {
	uint64_t lo, hi;
};

struct net {
	struct addr addr;
	uint8_t bits; /* 0..128; an IPv4 network has 96 or more and a mapped address */
};

/* A decimal number: (neg ? - : +) m / 10^k; spans and times in microseconds. */
struct num {
	uint64_t m;
	uint8_t k;
	bool neg;
};

struct node {
	uint8_t kind, op; /* op: enum token_type of N_CMP, TEXT_* of N_TEXT */
	uint8_t dim;	  /* of arithmetic */
	bool negate, any, constant;
	enum field f, g; /* g: the other end of an either-end test, the right field of N_SAME */
	uint16_t mask;	 /* N_HAS */
	struct num num;
	uint32_t n; /* ranges, networks or texts */
	struct range *ranges;
	struct net *nets;
	struct strv *texts; /* TEXT_EQ, TEXT_NE: bytes; else patterns where \ quotes one byte */
	struct node *kid, *next;
	struct strv text; /* canonical, after node_print */
	uint32_t off;	  /* in the source */
};

static inline bool
node_is_value(const struct node *n)
{
	return n->kind >= N_NUM;
}

/** Parse the whole text; NULL with p->rc set when it is wrong. */
struct node *parse_filter(struct parser *p);
/** A fresh node at the current token, or NULL (too many, no memory). */
struct node *node_new(struct parser *p, enum node_kind kind);
/** Complain about a value where a condition has to be. */
void fail_no_test(struct parser *p, const struct node *n);
/** Sum of products; what stands in parentheses may also be a condition. */
struct node *parse_sum(struct parser *p);
struct node *parse_or(struct parser *p);
bool parse_enter(struct parser *p);

/* What a test is about: one field, or two ends of which either may match. */
struct target {
	enum field f, g;  /* g F_NONE: only f */
	const char *name; /* as written in canonical text */
	bool single;	  /* takes single addresses only (host) */
	bool primitive;	  /* written as a primitive word, not as a field */
};

/* relation.c: what follows a field or primitive. @op: token type of the operator. */
struct node *parse_relation(struct parser *p, struct node *left);
struct node *parse_target_test(struct parser *p, const struct target *t);
/** A test of "@f @op number", or NULL with the error set. */
struct node *set_from_num(
    struct parser *p, const struct target *t, enum token_type op, const struct num *v, size_t off);

/* operand.c: typed operands. 0 or p->rc. */
int operand_key(struct parser *p, enum field f, uint64_t *key_out);
int operand_net(struct parser *p, const struct target *t, struct net *out);
int operand_bits(struct parser *p, uint16_t *mask_out);
/** @pattern: keep \ quotes, for a glob; else plain bytes. */
int operand_text(struct parser *p, bool pattern, struct strv *out);
/** Is the token the name of a field (then *f_out)? */
bool token_field(const struct parser *p, const struct token *t, enum field *f_out);
bool token_is_value(const struct token *t);
/** 1970 to 9999: what prints with four digits of a year. */
bool time_in_range(int64_t us);
const char *nearest_word(struct strv w);

/* Primitive words. */
struct primitive {
	const char *word;
	enum field src, dst; /* equal: has no ends */
	bool single;
};
extern const struct primitive primitives[];
enum { N_PRIMITIVES = 9 };
const struct primitive *primitive_find(struct strv lower);
/** Canonical words of an either-end test of @f and its other end. */
const char *either_name(enum field f);

/* number.c */
enum { NUM_EXACT_BITS = 53 };
/** Number, span or time; 0, -E_SYNTAX, -E_RANGE. */
int num_parse(struct strv s, struct num *out, enum dim *dim_out);
double num_double(const struct num *v);
/** True and the value when it is an integer. */
bool num_integer(const struct num *v, __int128 *out);
/** @a op @b when both are integers and the result is an exact integer below 2^53. */
bool num_fold(enum node_kind op, const struct num *a, const struct num *b, struct num *out);
void num_print(struct buf *out, const struct num *v, enum dim dim);

/* set.c */
bool field_is_signed(enum field f);
bool field_is_number(enum field f); /* U8..U64 TIME SPAN: ordered, usable in arithmetic */
enum dim field_dim(enum field f);
uint64_t field_key_max(enum field f);
struct num key_num(enum field f, uint64_t key);
void ranges_normalise(struct range *r, uint32_t *n);
/** out has room for an + bn; returns how many. */
uint32_t ranges_and(
    const struct range *a, uint32_t an, const struct range *b, uint32_t bn, struct range *out);
bool net_is_v4(const struct net *n);
void nets_normalise(struct net *nets, uint32_t *n);
void texts_normalise(struct strv *t, uint32_t *n);

/* glob.c */
/** Bring a pattern into its simplest form, in place (lower case too when @fold). */
void glob_normalise(char *p, size_t *n, bool fold);
bool glob_is_plain(struct strv pattern);    /* no * and no ? */
bool glob_is_caseless(struct strv pattern); /* no letters */
bool glob_is_any(struct strv pattern);	    /* only a * */
/** Strip the quoting of a plain pattern, in place. */
void glob_unquote(char *p, size_t *n);

struct glob_seg {
	const uint8_t *lit;
	uint8_t *any;	 /* 1 where any byte fits; NULL: nowhere */
	uint64_t *table; /* 256 words for a search with any; bit i: the byte fits at i */
	uint32_t n;
};
struct glob {
	struct glob_seg *segs;
	uint32_t n_segs;
	bool head, tail; /* the first is at the start, the last is at the end */
	uint32_t min_len, max_len;
};
/** Memory from @a; false without. */
bool glob_compile(struct arena *a, struct strv pattern, struct glob *out);
/** @lower: the text in lower case (may be the text itself); @fold: compare through lower case. */
bool glob_match(const struct glob *g, const uint8_t *s, size_t n, bool fold, uint8_t *scratch);

/* canon.c, print.c */
/** Normal form of a condition; NULL without memory. */
struct node *canon(struct arena *a, struct node *n);
/** Sets n->text of it and everything below. False without memory. */
bool node_print(struct arena *a, struct node *n);
/** Counts as the parser would for the canonical text. */
void node_measure(
    const struct node *n, unsigned depth, unsigned *nodes, unsigned *items, unsigned *max_depth);

#endif
