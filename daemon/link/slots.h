/* SPDX-License-Identifier: Apache-2.0
 * link/slots.h - the sealed frames of a channel: what channel.c needs beside link_priv.h. */
#ifndef FLOWBUS_LINK_SLOTS_H
#define FLOWBUS_LINK_SLOTS_H

#include "link/link_priv.h"

/** With on_full = drop_newest: is there room for one more frame of this length? Else: always. */
bool slots_has_room(const struct channel *ch, uint32_t len);
/** Append; the sequence is given here, the frame's reference is taken. False without memory. */
bool slots_push(struct channel *ch, const struct slot *s);
void slots_free(struct channel *ch);

#endif
