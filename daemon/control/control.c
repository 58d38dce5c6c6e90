/* SPDX-License-Identifier: Apache-2.0
 * control/control.c - the listening socket: made safely, shared by a bounded number of clients.
 *
 * The directory is locked while a stale socket is told from a live one and replaced, so two daemons
 * starting at once cannot take each other's. */
#include "control/control.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "control/control_priv.h"

enum {
	TICK_US = 500000,
	ACCEPT_PAUSE_US = 1000000,
	ADMIN_SPARE = 4, /* connections kept for admins when the others are used up */
};

struct control_server {
	struct engine *engine;
	struct control_limits limits;
	struct sockaddr_un addr;
	dev_t dev; /* of the socket we made: only that one is removed at the end */
	ino_t ino;
	int fd;
	struct loop_io *io;
	struct loop_timer *tick, *resume;
	struct client *clients;
	unsigned n_clients;
};

struct engine *
control_engine(struct control_server *s)
{
	return s->engine;
}

const struct control_limits *
control_limits(const struct control_server *s)
{
	return &s->limits;
}

unsigned
control_clients(const struct control_server *s)
{
	return s->n_clients;
}

void
control_forget(struct control_server *s, struct client *cl)
{
	for (struct client **p = &s->clients; *p != NULL; p = &(*p)->next)
		if (*p == cl) {
			*p = cl->next;
			s->n_clients--;
			return;
		}
}

static void
turn_away(int fd, uint64_t max)
{
	char line[200];
	int n = snprintf(line, sizeof(line),
	    "{\"code\":%d,\"text\":\"too many control connections (%llu); close some or raise "
	    "max_clients of the daemon\"}\n",
	    err_control(E_LIMIT), (unsigned long long)max);
	if (send(fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("control: a connection beyond max_clients was closed");
	close(fd);
}

static void
on_accept(void *arg, int fd, unsigned events)
{
	struct control_server *s = arg;
	const struct conf_endpoint *bag = &engine_daemon(s->engine)->bag;
	struct peer peer;
	(void)events;
	int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (c < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		log_warn("control: accept failed, pausing for 1 s: %s", strerror(errno));
		loop_io_events(s->io, 0);
		loop_timer_set(s->resume, ACCEPT_PAUSE_US);
		return;
	}
	if (peer_of(c, conf_text(bag, "control_group"), &peer) != 0) {
		close(c);
		return;
	}
	uint64_t max = conf_number(bag, "max_clients");
	if (s->n_clients >= max + (peer.role == ROLE_ADMIN ? ADMIN_SPARE : 0)) {
		log_notice("control: uid %u turned away, %u connections (raise max_clients)",
		    (unsigned)peer.uid, s->n_clients);
		turn_away(c, max);
		return;
	}
	struct client *cl = client_new(s, c, &peer);
	if (cl == NULL)
		return;
	cl->next = s->clients;
	s->clients = cl;
	s->n_clients++;
}

static void
on_resume(void *arg, uint64_t now_us)
{
	struct control_server *s = arg;
	(void)now_us;
	loop_io_events(s->io, EPOLLIN);
}

static void
on_tick(void *arg, uint64_t now_us)
{
	struct control_server *s = arg;
	for (struct client *cl = s->clients; cl != NULL; cl = cl->next)
		client_tick(cl, now_us);
}

/* Somebody answers there: a daemon, or something else that listens. */
static bool
is_live(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return true;
	bool live =
	    connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN;
	close(fd);
	return live;
}

static int
clear_stale(const struct sockaddr_un *addr, struct err *err)
{
	struct stat st;
	const char *path = addr->sun_path;
	if (lstat(path, &st) != 0)
		return errno == ENOENT ? 0 : err_sys(err, E_IO, "%s", path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, E_EXIST,
		    "%s exists and is not a socket; remove it or choose "
		    "another path with --socket",
		    path);
	if (is_live(addr))
		return err_set(err, E_BUSY,
		    "another daemon answers at %s; stop it or choose "
		    "another path with --socket",
		    path);
	if (unlink(path) != 0 && errno != ENOENT)
		return err_sys(err, E_IO, "%s: cannot remove the stale socket", path);
	return 0;
}

/* Only the owner may use it from the moment it exists; then the group is let in. */
static int
bind_socket(struct control_server *s, struct err *err)
{
	struct stat st;
	const char *path = s->addr.sun_path;
	mode_t old = umask(0177);
	int rc = bind(s->fd, (const struct sockaddr *)&s->addr, sizeof(s->addr));
	int saved = errno;
	umask(old);
	errno = saved;
	if (rc != 0)
		return err_sys(err, E_IO, "%s: cannot make the control socket", path);
	if (lstat(path, &st) == 0) {
		s->dev = st.st_dev;
		s->ino = st.st_ino;
	}
	const char *group = conf_text(&engine_daemon(s->engine)->bag, "control_group");
	const struct group *g = group[0] != '\0' ? getgrnam(group) : NULL;
	if (g == NULL && group[0] != '\0')
		log_info(
		    "control: no group %s: only root and the daemon's user may connect", group);
	if (g != NULL && (chown(path, (uid_t)-1, g->gr_gid) != 0 || chmod(path, 0660) != 0))
		log_notice("control: %s stays private, cannot give it to group %s: %s", path, group,
		    strerror(errno));
	if (listen(s->fd, (int)s->limits.backlog) != 0)
		return err_sys(err, E_SYS, "%s: cannot listen", path);
	return 0;
}

/* Lock the directory (made when only it is missing), so that one daemon at a time looks and binds.
 */
static int
lock_dir(const char *path, int *fd_out, struct err *err)
{
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)];
	const char *slash = strrchr(path, '/');
	snprintf(dir, sizeof(dir), "%.*s", slash != NULL ? (int)(slash - path) : 1,
	    slash != NULL ? path : ".");
	if (dir[0] == '\0')
		snprintf(dir, sizeof(dir), "/");
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && mkdir(dir, 0755) == 0)
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(
		    err, E_IO, "%s: cannot open the directory of the control socket", dir);
	if (flock(fd, LOCK_EX) != 0) {
		close(fd);
		return err_sys(err, E_SYS, "%s: cannot lock", dir);
	}
	*fd_out = fd;
	return 0;
}

