/* SPDX-License-Identifier: Apache-2.0
 * unit/input/files.h - make capture files for tests, octet by octet. */
#ifndef FLOWBUS_TESTS_INPUT_FILES_H
#define FLOWBUS_TESTS_INPUT_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"

struct maker {
	struct buf b;
	bool is_big; /* byte order */
};

static inline void
put16(struct maker *m, uint16_t v)
{
	buf_u8(&m->b, (uint8_t)(m->is_big ? v >> 8 : v));
	buf_u8(&m->b, (uint8_t)(m->is_big ? v : v >> 8));
}

static inline void
put32(struct maker *m, uint32_t v)
{
	put16(m, (uint16_t)(m->is_big ? v >> 16 : v));
	put16(m, (uint16_t)(m->is_big ? v : v >> 16));
}

static inline void
put_pcap_header(struct maker *m, uint32_t magic, unsigned major, unsigned minor, uint32_t linktype)
{
	put32(m, magic);
	put16(m, (uint16_t)major);
	put16(m, (uint16_t)minor);
	put32(m, 0);
	put32(m, 0);
	put32(m, 65535);
	put32(m, linktype);
}

static inline void
put_pcap_packet(struct maker *m, uint32_t s, uint32_t fraction, const uint8_t *p, uint32_t caplen,
    uint32_t wirelen)
{
	put32(m, s);
	put32(m, fraction);
	put32(m, caplen);
	put32(m, wirelen);
	buf_put(&m->b, p, caplen);
}

/** A pcapng block; the body is padded to 4 octets. */
static inline void
put_block(struct maker *m, uint32_t type, const struct maker *body)
{
	uint32_t padded = (uint32_t)((body->b.n + 3) & ~(size_t)3);
	put32(m, type);
	put32(m, padded + 12);
	buf_put(&m->b, body->b.p, body->b.n);
	for (size_t i = body->b.n; i < padded; i++)
		buf_u8(&m->b, 0);
	put32(m, padded + 12);
}

/** Ethernet, IPv4, UDP from 10.0.0.@host:@port to 10.0.1.1:53 with @n octets of payload. */
static inline uint32_t
make_udp(uint8_t out[1600], uint8_t host, uint16_t port, uint32_t n)
{
	uint32_t len = 28 + n;
	static const uint8_t head[] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 0, 0,
	    1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 0, 10, 0, 1, 1, 0, 0, 0, 53, 0, 0, 0, 0};
	memset(out, 0x61, 1600);
	memcpy(out, head, sizeof(head));
	out[16] = (uint8_t)(len >> 8);
	out[17] = (uint8_t)len;
	out[29] = host;
	out[34] = (uint8_t)(port >> 8);
	out[35] = (uint8_t)port;
	out[38] = (uint8_t)((8 + n) >> 8);
	out[39] = (uint8_t)(8 + n);
	return 14 + len;
}

/** Write what was made to a fresh file; the path into @path. Frees the maker's storage. */
static inline bool
write_file(struct maker *m, char path[64])
{
	snprintf(path, 64, "/tmp/flowbus-test-XXXXXX");
	int fd = mkstemp(path);
	bool ok = fd >= 0 && m->b.err == 0 && write(fd, m->b.p, m->b.n) == (ssize_t)m->b.n;
	if (fd >= 0)
		close(fd);
	buf_fini(&m->b);
	return ok;
}

#endif
