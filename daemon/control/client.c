/* SPDX-License-Identifier: Apache-2.0
 * control/client.c - one connection: lines in, lines out, both bounded.
 *
 * What is polled for follows from the state: readable only while no request runs and the output is
 * nearly empty, writable only while there is output. Requests and closing happen in `later`, a
 * timer of the loop, never inside somebody else's callback. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/control_priv.h"

enum { READ_CHUNK = 16384, REQUESTS_A_ROUND = 16 };

static size_t
pending(const struct client *cl)
{
	return cl->out.n - cl->sent;
}

bool
client_is_slow(const struct client *cl)
{
	return cl->doomed || pending(cl) > control_limits(cl->server)->out_pause;
}

void
client_later(struct client *cl)
{
	loop_timer_set(cl->later, 0);
}

void
client_doom(struct client *cl)
{
	cl->doomed = true;
	client_later(cl);
}

static void
set_events(struct client *cl)
{
	unsigned events = 0;
	if (cl->doomed)
		return;
	if (!cl->eof && cl->call == NULL && !cl->answer_and_close && !client_is_slow(cl) &&
	    cl->in.n <= CTL_LINE_MAX)
		events |= EPOLLIN;
	if (pending(cl) > 0)
		events |= EPOLLOUT;
	loop_io_events(cl->io, events);
}

void
client_flush(struct client *cl)
{
	bool moved = false;
	while (!cl->doomed && pending(cl) > 0) {
		ssize_t n =
		    send(cl->fd, cl->out.p + cl->sent, pending(cl), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n < 0) {
			client_doom(cl);
			return;
		}
		cl->sent += (size_t)n;
		moved = true;
	}
	if (pending(cl) == 0) {
		buf_fini(&cl->out); /* a big answer does not keep its memory */
		cl->sent = 0;
		cl->stalled_us = 0;
	} else {
		if (cl->sent > READ_CHUNK && cl->sent > cl->out.n / 2) {
			memmove(cl->out.p, cl->out.p + cl->sent, pending(cl));
			cl->out.n = pending(cl);
			cl->sent = 0;
		}
		if (moved || cl->stalled_us == 0)
			cl->stalled_us = clock_mono_us();
	}
	set_events(cl);
}

/* The next whole line of the input, taken out of it; false when there is none. */
static bool
next_line(struct client *cl, struct buf *line)
{
	uint8_t *nl = cl->in.n > 0 ? memchr(cl->in.p, '\n', cl->in.n) : NULL;
	if (nl == NULL)
		return false;
	size_t n = (size_t)(nl - cl->in.p);
	buf_put(line, cl->in.p, n);
	memmove(cl->in.p, nl + 1, cl->in.n - n - 1);
	cl->in.n -= n + 1;
	return true;
}

static bool
is_blank(struct strv s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] != ' ' && s.p[i] != '\t' && s.p[i] != '\r')
			return false;
	return true;
}

static void
refuse_line(struct client *cl)
{
	buf_printf(&cl->out, "{\"code\":%d,\"text\":\"a request line is longer than %d bytes\"}\n",
	    err_control(E_LIMIT), CTL_LINE_MAX);
	cl->answer_and_close = true;
	cl->in.n = 0;
}

/* Answer what was asked, a few requests a round so that one client does not hold up the loop. */
static void
run_requests(struct client *cl)
{
	struct buf line = buf_init(CTL_LINE_MAX + 1);
	unsigned n = 0;
	while (cl->call == NULL && !client_is_slow(cl) && !cl->answer_and_close) {
		if (n == REQUESTS_A_ROUND) {
			client_later(cl);
			break;
		}
		buf_reset(&line);
		if (!next_line(cl, &line)) {
			if (cl->in.n > CTL_LINE_MAX)
				refuse_line(cl);
			break;
		}
		struct strv text = {(const char *)line.p, line.n};
		if (line.err != 0 || line.n > CTL_LINE_MAX)
			refuse_line(cl);
		else if (!is_blank(text))
			dispatch_line(cl, text);
		n++;
	}
	buf_fini(&line);
}

