/* SPDX-License-Identifier: Apache-2.0
 * ctl/key.c - `flowctl key secret`: 160 random bits as text, for key_file at both ends of a link.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

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

int
key_command(char *const *words, unsigned n)
{
	char secret[8 + SECRET_CHARS];
	if (n > 1) {
		fprintf(stderr, "flowctl: too many arguments; usage: key secret [FILE]\n");
		return EXIT_USAGE;
	}
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
