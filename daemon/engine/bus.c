/* SPDX-License-Identifier: Apache-2.0
 * engine/bus.c - batches from any input thread to every output, by reference.
 *
 * The list of outputs is immutable; attaching swaps in a new one. `take` never blocks, so a reader
 * is inside the list for a moment only. An input that may wait (a file) leaves the list, sleeps
 * and tries again those outputs that had no room. */
#include <stdlib.h>

#include "base/clock.h"
#include "engine/engine_priv.h"

enum { WAIT_STEP_US = 500 };

static int
bus_change(struct bus *b, const struct bus_out *add, uint32_t remove)
{
	const struct bus_list *old = atomic_load(&b->list.now);
	unsigned n = old != NULL ? old->n : 0;
	struct bus_list *fresh = calloc(1, sizeof(*fresh) + (n + 1) * sizeof(fresh->out[0]));
	if (fresh == NULL)
		return -E_NOMEM;
	for (unsigned i = 0; i < n; i++)
		if (old->out[i].number != remove)
			fresh->out[fresh->n++] = old->out[i];
	if (add != NULL)
		fresh->out[fresh->n++] = *add;
	free(snap_swap(&b->list, fresh));
	return 0;
}

int
bus_add(struct bus *b, const struct bus_out *out)
{
	return bus_change(b, out, 0);
}

void
bus_remove(struct bus *b, uint32_t number)
{
	/* an output that cannot be taken off the list could not be freed either */
	int rc = bus_change(b, NULL, number);
	assert_always(rc == 0);
}

void
bus_free(struct bus *b)
{
	free(snap_swap(&b->list, NULL));
}

static void
lost(const struct bus_out *o, uint32_t flows)
{
	atomic_fetch_add_explicit(&o->ep->counters.v[C_batch_lost_queue], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&o->ep->counters.v[C_flow_lost_queue], flows, memory_order_relaxed);
	if (o->type->lost != NULL)
		o->type->lost(o->self, flows);
}

struct offer {
	uint32_t done[MAX_ENDPOINTS]; /* numbers of the outputs that are served */
	unsigned n_done;
	bool is_again;  /* not the first time: taps had their turn */
	bool last_try;  /* what is refused now is lost */
};

static bool
is_done(const struct offer *x, uint32_t number)
{
	for (unsigned i = 0; i < x->n_done; i++)
		if (x->done[i] == number)
			return true;
	return false;
}

/* A file's reader waits; what only one output gets waits for it, back to the probe it is from. */
static bool
may_be_kept(const struct bus_list *list, bool may_wait)
{
	unsigned n = 0;
	for (unsigned i = 0; list != NULL && i < list->n; i++)
		n += list->out[i].ep != NULL;
	return may_wait || n <= 1;
}

/* Offer the batch to the outputs not yet served. Returns how many had no room. */
static unsigned
offer(struct bus *b, struct batch *batch, struct offer *x)
{
	int slot;
	const struct bus_list *list = snap_enter(&b->list, &slot);
	unsigned refused = 0;
	if (!x->is_again)
		batch->may_wait = may_be_kept(list, !x->last_try);
	for (unsigned i = 0; list != NULL && i < list->n; i++) {
		const struct bus_out *o = &list->out[i];
		/* a tap is for looking at: it never holds up an input, and counts its own losses */
		if (o->ep == NULL ? x->is_again || batch->mark != NULL : is_done(x, o->number))
			continue;
		batch_ref(batch);
		bool taken = o->type->take(o->self, batch);
		if (!taken) {
			struct batch *ref = batch;
			batch_unref(&ref);
		}
		if (o->ep == NULL)
			continue;
		if (!taken && !x->last_try && x->n_done < MAX_ENDPOINTS) {
			refused++;
			continue;
		}
		if (!taken && batch->mark != NULL)
			atomic_store(&batch->mark->failed, true); /* its file is not where the mark is */
		else if (!taken)
			lost(o, batch->n);
		if (x->n_done < MAX_ENDPOINTS)
			x->done[x->n_done++] = o->number;
	}
	snap_leave(&b->list, slot);
	x->is_again = true;
	return refused;
}

static bool
may_go_on(const struct endpoint *from)
{
	uint64_t until = from != NULL ? atomic_load(&from->wait_until_us) : 1;
	return until == 0 || clock_mono_us() < until;
}

void
bus_push(struct bus *b, struct endpoint *from, struct batch **batch, bool may_wait)
{
	struct offer o = {.n_done = 0, .last_try = !may_wait};
	struct batch *x = *batch;
	*batch = NULL;
	while (offer(b, x, &o) > 0) {
		o.last_try = !may_go_on(from);
		if (!o.last_try)
			clock_sleep_us(WAIT_STEP_US);
	}
	if (o.n_done == 0 && from != NULL)
		atomic_fetch_add_explicit(&from->counters.v[C_flow_no_output], x->n,
		    memory_order_relaxed);
	batch_unref(&x);
}

void
bus_second(struct bus *b, const struct stats_second *s)
{
	int slot;
	const struct bus_list *list = snap_enter(&b->list, &slot);
	for (unsigned i = 0; list != NULL && i < list->n; i++)
		if (list->out[i].type->second != NULL)
			list->out[i].type->second(list->out[i].self, s);
	snap_leave(&b->list, slot);
}
