/* SPDX-License-Identifier: Apache-2.0
 * link/trust_priv.h - the store itself, for trust.c and token.c. */
#ifndef FLOWBUS_LINK_TRUST_PRIV_H
#define FLOWBUS_LINK_TRUST_PRIV_H

#include <limits.h>
#include <pthread.h>

#include "link/trust.h"

struct trusted {
	char name[64];
	uint8_t key[KEY_SIZE];
};

enum token_state { TOKEN_FREE, TOKEN_OUT, TOKEN_TAKEN, TOKEN_REPLACED, TOKEN_GUESSED };

struct token {
	enum token_state state;
	char name[64];
	uint8_t server[KEY_SIZE];
	uint8_t hash[32];        /* SHA-256 of the secret */
	uint64_t until_us;       /* monotonic */
	uint64_t wrong_before;   /* of the store when it was made */
	uint64_t serial;
};

struct trust {
	pthread_mutex_t lock;    /* memory: a few dozen instructions */
	pthread_mutex_t files;   /* who writes files; taken before `lock` */
	char dir[PATH_MAX - 128];
	struct trusted *keys;
	unsigned n_keys;
	struct trusted revoked[TRUST_REVOKED];
	unsigned next_revoked;
	struct token tokens[TOKENS_MAX];
	uint64_t wrong;          /* tokens shown that are not known */
	uint64_t next_serial;
	struct {
		char ip[48];
		uint64_t until_us;
	} pending[ENROL_PENDING];
	struct {
		char ip[48];
		unsigned n;
		uint64_t until_us;
	} guessers[ENROL_PENDING * 8];
};

/* token.c; the lock is held */
/** Is there one to be shown at @server? Then @ip may take a place: NULL, or why not. */
const char *token_admit(struct trust *t, const uint8_t server[KEY_SIZE], const char *ip,
    bool *any_out);
/** What became of the newest token at @server, in words; "" none. */
void token_epitaph(struct trust *t, const uint8_t server[KEY_SIZE], char *out, size_t size);

#endif