static bool
is_finished(const struct client *cl)
{
	if (cl->doomed)
		return true;
	if (cl->call != NULL || pending(cl) > 0)
		return false;
	return cl->answer_and_close ||
	       (cl->eof && (cl->in.n == 0 || memchr(cl->in.p, '\n', cl->in.n) == NULL));
}

static void
on_later(void *arg, uint64_t now_us)
{
	struct client *cl = arg;
	(void)now_us;
	if (cl->stream_done && cl->call != NULL && !cl->doomed) {
		cl->stream_done = false;
		call_end(cl, cl->stream_result);
	}
	if (!cl->doomed)
		run_requests(cl);
	if (!cl->doomed)
		client_flush(cl);
	if (!is_finished(cl))
		return;
	control_forget(cl->server, cl);
	client_free(&cl);
}

static void
read_some(struct client *cl)
{
	uint8_t *room = buf_room(&cl->in, READ_CHUNK);
	if (room == NULL) {
		client_doom(cl);
		return;
	}
	ssize_t n = recv(cl->fd, room, READ_CHUNK, MSG_DONTWAIT);
	if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
		return;
	if (n < 0) {
		client_doom(cl);
		return;
	}
	if (n == 0)
		cl->eof = true;
	cl->in.n += (size_t)n;
	client_later(cl);
}

static void
on_io(void *arg, int fd, unsigned events)
{
	struct client *cl = arg;
	(void)fd;
	if (cl->doomed)
		return;
	if ((events & EPOLLERR) != 0 || ((events & EPOLLHUP) != 0 && (events & EPOLLIN) == 0)) {
		client_doom(cl);
		loop_io_del(&cl->io);
		return;
	}
	if ((events & EPOLLOUT) != 0) {
		client_flush(cl);
		client_later(cl);
	}
	if ((events & EPOLLIN) != 0)
		read_some(cl);
	if (!cl->doomed)
		set_events(cl);
}

void
client_tick(struct client *cl, uint64_t now_us)
{
	const struct control_limits *l = control_limits(cl->server);
	if (cl->doomed || cl->stalled_us == 0 || now_us < cl->stalled_us + l->deadline_us)
		return;
	log_notice("control: uid %u pid %d: closed, it read nothing for %llu s with %zu bytes "
		   "waiting",
	    (unsigned)cl->peer.uid, (int)cl->peer.pid,
	    (unsigned long long)(l->deadline_us / 1000000), pending(cl));
	client_doom(cl);
}

struct client *
client_new(struct control_server *s, int fd, const struct peer *peer)
{
	struct loop *loop = engine_loop(control_engine(s));
	struct client *cl = calloc(1, sizeof(*cl));
	if (cl == NULL) {
		close(fd);
		return NULL;
	}
	cl->server = s;
	cl->fd = fd;
	cl->peer = *peer;
	cl->in = buf_init(CTL_LINE_MAX + 2 * READ_CHUNK);
	cl->out = buf_init(control_limits(s)->out_max);
	cl->later = loop_timer_add(loop, 0, 0, on_later, cl);
	cl->io = loop_io_add(loop, fd, EPOLLIN, on_io, cl);
	if (cl->later == NULL || cl->io == NULL) {
		client_free(&cl);
		return NULL;
	}
	buf_printf(&cl->out, "{\"flowbus\":1,\"version\":\"%s\",\"protocol\":%d}\n",
	    engine_version(), CTL_PROTOCOL);
	client_flush(cl);
	return cl;
}

void
client_free(struct client **clp)
{
	struct client *cl = *clp;
	if (cl == NULL)
		return;
	if (cl->call != NULL)
		call_end(cl, -E_CLOSED);
	loop_io_del(&cl->io);
	loop_timer_del(&cl->later);
	close(cl->fd);
	buf_fini(&cl->in);
	buf_fini(&cl->out);
	free(cl);
	*clp = NULL;
}
