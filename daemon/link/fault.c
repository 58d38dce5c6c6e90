/* SPDX-License-Identifier: Apache-2.0
 * link/fault.c - one clear line per failure: when it changes, then once a minute with a count.
 *
 * A bound end sees faults of many addresses; each has its own entry, the oldest gives way. A guess
 * ("closed during the handshake") is said only when it repeats and nothing better becomes known
 * about that address within two seconds: port scans and another flowbus's look at our port make
 * such too.
 * A certain cause of a peer that was gone before we could ask for its address waits as long for a
 * connection that shows whose it was: that look comes right after a failure. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "link/link_priv.h"

#define AGAIN_US  UINT64_C(60000000)
#define GUESS_US  UINT64_C(2000000)
#define NOISE_US  UINT64_C(10000000)
#define LOOK_US   UINT64_C(1500000) /* a peer's look at our port follows its failure within this */
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

/* The entry of peers without an address, if there is one. */
static struct fault *
nobody(struct link_end *e)
{
	for (unsigned i = 0; i < FAULTS_MAX; i++)
		if (strcmp(e->faults[i].address, nameless) == 0)
			return &e->faults[i];
	return NULL;
}

/* A certain fault without an address: the peer that had it before, or that looked at our port just
 * now; else nobody's for a while. */
static struct fault *
find_owner(struct link_end *e, const char *why)
{
	uint64_t now = e->link->now_us;
	struct fault *looked = NULL;
	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		struct fault *f = &e->faults[i];
		if (f->strong && strcmp(f->why, why) == 0 && fault_is_recent(f, now))
			return f;
		if (f->weak > 0 && now - f->weak_last_us < LOOK_US && strcmp(f->address, nameless) != 0)
			looked = f;
	}
	return looked != NULL ? looked : find(e, nameless);
}

static void
report(struct link_end *e, struct fault *f, bool strong, const char *why)
{
	uint64_t now = e->link->now_us;
	bool changed = strcmp(f->why, why) != 0;
	f->seen_us = now;
	f->strong = strong;
	f->held = false;
	f->count++;
	f->weak = 0;
	if (strong)
		f->strong_us = now;
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

/* The entry of this address; what nobody's holds back is its fault: it just showed itself. */
static struct fault *
find_named(struct link_end *e, const char *who, bool strong, const char *why)
{
	struct fault *n = nobody(e), *f;
	char held[sizeof(n->guess)];
	f = find(e, who);
	if (n != NULL && n != f && strong && f->why[0] == '\0' && strcmp(n->why, why) == 0 &&
	    fault_is_recent(n, e->link->now_us)) {
		*f = *n; /* said already: now it has a name */
		snprintf(f->address, sizeof(f->address), "%s", who);
		*n = (struct fault){0};
		return f;
	}
	if (n == NULL || !n->held || n == f || e->link->now_us - n->weak_us >= GUESS_US)
		return f;
	memcpy(held, n->guess, sizeof(held));
	*n = (struct fault){0};
	if (!strong || strcmp(held, why) != 0)
		report(e, f, true, held);
	return f;
}

/* A connection without an address that just closed says nothing beside a cause known just now. */
static bool
is_noise(const struct link_end *e)
{
	for (unsigned i = 0; i < FAULTS_MAX; i++)
		if (e->faults[i].strong && e->link->now_us - e->faults[i].strong_us < NOISE_US)
			return true;
	return false;
}

static void
guess(struct link_end *e, struct fault *f, const char *why)
{
	uint64_t now = e->link->now_us;
	if (f->strong && now - f->strong_us < STRONG_US)
		return;
	if (f->weak == 0 || now - f->weak_us >= STRONG_US) {
		f->weak = 0;
		f->weak_us = now;
	}
	f->weak++;
	f->seen_us = f->weak_last_us = now;
	snprintf(f->guess, sizeof(f->guess), "%s", why);
	end_due(e, f->weak_us + GUESS_US);
}

void
fault_note(struct link_end *e, const char *address, bool strong, const char *why)
{
	uint64_t now = e->link->now_us;
	char who[64];
	address_only(e, address, who, sizeof(who));
	bool unknown = e->is_bind && !e->addr.ipc && address[0] == '\0';
	if (unknown && !strong && is_noise(e))
		return;
	struct fault *f = !unknown ? find_named(e, who, strong, why) :
	    strong ? find_owner(e, why) : find(e, nameless);
	if (!strong && !f->held) {
		guess(e, f, why);
	} else if (strong && unknown && strcmp(f->address, nameless) == 0 &&
	    (!f->strong || strcmp(f->why, why) != 0)) {
		if (!f->held)
			f->weak_us = now;
		f->held = true;
		f->seen_us = now;
		snprintf(f->guess, sizeof(f->guess), "%s", why);
		end_due(e, f->weak_us + GUESS_US);
	} else if (strong) {
		report(e, f, true, why);
	}
}

/* What was wrong long ago with somebody who tried is not the state of an end that listens. */
static void
forget(struct link_end *e, uint64_t now, uint64_t *due)
{
	bool any = false;
	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		const struct fault *f = &e->faults[i];
		if (f->why[0] == '\0' || !fault_is_recent(f, now))
			continue;
		any = true;
		*due = min_u64(*due, f->seen_us + STRONG_US);
	}
	if (!any && e->is_bind && e->n_sessions == 0 && e->state == PORT_DEGRADED && e->rebind_us == 0)
		end_up(e);
}

uint64_t
fault_tick(struct link_end *e, uint64_t now)
{
	uint64_t due = NEVER;
	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		struct fault *f = &e->faults[i];
		if (f->weak < 2 && !f->held)
			continue;
		if (now >= f->weak_us + GUESS_US)
			report(e, f, f->held, f->guess);
		else
			due = min_u64(due, f->weak_us + GUESS_US);
	}
	forget(e, now, &due);
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

void
fault_place(const char *ip, const char *who, char out[64])
{
	snprintf(out, 64, "%s%s%s", ip, ip[0] != '\0' && who[0] != '\0' ? " key " : "",
	    ip[0] != '\0' ? who : "");
}

void
fault_clear_key(struct link_end *e, const uint8_t key[KEY_SIZE])
{
	char print[KEY_PRINT], tail[KEY_SHORT + 5];
	trust_print(key, print);
	int n = snprintf(tail, sizeof(tail), " key %.*s", KEY_SHORT - 1, print + 7);
	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		size_t len = strlen(e->faults[i].address);
		if (len > (size_t)n && strcmp(e->faults[i].address + len - (size_t)n, tail) == 0)
			e->faults[i] = (struct fault){0};
	}
}

bool
fault_is_recent(const struct fault *f, uint64_t now)
{
	return now - f->seen_us < STRONG_US;
}
