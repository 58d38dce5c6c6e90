/* SPDX-License-Identifier: Apache-2.0
 * link/spool_disk.h - the files of one spooled channel; used by spool.c only.
 *
 * One thread at a time. Formats are in README.md, "The spool". */
#ifndef FLOWBUS_LINK_SPOOL_DISK_H
#define FLOWBUS_LINK_SPOOL_DISK_H

#include "base/buf.h"
#include "link/spool.h"

struct segment {
	uint32_t number;
	uint64_t last_seq; /* of its last record */
	uint64_t size;
};

struct spool_files {
	struct spool_files *next;
	uint64_t id;
	int dir;             /* descriptor of the channel's directory */
	int fd;              /* of the last segment, open for appending; -1 none */
	bool dirty;          /* written since the last sync */
	struct segment *seg; /* in order */
	size_t n_seg, cap_seg;
	uint32_t next_number;
	uint64_t segment_max;  /* a new segment begins beyond this */
};

/** Open or make the directory of a channel below @root. NULL with errno. */
struct spool_files *spool_files_open(int root, uint64_t id, uint64_t segment_max);
/** Closes; the files stay. */
void spool_files_free(struct spool_files **f);
/** Append a record; fills r->segment and r->where. 0 or -E_IO with errno, nothing torn left. */
int spool_files_append(struct spool_files *f, struct spool_record *r, const void *frame);
/** Read a frame back into @out (r->len octets). 0, -E_IO, -E_CRC. @fd: of spool_files_segment. */
int spool_files_read(int fd, const struct spool_record *r, void *out);
/** A segment to read from; -1 with errno. The caller closes it. */
int spool_files_segment(const struct spool_files *f, uint32_t number);
/** Delete the segments whose records all are at or before @seq. */
void spool_files_trim(struct spool_files *f, uint64_t seq);
/** Write `meta` anew and rename it into place. 0 or -E_IO with errno. */
int spool_files_meta(struct spool_files *f, const struct buf *bytes);
/** Delete everything of a channel. */
void spool_files_drop(int root, uint64_t id);
/** What reached the disk survives a power cut as well. */
void spool_files_sync(struct spool_files *f);
/** Read a channel from disk: what is torn is cut off. 0, -E_FORMAT (no usable meta), -E_NOMEM. */
int spool_files_scan(struct spool_files *f, struct spool_found *out);

void spool_meta_encode(const struct spool_meta *m, struct buf *out);
int spool_meta_decode(const void *p, size_t n, struct spool_meta *out);
void spool_meta_fini(struct spool_meta *m);

#endif
