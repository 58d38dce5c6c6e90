/* SPDX-License-Identifier: Apache-2.0
 * engine/history.c - the records that passed lately, for `filter test`.
 *
 * An output of its own with a thread: it takes a batch, copies it packed into a ring of bounded
 * size and lets go of it, so that inputs get their batches back within a millisecond. It takes none
 * while it is behind or an input runs low on batches: what it then misses is counted and told, and
 * costs nobody anything. The oldest make room. Questions are looked into by the same thread, a kept
 * batch at a time between those that come in, from the newest down. */
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "engine/history_priv.h"

/* ---- keeping */

static void
miss(struct history *h, uint32_t flows)
{
	atomic_fetch_add_explicit(&h->missed, flows, memory_order_relaxed);
	atomic_store_explicit(&h->missed_us, clock_mono_us(), memory_order_relaxed);
}

static bool
history_take(void *self, struct batch *b)
{
	struct history *h = self;
	if (batch_pool_is_low(b->pool) || !queue_push(h->batches, b)) {
		miss(h, b->n);
		return false;
	}
	wake_signal(&h->wake);
	return true;
}

static const struct port_type history_type = {
    .name = "history", .direction = PORT_OUTPUT, .help = "", .take = history_take};

struct kept *
history_kept(struct history *h, uint64_t id)
{
	return &h->kept[(h->first + (unsigned)(id - h->first_id)) % HISTORY_KEPT];
}

static bool
is_file(struct history *h, uint32_t number)
{
	bool found = false;
	pthread_mutex_lock(&h->lock);
	for (unsigned i = 0; i < h->n_files && i < HISTORY_SOURCES; i++)
		found = found || h->files[i] == number;
	pthread_mutex_unlock(&h->lock);
	return found;
}

struct source *
history_source(struct history *h, uint32_t number)
{
	struct source *s = &h->sources[number % HISTORY_SOURCES];
	return s->number == number ? s : NULL;
}

static struct source *
source_of(struct history *h, const struct batch *b)
{
	struct source *s = history_source(h, b->source);
	if (s != NULL)
		return s;
	s = &h->sources[b->source % HISTORY_SOURCES];
	*s = (struct source){.number = b->source, .is_file = is_file(h, b->source)};
	s->since_us = s->is_file ? b->min_start : h->started_us;
	s->newest_us = s->since_us;
	return s;
}

static void
evict(struct history *h)
{
	const struct kept *k = &h->kept[h->first];
	struct source *s = history_source(h, k->source);
	if (s != NULL && k->time_us > s->since_us)
		s->since_us = k->time_us;
	h->flows -= k->n;
	h->bytes -= k->len;
	h->first = (h->first + 1) % HISTORY_KEPT;
	h->first_id++;
	h->n_kept--;
}

/* @need octets in a row; the oldest go. NULL: more than the ring. */
static uint8_t *
make_room(struct history *h, size_t need)
{
	if (need > h->size)
		return NULL;
	if (h->head + need > h->size) {
		/* what lies behind the head is older than what lies at the beginning */
		while (h->n_kept > 0 && h->kept[h->first].at >= h->head)
			evict(h);
		h->head = 0;
	}
	while (h->n_kept > 0) {
		const struct kept *k = &h->kept[h->first];
		if (h->n_kept < HISTORY_KEPT && (k->at < h->head || k->at >= h->head + need))
			break;
		evict(h);
	}
	return h->ring + h->head;
}

static void
keep(struct history *h, const struct batch *b)
{
	uint8_t *p = make_room(h, batch_pack_bound(b));
	if (p == NULL || b->n == 0) {
		miss(h, b->n);
		return;
	}
	struct source *s = source_of(h, b);
	int64_t time_us = s->is_file ? b->max_end : (int64_t)clock_mono_us();
	if (time_us > s->newest_us)
		s->newest_us = time_us;
	struct kept *k = &h->kept[(h->first + h->n_kept++) % HISTORY_KEPT];
	*k = (struct kept){h->head, batch_pack(b, p), b->n, b->source, time_us, b->max_end,
	    atomic_load_explicit(&h->missed, memory_order_relaxed)};
	h->head += k->len;
	h->flows += k->n;
	h->bytes += k->len;
}

/* ---- the thread */

static void *
history_main(void *arg)
{
	struct history *h = arg;
	struct engine_test_job *job = NULL;
	struct batch *b;
	while (!atomic_load(&h->stop)) {
		while ((b = queue_pop(h->batches)) != NULL) {
			keep(h, b);
			batch_unref(&b);
		}
		if (job == NULL)
			job = queue_pop(h->jobs);
		if (job == NULL) {
			wake_wait(&h->wake, -1);
		} else if (job_step(h, job)) {
			/* as large as there may be jobs: it has room */
			bool pushed = queue_push(h->done, job);
			assert_always(pushed);
			wake_signal(&h->done_wake);
			job = NULL;
		}
	}
	job_free(&job);
	return NULL;
}

