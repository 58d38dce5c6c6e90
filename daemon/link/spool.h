/* SPDX-License-Identifier: Apache-2.0
 * link/spool.h - sealed frames of a publishing end on disk, until every subscriber has them.
 *
 * DIR/END/CHANNEL/ has numbered segments of records and one file `meta` (who subscribes, where they
 * are). A thread per spool does all reading and writing; the link thread gives it jobs and takes
 * what is done, neither waits for the other. A record carries a CRC: what a crash tore is cut off
 * when the spool is opened again, and the channel goes on behind it. */
#ifndef FLOWBUS_LINK_SPOOL_H
#define FLOWBUS_LINK_SPOOL_H

#include "base/err.h"
#include "base/queue.h"
#include "batch/frame.h"

struct spool;
struct frame;

/** One record: a frame, or a hole (len 0). */
struct spool_record {
	uint64_t seq, to;     /* sequences it stands for */
	uint64_t where;       /* offset of the frame in its segment */
	int64_t sealed_us;    /* epoch */
	uint32_t segment;     /* from 1 */
	uint32_t flows, len, raw_len;
	uint8_t cause;        /* of a hole: enum gap_cause */
};

struct spool_cursor {
	uint64_t node_id, sub, first, acked;
	bool stats;
	char peer_end[64], peer[64], user[64];
};

/** What is kept of a channel beside its frames. */
struct spool_meta {
	uint64_t id, next_seq;
	bool is_clean;        /* written at an orderly end: nothing was under way */
	bool is_auto;
	enum frame_codec codec;
	struct field_set want;
	char *filter;         /* owned */
	struct spool_cursor *cursors; /* owned */
	size_t n_cursors;
};

/** A channel found on disk. */
struct spool_found {
	struct spool_meta meta;
	struct spool_record *records; /* owned, in order */
	size_t n_records;
};

enum spool_kind { SPOOL_WRITTEN, SPOOL_LOADED, SPOOL_META_FAILED };

/** Something done. The taker frees it with spool_done_free. */
struct spool_done {
	enum spool_kind kind;
	uint64_t channel, seq, where;
	uint32_t segment;     /* 0: it could not be written */
	uint32_t len;         /* of WRITTEN: of the frame */
	struct frame *frame;  /* of LOADED, one reference; NULL: it could not be read */
};

struct spool_where {
	const char *dir, *end;
	uint64_t size; /* that it may take: segments are a small part of it */
};

/**
 * Make the directory of the end below dir, or open it and read what is there: *found_out is an
 * array of *n_found, freed with spool_found_free. @wake is signalled when something is done, @home
 * gets frames that libzmq releases. 0 or -E_* with @err: it is missing, not ours, in use. [main]
 */
int spool_open(const struct spool_where *w, struct wake *wake, struct freelist *home,
    struct spool **out, struct spool_found **found_out, size_t *n_found, struct err *err);
void spool_found_free(struct spool_found **found, size_t n);
/** Everything given so far is written; then the thread ends. [main] */
void spool_close(struct spool **s);

/* The link thread; false: the queue is full, try again. */
/** Keeps a reference to @f (NULL: a hole) until it is written. */
bool spool_write(struct spool *s, uint64_t channel, const struct spool_record *r, struct frame *f);
/** Read records back, all of one segment. */
bool spool_read(struct spool *s, uint64_t channel, const struct spool_record *r, unsigned n);
/** Nobody needs sequences up to @seq any more. */
bool spool_trim(struct spool *s, uint64_t channel, uint64_t seq);
/** Replace the file `meta`. */
bool spool_meta(struct spool *s, const struct spool_meta *m);
/** The channel is over: delete it. */
bool spool_drop(struct spool *s, uint64_t channel);
/** Something done, or NULL. */
struct spool_done *spool_poll(struct spool *s);
void spool_done_free(struct spool_done **d);
/** Why writing fails at the moment, "" when it does not. @out has 160 octets. Any thread. */
void spool_problem(struct spool *s, char out[160]);

#endif