static int
make_socket(struct control_server *s, struct err *err)
{
	int lock = -1;
	int r = lock_dir(s->addr.sun_path, &lock, err);
	if (r == 0)
		r = clear_stale(&s->addr, err);
	if (r == 0)
		r = bind_socket(s, err);
	if (lock >= 0)
		close(lock);
	return r;
}

static int
register_all(struct control_server *s, struct err *err)
{
	struct loop *loop = engine_loop(s->engine);
	s->io = loop_io_add(loop, s->fd, EPOLLIN, on_accept, s);
	s->tick = loop_timer_add(loop, TICK_US, TICK_US, on_tick, s);
	s->resume = loop_timer_add(loop, ACCEPT_PAUSE_US, 0, on_resume, s);
	return s->io != NULL && s->tick != NULL && s->resume != NULL
		   ? 0
		   : err_set(err, E_NOMEM, "out of memory");
}

int
control_open(struct engine *e, const char *path, const struct control_limits *limits,
    struct control_server **out, struct err *err)
{
	*out = NULL;
	struct control_server *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return err_set(err, E_NOMEM, "out of memory");
	s->engine = e;
	s->limits = *limits;
	s->addr.sun_family = AF_UNIX;
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r = s->fd < 0 ? err_sys(err, E_SYS, "control socket") : 0;
	if (r == 0 && strlen(path) >= sizeof(s->addr.sun_path))
		r = err_set(err, E_LIMIT, "control = %s: longer than %zu bytes", path,
		    sizeof(s->addr.sun_path) - 1);
	if (r == 0) {
		snprintf(s->addr.sun_path, sizeof(s->addr.sun_path), "%s", path);
		r = make_socket(s, err);
	}
	if (r == 0)
		r = register_all(s, err);
	if (r != 0)
		control_close(&s);
	*out = s;
	return r;
}

void
control_close(struct control_server **sp)
{
	struct control_server *s = *sp;
	struct stat st;
	if (s == NULL)
		return;
	while (s->clients != NULL) {
		struct client *cl = s->clients;
		s->clients = cl->next;
		client_flush(cl);
		client_free(&cl);
	}
	loop_io_del(&s->io);
	loop_timer_del(&s->tick);
	loop_timer_del(&s->resume);
	if (s->ino != 0 && lstat(s->addr.sun_path, &st) == 0 && st.st_dev == s->dev &&
	    st.st_ino == s->ino)
		unlink(s->addr.sun_path);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
	*sp = NULL;
}

static int
start(struct engine *e, void **self_out, struct err *err)
{
	static const struct control_limits limits = {256 << 10, 16 << 20, 10000000, 64};
	struct control_server *s;
	int r = control_open(e, conf_text(&engine_daemon(e)->bag, "control"), &limits, &s, err);
	*self_out = s;
	return r;
}

static void
stop(void **self)
{
	struct control_server *s = *self;
	control_close(&s);
	*self = NULL;
}

const struct engine_control control_socket = {start, stop};
