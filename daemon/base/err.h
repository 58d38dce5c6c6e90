/* SPDX-License-Identifier: Apache-2.0
 * base/err.h - error codes and the structured error a person gets to read.
 *
 * Functions return 0 or -E_*. What a person caused (configuration, filter, command) also fills a
 * struct err, which says where: the edges (main, control, engine) print it, nobody else does. */
#ifndef FLOWBUS_BASE_ERR_H
#define FLOWBUS_BASE_ERR_H

#include <stddef.h>

enum {
#define ERR(id, number, code, status, text) E_##id = number,
#include "flowbus/errors.def"
};

struct err {
	int code;         /* E_*, positive; 0 = nothing set */
	int line, col;    /* 1-based; 0 = not known */
	char file[160];   /* file or object name; empty = none */
	char text[480];   /* what, why, what to try; one line */
	char source[160]; /* the offending source line for the caret; empty = none */
};

/**
 * Fill an error and return -code, so that `return err_set(e, E_SYNTAX, ...)` reads well.
 * @e may be NULL. An error already set is replaced. Thread: any.
 */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** Like err_set, and appends ": strerror(errno)". */
int err_sys(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** Put words in front of the text of an error already set ("subject: " + text). */
void err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/**
 * Text, control code and exit status of a code (either sign); unknown codes give "unknown
 * error", 8000, 1.
 */
const char *err_text(int code);
int err_control(int code);
int err_status(int code);

/**
 * Print `file:line:col: text`, the source line and a caret if known, into out (always
 * terminated).
 */
void err_print(const struct err *e, char *out, size_t size);

/** Stop the process: a broken promise inside the program, never bad input. */
_Noreturn void assert_fail(const char *expr, const char *file, int line);
#define assert_always(x) ((x) ? (void)0 : assert_fail(#x, __FILE__, __LINE__))
#ifdef FLOWBUS_DEBUG
#define assert_hot(x) assert_always(x)
#else
#define assert_hot(x) ((void)sizeof(!(x)))
#endif

#endif
