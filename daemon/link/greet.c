/* SPDX-License-Identifier: Apache-2.0
 * link/greet.c - what answers on that port? A look at the ZMTP greeting, without waiting.
 *
 * libzmq says little about a handshake that failed. We open a connection of our own, send the first
 * 12 octets of a greeting (a whole one with another mechanism would be answered by RST and the
 * reply lost) and read what comes: the peer's mechanism is in octets 12-31.
 *
 * The other side has a cause to tell too, and its libzmq may have seen no more than a connection
 * that closed. So this one stays open for a moment, long enough to be asked for its address, and
 * when the mechanisms differ the rest of our greeting follows then: that the other libzmq reports
 * as such. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "link/link_priv.h"

#define GREET_TIME_US UINT64_C(1000000)
#define LINGER_US     UINT64_C(300000)

enum { FIRST = 12, GREETING = 64 };

bool
greet_is_asking(const struct greet *g)
{
	return g->state == GREET_CONNECT || g->state == GREET_READ;
}

/* Octets @from..@to-1 of what libzmq would send for this end. */
static bool
say(const struct link_end *e, size_t from, size_t to)
{
	uint8_t b[GREETING] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0};
	const char *mechanism = e->encrypted ? "CURVE" : "NULL";
	memcpy(b + FIRST, mechanism, strlen(mechanism));
	return send(e->greet.fd, b + from, to - from, MSG_NOSIGNAL) == (ssize_t)(to - from);
}

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
	struct greet *g = &e->greet;
	if (is_key && g->n >= GREETING / 2) {
		g->state = GREET_LINGER;
		g->deadline_us = e->link->now_us + LINGER_US;
		end_due(e, g->deadline_us);
	} else {
		greet_stop(g);
	}
	sock_greeted(e, why, is_key);
}

/* The moment is over, or the other side closed. */
static void
linger(struct link_end *e, uint64_t now)
{
	struct greet *g = &e->greet;
	uint8_t rest[GREETING];
	ssize_t n = recv(g->fd, rest, sizeof(rest), 0);
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		greet_stop(g);
	} else if (now < g->deadline_us) {
		end_due(e, g->deadline_us);
	} else if (g->is_mismatch && say(e, FIRST, GREETING)) {
		g->is_mismatch = false; /* it closes when it has read that */
		g->deadline_us = now + GREET_TIME_US;
		end_due(e, g->deadline_us);
	} else {
		greet_stop(g);
	}
}

void
greet_start(struct link_end *e, const struct sockaddr *to, socklen_t len, uint64_t now)
{
	struct greet *g = &e->greet;
	greet_stop(g);
	g->fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (g->fd < 0)
		return;
	if (connect(g->fd, to, len) != 0 && errno != EINPROGRESS) {
		greet_stop(g);
		return;
	}
	g->state = GREET_CONNECT;
	g->n = 0;
	g->is_mismatch = false;
	g->deadline_us = now + GREET_TIME_US;
	end_due(e, g->deadline_us);
}

/* The octets that came, in words; @closed: no more will come. False: not enough to tell yet. */
static bool
judge(struct link_end *e, bool closed)
{
	struct greet *g = &e->greet;
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
	g->is_mismatch = e->encrypted ? null : curve;
	if (curve)
		finish(e, e->encrypted ? sock_words_keys(e) : sock_words_we_clear, true);
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
	if (g->state == GREET_LINGER) {
		linger(e, now);
		return;
	}
	if (poll(&p, 1, 0) <= 0) {
		if (now < g->deadline_us)
			end_due(e, g->deadline_us);
		else
			finish(e, g->n == 0 ? sock_words_silent : "", false);
		return;
	}
	if (g->state == GREET_CONNECT) {
		if (!say(e, 0, FIRST)) {
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
