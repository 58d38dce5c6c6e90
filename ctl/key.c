/* SPDX-License-Identifier: Apache-2.0
 * ctl/key.c - what is done with key files here, without the daemon: `flowctl key secret` makes 160
 * random bits for key_file at both ends of a link, `key new` a key pair of its own for a node
 * (CURVE, that is X25519), `key show` tells what a file holds and never anything secret of it. */
#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/keytext.h"
#include "flowctl.h"

enum { SECRET_BYTES = 20, SECRET_CHARS = SECRET_BYTES * 8 / 5 };

static int
make_secret(char out[8 + SECRET_CHARS])
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
	uint8_t raw[SECRET_BYTES];
	if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
		return -1;
	memcpy(out, "fbs1-", 5);
	for (unsigned i = 0; i < SECRET_CHARS; i++) {
		unsigned v = 0;
		for (unsigned bit = 0; bit < 5; bit++) {
			unsigned at = i * 5 + bit;
			v = v << 1 | (raw[at / 8] >> (7 - at % 8) & 1U);
		}
		out[5 + i] = digits[v];
	}
	out[5 + SECRET_CHARS] = '\n';
	out[6 + SECRET_CHARS] = '\0';
	explicit_bzero(raw, sizeof(raw));
	return 0;
}

/* A new file that only its owner can read, or nothing. */
static int
write_new(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		fprintf(stderr, "flowctl: %s: %s\n", path,
		    errno == EEXIST
			? "exists already, and a key is never overwritten; remove it first"
			: strerror(errno));
		return EXIT_REFUSED;
	}
	size_t n = strlen(text);
	bool bad = fchmod(fd, 0600) != 0 || write(fd, text, n) != (ssize_t)n || fsync(fd) != 0;
	int saved = errno;
	if (close(fd) == 0 && !bad)
		return EXIT_OK;
	unlink(path);
	fprintf(stderr, "flowctl: %s: %s\n", path, strerror(saved));
	return EXIT_REFUSED;
}

static int
secret_command(char *const *words, unsigned n)
{
	char secret[8 + SECRET_CHARS];
	if (make_secret(secret) != 0) {
		perror("flowctl: getrandom");
		return EXIT_REFUSED;
	}
	int status = EXIT_OK;
	if (n == 1)
		status = write_new(words[0], secret);
	else if (fputs(secret, stdout) < 0 || fflush(stdout) != 0)
		status = EXIT_REFUSED;
	explicit_bzero(secret, sizeof(secret));
	return status;
}

/* ---- named keys */

static int
no_crypto(void)
{
	fprintf(stderr, "flowctl: libcrypto cannot make X25519 keys\n");
	return EXIT_REFUSED;
}

static bool
public_of(const uint8_t private[KEY_SIZE], uint8_t out[KEY_SIZE])
{
	size_t n = KEY_SIZE;
	EVP_PKEY *k = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private, KEY_SIZE);
	bool ok = k != NULL && EVP_PKEY_get_raw_public_key(k, out, &n) == 1 && n == KEY_SIZE;
	EVP_PKEY_free(k);
	return ok;
}

/* What may be known of a key: what it is, its public half, its fingerprint, an expiry. */
static int
print_key(const struct ask *a, const char *kind, const uint8_t public[KEY_SIZE], int64_t expires_us)
{
	uint8_t digest[32];
	char text[KEY_TEXT], print[KEY_PRINT], when[32] = "";
	time_t s = (time_t)(expires_us / 1000000);
	struct tm tm;
	if (EVP_Digest(public, KEY_SIZE, digest, NULL, EVP_sha256(), NULL) != 1)
		return no_crypto();
	key_text(KEY_PUBLIC, public, KEY_SIZE, text, sizeof(text));
	key_print(digest, print);
	if (expires_us != 0 && gmtime_r(&s, &tm) != NULL)
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (a->json) {
		json_t *row =
		    json_pack("{s:s, s:s, s:s, s:o}", "kind", kind, "public", text, "fingerprint",
			print, "expires", when[0] != '\0' ? json_string(when) : json_null());
		json_t *all =
		    json_pack("{s:[o], s:i, s:s}", "rows", row, "code", CTL_OK, "text", "done");
		bool bad =
		    all == NULL || json_dumpf(all, stdout, JSON_COMPACT) != 0 || puts("") < 0;
		json_decref(all);
		return bad ? EXIT_REFUSED : EXIT_OK;
	}
	printf("%-12s %s\n%-12s %s\n", kind, text, "fingerprint", print);
	if (when[0] != '\0')
		printf("%-12s %s\n", "expires", when);
	return fflush(stdout) == 0 ? EXIT_OK : EXIT_REFUSED;
}

