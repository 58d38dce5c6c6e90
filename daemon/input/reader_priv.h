/* SPDX-License-Identifier: Apache-2.0
 * input/reader_priv.h - what the pcap and pcapng readers share: the buffer. */
#ifndef FLOWBUS_INPUT_READER_PRIV_H
#define FLOWBUS_INPUT_READER_PRIV_H

#include "input/reader.h"

enum {
	READER_BUFFER = 256 << 10,    /* stays in the second-level cache */
	READER_CAPLEN_MAX = 64 << 20, /* a longer packet is a damaged file */
	READER_IFACES_MAX = 65536,
};

#define READER_TIME_MAX (INT64_C(1) << 61) /* so that two times can be subtracted */

struct reader_iface {
	int linktype;
	uint32_t snaplen;
	uint64_t units;	  /* time units in a second */
	int64_t offset_s; /* added to times, seconds */
};

struct reader {
	int fd, wake_fd;
	bool is_pipe, is_eof, is_header_read, is_ng;
	char name[160]; /* for messages */
	uint8_t *buf;
	size_t at, end, cap; /* unread bytes are buf[at..end) */
	size_t need;	     /* bytes the next step wants at `at` */
	uint64_t offset;     /* of buf[0] in the file */
	uint64_t skip;	     /* bytes of the file to throw away before going on */
	uint64_t n_packets, n_skipped;
	int skipped_linktype, linktype;
	/* pcap */
	bool is_swapped, is_nano;
	uint32_t header; /* of a packet: 16 or 24 */
	uint32_t minor;
	/* pcapng; is_swapped is the section's */
	struct reader_iface *ifaces;
	uint32_t n_ifaces, cap_ifaces;
};

static inline uint32_t
reader_u32(const struct reader *r, const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, 4);
	return r->is_swapped ? __builtin_bswap32(v) : v;
}

static inline uint16_t
reader_u16(const struct reader *r, const uint8_t *p)
{
	uint16_t v;
	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): p is in what was read */
	memcpy(&v, p, 2);
	return r->is_swapped ? __builtin_bswap16(v) : v;
}

static inline size_t
reader_have(const struct reader *r)
{
	return r->end - r->at;
}

/** A fault of the file, with the place. Returns -code. */
int reader_fault(const struct reader *r, struct err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/** The link type of a file or interface is one we cannot decode. */
int reader_linktype_fault(const struct reader *r, struct err *err, int linktype);

/*
 * One step of a format: frames out of what is buffered. Returns how many; 0 when `need` bytes are
 * wanted first; -E_*.
 */
int reader_pcap_header(struct reader *r, struct err *err);
int reader_pcap_step(struct reader *r, struct flow_frame *frames, unsigned max, struct err *err);
/** With @frames NULL it stops before the first packet. */
int reader_ng_step(struct reader *r, struct flow_frame *frames, unsigned max, struct err *err);

#endif
