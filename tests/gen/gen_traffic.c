/* SPDX-License-Identifier: Apache-2.0
 *
 * gen_traffic - write a large, deterministic packet capture for benchmarks and tests.
 *
 * Use:    ./gen_traffic --packets 10000000 --flows 100000 --out big.pcap --summary big.json
 * --flow-list big.csv
 *
 * Model.  There are --flows slots, each holding one live flow at a time.  Every packet picks a
 * slot with probability
 * proportional to 1 / rank^zipf, so a few flows are large and most are small.  A flow in a
 * slot lives on average
 * D = flows / arrival-rate seconds (Little's law), so its mean length is its share of the
 * packet rate times D, at least
 * one packet; when it has sent its packets, the next flow starts in the slot.  Every flow has
 * a 5-tuple of its own:
 * client address and port are computed from the flow number and never used twice (up to
 * clients * 64512 flows).
 *
 * TCP flows carry a handshake, a request and a response (HTTP GET or TLS ClientHello with SNI,
 * as chosen), data one way
 * with ACKs the other way, and a FIN exchange when the flow is long enough (10 packets);
 * shorter flows stop early.
 * UDP flows are DNS (one query, one answer, again if longer) or plain datagrams.  ICMP flows
 * are echo request/reply.
 * Flows of more than 200 packets are never ICMP or DNS.
 * Sequence numbers, lengths and all checksums are right.  The same options and seed give the
 * same bytes.
 *
 * Only the POSIX C library is used (pow() and log() from libm).
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TCP = 6, UDP = 17, ICMP4 = 1, ICMP6 = 58 };
enum { APP_NONE, APP_HTTP, APP_TLS, APP_DNS, APP_PING, APP_COUNT };
enum { TH_FIN = 1, TH_SYN = 2, TH_RST = 4, TH_PSH = 8, TH_ACK = 16 };

static const char *const app_names[APP_COUNT] = {"none", "http", "tls", "dns", "ping"};

struct options {
	uint64_t packets, flows, clients, servers, seed, start_ns;
	double arrival, zipf, pps;
	unsigned ipv6, tcp, udp, icmp, http, tls, dns, vlan, snaplen;
	bool nanosecond, random_ports;
	const char *out, *summary, *flow_list, *mix;
};

struct flow {
	uint64_t number; /* 0, 1, 2, ... in order of creation */
	uint64_t first_ns, last_ns;
	uint64_t bytes[2]; /* IP bytes: 0 client to server, 1 server to client */
	uint32_t packets[2];
	uint32_t seq[2];       /* next TCP sequence number of each side */
	uint32_t sent, length; /* packets sent so far, packets this flow will have */
	uint16_t cport, sport;
	uint8_t client[16], server[16];
	uint8_t flags[2];
	uint8_t proto, app;
	bool v6;
	uint16_t vlan;
	uint32_t server_no;
};

/* ------------------------------------------------------------------ random numbers
 * (xoshiro256**, splitmix64 seed) */
static uint64_t rng_s[4];

static uint64_t
splitmix64(uint64_t *x)
{
	uint64_t z = (*x += 0x9E3779B97F4A7C15u);
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return z ^ (z >> 31);
}

static inline uint64_t
rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

static inline uint64_t
rnd(void)
{
	uint64_t r = rotl(rng_s[1] * 5, 7) * 9, t = rng_s[1] << 17;
	rng_s[2] ^= rng_s[0];
	rng_s[3] ^= rng_s[1];
	rng_s[1] ^= rng_s[2];
	rng_s[0] ^= rng_s[3];
	rng_s[2] ^= t;
	rng_s[3] = rotl(rng_s[3], 45);
	return r;
}

static inline uint32_t
rnd_below(uint32_t n)
{
	return (uint32_t)(((rnd() >> 32) * n) >> 32);
}
static inline double
rnd_unit(void)
{
	return (double)(rnd() >> 11) * 0x1p-53;
}

/* ------------------------------------------------------------------ Zipf choice by Walker's
 * alias method */
struct alias {
	uint32_t n;
	uint32_t *other;
	uint64_t *keep; /* threshold scaled to 2^32 */
	double *weight; /* normalised */
};

static void *
xalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);
	if (!p) {
		fprintf(stderr, "gen_traffic: out of memory\n");
		exit(1);
	}
	return p;
}

