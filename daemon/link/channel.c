/* SPDX-License-Identifier: Apache-2.0
 * link/channel.c - one distinct subscription of a publishing end: filter, gather, encode, ring.
 *
 * A channel encodes and compresses once, whatever the number of its subscribers. Each sealed frame
 * has a slot until every cursor has settled it (slots.c). A frame that could not be made is a hole:
 * a slot without octets, announced as a gap, so that sequence and ledger stay whole. */
#include <stdlib.h>
#include <time.h>

#include "link/link_priv.h"
#include "link/slots.h"

#if defined(__SANITIZE_THREAD__)
#define HAVE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAVE_TSAN 1
#endif
#endif
#ifdef HAVE_TSAN
#include <sanitizer/tsan_interface.h>
#else
/* libzmq is not instrumented: what passes a frame between threads inside it is told to the tool */
#define __tsan_release(p) ((void)(p))
#define __tsan_acquire(p) ((void)(p))
#endif

void
frame_ref(struct frame *f)
{
	atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
	__tsan_release(f);
}

void
frame_unref(struct frame *f)
{
	if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1)
		free(f);
}

void
frame_sent(void *data, void *hint)
{
	struct frame *f = hint;
	(void)data;
	__tsan_acquire(f);
	if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1)
		freelist_push(f->home, &f->link);
}

struct channel *
channel_find(struct link_end *e, const struct filter *f, struct field_set want,
    enum frame_codec codec, bool is_auto)
{
	for (struct channel *ch = e->channels; ch != NULL; ch = ch->next)
		if (field_set_eq(ch->want, want) && ch->codec == codec &&
		    strv_eq(filter_canonical(ch->filter), filter_canonical(f))) {
			/* one who insists on a codec stops the channel from following the option */
			ch->auto_codec = ch->auto_codec && is_auto;
			return ch;
		}
	return NULL;
}

struct channel *
channel_new(struct link_end *e, struct filter **filter, struct field_set want,
    enum frame_codec codec, bool is_auto)
{
	/* those that were given up since the last look do not count */
	for (struct channel *c = e->channels, *next; c != NULL; c = next) {
		next = c->next;
		if (c->cursors == NULL)
			channel_free(c);
	}
	struct channel *ch = e->n_channels < e->max_channels ? calloc(1, sizeof(*ch)) : NULL;
	if (ch == NULL)
		return NULL;
	ch->end = e;
	do
		random_bytes(&ch->id, sizeof(ch->id));
	while (ch->id == 0);
	ch->filter = *filter;
	*filter = NULL;
	ch->want = want;
	ch->codec = codec;
	ch->auto_codec = is_auto;
	ch->next_seq = ch->mem_from = ch->submit_from = 1;
	ch->meta_changed = true;
	ch->next = e->channels;
	e->channels = ch;
	e->n_channels++;
	return ch;
}

void
channel_free(struct channel *ch)
{
	struct channel **at = &ch->end->channels;
	while (*at != ch)
		at = &(*at)->next;
	*at = ch->next;
	ch->end->n_channels--;
	relay_touch(ch->end->link);
	while (ch->cursors != NULL)
		cursor_free(ch->cursors);
	batch_unref(&ch->gather);
	slots_free(ch);
	if (ch->end->spool != NULL && !ch->end->closing)
		if (!spool_drop(ch->end->spool, ch->id)) /* its thread is far behind */
			log_warn("link: %s: what is left of a channel stays in the spool until the next start",
			    ch->end->name);
	filter_free(&ch->filter);
	free(ch);
}

void
channel_wake(struct channel *ch)
{
	for (struct cursor *c = ch->cursors; c != NULL; c = c->next)
		if (c->sess != NULL)
			session_wake(c->sess);
}

/* Rows that passed and cannot even become a hole: out of memory. */
static void
lose(struct channel *ch, uint64_t flows)
{
	for (struct cursor *c = ch->cursors; c != NULL; c = c->next)
		if (c->last == 0)
			cursor_lose(c, flows);
	counter_add(&ch->end->counters, C_flow_lost_encode, flows);
}

