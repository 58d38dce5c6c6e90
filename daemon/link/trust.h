/* SPDX-License-Identifier: Apache-2.0
 * link/trust.h - named keys: who is trusted under which name, and outstanding enrolment tokens.
 *
 * A directory holds one file a peer, NAME.pub, with one public key a line, two at most: the old and
 * the new one while a peer changes its key. The same is in memory, under a lock that is held for a
 * few dozen instructions: the ZAP thread and the link thread ask, the main thread changes. Whoever
 * writes files (the main thread, or a job, since the link thread must not wait for a disk) holds a
 * second lock, so that file and memory change together. Tokens are in memory only, hashed. */
#ifndef FLOWBUS_LINK_TRUST_H
#define FLOWBUS_LINK_TRUST_H

#include "base/err.h"
#include "base/keytext.h"

enum {
	TRUST_MAX = 4096,        /* keys */
	TRUST_PER_NAME = 2,
	TRUST_REVOKED = 64,      /* remembered, to say why */
	TOKENS_MAX = 64,         /* outstanding, and dead ones that are still explained */
	ENROL_PENDING = 8,       /* strangers let in at once to show a token */
	ENROL_PER_ADDRESS = 2,
	ENROL_WRONG = 3,         /* wrong tokens from one address within a minute */
	ENROL_WRONG_ALL = 100,   /* wrong tokens in a token's life: it dies */
};

struct trust;

/** Read the directory; one that does not exist is empty. -E_UNSAFE when others can write it. */
int trust_open(const char *dir, struct trust **out, struct err *err);
/** Nobody else may use it any more. */
void trust_free(struct trust **t);
/** Read the directory again: files may have been put there by hand. [main] */
int trust_reload(struct trust *t, struct err *err);

/**
 * Trust @key as @name, on disk and in memory. 0, 1 when it was trusted already, or -E_*: bad name,
 * the key has another name, two keys are there, or the file cannot be written. May wait for disk.
 */
int trust_add(struct trust *t, const char *name, const uint8_t key[KEY_SIZE], struct err *err);
/** Take back all keys of @name, or the one with text or fingerprint @which. How many, or -E_*. */
int trust_remove(struct trust *t, const char *name, struct strv which, struct err *err);

/** A trusted key or a token, for `flowctl key list`. Plain data. */
struct trust_row {
	char name[64];
	char text[KEY_TEXT];     /* public key; "" a token */
	char print[KEY_PRINT];   /* fingerprint; of a token that of the side it is good for */
	int64_t left_us;         /* of a token's life */
	uint8_t key[KEY_SIZE];
};
/** Copies all rows; free() them. NULL without memory or rows. */
struct trust_row *trust_rows(struct trust *t, unsigned *n_out);

/* ---- asked by any thread */

/** Trusted keys of @name, oldest first. */
unsigned trust_keys(struct trust *t, const char *name, uint8_t keys[TRUST_PER_NAME][KEY_SIZE]);
bool trust_has(struct trust *t, const char *name, const uint8_t key[KEY_SIZE]);
void trust_print(const uint8_t key[KEY_SIZE], char out[KEY_PRINT]);
/** Is @name in a list "a,b" of an option? */
bool trust_listed(const char *list, const char *name);

enum trust_verdict { TRUST_NO, TRUST_YES, TRUST_ENROL };
struct trust_question {
	const uint8_t *key;      /* of who knocks */
	const uint8_t *server;   /* our own, of the endpoint */
	const char *allow;       /* of the endpoint; "" everybody trusted */
	const char *ip;
};
struct trust_answer {
	char name[64];
	char print[KEY_PRINT];
	char why[150];           /* TRUST_NO: why not */
};
/** May this key come in? TRUST_ENROL: only to show a token; it takes a place for some seconds. */
enum trust_verdict trust_check(struct trust *t, const struct trust_question *q,
    struct trust_answer *out);

/* ---- token.c */

/** A new token for @name at the endpoint of key @server; it replaces an older one for that name. */
int token_new(struct trust *t, const char *name, const uint8_t server[KEY_SIZE], uint64_t for_us,
    char out[TOKEN_TEXT], struct err *err);
struct token_taken {
	char name[64];           /* whom it is for */
	uint64_t serial;
	const char *why;         /* after an error: what a person should know */
};
/**
 * Use one up: 0 or -E_KEY. A wrong one is held against @ip. The comparison takes the same time
 * whatever is given.
 */
int token_take(struct trust *t, const uint8_t server[KEY_SIZE], struct strv secret, const char *ip,
    struct token_taken *out);
/** What it was taken for did not work out: it may be used again. */
void token_give_back(struct trust *t, const struct token_taken *k);

/* ---- job.c: a change made aside */

struct trust_job;
/** Begin trust_add() in a thread; @remove (may be NULL) is unlinked after it. NULL: no thread. */
struct trust_job *trust_job_start(struct trust *t, const char *name, const uint8_t key[KEY_SIZE],
    const char *remove);
bool trust_job_done(const struct trust_job *j);
/** Waits for it; its result. */
int trust_job_end(struct trust_job **j, struct err *err);

#endif
