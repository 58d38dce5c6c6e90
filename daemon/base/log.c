/* SPDX-License-Identifier: Apache-2.0
 * base/log.c - lines to stderr, limited per call site. */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

static const char *const level_names[] = {"err", "warn", "notice", "info", "debug"};

/* The exception to "state is passed": a logger has to work before and after everything else. */
static _Atomic int log_level_now = LOG_NOTICE;
static pthread_mutex_t tap_lock = PTHREAD_MUTEX_INITIALIZER;
static void (*tap_fn)(void *, enum log_level, const char *);
static void *tap_arg;

void
log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_level_now, (int)level, memory_order_relaxed);
}

enum log_level
log_get_level(void)
{
	return (enum log_level)atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

bool
log_wants(enum log_level level)
{
	return level <= log_get_level();
}

const char *
log_level_name(enum log_level level)
{
	return level_names[level];
}

int
log_level_parse(const char *name)
{
	for (int i = 0; i <= (int)LOG_DEBUG; i++)
		if (strcmp(name, level_names[i]) == 0)
			return i;
	return -1;
}

void
log_set_tap(void (*fn)(void *arg, enum log_level level, const char *line), void *arg)
{
	pthread_mutex_lock(&tap_lock);
	tap_fn = fn;
	tap_arg = arg;
	pthread_mutex_unlock(&tap_lock);
}

/* One line a second; *held_out: how many were held back since the last one. */
static bool
site_may(struct log_site *site, uint32_t *held_out)
{
	uint64_t now = clock_mono_us();
	uint64_t next = atomic_load_explicit(&site->next_us, memory_order_relaxed);
	if (now < next || !atomic_compare_exchange_strong(&site->next_us, &next, now + 1000000)) {
		atomic_fetch_add_explicit(&site->held, 1, memory_order_relaxed);
		return false;
	}
	*held_out = atomic_exchange_explicit(&site->held, 0, memory_order_relaxed);
	return true;
}

void
log_line(struct log_site *site, enum log_level level, const char *fmt, ...)
{
	uint32_t held = 0;
	if (!log_wants(level) || (site != NULL && !site_may(site, &held)))
		return;
	char line[1024];
	int n = snprintf(line, sizeof(line), "%s: ", level_names[level]);
	va_list ap;
	va_start(ap, fmt);
	int m = vsnprintf(line + n, sizeof(line) - (size_t)n - 64, fmt, ap);
	va_end(ap);
	if (m > 0)
		n += (size_t)m < sizeof(line) - (size_t)n - 64 ? m : (int)(sizeof(line) - (size_t)n - 65);
	if (held > 0)
		n += snprintf(line + n, 48, " (%u like it held back)", held);
	line[n] = '\n';
	/* one write, so that lines of several threads do not mix; a broken stderr loses the line */
	ssize_t done = write(STDERR_FILENO, line, (size_t)n + 1);
	(void)done;
	line[n] = '\0';
	pthread_mutex_lock(&tap_lock);
	if (tap_fn != NULL)
		tap_fn(tap_arg, level, line);
	pthread_mutex_unlock(&tap_lock);
}
