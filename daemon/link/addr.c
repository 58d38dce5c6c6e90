/* SPDX-License-Identifier: Apache-2.0
 * link/addr.c - addresses of ends: who binds, who connects, what is only this host. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

#include "link/link_priv.h"

static const char usage[] = "(write tcp://HOST:PORT or ipc://PATH; * binds to all addresses, "
    "?bind or ?connect says which side listens)";

void
address_of(const struct sockaddr *sa, socklen_t len, char *out, size_t size, char *ip,
    size_t ip_size)
{
	char host[INET6_ADDRSTRLEN] = "";
	unsigned port = 0;
	out[0] = ip[0] = '\0';
	/* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): len says it was filled */
	if (len >= sizeof(struct sockaddr_in) && sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		port = ntohs(in->sin_port);
	} else if (len >= sizeof(struct sockaddr_in6) && sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const void *)sa;
		if (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr))
			inet_ntop(AF_INET, &in->sin6_addr.s6_addr[12], host, sizeof(host));
		else
			inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof(host));
		port = ntohs(in->sin6_port);
	} else {
		return;
	}
	snprintf(ip, ip_size, "%s", host);
	snprintf(out, size, strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host, port);
}

void
address_peer(int fd, char *out, size_t size, char *ip, size_t ip_size)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	out[0] = ip[0] = '\0';
	if (fd >= 0 && getpeername(fd, (struct sockaddr *)&sa, &len) == 0)
		address_of((const struct sockaddr *)&sa, len, out, size, ip, ip_size);
}

/* Does this numeric address belong to an interface of this host? */
static bool
is_local(const struct sockaddr *sa)
{
	struct ifaddrs *all;
	bool found = false;
	if (getifaddrs(&all) != 0)
		return false;
	for (const struct ifaddrs *i = all; i != NULL && !found; i = i->ifa_next) {
		if (i->ifa_addr == NULL || i->ifa_addr->sa_family != sa->sa_family)
			continue;
		if (sa->sa_family == AF_INET)
			found = memcmp(&((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr,
			    &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4) == 0;
		else if (sa->sa_family == AF_INET6)
			found = memcmp(
			    &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr,
			    &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16) == 0;
	}
	freeifaddrs(all);
	return found;
}

/* Addresses that mean something else, or nothing, beyond a NAT router. */
static bool
is_private(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET) {
		uint32_t a = ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr);
		return a >> 24 == 10 || a >> 20 == 0xac1 || a >> 16 == 0xc0a8 ||
		    a >> 22 == 0x64400000 >> 22 || a >> 16 == 0xa9fe;
	}
	const uint8_t *b = ((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr.s6_addr;
	return (b[0] & 0xfe) == 0xfc || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80);
}

/* Looks at the host part: numeric or a name, loopback, ours. Names are not resolved. */
static void
judge_host(struct address *a, unsigned port)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *ai;
	if (strcmp(a->host, "*") == 0) {
		a->bind = a->v6 = a->wildcard = true;
		return;
	}
	if (getaddrinfo(a->host, NULL, &hints, &ai) != 0) {
		a->is_name = a->v6 = true; /* the first try turns it: IPv4 */
		a->ours = a->loopback = strcmp(a->host, "localhost") == 0;
		return;
	}
	a->v6 = ai->ai_family == AF_INET6;
	a->sa_len = ai->ai_addrlen;
	memcpy(&a->sa, ai->ai_addr, ai->ai_addrlen);
	/* the port is at the same place in both families */
	((struct sockaddr_in *)(void *)&a->sa)->sin_port = htons((uint16_t)port);
	if (ai->ai_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)ai->ai_addr;
		a->loopback = ntohl(in->sin_addr.s_addr) >> 24 == 127;
		a->wildcard = in->sin_addr.s_addr == 0;
	} else {
		const struct sockaddr_in6 *in = (const void *)ai->ai_addr;
		a->loopback = IN6_IS_ADDR_LOOPBACK(&in->sin6_addr);
		a->wildcard = IN6_IS_ADDR_UNSPECIFIED(&in->sin6_addr);
	}
	a->ours = a->loopback || is_local(ai->ai_addr);
	a->bind = a->ours || a->wildcard;
	a->private = is_private(ai->ai_addr);
	freeaddrinfo(ai);
}

/* HOST:PORT, [HOST]:PORT, *:PORT; the port a number or * */
static int
parse_tcp(struct strv s, struct address *a, const char *text, struct err *err)
{
	size_t colon = s.n;
	while (colon > 0 && s.p[colon - 1] != ':')
		colon--;
	struct strv host = {s.p, colon > 0 ? colon - 1 : 0};
	struct strv port = {s.p + colon, s.n - colon};
	if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = (struct strv){host.p + 1, host.n - 2};
	else if (memchr(host.p, ':', host.n) != NULL)
		return err_set(err, E_SYNTAX, "address %s: an IPv6 address needs brackets %s", text, usage);
	if (colon == 0 || host.n == 0 || host.n >= sizeof(a->host))
		return err_set(err, E_SYNTAX, "address %s: no host and port %s", text, usage);
	unsigned n = 0;
	for (size_t i = 0; i < port.n && n <= 65535; i++)
		n = port.p[i] >= '0' && port.p[i] <= '9' ? n * 10 + (unsigned)(port.p[i] - '0') : 65536;
	if (!strv_eq(port, STRV("*")) && (port.n == 0 || n == 0 || n > 65535))
		return err_set(err, E_SYNTAX, "address %s: the port must be 1-65535", text);
	memcpy(a->host, host.p, host.n);
	a->host[host.n] = '\0';
	judge_host(a, n);
	return 0;
}

int
address_parse(const char *text, struct address *a, struct err *err)
{
	struct strv s = strv_of(text);
	int side = 0; /* 1 bind, -1 connect */
	*a = (struct address){0};
	const char *q = memchr(s.p, '?', s.n);
	if (q != NULL) {
		struct strv what = {q + 1, s.n - (size_t)(q + 1 - s.p)};
		side = strv_eq(what, STRV("bind")) ? 1 : strv_eq(what, STRV("connect")) ? -1 : 0;
		if (side == 0)
			return err_set(err, E_SYNTAX, "address %s: after ? comes bind or connect", text);
		s.n = (size_t)(q - s.p);
	}
	if (s.n > 6 && strncmp(s.p, "tcp://", 6) == 0) {
		bool c = s.p[s.n - 1] == 'c' && s.n > 7 && ((s.p[s.n - 2] >= '0' && s.p[s.n - 2] <= '9') ||
		    s.p[s.n - 2] == '*');
		if (c) {
			s.n--;
			side = side == 0 ? -1 : side;
		}
		int rc = parse_tcp((struct strv){s.p + 6, s.n - 6}, a, text, err);
		if (rc != 0)
			return rc;
	} else if (s.n > 6 && strncmp(s.p, "ipc://", 6) == 0) {
		a->ipc = a->loopback = a->ours = a->bind = true;
		if (s.n - 6 >= 108)
			return err_set(err, E_RANGE, "address %s: a socket's path has at most 107 octets",
			    text);
	} else {
		return err_set(err, E_SYNTAX, "address %s: not understood %s", text, usage);
	}
	a->stated = side != 0;
	if (side != 0)
		a->bind = side > 0;
	if (!a->bind && (strcmp(a->host, "*") == 0 || s.p[s.n - 1] == '*'))
		return err_set(err, E_INVAL, "address %s: cannot connect to a wildcard", text);
	snprintf(a->endpoint, sizeof(a->endpoint), "%.*s", (int)s.n, s.p);
	return 0;
}
