/* SPDX-License-Identifier: Apache-2.0
 * link/token.c - one-time enrolment tokens, and what keeps guessers out.
 *
 * A secret has 128 bits, so guessing is hopeless; the bounds are there so that trying costs nobody
 * else anything: few strangers are let in at once, few from one address, each for seconds, and an
 * address that shows wrong tokens is left outside for a minute. */
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/clock.h"
#include "base/hash.h"
#include "link/trust_priv.h"

#define PLACE_US   UINT64_C(5000000)
#define MINUTE_US  UINT64_C(60000000)
#define EXPLAIN_US UINT64_C(3600000000) /* how long a dead token is told from one never made */

static bool
digest(const void *p, size_t n, uint8_t out[32])
{
	return EVP_Digest(p, n, out, NULL, EVP_sha256(), NULL) == 1;
}

static bool
is_out(const struct token *k, const uint8_t server[KEY_SIZE], uint64_t now)
{
	return k->state == TOKEN_OUT && now < k->until_us &&
	       memcmp(k->server, server, KEY_SIZE) == 0;
}

/* A place for a new token: free, or of one dead for longest. */
static struct token *
token_room(struct trust *t, uint64_t now)
{
	struct token *best = NULL;
	for (unsigned i = 0; i < TOKENS_MAX; i++) {
		struct token *k = &t->tokens[i];
		if (k->state == TOKEN_FREE)
			return k;
		if (k->state == TOKEN_OUT && now < k->until_us)
			continue;
		if (best == NULL || k->until_us < best->until_us)
			best = k;
	}
	return best;
}

int
token_new(struct trust *t, const char *name, const uint8_t server[KEY_SIZE], uint64_t for_us,
    char out[TOKEN_TEXT], struct err *err)
{
	struct key_token text;
	uint64_t now = clock_mono_us();
	struct token fresh = {.state = TOKEN_OUT, .until_us = now + for_us};
	if (!key_name_ok(strv_of(name)))
		return err_set(err, E_SYNTAX,
		    "a peer's name is 1 to 63 letters, digits and . _ : @ - and "
		    "begins with none of . and -");
	random_bytes(text.secret, sizeof(text.secret));
	memcpy(text.server, server, KEY_SIZE);
	text.expires_us = clock_real_us() + (int64_t)for_us;
	snprintf(fresh.name, sizeof(fresh.name), "%s", name);
	memcpy(fresh.server, server, KEY_SIZE);
	bool ok = digest(text.secret, sizeof(text.secret), fresh.hash);
	pthread_mutex_lock(&t->lock);
	struct token *k = ok ? token_room(t, now) : NULL;
	for (unsigned i = 0; k != NULL && i < TOKENS_MAX; i++)
		if (t->tokens[i].state == TOKEN_OUT && strcmp(t->tokens[i].name, name) == 0)
			t->tokens[i].state = TOKEN_REPLACED;
	fresh.wrong_before = t->wrong;
	fresh.serial = ++t->next_serial;
	if (k != NULL)
		*k = fresh;
	pthread_mutex_unlock(&t->lock);
	if (k != NULL)
		key_token_text(&text, out);
	OPENSSL_cleanse(&text, sizeof(text));
	if (!ok)
		return err_set(err, E_SYS, "cannot hash the token");
	return k != NULL ? 0
			 : err_set(err, E_LIMIT,
			       "%d tokens are outstanding, no more are possible "
			       "(wait until one is used or has expired)",
			       TOKENS_MAX);
}

/* An address that showed too many wrong ones lately. */
static bool
is_guesser(const struct trust *t, const char *ip, uint64_t now)
{
	for (size_t i = 0; i < sizeof(t->guessers) / sizeof(t->guessers[0]); i++)
		if (now < t->guessers[i].until_us && strcmp(t->guessers[i].ip, ip) == 0)
			return t->guessers[i].n >= ENROL_WRONG;
	return false;
}

