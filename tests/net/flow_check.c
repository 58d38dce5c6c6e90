/* SPDX-License-Identifier: Apache-2.0
 * net/flow_check.c - the records of numbered flows (net/flood.c) against the truth.
 *
 *     flow_check FIRST END CLASSES FILE [FROM TO]
 *
 * FIRST to END - 1 are the numbers that were sent; CLASSES are letters for the remainder by 4:
 * y must be there, n must not, m may. Only those FROM to TO - 1 must be there. A line is JSON that
 * begins with the source address. Prints "records N", "bad N" (lines that are none, or of numbers
 * that were never sent), "unwanted N", "doubled N", up to ten "double NUMBER TIMES", "missing N"
 * and the missing as runs "run FROM TO COUNT": numbers that must be there and of which none between
 * FROM and TO is. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RUNS_MAX = 20000 };

static const char begins[] = "{\"src_addr\":\"";
static uint8_t *seen;
static unsigned long first, end, records, bad, must_from, must_to;

/* Four numbers with dots up to a quote; -1 when it is not that. */
static long
address(const char *p, const char *stop)
{
	unsigned long v = 0, octet = 0;
	int dots = 0, digits = 0;
	for (; p < stop; p++) {
		if (*p >= '0' && *p <= '9') {
			octet = octet * 10 + (unsigned long)(*p - '0');
			digits++;
		} else if ((*p == '.' && dots < 3) || *p == '"') {
			if (digits == 0 || digits > 3 || octet > 255)
				return -1;
			v = v << 8 | octet;
			octet = 0;
			digits = 0;
			if (*p == '"')
				return dots == 3 && v >= 0x01000000 ? (long)(v - 0x01000000) : -1;
			dots++;
		} else {
			return -1;
		}
	}
	return -1;
}

static void
one_line(const char *p, const char *stop)
{
	size_t n = sizeof(begins) - 1;
	long number = -1;
	records++;
	if ((size_t)(stop - p) > n && memcmp(p, begins, n) == 0 && stop[-1] == '}')
		number = address(p + n, stop);
	if (number < (long)first || number >= (long)end)
		bad++;
	else if (seen[number - (long)first] < 255)
		seen[number - (long)first]++;
}

static void
read_file(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY);
	if (fd < 0 || fstat(fd, &st) != 0) {
		perror(path);
		exit(1);
	}
	if (st.st_size > 0) {
		char *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (p == MAP_FAILED) {
			perror(path);
			exit(1);
		}
		const char *at = p, *stop = p + st.st_size;
		for (const char *nl; (nl = memchr(at, '\n', (size_t)(stop - at))) != NULL; at = nl + 1)
			one_line(at, nl);
		bad += at < stop; /* a half line at the end */
		munmap(p, (size_t)st.st_size);
	}
	close(fd);
}

static bool
is_missing(unsigned long n, const char *classes)
{
	return n >= must_from && n < must_to && n < end && classes[n % 4] == 'y' &&
	    seen[n - first] == 0;
}

static void
report(const char *classes)
{
	unsigned long doubled = 0, unwanted = 0, missing = 0, from = 0, to = 0, count = 0, runs = 0;
	for (unsigned long n = first; n < end; n++) {
		uint8_t times = seen[n - first];
		doubled += times > 1 ? times - 1u : 0;
		unwanted += times > 0 && classes[n % 4] == 'n' ? times : 0u;
		missing += is_missing(n, classes);
	}
	printf("records %lu\nbad %lu\nunwanted %lu\ndoubled %lu\nmissing %lu\n", records, bad,
	    unwanted, doubled, missing);
	for (unsigned long n = first, k = 0; n < end && k < 10; n++)
		if (seen[n - first] > 1 && ++k)
			printf("double %lu %u\n", n, seen[n - first]);
	for (unsigned long n = first; n <= end && runs < RUNS_MAX; n++) {
		if (n < end && classes[n % 4] != 'y')
			continue;
		if (is_missing(n, classes)) {
			from = count == 0 ? n : from;
			to = n;
			count++;
		} else if (count > 0) {
			printf("run %lu %lu %lu\n", from, to, count);
			count = 0;
			runs++;
		}
	}
}

int
main(int argc, char **argv)
{
	if (argc < 5 || strlen(argv[3]) != 4)
		return 2;
	first = strtoul(argv[1], NULL, 10);
	end = strtoul(argv[2], NULL, 10);
	seen = calloc(end > first ? end - first : 1, 1);
	if (end < first || seen == NULL)
		return 1;
	must_from = argc > 6 ? strtoul(argv[5], NULL, 10) : first;
	must_to = argc > 6 ? strtoul(argv[6], NULL, 10) : end;
	read_file(argv[4]);
	report(argv[3]);
	return 0;
}
