/* SPDX-License-Identifier: Apache-2.0
 * flow/app_dns.c - DNS, mDNS and LLMNR: the first question and the first answer's code.
 *
 * Only on their well-known ports (53, 5353, 5355), as nDPI does: the header alone is too weak a
 * sign. A name is its labels as sent, joined by dots; a dot or backslash inside a label gets a
 * backslash in front, the root is ".". No other byte is changed: printing is the outputs' task. */
#include "flow/app_priv.h"

#include "base/cur.h"

enum { DNS_HEADER = 12, DNS_NAME_MAX = 255, DNS_QUESTIONS_MAX = 48 };

static enum app_id
dns_app(const struct app_look *l)
{
	if (app_on_port(l, 53))
		return APP_DNS;
	if (app_on_port(l, 5353))
		return APP_MDNS;
	return app_on_port(l, 5355) ? APP_LLMNR : APP_UNKNOWN;
}

/*
 * The name at *at in the message; *at moves behind it. Pointers must go back beyond the place that
 * the last one led to, so there are no loops. Bytes of text, -1 malformed, -2 cut short.
 */
static int
dns_name(const uint8_t *msg, size_t n, size_t *at, char out[2 * DNS_NAME_MAX])
{
	size_t i = *at, floor = *at, wire = 0, o = 0;
	bool jumped = false;

	for (;;) {
		if (i >= n)
			return -2;
		unsigned len = msg[i++];
		if ((len & 0xc0) == 0xc0) {
			if (i >= n)
				return -2;
			size_t to = (size_t)(len & 0x3f) << 8 | msg[i++];
			if (to >= floor || to < DNS_HEADER)
				return -1;
			if (!jumped)
				*at = i;
			jumped = true;
			i = floor = to;
			continue;
		}
		if (len > 63)
			return -1;
		if (len == 0)
			break;
		wire += len + 1;
		if (wire > DNS_NAME_MAX - 1)
			return -1;
		if (len > n - i)
			return -2;
		if (o > 0)
			out[o++] = '.';
		for (unsigned k = 0; k < len; k++, i++) {
			if (msg[i] == '.' || msg[i] == '\\')
				out[o++] = '\\';
			out[o++] = (char)msg[i];
		}
	}
	if (!jumped)
		*at = i;
	if (o == 0)
		out[o++] = '.';
	return (int)o;
}

/* Could these 12 bytes be the header of a message that someone sends? */
static bool
header_ok(const uint8_t *h)
{
	unsigned opcode = h[2] >> 3 & 15, questions = (unsigned)h[4] << 8 | h[5];
	bool answer = (h[2] & 0x80) != 0;

	if (opcode > 6 || questions > DNS_QUESTIONS_MAX)
		return false;
	return answer || questions > 0;
}

/* @msg is cut at what was captured; @whole says whether that is all of it. */
static enum app_parse
dns_message(struct app_look *l, const uint8_t *msg, size_t n, bool whole)
{
	char name[2 * DNS_NAME_MAX];
	enum app_id app = dns_app(l);

	if (app == APP_UNKNOWN || n < DNS_HEADER || !header_ok(msg))
		return APP_P_NO;
	unsigned questions = (unsigned)msg[4] << 8 | msg[5];
	bool answer = (msg[2] & 0x80) != 0;
	size_t at = DNS_HEADER;
	int len = questions > 0 ? dns_name(msg, n, &at, name) : 0;
	if (len == -1)
		return APP_P_NO;
	if ((len == -2 || (len > 0 && n - at < 2)) && !whole && !l->last)
		return APP_P_MORE;
	if (len == -2 && whole)
		return APP_P_NO; /* announces a question and ends before it */
	app_decide(l, (uint16_t)app, APP_BY_NATIVE);
	if ((l->st->stage & APP_S_REQUEST) == 0 && len > 0) {
		app_put(l, F_dns_query, name, (size_t)len);
		if (n - at >= 2)
			app_put_num(l, F_dns_type, (uint16_t)(msg[at] << 8 | msg[at + 1]));
		l->st->stage |= APP_S_REQUEST;
	}
	if (answer && (l->st->stage & APP_S_RESPONSE) == 0) {
		app_put_num(l, F_dns_rcode, msg[3] & 15);
		l->st->stage |= APP_S_RESPONSE;
	}
	return APP_P_YES;
}

enum app_parse
app_dns_udp(struct app_look *l, const uint8_t *p, size_t n)
{
	return dns_message(l, p, n, !l->last);
}

enum app_parse
app_dns_tcp(struct app_look *l, const uint8_t *p, size_t n)
{
	if (n < 2 + DNS_HEADER) {
		bool may = dns_app(l) != APP_UNKNOWN && (n < 2 || p[0] != 0 || p[1] >= DNS_HEADER);
		return may && !l->last ? APP_P_MORE : APP_P_NO;
	}
	size_t len = (size_t)p[0] << 8 | p[1], have = n - 2;
	if (len < DNS_HEADER)
		return APP_P_NO;
	return dns_message(l, p + 2, have < len ? have : len, have >= len);
}