static void
alias_init(struct alias *a, uint32_t n, double skew)
{
	a->n = n;
	a->other = xalloc(n, sizeof *a->other);
	a->keep = xalloc(n, sizeof *a->keep);
	a->weight = xalloc(n, sizeof *a->weight);
	double total = 0;
	for (uint32_t i = 0; i < n; i++)
		total += a->weight[i] = pow((double)i + 1, -skew);
	double *scaled = xalloc(n, sizeof *scaled);
	uint32_t *small = xalloc(n, sizeof *small), *large = xalloc(n, sizeof *large);
	uint32_t ns = 0, nl = 0;
	for (uint32_t i = 0; i < n; i++) {
		a->weight[i] /= total;
		scaled[i] = a->weight[i] * n;
		if (scaled[i] < 1)
			small[ns++] = i;
		else
			large[nl++] = i;
	}
	while (ns && nl) {
		uint32_t s = small[--ns], l = large[nl - 1];
		a->keep[s] = (uint64_t)(scaled[s] * 4294967296.0);
		a->other[s] = l;
		scaled[l] -= 1 - scaled[s];
		if (scaled[l] < 1) {
			nl--;
			small[ns++] = l;
		}
	}
	while (nl)
		a->keep[large[--nl]] = UINT64_C(1) << 32;
	while (ns)
		a->keep[small[--ns]] = UINT64_C(1) << 32;
	free(scaled);
	free(small);
	free(large);
}

static inline uint32_t
alias_pick(const struct alias *a)
{
	uint64_t r = rnd();
	uint32_t i = (uint32_t)(((r >> 32) * a->n) >> 32);
	return (r & 0xFFFFFFFFu) < a->keep[i] ? i : a->other[i];
}

/* ------------------------------------------------------------------ packet sizes */
static struct {
	uint16_t size;
	uint32_t upto;
} mix[32];
static unsigned mix_n;
static uint32_t mix_total;

static bool
mix_parse(const char *spec)
{
	if (!strcmp(spec, "imix"))
		spec = "40:7,576:4,1500:1"; /* the classic 7:4:1 mix, sizes at IP level */
	while (*spec && mix_n < 32) {
		char *end;
		unsigned long size = strtoul(spec, &end, 10), weight = 1;
		if (end == spec)
			return false;
		if (*end == ':')
			weight = strtoul(end + 1, &end, 10);
		if (size < 40 || size > 9000 || weight == 0)
			return false;
		mix_total += (uint32_t)weight;
		mix[mix_n].size = (uint16_t)size;
		mix[mix_n++].upto = mix_total;
		spec = *end == ',' ? end + 1 : end;
		if (*end && *end != ',')
			return false;
	}
	return mix_n > 0;
}

static uint16_t
mix_pick(void)
{
	uint32_t r = rnd_below(mix_total);
	unsigned i = 0;
	while (r >= mix[i].upto)
		i++;
	return mix[i].size;
}

/* ------------------------------------------------------------------ output */
#define OUT_SIZE (8u << 20)
static uint8_t *out_buf;
static size_t out_len;
static int out_fd = 1;
static uint64_t out_total;

static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

static void
die(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fputs("gen_traffic: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

static void
out_flush(void)
{
	size_t done = 0;
	while (done < out_len) {
		ssize_t n = write(out_fd, out_buf + done, out_len - done);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			die("write: %s", strerror(errno));
		}
		done += (size_t)n;
	}
	out_total += out_len;
	out_len = 0;
}

static inline void
put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}
static inline void
put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

/* ------------------------------------------------------------------ checksums */
#define FILL 9216
static uint8_t fill[FILL];
static uint32_t fill_sum[FILL + 1]; /* ones' complement partial sums of fill[0..n) */

static inline uint32_t
sum16(const uint8_t *p, size_t n, uint32_t s)
{
	for (; n > 1; n -= 2, p += 2)
		s += (uint32_t)p[0] << 8 | p[1];
	if (n)
		s += (uint32_t)p[0] << 8;
	return s;
}

static inline uint16_t
fold(uint32_t s)
{
	s = (s >> 16) + (s & 0xFFFF);
	s += s >> 16;
	return (uint16_t)~s;
}

static void
fill_init(void)
{
	uint64_t x = 12345;
	for (size_t i = 0; i < FILL; i++)
		fill[i] = (uint8_t)(splitmix64(&x) >> 56);
	for (size_t i = 0; i <= FILL; i++) {
		uint32_t s = sum16(fill, i, 0);
		while (s >> 16)
			s = (s >> 16) + (s & 0xFFFF);
		fill_sum[i] = s;
	}
}

/* ------------------------------------------------------------------ application payloads */
static size_t
http_request(uint8_t *p, const struct flow *f)
{
	return (size_t)snprintf((char *)p, 512,
	    "GET /item/%" PRIu64 ".html HTTP/1.1\r\nHost: www%u.site.example\r\n"
	    "User-Agent: gen_traffic/1.0\r\nAccept: */*\r\n\r\n",
	    f->number, f->server_no);
}

static size_t
http_response(uint8_t *p)
{
	return (size_t)snprintf((char *)p, 512,
	    "HTTP/1.1 200 OK\r\nServer: gen\r\nContent-Type: text/html\r\n"
	    "Content-Length: 1000000\r\nConnection: keep-alive\r\n\r\n<html><body>");
}

