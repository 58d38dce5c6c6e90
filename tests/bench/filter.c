/* SPDX-License-Identifier: Apache-2.0
 * bench/filter.c - what 100 distinct subscriptions cost per flow.
 *
 * Usage: bench_filter [limit_us]. Makes batches of 4096 rows with the spread of real traffic and
 * runs 100 filters of 3 to 6 terms over each. Prints the cost of all filters per flow, and of the
 * dearest ones; exit status 1 when all together cost more than the limit (3 us per flow). With -v
 * every filter is printed. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "filter/filter.h"

enum { BATCHES = 4, FILTERS = 100, ROUNDS = 15 };

static const char *const apps[] = {"tls", "http", "dns", "quic", "ssh", "ntp", "icmp", "smtp",
    "imap", "mdns", "dhcp", "snmp", "rdp", "smb", "mysql", "sip"};
static const char *const domains[] = {"example.org", "example.com", "cdn.example.net",
    "images.shop.example", "api.cloud.example", "video.stream.example", "mail.example.org",
    "telemetry.vendor.example", "update.os.example", "ads.network.example"};

static uint64_t state = 88172645463325252;

static uint64_t
rnd(uint64_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % n;
}

static void
put_addr(struct batch *b, enum field f, uint32_t row, bool v6, bool local)
{
	static const uint8_t nets[4][2] = {{10, 1}, {10, 20}, {192, 168}, {172, 16}};
	struct addr a;
	if (v6) {
		a = (struct addr){{0x20, 0x01, 0x0d, 0xb8, 0, (uint8_t)rnd(8)}};
		for (int i = 8; i < 16; i++)
			a.b[i] = (uint8_t)rnd(256);
	} else {
		const uint8_t *n = nets[rnd(4)];
		uint8_t p[4] = {local ? n[0] : (uint8_t)(1 + rnd(220)),
		    local ? n[1] : (uint8_t)rnd(256), (uint8_t)rnd(256), (uint8_t)rnd(256)};
		a = addr_v4(p);
	}
	batch_set_addr(b, f, row, &a);
}

static void
put_names(struct batch *b, uint32_t r, unsigned app, bool tcp)
{
	char name[96];
	snprintf(name, sizeof(name), "%c%u.%s", (int)('a' + rnd(26)), (unsigned)rnd(500),
	    domains[rnd(10)]);
	if (app == 0 || app == 3)
		batch_set_text(b, F_tls_sni, r, strv_of(name));
	else if (app == 1)
		batch_set_text(b, F_http_host, r, strv_of(name));
	else if (app == 2)
		batch_set_text(b, F_dns_query, r, strv_of(name));
	if (tcp && app <= 1)
		batch_set_u(b, F_rtt_server, r, 1000 + rnd(200000));
}

static void
put_row(struct batch *b, uint32_t r, const struct text *names)
{
	static const uint16_t ports[] = {
	    443, 80, 53, 443, 22, 123, 0, 25, 143, 5353, 67, 161, 3389, 445, 3306, 5060};
	unsigned app = (unsigned)(rnd(3) > 0 ? rnd(4) : rnd(16));
	bool v6 = rnd(4) == 0, tcp = app == 0 || app == 1 || app == 4 || app > 11;
	uint64_t packets = 1 + rnd(rnd(10) > 0 ? 20 : 20000);
	int64_t start = INT64_C(1795341600000000) + (int64_t)rnd(60000000);
	put_addr(b, F_src_addr, r, v6, true);
	put_addr(b, F_dst_addr, r, v6, rnd(8) == 0);
	batch_set_u(b, F_src_port, r, 32768 + rnd(28000));
	batch_set_u(b, F_dst_port, r, rnd(6) == 0 ? 1024 + rnd(60000) : ports[app]);
	batch_set_u(b, F_proto, r, app == 6 ? (v6 ? 58 : 1) : tcp ? 6 : 17);
	batch_set_time(b, F_start, r, start);
	batch_set_time(b, F_end, r, start + (int64_t)rnd(rnd(4) > 0 ? 1000000 : 90000000));
	batch_set_u(b, F_packets, r, packets);
	batch_set_u(b, F_bytes, r, packets * (40 + rnd(200)));
	batch_set_u(b, F_rev_packets, r, rnd(12) == 0 ? 0 : packets * 2);
	batch_set_u(b, F_rev_bytes, r, rnd(12) == 0 ? 0 : packets * (40 + rnd(1400)));
	batch_set_u(b, F_tcp_flags, r, tcp ? 2 | rnd(32) : 0);
	batch_set_u(b, F_rev_tcp_flags, r, tcp ? rnd(32) : 0);
	batch_set_u(b, F_in_if, r, 1 + rnd(4));
	batch_set_u(b, F_out_if, r, 1 + rnd(4));
	batch_set_u(b, F_end_reason, r, 1 + rnd(3));
	batch_set_u(b, F_ip_version, r, v6 ? 6 : 4);
	if (rnd(3) == 0)
		batch_set_u(b, F_vlan, r, 100 + rnd(8));
	batch_set_text_cell(b, F_app, r, names[app]);
	put_names(b, r, app, tcp);
}

static struct batch *
make_batch(struct batch_pool *pool)
{
	struct batch *b = batch_pool_get(pool);
	struct text names[16];
	if (b == NULL)
		exit(2);
	for (int i = 0; i < 16; i++)
		names[i] = batch_text_add(b, strv_of(apps[i]));
	for (uint32_t r = 0; r < BATCH_ROWS; r++)
		put_row(b, r, names);
	b->n = BATCH_ROWS;
	batch_seal(b, 0);
	return b;
}

/* One term; %u is a number that makes it distinct. */
static const char *const terms[] = {"app %s", "not app %s", "app in (tls, %s)", "app != %s",
    "server_name \"*.%s\"", "server_name \"*%u.%s\"", "server_name like \"a*%u*\"",
    "server_name in (\"a%u.example.org\", \"b%u.example.com\")", "dst port %p",
    "port in (%p, %p, 8000-%q)", "dst_port in (22,25,80,110,143,443,465,587,993,995,%q)",
    "src net 10.%u.0.0/16", "net 10.0.0.0/8", "not dst net 192.168.%u.0/24",
    "dst_addr in (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 2001:db8:%u::/48)", "host 10.1.2.%u",
    "total_bytes > %uK", "bytes < %q", "total_packets >= %u", "packets in (1-%u)",
    "rev_packets = 0", "proto tcp", "udp", "proto in (tcp, udp, icmp)", "tcp_flags has syn",
    "tcp_flags has any (fin, rst)", "(tcp_flags has syn and not tcp_flags has ack)",
    "duration > %us", "duration < %qms", "total_bytes / total_packets < %u",
    "total_bytes * 8 / duration > %uK", "rev_bytes > bytes * %u", "vlan = 10%d", "in_if in (1, %d)",
    "end_reason = idle", "rtt_server > %ums", "vlan is absent", "(app %s or dst port %p)",
    "start >= 2026-11-22T10:00:%t", "ip6", "src port > 4%q"};

