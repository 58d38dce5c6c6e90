/* SPDX-License-Identifier: Apache-2.0
 * flow/test_app_tls.c - TLS hellos, whole and in pieces. */
#include "app_fixture.h"

#include "base/buf.h"

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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(tls_versions),
		T(tls_names),
		T(tls_retry),
		T(tls_in_pieces),
		T(tls_server_in_pieces),
		T(tls_truncated),
		T(tls_gap_and_limit),
		T(tls_middle_and_others),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
