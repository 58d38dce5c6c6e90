/* SPDX-License-Identifier: Apache-2.0
 * flow/test_app.c - application detection over payloads made by hand: all but TLS and nDPI. */
#include "app_fixture.h"

#include "base/buf.h"

/* ---- HTTP ---- */

static void
http_simple(void **state)
{
	struct fixture *f = *state;
	client(f, "GET /a?b=c HTTP/1.1\r\nhost:  www.example.org \r\nAccept: */*\r\n"
	    "User-Agent: curl/8\r\n\r\n");
	assert_int_equal(f->st.progress, APP_OPEN);
	server(f, "HTTP/1.1 100 Continue\r\n\r\n");
	assert_int_equal(f->st.progress, APP_OPEN);
	server(f, "HTTP/1.1 404 Not Found\r\n\r\n");
	assert_int_equal(f->st.progress, APP_DONE);
	end(f);
	expect_app(f, "http", "web");
	expect_text(f, F_http_method, "GET");
	expect_text(f, F_http_host, "www.example.org");
	expect_text(f, F_http_url, "/a?b=c");
	expect_text(f, F_http_user_agent, "curl/8");
	expect_num(f, F_http_status, 404);
}

static void
http_forms(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *request, *app, *method, *url, *host;
	} t[] = {
		{"HEAD / HTTP/1.0\r\n\r\n", "http", "HEAD", "/", NULL},
		{"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "http", "OPTIONS", "*", "h"},
		{"OPTIONS rtsp://h/ RTSP/1.0\r\nCSeq: 1\r\n\r\n", NULL, NULL, NULL, NULL},
		{"OPTIONS sip:u@h SIP/2.0\r\n\r\n", NULL, NULL, NULL, NULL},
		{"CONNECT h:443 HTTP/1.1\r\n\r\n", "http_connect", "CONNECT", "h:443", "h:443"},
		{"GET http://u:p@h:80/x HTTP/1.1\r\n\r\n", "http_proxy", "GET", "http://u:p@h:80/x",
		    "h:80"},
		{"GET http://h/ HTTP/1.1\r\nHost: i\r\n\r\n", "http_proxy", "GET", "http://h/",
		    "i"},
		{"PROPFIND /a b HTTP/1.1\nHost: h\n\n", "http", "PROPFIND", "/a b", "h"},
		{"GET /x\r\n\r\n", NULL, NULL, NULL, NULL},
		{"GETS / HTTP/1.1\r\n\r\n", NULL, NULL, NULL, NULL},
		{"GET / HTTP/1.1\r\nHostile: x\r\n\r\n", "http", "GET", "/", NULL},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http", NULL, NULL, NULL},
		{"M-SEARCH * HTTP/1.1\r\n\r\n", "http", "M-SEARCH", "*", NULL},
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		client(f, t[i].request);
		end(f);
		expect_app(f, t[i].app, t[i].app != NULL ? "web" : NULL);
		expect_text(f, F_http_method, t[i].method);
		expect_text(f, F_http_url, t[i].url);
		expect_text(f, F_http_host, t[i].host);
		again(f);
	}
}

static void
http_in_pieces(void **state)
{
	struct fixture *f = *state;
	static const char req[] = "POST /form HTTP/1.1\r\nAccept: text/html\r\nHost: h.example\r\n"
	    "Cookie: a=b\r\nUser-Agent: x y z\r\nContent-Length: 3\r\n\r\nabc";
	for (size_t cut = 1; cut < sizeof(req) - 1; cut++) {
		say(f, false, req, cut);
		say(f, false, req + cut, sizeof(req) - 1 - cut);
		server(f, "HTTP/1.1 302 Found\r\n");
		end(f);
		expect_app(f, "http", "web");
		expect_text(f, F_http_method, "POST");
		expect_text(f, F_http_host, "h.example");
		expect_text(f, F_http_user_agent, "x y z");
		expect_num(f, F_http_status, 302);
		again(f);
		/* ended there */
		say(f, false, req, cut);
		end(f);
		expect_text(f, F_http_user_agent, cut > 88 ? "x y z" : NULL);
		again(f);
	}
	/* in small pieces, and byte by byte until that is given up */
	for (size_t step = 4; step > 0; step = step == 4 ? 1 : 0) {
		for (size_t i = 0; i < sizeof(req) - 1; i += step)
			say(f, false, req + i, i + step < sizeof(req) ? step : sizeof(req) - 1 - i);
		end(f);
		expect_text(f, F_http_url, "/form");
		expect_text(f, F_http_host, step == 4 ? "h.example" : NULL);
		again(f);
	}
}

