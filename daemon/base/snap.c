/* SPDX-License-Identifier: Apache-2.0
 * base/snap.c - hazard pointers for one shared pointer. */
#include "base/snap.h"

#include <sched.h>
#include <stddef.h>

void *
snap_enter(struct snap *s, int *slot_out)
{
	for (;;) {
		void *p = atomic_load(&s->now);
		*slot_out = -1;
		if (p == NULL)
			return NULL;
		for (int i = 0; i < SNAP_SLOTS; i++) {
			void *none = NULL;
			if (!atomic_compare_exchange_strong(&s->slot[i], &none, p))
				continue;
			void *again;
			while ((again = atomic_load(&s->now)) != p) {
				p = again;
				if (p == NULL)
					break;
				atomic_store(&s->slot[i], p);
			}
			if (p == NULL) {
				atomic_store(&s->slot[i], NULL);
				return NULL;
			}
			*slot_out = i;
			return p;
		}
		sched_yield(); /* more readers inside than slots */
	}
}

void
snap_leave(struct snap *s, int slot)
{
	if (slot >= 0)
		atomic_store_explicit(&s->slot[slot], NULL, memory_order_release);
}

void *
snap_swap(struct snap *s, void *fresh)
{
	void *old = atomic_exchange(&s->now, fresh);
	for (int i = 0; old != NULL && i < SNAP_SLOTS; i++)
		while (atomic_load(&s->slot[i]) == old)
			sched_yield();
	return old;
}
