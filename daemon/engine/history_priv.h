/* SPDX-License-Identifier: Apache-2.0
 * engine/history_priv.h - what history.c (keeping) and history_test.c (asking) share.
 *
 * All of struct history belongs to its thread but for what is marked. */
#ifndef FLOWBUS_ENGINE_HISTORY_PRIV_H
#define FLOWBUS_ENGINE_HISTORY_PRIV_H

#include "engine/engine_priv.h"

enum {
	HISTORY_QUEUE = 8,       /* batches it holds for a moment */
	HISTORY_LEAST = 4 << 20,
	HISTORY_JOBS = 16,
	HISTORY_KEPT = 8192,     /* batches */
	HISTORY_SOURCES = 256,
	HISTORY_ROWS = 3,        /* shown of what matches */
	HISTORY_ENCODE = 64 * BATCH_ROWS,
};

/** One batch, packed, in the ring. */
struct kept {
	size_t at, len;
	uint32_t n, source;
	int64_t time_us;         /* when it passed: monotonic, of a file its greatest end */
	int64_t max_end;
	uint64_t missed;         /* in all, until then */
};

/** An input whose records are kept. Times: monotonic, of a file those of its packets. */
struct source {
	uint32_t number;         /* 0: free */
	bool is_file;
	int64_t newest_us;
	int64_t since_us;        /* everything after this is kept */
};

struct history {
	struct engine *engine;   /* main thread */
	uint32_t number;         /* on the bus */
	pthread_t thread;
	struct wake wake;
	_Atomic bool stop;
	struct queue *batches, *jobs, *done; /* any thread */
	struct wake done_wake;
	struct loop_io *done_io; /* main thread */
	unsigned n_jobs;         /* not given back yet; main thread */
	_Atomic uint64_t missed, missed_us; /* records not taken, and when last; any thread */
	pthread_mutex_t lock;    /* files: written when an input is attached, read when it is new */
	uint32_t files[HISTORY_SOURCES];
	unsigned n_files;
	uint8_t *ring;
	size_t size, head;
	int64_t started_us;
	struct kept *kept;       /* circular */
	unsigned first, n_kept;
	uint64_t first_id;       /* of the oldest kept; they count up */
	uint64_t flows, bytes;   /* in the ring */
	struct source sources[HISTORY_SOURCES];
	struct batch_pool *pool;
	struct frame_work *frames;
	struct filter_work *filters;
};

struct engine_test_job {
	struct filter *filter;
	struct engine_test_ask ask; /* fn NULL: cancelled; main thread */
	uint64_t max_delay_us;
	bool has_begun;
	uint64_t at_id;          /* next to look at, downwards; below first_id: done */
	int64_t now_us;
	struct batch *wire;      /* what becomes a frame */
	int64_t wire_us;
	struct buf frame, text[HISTORY_ROWS];
	struct strv rows[HISTORY_ROWS];
	bool any;                /* something was looked at */
	uint64_t oldest_missed, missed;
	struct engine_test result;
};

struct kept *history_kept(struct history *h, uint64_t id);
struct source *history_source(struct history *h, uint32_t number);

/* history_test.c */
/** Look at one more kept batch. True: the job is done. */
bool job_step(struct history *h, struct engine_test_job *j);
void job_free(struct engine_test_job **j);

#endif
