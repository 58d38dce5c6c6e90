/* SPDX-License-Identifier: Apache-2.0
 * batch/frame.c - a batch as bytes: header, checksum, order of the columns. */
#include "batch/frame.h"

#include <math.h>
#include <stdlib.h>

#include "batch/frame_priv.h"

enum {
	AT_RAW = 12,
	AT_BODY = 16,
	AT_CRC = 20,
	AT_START = 24,
	COLUMNS_MAX = 4096,
};

static const uint8_t magic[4] = {'F', 'B', 'F', '1'};
static const char *const codec_names[FRAME_CODECS] = {"none", "zlib", "zstd"};

struct frame_work *
frame_work_new(void)
{
	struct frame_work *w = calloc(1, sizeof(*w));
	if (w == NULL)
		return NULL;
	w->body = buf_init(FRAME_RAW_MAX);
	w->key = hash_key_random();
	for (int i = 1; i <= BATCH_ROWS; i++)
		w->xlogx[i] = (float)i * log2f((float)i);
	return w;
}

void
frame_work_free(struct frame_work **w)
{
	struct frame_work *x = *w;
	*w = NULL;
	if (x == NULL)
		return;
	buf_fini(&x->body);
	ZSTD_freeCCtx(x->zc);
	ZSTD_freeDCtx(x->zd);
	if (x->has_deflate)
		deflateEnd(&x->deflate);
	if (x->has_inflate)
		inflateEnd(&x->inflate);
	free(x);
}

const char *
frame_codec_name(enum frame_codec c)
{
	return c < FRAME_CODECS ? codec_names[c] : "unknown";
}

int
frame_codec_parse(struct strv name)
{
	for (int i = 0; i < FRAME_CODECS; i++) {
		if (strv_eq(name, strv_of(codec_names[i])))
			return i;
	}
	return -1;
}

static uint32_t
frame_crc(const uint8_t *p, uint32_t body_len)
{
	return crc32c(crc32c(0, p, AT_CRC), p + AT_START, FRAME_HEADER - AT_START + (size_t)body_len);
}

/* Columns that others refer to come first. Of the two times the one with the smaller differences
 * comes first, since the other is then written as the difference to it. */
static uint32_t
order_columns(struct frame_work *w, const struct batch *b, struct field_set want,
    enum field order[F_COUNT])
{
	static const enum field first[] = {F_proto, F_dst_addr, F_src_addr, F_dst_port, F_src_port,
	    F_start, F_end, F_packets, F_rev_packets, F_tcp_flags};
	uint32_t n = 0;
	struct field_set done = {{0, 0}};
	enum field all[F_COUNT + sizeof(first) / sizeof(first[0])];
	for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++)
		all[n++] = first[i];
	for (int f = 0; f < F_COUNT; f++)
		all[n++] = (enum field)f;
	const struct column *s = batch_get(b, F_start), *e = batch_get(b, F_end);
	if (s != NULL && e != NULL && s->dense && e->dense && b->n > 1 &&
	    frame_seq_guess(w, e->data, b->n) < frame_seq_guess(w, s->data, b->n)) {
		all[5] = F_end;
		all[6] = F_start;
	}
	uint32_t kept = 0;
	for (uint32_t i = 0; i < n; i++) {
		enum field f = all[i];
		if (!field_set_has(&want, f) || field_set_has(&done, f) || batch_get(b, f) == NULL ||
		    (field_info[f].flags & FF_DERIVED) != 0)
			continue;
		field_set_add(&done, f);
		order[kept++] = f;
	}
	return kept;
}

static void
put_header(uint8_t *h, const struct batch *b, enum frame_codec codec, uint32_t columns,
    uint32_t raw_len, uint32_t body_len)
{
	struct buf head = {h, 0, FRAME_HEADER, FRAME_HEADER, 0};
	buf_put(&head, magic, sizeof(magic));
	buf_u8(&head, FRAME_VERSION);
	buf_u8(&head, (uint8_t)codec);
	buf_u16_le(&head, (uint16_t)columns);
	buf_u32_le(&head, b->n);
	buf_u32_le(&head, raw_len);
	buf_u32_le(&head, body_len);
	buf_u32_le(&head, 0);
	buf_u64_le(&head, (uint64_t)b->min_start);
	buf_u64_le(&head, (uint64_t)b->max_end);
	uint32_t crc = frame_crc(h, body_len);
	for (int i = 0; i < 4; i++)
		h[AT_CRC + i] = (uint8_t)(crc >> 8 * i);
}

