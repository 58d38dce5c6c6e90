/* SPDX-License-Identifier: Apache-2.0
 * fuzz/fuzz_msg.c - control messages of the link: what decodes must encode to the same meaning. */
#include <stdint.h>
#include <stdlib.h>

#include "base/err.h"
#include "link/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct msg m, again;
	struct stats_second s;
	struct field_set fields;
	char text[64];
	if (msg_decode(data, size, &m) != 0)
		return 0;
	struct buf out = buf_init(0);
	msg_encode(&m, &out);
	assert_always(out.err == 0);
	/* an item may be written shorter than it came, never longer than a message may be */
	assert_always(msg_decode(out.p, out.n, &again) == 0);
	assert_always(again.type == m.type && again.from == m.from && again.to == m.to &&
	    again.has == m.has);
	for (int i = 0; i < MI_COUNT; i++) {
		assert_always(again.u[i] == m.u[i] && strv_eq(again.s[i], m.s[i]));
		msg_copy(&m, (enum msg_item)i, text, sizeof(text));
		assert_always(strlen(text) < sizeof(text));
	}
	(void)msg_get_stats(&m, &s);
	(void)msg_get_fields(&m, &fields);
	buf_fini(&out);
	return 0;
}
