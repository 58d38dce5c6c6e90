/* SPDX-License-Identifier: Apache-2.0
 * engine/history_test.c - `filter test`: a filter over the records that are kept.
 *
 * What matches is gathered and encoded as a channel of a publish endpoint would: a frame at 4096
 * records, or when its first is older than max_delay. Beyond HISTORY_ENCODE records the octets are
 * scaled to all. */
#include <stdlib.h>

#include "base/clock.h"
#include "engine/history_priv.h"

void
job_free(struct engine_test_job **jp)
{
	struct engine_test_job *j = *jp;
	if (j == NULL)
		return;
	filter_free(&j->filter);
	batch_unref(&j->wire);
	buf_fini(&j->frame);
	for (unsigned i = 0; i < HISTORY_ROWS; i++)
		buf_fini(&j->text[i]);
	free(j);
	*jp = NULL;
}

static void
encode(struct history *h, struct engine_test_job *j)
{
	size_t raw = 0;
	if (j->wire == NULL)
		return;
	batch_seal(j->wire, (uint64_t)j->now_us);
	buf_reset(&j->frame);
	if (j->wire->n > 0 && frame_encode(h->frames, j->wire, field_set_all(), j->result.codec, 0,
	    &j->frame, &raw) == 0) {
		j->result.encoded += j->wire->n;
		j->result.frames++;
		j->result.bytes_raw += raw;
		j->result.bytes += j->frame.n;
	}
	batch_unref(&j->wire);
}

static void
gather(struct history *h, struct engine_test_job *j, const struct batch *b,
    const uint64_t mask[BATCH_WORDS], int64_t time_us)
{
	uint32_t from = 0;
	if (j->wire != NULL && llabs(j->wire_us - time_us) > (int64_t)j->max_delay_us)
		encode(h, j);
	while (from < b->n && j->result.encoded < HISTORY_ENCODE) {
		if (j->wire == NULL) {
			j->wire = batch_pool_get(h->pool);
			j->wire_us = time_us;
		}
		if (j->wire == NULL || batch_gather(j->wire, b, mask, field_set_all(), &from) < 0)
			return;
		if (batch_full(j->wire) || from < b->n)
			encode(h, j);
	}
}

/* Of a file the end of each flow decides; returns how many rows are in the span. */
static uint32_t
in_span(const struct batch *b, const struct source *s, uint64_t last_us,
    uint64_t mask[BATCH_WORDS])
{
	const struct column *c = batch_get(b, F_end);
	uint32_t n = 0;
	memset(mask, 0, BATCH_WORDS * sizeof(mask[0]));
	for (uint32_t r = 0; r < b->n; r++) {
		if (s != NULL && s->is_file && c != NULL && column_has(c, r) &&
		    ((const int64_t *)c->data)[r] <= s->newest_us - (int64_t)last_us)
			continue;
		mask[r >> 6] |= UINT64_C(1) << (r & 63);
		n++;
	}
	return n;
}

static void
look(struct history *h, struct engine_test_job *j, const struct kept *k, const struct source *s)
{
	uint64_t mask[BATCH_WORDS], span[BATCH_WORDS];
	struct engine_test *t = &j->result;
	struct batch *b = batch_pool_get(h->pool);
	uint32_t matched = 0;
	if (b == NULL || batch_unpack(h->ring + k->at, b, (uint64_t)j->now_us) != 0) {
		j->missed += k->n;
		batch_unref(&b);
		return;
	}
	t->seen += in_span(b, s, t->asked_us, span);
	(void)filter_run(j->filter, h->filters, b, mask);
	for (unsigned i = 0; i < BATCH_WORDS; i++) {
		mask[i] &= span[i];
		matched += (uint32_t)__builtin_popcountll(mask[i]);
	}
	for (uint32_t r = b->n; matched > 0 && r-- > 0 && t->n_rows < HISTORY_ROWS;) {
		if ((mask[r >> 6] >> (r & 63) & 1) == 0)
			continue;
		batch_row_json(&j->text[t->n_rows], b, r, field_set_all(), VALUE_JSON);
		j->rows[t->n_rows] = buf_view(&j->text[t->n_rows]);
		t->n_rows++;
	}
	t->matched += matched;
	t->by_packets = t->by_packets || (s != NULL && s->is_file);
	if (matched > 0)
		gather(h, j, b, mask, k->time_us);
	batch_unref(&b);
}