static void
put_term(struct buf *t, const char *form)
{
	static const char *const ports[] = {"443", "80", "53", "22", "25", "3389", "5060"};
	for (; *form != '\0'; form++) {
		if (*form != '%') {
			buf_u8(t, (uint8_t)*form);
			continue;
		}
		form++;
		if (*form == 's')
			buf_str(t,
			    t->n > 4 && t->p[t->n - 1] == '.' ? domains[rnd(10)] : apps[rnd(16)]);
		else if (*form == 'p')
			buf_str(t, ports[rnd(7)]);
		else if (*form == 't')
			buf_printf(t, "%02uZ", (unsigned)rnd(60));
		else
			buf_printf(t, "%u",
			    *form == 'q'   ? 8000 + (unsigned)rnd(1999)
			    : *form == 'd' ? (unsigned)rnd(8)
					   : 1 + (unsigned)rnd(200));
	}
}

static struct filter *
make_filter(void)
{
	struct buf t = buf_init(0);
	struct filter *f;
	struct err e;
	unsigned n = 3 + (unsigned)rnd(4);
	for (unsigned i = 0; i < n; i++) {
		if (i > 0)
			buf_str(&t, rnd(4) == 0 ? " or " : " and ");
		put_term(&t, terms[rnd(sizeof(terms) / sizeof(terms[0]))]);
	}
	if (filter_compile(buf_view(&t), &f, &e) != 0) {
		fprintf(stderr, "%s: %s\n", buf_cstr(&t), e.text);
		exit(2);
	}
	buf_fini(&t);
	return f;
}

static double
now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int
main(int argc, char **argv)
{
	bool verbose = argc > 1 && argv[1][0] == '-';
	double limit = argc > 1 && !verbose ? strtod(argv[1], NULL) : 3.0, best = 1e18;
	struct batch_pool *pool = batch_pool_new(BATCHES);
	struct filter_work *w = filter_work_new();
	struct batch *b[BATCHES];
	struct filter *f[FILTERS];
	double each[FILTERS];
	uint64_t mask[BATCH_WORDS], passed[FILTERS] = {0}, all = 0;
	for (int i = 0; i < BATCHES; i++)
		b[i] = make_batch(pool);
	double t0 = now_ns();
	for (int i = 0; i < FILTERS; i++)
		f[i] = make_filter();
	double compile_us = (now_ns() - t0) / FILTERS / 1000;
	for (int i = 0; i < FILTERS; i++)
		each[i] = 1e18;
	for (int round = 0; round < ROUNDS; round++) {
		double sum = 0;
		for (int k = 0; k < BATCHES; k++) {
			for (int i = 0; i < FILTERS; i++) {
				double from = now_ns();
				uint32_t n = filter_run(f[i], w, b[k], mask);
				double took = (now_ns() - from) / BATCH_ROWS;
				passed[i] += n;
				sum += took;
				if (took < each[i])
					each[i] = took;
			}
		}
		if (sum / BATCHES < best)
			best = sum / BATCHES;
	}
	for (int i = 0; i < FILTERS; i++) {
		struct strv c = filter_canonical(f[i]);
		all += passed[i];
		if (verbose)
			printf("%6.2f ns  %5.1f%%  %.*s\n", each[i],
			    100.0 * (double)passed[i] / (BATCH_ROWS * BATCHES * ROUNDS), (int)c.n,
			    c.p);
	}
	printf("%d filters: %.3f us per flow in all, %.1f ns per flow and filter; %.1f%% passed; "
	       "compiling %.1f us each\n",
	    FILTERS, best / 1000, best / FILTERS,
	    100.0 * (double)all / ((double)FILTERS * BATCH_ROWS * BATCHES * ROUNDS), compile_us);
	for (int i = 0; i < FILTERS; i++)
		filter_free(&f[i]);
	for (int i = 0; i < BATCHES; i++)
		batch_unref(&b[i]);
	filter_work_free(&w);
	batch_pool_free(&pool);
	return best / 1000 > limit ? 1 : 0;
}