static size_t
tls_client_hello(uint8_t *p, const struct flow *f)
{
	char name[64];
	size_t nl = (size_t)snprintf(name, sizeof(name), "host%u.tls.example", f->server_no), n = 0;
	static const uint8_t suites[] = {
	    0x13, 0x01, 0x13, 0x02, 0x13, 0x03, 0xC0, 0x2B, 0xC0, 0x2F, 0xC0, 0x2C, 0xC0, 0x30};
	uint8_t *rec = p, *hs = p + 5;
	rec[0] = 22;
	rec[1] = 3;
	rec[2] = 1;
	uint8_t *q = hs + 4;
	put16(q, 0x0303);
	q += 2;
	memcpy(q, fill + (f->number & 1023), 32);
	q += 32;
	*q++ = 32;
	memcpy(q, fill + 1024 + (f->number & 1023), 32);
	q += 32;
	put16(q, sizeof suites);
	q += 2;
	memcpy(q, suites, sizeof suites);
	q += sizeof suites;
	*q++ = 1;
	*q++ = 0;
	uint8_t *ext = q;
	q += 2;
	put16(q, 0);
	put16(q + 2, (uint32_t)nl + 5);
	put16(q + 4, (uint32_t)nl + 3);
	q[6] = 0;
	put16(q + 7, (uint32_t)nl);
	q += 9;
	memcpy(q, name, nl);
	q += nl;
	static const uint8_t more[] = {0x00, 0x0A, 0x00, 0x04, 0x00, 0x02, 0x00,
	    0x1D,							/* groups: x25519 */
	    0x00, 0x0D, 0x00, 0x06, 0x00, 0x04, 0x04, 0x03, 0x08, 0x04, /* signature algorithms */
	    0x00, 0x2B, 0x00, 0x05, 0x04, 0x03, 0x04, 0x03, 0x03,	/* versions 1.3, 1.2 */
	    0x00, 0x10, 0x00, 0x0E, 0x00, 0x0C, 0x02, 'h', '2', 0x08, 'h', 't', 't', 'p', '/', '1',
	    '.', '1'};
	memcpy(q, more, sizeof more);
	q += sizeof more;
	put16(ext, (uint32_t)(q - ext - 2));
	n = (size_t)(q - hs);
	hs[0] = 1;
	hs[1] = 0;
	put16(hs + 2, (uint32_t)(n - 4));
	put16(rec + 3, (uint32_t)n);
	return n + 5;
}

static size_t
tls_server_hello(uint8_t *p, const struct flow *f)
{
	uint8_t *hs = p + 5, *q = hs + 4;
	p[0] = 22;
	p[1] = 3;
	p[2] = 3;
	put16(q, 0x0303);
	q += 2;
	memcpy(q, fill + 2048 + (f->number & 1023), 32);
	q += 32;
	*q++ = 32;
	memcpy(q, fill + 1024 + (f->number & 1023), 32);
	q += 32;
	put16(q, 0x1301);
	q += 2;
	*q++ = 0;
	put16(q, 6);
	q += 2;
	put16(q, 0x002B);
	put16(q + 2, 2);
	put16(q + 4, 0x0304);
	q += 6;
	size_t n = (size_t)(q - hs);
	hs[0] = 2;
	hs[1] = 0;
	put16(hs + 2, (uint32_t)(n - 4));
	put16(p + 3, (uint32_t)n);
	return n + 5;
}

static size_t
dns_message(uint8_t *p, const struct flow *f, uint32_t id, bool answer)
{
	char name[64];
	int l = snprintf(name, sizeof(name), "name%" PRIu64, f->number);
	put16(p, id & 0xFFFF);
	put16(p + 2, answer ? 0x8180 : 0x0100);
	put16(p + 4, 1);
	put16(p + 6, answer ? 1 : 0);
	put32(p + 8, 0);
	uint8_t *q = p + 12;
	*q++ = (uint8_t)l;
	memcpy(q, name, (size_t)l);
	q += l;
	memcpy(q, "\3dns\7example", 13);
	q += 13; /* 13 bytes: the last is the root label */
	put16(q, 1);
	put16(q + 2, 1);
	q += 4;
	if (answer) {
		put16(q, 0xC00C);
		put16(q + 2, 1);
		put16(q + 4, 1);
		put32(q + 6, 300);
		put16(q + 10, 4);
		put32(q + 12, 0xC6336400u | (f->number & 0xFF)); /* 198.51.100.x */
		q += 16;
	}
	return (size_t)(q - p);
}

/* ------------------------------------------------------------------ flows */
static struct options opt;
static struct alias slots, server_pop;
static uint64_t flows_made, ipid;
#define LARGE_FLOW 200 /* packets */
static FILE *list;

static struct {
	uint64_t packets, ip_bytes, wire_bytes, v4, v6, vlan, by_proto[256], bytes_by_proto[256],
	    flows, flows_by_proto[256], flows_by_app[APP_COUNT], flows_v6, flows_complete;
	uint64_t first_ns, last_ns;
} tot;

/*
 * The k-th port of a client, k below 64512, in an order that looks random: a Feistel
 * permutation of 16 bits keyed by seed
 * and client, walked until it falls into the range.  A bijection for each client, so no pair
 * of client and port repeats.
 */
