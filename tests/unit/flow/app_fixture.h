/* SPDX-License-Identifier: Apache-2.0
 * flow/app_fixture.h - a flow made by hand for the tests of the application detection. */
#ifndef FLOWBUS_TESTS_FLOW_APP_FIXTURE_H
#define FLOWBUS_TESTS_FLOW_APP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "flow/app.h"

struct fixture {
	struct app_engine *e;
	struct batch_pool *pool;
	struct batch *b;
	struct counters c;
	struct app_state st;
	uint8_t proto;
	uint16_t sport, dport;
	uint32_t seq[2];
};

/* Native decoders only. */
struct app_engine *app_engine_native(uint32_t max_texts);
int app_setup(void **state);
int app_teardown(void **state);

/* A payload in an allocation of its exact size, so that ASan sees a byte too many being read. */
void look_at(struct fixture *f, bool reverse, uint32_t seq, const void *p, size_t n,
    uint16_t flags);
/* The next bytes of a side. */
void say(struct fixture *f, bool reverse, const void *p, size_t n);
void client(struct fixture *f, const char *s);
void server(struct fixture *f, const char *s);
/* End the flow and write it into the first row of a fresh batch. */
void end(struct fixture *f);
/* Forget it and begin another flow. */
void again(struct fixture *f);

/* What the row has; NULL or -1: absent. */
void expect_text(struct fixture *f, enum field field, const char *want);
void expect_num(struct fixture *f, enum field field, int want);
void expect_app(struct fixture *f, const char *app, const char *category);

#define T(name) cmocka_unit_test_setup_teardown(name, app_setup, app_teardown)

#endif
