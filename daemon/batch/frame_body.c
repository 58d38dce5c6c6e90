/* SPDX-License-Identifier: Apache-2.0
 * batch/frame_body.c - the frame's body through none, zlib or zstd.
 *
 * Both compressors give each block its own Huffman code. A column of few symbols and one of random
 * bits in one block spoil each other's code, so the encoder says where the kind of bytes changes
 * and blocks end there. A reader need not know: it is one ordinary zlib or zstd stream. */
#include "batch/frame_priv.h"

enum {
	PIECE_MIN = 300,   /* a block of another kind pays from about here */
	PIECE_SAME = 900,  /* of alike bytes a block may begin from here, if their codes differ */
	PIECE_LOOK = 128,  /* bytes of a piece that are counted */
	PIECE_GAIN = 1000, /* bits a block must save: its code of some 50 octets, and 4 us */
	ZLIB_LEVEL = 1,
	ZSTD_LEVEL = 1,
	ZSTD_MATCH = 7,    /* shorter matches in columns are chance, and literals cost less */
	ZSTD_HASH = 11,    /* log2 of the match finder's table: it stays in the first-level cache */
	ZSTD_SMALL = 160 << 10, /* larger bodies are mostly text and get the level's own table */
};

void
frame_piece(struct frame_work *w, enum piece_kind kind)
{
	if (w->n_pieces > 0 && w->piece[w->n_pieces - 1].at == w->body.n)
		w->n_pieces--;
	if (w->n_pieces < FRAME_PIECES)
		w->piece[w->n_pieces++] = (struct piece){(uint32_t)w->body.n, (uint32_t)kind};
}

/* How often each byte occurs in pieces that have become one block, from samples. */
struct tally {
	uint16_t n[256];
	uint32_t total; /* counted, at most BATCH_ROWS; 0: nothing yet */
	float bits;     /* of all that are counted */
};

static float
tally_bits(const struct frame_work *w, const struct tally *t, const struct tally *more)
{
	float sum[4] = {0, 0, 0, 0};
	for (uint32_t i = 0; i < 256; i += 4) {
		for (uint32_t k = 0; k < 4; k++)
			sum[k] += w->xlogx[t->n[i + k] + (more != NULL ? more->n[i + k] : 0)];
	}
	return w->xlogx[t->total + (more != NULL ? more->total : 0)] -
	    (sum[0] + sum[1] + sum[2] + sum[3]);
}

static void
tally_count(const struct frame_work *w, struct tally *t, uint32_t at, uint32_t end)
{
	uint16_t odd[256] = {0};
	uint32_t step = (end - at + PIECE_LOOK - 1) / PIECE_LOOK;
	memset(t, 0, sizeof(*t));
	for (uint32_t i = at; i + step < end; i += 2 * step) {
		t->n[w->body.p[i]]++;
		odd[w->body.p[i + step]]++;
		t->total += 2;
	}
	for (uint32_t i = 0; i < 256; i++)
		t->n[i] = (uint16_t)(t->n[i] + odd[i]);
	t->bits = tally_bits(w, t, NULL);
}

/* Would one code for both waste more than a block of its own costs? If not, @a takes in @b. */
static bool
tally_differs(const struct frame_work *w, struct tally *a, const struct tally *b, uint32_t len)
{
	if (a->total + b->total > BATCH_ROWS || b->total == 0)
		return false;
	float both = tally_bits(w, a, b);
	float waste = (both - a->bits - b->bits) * (float)len / (float)b->total;
	if (waste > (float)PIECE_GAIN)
		return true;
	for (uint32_t i = 0; i < 256; i++)
		a->n[i] = (uint16_t)(a->n[i] + b->n[i]);
	a->total += b->total;
	a->bits = both;
	return false;
}

/* Drop boundaries that do not pay. */
static void
join_pieces(struct frame_work *w)
{
	uint32_t n = 0;
	struct tally run = {.total = 0}, next;
	for (uint32_t i = 0; i < w->n_pieces; i++) {
		struct piece p = w->piece[i];
		uint32_t end = i + 1 < w->n_pieces ? w->piece[i + 1].at : (uint32_t)w->body.n;
		bool same = n > 0 && p.kind == w->piece[n - 1].kind;
		uint32_t min = same ? PIECE_SAME : PIECE_MIN;
		if (n > 0 && ((same && p.kind == PIECE_NOISE) || end - p.at < min ||
			p.at - w->piece[n - 1].at < min))
			continue;
		tally_count(w, &next, p.at, end);
		if (same && !tally_differs(w, &run, &next, end - p.at))
			continue;
		run = next;
		w->piece[n++] = p;
	}
	w->n_pieces = n;
}

static uint32_t
piece_end(const struct frame_work *w, uint32_t i)
{
	return i + 1 < w->n_pieces ? w->piece[i + 1].at : (uint32_t)w->body.n;
}

