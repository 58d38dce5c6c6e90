/* SPDX-License-Identifier: Apache-2.0
 * flow/test_app_ndpi.c - nDPI behind the native decoders: names, pool, budget, guesses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "flow/app_priv.h"

enum { BUDGET = 8, LINKTYPE_RAW = 101 };

static struct app_engine *
engine(bool native, bool ndpi, uint32_t flows)
{
	struct err err = {0};
	struct app_conf conf = {native, ndpi, 64, flows, BUDGET};
	struct app_engine *e = app_engine_new(&conf, &err);
	if (e == NULL)
		fail_msg("%s", err.text);
	return e;
}

/* A TCP segment with all its headers: nDPI reads them itself. */
static void
say(struct app_engine *e, struct app_state *st, struct counters *c, bool reverse, uint16_t port,
    const char *text)
{
	size_t n = strlen(text);
	uint8_t q[512] = {0x45, 0, 0, (uint8_t)(40 + n), [8] = 64, [9] = 6, [12] = 10, [16] = 10};
	assert_true(40 + n < 256);
	q[15] = reverse ? 2 : 1;
	q[19] = reverse ? 1 : 2;
	uint16_t sport = reverse ? port : 40000, dport = reverse ? 40000 : port;
	q[20] = (uint8_t)(sport >> 8);
	q[21] = (uint8_t)sport;
	q[22] = (uint8_t)(dport >> 8);
	q[23] = (uint8_t)dport;
	q[32] = 0x50;
	q[33] = 0x18;
	memcpy(q + 40, text, n);
	struct wire_pkt pkt;
	assert_int_equal(wire_packet_decode(LINKTYPE_RAW, q, (uint32_t)(40 + n), (uint32_t)(40 + n),
	    &pkt), WIRE_IP);
	if (st->progress != APP_DONE)
		app_look(e, st, &pkt, reverse, 1700000000000000, c);
}

/* The native table says what nDPI says. */
static void
names_are_ndpis(void **state)
{
	struct app_engine *a = engine(true, false, 1), *b = engine(true, true, 1);

	(void)state;
	for (uint16_t i = 1; i < APP_NATIVE_COUNT; i++) {
		bool found = false;
		for (uint32_t k = 0; k < b->ndpi.n_names; k++)
			found = found || b->ndpi.name[k] == i;
		if (!found)
			fail_msg("nDPI has no %s", a->entry[i].name);
		assert_string_equal(a->entry[i].category, b->entry[i].category);
	}
	assert_true(b->n_entries > APP_NATIVE_COUNT + 200);
	assert_int_equal(app_names_find(b, "Kerberos"), app_names_find(b, "kerberos"));
	assert_true(app_names_find(b, "kerberos") != APP_UNKNOWN);
	assert_string_equal(app_name(a, APP_NATIVE_COUNT), "");
	app_engine_free(&a);
	app_engine_free(&b);
	assert_null(b);
}

static void
ndpi_names_the_rest(void **state)
{
	struct app_engine *e = engine(true, true, 2);
	struct counters c = {0};
	struct app_state st = {0};

	(void)state;
	say(e, &st, &c, false, 7000, "REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/TCP h\r\n");
	app_finish(e, &st, 6, 40000, 7000, &c);
	assert_string_equal(app_name(e, st.name), "sip");
	assert_int_equal(st.by, APP_BY_NDPI);
	assert_int_equal(st.ndpi, 0);
	assert_int_equal(counter_get(&c, C_app_ndpi), 1);
	assert_int_equal(counter_get(&c, C_app_native), 0);
	struct batch_pool *pool = batch_pool_new(1);
	struct batch *b = batch_pool_get(pool);
	app_write(e, &st, b, 0);
	b->n = 1;
	struct value v;
	assert_true(batch_value(b, F_app_category, 0, &v));
	assert_true(strv_eq(v.text, STRV("voip")));
	batch_unref(&b);
	batch_pool_free(&pool);
	app_release(e, &st);
	app_engine_free(&e);
}

/* A flow that HTTP claims after nDPI has begun: the native name counts and the slot goes back. */
static void
native_wins(void **state)
{
	struct app_engine *e = engine(true, true, 1);
	struct counters c = {0};
	struct app_state st = {0};

	(void)state;
	say(e, &st, &c, true, 8080, "\x99\x98\x97 the end of something");
	assert_int_equal(st.ndpi, 1);
	say(e, &st, &c, false, 8080, "GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: u\r\n\r\n");
	assert_int_equal(st.ndpi, 0);
	assert_int_equal(st.name, APP_HTTP);
	assert_int_equal(st.by, APP_BY_NATIVE);
	assert_int_equal(e->ndpi.n_free, 1);
	assert_int_equal(counter_get(&c, C_app_ndpi_packets), 1);
	app_release(e, &st);
	app_engine_free(&e);
}

