/* SPDX-License-Identifier: Apache-2.0
 * flow/test_app.c - application detection over payloads made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

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

static struct app_engine *
engine(uint32_t max_texts)
{
	struct err err = {0};
	struct app_conf conf = {.native = true, .max_texts = max_texts};
	struct app_engine *e = app_engine_new(&conf, &err);
	assert_non_null(e);
	return e;
}

static int
setup(void **state)
{
	struct fixture *f = aligned_alloc(64, (sizeof(*f) + 63) & ~(size_t)63);
	assert_non_null(f);
	memset(f, 0, sizeof(*f));
	f->e = engine(64);
	f->pool = batch_pool_new(2);
	f->b = batch_pool_get(f->pool);
	assert_non_null(f->b);
	f->proto = 6;
	f->sport = 40000;
	f->dport = 4444;
	f->seq[0] = 0xffffff00; /* sequence numbers wrap */
	f->seq[1] = 77;
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	app_release(f->e, &f->st);
	app_engine_free(&f->e);
	batch_unref(&f->b);
	batch_pool_free(&f->pool);
	free(f);
	return 0;
}

/* A payload in an allocation of its exact size, so that ASan sees a byte too many being read. */
static void
look_at(struct fixture *f, bool reverse, uint32_t seq, const void *p, size_t n, uint16_t flags)
{
	uint8_t *copy = malloc(n > 0 ? n : 1);
	assert_non_null(copy);
	memcpy(copy, p, n);
	struct wire_pkt pkt = {.proto = f->proto, .ip_version = 4, .flags = flags,
	    .sport = reverse ? f->dport : f->sport, .dport = reverse ? f->sport : f->dport,
	    .payload = n > 0 ? copy : NULL, .payload_len = (uint32_t)n, .tcp_seq = seq};
	app_look(f->e, &f->st, &pkt, reverse, 1000000, &f->c);
	free(copy);
}

static void
say(struct fixture *f, bool reverse, const void *p, size_t n)
{
	look_at(f, reverse, f->seq[reverse], p, n, 0);
	f->seq[reverse] += (uint32_t)n;
}

static void
client(struct fixture *f, const char *s)
{
	say(f, false, s, strlen(s));
}

static void
server(struct fixture *f, const char *s)
{
	say(f, true, s, strlen(s));
}

/* End the flow and write it into a fresh row of a fresh batch. */
static void
end(struct fixture *f)
{
	app_finish(f->e, &f->st, f->proto, f->sport, f->dport, &f->c);
	assert_int_equal(f->st.progress, APP_DONE);
	batch_unref(&f->b);
	f->b = batch_pool_get(f->pool);
	assert_non_null(f->b);
	app_write(f->e, &f->st, f->b, 0);
	f->b->n = 1;
}

/* End it, forget it, and begin another flow. */
static void
again(struct fixture *f)
{
	app_release(f->e, &f->st);
	f->seq[0] = f->seq[1] = 1;
}

static void
expect_text(struct fixture *f, enum field field, const char *want)
{
	struct value v;
	if (!batch_value(f->b, field, 0, &v)) {
		if (want != NULL)
			fail_msg("%s is absent, not %s", field_info[field].name, want);
		return;
	}
	if (want == NULL || v.text.n != strlen(want) || memcmp(v.text.p, want, v.text.n) != 0)
		fail_msg("%s is %.*s, not %s", field_info[field].name, (int)v.text.n, v.text.p,
		    want != NULL ? want : "absent");
}

static void
expect_num(struct fixture *f, enum field field, int want)
{
	struct value v;
	if (!batch_value(f->b, field, 0, &v))
		assert_int_equal(want, -1);
	else
		assert_int_equal(v.u, want);
}

static void
expect_app(struct fixture *f, const char *app, const char *category)
{
	expect_text(f, F_app, app);
	expect_text(f, F_app_category, category);
	expect_num(f, F_app_by, app != NULL ? APP_BY_NATIVE : -1);
}

/* ---- TLS ---- */

