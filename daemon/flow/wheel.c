/* SPDX-License-Identifier: Apache-2.0
 * flow/wheel.c - the timer wheel (wheel.h). */
#include "flow/wheel.h"

#include <string.h>

#include "base/err.h"
#include "flow/table.h"

int
wheel_init(struct wheel *w, uint32_t max)
{
	*w = (struct wheel){.max = max, .reserved = max * sizeof *w->next};
	w->next = flow_memory_get(w->reserved);
	if (w->next == NULL)
		return -E_NOMEM;
	wheel_reset(w, 0);
	return 0;
}

void
wheel_fini(struct wheel *w)
{
	flow_memory_put(w->next, w->reserved);
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
