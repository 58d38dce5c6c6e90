/* SPDX-License-Identifier: Apache-2.0
 * base/err.c - error codes and the structured error. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(printf, 3, 0))) static void
err_vset(struct err *e, int code, const char *fmt, va_list ap)
{
	memset(e, 0, sizeof(*e));
	e->code = code;
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
}

int
err_set(struct err *e, int code, const char *fmt, ...)
{
	if (e != NULL) {
		va_list ap;
		va_start(ap, fmt);
		err_vset(e, code, fmt, ap);
		va_end(ap);
	}
	return -code;
}

int
err_sys(struct err *e, int code, const char *fmt, ...)
{
	int saved = errno;
	if (e != NULL) {
		va_list ap;
		va_start(ap, fmt);
		err_vset(e, code, fmt, ap);
		va_end(ap);
		size_t n = strlen(e->text);
		snprintf(e->text + n, sizeof(e->text) - n, ": %s", strerror(saved));
	}
	errno = saved;
	return -code;
}

void
err_prefix(struct err *e, const char *fmt, ...)
{
	if (e == NULL)
		return;
	char rest[sizeof(e->text)];
	memcpy(rest, e->text, sizeof(rest));
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	size_t n = strlen(e->text);
	snprintf(e->text + n, sizeof(e->text) - n, "%s", rest);
}

const char *
err_text(int code)
{
	switch (code < 0 ? -code : code) {
#define ERR(id, number, control, status, text)                                                     \
	case number:                                                                               \
		return text;
#include "flowbus/errors.def"
	case 0:
		return "done";
	default:
		return "unknown error";
	}
}

int
err_control(int code)
{
	switch (code < 0 ? -code : code) {
#define ERR(id, number, control, status, text)                                                     \
	case number:                                                                               \
		return control;
#include "flowbus/errors.def"
	case 0:
		return 1000;
	default:
		return 8000;
	}
}

int
err_status(int code)
{
	switch (code < 0 ? -code : code) {
#define ERR(id, number, control, status, text)                                                     \
	case number:                                                                               \
		return status;
#include "flowbus/errors.def"
	case 0:
		return 0;
	default:
		return 1;
	}
}

void
err_print(const struct err *e, char *out, size_t size)
{
	int n = 0;
	out[0] = '\0';
	if (e->file[0] != '\0')
		n = snprintf(out, size, "%s:", e->file);
	if (e->line > 0 && n >= 0 && (size_t)n < size)
		n += snprintf(out + n, size - (size_t)n, "%d:", e->line);
	if (e->line > 0 && e->col > 0 && n >= 0 && (size_t)n < size)
		n += snprintf(out + n, size - (size_t)n, "%d:", e->col);
	if (n >= 0 && (size_t)n < size)
		n += snprintf(out + n, size - (size_t)n, "%s%s", n > 0 ? " " : "", e->text);
	if (e->source[0] != '\0' && e->col > 0 && n >= 0 && (size_t)n < size)
		snprintf(out + n, size - (size_t)n, "\n  %s\n  %*s", e->source, e->col, "^");
}

_Noreturn void
assert_fail(const char *expr, const char *file, int line)
{
	fprintf(stderr, "flowbus: %s:%d: broken promise: %s\n", file, line, expr);
	abort();
}
