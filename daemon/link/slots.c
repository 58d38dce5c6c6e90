/* SPDX-License-Identifier: Apache-2.0
 * link/slots.c - the sealed frames of a channel, in memory and in the spool, and their bounds.
 *
 * Slots are a circular array in order of sequence, without a gap. Memory holds the newest: when it
 * is over `ring`, the oldest frames that are on disk leave it (mem_from moves on); a cursor that is
 * further behind has them read back, some at a time. What fits neither into memory nor into
 * `spool_size` is dropped by the policy `on_full`: the oldest is popped and becomes a gap of every
 * cursor that has not sent it, or the newest becomes a hole. */
#include "link/slots.h"

#include <stdlib.h>

#include "base/clock.h"

enum { FETCH_MAX = 64, FETCH_BYTES = 1 << 20, LOADED_BYTES = 4 << 20 };

#define META_US  UINT64_C(1000000)
#define ACKED_US UINT64_C(10000000) /* collectors that saved their own position know better */
#define CLOSE_US UINT64_C(2000000)
#define RESTART_JUMP (UINT64_C(1) << 32) /* more frames than can have been sent unwritten */

static struct slot *
slot_at(const struct channel *ch, uint32_t i)
{
	return &ch->slots[(ch->slot_head + i) & (ch->cap_slots - 1)];
}

static uint64_t
size_of(const struct slot *s)
{
	return sizeof(struct frame) + s->len;
}

struct slot *
channel_slot(const struct channel *ch, uint64_t seq)
{
	if (ch->n_slots == 0 || seq < slot_at(ch, 0)->seq || seq >= ch->next_seq)
		return NULL;
	uint64_t guess = seq - slot_at(ch, 0)->seq; /* right unless there is a hole of several */
	uint32_t lo = 0, hi = ch->n_slots - 1;
	if (guess <= hi && slot_at(ch, (uint32_t)guess)->seq == seq)
		return slot_at(ch, (uint32_t)guess);
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (slot_at(ch, mid)->to < seq)
			lo = mid + 1;
		else
			hi = mid;
	}
	return slot_at(ch, lo);
}

uint64_t
channel_before(const struct channel *ch, uint64_t seq)
{
	const struct slot *s = channel_slot(ch, seq);
	if (s != NULL)
		return s->before;
	return ch->n_slots > 0 && seq < ch->next_seq ? slot_at(ch, 0)->before : ch->sealed_flows;
}

/* ---- storage */

static bool
grow(struct channel *ch)
{
	if (ch->n_slots < ch->cap_slots)
		return true;
	uint32_t cap = ch->cap_slots == 0 ? 16 : ch->cap_slots * 2;
	struct slot *slots = cap <= SLOTS_MAX ? malloc(cap * sizeof(*slots)) : NULL;
	if (slots == NULL)
		return false;
	for (uint32_t i = 0; i < ch->n_slots; i++)
		slots[i] = *slot_at(ch, i);
	free(ch->slots);
	ch->slots = slots;
	ch->cap_slots = cap;
	ch->slot_head = 0;
	return true;
}

static void
disk_add(struct channel *ch, const struct slot *s, bool add)
{
	uint64_t n = s->segment != 0 ? size_of(s) : 0;
	ch->disk_bytes += add ? n : -n;
	ch->end->disk_bytes += add ? n : -n;
}

/* The frame leaves memory. */
static void
unload(struct channel *ch, struct slot *s)
{
	if (s->f == NULL)
		return;
	if (s->is_loaded)
		ch->loaded_bytes -= size_of(s);
	else
		ch->mem_bytes -= size_of(s);
	frame_unref(s->f);
	s->f = NULL;
	s->is_loaded = false;
}

static void
pop(struct channel *ch)
{
	struct slot *s = slot_at(ch, 0);
	unload(ch, s);
	disk_add(ch, s, false);
	if (ch->mem_from <= s->to)
		ch->mem_from = s->to + 1;
	if (ch->submit_from <= s->to)
		ch->submit_from = s->to + 1;
	ch->slot_head = (ch->slot_head + 1) & (ch->cap_slots - 1);
	ch->n_slots--;
}