static void
http_long(void **state)
{
	struct fixture *f = *state;
	struct buf b = buf_init(0);
	struct value v;

	buf_str(&b, "GET /");
	for (int i = 0; i < 3000; i++)
		buf_u8(&b, 'u');
	buf_str(&b, " HTTP/1.1\r\nHost: ");
	for (int i = 0; i < 2000; i++)
		buf_u8(&b, 'h');
	buf_str(&b, "\r\n\r\n");
	for (size_t at = 0; at < b.n; at += 1400)
		say(f, false, b.p + at, b.n - at < 1400 ? b.n - at : 1400);
	end(f);
	expect_app(f, "http", "web");
	assert_true(batch_value(f->b, F_http_url, 0, &v));
	assert_int_equal(v.text.n, TEXT_MAX);
	const struct text *cell = batch_get(f->b, F_http_url)->data;
	assert_int_equal(cell[0].cut, 1);
	assert_true(batch_value(f->b, F_http_host, 0, &v));
	assert_int_equal(v.text.n, TEXT_MAX);
	cell = batch_get(f->b, F_http_host)->data;
	assert_int_equal(cell[0].cut, 1);
	again(f);
	/* a request line without end: the form of the target tells */
	b.n = 2000;
	say(f, false, b.p, b.n);
	for (int i = 0; i < 20; i++)
		say(f, false, b.p + 5, 1000);
	end(f);
	expect_app(f, "http", "web");
	assert_true(batch_value(f->b, F_http_url, 0, &v));
	assert_int_equal(v.text.n, TEXT_MAX);
	buf_fini(&b);
}

/* The response alone, a request from the responder, and a flow that starts within a body. */
static void
http_odd_order(void **state)
{
	struct fixture *f = *state;
	server(f, "HTTP/1.0 200 OK\r\n\r\n");
	end(f);
	expect_app(f, "http", "web");
	expect_num(f, F_http_status, 200);
	again(f);
	server(f, "GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: u\r\n\r\n");
	client(f, "HTTP/1.1 204 No Content\r\n\r\n");
	assert_int_equal(f->st.progress, APP_DONE);
	end(f);
	expect_text(f, F_http_host, "h");
	expect_num(f, F_http_status, 204);
	again(f);
	server(f, "\x8a\x91 middle of a body");
	client(f, "GET /next HTTP/1.1\r\nHost: h\r\nUser-Agent: u\r\n\r\n");
	server(f, "HTTP/1.1 200 OK\r\n\r\n");
	end(f);
	expect_text(f, F_http_url, "/next");
	expect_num(f, F_http_status, 200);
}

/* ---- DNS ---- */

enum { DNS_QUERY_LEN = 33 };
static const uint8_t dns_query[DNS_QUERY_LEN] =
    "\x12\x34\x01\x00\0\1\0\0\0\0\0\0\3WwW\7example\3org\0\0\x1c\0\1";

static void
dns_pair(struct fixture *f, bool tcp, unsigned rcode)
{
	uint8_t m[2 + DNS_QUERY_LEN] = {0, DNS_QUERY_LEN};
	memcpy(m + 2, dns_query, DNS_QUERY_LEN);
	say(f, false, m + (tcp ? 0 : 2), sizeof(m) - (tcp ? 0 : 2));
	m[4] |= 0x80;
	m[5] = (uint8_t)rcode;
	say(f, true, m + (tcp ? 0 : 2), sizeof(m) - (tcp ? 0 : 2));
	assert_int_equal(f->st.progress, APP_DONE);
	end(f);
	expect_text(f, F_dns_query, "WwW.example.org");
	expect_num(f, F_dns_type, 28);
	expect_num(f, F_dns_rcode, (int)rcode);
}

static void
dns_simple(void **state)
{
	struct fixture *f = *state;
	static const struct {
		uint8_t proto;
		uint16_t port;
		const char *app;
	} t[] = {{17, 53, "dns"}, {6, 53, "dns"}, {17, 5353, "mdns"}, {17, 5355, "llmnr"}};
	for (unsigned i = 0; i < 4; i++) {
		f->proto = t[i].proto;
		f->dport = t[i].port;
		dns_pair(f, f->proto == 6, i);
		expect_app(f, t[i].app, "network");
		again(f);
	}
	f->proto = 17;
	f->dport = 54; /* not a port of DNS */
	say(f, false, dns_query, DNS_QUERY_LEN);
	assert_int_equal(f->st.progress, APP_DONE);
	end(f);
	expect_app(f, NULL, NULL);
}

