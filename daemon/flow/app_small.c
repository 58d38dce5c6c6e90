/* SPDX-License-Identifier: Apache-2.0
 * flow/app_small.c - protocols told by a glance: IP protocols, SSH banners, a few datagrams. */
#include "flow/app_priv.h"

enum app_id
app_of_proto(uint8_t proto)
{
	static const uint8_t of[256] = {
		[1] = APP_ICMP, [2] = APP_IGMP, [4] = APP_IPIP, [8] = APP_EGP, [47] = APP_GRE,
		[50] = APP_IPSEC, [51] = APP_IPSEC, [58] = APP_ICMPV6, [89] = APP_OSPF,
		[112] = APP_VRRP, [132] = APP_SCTP,
	};
	return (enum app_id)of[proto];
}

enum app_parse
app_ssh_parse(struct app_look *l, const uint8_t *p, size_t n)
{
	/* RFC 4253 4.2: "SSH-protoversion-softwareversion", at most 255 bytes with its CR LF */
	if (n < 4 || memcmp(p, "SSH-", 4) != 0)
		return APP_P_NO;
	if (n < 8) {
		if (!l->last)
			return APP_P_MORE;
	} else if ((p[4] != '1' && p[4] != '2') || p[5] != '.') {
		return APP_P_NO;
	}
	size_t end = 0;
	while (end < n && end < 253 && p[end] != '\r' && p[end] != '\n')
		end++;
	app_decide(l, APP_SSH, APP_BY_NATIVE);
	if (end == n && n < 253 && !l->last)
		return APP_P_MORE;
	app_put(l, l->reverse ? F_ssh_server : F_ssh_client, p, end);
	return APP_P_YES;
}

static bool
is_ntp(const uint8_t *p, size_t n)
{
	unsigned version = p[0] >> 3 & 7, mode = p[0] & 7;
	if (mode == 6 || mode == 7) /* control and private messages have shorter headers */
		return n >= 8 && version >= 1 && version <= 4;
	return n >= 48 && version >= 1 && version <= 4 && mode != 0;
}

static bool
is_dhcp(const uint8_t *p, size_t n)
{
	static const uint8_t cookie[4] = {0x63, 0x82, 0x53, 0x63};
	return n >= 240 && (p[0] == 1 || p[0] == 2) && memcmp(p + 236, cookie, 4) == 0;
}

static bool
is_ssdp(const uint8_t *p, size_t n)
{
	return (n >= 9 && memcmp(p, "M-SEARCH ", 9) == 0) ||
	    (n >= 7 && memcmp(p, "NOTIFY ", 7) == 0) || (n >= 9 && memcmp(p, "HTTP/1.1 ", 9) == 0);
}

/* A long header (RFC 9000 17.2) of a version in use: 1, 2, or a late draft. */
static bool
is_quic(const uint8_t *p, size_t n)
{
	if (n < 1200 / 8 || (p[0] & 0xc0) != 0xc0 || p[5] > 20)
		return false;
	uint32_t v = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
	return v == 1 || v == 0x6b3343cf || v == 0x709a50c4 || (v >= 0xff00001b && v <= 0xff000022);
}

enum app_id
app_datagram(const struct app_look *l, const uint8_t *p, size_t n)
{
	if (n < 8)
		return APP_UNKNOWN;
	if (app_on_port(l, 123) && is_ntp(p, n))
		return APP_NTP;
	if ((app_on_port(l, 67) || app_on_port(l, 68)) && is_dhcp(p, n))
		return APP_DHCP;
	if (app_on_port(l, 1900) && is_ssdp(p, n))
		return APP_SSDP;
	/* nDPI, when there, also decrypts the first packets and finds the server name */
	if (l->e->ndpi.module == NULL && is_quic(p, n))
		return APP_QUIC;
	return APP_UNKNOWN;
}
