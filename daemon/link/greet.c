/* SPDX-License-Identifier: Apache-2.0
 * link/greet.c - what answers on that port? A look at the ZMTP greeting, without waiting.
 *
 * libzmq says little about a handshake that failed. We open a connection of our own, send the first
 * 12 octets of a greeting (a whole one with another mechanism would be answered by RST and the
 * reply lost) and read what comes: the peer's mechanism is in octets 12-31. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "link/link_priv.h"

#define GREET_TIME_US UINT64_C(1000000)

static const uint8_t greeting[12] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0};

void
greet_stop(struct greet *g)
{
	if (g->fd >= 0)
		close(g->fd);
	g->fd = -1;
	g->state = GREET_IDLE;
}

static void
finish(struct link_end *e, const char *why, bool is_key)
{
	greet_stop(&e->greet);
	sock_greeted(e, why, is_key);
}

void
greet_start(struct link_end *e, const struct sockaddr *to, socklen_t len, uint64_t now)
{
	struct greet *g = &e->greet;
	g->fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (g->fd < 0)
		return;
	if (connect(g->fd, to, len) != 0 && errno != EINPROGRESS) {
		greet_stop(g);
		return;
	}
	g->state = GREET_CONNECT;
	g->n = 0;
	g->deadline_us = now + GREET_TIME_US;
	end_due(e, g->deadline_us);
}

/* The octets that came, in words; @closed: no more will come. False: not enough to tell yet. */
static bool
judge(struct link_end *e, bool closed)
{
	const struct greet *g = &e->greet;
	char why[160], quoted[64];
	if (g->n == 0 && closed) {
		finish(e, "", false);
		return true;
	}
	if (g->n > 0 && (g->b[0] != 0xff || (g->n >= 10 && (g->b[9] & 1) == 0))) {
		size_t n = 0;
		while (n < g->n && n < 24 && g->b[n] >= 0x20)
			n++;
		strv_quote((struct strv){(const char *)g->b, n}, quoted, sizeof(quoted));
		snprintf(why, sizeof(why), n > 3 ? "not a flowbus port: it says %s" :
		    "not a flowbus port", quoted);
		finish(e, why, true);
		return true;
	}
	if (g->n < 32)
		return false;
	bool curve = memcmp(g->b + 12, "CURVE", 6) == 0;
	bool null = memcmp(g->b + 12, "NULL", 5) == 0;
	if (curve)
		finish(e, e->encrypted ? sock_words_keys_differ : sock_words_we_clear, true);
	else if (null && e->encrypted)
		finish(e, sock_words_they_clear, true);
	else
		finish(e, "not a flowbus port: another kind of ZeroMQ socket, or too many peers there",
		    true);
	return true;
}

void
greet_poll(struct link_end *e, uint64_t now)
{
	struct greet *g = &e->greet;
	struct pollfd p = {g->fd, g->state == GREET_CONNECT ? POLLOUT : POLLIN, 0};
	if (g->state == GREET_IDLE)
		return;
	if (poll(&p, 1, 0) <= 0) {
		if (now < g->deadline_us)
			end_due(e, g->deadline_us);
		else
			finish(e, g->n == 0 ? sock_words_silent : "", false);
		return;
	}
	if (g->state == GREET_CONNECT) {
		if (send(g->fd, greeting, sizeof(greeting), MSG_NOSIGNAL) < 0) {
			finish(e, "", false);
			return;
		}
		g->state = GREET_READ;
		return;
	}
	ssize_t n = recv(g->fd, g->b + g->n, sizeof(g->b) - g->n, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0)
		g->n += (size_t)n;
	if (!judge(e, n <= 0) && (n <= 0 || g->n == sizeof(g->b)))
		finish(e, "", false);
}