static uint16_t
random_port(uint32_t client, uint32_t k)
{
	uint32_t l = k >> 8, r = k & 255;
	do {
		for (uint64_t round = 0; round < 4; round++) {
			uint64_t x = opt.seed * 0x9E3779B97F4A7C15u ^ (uint64_t)client << 24 ^
				     round << 16 ^ r;
			uint32_t t = l ^ (uint32_t)(splitmix64(&x) & 255);
			l = r;
			r = t;
		}
	} while ((l << 8 | r) >= 64512);
	return (uint16_t)(1024 + (l << 8 | r));
}

static void
flow_start(struct flow *f, uint32_t slot)
{
	memset(f, 0, sizeof *f);
	uint64_t n = f->number = flows_made++;
	uint32_t c = (uint32_t)(n % opt.clients), s = alias_pick(&server_pop);
	f->server_no = s;
	f->v6 = rnd_below(100) < opt.ipv6;
	f->vlan = rnd_below(100) < opt.vlan ? (uint16_t)(100 + n % 16) : 0;
	double life = (double)opt.flows / opt.arrival; /* seconds */
	double mean = slots.weight[slot] * opt.pps * life, len = -log(1 - rnd_unit()) * mean;
	bool large = len > LARGE_FLOW;
	uint32_t r = rnd_below(opt.tcp + opt.udp + opt.icmp);
	if (large && r >= opt.tcp + opt.udp &&
	    opt.tcp + opt.udp) /* a large flow is never ICMP ... */
		r = rnd_below(opt.tcp + opt.udp);
	f->proto = r < opt.tcp ? TCP : r < opt.tcp + opt.udp ? UDP : f->v6 ? ICMP6 : ICMP4;
	f->cport = (uint16_t)(1024 + (n / opt.clients) % 64512);
	if (opt.random_ports)
		f->cport = random_port(c, (uint32_t)((n / opt.clients) % 64512));
	if (f->proto == TCP) {
		r = rnd_below(100);
		f->app = r < opt.http ? APP_HTTP : r < opt.http + opt.tls ? APP_TLS : APP_NONE;
		f->sport = f->app == APP_HTTP  ? 80
			   : f->app == APP_TLS ? 443
					       : (uint16_t)(30001 + s % 50);
	} else if (f->proto == UDP) {
		f->app = rnd_below(100) < opt.dns && !large ? APP_DNS : APP_NONE; /* ... nor DNS */
		f->sport = f->app == APP_DNS ? 53 : (uint16_t)(20000 + s % 1000);
	} else {
		f->app = APP_PING; /* cport becomes the echo identifier; the flow key has ports 0 */
		f->sport = 0;
	}
	if (f->v6) {
		static const uint8_t cp[8] = {0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 1},
				     sp[8] = {0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 2};
		memcpy(f->client, cp, 8);
		memcpy(f->server, sp, 8);
		put32(f->client + 12, c + 1);
		put32(f->server + 12, s + 1);
		if (f->proto == ICMP6) /* no ports: keep the address pair unique */
			put32(f->client + 8, (uint32_t)(n / opt.clients) + 1);
	} else {
		put32(f->client, 0x0A000000u + ((c + 1) & 0x00FFFFFFu));
		put32(f->server, 0xAC100000u + ((s + 1) & 0x000FFFFFu));
		if (f->proto ==
		    ICMP4) { /* no ports: keep the address pair unique: 100.64.0.0/10 server side */
			put32(f->client, 0x0A000000u + (uint32_t)((n + 1) & 0x00FFFFFFu));
			put32(f->server, 0x64400000u + (uint32_t)((n >> 24) & 0x003FFFFFu) + 1);
		}
	}
	f->seq[0] = (uint32_t)rnd();
	f->seq[1] = (uint32_t)rnd();
	if (f->app == APP_DNS && len < 2)
		len = 2;
	f->length = len < 1 ? 1 : len > 4e9 ? 4000000000u : (uint32_t)(len + 0.5);
	tot.flows++;
	tot.flows_by_proto[f->proto]++;
	tot.flows_by_app[f->app]++;
	tot.flows_v6 += f->v6;
}

static void
addr_text(char *t, const uint8_t *a, bool v6)
{
	inet_ntop(v6 ? AF_INET6 : AF_INET, a, t, 64);
}

static void
flow_end(const struct flow *f)
{
	tot.flows_complete += f->sent == f->length;
	if (!list || !f->sent)
		return;
	char c[64], s[64];
	addr_text(c, f->client, f->v6);
	addr_text(s, f->server, f->v6);
	bool icmp = f->proto != TCP && f->proto != UDP;
	fprintf(list,
	    "%" PRIu64 ",%u,%s,%u,%s,%u,%" PRIu32 ",%" PRIu64 ",%" PRIu32 ",%" PRIu64 ",%" PRIu64
	    ",%" PRIu64 ",%u,%u,%u,%s\n",
	    f->number, f->proto, c, icmp ? 0u : f->cport, s, icmp ? 0u : f->sport, f->packets[0],
	    f->bytes[0], f->packets[1], f->bytes[1], f->first_ns, f->last_ns, f->flags[0],
	    f->flags[1], f->vlan, app_names[f->app]);
}

