/* SPDX-License-Identifier: Apache-2.0
 * base/loop.c - epoll and timers.
 *
 * What is deleted during a round is only marked and freed at the round's end, since the kernel may
 * have reported it already. Timers are few (tens): a list is enough. */
#include "base/loop.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"

struct loop_io {
	struct loop *loop;
	struct loop_io *next;
	int fd;
	bool dead;
	loop_io_fn *fn;
	void *arg;
};

struct loop_timer {
	struct loop *loop;
	struct loop_timer *next;
	uint64_t due_us, every_us;
	bool armed, dead;
	loop_timer_fn *fn;
	void *arg;
};

struct loop {
	int epoll;
	bool stop;
	struct loop_io *ios;
	struct loop_timer *timers;
};

struct loop *
loop_new(void)
{
	struct loop *l = calloc(1, sizeof(*l));
	if (l == NULL)
		return NULL;
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0) {
		free(l);
		return NULL;
	}
	return l;
}

static void
sweep(struct loop *l, bool all)
{
	for (struct loop_io **p = &l->ios; *p != NULL;) {
		struct loop_io *io = *p;
		if (all || io->dead) {
			*p = io->next;
			free(io);
		} else {
			p = &io->next;
		}
	}
	for (struct loop_timer **p = &l->timers; *p != NULL;) {
		struct loop_timer *t = *p;
		if (all || t->dead) {
			*p = t->next;
			free(t);
		} else {
			p = &t->next;
		}
	}
}

void
loop_free(struct loop **lp)
{
	struct loop *l = *lp;
	if (l == NULL)
		return;
	sweep(l, true);
	close(l->epoll);
	free(l);
	*lp = NULL;
}

struct loop_io *
loop_io_add(struct loop *l, int fd, unsigned events, loop_io_fn *fn, void *arg)
{
	struct loop_io *io = calloc(1, sizeof(*io));
	if (io == NULL)
		return NULL;
	*io = (struct loop_io){l, NULL, fd, false, fn, arg};
	struct epoll_event ev = {.events = events, .data.ptr = io};
	if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev) != 0) {
		free(io);
		return NULL;
	}
	io->next = l->ios;
	l->ios = io;
	return io;
}

void
loop_io_events(struct loop_io *io, unsigned events)
{
	struct epoll_event ev = {.events = events, .data.ptr = io};
	int rc = epoll_ctl(io->loop->epoll, EPOLL_CTL_MOD, io->fd, &ev);
	assert_always(rc == 0);
}

void
loop_io_del(struct loop_io **io)
{
	if (*io == NULL)
		return;
	epoll_ctl((*io)->loop->epoll, EPOLL_CTL_DEL, (*io)->fd, NULL);
	(*io)->dead = true;
	*io = NULL;
}

struct loop_timer *
loop_timer_add(struct loop *l, uint64_t first_us, uint64_t every_us, loop_timer_fn *fn, void *arg)
{
	struct loop_timer *t = calloc(1, sizeof(*t));
	if (t == NULL)
		return NULL;
	*t = (struct loop_timer){l, l->timers, clock_mono_us() + first_us, every_us, true, false, fn,
	    arg};
	l->timers = t;
	return t;
}

void
loop_timer_set(struct loop_timer *t, uint64_t after_us)
{
	t->due_us = clock_mono_us() + after_us;
	t->armed = true;
}

void
loop_timer_del(struct loop_timer **t)
{
	if (*t == NULL)
		return;
	(*t)->dead = true;
	*t = NULL;
}

static int
next_wait_ms(const struct loop *l, int timeout_ms)
{
	uint64_t now = clock_mono_us();
	for (const struct loop_timer *t = l->timers; t != NULL; t = t->next) {
		if (t->dead || !t->armed)
			continue;
		uint64_t ms = t->due_us <= now ? 0 : (t->due_us - now + 999) / 1000;
		if (timeout_ms < 0 || ms < (uint64_t)timeout_ms)
			timeout_ms = ms < 1000000 ? (int)ms : 1000000;
	}
	return timeout_ms;
}

static void
run_timers(struct loop *l)
{
	uint64_t now = clock_mono_us();
	for (struct loop_timer *t = l->timers; t != NULL; t = t->next) {
		if (t->dead || !t->armed || t->due_us > now)
			continue;
		if (t->every_us > 0) {
			t->due_us += t->every_us;
			if (t->due_us <= now) /* late by more than a period: skip, do not burst */
				t->due_us = now + t->every_us;
		} else {
			t->armed = false;
		}
		t->fn(t->arg, now);
	}
}

int
loop_once(struct loop *l, int timeout_ms)
{
	struct epoll_event ev[64];
	int n = epoll_wait(l->epoll, ev, 64, next_wait_ms(l, timeout_ms));
	if (n < 0 && errno != EINTR)
		return -E_SYS;
	for (int i = 0; i < n; i++) {
		struct loop_io *io = ev[i].data.ptr;
		if (!io->dead)
			io->fn(io->arg, io->fd, ev[i].events);
	}
	run_timers(l);
	sweep(l, false);
	return 0;
}

int
loop_run(struct loop *l)
{
	l->stop = false;
	while (!l->stop) {
		int rc = loop_once(l, -1);
		if (rc != 0)
			return rc;
	}
	return 0;
}

void
loop_stop(struct loop *l)
{
	l->stop = true;
}
