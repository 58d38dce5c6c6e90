/* SPDX-License-Identifier: Apache-2.0
 * link/clock.c - the clock of a peer: how far it is off, and whether that is too much.
 *
 * Offset = ((recv - echo_time) + (time - now)) / 2, of the quickest of the last eight PONGs. Half
 * of what the way there and the way back differ by is in it, unseen: no more than half the round
 * trip. A sample that differs from the kept one by more than both ways can explain is a clock that
 * was set, and replaces it at once. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "link/link_priv.h"

enum { DRIFT_US = 10000 }; /* two clocks may part by this much within eight samples */

static bool
was_set(const struct session *s, int64_t offset)
{
	uint64_t far = (uint64_t)llabs(offset - s->offset_us);
	return far > (s->rtt_us + s->rtt_best_us) / 2 + DRIFT_US;
}

bool
clock_sample(struct session *s, const struct msg *m)
{
	uint64_t mono = clock_mono_us();
	uint64_t held = m->u[MI_time] - m->u[MI_recv];
	if (m->u[MI_echo_mono] > mono || held > mono - m->u[MI_echo_mono]) {
		counter_add(&s->end->counters, C_msg_bad, 1);
		return false;
	}
	if (msg_has(m, MI_age))
		s->peer_age_us = m->u[MI_age];
	s->rtt_us = mono - m->u[MI_echo_mono] - held;
	uint64_t there = m->u[MI_recv] - m->u[MI_echo_time];
	uint64_t back = m->u[MI_time] - (uint64_t)clock_real_us();
	int64_t offset = (int64_t)(there + back) / 2;
	if (s->rtt_best_us != 0 && s->rtt_us > s->rtt_best_us && !was_set(s, offset) &&
	    ++s->rtt_age < 8)
		return true;
	s->rtt_best_us = s->rtt_us > 0 ? s->rtt_us : 1;
	s->rtt_age = 0;
	s->offset_us = offset;
	clock_judge(s);
	return true;
}

void
clock_judge(struct session *s)
{
	const struct link_end *e = s->end;
	uint64_t far = (uint64_t)llabs(s->offset_us), limit = e->clock_limit_us;
	if (e->is_publish || s->rtt_best_us == 0)
		return;
	/* right again at half the limit, so that one at the limit does not flicker */
	bool wrong = limit != 0 && far > (s->clock_wrong ? limit / 2 : limit);
	if (wrong == s->clock_wrong)
		return;
	s->clock_wrong = wrong;
	if (wrong)
		log_line(&s->clock_site, LOG_WARN, "link: %s: the clock of probe %s is %.3f s %s ours, "
		    "more than clock_limit: its flows carry clock_offset (set the clock there, or here)",
		    e->name, s->name, (double)far / 1e6, s->offset_us > 0 ? "ahead of" : "behind");
	else if (limit != 0)
		log_line(&s->clock_site, LOG_NOTICE, "link: %s: the clock of probe %s is right again, "
		    "%.3f s from ours", e->name, s->name, (double)s->offset_us / 1e6);
}

void
clock_fill(const struct session *s, struct batch *b)
{
	struct column *c = &b->col[F_clock_offset];
	if (!s->clock_wrong || b->n == 0 || (c->used && c->dense))
		return;
	bool was_used = c->used;
	if (batch_column(b, F_clock_offset, true) == NULL)
		return;
	int64_t *cells = c->data;
	for (uint32_t r = 0; r < b->n; r++)
		if (!was_used || (c->present[r >> 6] >> (r & 63) & 1) == 0)
			cells[r] = s->offset_us;
	c->dense = true;
}
