/* SPDX-License-Identifier: Apache-2.0
 * unit/filter/rows.c - expressions and the rows of the fixture that pass. */
#include "fixture.h"

/* Numbers of the rows, as one decimal each. "-" is none. */
static const struct {
	const char *text, *rows;
} cases[] = {
    {"", "01234567"},
    {"  # nothing\n", "01234567"},
    {"true", "01234567"},
    {"false", "-"},
    /* the design's examples */
    {"app http and total_bytes > 1M and not src net 10.0.0.0/8", "-"},
    {"app http and total_bytes > 1M", "0"},
    {"proto tcp and dst port in (80, 443, 8000-8999) and server_name \"*.example.org\"", "016"},
    {"(tcp_flags has syn and not tcp_flags has ack) or rev_packets is absent", "145"},
    {"duration > 30s and total_bytes / total_packets < 100", "4"},
    /* primitives */
    {"host 10.1.2.3", "03"},
    {"src host 10.1.2.3", "0"},
    {"dst host 10.1.2.3", "3"},
    {"src or dst host 10.1.2.3", "03"},
    {"net 10.0.0.0/8", "02346"},
    {"src net 10.0.0.0/8", "026"},
    {"src 10.0.0.0/8", "026"},
    {"src and dst net 2001:db8::/32", "1"},
    {"src and dst net 10.0.0.0/8", "-"},
    {"host in (8.8.8.8, 2001:db8::1)", "12"},
    {"net 2001:db8::/48", "1"},
    {"net ::/0", "17"},
    {"net 0.0.0.0/0", "02346"},
    {"port 80", "0"},
    {"port 8080", "4"},
    {"dst port 8080", "-"},
    {"src port 8080", "4"},
    {"port in (53, 443)", "12"},
    {"port > 50000", "12"},
    {"portrange 8000-8499", "4"},
    {"port 8000-8999", "46"},
    {"dst port >= 8443", "46"},
    {"dst port != 80", "123467"},
    {"proto tcp", "0146"},
    {"proto 17", "2"},
    {"proto in (icmp, icmpv6)", "37"},
    {"proto gre", "5"},
    {"app tls", "16"},
    {"app TLS", "16"},
    {"app \"t*\"", "16"},
    {"vlan 100", "46"},
    {"vlan = 100", "4"},
    {"src vlan 100", "4"},
    {"dst vlan 100", "6"},
    {"src or dst vlan in (7, 100)", "046"},
    {"as 64512", "01"},
    {"src as 64512", "0"},
    {"if 2", "04"},
    {"dst if 2", "0"},
    {"src if in (1, 2)", "04"},
    /* protocol words */
    {"tcp", "0146"},
    {"udp", "2"},
    {"icmp", "3"},
    {"icmp6", "7"},
    {"ip", "02346"},
    {"ip6", "17"},
    {"tcp port 443", "1"},
    {"udp dst port 53", "2"},
    {"not tcp port 80", "1234567"},
    {"ip host 10.1.2.3", "03"},
    {"tcp and not ip", "1"},
    /* numbers */
    {"bytes = 5000", "0"},
    {"bytes = 5K", "0"},
    {"bytes = 0x1388", "0"},
    {"bytes != 5000", "123467"},
    {"bytes < 180", "27"},
    {"bytes <= 180", "127"},
    {"bytes > 9000", "4"},
    {"bytes >= 9K", "46"},
    {"bytes in (70, 180, 400-500)", "123"},
    {"bytes in (0)", "7"},
    {"bytes in 70", "2"},
    {"total_bytes > 1M", "06"},
    {"total_packets = 0", "7"},
    {"total_packets = 1000", "4"},
    {"total_bytes in (220, 840, 64000, 180, 0, 1005000, 3009000)", "0123467"},
    {"total_bytes in (1,3,5,7,9,11,13,64000)", "4"},
    {"rev_bytes > 0", "0236"},
    {"not rev_bytes > 0", "1457"},
    {"not rev_bytes = 0", "023456"},
    {"rev_bytes != 0", "0236"},
    {"http_status = 404", "0"},
    {"http_status < 500", "0"},
    {"not http_status < 500", "1234567"},
    {"5000 = bytes", "0"},
    {"180 >= bytes", "127"},
    {"bytes >= 0", "0123467"},
    {"src_port in (1,3,5,7,9,11,13,15,50000-50001,8080)", "014"},
    {"bytes in (1,3,5,7,9,11,13,70,180)", "12"},
    {"in_if in (1,3,5,7,9,11,13)", "0"},
    {"proto in (1,3,5,7,9,11,58)", "37"},
    /* spans and times */
    {"duration > 30s", "046"},
    {"duration = 12ms", "2"},
    {"duration = 12000us", "2"},
    {"duration >= 1m", "4"},
    {"duration < 0.5s", "27"},
    {"duration = 0", "7"},
    {"duration in (3s-4s, 45s)", "013"},
    {"duration in (1s,3s,5s,7s,9s,11s,13s,60s)", "14"},
    {"start >= 2026-11-22T11:00:00Z", "4"},
    {"start = \"2026-11-22T10:00:01Z\"", "1"},
    {"start < 2026-11-22T11:00:02+01:00", "017"},
    {"end - start > 30s", "046"},
    {"start in (2026-11-22T10:00:00Z-2026-11-22T10:00:02Z)", "0127"},
    {"start + 1h > 2026-11-22T11:30:00Z", "4"},
    {"rtt_client > 100ms", "1"},
    {"rtt_client = 50000us", "0"},
    {"rtt_client + rtt_server > 50ms", "0"},
    {"-duration < -1m + 1s", "4"},
    /* addresses */
    {"src_addr = 10.1.2.3", "0"},
    {"src_addr != 10.1.2.3", "123467"},
    {"src_addr in (10.0.0.0/8, 2001:db8::/32)", "0126"},
    {"src_addr in 10.0.0.0/15", "02"},
    {"src_addr != 10.0.0.0/8", "1347"},
    {"not src_addr = 10.0.0.0/8", "13457"},
    {"src_addr in (1.0.0.0/8,2.0.0.0/8,4.0.0.0/8,6.0.0.0/8,8.0.0.0/8,10.0.0.0/9,12.0.0.0/8,"
     "14.0.0.0/8,16.0.0.0/8,fe80::/10)",
	"027"},
    {"src_addr = ::ffff:10.1.2.3", "0"},
    {"src_addr = dst_addr", "-"},
    {"src_addr != dst_addr", "0123467"},
    /* text */
    {"app = http", "04"},
    {"app = HTTP", "-"},
    {"app != http", "1267"},
    {"not app = http", "123567"},
    {"app in (http, dns)", "024"},
    {"app in (\"tls\")", "16"},
    {"app like \"?ns\"", "2"},
    {"server_name = \"www.example.org\"", "0"},
    {"server_name \"*.example.org\"", "016"},
    {"server_name like \"*.example.org\"", "06"},
    {"server_name ilike (\"cdn.*\", \"*ail*org\")", "16"},
    {"server_name \"*EXAMPLE*\"", "0126"},
    {"server_name is absent", "357"},
    {"server_name = \"\"", "4"},
    {"server_name like \"?*\"", "0126"},
    {"server_name \"*\"", "01246"},
    {"server_name \"*x?m*\"", "0126"},
    {"dns_query like \"a\\*b\\?.*\"", "2"},
    {"dns_query = \"a*b?.example.com\"", "2"},
    {"dns_query like \"a*b?.*.com\"", "2"},
    {"dns_query like \"*b\\??ex*\"", "2"},
    {"http_url = \"/a?b=\\\\c\\\"d\\xff\"", "0"},
    {"http_url '*\"d?'", "0"},
    {"http_host = tls_sni", "0"},
    {"server_name = tls_sni", "016"},
    {"server_name != tls_sni", "-"},
    {"server_name in (\"cdn.example.org\", \"x\", \"www.example.org\")", "06"},
    /* flags, names, MAC */
    {"tcp_flags has syn", "016"},
    {"tcp_flags has (syn, ack)", "06"},
    {"tcp_flags has syn|ack", "06"},
    {"tcp_flags has any (fin, psh)", "06"},
    {"tcp_flags has any fin", "6"},
    {"tcp_flags = syn", "1"},
    {"tcp_flags = S", "1"},
    {"tcp_flags = (syn, ack, psh)", "0"},
    {"tcp_flags = SAP", "0"},
    {"tcp_flags = 0", "4"},
    {"tcp_flags != 0", "016"},
    {"tcp_flags has 0x12", "06"},
    {"tcp_flags in (syn, 0x1a)", "01"},
    {"tcp_flags = rev_tcp_flags", "0"},
    {"tcp_flags != rev_tcp_flags", "1"},
    {"not tcp_flags has syn", "23457"},
    {"end_reason = idle", "0"},
    {"end_reason != idle", "12"},
    {"end_reason in (idle, ACTIVE)", "01"},
    {"end_reason = 9", "2"},
    {"src_mac = 00:1a:2b:3c:4d:5e", "0"},
    {"src_mac != 00:1A:2B:3C:4D:5E", "1"},
    {"src_mac = dst_mac", "0"},
    {"src_mac != dst_mac", "1"},
    {"src_mac in (00:1a:2b:3c:4d:00-00:1a:2b:3c:4d:ff, ff:ff:ff:ff:ff:ff)", "01"},
    /* arithmetic */
    {"bytes + rev_bytes = 220", "2"},
    {"bytes - 10 * packets > 0", "01234"
				 "6"},
    {"bytes / packets = 70", "2"},
    {"bytes / packets > 63.9", "0234"
			       "6"},
    {"bytes / packets = 0", "-"},
    {"not bytes / packets >= 0", "57"},
    {"bytes / (packets - packets) = 0", "-"},
    {"packets * 2 > rev_packets", "123"},
    {"(packets + 1) * 3 = 6", "2"},
    {"packets > rev_packets", "1"},
    {"packets = rev_packets", "237"},
    {"src_port > dst_port", "0126"},
    {"total_bytes * 8 / duration > 700K", "6"},
    {"total_bytes / duration > 22K", "06"},
    {"duration / 2 > 20s", "04"},
    {"duration / 1s >= 45", "04"},
    {"bytes * 1.5 = 270", "1"},
    {"bytes > 69.5 and bytes < 70.5", "2"},
    {"bytes * bytes * bytes * bytes * bytes * bytes * bytes >= 0", "0123467"},
    /* absent, logic */
    {"vlan is absent", "123567"},
    {"vlan is not absent", "04"},
    {"vlan is present", "04"},
    {"total_packets is absent", "5"},
    {"duration is absent", "5"},
    {"vlan is absent or true", "01234567"},
    {"not (app tls or app http)", "2357"},
    {"! app tls && ! app http || udp", "2357"},
    {"not not tcp", "0146"},
    {"tcp or udp and port 53", "01246"},
    {"(tcp or udp) and port 53", "2"},
    {"ttl = 3", "-"},
    {"ttl != 3", "-"},
    {"not ttl != 3", "01234567"},
    {"ttl is absent", "01234567"},
    {"ttl + 1 > 0", "-"},
    {"ssh_client \"*\"", "-"},
    {"not ssh_client = x", "01234567"},
    {"app_by = ndpi", "-"},
    {"exporter = 1.2.3.4", "-"},
    {"src_addr = exporter", "-"},
    {"inner_vlan in (1,3,5,7,9,11,13)", "-"},
    {"http_host = ssh_client", "-"},
};

