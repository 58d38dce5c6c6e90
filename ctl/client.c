/* SPDX-License-Identifier: Apache-2.0
 * ctl/client.c - one request over the control socket. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "flowctl.h"

enum { ANSWER_LINE_MAX = 32 << 20 };

struct conn {
	int fd, timeout_ms;
	struct buf in;
	size_t at;
};

int
client_status(int code)
{
	static const struct {
		int control, status;
	} t[] = {
#define ERR(id, number, control, status, text) {control, status},
#include "flowbus/errors.def"
	};
	if (code == CTL_OK)
		return EXIT_OK;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (t[i].control == code)
			return t[i].status;
	return EXIT_REFUSED;
}

static int
connect_to(const char *path, struct conn *c, struct err *err)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(a.sun_path)) {
		err_set(err, E_LIMIT, "%s: path too long for a socket", path);
		return EXIT_USAGE;
	}
	memcpy(a.sun_path, path, strlen(path) + 1);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd >= 0 && connect(c->fd, (const struct sockaddr *)&a, sizeof(a)) == 0)
		return EXIT_OK;
	if (errno == EACCES || errno == EPERM) {
		err_set(err, E_PERM,
		    "%s: permission denied; run flowctl as root or join the control group "
		    "(flowbus)",
		    path);
		return EXIT_REFUSED;
	}
	if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTSOCK) {
		err_set(err, E_DOWN,
		    "flowbusd is not running: nobody answers at %s; start it, or name its socket "
		    "with "
		    "--socket or %s",
		    path, CTL_SOCKET_ENV);
		return EXIT_DOWN;
	}
	err_sys(err, E_SYS, "%s", path);
	return EXIT_DOWN;
}

/* The next line into *line (borrowed until the next call), or an exit status with @err. */
static int
next_line(struct conn *c, struct strv *line, struct err *err)
{
	if (c->at > 0) {
		memmove(c->in.p, c->in.p + c->at, c->in.n - c->at);
		c->in.n -= c->at;
		c->at = 0;
	}
	for (size_t seen = 0;;) {
		uint8_t *nl = c->in.n > seen ? memchr(c->in.p + seen, '\n', c->in.n - seen) : NULL;
		if (nl != NULL) {
			*line = (struct strv){(const char *)c->in.p, (size_t)(nl - c->in.p)};
			c->at = line->n + 1;
			return EXIT_OK;
		}
		seen = c->in.n;
		struct pollfd p = {c->fd, POLLIN, 0};
		int ready = poll(&p, 1, c->timeout_ms > 0 ? c->timeout_ms : -1);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready == 0) {
			err_set(err, E_TIMEOUT, "no answer within %d.%03d s (--timeout)",
			    c->timeout_ms / 1000, c->timeout_ms % 1000);
			return EXIT_TIMEOUT;
		}
		uint8_t *room = buf_room(&c->in, 65536);
		if (room == NULL) {
			err_set(err, E_LIMIT, "the daemon sent a line larger than %d MiB",
			    ANSWER_LINE_MAX >> 20);
			return EXIT_REFUSED;
		}
		ssize_t n = recv(c->fd, room, 65536, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			err_set(err, E_CLOSED, "the daemon closed the connection");
			return EXIT_REFUSED;
		}
		c->in.n += (size_t)n;
	}
}

static int
next_json(struct conn *c, json_t **out, struct err *err)
{
	struct strv line;
	json_error_t je;
	int status = next_line(c, &line, err);
	if (status != EXIT_OK)
		return status;
	*out = json_loadb(line.p, line.n, 0, &je);
	if (json_is_object(*out))
		return EXIT_OK;
	json_decref(*out);
	*out = NULL;
	err_set(err, E_FORMAT, "the daemon's answer is not JSON: %s", je.text);
	return EXIT_REFUSED;
}

/* The greeting: is there a flowbusd that speaks our protocol? */
static int
greet(struct conn *c, json_t **final_out, struct err *err)
{
	json_t *j = NULL;
	int status = next_json(c, &j, err);
	if (status != EXIT_OK)
		return status;
	if (json_object_get(j, "code") != NULL) {
		*final_out = j; /* turned away at the door */
		return client_status((int)json_integer_value(json_object_get(j, "code")));
	}
	long long protocol = json_integer_value(json_object_get(j, "protocol"));
	bool is_flowbus = json_integer_value(json_object_get(j, "flowbus")) == 1;
	json_decref(j);
	if (is_flowbus && protocol == CTL_PROTOCOL)
		return EXIT_OK;
	if (is_flowbus)
		err_set(err, E_UNSUP,
		    "the daemon speaks control protocol %lld, this flowctl %d; use the flowctl of "
		    "the "
		    "same version",
		    protocol, CTL_PROTOCOL);
	else
		err_set(err, E_FORMAT, "what answers there is not flowbusd");
	return EXIT_REFUSED;
}

static int
send_request(struct conn *c, const char *cmd, char *const *args, unsigned n, struct err *err)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < n; i++) {
		if (json_array_append_new(list, json_string(args[i])) != 0) {
			json_decref(list);
			err_set(err, E_INVAL, "argument %u is not UTF-8", i + 1);
			return EXIT_USAGE;
		}
	}
	json_t *j = json_pack("{s:i, s:s, s:o}", "id", 1, "cmd", cmd, "args", list);
	char *text = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;
	json_decref(j);
	size_t len = text != NULL ? strlen(text) : 0;
	if (text == NULL || len >= CTL_LINE_MAX) {
		free(text);
		err_set(err, E_LIMIT, "the arguments are longer than %d bytes", CTL_LINE_MAX);
		return EXIT_USAGE;
	}
	text[len++] = '\n'; /* in place of the NUL */
	int status = EXIT_OK;
	for (size_t at = 0; at < len && status == EXIT_OK;) {
		ssize_t w = send(c->fd, text + at, len - at, MSG_NOSIGNAL);
		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0) {
			err_set(err, E_CLOSED, "the daemon closed the connection");
			status = EXIT_REFUSED;
		} else {
			at += (size_t)w;
		}
	}
	free(text);
	return status;
}

static int
take_answer(struct conn *c, const struct client_sink *sink, json_t **final_out, struct err *err)
{
	for (;;) {
		json_t *j = NULL;
		int status = next_json(c, &j, err);
		if (status != EXIT_OK)
			return status;
		json_t *row = json_object_get(j, "row"), *lost = json_object_get(j, "lost");
		if (json_object_get(j, "code") != NULL) {
			*final_out = j;
			return client_status((int)json_integer_value(json_object_get(j, "code")));
		}
		if (json_is_object(row))
			sink->row(sink->arg, row);
		else if (lost != NULL && sink->lost != NULL)
			sink->lost(sink->arg, (uint64_t)json_integer_value(lost));
		json_decref(j);
	}
}

int
client_run(const char *path, const struct ctl_command *cmd, char *const *args, unsigned n,
    int timeout_ms, const struct client_sink *sink, json_t **final_out, struct err *err)
{
	struct conn c = {-1, timeout_ms, buf_init(ANSWER_LINE_MAX), 0};
	*final_out = NULL;
	int status = connect_to(path, &c, err);
	if (status == EXIT_OK)
		status = greet(&c, final_out, err);
	if (status == EXIT_OK)
		status = send_request(&c, cmd->words, args, n, err);
	if (status == EXIT_OK)
		status = take_answer(&c, sink, final_out, err);
	if (c.fd >= 0)
		close(c.fd);
	buf_fini(&c.in);
	return status;
}
