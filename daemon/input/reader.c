/* SPDX-License-Identifier: Apache-2.0
 * input/reader.c - the buffer of a capture file, and the pcap format. */
#include "input/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "input/reader_priv.h"
#include "wire/packet.h"

int
reader_fault(const struct reader *r, struct err *err, int code, const char *fmt, ...)
{
	char text[320];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(err, code, "%s: %s", r->name, text);
}

int
reader_linktype_fault(const struct reader *r, struct err *err, int linktype)
{
	const char *name = pcap_datalink_val_to_name(linktype);
	return reader_fault(r, err, E_UNSUP,
	    "link type %d (%s) is not supported; supported are "
	    "Ethernet, raw IP, Linux cooked, BSD loopback, PPP, Cisco HDLC and NFLOG",
	    linktype, name != NULL ? name : "unknown");
}

/** Other formats people have, by their first bytes, and what helps. */
static int
unknown_format(const struct reader *r, struct err *err)
{
	static const struct {
		const char *magic;
		size_t n;
		const char *what;
	} known[] = {
	    {"\x1f\x8b", 2, "compressed by gzip; try: zcat FILE | flowbusd --attach 'pcap -'"},
	    {"\x28\xb5\x2f\xfd", 4,
		"compressed by zstd; try: zstdcat FILE | flowbusd --attach 'pcap -'"},
	    {"\xfd"
	     "7zXZ",
		5, "compressed by xz; try: xzcat FILE | flowbusd --attach 'pcap -'"},
	    {"BZh", 3, "compressed by bzip2; try: bzcat FILE | flowbusd --attach 'pcap -'"},
	    {"snoop\0\0\0", 8, "a Solaris snoop file; convert it with editcap -F pcap"},
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (reader_have(r) >= known[i].n &&
		    memcmp(r->buf + r->at, known[i].magic, known[i].n) == 0)
			return reader_fault(r, err, E_FORMAT, "this file is %s", known[i].what);
	return reader_fault(r, err, E_FORMAT,
	    "unknown file format: neither pcap nor pcapng "
	    "(editcap -F pcap converts many others)");
}

/** The first bytes name format and byte order. */
static int
read_magic(struct reader *r, struct err *err)
{
	uint32_t magic;
	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): the caller made room */
	memcpy(&magic, r->buf + r->at, 4);
	r->header = 16;
	switch (magic) {
	case 0xd4c3b2a1:
	case 0x4d3cb2a1:
	case 0x34cdb2a1:
		r->is_swapped = true;
		magic = __builtin_bswap32(magic);
		break;
	case 0x0a0d0d0a:
		r->is_ng = true;
		return 0;
	default:
		break;
	}
	switch (magic) {
	case 0xa1b23c4d:
		r->is_nano = true;
		return 0;
	case 0xa1b2cd34:
		r->header = 24;
		return 0;
	case 0xa1b2c3d4:
		return 0;
	default:
		return unknown_format(r, err);
	}
}

int
reader_pcap_header(struct reader *r, struct err *err)
{
	const uint8_t *p = r->buf + r->at;
	r->need = 24;
	if (reader_have(r) < 24)
		return 0;
	unsigned major = reader_u16(r, p + 4);
	r->minor = reader_u16(r, p + 6);
	if (major != 2 || r->minor > 4)
		return reader_fault(r, err, E_UNSUP,
		    "pcap version %u.%u is not supported, only "
		    "2.0 to 2.4; the file may be damaged",
		    major, r->minor);
	/* the upper bits say how long the frame check sequence is */
	r->linktype = (int)(reader_u32(r, p + 20) & 0x03ffffff);
	if (!wire_linktype_known(r->linktype))
		return reader_linktype_fault(r, err, r->linktype);
	r->at += 24;
	r->need = r->header;
	r->is_header_read = true;
	return 0;
}

/**
 * The records of a pcap file. Inlined twice: for files of this machine's byte order with
 * microseconds, as tcpdump writes them, nothing is tested per packet that cannot change.
 */
