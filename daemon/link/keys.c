/* SPDX-License-Identifier: Apache-2.0
 * link/keys.c - CURVE key pairs from a shared secret.
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
#include "link/link.h"

enum {
	KEYS_BITS = 128,     /* least strength of a secret */
	KEYS_SECRET_MAX = 1024,
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
check_file(int fd, const char *path, struct err *err)
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
	if ((st.st_mode & 0027) != 0)
		return err_set(err, E_UNSAFE,
		    "key file %s has mode %04o: others can read it or the group can write it "
		    "(chmod 0640 or 0600, and make a new secret if others had access)", path,
		    (unsigned)(st.st_mode & 07777));
	if (st.st_size > KEYS_SECRET_MAX)
		return err_set(err, E_KEY, "key file %s is larger than %d octets", path, KEYS_SECRET_MAX);
	return 0;
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
	char text[KEYS_SECRET_MAX + 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return err_sys(err, errno == ENOENT ? E_NOENT : E_KEY,
		    "cannot open key file %s (make a secret with `flowctl key secret`)", path);
	int rc = check_file(fd, path, err);
	ssize_t n = rc == 0 ? read(fd, text, sizeof(text)) : 0;
	if (rc == 0 && n < 0)
		rc = err_sys(err, E_IO, "cannot read key file %s", path);
	close(fd);
	if (rc == 0) {
		rc = link_keys_derive(first_line(text, (size_t)n), out, err);
		if (rc != 0)
			err_prefix(err, "key file %s", path);
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