static void
on_done(void *arg, int fd, unsigned events)
{
	struct history *h = arg;
	struct engine_test_job *j;
	(void)fd;
	(void)events;
	wake_clear(&h->done_wake);
	while ((j = queue_pop(h->done)) != NULL) {
		h->n_jobs--;
		if (j->ask.fn != NULL)
			j->ask.fn(j->ask.arg, &j->result);
		job_free(&j);
	}
}

/* ---- the main thread */

static void
history_free(struct history *h)
{
	struct engine_test_job *j;
	struct batch *b;
	loop_io_del(&h->done_io);
	while (h->batches != NULL && (b = queue_pop(h->batches)) != NULL)
		batch_unref(&b);
	while (h->jobs != NULL && (j = queue_pop(h->jobs)) != NULL)
		job_free(&j);
	while (h->done != NULL && (j = queue_pop(h->done)) != NULL)
		job_free(&j);
	queue_free(&h->batches);
	queue_free(&h->jobs);
	queue_free(&h->done);
	batch_pool_free(&h->pool);
	frame_work_free(&h->frames);
	filter_work_free(&h->filters);
	wake_fini(&h->wake);
	wake_fini(&h->done_wake);
	pthread_mutex_destroy(&h->lock);
	free(h->ring);
	free(h->kept);
	free(h);
}

static bool
allocate(struct history *h)
{
	h->batches = queue_new(HISTORY_QUEUE);
	h->jobs = queue_new(HISTORY_JOBS);
	h->done = queue_new(HISTORY_JOBS);
	h->pool = batch_pool_new(4);
	h->frames = frame_work_new();
	h->filters = filter_work_new();
	h->ring = malloc(h->size);
	h->kept = calloc(HISTORY_KEPT, sizeof(*h->kept));
	if (h->batches == NULL || h->jobs == NULL || h->done == NULL || h->pool == NULL ||
	    h->frames == NULL || h->filters == NULL || h->ring == NULL || h->kept == NULL)
		return false;
	h->done_io = loop_io_add(h->engine->loop, h->done_wake.fd, EPOLLIN, on_done, h);
	return h->done_io != NULL;
}

int
history_start(struct engine *e, uint64_t size, struct err *err)
{
	struct history *h = size > 0 ? calloc(1, sizeof(*h)) : NULL;
	if (size == 0)
		return 0;
	if (size < HISTORY_LEAST) {
		free(h);
		return err_set(err, E_RANGE, "history=%llu is too little for one batch (at least 4M, or "
		    "0 for none)", (unsigned long long)size);
	}
	if (h == NULL)
		return err_set(err, E_NOMEM, "history: out of memory");
	h->engine = e;
	h->size = (size_t)size;
	h->started_us = (int64_t)clock_mono_us();
	h->wake.fd = h->done_wake.fd = -1;
	pthread_mutex_init(&h->lock, NULL);
	bool ok = wake_init(&h->wake) == 0 && wake_init(&h->done_wake) == 0 && allocate(h);
	h->number = e->next_number++;
	struct bus_out out = {NULL, &history_type, h, h->number};
	if (!ok || pthread_create(&h->thread, NULL, history_main, h) != 0) {
		history_free(h);
		return err_set(err, E_NOMEM, "history: out of memory (lower daemon option history)");
	}
	e->history = h;
	if (bus_add(&e->bus, &out) != 0) {
		history_stop(e);
		return err_set(err, E_NOMEM, "history: out of memory (lower daemon option history)");
	}
	return 0;
}

void
history_stop(struct engine *e)
{
	struct history *h = e->history;
	if (h == NULL)
		return;
	e->history = NULL;
	bus_remove(&e->bus, h->number);
	atomic_store(&h->stop, true);
	wake_signal(&h->wake);
	pthread_join(h->thread, NULL);
	history_free(h);
}

uint64_t
history_memory(const struct engine *e)
{
	/* one batch is unpacked at a time, and one becomes a frame */
	return e->history == NULL ? 0 : sizeof(struct history) + e->history->size +
	    HISTORY_KEPT * sizeof(struct kept) + 2 * batch_memory(BATCH_TEXT_FIRST);
}

void
history_is_file(struct engine *e, uint32_t number)
{
	struct history *h = e->history;
	if (h == NULL)
		return;
	pthread_mutex_lock(&h->lock);
	h->files[h->n_files++ % HISTORY_SOURCES] = number;
	pthread_mutex_unlock(&h->lock);
}