/* "S" may be the beginning of a method, and is PostgreSQL's answer: nDPI sees it meanwhile. */
static void
ndpi_sees_what_is_held(void **state)
{
	struct app_engine *e = engine(true, true, 1);
	struct counters c = {0};
	struct app_state st = {0};

	(void)state;
	say(e, &st, &c, true, 7000, "S");
	assert_true((st.stage & APP_S_HELD) != 0);
	assert_int_equal(counter_get(&c, C_app_ndpi_packets), 1);
	say(e, &st, &c, false, 7000, "\x99\x98\x97 junk");
	assert_int_equal(counter_get(&c, C_app_ndpi_packets), 2);
	assert_int_equal(st.stage & APP_S_HELD, 0);
	assert_int_equal(st.text, 0);
	assert_int_equal(st.by, 0);
	app_release(e, &st);
	app_engine_free(&e);
}

static void
pool_and_budget(void **state)
{
	struct app_engine *e = engine(true, true, 1);
	struct counters c = {0};
	struct app_state a = {0}, b = {0};

	(void)state;
	say(e, &a, &c, true, 7777, "\x99\x98\x97 junk");
	say(e, &b, &c, true, 7778, "\x99\x98\x97 junk");
	assert_int_equal(b.progress, APP_DONE);
	assert_int_equal(counter_get(&c, C_app_ndpi_full), 1);
	for (int i = 0; i < BUDGET * 2; i++)
		say(e, &a, &c, i % 2 != 0, 7777, "\x99\x98\x97 junk");
	assert_int_equal(a.progress, APP_DONE);
	assert_int_equal(a.ndpi, 0);
	assert_int_equal(counter_get(&c, C_app_ndpi_packets), BUDGET);
	app_release(e, &b);
	say(e, &b, &c, true, 7778, "\x99\x98\x97 junk"); /* the slot is free again */
	assert_int_equal(b.ndpi, 1);
	app_release(e, &b);
	assert_int_equal(e->ndpi.n_free, 1);
	app_release(e, &a);
	app_engine_free(&e);
}

/* Flows without payload are guessed by port, and the guess is called one. */
static void
guess_by_port(void **state)
{
	struct app_engine *e = engine(true, true, 1);
	struct counters c = {0};
	struct app_state st = {0};

	(void)state;
	say(e, &st, &c, false, 3306, "");
	assert_int_equal(counter_get(&c, C_app_ndpi_packets), 0);
	app_finish(e, &st, 6, 40000, 3306, &c);
	assert_string_equal(app_name(e, st.name), "mysql");
	assert_int_equal(st.by, APP_BY_PORT);
	assert_int_equal(counter_get(&c, C_app_port), 1);
	assert_int_equal(counter_get(&c, C_app_ndpi), 0);
	app_release(e, &st);
	app_finish(e, &st, 6, 40000, 47113, &c);
	assert_int_equal(st.name, APP_UNKNOWN);
	assert_int_equal(counter_get(&c, C_app_unknown), 1);
	app_release(e, &st);
	app_engine_free(&e);
}

/* What the meter may leave behind, and two engines side by side. */
static void
free_with_flows_open(void **state)
{
	struct app_engine *a = engine(false, true, 4), *b = engine(false, true, 4);
	struct counters c = {0};
	struct app_state st = {0}, other = {0};

	(void)state;
	say(a, &st, &c, false, 8080, "GET /a HTTP/1.1\r\nHost: h\r\n");
	say(b, &other, &c, true, 25, "220 mail.example.org ESMTP\r\n");
	app_engine_free(&a);
	app_engine_free(&b);
}

int
main(void)
{
	if (!app_ndpi_available()) {
		struct err err = {0};
		struct app_conf conf = {true, true, 1, 1, 1};
		if (app_engine_new(&conf, &err) != NULL || err.code != E_UNSUP)
			return 1;
		printf("skipped: built without nDPI (%s)\n", err.text);
		return 77;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_ndpis), cmocka_unit_test(ndpi_names_the_rest),
		cmocka_unit_test(native_wins), cmocka_unit_test(ndpi_sees_what_is_held),
		cmocka_unit_test(pool_and_budget),
		cmocka_unit_test(guess_by_port), cmocka_unit_test(free_with_flows_open),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
