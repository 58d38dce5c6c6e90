/* SPDX-License-Identifier: Apache-2.0
 * fuzz/fuzz_control.c - any bytes on the control socket, as an admin, in pieces: every line that
 * comes back is JSON, and the connection ends when the client goes. Flows and events pass
 * meanwhile. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit/control/fake.h"
#include "base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
run_loop(struct engine *e)
{
	for (int i = 0; i < 4; i++)
		loop_once(e->loop, 0);
}

static void
check_lines(struct buf *got)
{
	size_t at = 0;
	for (;;) {
		uint8_t *nl = got->n > at ? memchr(got->p + at, '\n', got->n - at) : NULL;
		if (nl == NULL)
			return;
		json_t *j = json_loadb((const char *)got->p + at, (size_t)(nl - got->p) - at, 0, NULL);
		assert_always(json_is_object(j));
		json_decref(j);
		at = (size_t)(nl - got->p) + 1;
	}
}

static void
drain(struct talk *t)
{
	uint8_t *room = buf_room(&t->got, 1 << 20);
	ssize_t n = recv(t->fd, room, 1 << 20, MSG_DONTWAIT);
	if (n > 0)
		t->got.n += (size_t)n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct control_limits limits = {64 << 10, 1 << 20, 1000000, 16};
	char path[64];
	struct engine *e = fake_new();
	struct control_server *s = NULL;
	snprintf(path, sizeof(path), "/tmp/flowbus-fuzz-%d", (int)getpid());
	log_set_level(LOG_ERR);
	assert_always(control_open(e, path, &limits, &s, NULL) == 0);
	struct talk t = talk_as(e, s, ROLE_ADMIN);
	for (size_t at = 0; at < size;) {
		size_t n = 1 + data[at] % 64; /* pieces of odd sizes */
		n = n < size - at ? n : size - at;
		if (send(t.fd, data + at, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			break;
		at += n;
		run_loop(e);
		log_set_level(LOG_ERR);
		if (!fake_second(e))
			fake_flows(e, 2);
		if (e->listener != NULL)
			e->listener->fn(e->listener->arg, "event");
		drain(&t);
	}
	run_loop(e);
	drain(&t);
	check_lines(&t.got);
	close(t.fd);
	run_loop(e);
	buf_fini(&t.got);
	control_close(&s);
	assert_always(e->tap == NULL && e->listener == NULL);
	fake_free(&e);
	return 0;
}
