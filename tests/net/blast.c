/* SPDX-License-Identifier: Apache-2.0
 * net/blast.c - UDP frames of many flows from a packet socket, as fast as the kernel takes them.
 *
 *     blast INTERFACE SECONDS FLOWS OCTETS [PPS]
 *
 * Past the queueing discipline, 64 a call. Frames have OCTETS (60 to 1514) and differ in source
 * port and address by flow; flows take turns. With PPS sends not more than that many a second.
 * Prints what was sent: "PACKETS SECONDS". */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, FRAME = 1514 };

static double
now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/** A frame of flow @n: 10.x.y.1:1024+ to 10.9.0.1:4000, without checksums. */
static void
put_flow(uint8_t *f, uint32_t n, unsigned size)
{
	unsigned ip = size - 14, udp = ip - 20;
	f[16] = (uint8_t)(ip >> 8);
	f[17] = (uint8_t)ip;
	f[27] = (uint8_t)(n >> 14 >> 8);
	f[28] = (uint8_t)(n >> 14);
	f[34] = (uint8_t)((1024 + (n & 0x3fff)) >> 8);
	f[35] = (uint8_t)(1024 + (n & 0x3fff));
	f[38] = (uint8_t)(udp >> 8);
	f[39] = (uint8_t)udp;
}

static int
open_socket(const char *name)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(name)};
	int one = 1, fd = socket(AF_PACKET, SOCK_RAW, 0);
	if (fd < 0 || to.sll_ifindex == 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		return -1;
	return setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) == 0 ? fd : -1;
}

int
main(int argc, char **argv)
{
	static const uint8_t head[42] = {2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 0, 0,
	    1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 9, 0, 1, 0, 0, 0x0f, 0xa0};
	static uint8_t frame[BATCH][FRAME];
	struct mmsghdr msg[BATCH] = {0};
	struct iovec iov[BATCH];
	if (argc < 5)
		return 2;
	double seconds = strtod(argv[2], NULL), pps = argc > 5 ? strtod(argv[5], NULL) : 0;
	uint32_t flows = (uint32_t)strtoul(argv[3], NULL, 10), next = 0;
	unsigned size = (unsigned)strtoul(argv[4], NULL, 10);
	int fd = open_socket(argv[1]);
	if (fd < 0 || size < 60 || size > FRAME || flows == 0) {
		perror("blast");
		return 1;
	}
	for (unsigned i = 0; i < BATCH; i++) {
		memcpy(frame[i], head, sizeof(head));
		iov[i] = (struct iovec){frame[i], size};
		msg[i].msg_hdr.msg_iov = &iov[i];
		msg[i].msg_hdr.msg_iovlen = 1;
	}
	uint64_t sent = 0;
	double begin = now(), t = begin;
	for (; t - begin < seconds; t = now()) {
		if (pps > 0 && (double)sent > (t - begin) * pps) {
			nanosleep(&(struct timespec){0, 50000}, NULL);
			continue;
		}
		for (unsigned i = 0; i < BATCH; i++)
			put_flow(frame[i], (next + i) % flows, size);
		int n = sendmmsg(fd, msg, BATCH, 0);
		if (n < 0 && errno != ENOBUFS && errno != EAGAIN) {
			perror("blast: sendmmsg");
			return 1;
		}
		sent += n > 0 ? (unsigned)n : 0;
		next = (next + (n > 0 ? (unsigned)n : 0)) % flows;
	}
	printf("%llu %.3f\n", (unsigned long long)sent, t - begin);
	close(fd);
	return 0;
}
