/* SPDX-License-Identifier: Apache-2.0
 * flow/app_tls.c - TLS: server name, first ALPN protocol and version from the hellos.
 *
 * The ClientHello gives the server name, the first protocol of the ALPN list and the highest
 * version offered; the ServerHello (or HelloRetryRequest, of the same form) gives the version
 * agreed on. GREASE values (RFC 8701) are no values. Any other plausible TLS record still names the
 * flow: that is what a flow looks like whose beginning was missed. SSLv2 hellos are not read. */
#include "flow/app_priv.h"

#include "base/cur.h"

enum {
	RECORD_HEADER = 5,
	RECORD_MAX = 16384 + 2048, /* RFC 5246 6.2.3 */
	TYPE_HANDSHAKE = 22,
	HELLO_CLIENT = 1,
	HELLO_SERVER = 2,
	EXT_SNI = 0,
	EXT_ALPN = 16,
	EXT_VERSIONS = 43,
	TLS_1_3 = 0x0304,
};

struct hello {
	struct strv sni, alpn;
	uint16_t version; /* 0 not known */
	bool whole;       /* nothing was cut off */
};

bool
app_tls_record(const uint8_t *p, size_t n)
{
	if (n < RECORD_HEADER || p[0] < 20 || p[0] > 24 || p[1] != 3 || p[2] > 4)
		return false;
	unsigned len = (unsigned)p[3] << 8 | p[4];
	return len > 0 && len <= RECORD_MAX;
}

static bool
is_grease(uint16_t v)
{
	return (v & 0x0f0f) == 0x0a0a && v >> 8 == (v & 0xff);
}

/* Versions are ordered with drafts of TLS 1.3 (0x7f00 + n, and Facebook's) counted as 1.3. */
static uint16_t
known_version(uint16_t v)
{
	if (v >= 0x0300 && v <= TLS_1_3)
		return v;
	return v >> 8 == 0x7f || v >> 8 == 0xfb ? TLS_1_3 : 0;
}

/*
 * The handshake message that begins at @p, without record headers: in place when one record holds
 * it, else put together in @out, at most APP_TEXT_MAX bytes. *whole: all of it is there.
 */
static struct cur
unwrap(const uint8_t *p, size_t n, uint8_t out[APP_TEXT_MAX], bool *whole)
{
	size_t got = 0, want = 4;
	const uint8_t *msg = p + RECORD_HEADER;

	for (size_t at = 0; n - at > RECORD_HEADER && got < want && p[at] == TYPE_HANDSHAKE;) {
		size_t len = (size_t)p[at + 3] << 8 | p[at + 4];
		size_t have = n - at - RECORD_HEADER;
		size_t k = len < have ? len : have;
		if (at > 0 || len < 4) { /* a second record, or a header cut in two */
			if (msg != out) {
				memcpy(out, msg, got);
				msg = out;
			}
			k = k < APP_TEXT_MAX - got ? k : APP_TEXT_MAX - got;
			memcpy(out + got, p + at + RECORD_HEADER, k);
		}
		got += k;
		if (got >= 4)
			want = 4 + ((size_t)msg[1] << 16 | (size_t)msg[2] << 8 | msg[3]);
		if (len > have || (msg == out && got == APP_TEXT_MAX))
			break;
		at += RECORD_HEADER + len;
	}
	*whole = got >= want && got >= 4;
	return cur_init(msg, got < want ? got : want);
}

static void
read_sni(struct cur *x, struct hello *h)
{
	uint16_t list = cur_u16(x);
	uint8_t type = cur_u8(x);
	uint16_t len = cur_u16(x);
	if (x->err != 0 || type != 0 || len > list || len > cur_left(x))
		return;
	h->sni = (struct strv){(const char *)x->p, len};
}

static void
read_alpn(struct cur *x, struct hello *h)
{
	(void)cur_u16(x);
	while (cur_left(x) > 0) {
		uint8_t len = cur_u8(x);
		const uint8_t *p = cur_take(x, len);
		if (p == NULL)
			return;
		if (len == 2 && is_grease((uint16_t)(p[0] << 8 | p[1])))
			continue;
		h->alpn = (struct strv){(const char *)p, len};
		return;
	}
}