static int
pack_zstd(struct frame_work *w, int level, struct buf *out)
{
	if (w->zc == NULL && (w->zc = ZSTD_createCCtx()) == NULL)
		return -E_NOMEM;
	size_t room = ZSTD_compressBound(w->body.n) + 8 * (size_t)(w->n_pieces + 1);
	uint8_t *to = buf_room(out, room);
	if (to == NULL)
		return out->err;
	ZSTD_CCtx_reset(w->zc, ZSTD_reset_session_only);
	ZSTD_CCtx_setParameter(w->zc, ZSTD_c_compressionLevel, level == 0 ? ZSTD_LEVEL : level);
	ZSTD_CCtx_setParameter(w->zc, ZSTD_c_minMatch, level == 0 ? ZSTD_MATCH : 0);
	ZSTD_CCtx_setParameter(w->zc, ZSTD_c_hashLog,
	    level == 0 && w->body.n <= ZSTD_SMALL ? ZSTD_HASH : 0);
	ZSTD_CCtx_setPledgedSrcSize(w->zc, w->body.n);
	ZSTD_outBuffer o = {to, room, 0};
	uint32_t at = 0;
	for (uint32_t i = 0; i < w->n_pieces || i == 0; i++) {
		bool last = i + 1 >= w->n_pieces;
		uint32_t end = last ? (uint32_t)w->body.n : piece_end(w, i);
		ZSTD_inBuffer in = {w->body.p + at, end - at, 0};
		size_t left = ZSTD_compressStream2(w->zc, &o, &in, last ? ZSTD_e_end : ZSTD_e_flush);
		if (left != 0)
			return -E_NOMEM; /* an error code or no room: the room is enough for any input */
		at = end;
	}
	out->n += o.pos;
	return 0;
}

static int
pack_zlib(struct frame_work *w, int level, struct buf *out)
{
	if (!w->has_deflate || w->deflate_level != level) {
		if (w->has_deflate)
			deflateEnd(&w->deflate);
		w->has_deflate = false;
		memset(&w->deflate, 0, sizeof(w->deflate));
		if (deflateInit(&w->deflate, level) != Z_OK)
			return -E_NOMEM;
		w->has_deflate = true;
		w->deflate_level = level;
	}
	deflateReset(&w->deflate);
	size_t room = deflateBound(&w->deflate, w->body.n) + 16 * (size_t)(w->n_pieces + 1);
	uint8_t *to = buf_room(out, room);
	if (to == NULL)
		return out->err;
	w->deflate.next_out = to;
	w->deflate.avail_out = (uInt)room;
	uint32_t at = 0;
	for (uint32_t i = 0; i < w->n_pieces || i == 0; i++) {
		bool last = i + 1 >= w->n_pieces;
		uint32_t end = last ? (uint32_t)w->body.n : piece_end(w, i);
		w->deflate.next_in = w->body.p + at;
		w->deflate.avail_in = end - at;
		int r = deflate(&w->deflate, last ? Z_FINISH : Z_BLOCK);
		if (r != (last ? Z_STREAM_END : Z_OK) || w->deflate.avail_in != 0)
			return -E_NOMEM;
		at = end;
	}
	out->n += room - w->deflate.avail_out;
	return 0;
}

int
frame_pack(struct frame_work *w, enum frame_codec codec, int level, struct buf *out)
{
	join_pieces(w);
	switch (codec) {
	case FRAME_ZLIB:
		return pack_zlib(w, level == 0 ? ZLIB_LEVEL : level, out);
	case FRAME_ZSTD:
		return pack_zstd(w, level, out);
	case FRAME_NONE:
	case FRAME_CODECS:
	default:
		buf_put(out, w->body.p, w->body.n);
		return out->err;
	}
}

static int
unpack_zstd(struct frame_work *w, const uint8_t *p, size_t n, uint8_t *to, uint32_t raw_len)
{
	if (w->zd == NULL && (w->zd = ZSTD_createDCtx()) == NULL)
		return -E_NOMEM;
	/* exactly one frame: the library would also take several in a row */
	if (ZSTD_findFrameCompressedSize(p, n) != n)
		return -E_FORMAT;
	return ZSTD_decompressDCtx(w->zd, to, raw_len, p, n) == raw_len ? 0 : -E_FORMAT;
}

static int
unpack_zlib(struct frame_work *w, const uint8_t *p, size_t n, uint8_t *to, uint32_t raw_len)
{
	if (!w->has_inflate) {
		memset(&w->inflate, 0, sizeof(w->inflate));
		if (inflateInit(&w->inflate) != Z_OK)
			return -E_NOMEM;
		w->has_inflate = true;
	}
	inflateReset(&w->inflate);
	w->inflate.next_in = (Bytef *)(uintptr_t)p; /* zlib does not write to it */
	w->inflate.avail_in = (uInt)n;
	w->inflate.next_out = to;
	w->inflate.avail_out = raw_len;
	int r = inflate(&w->inflate, Z_FINISH);
	if (r == Z_MEM_ERROR)
		return -E_NOMEM;
	return r == Z_STREAM_END && w->inflate.avail_in == 0 && w->inflate.avail_out == 0 ? 0
	    : -E_FORMAT;
}

int
frame_unpack(struct frame_work *w, enum frame_codec codec, const uint8_t *p, size_t n,
    uint32_t raw_len)
{
	buf_reset(&w->body);
	uint8_t *to = buf_room(&w->body, raw_len > 0 ? raw_len : 1);
	if (to == NULL)
		return w->body.err;
	int r = 0;
	switch (codec) {
	case FRAME_NONE:
		if (n != raw_len)
			return -E_FORMAT;
		memcpy(to, p, n);
		break;
	case FRAME_ZLIB:
		r = unpack_zlib(w, p, n, to, raw_len);
		break;
	case FRAME_ZSTD:
		r = unpack_zstd(w, p, n, to, raw_len);
		break;
	case FRAME_CODECS:
	default:
		return -E_UNSUP;
	}
	if (r == 0)
		w->body.n = raw_len;
	return r;
}
