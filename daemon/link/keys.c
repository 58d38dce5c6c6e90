/* SPDX-License-Identifier: Apache-2.0
 * link/keys.c - key files: CURVE key pairs from a shared secret, and a node's own pair.
 *
 * One scrypt call gives 64 octets: the binding side's secret key and the connecting side's. Both
 * ends derive both pairs. A recorded handshake allows guessing the secret offline, so scrypt slows
 * a guess down and weak secrets are refused. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <zmq.h>

#include "base/hash.h"
#include "base/keytext.h"
#include "link/link.h"

enum {
	KEYS_BITS = 128,     /* least strength of a secret */
	KEYS_SCRYPT_N = 1 << 15,
	KEYS_SCRYPT_MEM = 64 << 20, /* N=2^15 r=8 needs 32 MiB and a little more */
};

static const char keys_salt[] = "flowbus-link-1";

/**
 * An upper bound of what a secret can hold: characters times the bits of the smallest usual
 * alphabet
 * they fit in, where a repeated character counts only up to four times.
 */
static unsigned
secret_bits(struct strv s)
{
	unsigned seen[256] = {0}, n = 0;
	bool lower = false, upper = false, digit = false, other = false, beyond_hex = false;
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = (uint8_t)s.p[i];
		if (c == ' ' || c == '-' || c == '_' || c == '.')
			continue; /* between words or groups */
		if (seen[c]++ < 4)
			n++;
		bool is_lower = c >= 'a' && c <= 'z', is_upper = c >= 'A' && c <= 'Z';
		bool is_digit = c >= '0' && c <= '9';
		lower |= is_lower;
		upper |= is_upper;
		digit |= is_digit;
		other |= !is_lower && !is_upper && !is_digit;
		beyond_hex |= !is_digit && !(c >= 'a' && c <= 'f') && !(c >= 'A' && c <= 'F');
	}
	unsigned alphabet = (lower ? 26 : 0) + (upper ? 26 : 0) + (digit ? 10 : 0) + (other ? 32 : 0);
	if (!beyond_hex && digit)
		alphabet = 16;
	return alphabet > 1 ? (unsigned)(n * log2(alphabet) + 1e-6) : 0;
}

int
link_keys_derive(struct strv secret, struct link_keys *out, struct err *err)
{
	uint8_t raw[64];
	unsigned bits = secret_bits(secret);
	if (bits < KEYS_BITS)
		return err_set(err, E_KEY,
		    "the secret is weak: its %zu characters hold at most %u bits, %d are needed "
		    "(make one with `flowctl key secret`)", secret.n, bits, KEYS_BITS);
	if (EVP_PBE_scrypt(secret.p, secret.n, (const unsigned char *)keys_salt,
	    sizeof(keys_salt) - 1, KEYS_SCRYPT_N, 8, 1, KEYS_SCRYPT_MEM, raw, sizeof(raw)) != 1)
		return err_set(err, E_NOMEM, "cannot derive keys: scrypt failed");
	bool ok = zmq_z85_encode(out->server_secret, raw, 32) != NULL &&
	    zmq_z85_encode(out->client_secret, raw + 32, 32) != NULL &&
	    zmq_curve_public(out->server_public, out->server_secret) == 0 &&
	    zmq_curve_public(out->client_public, out->client_secret) == 0;
	OPENSSL_cleanse(raw, sizeof(raw));
	if (ok)
		return 0;
	link_keys_wipe(out);
	return err_set(err, E_UNSUP, "cannot derive keys: this libzmq is built without CURVE");
}

static int
check_file(int fd, const char *path, unsigned bad, struct err *err)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return err_sys(err, E_SYS, "key file %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, E_KEY, "key file %s is not a regular file", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return err_set(err, E_UNSAFE,
		    "key file %s belongs to uid %u, it must belong to root or to uid %u (chown it)", path,
		    (unsigned)st.st_uid, (unsigned)geteuid());
	if ((st.st_mode & bad) != 0 && (bad & 0004) == 0)
		return err_set(err, E_UNSAFE,
		    "key file %s has mode %04o: others can write it (chmod "
		    "go-w it, and check what is in it)",
		    path, (unsigned)(st.st_mode & 07777));
	if ((st.st_mode & bad) != 0)
		return err_set(err, E_UNSAFE,
		    "key file %s has mode %04o: others can read it or the group can write it "
		    "(chmod 0640 or 0600, and make a new secret if others had access)", path,
		    (unsigned)(st.st_mode & 07777));
	if (st.st_size > KEY_FILE_MAX)
		return err_set(
		    err, E_KEY, "key file %s is larger than %d octets", path, KEY_FILE_MAX);
	return 0;
}