static int
new_command(const struct ask *a, const char *path)
{
	static const char head[] = "# private key of this node, for identity=; keep it secret\n";
	uint8_t private[KEY_SIZE], public[KEY_SIZE];
	char text[sizeof(head) + KEY_TEXT + 1];
	size_t n = KEY_SIZE, at = sizeof(head) - 1;
	EVP_PKEY *k = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
	bool ok = k != NULL && EVP_PKEY_get_raw_private_key(k, private, &n) == 1 && n == KEY_SIZE &&
	    public_of(private, public);
	EVP_PKEY_free(k);
	if (!ok)
		return no_crypto();
	memcpy(text, head, at);
	key_text(KEY_PRIVATE, private, KEY_SIZE, text + at, KEY_TEXT);
	explicit_bzero(private, sizeof(private));
	at += strlen(text + at);
	text[at] = '\n';
	text[at + 1] = '\0';
	int status = write_new(path, text);
	explicit_bzero(text, sizeof(text));
	return status == EXIT_OK ? print_key(a, "public", public, 0) : status;
}

/* One line of a file, whatever of ours it is. */
static int
show_line(const struct ask *a, const char *path, struct strv line)
{
	uint8_t key[KEY_SIZE], public[KEY_SIZE];
	struct key_token token;
	int rc = key_parse(line, KEY_PRIVATE, key, KEY_SIZE);
	if (rc == 0) {
		bool ok = public_of(key, public);
		explicit_bzero(key, sizeof(key));
		return ok ? print_key(a, "public", public, 0) : no_crypto();
	}
	if (rc == -E_TYPE && (rc = key_parse(line, KEY_PUBLIC, public, KEY_SIZE)) == 0)
		return print_key(a, "public", public, 0);
	if (rc == -E_TYPE && (rc = key_token_parse(line, &token)) == 0) {
		explicit_bzero(token.secret, sizeof(token.secret));
		return print_key(a, "token of", token.server, token.expires_us);
	}
	fprintf(stderr, "flowctl: %s: %s\n", path,
	    rc == -E_TYPE ? "neither a private or public key nor a token; a shared secret has no "
			    "parts to show"
	    : rc == -E_CRC
		? "its checksum differs: mistyped or damaged"
		: "its key is not as long as a key is, or has other characters: cut or damaged");
	return EXIT_REFUSED;
}

static int
show_command(const struct ask *a, const char *path)
{
	char text[KEY_FILE_MAX];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text)) : -1;
	if (n < 0) {
		fprintf(stderr, "flowctl: %s: %s\n", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return EXIT_REFUSED;
	}
	close(fd);
	int status = show_line(a, path, key_line((struct strv){text, (size_t)n}));
	explicit_bzero(text, sizeof(text));
	return status;
}

static const struct local {
	const char *id, *help;
	unsigned min, max;
} locals[] = {
    {"key_secret",
	"160 random bits as text, for key_file at both ends of a link; a FILE is made\n"
	"readable by its owner only and never overwritten.\n", 0, 1},
    {"key_new",
	"A private key of this node's own, for the option identity; its public half and\n"
	"fingerprint are printed, to be trusted at the other side with `flowctl key trust`.\n"
	"FILE is made readable by its owner only and never overwritten.\n", 1, 1},
    {"key_show",
	"Public key and fingerprint of a private or public key; of an enrolment token those\n"
	"of the side that made it, and until when it is good. Never prints secrets.\n", 1, 1},
};

static const struct local *
local_of(const struct ctl_command *cmd)
{
	for (size_t i = 0; i < sizeof(locals) / sizeof(locals[0]); i++)
		if (strcmp(locals[i].id, cmd->id) == 0)
			return &locals[i];
	return NULL;
}

const char *
key_help(const struct ctl_command *cmd)
{
	const struct local *l = local_of(cmd);
	return l != NULL ? l->help : NULL;
}

int
key_command(const struct ask *a, const struct ctl_command *cmd, char *const *words, unsigned n)
{
	const struct local *l = local_of(cmd);
	if (n < l->min || n > l->max) {
		fprintf(stderr, "flowctl: %s; usage: %s %s\n",
		    n < l->min ? "an argument is missing" : "too many arguments", cmd->words,
		    cmd->arguments);
		return EXIT_USAGE;
	}
	if (strcmp(cmd->id, "key_new") == 0)
		return new_command(a, words[0]);
	if (strcmp(cmd->id, "key_show") == 0)
		return show_command(a, words[0]);
	return secret_command(words, n);
}