void
slots_free(struct channel *ch)
{
	while (ch->n_slots > 0)
		pop(ch);
	free(ch->slots);
	free(ch->loaded);
	ch->slots = NULL;
	ch->loaded = NULL;
}

/* Losses in a row are one hole, as long as nobody has passed the first. */
static bool
widen(struct channel *ch, const struct slot *s)
{
	struct slot *last = ch->n_slots > 0 ? slot_at(ch, ch->n_slots - 1) : NULL;
	if (last == NULL || s->len > 0 || last->len > 0 || last->cause != s->cause ||
	    last->is_pending || last->segment != 0 || s->cause == GAP_PROBE_RESTART)
		return false;
	for (const struct cursor *c = ch->cursors; c != NULL; c = c->next)
		if (c->at > last->seq)
			return false;
	last->to++;
	last->flows += s->flows;
	return true;
}

bool
slots_push(struct channel *ch, const struct slot *s)
{
	if (ch->end->spool == NULL && widen(ch, s)) {
		ch->next_seq++;
		ch->sealed_flows += s->flows;
		return true;
	}
	if (!grow(ch))
		return false;
	struct slot *to = slot_at(ch, ch->n_slots++);
	*to = *s;
	to->seq = to->to = ch->next_seq++;
	to->before = ch->sealed_flows;
	ch->sealed_flows += s->flows;
	if (to->f != NULL) {
		to->f->seq = to->seq;
		ch->mem_bytes += size_of(to);
	}
	return true;
}

/* ---- bounds */

static bool
disk_has_room(const struct link_end *e, uint64_t more)
{
	return e->disk_bytes + more <= e->spool_size;
}

bool
slots_has_room(const struct channel *ch, uint32_t len)
{
	const struct link_end *e = ch->end;
	uint64_t size = sizeof(struct frame) + len;
	if (e->on_full != ON_FULL_DROP_NEWEST || ch->n_slots == 0)
		return true;
	if (ch->n_slots >= SLOTS_MAX)
		return false;
	if (e->spool == NULL)
		return ch->mem_bytes + size <= e->ring;
	/* what is in memory and not yet written will need its place as well */
	return disk_has_room(e, size + ch->mem_bytes) || ch->mem_bytes + size <= e->ring;
}

static void
drop_oldest(struct channel *ch, enum gap_cause cause)
{
	const struct slot *s = slot_at(ch, 0);
	for (struct cursor *c = ch->cursors; c != NULL; c = c->next)
		if (c->at <= s->to)
			cursor_drop(c, s, s->len > 0 ? cause : s->cause);
	pop(ch);
}

/* Oldest frames leave memory while they are on disk. False: one is in the way that is not. */
static bool
shrink_memory(struct channel *ch)
{
	while (ch->mem_bytes > ch->end->ring) {
		struct slot *s = channel_slot(ch, ch->mem_from);
		if (s == NULL || (s->len > 0 && s->segment == 0))
			return false;
		if (!s->is_loaded)
			unload(ch, s);
		ch->mem_from = s->to + 1;
	}
	return true;
}

static void
give_up_unwritten(struct channel *ch)
{
	struct slot *s = channel_slot(ch, ch->mem_from);
	assert_always(s != NULL);
	unload(ch, s);
	s->len = 0;
	s->cause = GAP_RING_FULL;
	ch->mem_from = s->to + 1;
}

static void
bound_disk(struct link_end *e)
{
	while (e->disk_bytes > e->spool_size) {
		struct channel *most = NULL;
		for (struct channel *ch = e->channels; ch != NULL; ch = ch->next)
			if (ch->n_slots > 1 && (most == NULL || ch->disk_bytes > most->disk_bytes))
				most = ch;
		if (most == NULL || most->disk_bytes == 0)
			return;
		drop_oldest(most, GAP_SPOOL_FULL);
		channel_trim(most);
	}
}

