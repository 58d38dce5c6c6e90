/* SPDX-License-Identifier: Apache-2.0
 * fuzz_frame.c - decode anything; what decodes must encode and decode to the same rows again.
 *
 * Checksums stop a fuzzer at the door, so the input is also tried with magic, lengths and checksum
 * made to fit: byte 5 still chooses the codec. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "batch/frame.h"

static struct frame_work *work;
static struct batch_pool *pool;

static void
require(bool ok)
{
	if (!ok)
		abort();
}

static void
again(const struct batch *a)
{
	struct buf out = buf_init(0), x = buf_init(0), y = buf_init(0);
	struct batch *b = batch_pool_get(pool);
	unsigned skipped = 0;
	require(b != NULL);
	int r = frame_encode(work, a, field_set_all(), FRAME_NONE, 0, &out, NULL);
	if (r == 0) {
		require(frame_decode(work, out.p, out.n, b, 0, &skipped) == 0 && skipped == 0);
		require(a->n == b->n);
		for (uint32_t row = 0; row < a->n; row++) {
			buf_reset(&x);
			buf_reset(&y);
			batch_row_json(&x, a, row, field_set_all(), VALUE_JSON_US);
			batch_row_json(&y, b, row, field_set_all(), VALUE_JSON_US);
			require(strv_eq(buf_view(&x), buf_view(&y)));
		}
	}
	buf_fini(&out);
	buf_fini(&x);
	buf_fini(&y);
	batch_unref(&b);
}

static void
try(const uint8_t *data, size_t size)
{
	struct batch *b = batch_pool_get(pool);
	require(b != NULL);
	if (frame_decode(work, data, size, b, 0, NULL) == 0)
		again(b);
	batch_unref(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (work == NULL) {
		work = frame_work_new();
		pool = batch_pool_new(2);
		require(work != NULL && pool != NULL);
	}
	try(data, size);
	if (size < FRAME_HEADER)
		return 0;
	uint8_t *p = malloc(size);
	require(p != NULL);
	memcpy(p, data, size);
	memcpy(p, "FBF1\1", 5);
	p[5] %= FRAME_CODECS;
	uint32_t body = (uint32_t)(size - FRAME_HEADER);
	for (int i = 0; i < 4; i++) {
		p[16 + i] = (uint8_t)(body >> 8 * i);
		if (p[5] == FRAME_NONE)
			p[12 + i] = p[16 + i];
	}
	uint32_t crc = crc32c(crc32c(0, p, 20), p + 24, size - 24);
	for (int i = 0; i < 4; i++)
		p[20 + i] = (uint8_t)(crc >> 8 * i);
	try(p, size);
	free(p);
	return 0;
}
