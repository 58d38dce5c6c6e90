/* SPDX-License-Identifier: Apache-2.0
 * unit/filter/fixture.h - the hand-made batch of the table tests. */
#ifndef FLOWBUS_TESTS_FILTER_FIXTURE_H
#define FLOWBUS_TESTS_FILTER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "filter/filter.h"

enum { FIXTURE_ROWS = 8 };

static inline void
set_addr(struct batch *b, enum field f, uint32_t row, const char *text)
{
	struct addr a;
	assert_int_equal(addr_parse(strv_of(text), &a), 0);
	assert_true(batch_set_addr(b, f, row, &a));
}

static inline void
set_ends(
    struct batch *b, uint32_t row, const char *src, unsigned sport, const char *dst, unsigned dport)
{
	set_addr(b, F_src_addr, row, src);
	set_addr(b, F_dst_addr, row, dst);
	batch_set_u(b, F_src_port, row, sport);
	batch_set_u(b, F_dst_port, row, dport);
}

static inline void
set_sums(struct batch *b, uint32_t row, const uint64_t v[4])
{
	batch_set_u(b, F_packets, row, v[0]);
	batch_set_u(b, F_bytes, row, v[1]);
	batch_set_u(b, F_rev_packets, row, v[2]);
	batch_set_u(b, F_rev_bytes, row, v[3]);
}

static inline void
set_text(struct batch *b, enum field f, uint32_t row, const char *s)
{
	assert_true(batch_set_text(b, f, row, strv_of(s)));
}

/* 2026-11-22T10:00:00Z */
static const int64_t FIXTURE_T = INT64_C(1795341600000000);

static inline void
set_times(struct batch *b, uint32_t row, int64_t after_us, int64_t duration_us)
{
	batch_set_time(b, F_start, row, FIXTURE_T + after_us);
	batch_set_time(b, F_end, row, FIXTURE_T + after_us + duration_us);
}

/* Row 5 has its protocol only; row 4 is unidirectional; row 3 has no application. */
static inline struct batch *
fixture_batch(struct batch_pool *pool)
{
	struct batch *b = batch_pool_get(pool);
	assert_non_null(b);
	static const uint8_t proto[FIXTURE_ROWS] = {6, 6, 17, 1, 6, 47, 6, 58};
	for (uint32_t r = 0; r < FIXTURE_ROWS; r++)
		batch_set_u(b, F_proto, r, proto[r]);
	set_ends(b, 0, "10.1.2.3", 50000, "192.0.2.80", 80);
	set_ends(b, 1, "2001:db8::1", 50001, "2001:db8:1::2", 443);
	set_ends(b, 2, "10.0.0.1", 53000, "8.8.8.8", 53);
	set_ends(b, 3, "192.0.2.1", 0, "10.1.2.3", 0);
	set_ends(b, 4, "172.16.0.9", 8080, "10.9.9.9", 8443);
	set_ends(b, 6, "10.255.255.255", 40000, "203.0.113.5", 8500);
	set_ends(b, 7, "fe80::1", 0, "ff02::1", 0);
	set_sums(b, 0, (const uint64_t[]){10, 5000, 700, 1000000});
	set_sums(b, 1, (const uint64_t[]){3, 180, 0, 0});
	set_sums(b, 2, (const uint64_t[]){1, 70, 1, 150});
	set_sums(b, 3, (const uint64_t[]){5, 420, 5, 420});
	batch_set_u(b, F_packets, 4, 1000);
	batch_set_u(b, F_bytes, 4, 64000);
	set_sums(b, 6, (const uint64_t[]){100, 9000, 2000, 3000000});
	set_sums(b, 7, (const uint64_t[]){0, 0, 0, 0});
	set_times(b, 0, 0, 45000000);
	set_times(b, 1, 1000000, 3000000);
	set_times(b, 2, 2000000, 12000);
	set_times(b, 3, 60000000, 4000000);
	set_times(b, 4, 3600000000, 60000000);
	set_times(b, 6, 30000000, 31000000);
	set_times(b, 7, 0, 0);
	static const char *const app[FIXTURE_ROWS] = {
	    "http", "tls", "dns", NULL, "http", NULL, "tls", "icmpv6"};
	for (uint32_t r = 0; r < FIXTURE_ROWS; r++)
		if (app[r] != NULL)
			set_text(b, F_app, r, app[r]);
	set_text(b, F_http_host, 0, "www.example.org");
	set_text(b, F_http_host, 4, "");
	set_text(b, F_tls_sni, 1, "Mail.Example.ORG");
	set_text(b, F_tls_sni, 6, "cdn.example.org");
	set_text(b, F_tls_sni, 0, "www.example.org");
	set_text(b, F_dns_query, 2, "a*b?.example.com");
	set_text(b, F_http_url, 0, "/a?b=\\c\"d\xff");
	static const struct {
		enum field f;
		uint32_t row;
		uint64_t v;
	} more[] = {{F_tcp_flags, 0, TCP_syn | TCP_ack | TCP_psh}, {F_tcp_flags, 1, TCP_syn},
	    {F_tcp_flags, 4, 0}, {F_tcp_flags, 6, TCP_syn | TCP_ack | TCP_fin},
	    {F_rev_tcp_flags, 0, TCP_syn | TCP_ack | TCP_psh}, {F_rev_tcp_flags, 1, 0},
	    {F_end_reason, 0, END_IDLE}, {F_end_reason, 1, END_ACTIVE}, {F_end_reason, 2, 9},
	    {F_vlan, 4, 100}, {F_vlan, 0, 7}, {F_rev_vlan, 6, 100}, {F_in_if, 0, 1},
	    {F_in_if, 4, 2}, {F_out_if, 0, 2}, {F_src_as, 0, 64512}, {F_dst_as, 1, 64512},
	    {F_src_mac, 0, 0x001a2b3c4d5e}, {F_dst_mac, 0, 0x001a2b3c4d5e},
	    {F_src_mac, 1, 0xffffffffffff}, {F_dst_mac, 1, 1}, {F_rtt_client, 0, 50000},
	    {F_rtt_client, 1, 200000}, {F_rtt_server, 0, 10000}, {F_http_status, 0, 404}};
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
		batch_set_u(b, more[i].f, more[i].row, more[i].v);
	b->n = FIXTURE_ROWS;
	batch_seal(b, 0);
	return b;
}

static inline struct filter *
must_compile(const char *text)
{
	struct filter *f;
	struct err e = {0};
	char show[1024];
	if (filter_compile(strv_of(text), &f, &e) != 0) {
		err_print(&e, show, sizeof(show));
		fail_msg("'%s': %s", text, show);
	}
	return f;
}

#endif