void
channel_bound(struct channel *ch)
{
	struct link_end *e = ch->end;
	uint64_t slack = e->on_full == ON_FULL_BLOCK || e->spool != NULL ? 2 : 1;
	if (e->spool != NULL)
		bound_disk(e);
	while (!shrink_memory(ch) && ch->mem_bytes > slack * e->ring && ch->n_slots > 1) {
		if (e->spool != NULL)
			give_up_unwritten(ch); /* the disk is slow or fails */
		else
			drop_oldest(ch, GAP_RING_FULL);
	}
	while (ch->n_slots >= SLOTS_MAX)
		drop_oldest(ch, e->spool != NULL ? GAP_SPOOL_FULL : GAP_RING_FULL);
	/* what is under way from the inputs still has to find its place */
	uint64_t margin = min_u64(e->ring / 2, e->spool_size / 4);
	bool full = ch->mem_bytes > e->ring || (e->spool != NULL && !disk_has_room(e, margin));
	if (full && e->on_full == ON_FULL_BLOCK)
		atomic_store(&e->is_full, true);
}

void
channel_unblock(struct link_end *e)
{
	if (!atomic_load(&e->is_full))
		return;
	for (const struct channel *ch = e->channels; ch != NULL; ch = ch->next)
		if (ch->mem_bytes > e->ring / 2)
			return;
	if (e->on_full != ON_FULL_BLOCK || e->spool == NULL ||
	    disk_has_room(e, min_u64(e->ring, e->spool_size / 2)))
		atomic_store(&e->is_full, false);
}

void
channel_trim(struct channel *ch)
{
	uint64_t settled = ch->next_seq - 1;
	bool was_on_disk = false;
	/* one who waits for the oldest is enough */
	uint64_t first = ch->n_slots > 0 ? slot_at(ch, 0)->to : NEVER;
	for (const struct cursor *c = ch->cursors; c != NULL && settled >= first; c = c->next)
		settled = min_u64(settled, c->acked);
	while (ch->n_slots > 0 && slot_at(ch, 0)->to <= settled) {
		was_on_disk |= slot_at(ch, 0)->segment != 0;
		pop(ch);
	}
	/* also slots that were dropped need their place on disk no longer */
	uint64_t gone = ch->n_slots > 0 ? slot_at(ch, 0)->seq - 1 : ch->next_seq - 1;
	if (ch->end->spool != NULL && gone > ch->trimmed && (was_on_disk || ch->n_slots == 0) &&
	    spool_trim(ch->end->spool, ch->id, gone))
		ch->trimmed = gone;
	channel_unblock(ch->end);
}

/* ---- reading back */

static void
forget_loaded(struct channel *ch)
{
	uint64_t seq = ch->loaded[ch->loaded_head];
	struct slot *s = channel_slot(ch, seq);
	ch->loaded_head = (ch->loaded_head + 1) % LOADED_MAX;
	ch->n_loaded--;
	if (s != NULL && s->is_loaded)
		unload(ch, s);
}

static void
take_loaded(struct channel *ch, struct spool_done *d)
{
	struct slot *s = channel_slot(ch, d->seq);
	end_due(ch->end, 0);
	if (s == NULL || s->seq != d->seq || !s->is_wanted)
		return; /* settled or dropped meanwhile */
	s->is_wanted = false;
	channel_wake(ch);
	if (d->frame == NULL) {
		disk_add(ch, s, false);
		s->segment = 0;
		s->len = 0;
		s->cause = GAP_DAMAGED;
		return;
	}
	while (ch->n_loaded == LOADED_MAX || (ch->n_loaded > 0 && ch->loaded_bytes > LOADED_BYTES))
		forget_loaded(ch);
	s->f = d->frame;
	d->frame = NULL;
	s->f->sealed_us = s->sealed_us;
	s->is_loaded = true;
	ch->loaded_bytes += size_of(s);
	ch->loaded[(ch->loaded_head + ch->n_loaded++) % LOADED_MAX] = s->seq;
}

static struct spool_record
record_of(const struct slot *s)
{
	return (struct spool_record){.seq = s->seq, .to = s->to, .where = s->where,
	    .segment = s->segment, .flows = s->flows, .len = s->len, .raw_len = s->raw_len,
	    .cause = s->cause};
}