/* Write one packet of flow f.  dir 0: client to server.  payload NULL: filler bytes. */
static void
emit(struct flow *f, uint64_t now, int dir, uint8_t flags, const uint8_t *payload, size_t plen)
{
	const uint8_t *src = dir ? f->server : f->client, *dst = dir ? f->client : f->server;
	size_t l4 = f->proto == TCP ? 20 : 8, iph = f->v6 ? 40 : 20, eth = f->vlan ? 18 : 14;
	size_t iplen = iph + l4 + plen, wire = eth + iplen;
	size_t cap = opt.snaplen && wire > opt.snaplen ? opt.snaplen : wire;
	size_t need = 16 + wire;
	if (out_len + need > OUT_SIZE)
		out_flush();
	uint8_t *h = out_buf + out_len, *p = h + 16, *ip = p + eth, *t = ip + iph;
	uint32_t sec = (uint32_t)(now / 1000000000u), frac = (uint32_t)(now % 1000000000u),
		 c32 = (uint32_t)cap, w32 = (uint32_t)wire;
	if (!opt.nanosecond)
		frac /= 1000;
	memcpy(h, &sec, 4);
	memcpy(h + 4, &frac, 4);
	memcpy(h + 8, &c32, 4);
	memcpy(h + 12, &w32, 4);
	static const uint8_t mac[2][12] = {
	    {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}};
	memcpy(p, mac[dir], 12);
	if (f->vlan) {
		put16(p + 12, 0x8100);
		put16(p + 14, f->vlan);
	}
	put16(ip - 2, f->v6 ? 0x86DD : 0x0800);
	uint32_t pseudo;
	if (f->v6) {
		put32(ip, 0x60000000u);
		put16(ip + 4, (uint32_t)(l4 + plen));
		ip[6] = f->proto;
		ip[7] = 64;
		memcpy(ip + 8, src, 16);
		memcpy(ip + 24, dst, 16);
		pseudo = sum16(ip + 8, 32, 0);
	} else {
		put16(ip, 0x4500);
		put16(ip + 2, (uint32_t)iplen);
		put16(ip + 4, (uint32_t)(ipid++ & 0xFFFF));
		put16(ip + 6, 0x4000);
		ip[8] = 64;
		ip[9] = f->proto;
		put16(ip + 10, 0);
		memcpy(ip + 12, src, 4);
		memcpy(ip + 16, dst, 4);
		put16(ip + 10, fold(sum16(ip, 20, 0)));
		pseudo = sum16(ip + 12, 8, 0);
	}
	pseudo += f->proto + (uint32_t)(l4 + plen);
	uint8_t *body = t + l4;
	uint32_t sum;
	if (payload) {
		memcpy(body, payload, plen);
		sum = sum16(payload, plen, 0);
	} else {
		size_t room = cap > (size_t)(body - p) ? cap - (size_t)(body - p) : 0;
		memcpy(body, fill, room < plen ? room : plen);
		sum = fill_sum[plen];
	}
	if (f->proto == TCP) {
		put16(t, dir ? f->sport : f->cport);
		put16(t + 2, dir ? f->cport : f->sport);
		put32(t + 4, f->seq[dir]);
		put32(t + 8, flags & TH_ACK ? f->seq[!dir] : 0);
		t[12] = 0x50;
		t[13] = flags;
		put16(t + 14, 65535);
		put32(t + 16, 0);
		put16(t + 16, fold(sum16(t, 20, pseudo) + sum));
		f->seq[dir] += (uint32_t)plen + ((flags & (TH_SYN | TH_FIN)) ? 1 : 0);
		f->flags[dir] |= flags;
	} else if (f->proto == UDP) {
		put16(t, dir ? f->sport : f->cport);
		put16(t + 2, dir ? f->cport : f->sport);
		put16(t + 4, (uint32_t)(8 + plen));
		put16(t + 6, 0);
		uint16_t ck = fold(sum16(t, 8, pseudo) + sum);
		put16(t + 6, ck ? ck : 0xFFFF);
	} else {
		t[0] = f->v6 ? (dir ? 129 : 128) : (dir ? 0 : 8);
		t[1] = 0;
		put16(t + 2, 0);
		put16(t + 4, f->cport);
		put16(t + 6, (f->sent / 2) & 0xFFFF);
		put16(t + 2, fold(sum16(t, 8, f->v6 ? pseudo : 0) + sum));
	}
	out_len += 16 + cap;
	if (!f->sent)
		f->first_ns = now;
	f->last_ns = now;
	f->sent++;
	f->packets[dir]++;
	f->bytes[dir] += iplen;
	tot.packets++;
	tot.ip_bytes += iplen;
	tot.wire_bytes += wire;
	tot.by_proto[f->proto]++;
	tot.bytes_by_proto[f->proto] += iplen;
	if (f->v6)
		tot.v6++;
	else
		tot.v4++;
	tot.vlan += f->vlan != 0;
}