static void
note_wrong(struct trust *t, const char *ip, uint64_t now)
{
	unsigned at = 0;
	t->wrong++;
	for (unsigned i = 0; i < sizeof(t->guessers) / sizeof(t->guessers[0]); i++) {
		if (now < t->guessers[i].until_us && strcmp(t->guessers[i].ip, ip) == 0) {
			t->guessers[i].n++;
			t->guessers[i].until_us = now + MINUTE_US;
			return;
		}
		if (t->guessers[i].until_us < t->guessers[at].until_us)
			at = i;
	}
	snprintf(t->guessers[at].ip, sizeof(t->guessers[at].ip), "%s", ip);
	t->guessers[at].n = 1;
	t->guessers[at].until_us = now + MINUTE_US;
	for (unsigned i = 0; i < TOKENS_MAX; i++)
		if (t->tokens[i].state == TOKEN_OUT &&
		    t->wrong - t->tokens[i].wrong_before >= ENROL_WRONG_ALL)
			t->tokens[i].state = TOKEN_GUESSED;
}

const char *
token_admit(struct trust *t, const uint8_t server[KEY_SIZE], const char *ip, bool *any_out)
{
	uint64_t now = clock_mono_us();
	unsigned here = 0, spare = ENROL_PENDING;
	*any_out = false;
	for (unsigned i = 0; i < TOKENS_MAX; i++)
		*any_out |= is_out(&t->tokens[i], server, now);
	if (!*any_out)
		return NULL;
	if (is_guesser(t, ip, now))
		return "enrolment failed: too many wrong tokens from this address, wait a minute";
	for (unsigned i = 0; i < ENROL_PENDING; i++) {
		if (t->pending[i].until_us <= now)
			spare = i;
		else
			here += strcmp(t->pending[i].ip, ip) == 0;
	}
	if (spare == ENROL_PENDING || here >= ENROL_PER_ADDRESS)
		return "enrolment failed: too many strangers at once";
	snprintf(t->pending[spare].ip, sizeof(t->pending[spare].ip), "%s", ip);
	t->pending[spare].until_us = now + PLACE_US;
	return NULL;
}

static const char *
dead_words(const struct token *k, uint64_t now)
{
	if (k->state == TOKEN_TAKEN)
		return "the token was used already";
	if (k->state == TOKEN_REPLACED)
		return "the token was replaced by a newer one";
	if (k->state == TOKEN_GUESSED)
		return "the token died of too many wrong tries";
	return now >= k->until_us ? "the token has expired" : "the token is for another endpoint";
}

void
token_epitaph(struct trust *t, const uint8_t server[KEY_SIZE], char *out, size_t size)
{
	uint64_t now = clock_mono_us();
	const struct token *last = NULL;
	for (unsigned i = 0; i < TOKENS_MAX; i++) {
		const struct token *k = &t->tokens[i];
		if (k->state == TOKEN_FREE || now >= k->until_us + EXPLAIN_US ||
		    memcmp(k->server, server, KEY_SIZE) != 0)
			continue;
		if (last == NULL || k->until_us > last->until_us)
			last = k;
	}
	out[0] = '\0';
	if (last != NULL)
		snprintf(out, size, "%s (it was for %.24s)", dead_words(last, now), last->name);
}

int
token_take(struct trust *t, const uint8_t server[KEY_SIZE], struct strv secret, const char *ip,
    struct token_taken *out)
{
	uint8_t hash[32];
	struct token *found = NULL;
	uint64_t now = clock_mono_us();
	bool ok = secret.n == TOKEN_SECRET && digest(secret.p, secret.n, hash);
	int rc = -E_KEY;
	*out = (struct token_taken){.name = ""};
	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; ok && i < TOKENS_MAX; i++) {
		struct token *k = &t->tokens[i];
		int same = CRYPTO_memcmp(k->hash, hash, sizeof(hash)) == 0;
		if (same & (k->state != TOKEN_FREE))
			found = k;
	}
	if (found == NULL) {
		out->why = "the token is not known here: wrong, or made before a restart";
		note_wrong(t, ip, now);
	} else if (!is_out(found, server, now)) {
		out->why = dead_words(found, now);
	} else {
		found->state = TOKEN_TAKEN;
		memcpy(out->name, found->name, sizeof(found->name));
		out->serial = found->serial;
		rc = 0;
	}
	pthread_mutex_unlock(&t->lock);
	OPENSSL_cleanse(hash, sizeof(hash));
	return rc;
}

void
token_give_back(struct trust *t, const struct token_taken *taken)
{
	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < TOKENS_MAX; i++)
		if (t->tokens[i].state == TOKEN_TAKEN && t->tokens[i].serial == taken->serial)
			t->tokens[i].state = TOKEN_OUT;
	pthread_mutex_unlock(&t->lock);
}
