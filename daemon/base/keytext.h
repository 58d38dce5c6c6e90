/* SPDX-License-Identifier: Apache-2.0
 * base/keytext.h - keys as text: one word that survives shells, terminals and telephones.
 *
 * Octets and 24 bits of CRC32C in base 32, behind a prefix that says what it is: fbk1- a private
 * key, fbp1- a public key (both CURVE, 32 octets), fbe1- an enrolment token. Both programs read and
 * write these files, so the format is here; the cryptography is the callers'. */
#ifndef FLOWBUS_BASE_KEYTEXT_H
#define FLOWBUS_BASE_KEYTEXT_H

#include "base/strv.h"

enum {
	KEY_SIZE = 32,
	KEY_TEXT = 5 + 56 + 1,     /* prefix, 35 octets in base 32, terminator */
	KEY_PRINT = 7 + 5 * 5,     /* SHA256: and five groups of four, terminator */
	KEY_SHORT = 4 + 1 + 4 + 1, /* its first two groups */
	TOKEN_SECRET = 16,
	TOKEN_SIZE = KEY_SIZE + TOKEN_SECRET + 8,
	TOKEN_TEXT = 5 + 95 + 1,
	KEY_FILE_MAX = 1024,       /* octets of any file with a key in it */
};
#define KEY_PRIVATE "fbk1-"
#define KEY_PUBLIC  "fbp1-"
#define KEY_TOKEN   "fbe1-"

/** Write @n octets (at most TOKEN_SIZE) behind @prefix; @size must be enough. */
void key_text(const char *prefix, const uint8_t *p, size_t n, char *out, size_t size);
/**
 * Read exactly @n octets. 0; -E_TYPE: another prefix; -E_FORMAT: wrong length or characters;
 * -E_CRC: mistyped. What is in @out after an error is wiped.
 */
int key_parse(struct strv text, const char *prefix, uint8_t *out, size_t n);
/** The fingerprint of a key, from the SHA-256 of its octets: its first 100 bits. */
void key_print(const uint8_t digest[32], char out[KEY_PRINT]);
/** The first line of a file's content that is not a comment, without blanks at its ends. */
struct strv key_line(struct strv text);
/** May a peer have this name? 1-63 letters, digits and . _ : @ - that begin with none of . - */
bool key_name_ok(struct strv name);

/** What an enrolment token says. */
struct key_token {
	uint8_t server[KEY_SIZE]; /* public key of the listening side */
	uint8_t secret[TOKEN_SECRET];
	int64_t expires_us;       /* epoch; for people: the listening side knows better */
};
void key_token_text(const struct key_token *t, char out[TOKEN_TEXT]);
int key_token_parse(struct strv text, struct key_token *out);

#endif