int
link_key_file(const char *path, unsigned bad, char *out, size_t size, size_t *n_out,
    struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return err_sys(
		    err, errno == ENOENT ? E_NOENT : E_KEY, "cannot open key file %s", path);
	int rc = check_file(fd, path, bad, err);
	ssize_t n = rc == 0 ? read(fd, out, size - 1) : 0;
	if (n < 0) {
		rc = err_sys(err, E_IO, "cannot read key file %s", path);
		n = 0;
	}
	close(fd);
	out[n] = '\0';
	*n_out = (size_t)n;
	return rc;
}

static struct strv
first_line(const char *p, size_t n)
{
	struct strv s = {p, 0};
	while (s.n < n && p[s.n] != '\n')
		s.n++;
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\r'))
		s.n--;
	while (s.n > 0 && (*s.p == ' ' || *s.p == '\t'))
		s.p++, s.n--;
	return s;
}

int
link_keys_load(const char *path, struct link_keys *out, struct err *err)
{
	char text[KEY_FILE_MAX + 2];
	size_t n = 0;
	int rc = link_key_file(path, 0027, text, sizeof(text), &n, err);
	if (rc == -E_NOENT)
		err_set(err, E_NOENT,
		    "cannot open key file %s: it does not exist (make a secret with "
		    "`flowctl key secret`)",
		    path);
	if (rc == 0 && strncmp(key_line((struct strv){text, n}).p, KEY_PRIVATE, 5) == 0)
		rc = err_set(err, E_KEY,
		    "key file %s is the private key of a node, not a secret that "
		    "both ends share (write identity=%s)",
		    path, path);
	if (rc == 0) {
		rc = link_keys_derive(first_line(text, n), out, err);
		if (rc != 0)
			err_prefix(err, "key file %s: ", path);
	}
	OPENSSL_cleanse(text, sizeof(text));
	return rc;
}

/* What is wrong with the key in a file, by what key_parse() said. */
static int
bad_key(const char *path, const char *what, int rc, struct err *err)
{
	return err_set(err, E_KEY, "key file %s: %s", path, rc == -E_TYPE ? what :
	    rc == -E_CRC ? "the checksum of its key differs: mistyped or damaged" :
	    "its key is cut or damaged");
}

int
link_identity_load(const char *path, struct link_identity *out, struct err *err)
{
	char text[KEY_FILE_MAX + 2];
	uint8_t raw[KEY_SIZE];
	size_t n = 0;
	int rc = link_key_file(path, 0027, text, sizeof(text), &n, err);
	if (rc == -E_NOENT)
		err_set(err, E_NOENT, "cannot open key file %s: it does not exist (make a key with "
		    "`flowctl key new %s`)", path, path);
	if (rc == 0) {
		rc = key_parse(key_line((struct strv){text, n}), KEY_PRIVATE, raw, KEY_SIZE);
		if (rc != 0)
			rc = bad_key(path,
			    "not a private key (make one with `flowctl key new`; a secret "
			    "that both ends share is a key_file)",
			    rc, err);
	}
	if (rc == 0 && (zmq_z85_encode(out->secret, raw, KEY_SIZE) == NULL ||
	    zmq_curve_public(out->public_z85, out->secret) != 0 ||
	    zmq_z85_decode(out->key, out->public_z85) == NULL))
		rc = err_set(err, E_UNSUP, "this libzmq is built without CURVE encryption");
	OPENSSL_cleanse(raw, sizeof(raw));
	OPENSSL_cleanse(text, sizeof(text));
	if (rc != 0)
		OPENSSL_cleanse(out, sizeof(*out));
	return rc;
}

int
link_token_load(const char *path, struct key_token *out, struct err *err)
{
	char text[KEY_FILE_MAX + 2];
	size_t n = 0;
	int rc = link_key_file(path, 0027, text, sizeof(text), &n, err);
	if (rc == 0) {
		rc = key_token_parse(key_line((struct strv){text, n}), out);
		if (rc != 0)
			rc = bad_key(path,
			    "not an enrolment token (make one with `flowctl key token` on the "
			    "listening side)",
			    rc, err);
	}
	OPENSSL_cleanse(text, sizeof(text));
	return rc;
}

void
link_keys_wipe(struct link_keys *k)
{
	OPENSSL_cleanse(k, sizeof(*k));
}

void
link_secret_new(char out[64])
{
	/* 32 symbols of 5 bits in groups of 4; no letters that are easily mistaken */
	static const char alphabet[] = "abcdefghjkmnpqrstuvwxyz023456789";
	uint8_t raw[32];
	size_t n = 0;
	random_bytes(raw, sizeof(raw));
	for (size_t i = 0; i < sizeof(raw); i++) {
		if (i > 0 && i % 4 == 0)
			out[n++] = '-';
		out[n++] = alphabet[raw[i] & 31];
	}
	out[n] = '\0';
	OPENSSL_cleanse(raw, sizeof(raw));
}