struct hello {
	const char *sni, *alpn; /* ALPN as its list: "\2h2..." */
	uint16_t legacy;
	uint16_t versions[4];   /* supported_versions, 0 ends */
	size_t padding;         /* an extension in front, to make it long */
	bool server, no_extensions;
};

static void
put16(struct buf *b, size_t v)
{
	buf_u8(b, (uint8_t)(v >> 8));
	buf_u8(b, (uint8_t)v);
}

static void
put_versions(struct buf *x, const struct hello *h)
{
	size_t n = 0;
	while (n < 4 && h->versions[n] != 0)
		n++;
	if (n == 0)
		return;
	put16(x, 43);
	put16(x, h->server ? 2 : 1 + 2 * n);
	if (!h->server)
		buf_u8(x, (uint8_t)(2 * n));
	for (size_t i = 0; i < n; i++)
		put16(x, h->versions[i]);
}

static void
put_extensions(struct buf *x, const struct hello *h)
{
	put16(x, 0x3a3a); /* GREASE */
	put16(x, 0);
	if (h->padding > 0) {
		put16(x, 21);
		put16(x, h->padding);
		for (size_t i = 0; i < h->padding; i++)
			buf_u8(x, 0);
	}
	if (h->sni != NULL) {
		size_t n = strlen(h->sni);
		put16(x, 0);
		put16(x, n + 5);
		put16(x, n + 3);
		buf_u8(x, 0);
		put16(x, n);
		buf_put(x, h->sni, n);
	}
	if (h->alpn != NULL) {
		size_t n = strlen(h->alpn);
		put16(x, 16);
		put16(x, n + 2);
		put16(x, n);
		buf_put(x, h->alpn, n);
	}
	put_versions(x, h);
}

static void
put_random(struct buf *m)
{
	for (int i = 0; i < 32; i++)
		buf_u8(m, 0xd0);
}

/* The hello as TLS records of at most @record bytes each; the caller frees. */
static struct buf
make_hello(const struct hello *h, size_t record)
{
	struct buf x = buf_init(0), m = buf_init(0), out = buf_init(0);

	put_extensions(&x, h);
	put16(&m, h->legacy);
	put_random(&m);
	buf_u8(&m, 0);
	if (h->server) {
		put16(&m, 0x1301);
		buf_u8(&m, 0);
	} else {
		put16(&m, 4);
		put16(&m, 0x1a1a);
		put16(&m, 0x1301);
		put16(&m, 0x0100);
	}
	if (!h->no_extensions) {
		put16(&m, x.n);
		buf_put(&m, x.p, x.n);
	}
	struct buf hs = buf_init(0);
	buf_u8(&hs, h->server ? 2 : 1);
	buf_u8(&hs, 0);
	put16(&hs, m.n);
	buf_put(&hs, m.p, m.n);
	for (size_t at = 0; at < hs.n; at += record) {
		size_t k = hs.n - at < record ? hs.n - at : record;
		buf_u8(&out, 22);
		put16(&out, 0x0301);
		put16(&out, k);
		buf_put(&out, hs.p + at, k);
	}
	assert_int_equal(out.err, 0);
	buf_fini(&x);
	buf_fini(&m);
	buf_fini(&hs);
	return out;
}

static const struct hello client13 = {.sni = "www.example.org", .alpn = "\2h2\10http/1.1",
    .legacy = 0x0303, .versions = {0x8a8a, 0x0304, 0x0303}};
static const struct hello server13 = {.server = true, .legacy = 0x0303, .versions = {0x0304}};
static const struct hello server12 = {.server = true, .legacy = 0x0303};

static void
say_hello(struct fixture *f, const struct hello *h)
{
	struct buf b = make_hello(h, 16384);
	say(f, h->server, b.p, b.n);
	buf_fini(&b);
}