void
channel_fetch(struct channel *ch, struct slot *s)
{
	struct spool_record r[FETCH_MAX] = {0};
	uint64_t bytes = 0;
	unsigned n = 0;
	if (s->is_wanted)
		return;
	if (ch->loaded == NULL && (ch->loaded = calloc(LOADED_MAX, sizeof(*ch->loaded))) == NULL)
		return; /* the cursor comes again */
	for (struct slot *at = s; at != NULL && n < FETCH_MAX && bytes < FETCH_BYTES;
	     at = channel_slot(ch, at->to + 1)) {
		if (at->segment != s->segment || at->f != NULL || at->len == 0 || at->is_wanted)
			break;
		r[n++] = record_of(at);
		bytes += at->len;
	}
	if (n == 0)
		return;
	if (!spool_read(ch->end->spool, ch->id, r, n)) {
		end_due(ch->end, ch->end->link->now_us + BLOCKED_US);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		channel_slot(ch, r[i].seq)->is_wanted = true;
}

/* ---- writing */

static void
submit(struct channel *ch)
{
	struct link_end *e = ch->end;
	int64_t ahead = clock_real_us() - (int64_t)e->link->now_us;
	if (e->link->now_us < ch->spool_retry_us) {
		end_due(e, ch->spool_retry_us);
		return;
	}
	for (struct slot *s; (s = channel_slot(ch, ch->submit_from)) != NULL;) {
		if (s->segment == 0 && !s->is_pending && (s->f != NULL || s->len == 0)) {
			/* a disk that hangs must not hold more than memory may: what waits is given up */
			if (s->f != NULL && ch->pending_bytes + size_of(s) > e->ring)
				return; /* again when something is written */
			struct spool_record r = record_of(s);
			r.sealed_us = (int64_t)s->sealed_us + ahead;
			if (!spool_write(e->spool, ch->id, &r, s->f)) {
				end_due(e, e->link->now_us + BLOCKED_US);
				return;
			}
			s->is_pending = true;
			ch->pending_bytes += s->len;
		}
		ch->submit_from = s->to + 1;
	}
}

static void
take_written(struct channel *ch, const struct spool_done *d)
{
	struct slot *s = channel_slot(ch, d->seq);
	ch->pending_bytes -= min_u64(ch->pending_bytes, d->len);
	if (s == NULL || s->seq != d->seq) {
		/* settled before it was written: its segment may be over */
		if (ch->n_slots == 0 && ch->trimmed < d->seq && spool_trim(ch->end->spool, ch->id, d->seq))
			ch->trimmed = d->seq;
		return;
	}
	s->is_pending = false;
	if (d->segment == 0) { /* not written: once more, later */
		ch->submit_from = min_u64(ch->submit_from, s->seq);
		ch->spool_retry_us = ch->end->link->now_us + META_US;
		end_due(ch->end, ch->spool_retry_us);
		return;
	}
	if (s->len != d->len)
		return; /* given up before it was written */
	s->segment = d->segment;
	s->where = d->where;
	disk_add(ch, s, true);
}

static void
save_meta(struct channel *ch, bool is_clean)
{
	struct spool_meta m = {.id = ch->id, .next_seq = ch->next_seq, .is_clean = is_clean,
	    .is_auto = ch->auto_codec, .codec = ch->codec, .want = ch->want};
	struct strv canon = filter_canonical(ch->filter);
	for (const struct cursor *c = ch->cursors; c != NULL; c = c->next)
		m.n_cursors += c->last == 0;
	m.filter = strv_dup(canon);
	m.cursors = calloc(m.n_cursors + 1, sizeof(*m.cursors));
	size_t i = 0;
	for (const struct cursor *c = ch->cursors; c != NULL && m.cursors != NULL; c = c->next) {
		if (c->last != 0)
			continue; /* replaced: cannot be asked for again */
		struct spool_cursor *k = &m.cursors[i++];
		*k = (struct spool_cursor){.node_id = c->node_id, .sub = c->sub, .first = c->first,
		    .acked = c->acked, .stats = c->stats};
		memcpy(k->peer_end, c->peer_end, sizeof(k->peer_end));
		memcpy(k->peer, c->peer, sizeof(k->peer));
		memcpy(k->user, c->user, sizeof(k->user));
	}
	if (m.filter != NULL && m.cursors != NULL && spool_meta(ch->end->spool, &m))
		ch->meta_changed = ch->acked_changed = false;
	free(m.filter);
	free(m.cursors);
}

static struct channel *
channel_of(struct link_end *e, uint64_t id)
{
	struct channel *ch = e->channels;
	while (ch != NULL && ch->id != id)
		ch = ch->next;
	return ch;
}

static void
tell_problem(struct link_end *e)
{
	char why[160];
	spool_problem(e->spool, why);
	if (strcmp(e->spool_why, why) == 0)
		return;
	memcpy(e->spool_why, why, sizeof(why));
	end_state(e, why[0] != '\0' ? PORT_DEGRADED : PORT_UP, why);
}

void
channel_spool(struct link_end *e, uint64_t now)
{
	struct spool_done *d;
	if (e->spool == NULL)
		return;
	while ((d = spool_poll(e->spool)) != NULL) {
		struct channel *ch = channel_of(e, d->channel);
		if (ch != NULL && d->kind == SPOOL_WRITTEN)
			take_written(ch, d);
		else if (ch != NULL && d->kind == SPOOL_META_FAILED)
			ch->meta_changed = true;
		else if (ch != NULL)
			take_loaded(ch, d);
		spool_done_free(&d);
		if (ch != NULL)
			channel_bound(ch);
	}
	bool due = now >= e->meta_us + META_US;
	for (struct channel *ch = e->channels; ch != NULL; ch = ch->next) {
		if (ch->acked_changed && now >= ch->acked_us + ACKED_US)
			ch->meta_changed = true;
		if (ch->meta_changed && (due || !ch->meta_saved)) {
			save_meta(ch, false); /* a new channel's is written before its first frame */
			ch->meta_saved |= !ch->meta_changed;
			ch->acked_us = now;
		}
		submit(ch);
		if (ch->meta_changed || ch->acked_changed)
			end_due(e, now + META_US);
	}
	if (due) {
		e->meta_us = now;
		tell_problem(e);
	}
}

void
channel_keep_all(struct link_end *e)
{
	uint64_t until = clock_mono_us() + CLOSE_US; /* for all of them: others wait for this thread */
	e->closing = true;
	if (e->spool == NULL)
		return;
	for (struct channel *ch = e->channels; ch != NULL; ch = ch->next) {
		channel_seal(ch, e->link->now_us);
		channel_spool(e, e->link->now_us);
		while (channel_slot(ch, ch->submit_from) != NULL && clock_mono_us() < until) {
			clock_sleep_us(1000); /* its thread is behind, or the disk fails */
			e->link->now_us = clock_mono_us();
			channel_spool(e, e->link->now_us);
		}
		ch->meta_changed = true;
		for (save_meta(ch, true); ch->meta_changed && clock_mono_us() < until; save_meta(ch, true))
			clock_sleep_us(1000);
	}
}

/* ---- at the start */

static uint64_t
mono_of(const struct link_end *e, int64_t epoch_us)
{
	int64_t age = clock_real_us() - epoch_us;
	uint64_t now = e->link->now_us;
	return age <= 0 ? now : (uint64_t)age < now ? now - (uint64_t)age : 1;
}

static bool
add_slot(struct channel *ch, const struct slot *s)
{
	if (!grow(ch))
		return false;
	struct slot *to = slot_at(ch, ch->n_slots++);
	*to = *s;
	to->before = ch->sealed_flows;
	ch->sealed_flows += s->flows;
	ch->next_seq = s->to + 1;
	disk_add(ch, to, true);
	return true;
}

/* What should be there and is not is a hole; how much it held is not known. */
static bool
recover_slots(struct channel *ch, const struct spool_found *x)
{
	uint64_t last = UINT64_MAX;
	/* the slowest subscriber tells where the records should begin */
	for (size_t i = 0; i < x->meta.n_cursors; i++)
		last = min_u64(last, x->meta.cursors[i].acked);
	if (x->n_records > 0)
		last = min_u64(last, x->records[0].seq - 1);
	for (size_t i = 0; i < x->n_records; i++) {
		const struct spool_record *r = &x->records[i];
		struct slot hole = {.seq = last + 1, .to = r->seq - 1, .cause = GAP_DAMAGED};
		struct slot s = {.seq = r->seq, .to = r->to, .where = r->where, .segment = r->segment,
		    .flows = r->flows, .len = r->len, .raw_len = r->raw_len, .cause = r->cause,
		    .sealed_us = mono_of(ch->end, r->sealed_us)};
		hole.sealed_us = s.sealed_us;
		if (r->seq > last + 1 && !add_slot(ch, &hole))
			return false;
		if (!add_slot(ch, &s))
			return false;
		last = r->to;
	}
	if (ch->n_slots == 0)
		ch->next_seq = x->meta.next_seq;
	ch->mem_from = ch->submit_from = ch->next_seq;
	if (x->meta.is_clean && ch->next_seq >= x->meta.next_seq)
		return true;
	/* beyond all that can have been sent unwritten, also when the disk took none of it and this is
	 * not the first time: sequences are never used again */
	uint64_t from = x->meta.next_seq > ch->next_seq ? x->meta.next_seq : ch->next_seq;
	uint64_t by_clock = (uint64_t)clock_real_us() / 1000000 << 24;
	struct slot s = {.seq = ch->next_seq, .to = from + RESTART_JUMP - 1,
	    .cause = GAP_PROBE_RESTART, .sealed_us = ch->end->link->now_us};
	if (s.to < by_clock)
		s.to = by_clock;
	return add_slot(ch, &s);
}

static bool
recover_cursors(struct channel *ch, const struct spool_meta *m)
{
	uint64_t first = ch->n_slots > 0 ? slot_at(ch, 0)->seq : ch->next_seq;
	for (size_t i = 0; i < m->n_cursors; i++) {
		const struct spool_cursor *k = &m->cursors[i];
		struct cursor *c = calloc(1, sizeof(*c));
		if (c == NULL)
			return false;
		c->ch = ch;
		c->node_id = k->node_id;
		c->sub = k->sub;
		c->stats = k->stats;
		c->is_recovered = true;
		c->parked_us = ch->end->link->now_us;
		memcpy(c->peer_end, k->peer_end, sizeof(c->peer_end));
		memcpy(c->peer, k->peer, sizeof(c->peer));
		memcpy(c->user, k->user, sizeof(c->user));
		c->acked = k->acked >= first ? min_u64(k->acked, ch->next_seq - 1) : first - 1;
		c->at = c->first = c->acked + 1;
		c->base_offered = c->base_passed = channel_before(ch, c->at);
		c->next = ch->cursors;
		ch->cursors = c;
	}
	return true;
}

int
channel_recover(struct link_end *e)
{
	for (size_t i = 0; i < e->n_found; i++) {
		const struct spool_found *x = &e->found[i];
		struct filter *f = NULL;
		struct channel *ch = NULL;
		if (filter_compile(strv_of(x->meta.filter), &f, NULL) == 0)
			ch = channel_new(e, &f, x->meta.want, x->meta.codec, x->meta.is_auto);
		filter_free(&f);
		uint64_t flows = 0;
		for (size_t k = 0; k < x->n_records; k++)
			flows += x->records[k].flows;
		if (ch == NULL || x->meta.n_cursors == 0) /* a subscription that was replaced */
			counter_add(&e->counters, C_flow_lost_expired, flows);
		if (ch == NULL) {
			log_warn("link: %s: channel %016llx of the spool cannot be taken up again (too many "
			    "channels, or its filter is of another version)", e->name,
			    (unsigned long long)x->meta.id);
			continue;
		}
		ch->id = x->meta.id;
		if (!recover_slots(ch, x) || !recover_cursors(ch, &x->meta))
			return -E_NOMEM;
		ch->offered = ch->passed = ch->sealed_flows;
		log_notice("link: %s: spool: %zu positions and %llu flows of channel %016llx wait for "
		    "their collectors%s", e->name, x->meta.n_cursors, (unsigned long long)ch->sealed_flows,
		    (unsigned long long)ch->id, x->meta.is_clean ? "" : "; it was not ended in order");
		channel_trim(ch);
	}
	spool_found_free(&e->found, e->n_found);
	e->n_found = 0;
	end_due(e, 0);
	return 0;
}
