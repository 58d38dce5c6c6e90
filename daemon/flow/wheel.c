/* SPDX-License-Identifier: Apache-2.0
 * flow/wheel.c - timer wheel and queue of finished flows (wheel.h). */
#include "flow/wheel.h"

#include <string.h>

#include "base/err.h"
#include "flow/table.h"

int
wheel_init(struct wheel *w, uint32_t max)
{
	uint32_t ring = 64;
	while (ring < max / 4)
		ring *= 2;
	*w = (struct wheel){.max = max, .finish_mask = ring - 1};
	w->next = flow_memory_get(max * sizeof *w->next);
	w->finish = flow_memory_get(ring * sizeof *w->finish);
	w->reserved = max * sizeof *w->next + ring * sizeof *w->finish;
	if (w->next == NULL || w->finish == NULL) {
		wheel_fini(w);
		return -E_NOMEM;
	}
	wheel_reset(w, 0);
	return 0;
}

void
wheel_fini(struct wheel *w)
{
	flow_memory_put(w->next, w->max * sizeof *w->next);
	flow_memory_put(w->finish, ((size_t)w->finish_mask + 1) * sizeof *w->finish);
	*w = (struct wheel){0};
}

void
wheel_reset(struct wheel *w, int64_t now)
{
	for (uint32_t i = 0; i < w->max; i++)
		w->next[i] = WHEEL_OUT;
	for (unsigned s = 0; s < WHEEL_SLOTS; s++)
		w->slot[s] = WHEEL_END;
	w->pos = (uint64_t)now >> WHEEL_SHIFT;
	w->finish_head = w->finish_tail = 0;
}

/* pos moves on when its slot is empty, so that entries put back meanwhile go into later slots. */
unsigned
wheel_take(struct wheel *w, int64_t now, uint32_t *out, unsigned n)
{
	uint64_t target = (uint64_t)now >> WHEEL_SHIFT;
	unsigned got = 0;
	if (target > w->pos + WHEEL_SLOTS) /* once round sees everybody */
		w->pos = target - WHEEL_SLOTS;
	while (w->pos < target) {
		uint32_t *slot = &w->slot[(w->pos + 1) % WHEEL_SLOTS];
		while (*slot != WHEEL_END) {
			if (got == n)
				return got;
			uint32_t i = *slot;
			*slot = w->next[i];
			w->next[i] = WHEEL_OUT;
			out[got++] = i;
		}
		w->pos++;
	}
	return got;
}

void
finish_add(struct wheel *w, uint32_t i, uint32_t serial, int64_t due)
{
	if (w->finish_tail - w->finish_head > w->finish_mask)
		return;
	w->finish[w->finish_tail++ & w->finish_mask] = (struct finish){due, i, serial};
}

bool
finish_take(struct wheel *w, int64_t now, struct finish *out)
{
	if (w->finish_head == w->finish_tail)
		return false;
	*out = w->finish[w->finish_head & w->finish_mask];
	if (out->due > now)
		return false;
	w->finish_head++;
	return true;
}