/* How far back everything is known: the worst of the inputs that are in it. */
static void
finish(struct history *h, struct engine_test_job *j)
{
	struct engine_test *t = &j->result;
	int64_t known = j->now_us - h->started_us;
	bool any = false;
	encode(h, j);
	for (unsigned i = 0; i < HISTORY_SOURCES; i++) {
		const struct source *s = &h->sources[i];
		int64_t now = s->is_file ? s->newest_us : j->now_us;
		if (s->number == 0 || now - s->newest_us > (int64_t)t->asked_us)
			continue;
		known = any && known < now - s->since_us ? known : now - s->since_us;
		any = true;
	}
	t->span_us = known > 0 ? (uint64_t)known : 0;
	if (t->span_us > t->asked_us)
		t->span_us = t->asked_us;
	/* nothing kept to compare with: what was missed may have been all there was */
	if (!j->any && (uint64_t)j->now_us - atomic_load(&h->missed_us) <= t->asked_us)
		j->oldest_missed = 0;
	t->missed = j->missed +
	    atomic_load_explicit(&h->missed, memory_order_relaxed) - j->oldest_missed;
	t->history_bytes = h->bytes;
	t->history_flows = h->flows;
	if (t->encoded > 0 && t->encoded < t->matched) {
		double scale = (double)t->matched / (double)t->encoded;
		t->bytes = (uint64_t)((double)t->bytes * scale);
		t->bytes_raw = (uint64_t)((double)t->bytes_raw * scale);
		t->frames = (uint64_t)((double)t->frames * scale);
	}
	t->rows = j->rows;
}

bool
job_step(struct history *h, struct engine_test_job *j)
{
	struct engine_test *t = &j->result;
	if (!j->has_begun) {
		j->has_begun = true;
		j->now_us = (int64_t)clock_mono_us();
		j->at_id = h->first_id + h->n_kept;
		j->oldest_missed = atomic_load_explicit(&h->missed, memory_order_relaxed);
	}
	/* those outside of the span cost nothing */
	while (j->at_id > h->first_id) {
		const struct kept *k = history_kept(h, --j->at_id);
		const struct source *s = history_source(h, k->source);
		int64_t now = s != NULL && s->is_file ? s->newest_us : j->now_us;
		if (k->time_us <= now - (int64_t)t->asked_us)
			continue;
		j->oldest_missed = k->missed;
		j->any = true;
		look(h, j, k, s);
		return false;
	}
	finish(h, j);
	return true;
}

/* ---- the main thread */

/* As the first publish endpoint would encode it. */
static void
encoding(const struct engine *e, struct engine_test_job *j)
{
	int codec = frame_codec_parse(strv_of(option_find("publish", STRV("codec"))->def));
	j->max_delay_us = 1000000;
	for (unsigned i = 0; i < e->n_ep; i++) {
		if (strcmp(e->ep[i]->conf->type, "publish") != 0)
			continue;
		codec = frame_codec_parse(strv_of(conf_text(e->ep[i]->conf, "codec")));
		j->max_delay_us = (uint64_t)conf_span_us(e->ep[i]->conf, "max_delay");
		break;
	}
	j->result.codec = codec >= 0 ? (enum frame_codec)codec : FRAME_ZSTD;
}

int
engine_filter_test(struct engine *e, struct filter **filter, const struct engine_test_ask *ask,
    struct engine_test_job **out, struct err *err)
{
	struct history *h = e->history;
	if (h == NULL)
		return err_set(err, E_UNSUP, "this daemon keeps no history of records (set daemon option "
		    "history, as in history=16M, and restart it)");
	struct engine_test_job *j = calloc(1, sizeof(*j));
	if (j == NULL)
		return err_set(err, E_NOMEM, "out of memory");
	j->ask = *ask;
	j->result.asked_us = ask->last_us;
	j->frame = buf_init(FRAME_RAW_MAX + (1 << 16));
	for (unsigned i = 0; i < HISTORY_ROWS; i++)
		j->text[i] = buf_init(1 << 17);
	encoding(e, j);
	j->filter = *filter;
	*filter = NULL;
	if (h->n_jobs >= HISTORY_JOBS || !queue_push(h->jobs, j)) {
		job_free(&j);
		return err_set(err, E_BUSY, "too many filter tests at once (try again)");
	}
	h->n_jobs++;
	*out = j;
	wake_signal(&h->wake);
	return 0;
}

void
engine_filter_test_cancel(struct engine_test_job **jp)
{
	if (*jp != NULL)
		(*jp)->ask.fn = NULL;
	*jp = NULL;
}
