/* SPDX-License-Identifier: Apache-2.0
 * batch/frame.h - a batch as bytes (DESIGN 4): the same on the link and on disk. Pure. */
#ifndef FLOWBUS_BATCH_FRAME_H
#define FLOWBUS_BATCH_FRAME_H

#include "base/buf.h"
#include "batch/batch.h"

enum frame_codec { FRAME_NONE = 0, FRAME_ZLIB = 1, FRAME_ZSTD = 2, FRAME_CODECS };
enum {
	FRAME_VERSION = 1,
	FRAME_HEADER = 40,
	FRAME_RAW_MAX = 8 << 20, /* largest body before compression */
};

struct frame_info {
	uint8_t version, codec;
	uint16_t columns;
	uint32_t flows, raw_len, body_len, crc;
	int64_t min_start, max_end;
};

/** Reusable working memory of an encoder or decoder; one per thread. NULL without memory. */
struct frame_work *frame_work_new(void);
void frame_work_free(struct frame_work **w);

/**
 * Encode the columns of a sealed batch that are in @want (derived ones never are) and append the
 * frame to @out. @level: codec's own, 0 = our default for it. *raw_out (may be NULL) gets the
 * body's length before
 * compression. 0, -E_NOMEM, -E_LIMIT (over FRAME_RAW_MAX; the caller sends fewer rows).
 */
int frame_encode(struct frame_work *w, const struct batch *b, struct field_set want,
    enum frame_codec codec, int level, struct buf *out, size_t *raw_out);

/** Check the header and length only. 0, -E_TRUNC, -E_FORMAT, -E_UNSUP (version). */
int frame_peek(const void *p, size_t n, struct frame_info *out);

/**
 * Decode a frame into @b (an empty batch from the caller's pool), and seal it. Nothing in the
 * bytes is trusted.
 * Columns with unknown numbers are skipped and counted in *skipped_out (may be NULL).
 * 0, -E_TRUNC, -E_FORMAT, -E_CRC, -E_UNSUP, -E_NOMEM; then @b is to be released by the caller.
 */
int frame_decode(struct frame_work *w, const void *p, size_t n, struct batch *b,
    uint64_t now_mono_us, unsigned *skipped_out);

const char *frame_codec_name(enum frame_codec c);
/** -1 when unknown. */
int frame_codec_parse(struct strv name);

#endif