static size_t
filler(const struct flow *f, size_t l4)
{
	size_t head = (f->v6 ? 40 : 20) + l4, size = mix_pick();
	return size > head ? size - head
			   : 1; /* at least one byte, so that TCP data is never a bare ACK */
}

/* What the next packet of the flow is. */
static void
step(struct flow *f, uint64_t now)
{
	uint8_t buf[1024];
	uint32_t k = f->sent, left = f->length - k;
	if (f->proto == UDP) {
		if (f->app == APP_DNS)
			emit(f, now, k & 1, 0, buf,
			    dns_message(buf, f, (uint32_t)f->number + k / 2, k & 1));
		else
			emit(f, now, k % 4 == 3, 0, NULL, filler(f, 8));
		return;
	}
	if (f->proto != TCP) {
		emit(f, now, k & 1, 0, NULL, 56);
		return;
	}
	if (k == 0) {
		emit(f, now, 0, TH_SYN, NULL, 0);
	} else if (k == 1) {
		emit(f, now, 1, TH_SYN | TH_ACK, NULL, 0);
	} else if (k == 2) {
		emit(f, now, 0, TH_ACK, NULL, 0);
	} else if (f->length >= 10 && left <= 3) {
		if (left == 3)
			emit(f, now, 0, TH_FIN | TH_ACK, NULL, 0);
		else if (left == 2)
			emit(f, now, 1, TH_FIN | TH_ACK, NULL, 0);
		else
			emit(f, now, 0, TH_ACK, NULL, 0);
	} else if (k == 3 && f->app == APP_HTTP) {
		emit(f, now, 0, TH_PSH | TH_ACK, buf, http_request(buf, f));
	} else if (k == 4 && f->app == APP_HTTP) {
		emit(f, now, 1, TH_PSH | TH_ACK, buf, http_response(buf));
	} else if (k == 3 && f->app == APP_TLS) {
		emit(f, now, 0, TH_PSH | TH_ACK, buf, tls_client_hello(buf, f));
	} else if (k == 4 && f->app == APP_TLS) {
		emit(f, now, 1, TH_PSH | TH_ACK, buf, tls_server_hello(buf, f));
	} else if (k % 3 == 2) {
		emit(f, now, 0, TH_ACK, NULL, 0);
	} else {
		emit(f, now, 1, TH_ACK, NULL, filler(f, 20));
	}
}

static void
write_summary(FILE *s)
{
	fprintf(s,
	    "{\n \"packets\": %" PRIu64 ", \"ip_bytes\": %" PRIu64 ", \"wire_bytes\": %" PRIu64
	    ", \"ipv4_packets\": %" PRIu64 ", \"ipv6_packets\": %" PRIu64
	    ", \"vlan_packets\": %" PRIu64 ",\n",
	    tot.packets, tot.ip_bytes, tot.wire_bytes, tot.v4, tot.v6, tot.vlan);
	fprintf(s,
	    " \"first_ns\": %" PRIu64 ", \"last_ns\": %" PRIu64 ", \"file_bytes\": %" PRIu64 ",\n",
	    tot.first_ns, tot.last_ns, out_total);
	fprintf(s,
	    " \"flows\": %" PRIu64 ", \"flows_ipv6\": %" PRIu64 ", \"flows_complete\": %" PRIu64
	    ",\n \"protocols\": {",
	    tot.flows, tot.flows_v6, tot.flows_complete);
	const char *sep = "";
	for (int i = 0; i < 256; i++)
		if (tot.by_proto[i]) {
			fprintf(s,
			    "%s\"%d\": {\"packets\": %" PRIu64 ", \"bytes\": %" PRIu64
			    ", \"flows\": %" PRIu64 "}",
			    sep, i, tot.by_proto[i], tot.bytes_by_proto[i], tot.flows_by_proto[i]);
			sep = ", ";
		}
	fprintf(s, "},\n \"flows_by_app\": {");
	for (int i = 0; i < APP_COUNT; i++)
		fprintf(s, "%s\"%s\": %" PRIu64, i ? ", " : "", app_names[i], tot.flows_by_app[i]);
	fprintf(s,
	    "},\n \"options\": {\"packets\": %" PRIu64 ", \"flows\": %" PRIu64
	    ", \"arrival_rate\": %g, \"zipf\": %g, \"pps\": %g, \"mix\": \"%s\", \"ipv6\": %u, "
	    "\"tcp\": %u, \"udp\": %u, \"icmp\": %u, \"http\": %u, \"tls\": %u, \"dns\": %u, "
	    "\"vlan\": %u, \"clients\": %" PRIu64 ", \"servers\": %" PRIu64 ", \"seed\": %" PRIu64
	    ", \"snaplen\": %u}\n}\n",
	    opt.packets, opt.flows, opt.arrival, opt.zipf, opt.pps, opt.mix, opt.ipv6, opt.tcp,
	    opt.udp, opt.icmp, opt.http, opt.tls, opt.dns, opt.vlan, opt.clients, opt.servers,
	    opt.seed, opt.snaplen);
}