static void
tls_versions(void **state)
{
	struct fixture *f = *state;
	static const struct {
		struct hello client, server;
		int version;
	} t[] = {
		{{.sni = "a", .legacy = 0x0303, .versions = {0x1a1a, 0x0304, 0x0303}},
		    {.server = true, .legacy = 0x0303, .versions = {0x0304}}, 0x0304},
		{{.sni = "a", .legacy = 0x0303, .versions = {0x0304, 0x0303}},
		    {.server = true, .legacy = 0x0303}, 0x0303},
		{{.sni = "a", .legacy = 0x0303}, {.server = true, .legacy = 0x0301}, 0x0301},
		{{.sni = "a", .legacy = 0x0303, .versions = {0x7f17, 0x0303}}, {0}, 0x0304},
		{{.sni = "a", .legacy = 0x0302, .no_extensions = true}, {.legacy = 0}, 0x0302},
		{{.sni = "a", .legacy = 0x0301}, {.legacy = 0}, 0x0301},
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		say_hello(f, &t[i].client);
		assert_int_equal(f->st.progress, APP_OPEN);
		if (t[i].server.server) {
			say_hello(f, &t[i].server);
			assert_int_equal(f->st.progress, APP_DONE);
		}
		end(f);
		expect_app(f, "tls", "web");
		expect_num(f, F_tls_version, t[i].version);
		expect_text(f, F_tls_sni, t[i].client.no_extensions ? NULL : "a");
		again(f);
	}
	assert_int_equal(counter_get(&f->c, C_app_native), 6);
	assert_int_equal(counter_get(&f->c, C_app_unknown), 0);
}

static void
tls_names(void **state)
{
	struct fixture *f = *state;
	static const struct {
		uint16_t port;
		const char *alpn, *app, *category, *want_alpn;
	} t[] = {
		{443, "\2h2\10http/1.1", "tls", "web", "h2"},
		{993, NULL, "imaps", "email", NULL},
		{995, NULL, "pops", "email", NULL},
		{465, "\2\x0a\x0a\3dot", "smtps", "email", "dot"},
		{587, "\0", "smtps", "email", NULL},
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct hello h = client13;
		h.alpn = t[i].alpn;
		f->dport = t[i].port;
		say_hello(f, &h);
		end(f);
		expect_app(f, t[i].app, t[i].category);
		expect_text(f, F_tls_alpn, t[i].want_alpn);
		expect_text(f, F_tls_sni, "www.example.org");
		expect_num(f, F_tls_version, 0x0304);
		again(f);
	}
}

/* A HelloRetryRequest has the form of a ServerHello; the second ClientHello changes nothing. */
static void
tls_retry(void **state)
{
	struct fixture *f = *state;
	struct hello second = client13;
	second.sni = "other.example.org";
	say_hello(f, &client13);
	say_hello(f, &server13);
	say_hello(f, &second);
	end(f);
	expect_text(f, F_tls_sni, "www.example.org");
	expect_num(f, F_tls_version, 0x0304);
}

/* Whatever the place of the cut, and over how many segments and records: the same fields. */
static void
tls_in_pieces(void **state)
{
	struct fixture *f = *state;
	struct hello h = client13;
	h.padding = 300;
	for (size_t record = 2; record <= 512; record *= 4) {
		struct buf b = make_hello(&h, record);
		for (size_t cut = 1; cut < b.n; cut += record < 8 ? 37 : 1) {
			size_t second = cut + (b.n - cut) / 2;
			say(f, false, b.p, cut);
			say(f, false, b.p + cut, second - cut);
			look_at(f, false, f->seq[0] - 5, b.p + second - 5, 5, 0); /* sent twice */
			say(f, false, b.p + second, b.n - second);
			say_hello(f, &server12);
			assert_int_equal(f->st.progress, APP_DONE);
			end(f);
			expect_app(f, "tls", "web");
			expect_text(f, F_tls_sni, "www.example.org");
			expect_text(f, F_tls_alpn, "h2");
			expect_num(f, F_tls_version, 0x0303);
			again(f);
		}
		buf_fini(&b);
	}
}

