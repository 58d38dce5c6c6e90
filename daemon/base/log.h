/* SPDX-License-Identifier: Apache-2.0
 * base/log.h - one line to stderr: `module: subject: what, why (what to do)`.
 *
 * Every call site is limited to one line a second and says how many it held back. Never call it
 * per packet. Untrusted bytes go through strv_quote first. The level is the only process-wide
 * mutable state below main: a logger must work before and after everything else. Any thread. */
#ifndef FLOWBUS_BASE_LOG_H
#define FLOWBUS_BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERR, LOG_WARN, LOG_NOTICE, LOG_INFO, LOG_DEBUG };

struct log_site {
	_Atomic uint64_t next_us; /* monotonic time before which this site is silent */
	_Atomic uint32_t held;    /* lines held back since */
};

/** Lines above @level are dropped from now on. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/** "err" "warn" "notice" "info" "debug", or NULL / -1. */
const char *log_level_name(enum log_level level);
int log_level_parse(const char *name);
bool log_wants(enum log_level level);
/** Call @fn with every line printed as well (the control socket's event stream); NULL = none. */
void log_set_tap(void (*fn)(void *arg, enum log_level level, const char *line), void *arg);

/**
 * What the macros below do. @site NULL: not limited, for lines that a person's single actions cause
 * (attach, reload). Lines above the level are dropped here too.
 */
void log_line(struct log_site *site, enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_at(level, ...)                                                                         \
	do {                                                                                       \
		static struct log_site log_site_;                                                  \
		if (log_wants(level))                                                              \
			log_line(&log_site_, level, __VA_ARGS__);                                  \
	} while (0)
#define log_err(...) log_at(LOG_ERR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __VA_ARGS__)
#define log_notice(...) log_at(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)

#endif