static void
add_frame(struct channel *ch, const struct buf *bytes, uint32_t flows, size_t raw, uint64_t now)
{
	struct slot s = {.sealed_us = now, .flows = flows, .len = (uint32_t)bytes->n,
	    .raw_len = (uint32_t)raw, .cause = bytes->n > 0 ? GAP_NONE : GAP_ENCODE};
	if (s.len > 0 && !slots_has_room(ch, s.len))
		s = (struct slot){.sealed_us = now, .flows = flows,
		    .cause = ch->end->spool != NULL ? GAP_SPOOL_FULL : GAP_RING_FULL};
	if (s.len > 0) {
		s.f = malloc(sizeof(*s.f) + bytes->n);
		if (s.f == NULL) {
			lose(ch, flows);
			return;
		}
		*s.f = (struct frame){.home = &ch->end->link->frames, .flows = flows, .len = s.len,
		    .raw_len = s.raw_len, .sealed_us = now};
		atomic_init(&s.f->refs, 1);
		memcpy(s.f->data, bytes->p, bytes->n);
	}
	if (!slots_push(ch, &s)) {
		free(s.f);
		lose(ch, flows);
		return;
	}
	if (s.len > 0) {
		counter_add(&ch->end->counters, C_frame_made, 1);
		counter_add(&ch->end->counters, C_frame_bytes, bytes->n);
		counter_add(&ch->end->counters, C_frame_raw_bytes, raw);
	}
	if (ch->cursors == NULL)
		channel_trim(ch);
	channel_wake(ch);
	channel_bound(ch);
}

static void encode(struct channel *ch, const struct batch *b, uint64_t now);

/* Too large for one frame: each half on its own. */
static void
encode_halves(struct channel *ch, const struct batch *b, uint64_t now)
{
	uint32_t half = b->n / 2;
	for (int part = 0; part < 2; part++) {
		uint64_t mask[BATCH_WORDS] = {0};
		uint32_t lo = part == 0 ? 0 : half, hi = part == 0 ? half : b->n, from = 0;
		struct batch *g = batch_pool_get(ch->end->pool);
		for (uint32_t r = lo; r < hi; r++)
			mask[r >> 6] |= UINT64_C(1) << (r & 63);
		if (g == NULL || batch_gather(g, b, mask, ch->want, &from) != (int)(hi - lo)) {
			lose(ch, hi - lo);
		} else {
			batch_seal(g, now);
			encode(ch, g, now);
		}
		batch_unref(&g);
	}
}

static void
encode(struct channel *ch, const struct batch *b, uint64_t now)
{
	struct link *l = ch->end->link;
	size_t raw = 0;
	buf_reset(&l->text);
	int rc = frame_encode(l->work, b, ch->want, ch->codec, 0, &l->text, &raw);
	if (rc == -E_LIMIT && b->n > 1) {
		encode_halves(ch, b, now);
		return;
	}
	if (rc != 0) {
		buf_reset(&l->text);
		raw = 0;
		counter_add(&ch->end->counters, C_flow_lost_encode, b->n);
	}
	add_frame(ch, &l->text, b->n, raw, now);
}

void
channel_seal(struct channel *ch, uint64_t now)
{
	if (ch->gather == NULL)
		return;
	batch_seal(ch->gather, now);
	encode(ch, ch->gather, now);
	batch_unref(&ch->gather);
	ch->gather_us = 0;
}

/* Of this thread's processor time: what others ran meanwhile is not the filter's. */
static uint64_t
nanoseconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void
gather(struct channel *ch, const struct batch *b, const uint64_t mask[BATCH_WORDS],
    uint32_t passed, uint64_t now)
{
	uint32_t from = 0, kept = 0;
	while (from < b->n) {
		if (ch->gather == NULL) {
			ch->gather = batch_pool_get(ch->end->pool);
			if (ch->gather == NULL)
				break;
			ch->gather_us = now;
			end_due(ch->end, now + ch->end->max_delay_us);
		}
		int n = batch_gather(ch->gather, b, mask, ch->want, &from);
		kept += n > 0 ? (uint32_t)n : 0;
		if (batch_full(ch->gather))
			channel_seal(ch, now);
		else if (n < 0 || from < b->n)
			break;
	}
	if (ch->gather != NULL && ch->gather->n == 0)
		batch_unref(&ch->gather);
	if (kept < passed)
		lose(ch, passed - kept);
}

void
channel_take(struct channel *ch, const struct batch *b, uint64_t now)
{
	uint64_t mask[BATCH_WORDS];
	uint64_t t = nanoseconds();
	uint32_t n = filter_run(ch->filter, ch->end->link->fwork, b, mask);
	ch->filter_ns += nanoseconds() - t;
	ch->offered += b->n;
	ch->passed += n;
	ch->filtered += b->n - n;
	counter_add(&ch->end->counters, C_flow_filtered, b->n - n);
	if (n == 0)
		return;
	if (ch->gather == NULL && n == b->n && batch_full(b))
		encode(ch, b, now); /* nothing to gather: the batch is a frame already */
	else
		gather(ch, b, mask, n, now);
}