static void
test_rows(void **state)
{
	struct batch_pool *pool = batch_pool_new(1);
	struct batch *b = fixture_batch(pool);
	struct filter_work *w = filter_work_new();
	assert_non_null(w);
	unsigned bad = 0;
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t mask[BATCH_WORDS];
		struct filter *f;
		struct err e = {0};
		char got[FIXTURE_ROWS + 2] = "-";
		size_t n = 0;
		if (filter_compile(strv_of(cases[i].text), &f, &e) != 0) {
			print_error("%s: %s\n", cases[i].text, e.text);
			bad++;
			continue;
		}
		memset(mask, 0xaa, sizeof(mask));
		uint32_t count = filter_run(f, w, b, mask);
		for (uint32_t r = 0; r < FIXTURE_ROWS; r++)
			if ((mask[0] >> r & 1) != 0)
				got[n++] = (char)('0' + r);
		got[n > 0 ? n : 1] = '\0';
		if (strcmp(got, cases[i].rows) != 0) {
			print_error("%s: rows %s, not %s\n", cases[i].text, got, cases[i].rows);
			bad++;
		}
		assert_int_equal(count, n);
		assert_int_equal(mask[0] >> FIXTURE_ROWS, 0);
		for (int k = 1; k < BATCH_WORDS; k++)
			assert_int_equal(mask[k], 0);
		filter_free(&f);
		assert_null(f);
	}
	filter_work_free(&w);
	batch_unref(&b);
	batch_pool_free(&pool);
	assert_int_equal(bad, 0);
}

static void
test_fields(void **state)
{
	(void)state;
	struct filter *f =
	    must_compile("total_bytes > 5 and server_name x and src_addr = dst_addr");
	struct field_set s = filter_fields(f);
	static const enum field want[] = {
	    F_bytes, F_rev_bytes, F_http_host, F_tls_sni, F_dns_query, F_src_addr, F_dst_addr};
	struct field_set expect = {{0, 0}};
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		field_set_add(&expect, want[i]);
	assert_true(field_set_eq(s, expect));
	assert_false(filter_is_all(f));
	filter_free(&f);
	f = must_compile("duration / packets > 1s or port 5");
	s = filter_fields(f);
	assert_true(field_set_has(&s, F_start) && field_set_has(&s, F_end));
	assert_true(field_set_has(&s, F_packets) && field_set_has(&s, F_src_port));
	assert_true(field_set_has(&s, F_dst_port));
	filter_free(&f);
	f = must_compile(" \n ");
	assert_true(filter_is_all(f));
	filter_free(&f);
	f = must_compile("not false");
	assert_true(filter_is_all(f));
	filter_free(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows), cmocka_unit_test(test_fields)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