static void
usage(FILE *f)
{
	fputs("usage: gen_traffic [options]\n"
	      "  --out FILE          pcap to write, - for standard output (default -)\n"
	      "  --packets N         packets to write (1000000)\n"
	      "  --flows N           flows alive at the same time (10000)\n"
	      "  --arrival-rate R    new flows per second (flows / 10)\n"
	      "  --zipf S            skew of the flow sizes, 0 = all equal (1.0)\n"
	      "  --pps R             packets per second, for the timestamps (100000)\n"
	      "  --mix SPEC          sizes of data packets at IP level: imix, or size:weight,... "
	      "(imix)\n"
	      "  --ipv6 P            percent of flows over IPv6 (20)\n"
	      "  --tcp P --udp P --icmp P   shares of flows (80 18 2)\n"
	      "  --http P --tls P    percent of TCP flows with HTTP / TLS payload (30 60)\n"
	      "  --dns P             percent of UDP flows that are DNS (60)\n"
	      "  --vlan P            percent of flows with an 802.1Q tag (0)\n"
	      "  --clients N --servers N    address pools (65536 4096)\n"
	      "  --snaplen N         keep at most N bytes of a packet, 0 = all (0)\n"
	      "  --nanosecond        nanosecond pcap\n"
	      "  --random-ports      client ports in random order instead of counting up\n"
	      "  --start SEC         time of the first packet, Unix seconds (1700000000)\n"
	      "  --seed N            (1)\n"
	      "  --summary FILE      write totals as JSON\n"
	      "  --flow-list FILE    write every flow as CSV: "
	      "number,proto,client,cport,server,sport,fwd_packets,fwd_bytes,\n"
	      "                      "
	      "rev_packets,rev_bytes,first_ns,last_ns,fwd_tcp_flags,rev_tcp_flags,vlan,app\n",
	    f);
}

static double
num(const char *s, const char *what, double lo, double hi)
{
	char *end;
	double v = strtod(s, &end);
	if (*end || end == s || !(v >= lo && v <= hi))
		die("bad value for --%s: %s", what, s);
	return v;
}

/* Options that are numbers: where they go and what they may be. */
static const struct number {
	int c;
	uint64_t *u;
	unsigned *n;
	double *d;
	double lo, hi;
} numbers[] = {
	{'n', &opt.packets, NULL, NULL, 0, 1e12}, {'f', &opt.flows, NULL, NULL, 1, 2e7},
	{'c', &opt.clients, NULL, NULL, 1, 1 << 24}, {'s', &opt.servers, NULL, NULL, 1, 1048574},
	{'e', &opt.seed, NULL, NULL, 0, 1e18}, {'l', NULL, &opt.snaplen, NULL, 0, 262144},
	{'6', NULL, &opt.ipv6, NULL, 0, 100}, {'t', NULL, &opt.tcp, NULL, 0, 100},
	{'u', NULL, &opt.udp, NULL, 0, 100}, {'i', NULL, &opt.icmp, NULL, 0, 100},
	{'H', NULL, &opt.http, NULL, 0, 100}, {'T', NULL, &opt.tls, NULL, 0, 100},
	{'D', NULL, &opt.dns, NULL, 0, 100}, {'v', NULL, &opt.vlan, NULL, 0, 100},
	{'a', NULL, NULL, &opt.arrival, 1e-3, 1e9}, {'z', NULL, NULL, &opt.zipf, 0, 5},
	{'r', NULL, NULL, &opt.pps, 1e-3, 1e9},
};

static bool
option_number(int c, const char *name, const char *text)
{
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
		const struct number *x = &numbers[i];
		if (x->c != c)
			continue;
		double v = num(text, name, x->lo, x->hi);
		if (x->u)
			*x->u = (uint64_t)v;
		else if (x->n)
			*x->n = (unsigned)v;
		else
			*x->d = v;
		return true;
	}
	return false;
}

