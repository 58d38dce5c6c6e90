/* SPDX-License-Identifier: Apache-2.0
 * flow/app_http.c - HTTP/1.x over TCP: the first request's method, target, host and user agent, and
 * the first response's status (interim 1xx responses other than 101 do not count).
 *
 * CONNECT requests are `http_connect` and requests for absolute URIs `http_proxy`, as nDPI has it.
 * The HTTP/2 preface is `http`. RTSP and SIP share methods with HTTP: the version at the end of the
 * request line decides, or the form of the target when the line is too long to see its end. */
#include "flow/app_priv.h"

#include <strings.h>

enum { METHOD_MAX = 17, LINES_MAX = 100 };

static bool
begins(struct strv s, const char *word)
{
	size_t n = strlen(word);
	return s.n >= n && memcmp(s.p, word, n) == 0;
}

/* RFC 9110, WebDAV (RFC 4918, 3253, 3648, 5323, 3744), UPnP and the two of RPC over HTTP. */
static bool
is_method(struct strv m)
{
	static const char *const known[] = {
		"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE",
		"PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "SEARCH",
		"REPORT", "MKCALENDAR", "ACL", "BIND", "MERGE", "CHECKOUT", "CHECKIN", "UNCHECKOUT",
		"VERSION-CONTROL", "MKACTIVITY", "ORDERPATCH", "PURGE", "NOTIFY", "SUBSCRIBE",
		"UNSUBSCRIBE", "M-SEARCH", "LINK", "UNLINK", "RPC_IN_DATA", "RPC_OUT_DATA",
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strv_eq(m, strv_of(known[i])))
			return true;
	}
	return false;
}

/* The next line, without its end; false when no line end is left. */
static bool
next_line(struct strv *rest, struct strv *line)
{
	const char *nl = rest->n > 0 ? memchr(rest->p, '\n', rest->n) : NULL;
	if (nl == NULL)
		return false;
	size_t n = (size_t)(nl - rest->p);
	*line = (struct strv){rest->p, n > 0 && nl[-1] == '\r' ? n - 1 : n};
	*rest = (struct strv){nl + 1, rest->n - n - 1};
	return true;
}

/* Value of a header line when it is called @name ("host:"), else n = 0. */
static struct strv
header_value(struct strv line, const char *name)
{
	size_t n = strlen(name);
	if (line.n <= n || strncasecmp(line.p, name, n) != 0)
		return (struct strv){NULL, 0};
	line.p += n;
	line.n -= n;
	while (line.n > 0 && (*line.p == ' ' || *line.p == '\t'))
		line.p++, line.n--;
	while (line.n > 0 && (line.p[line.n - 1] == ' ' || line.p[line.n - 1] == '\t'))
		line.n--;
	return line;
}

/* The authority of an absolute URI, without user information. */
static struct strv
authority(struct strv uri)
{
	for (size_t i = 0; i + 2 < uri.n; i++) {
		if (memcmp(uri.p + i, "://", 3) != 0)
			continue;
		struct strv a = {uri.p + i + 3, 0};
		size_t max = uri.n - i - 3;
		while (a.n < max && a.p[a.n] != '/' && a.p[a.n] != '?' && a.p[a.n] != '#')
			a.n++;
		const char *at = a.n > 0 ? memrchr(a.p, '@', a.n) : NULL;
		if (at != NULL)
			a = (struct strv){at + 1, a.n - (size_t)(at + 1 - a.p)};
		return a;
	}
	return (struct strv){NULL, 0};
}

struct request {
	struct strv method, target, host, agent;
	bool line_whole, headers_whole, is_http;
};

/* Split "METHOD SP target SP HTTP/1.x"; @line may be cut short. False: not a request. */
static bool
request_line(struct strv line, struct request *r)
{
	const char *sp = memchr(line.p, ' ', line.n < METHOD_MAX ? line.n : METHOD_MAX);
	if (sp == NULL)
		return false;
	r->method = (struct strv){line.p, (size_t)(sp - line.p)};
	if (!is_method(r->method))
		return false;
	struct strv rest = {sp + 1, line.n - r->method.n - 1};
	const char *end = r->line_whole && rest.n > 0 ? memrchr(rest.p, ' ', rest.n) : NULL;
	if (r->line_whole) {
		if (end == NULL)
			return false;
		struct strv version = {end + 1, rest.n - (size_t)(end + 1 - rest.p)};
		r->is_http = begins(version, "HTTP/");
		r->target = (struct strv){rest.p, (size_t)(end - rest.p)};
		return r->is_http;
	}
	end = rest.n > 0 ? memchr(rest.p, ' ', rest.n) : NULL;
	r->target = (struct strv){rest.p, end != NULL ? (size_t)(end - rest.p) : rest.n};
	r->is_http = begins(r->target, "/") || begins(r->target, "http://");
	return true;
}

