/* SPDX-License-Identifier: Apache-2.0
 * base/loop.h - a poll loop: descriptors and timers, one thread.
 *
 * Callbacks may add and remove anything, themselves included; what is removed is never called
 * again. Timers follow CLOCK_MONOTONIC. */
#ifndef FLOWBUS_BASE_LOOP_H
#define FLOWBUS_BASE_LOOP_H

#include <stdint.h>

struct loop;
struct loop_io;
struct loop_timer;

typedef void loop_io_fn(void *arg, int fd, unsigned events); /* events: EPOLLIN | EPOLLOUT ... */
typedef void loop_timer_fn(void *arg, uint64_t now_us);

struct loop *loop_new(void);
/** Also frees what is still registered; descriptors stay open. */
void loop_free(struct loop **l);
/** Watch @fd for EPOLL* @events. NULL without memory or when the kernel refuses. */
struct loop_io *loop_io_add(struct loop *l, int fd, unsigned events, loop_io_fn *fn, void *arg);
void loop_io_events(struct loop_io *io, unsigned events);
/** NULLs *io. Remove before closing the descriptor. */
void loop_io_del(struct loop_io **io);
/** First call after @first_us, then every @every_us (0: once, then it stays until deleted). */
struct loop_timer *loop_timer_add(struct loop *l, uint64_t first_us, uint64_t every_us,
    loop_timer_fn *fn, void *arg);
/** Arm again, @after_us from now. */
void loop_timer_set(struct loop_timer *t, uint64_t after_us);
void loop_timer_del(struct loop_timer **t);
/** Run until loop_stop. Returns 0 or -E_SYS. */
int loop_run(struct loop *l);
/** One round: wait at most @timeout_ms (-1: until something happens). */
int loop_once(struct loop *l, int timeout_ms);
void loop_stop(struct loop *l);

#endif