int
frame_encode(struct frame_work *w, const struct batch *b, struct field_set want,
    enum frame_codec codec, int level, struct buf *out, size_t *raw_out)
{
	enum field order[F_COUNT];
	struct rows rows = {b, b->n, {{0, 0}}};
	size_t at = out->n;
	buf_reset(&w->body);
	w->n_pieces = 0;
	uint32_t n = order_columns(w, b, want, order);
	for (uint32_t i = 0; i < n; i++) {
		frame_column_put(w, &rows, order[i]);
		field_set_add(&rows.known, order[i]);
	}
	if (w->body.err != 0)
		return w->body.err;
	if (buf_room(out, FRAME_HEADER) == NULL)
		return out->err;
	out->n += FRAME_HEADER;
	int r = frame_pack(w, codec, level, out);
	if (r != 0) {
		out->n = at;
		return r;
	}
	put_header(out->p + at, b, codec, n, (uint32_t)w->body.n,
	    (uint32_t)(out->n - at - FRAME_HEADER));
	if (raw_out != NULL)
		*raw_out = w->body.n;
	return 0;
}

int
frame_peek(const void *p, size_t n, struct frame_info *out)
{
	struct cur c = cur_init(p, n);
	const uint8_t *m = cur_take(&c, sizeof(magic));
	if (m != NULL && memcmp(m, magic, sizeof(magic)) != 0)
		return -E_FORMAT;
	out->version = cur_u8(&c);
	out->codec = cur_u8(&c);
	out->columns = cur_u16_le(&c);
	out->flows = cur_u32_le(&c);
	out->raw_len = cur_u32_le(&c);
	out->body_len = cur_u32_le(&c);
	out->crc = cur_u32_le(&c);
	out->min_start = (int64_t)cur_u64_le(&c);
	out->max_end = (int64_t)cur_u64_le(&c);
	if (c.err != 0)
		return -E_TRUNC;
	if (out->version != FRAME_VERSION)
		return -E_UNSUP;
	if (out->flows > BATCH_ROWS || out->raw_len > FRAME_RAW_MAX ||
	    out->columns > COLUMNS_MAX)
		return -E_FORMAT;
	if (out->body_len > cur_left(&c))
		return -E_TRUNC;
	return out->body_len == cur_left(&c) ? 0 : -E_FORMAT;
}

static int
get_columns(struct frame_work *w, const struct frame_info *info, struct batch *b,
    unsigned *skipped)
{
	struct cur c = cur_init(w->body.p, w->body.n);
	struct field_set known = {{0, 0}}, seen = {{0, 0}};
	for (uint32_t i = 0; i < info->columns; i++) {
		uint16_t number = cur_u16_le(&c);
		uint8_t enc = cur_u8(&c), flags = cur_u8(&c);
		uint32_t len = cur_u32_le(&c);
		const uint8_t *data = cur_take(&c, len);
		if (data == NULL)
			return -E_FORMAT;
		enum field f = field_by_number(number);
		if (f == F_NONE || (field_info[f].flags & FF_DERIVED) != 0) {
			++*skipped;
			continue;
		}
		if (field_set_has(&seen, f))
			return -E_FORMAT;
		field_set_add(&seen, f);
		struct cur column = cur_init(data, len);
		int r = frame_column_get(w, &column, enc, flags, f, b, known);
		if (r < 0)
			return r;
		if (r == 1)
			field_set_add(&known, f);
		else
			++*skipped;
	}
	return cur_left(&c) == 0 ? 0 : -E_FORMAT;
}

int
frame_decode(struct frame_work *w, const void *p, size_t n, struct batch *b,
    uint64_t now_mono_us, unsigned *skipped_out)
{
	struct frame_info info;
	unsigned skipped = 0;
	int r = frame_peek(p, n, &info);
	if (r != 0)
		return r;
	if (frame_crc(p, info.body_len) != info.crc)
		return -E_CRC;
	if (info.codec >= FRAME_CODECS)
		return -E_UNSUP;
	r = frame_unpack(w, (enum frame_codec)info.codec, (const uint8_t *)p + FRAME_HEADER,
	    info.body_len, info.raw_len);
	if (r != 0)
		return r;
	b->n = info.flows;
	r = get_columns(w, &info, b, &skipped);
	if (skipped_out != NULL)
		*skipped_out = skipped;
	if (r != 0)
		return r;
	batch_seal(b, now_mono_us);
	/* the sender knew the times even when it left the columns out */
	if (batch_get(b, F_start) == NULL)
		b->min_start = info.min_start;
	if (batch_get(b, F_end) == NULL)
		b->max_end = info.max_end;
	return 0;
}
