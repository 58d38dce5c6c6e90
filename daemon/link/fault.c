/* SPDX-License-Identifier: Apache-2.0
 * link/fault.c - one clear line per failure: when it changes, then once a minute with a count.
 *
 * A bound end sees faults of many addresses; each has its own entry, the oldest gives way. A guess
 * ("closed during the handshake") is said only when it repeats and nothing better is known about
 * that address: port scans and our own look at a port make such too. */
#include <stdio.h>

#include "base/clock.h"
#include "link/link_priv.h"

#define AGAIN_US  UINT64_C(60000000)
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

void
fault_note(struct link_end *e, const char *address, bool strong, const char *why)
{
	uint64_t now = e->link->now_us;
	char who[64];
	address_only(e, address, who, sizeof(who));
	struct fault *f = find(e, who);
	bool known = f->strong && now - f->seen_us < STRONG_US;
	if (!strong && (known || ++f->weak < 2))
		return;
	bool changed = strcmp(f->why, why) != 0;
	f->seen_us = now;
	f->strong = strong;
	f->count++;
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
		    who, why, f->count);
	else
		log_line(&f->site, LOG_WARN, "link: %s: %s: %s", e->name, who, why);
	f->count = 0;
	if (e->is_bind && strong && e->n_sessions == 0) {
		char text[240];
		snprintf(text, sizeof(text), "%s: %s", who, why);
		end_state(e, PORT_DEGRADED, text);
	}
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
