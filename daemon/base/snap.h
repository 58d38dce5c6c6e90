/* SPDX-License-Identifier: Apache-2.0
 * base/snap.h - a pointer that many threads read and one swaps, without a lock.
 *
 * A reader enters: it announces the pointer it is going to use in a slot (a hazard pointer) and
 * checks that it is still the current one. The writer swaps, waits until no slot holds the old
 * pointer, and may then free it. Readers must not block while they are inside. */
#ifndef FLOWBUS_BASE_SNAP_H
#define FLOWBUS_BASE_SNAP_H

#include <stdatomic.h>

enum { SNAP_SLOTS = 64 };

struct snap {
	_Atomic(void *) now;
	_Atomic(void *) slot[SNAP_SLOTS];
};

/**
 * The current pointer (may be NULL, then *slot_out is -1), to be left with snap_leave. Any
 * thread.
 */
void *snap_enter(struct snap *s, int *slot_out);
void snap_leave(struct snap *s, int slot);
/**
 * Put in a new pointer and return the old one when nobody uses it any more. One thread at a
 * time.
 */
void *snap_swap(struct snap *s, void *fresh);

#endif