static bool
read_request(struct strv s, struct request *r)
{
	struct strv rest = s, line;

	*r = (struct request){.line_whole = next_line(&rest, &line)};
	if (!request_line(r->line_whole ? line : s, r))
		return false;
	for (unsigned i = 0; r->line_whole && i < LINES_MAX && next_line(&rest, &line); i++) {
		struct strv v;
		if (line.n == 0) {
			r->headers_whole = true;
			break;
		}
		if (r->host.n == 0 && (v = header_value(line, "host:")).n > 0)
			r->host = v;
		else if (r->agent.n == 0 && (v = header_value(line, "user-agent:")).n > 0)
			r->agent = v;
		if (r->host.n > 0 && r->agent.n > 0) {
			r->headers_whole = true; /* as far as we care */
			break;
		}
	}
	return true;
}

static void
keep_request(struct app_look *l, const struct request *r)
{
	struct strv host = r->host;
	if (host.n == 0)
		host = strv_eq(r->method, STRV("CONNECT")) ? r->target : authority(r->target);
	app_put(l, F_http_method, r->method.p, r->method.n);
	app_put(l, F_http_url, r->target.p, r->target.n);
	app_put(l, F_http_host, host.p, host.n);
	app_put(l, F_http_user_agent, r->agent.p, r->agent.n);
	l->st->stage |= APP_S_REQUEST;
}

static enum app_parse
parse_request(struct app_look *l, struct strv s)
{
	struct request r;

	if ((l->st->stage & APP_S_REQUEST) != 0)
		return APP_P_YES;
	if (!read_request(s, &r)) {
		/* "GE": the beginning of a method, perhaps */
		bool start = s.n < METHOD_MAX && memchr(s.p, ' ', s.n) == NULL &&
		    memchr(s.p, '\n', s.n) == NULL;
		for (size_t i = 0; start && i < s.n; i++)
			start = (s.p[i] >= 'A' && s.p[i] <= 'Z') || s.p[i] == '-' || s.p[i] == '_';
		return start && !l->last ? APP_P_MORE : APP_P_NO;
	}
	if (r.line_whole) {
		uint16_t app = APP_HTTP;
		if (strv_eq(r.method, STRV("CONNECT")))
			app = APP_HTTP_CONNECT;
		else if (begins(r.target, "http://"))
			app = APP_HTTP_PROXY;
		app_decide(l, app, APP_BY_NATIVE);
	}
	if (!r.headers_whole && !l->last)
		return APP_P_MORE;
	if (!r.is_http)
		return APP_P_NO;
	app_decide(l, APP_HTTP, APP_BY_NATIVE);
	keep_request(l, &r);
	return APP_P_YES;
}

/* "HTTP/1.1 200 OK": the status, 0 when these bytes are no status line. */
static uint16_t
status_of(struct strv s)
{
	if (s.n < 12 || !begins(s, "HTTP/1.") || s.p[8] != ' ')
		return 0;
	unsigned v = 0;
	for (int i = 9; i < 12; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return 0;
		v = v * 10 + (unsigned)(s.p[i] - '0');
	}
	return v >= 100 && v <= 999 ? (uint16_t)v : 0;
}

enum app_parse
app_http_parse(struct app_look *l, const uint8_t *p, size_t n)
{
	struct strv s = {(const char *)p, n};

	if (begins(s, "HTTP/1.")) {
		uint16_t status = status_of(s);
		if (status == 0)
			return n < 12 && !l->last ? APP_P_MORE : APP_P_NO;
		app_decide(l, APP_HTTP, APP_BY_NATIVE);
		if (status < 200 && status != 101)
			return APP_P_NO; /* the final response is still to come */
		if ((l->st->stage & APP_S_RESPONSE) == 0)
			app_put_num(l, F_http_status, status);
		l->st->stage |= APP_S_RESPONSE;
		return APP_P_YES;
	}
	if (begins(s, "PRI * HTTP/2.0\r\n")) {
		app_decide(l, APP_HTTP, APP_BY_NATIVE);
		l->st->stage |= APP_S_SETTLED0 | APP_S_SETTLED1;
		return APP_P_YES;
	}
	return parse_request(l, s);
}