/* A server hello in two pieces comes after the client's values are kept already. */
static void
tls_server_in_pieces(void **state)
{
	struct fixture *f = *state;
	struct hello h = server13;
	h.padding = 200;
	struct buf b = make_hello(&h, 16384);
	for (size_t cut = 1; cut < b.n; cut++) {
		say_hello(f, &client13);
		say(f, true, b.p, cut);
		say(f, true, b.p + cut, b.n - cut);
		assert_int_equal(f->st.progress, APP_DONE);
		end(f);
		expect_text(f, F_tls_sni, "www.example.org");
		expect_num(f, F_tls_version, 0x0304);
		again(f);
	}
	buf_fini(&b);
}

/* Cut short at every byte and ended there: what was seen is taken, nothing is made up. */
static void
tls_truncated(void **state)
{
	struct fixture *f = *state;
	struct buf b = make_hello(&client13, 16384);
	for (size_t n = 1; n < b.n; n++) {
		say(f, false, b.p, n);
		end(f);
		expect_text(f, F_app, n >= 5 ? "tls" : NULL);
		struct value v;
		if (batch_value(f->b, F_tls_sni, 0, &v))
			assert_int_equal(v.text.n, 15);
		if (batch_value(f->b, F_tls_version, 0, &v))
			assert_true(v.u == 0x0304);
		again(f);
		/* the same by a snaplen: not waited for */
		look_at(f, false, 1, b.p, n, WIRE_TRUNCATED);
		assert_int_equal(f->st.text != 0 && n < 20, 0);
		end(f);
		again(f);
	}
	buf_fini(&b);
}

static void
tls_gap_and_limit(void **state)
{
	struct fixture *f = *state;
	struct hello h = client13;
	h.padding = 30000;
	struct buf b = make_hello(&h, 40000);
	b.p[3] = 0x40; /* the record claims 16 KiB */
	for (size_t at = 0; at < b.n; at += 1000)
		say(f, false, b.p + at, b.n - at < 1000 ? b.n - at : 1000);
	end(f);
	expect_text(f, F_app, "tls");
	expect_text(f, F_tls_sni, NULL);
	again(f);
	h.padding = 0;
	struct buf s = make_hello(&h, 16384);
	say(f, false, s.p, s.n - 4);
	f->seq[0] += 1; /* a lost byte */
	say(f, false, s.p, 3);
	end(f);
	expect_text(f, F_tls_sni, "www.example.org");
	buf_fini(&b);
	buf_fini(&s);
}

static void
tls_middle_and_others(void **state)
{
	struct fixture *f = *state;
	say(f, true, "\x17\x03\x03\x05\x00junk", 9);
	assert_int_equal(f->st.progress, APP_DONE);
	end(f);
	expect_app(f, "tls", "web");
	again(f);
	/* SSLv2 hello, a record too long, another major version */
	static const char *const none[] = {"\x80\x2e\x01\x03\x01", "\x16\x03\x01\xff\xff\x01",
	    "\x16\x04\x01\x01\x02\x01", "\x19\x03\x01\x01\x02\x01"};
	for (size_t i = 0; i < 4; i++) {
		say(f, false, none[i], 5);
		say(f, true, none[i], 5);
		assert_int_equal(f->st.progress, APP_DONE);
		end(f);
		expect_app(f, NULL, NULL);
		again(f);
	}
}

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
		{"GET http://h/ HTTP/1.1\r\nHost: i\r\n\r\n", "http_proxy", "GET", "http://h/", "i"},
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
	/* byte by byte */
	for (size_t i = 0; i < sizeof(req) - 1; i++)
		say(f, false, req + i, 1);
	end(f);
	expect_text(f, F_http_url, "/form");
	expect_text(f, F_http_host, "h.example");
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
	f->e = engine(1);
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

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(tls_versions), T(tls_names), T(tls_retry), T(tls_in_pieces),
		T(tls_server_in_pieces), T(tls_truncated), T(tls_gap_and_limit), T(tls_middle_and_others),
		T(http_simple), T(http_forms), T(http_in_pieces), T(http_long), T(http_odd_order),
		T(dns_simple), T(dns_names), T(dns_in_pieces),
		T(ssh_banners), T(datagrams), T(ip_protocols), T(junk), T(texts_full),
		T(names_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
