/* SPDX-License-Identifier: Apache-2.0
 * link/fault.c - one clear line per failure: when it changes, then once a minute with a count.
 *
 * A bound end sees faults of many addresses; each has its own entry, the oldest gives way. A guess
 * ("closed during the handshake") is said only when it repeats and nothing better becomes known about
 * that address within two seconds: port scans and our own look at a port make such too. */
#include <stdio.h>

#include "base/clock.h"
#include "link/link_priv.h"

#define AGAIN_US  UINT64_C(60000000)
#define GUESS_US  UINT64_C(2000000)
#define STRONG_US UINT64_C(150000000) /* a guess does not replace what was known this long ago */

/* Without the port of a remote peer, which changes with every try. */
static void
address_only(const struct link_end *e, const char *address, char *out, size_t size)
{
	snprintf(out, size, "%s", address[0] != '\0' ? address : "local");
	char *colon = strrchr(out, ':');
	if (e->is_bind && colon != NULL && strchr(out, '.') != NULL)
		*colon = '\0';
	else if (e->is_bind && out[0] == '[' && strchr(out, ']') != NULL)
		strchr(out, ']')[1] = '\0';
}

static struct fault *
find(struct link_end *e, const char *address)
{
	struct fault *old = &e->faults[0];
	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		struct fault *f = &e->faults[i];
		if (strcmp(f->address, address) == 0)
			return f;
		if (f->seen_us < old->seen_us)
			old = f;
	}
	*old = (struct fault){0};
	snprintf(old->address, sizeof(old->address), "%s", address);
	return old;
}

static const char nameless[] = "a peer already gone";

/* A peer that was gone before we could ask for its address: the one with the same fault, if any. */
static struct fault *
find_nameless(struct link_end *e, const char *why)
{
	for (unsigned i = 0; i < FAULTS_MAX; i++)
		if ((strcmp(e->faults[i].why, why) == 0 || strcmp(e->faults[i].guess, why) == 0) &&
		    fault_is_recent(&e->faults[i], e->link->now_us))
			return &e->faults[i];
	return find(e, nameless);
}

/* What a peer without a name did just before, by the same fault, was most likely this one. */
static struct fault *
find_named(struct link_end *e, const char *who, const char *why)
{
	struct fault *f = find_nameless(e, why);
	if (strcmp(f->address, nameless) != 0 || strcmp(f->why, why) != 0)
		return find(e, who);
	snprintf(f->address, sizeof(f->address), "%s", who);
	return f;
}

static void
report(struct link_end *e, struct fault *f, bool strong, const char *why)
{
	uint64_t now = e->link->now_us;
	bool changed = strcmp(f->why, why) != 0;
	f->seen_us = now;
	f->strong = strong;
	f->count++;
	f->weak = 0;
	if (!changed && now < f->next_log_us)
		return;
	if (changed) {
		snprintf(f->why, sizeof(f->why), "%s", why);
		f->since_us = clock_real_us();
		f->count = 1;
		f->site = (struct log_site){0};
	}
	f->next_log_us = now + AGAIN_US;
	if (f->count > 1)
		log_line(&f->site, LOG_WARN, "link: %s: %s: %s (%u times since the last line)", e->name,
		    f->address, why, f->count);
	else
		log_line(&f->site, LOG_WARN, "link: %s: %s: %s", e->name, f->address, why);
	f->count = 0;
	if (e->is_bind && e->n_sessions == 0) {
		char text[240];
		snprintf(text, sizeof(text), "%s: %s", f->address, why);
		end_state(e, PORT_DEGRADED, text);
	}
}

void
fault_note(struct link_end *e, const char *address, bool strong, const char *why)
{
	uint64_t now = e->link->now_us;
	char who[64];
	address_only(e, address, who, sizeof(who));
	bool unknown = e->is_bind && !e->addr.ipc && address[0] == '\0';
	struct fault *f = unknown ? find_nameless(e, why) : find_named(e, who, why);
	if (strong) {
		report(e, f, true, why);
		return;
	}
	if (f->strong && now - f->seen_us < STRONG_US)
		return;
	f->seen_us = now;
	if (f->weak++ == 0)
		f->weak_us = now;
	snprintf(f->guess, sizeof(f->guess), "%s", why);
	end_due(e, now + GUESS_US);
}

uint64_t
fault_tick(struct link_end *e, uint64_t now)
{
	uint64_t due = NEVER;
	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		struct fault *f = &e->faults[i];
		if (f->weak < 2)
			continue;
		if (now >= f->weak_us + GUESS_US)
			report(e, f, false, f->guess);
		else
			due = min_u64(due, f->weak_us + GUESS_US);
	}
	return due;
}

void
fault_clear(struct link_end *e, const char *address)
{
	char who[64];
	address_only(e, e->is_bind ? address : e->addr.endpoint, who, sizeof(who));
	for (unsigned i = 0; i < FAULTS_MAX; i++)
		if (strcmp(e->faults[i].address, who) == 0)
			e->faults[i] = (struct fault){0};
}

bool
fault_is_recent(const struct fault *f, uint64_t now)
{
	return now - f->seen_us < STRONG_US;
}