static inline __attribute__((always_inline)) int
step(struct reader *r, struct flow_frame *frames, unsigned max, bool is_common, struct err *err)
{
	unsigned n = 0;
	size_t at = r->at;
	const size_t end = r->end;
	const size_t header = is_common ? 16 : r->header;
	while (n < max) {
		r->need = header;
		if (end - at < header)
			break;
		const uint8_t *p = r->buf + at;
		uint32_t w[4];
		memcpy(w, p, sizeof(w));
		if (!is_common) {
			for (int i = 0; i < 4; i++)
				w[i] = r->is_swapped ? __builtin_bswap32(w[i]) : w[i];
			/* the two lengths were the other way round in old files */
			if (r->minor < 3 || (r->minor == 3 && w[2] > w[3])) {
				uint32_t len = w[2];
				w[2] = w[3];
				w[3] = len;
			}
			w[1] /= r->is_nano ? 1000 : 1;
		}
		if (__builtin_expect(w[2] > READER_CAPLEN_MAX, 0)) {
			if (n > 0)
				break; /* these first; the fault is met again */
			return reader_fault(r, err, E_FORMAT,
			    "packet %" PRIu64 " at octet %" PRIu64 " claims %" PRIu32
			    " octets: the file is damaged there",
			    r->n_packets + 1, r->offset + at, w[2]);
		}
		r->need = header + w[2];
		if (end - at < r->need)
			break;
		frames[n++] =
		    (struct flow_frame){p + header, w[2], w[3], (int64_t)w[0] * 1000000 + w[1]};
		at += header + w[2];
	}
	r->at = at;
	r->n_packets += n;
	return (int)n;
}

int
reader_pcap_step(struct reader *r, struct flow_frame *frames, unsigned max, struct err *err)
{
	if (!r->is_swapped && !r->is_nano && r->minor == 4 && r->header == 16)
		return step(r, frames, max, true, err);
	return step(r, frames, max, false, err);
}

/** Room for `need` bytes at `at`: what is read already moves to the front. */
static int
make_room(struct reader *r, struct err *err)
{
	if (r->at > 0) {
		/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): at > 0 */
		memmove(r->buf, r->buf + r->at, reader_have(r));
		r->offset += r->at;
		r->end -= r->at;
		r->at = 0;
	}
	if (r->end < r->cap)
		return 0;
	/* full with the beginning of one record: it is really that long, so far */
	size_t cap = r->cap * 2;
	uint8_t *buf = realloc(r->buf, cap);
	if (buf == NULL)
		return reader_fault(
		    r, err, E_NOMEM, "no memory for a packet of %zu octets", r->need);
	r->buf = buf;
	r->cap = cap;
	return 0;
}

/** Wait for a pipe: 0 readable, -E_AGAIN. */
static int
wait_pipe(const struct reader *r)
{
	struct pollfd p[2] = {{r->fd, POLLIN, 0}, {r->wake_fd, POLLIN, 0}};
	int n = poll(p, r->wake_fd >= 0 ? 2 : 1, 100);
	return n > 0 && p[0].revents != 0 && p[1].revents == 0 ? 0 : -E_AGAIN;
}

/** Read more. 0 (perhaps is_eof), -E_AGAIN, or -E_*. */
static int
fill(struct reader *r, struct err *err)
{
	int rc = make_room(r, err);
	if (rc == 0 && r->is_pipe)
		rc = wait_pipe(r);
	if (rc != 0)
		return rc;
	ssize_t n = read(r->fd, r->buf + r->end, r->cap - r->end);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN
			   ? -E_AGAIN
			   : err_sys(err, E_IO, "%s: reading failed at octet %" PRIu64, r->name,
				 r->offset + r->end);
	r->is_eof = n == 0;
	r->end += (size_t)n;
	if (r->skip > 0) {
		size_t have = reader_have(r);
		size_t drop = r->skip < have ? (size_t)r->skip : have;
		r->at += drop;
		r->skip -= drop;
	}
	return 0;
}

/** The file ends where a record should go on. */
static int
cut_short(const struct reader *r, struct err *err)
{
	if (!r->is_header_read)
		return reader_fault(r, err, E_FORMAT,
		    "too short for a capture file: %" PRIu64 " octets", r->offset + r->end);
	return reader_fault(r, err, E_TRUNC,
	    "the file ends inside packet %" PRIu64 ", at octet %" PRIu64
	    ": it was cut short; the %" PRIu64 " whole packets before were read",
	    r->n_packets + 1, r->offset + r->end, r->n_packets);
}

/** Format and file header. 0, also when more bytes are wanted first. */
static int
read_header(struct reader *r, struct err *err)
{
	r->need = 4;
	if (reader_have(r) < 4)
		return 0;
	if (!r->is_ng && r->header == 0) {
		int rc = read_magic(r, err);
		if (rc != 0)
			return rc;
	}
	if (!r->is_ng)
		return reader_pcap_header(r, err);
	int rc = reader_ng_step(r, NULL, 0, err);
	if (rc == 1)
		r->is_header_read = true;
	return rc < 0 ? rc : 0;
}

