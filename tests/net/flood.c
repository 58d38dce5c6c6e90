/* SPDX-License-Identifier: Apache-2.0
 * net/flood.c - numbered flows at a steady rate, as a capture written to a pipe.
 *
 *     flood FIFO RATE SECONDS [FIRST]
 *
 * Flow n is one UDP packet from 1.0.0.0 + n to 10.255.0.1 port 1000 + n % 4, with the real time;
 * MAC address, source port and length are random, so that it does not compress to nothing. So the
 * truth needs no list: it is the numbers FIRST to the last one printed, and a record's source
 * address says which of them it is (net/flow_check.c).
 *
 * A reader that does not read holds it up; what it is behind is not made up for. When the reader
 * is gone the pipe is opened again, which waits for the next one, and the numbers go on; those in
 * the pipe are lost with the reader. Prints ten times a second, when the reader is gone and
 * at the end a line "NEXT MONOTONIC_US HELD_UP_US GONE": the number of the next flow, the time, the
 * longest that one write took since the line before, and 1 when the reader is gone. SECONDS count
 * from the first reader on; SIGTERM ends it too. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WIRE = 60, PACKET = 16 + WIRE, CHUNK = 512, TICK_US = 1000, LINE_US = 100000 };

static volatile sig_atomic_t stop;

static void
on_signal(int number)
{
	(void)number;
	stop = 1;
}

static uint64_t
clock_us(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void
put_packet(uint8_t *p, uint32_t n, uint64_t now_us)
{
	static const uint8_t head[WIRE] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 46,
	    0, 0, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0, 10, 255, 0, 1, 0x9c, 0x40, 0, 0, 0, 26};
	uint64_t noise = (n + 1) * UINT64_C(0x9E3779B97F4A7C15);
	noise = (noise ^ noise >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	uint32_t more = noise >> 32 & 0xff, addr = 0x01000000u + n, port = 1000 + n % 4;
	uint32_t time[4] = {
	    (uint32_t)(now_us / 1000000), (uint32_t)(now_us % 1000000), WIRE, WIRE + more};
	memcpy(p, time, 16);
	p += 16;
	memcpy(p, head, WIRE);
	memcpy(p + 8, &noise, 4);
	p[16] = (uint8_t)((46 + more) >> 8);
	p[17] = (uint8_t)(46 + more);
	p[34] = (uint8_t)(0xc0 | noise >> 40);
	p[35] = (uint8_t)(noise >> 48);
	p[38] = (uint8_t)((26 + more) >> 8);
	p[39] = (uint8_t)(26 + more);
	for (int i = 0; i < 4; i++)
		p[26 + i] = (uint8_t)(addr >> (24 - 8 * i));
	p[36] = (uint8_t)(port >> 8);
	p[37] = (uint8_t)port;
}

/* Write all of it; false when the reader is gone or a signal came. Whole packets count. */
static bool
put_all(int fd, const uint8_t *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);
		if (done < 0 && errno == EINTR && !stop)
			continue;
		if (done <= 0)
			return false;
		p += done;
		n -= (size_t)done;
	}
	return true;
}

/* Wait for a reader and greet it; -1 when told to stop. */
static int
open_pipe(const char *path)
{
	static const uint32_t header[6] = {0xa1b2c3d4, 2 | 4 << 16, 0, 0, 65535, 1};
	while (!stop) {
		int fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 && errno != EINTR) {
			perror(path);
			exit(1);
		}
		if (fd >= 0 && put_all(fd, (const uint8_t *)header, sizeof(header)))
			return fd;
		if (fd >= 0)
			close(fd);
	}
	return -1;
}

struct run {
	const char *path;
	int fd;
	uint32_t next;
	uint64_t held_us, line_us;
};

static void
line(struct run *r, bool is_gone)
{
	uint64_t now = clock_us(CLOCK_MONOTONIC);
	printf("%" PRIu32 " %" PRIu64 " %" PRIu64 " %d\n", r->next, now, r->held_us, is_gone);
	fflush(stdout);
	r->line_us = now;
	r->held_us = 0;
}

/* @n flows more, in writes of at most CHUNK. False: the reader went away. */
static bool
send_flows(struct run *r, uint32_t n)
{
	static uint8_t out[CHUNK * PACKET];
	while (n > 0) {
		uint32_t k = n < CHUNK ? n : CHUNK;
		uint64_t real = clock_us(CLOCK_REALTIME), began = clock_us(CLOCK_MONOTONIC);
		for (uint32_t i = 0; i < k; i++)
			put_packet(out + i * PACKET, r->next + i, real);
		bool ok = put_all(r->fd, out, k * PACKET);
		uint64_t took = clock_us(CLOCK_MONOTONIC) - began;
		r->held_us = took > r->held_us ? took : r->held_us;
		r->next += k; /* what did not get out is lost with the reader */
		n -= k;
		if (!ok)
			return false;
	}
	return true;
}

int
main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	double rate = strtod(argv[2], NULL);
	uint64_t span_us = (uint64_t)(strtod(argv[3], NULL) * 1e6);
	struct run r = {.path = argv[1]};
	r.next = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 0;
	struct sigaction act = {.sa_handler = on_signal};
	sigaction(SIGTERM, &act, NULL);
	signal(SIGPIPE, SIG_IGN);
	r.fd = open_pipe(r.path);
	uint64_t begin = clock_us(CLOCK_MONOTONIC), last = begin, now = begin;
	double owed = 0;
	while (!stop && now - begin < span_us) {
		owed += (double)(now - last) / 1e6 * rate;
		last = now;
		if (owed > rate / 20) /* held up for longer than 50 ms: not made up for */
			owed = rate / 20;
		uint32_t n = (uint32_t)owed;
		owed -= n;
		if (!send_flows(&r, n) && !stop) {
			line(&r, true);
			close(r.fd);
			r.fd = open_pipe(r.path);
			last = clock_us(CLOCK_MONOTONIC);
		}
		now = clock_us(CLOCK_MONOTONIC);
		if (now - r.line_us >= LINE_US)
			line(&r, false);
		usleep(TICK_US);
		now = clock_us(CLOCK_MONOTONIC);
	}
	line(&r, false);
	return 0;
}