static uint16_t
read_versions(struct cur *x, bool client)
{
	if (!client)
		return known_version(cur_u16(x));
	uint16_t best = 0;
	for (unsigned n = cur_u8(x) / 2; n > 0 && cur_left(x) >= 2; n--) {
		uint16_t v = cur_u16(x);
		if (!is_grease(v) && known_version(v) > best)
			best = known_version(v);
	}
	return best;
}

/* Both hellos: version, random, session id, ciphers, compression, extensions. */
static void
read_hello(struct cur *c, bool client, struct hello *h)
{
	uint16_t legacy = cur_u16(c);
	cur_skip(c, 32);
	cur_skip(c, cur_u8(c));
	cur_skip(c, client ? cur_u16(c) : 2);
	cur_skip(c, client ? cur_u8(c) : 1);
	/* without extensions, or with all of them read, the legacy field is the version */
	bool complete = c->err == 0 && h->whole;
	if (c->err == 0 && cur_left(c) >= 2) {
		size_t left = cur_u16(c);
		while (left >= 4 && cur_left(c) >= 4) {
			uint16_t type = cur_u16(c);
			size_t len = cur_u16(c);
			if (len > left - 4)
				break;
			left -= 4 + len;
			struct cur x = cur_init(c->p, len < cur_left(c) ? len : cur_left(c));
			if (type == EXT_VERSIONS && x.p + len <= c->end)
				h->version = read_versions(&x, client);
			else if (type == EXT_SNI && client)
				read_sni(&x, h);
			else if (type == EXT_ALPN && client)
				read_alpn(&x, h);
			cur_skip(c, len);
		}
		complete = complete && left == 0;
	}
	if (h->version == 0 && complete)
		h->version = known_version(legacy);
}

static uint16_t
tls_app(const struct app_look *l)
{
	if (app_on_port(l, 465) || app_on_port(l, 587))
		return APP_SMTPS;
	if (app_on_port(l, 993))
		return APP_IMAPS;
	return app_on_port(l, 995) ? APP_POPS : APP_TLS;
}

/* The first hello of a kind counts. */
static void
keep(struct app_look *l, const struct hello *h, bool client)
{
	uint8_t seen = client ? APP_S_REQUEST : APP_S_RESPONSE;
	if ((l->st->stage & seen) != 0)
		return;
	if (client) {
		app_put(l, F_tls_sni, h->sni.p, h->sni.n);
		app_put(l, F_tls_alpn, h->alpn.p, h->alpn.n);
	}
	/* what was offered does not replace what was agreed on */
	if (h->version != 0 && (!client || (l->st->stage & APP_S_RESPONSE) == 0))
		app_put_num(l, F_tls_version, h->version);
	l->st->stage |= seen;
}

enum app_parse
app_tls_parse(struct app_look *l, const uint8_t *p, size_t n)
{
	if (n < RECORD_HEADER && p[0] == TYPE_HANDSHAKE && (n < 2 || p[1] == 3) && !l->last)
		return APP_P_MORE;
	if (!app_tls_record(p, n))
		return APP_P_NO;
	if (n < RECORD_HEADER + 4 && p[0] == TYPE_HANDSHAKE && !l->last) {
		app_decide(l, tls_app(l), APP_BY_NATIVE);
		return APP_P_MORE;
	}
	bool handshake = p[0] == TYPE_HANDSHAKE && n > RECORD_HEADER;
	bool client = handshake && p[RECORD_HEADER] == HELLO_CLIENT;
	bool server = handshake && p[RECORD_HEADER] == HELLO_SERVER;
	app_decide(l, tls_app(l), APP_BY_NATIVE);
	if (!client && !server) {
		/* the middle of a connection: no hello will come from either side */
		if ((l->st->stage & APP_S_REQUEST) == 0)
			l->st->stage |= APP_S_SETTLED0 | APP_S_SETTLED1;
		return APP_P_YES;
	}
	struct hello h = {.version = 0};
	struct cur c = unwrap(p, n, l->e->message, &h.whole);
	cur_skip(&c, 4);
	read_hello(&c, client, &h);
	if (!h.whole && !l->last && (client || h.version == 0))
		return APP_P_MORE;
	keep(l, &h, client);
	return APP_P_YES;
}