int
reader_burst(
    struct reader *r, struct flow_frame *frames, unsigned max, int *linktype_out, struct err *err)
{
	for (;;) {
		int n = 0;
		if (r->skip > 0)
			r->need = 1;
		else if (!r->is_header_read)
			n = read_header(r, err);
		else
			n = r->is_ng ? reader_ng_step(r, frames, max, err)
				     : reader_pcap_step(r, frames, max, err);
		if (n != 0) {
			*linktype_out = r->linktype;
			return n;
		}
		if (r->skip == 0 && reader_have(r) >= r->need)
			continue;
		if (r->is_eof)
			return reader_have(r) == 0 && r->skip == 0 && r->is_header_read
				   ? 0
				   : cut_short(r, err);
		int rc = fill(r, err);
		if (rc != 0)
			return rc;
	}
}

/** Read what a regular file says about itself, up to its first packet. */
static int
check_file(struct reader *r, struct err *err)
{
	while (!r->is_header_read) {
		int rc = r->skip == 0 ? read_header(r, err) : 0;
		if (rc != 0)
			return rc;
		if (r->is_header_read || (r->skip == 0 && reader_have(r) >= r->need))
			continue;
		if (r->is_eof) {
			/* a pcapng file without packets is whole when nothing is left over */
			if (!r->is_ng || reader_have(r) != 0 || r->offset + r->end == 0)
				return cut_short(r, err);
			r->is_header_read = true;
			continue;
		}
		if ((rc = fill(r, err)) != 0 && rc != -E_AGAIN)
			return rc;
	}
	return 0;
}

/** The descriptor, and whether it is a file or a pipe. */
static int
open_fd(struct reader *r, const char *path, struct err *err)
{
	struct stat st;
	if (strcmp(path, "-") == 0) {
		snprintf(r->name, sizeof(r->name), "standard input");
		r->fd = STDIN_FILENO;
	} else {
		/* O_NONBLOCK: a FIFO without a writer must not hold up the main thread */
		r->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	}
	if (r->fd < 0 || fstat(r->fd, &st) != 0)
		return err_sys(err,
		    errno == ENOENT   ? E_NOENT
		    : errno == EACCES ? E_PERM
				      : E_IO,
		    "%s: cannot open the capture file", r->name);
	if (S_ISDIR(st.st_mode))
		return reader_fault(r, err, E_INVAL, "is a directory, not a capture file");
	r->is_pipe = !S_ISREG(st.st_mode);
	if (!r->is_pipe)
		posix_fadvise(r->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return 0;
}

int
reader_open(const char *path, int wake_fd, struct reader **out, struct err *err)
{
	struct reader *r = calloc(1, sizeof(*r));
	if (r == NULL)
		return err_set(err, E_NOMEM, "%s: out of memory", path);
	snprintf(r->name, sizeof(r->name), "%s", path);
	r->fd = -1;
	r->wake_fd = wake_fd;
	r->linktype = r->skipped_linktype = -1;
	r->cap = READER_BUFFER;
	r->buf = malloc(r->cap);
	int rc = r->buf != NULL ? 0 : err_set(err, E_NOMEM, "%s: out of memory", path);
	if (rc == 0)
		rc = open_fd(r, path, err);
	if (rc == 0 && !r->is_pipe)
		rc = check_file(r, err);
	if (rc != 0) {
		reader_close(&r);
		return rc;
	}
	*out = r;
	return 0;
}

void
reader_close(struct reader **rp)
{
	struct reader *r = *rp;
	if (r == NULL)
		return;
	if (r->fd > STDIN_FILENO)
		close(r->fd);
	free(r->buf);
	free(r->ifaces);
	free(r);
	*rp = NULL;
}

bool
reader_is_pipe(const struct reader *r)
{
	return r->is_pipe;
}

struct reader_facts
reader_facts(const struct reader *r)
{
	return (struct reader_facts){
	    .format = r->is_ng	       ? "pcapng"
		      : r->header != 0 ? "pcap"
				       : "",
	    .linktype = r->linktype,
	    .packets = r->n_packets,
	    .skipped = r->n_skipped,
	    .skipped_linktype = r->skipped_linktype,
	    .bytes = r->offset + r->at,
	};
}