static void
dns_names(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *name;
		size_t n;
		const char *want; /* NULL: not DNS */
	} t[] = {
		{"\0\0\1\0\1", 5, "."},
		{"\3a.b\2\\c\0\0\1\0\1", 12, "a\\.b.\\\\c"},
		{"\1\xff\0\0\1\0\1", 7, "\xff"},
		{"\xc0\x0c\0\1\0\1", 6, NULL},          /* points at itself */
		{"\1a\xc0\x0c\0\1\0\1", 8, NULL},       /* at its own beginning */
		{"\xc0\x00\0\1\0\1", 6, NULL},          /* into the header */
		{"\xc0\x40\0\1\0\1", 6, NULL},          /* forwards */
		{"\x40xyz\0\0\1\0\1", 9, NULL},         /* reserved label type */
		{"\x3f", 1, NULL},                      /* ends within a label */
		{"\3abc", 4, NULL},
	};
	f->proto = 17;
	f->dport = 53;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint8_t m[64];
		memcpy(m, dns_query, 12);
		memcpy(m + 12, t[i].name, t[i].n);
		say(f, false, m, 12 + t[i].n);
		end(f);
		expect_text(f, F_app, t[i].want != NULL ? "dns" : NULL);
		expect_text(f, F_dns_query, t[i].want);
		again(f);
	}
}

static void
dns_in_pieces(void **state)
{
	struct fixture *f = *state;
	uint8_t m[2 + DNS_QUERY_LEN] = {0, DNS_QUERY_LEN};
	memcpy(m + 2, dns_query, DNS_QUERY_LEN);
	f->dport = 53;
	for (size_t cut = 1; cut < sizeof(m); cut++) {
		m[4] = 1;
		say(f, false, m, cut);
		say(f, false, m + cut, sizeof(m) - cut);
		m[4] = 0x81;
		say(f, true, m, cut);
		say(f, true, m + cut, sizeof(m) - cut);
		assert_int_equal(f->st.progress, APP_DONE);
		end(f);
		expect_app(f, "dns", "network");
		expect_text(f, F_dns_query, "WwW.example.org");
		expect_num(f, F_dns_type, 28);
		expect_num(f, F_dns_rcode, 0);
		again(f);
	}
	f->proto = 17;
	for (size_t n = 1; n < DNS_QUERY_LEN; n++) { /* UDP cut by a snaplen, or false */
		look_at(f, false, 0, dns_query, n, WIRE_TRUNCATED);
		end(f);
		expect_text(f, F_app, n >= 12 ? "dns" : NULL);
		again(f);
		look_at(f, false, 0, dns_query, n, 0);
		end(f);
		expect_text(f, F_app, n >= 29 ? "dns" : NULL);
		again(f);
	}
}

/* ---- the rest ---- */

static void
ssh_banners(void **state)
{
	struct fixture *f = *state;
	server(f, "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n");
	client(f, "SSH-2.0-");
	client(f, "dropbear\n");
	assert_int_equal(f->st.progress, APP_DONE);
	end(f);
	expect_app(f, "ssh", "remoteaccess");
	expect_text(f, F_ssh_client, "SSH-2.0-dropbear");
	expect_text(f, F_ssh_server, "SSH-2.0-OpenSSH_9.2p1 Debian-2");
	again(f);
	client(f, "SSH-9.9-no\r\n");
	server(f, "SSHx");
	assert_int_equal(f->st.progress, APP_DONE);
	end(f);
	expect_app(f, NULL, NULL);
}

static void
datagrams(void **state)
{
	struct fixture *f = *state;
	uint8_t p[300] = {0};
	static const struct {
		uint16_t port;
		const char *app;
		uint8_t at0;
		size_t n;
	} t[] = {
		{123, "ntp", 0x23, 48}, {123, NULL, 0x23, 47}, {123, NULL, 0x20, 48},
		{123, "ntp", 0x17, 12}, {67, "dhcp", 1, 300}, {68, "dhcp", 2, 240},
		{67, NULL, 3, 300},
		{443, "quic", 0xc3, 300}, {443, NULL, 0x43, 300}, {1900, NULL, 'M', 60},
	};
	f->proto = 17;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		p[0] = t[i].at0;
		p[4] = t[i].port == 443;
		memcpy(p + 236, "\x63\x82\x53\x63", 4);
		f->dport = t[i].port;
		say(f, false, p, t[i].n);
		assert_int_equal(f->st.progress, APP_DONE);
		end(f);
		expect_text(f, F_app, t[i].app);
		again(f);
	}
	f->dport = 1900;
	client(f, "M-SEARCH * HTTP/1.1\r\n");
	end(f);
	expect_app(f, "ssdp", "system");
}

