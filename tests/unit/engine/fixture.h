/* SPDX-License-Identifier: Apache-2.0
 * unit/engine/fixture.h - a whole engine in this process, driven from inside its own loop.
 *
 * run_engine() is engine_main() with a control that calls a scenario once everything of the command
 * line and the configuration is attached; when the scenario returns, the engine stops. Files live
 * in a directory of their own that FILE_OF names things in. */
#ifndef FLOWBUS_TEST_ENGINE_FIXTURE_H
#define FLOWBUS_TEST_ENGINE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/clock.h"
#include "engine/engine.h"

typedef void scenario_fn(struct engine *e);

/** A new empty directory with state/ in it; cmocka setup and teardown. */
int lab_setup(void **state);
int lab_teardown(void **state);
/** A path in the lab; a few are valid at once. */
const char *file_of(const char *name);
/** Write a file of the lab: printf-like text. */
void write_file(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** The file's text; freed by the next call. */
const char *read_text(const char *name);
unsigned lines_of(const char *name);
/** A capture of @n_flows UDP flows of two packets each; returns its path. */
const char *make_pcap(const char *name, unsigned n_flows);

/**
 * flowbusd with @args (NULL-terminated); a state directory in the lab is added. The exit status.
 * @fn NULL: nothing is done, it runs until it ends by itself.
 */
int run_engine(scenario_fn *fn, const char *const *args);
#define RUN(fn, ...) run_engine(fn, (const char *const[]){__VA_ARGS__, NULL})

/** Attach from text as flowctl does; 0 or the error code, its text in last_error. */
int attach(struct engine *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int set(struct engine *e, const char *name, const char *w1, const char *w2);
extern struct err last_error;
/** What the engine says of one endpoint; name is empty when there is none. */
struct seen {
	char name[64], address[256], why[256];
	enum port_state state;
	bool persistent, ended;
	uint64_t counters[C_COUNT];
};
struct seen look(struct engine *e, const char *name);
unsigned count(struct engine *e);
/** Wait for a file input's end, or fail. */
void wait_ended(struct engine *e, const char *name);
/** Wait until the output has written @n records, or fail. */
void wait_written(struct engine *e, const char *name, uint64_t n);

#endif