/* -1: go on; else the exit status. */
static int
options_parse(int argc, char **argv)
{
	opt = (struct options){.packets = 1000000, .flows = 10000, .clients = 65536, .servers = 4096,
	    .seed = 1, .start_ns = UINT64_C(1700000000) * 1000000000u, .zipf = 1.0, .pps = 100000,
	    .ipv6 = 20, .tcp = 80, .udp = 18, .icmp = 2, .http = 30, .tls = 60, .dns = 60,
	    .out = "-", .mix = "imix"};
	static const struct option lo[] = {{"out", 1, 0, 'o'}, {"packets", 1, 0, 'n'},
	    {"flows", 1, 0, 'f'}, {"arrival-rate", 1, 0, 'a'}, {"zipf", 1, 0, 'z'},
	    {"pps", 1, 0, 'r'}, {"mix", 1, 0, 'm'}, {"ipv6", 1, 0, '6'}, {"tcp", 1, 0, 't'},
	    {"udp", 1, 0, 'u'}, {"icmp", 1, 0, 'i'}, {"http", 1, 0, 'H'}, {"tls", 1, 0, 'T'},
	    {"dns", 1, 0, 'D'}, {"vlan", 1, 0, 'v'}, {"clients", 1, 0, 'c'}, {"servers", 1, 0, 's'},
	    {"snaplen", 1, 0, 'l'}, {"nanosecond", 0, 0, 'N'}, {"random-ports", 0, 0, 'R'},
	    {"start", 1, 0, 'S'}, {"seed", 1, 0, 'e'}, {"summary", 1, 0, 'y'},
	    {"flow-list", 1, 0, 'L'}, {"help", 0, 0, 'h'}, {0, 0, 0, 0}};
	int c, ix = 0;
	while ((c = getopt_long(argc, argv, "", lo, &ix)) != -1) {
		const char *w = ix >= 0 && ix < 25 ? lo[ix].name : "";
		if (option_number(c, w, optarg))
			continue;
		switch (c) {
		case 'o':
			opt.out = optarg;
			break;
		case 'm':
			opt.mix = optarg;
			break;
		case 'N':
			opt.nanosecond = true;
			break;
		case 'R':
			opt.random_ports = true;
			break;
		case 'S':
			opt.start_ns = (uint64_t)num(optarg, w, 0, 4e9) * 1000000000u;
			break;
		case 'y':
			opt.summary = optarg;
			break;
		case 'L':
			opt.flow_list = optarg;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc)
		die("unexpected argument %s", argv[optind]);
	return -1;
}

static void
options_check(void)
{
	if (opt.tcp + opt.udp + opt.icmp == 0)
		die("no protocol left");
	if (opt.http + opt.tls > 100)
		die("--http and --tls together exceed 100");
	if (!mix_parse(opt.mix))
		die("bad --mix %s (sizes 40 to 9000)", opt.mix);
	if (opt.arrival == 0)
		opt.arrival = (double)opt.flows / 10;
}

static void
files_open(void)
{
	if (strcmp(opt.out, "-")) {
		FILE *f = fopen(opt.out, "wb");
		if (!f)
			die("%s: %s", opt.out, strerror(errno));
		out_fd = fileno(f);
	}
	if (opt.flow_list) {
		list = fopen(opt.flow_list, "w");
		if (!list)
			die("%s: %s", opt.flow_list, strerror(errno));
		fputs("number,proto,client,cport,server,sport,fwd_packets,fwd_bytes,rev_packets,"
		      "rev_bytes,first_ns,last_ns,fwd_tcp_flags,rev_tcp_flags,vlan,app\n",
		    list);
	}
}

static void
packets_write(void)
{
	uint64_t x = opt.seed;
	for (int i = 0; i < 4; i++)
		rng_s[i] = splitmix64(&x);
	fill_init();
	alias_init(&slots, (uint32_t)opt.flows, opt.zipf);
	alias_init(&server_pop, (uint32_t)opt.servers, 1.0);
	struct flow *tab = xalloc(opt.flows, sizeof *tab);
	out_buf = xalloc(OUT_SIZE, 1);
	uint32_t gh[6] = {opt.nanosecond ? 0xA1B23C4Du : 0xA1B2C3D4u, 4u << 16 | 2u, 0, 0,
	    opt.snaplen ? opt.snaplen : 262144, 1};
	memcpy(out_buf, gh, 24); /* host byte order, as pcap allows */
	out_len = 24;
	uint64_t now = opt.start_ns;
	double gap = 2e9 / opt.pps; /* uniform in [0, 2 / pps) */
	tot.first_ns = now;
	for (uint64_t n = 0; n < opt.packets; n++) {
		uint32_t s = alias_pick(&slots);
		struct flow *f = &tab[s];
		if (!f->length)
			flow_start(f, s);
		step(f, now);
		tot.last_ns = now;
		if (f->sent == f->length) {
			flow_end(f);
			f->length = 0;
		}
		now += (uint64_t)(rnd_unit() * gap);
	}
	for (uint64_t i = 0; i < opt.flows; i++)
		if (tab[i].length)
			flow_end(&tab[i]);
	out_flush();
}

static void
files_close(void)
{
	if (strcmp(opt.out, "-") && close(out_fd))
		die("%s: %s", opt.out, strerror(errno));
	if (list && fclose(list))
		die("%s: %s", opt.flow_list, strerror(errno));
	if (opt.summary) {
		FILE *s = fopen(opt.summary, "w");
		if (!s)
			die("%s: %s", opt.summary, strerror(errno));
		write_summary(s);
		if (fclose(s))
			die("%s: %s", opt.summary, strerror(errno));
	}
}

int
main(int argc, char **argv)
{
	int status = options_parse(argc, argv);
	if (status >= 0)
		return status;
	options_check();
	files_open();
	packets_write();
	files_close();
	return 0;
}