static void
ip_protocols(void **state)
{
	struct fixture *f = *state;
	static const struct {
		uint8_t proto;
		const char *app;
	} t[] = {{1, "icmp"}, {2, "igmp"}, {4, "ip_in_ip"}, {47, "gre"}, {50, "ipsec"},
	    {51, "ipsec"}, {58, "icmpv6"}, {89, "ospf"}, {112, "vrrp"}, {132, "sctp"}, {200, NULL}};
	f->sport = f->dport = 0;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		f->proto = t[i].proto;
		say(f, false, "x", 0);
		assert_int_equal(f->st.progress, APP_DONE);
		end(f);
		expect_text(f, F_app, t[i].app);
		again(f);
	}
	assert_int_equal(counter_get(&f->c, C_app_unknown), 1);
}

/* Junk is given up after one payload packet of each side, or two of one. */
static void
junk(void **state)
{
	struct fixture *f = *state;
	say(f, false, "", 0);
	say(f, false, "\x99\x88\x77", 3);
	assert_int_equal(f->st.progress, APP_OPEN);
	say(f, true, "\x99\x88\x77", 3);
	assert_int_equal(f->st.progress, APP_DONE);
	again(f);
	say(f, true, "\x99\x88\x77", 3);
	say(f, true, "\x99\x88\x77", 3);
	assert_int_equal(f->st.progress, APP_DONE);
	end(f);
	expect_app(f, NULL, NULL);
	assert_int_equal(f->st.text, 0);
	/* a decided flow whose other side is never seen is let go as well */
	again(f);
	client(f, "GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: u\r\n\r\n");
	for (int i = 0; i < 70; i++)
		client(f, "body");
	assert_int_equal(f->st.progress, APP_DONE);
}

/* No room for text: the name stays, the text is absent, and it is counted. */
static void
texts_full(void **state)
{
	struct fixture *f = *state;
	app_engine_free(&f->e);
	f->e = app_engine_native(1);
	client(f, "GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: u\r\n\r\n");
	struct app_state first = f->st;
	f->st = (struct app_state){0};
	f->seq[0] = 1;
	client(f, "GET /2 HTTP/1.1\r\nHost: h\r\nUser-Agent: u\r\n\r\n");
	assert_int_equal(counter_get(&f->c, C_app_text_full), 4);
	end(f);
	expect_app(f, "http", "web");
	expect_text(f, F_http_host, NULL);
	again(f);
	client(f, "GET /half"); /* cannot be held either, nor its values kept */
	end(f);
	assert_int_equal(counter_get(&f->c, C_app_text_full), 7);
	app_release(f->e, &f->st);
	app_release(f->e, &first);
	f->seq[0] = 1;
	client(f, "GET /3 HTTP/1.1\r\nHost: h3\r\nUser-Agent: u\r\n\r\n");
	end(f);
	expect_text(f, F_http_host, "h3");
}

/* Names are put into a batch once, and a batch that comes back from its pool is not trusted. */
static void
names_once(void **state)
{
	struct fixture *f = *state;
	client(f, "SSH-2.0-x\r\n");
	end(f);
	again(f);
	struct app_state st = {.name = 1, .by = APP_BY_NATIVE, .progress = APP_DONE};
	for (int round = 0; round < 3; round++) {
		batch_unref(&f->b);
		f->b = batch_pool_get(f->pool);
		batch_set_text(f->b, F_interface, 0, STRV("eth0 and something longer than a name"));
		for (uint32_t row = 0; row < 1000; row++)
			app_write(f->e, &st, f->b, row);
		f->b->n = 1000;
		assert_true(f->b->text_len < 64);
		expect_app(f, "tls", "web");
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(http_simple),
		T(http_forms),
		T(http_in_pieces),
		T(http_long),
		T(http_odd_order),
		T(dns_simple),
		T(dns_names),
		T(dns_in_pieces),
		T(ssh_banners),
		T(datagrams),
		T(ip_protocols),
		T(junk),
		T(texts_full),
		T(names_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
