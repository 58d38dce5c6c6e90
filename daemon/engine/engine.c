/* SPDX-License-Identifier: Apache-2.0
 * engine/engine.c - from command line to running daemon to exit status. */
#include "engine/engine.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/engine_priv.h"

static const char default_conf[] = "/etc/flowbus/flowbus.conf";

enum {
	ONCE_CHECK_US = 200000,
	ONCE_BUSY_US = 5000,
	FACTS_US = 30000000,
	FD_SPARE = 512,
	ARGS_MAX = 256,
};

struct loop *
engine_loop(struct engine *e)
{
	return e->loop;
}

struct link *
engine_link(struct engine *e)
{
	return e->link;
}

const struct conf_daemon *
engine_daemon(const struct engine *e)
{
	return &e->conf->daemon;
}

const char *
engine_name(const struct engine *e)
{
	return e->name;
}

int64_t
engine_started_us(const struct engine *e)
{
	return e->started_us;
}

const char *
engine_version(void)
{
	return FLOWBUS_VERSION;
}

void
engine_stop(struct engine *e)
{
	loop_stop(e->loop);
}

/* ---- timers and signals */

static void
on_signal(void *arg, int fd, unsigned events)
{
	struct engine *e = arg;
	struct signalfd_siginfo si;
	(void)events;
	while (read(fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		struct err err = {0};
		unsigned changed;
		if (si.ssi_signo != SIGHUP) {
			log_notice("engine: stopping on signal %u", si.ssi_signo);
			loop_stop(e->loop);
		} else if (engine_reload(e, 0, &changed, &err) != 0) {
			log_err("engine: reload: %s", err.text);
		} else {
			log_notice("engine: reloaded, %u endpoints changed", changed);
		}
	}
}

static void
on_facts(void *arg, uint64_t now_us)
{
	(void)now_us;
	facts_update(arg);
}

/* With --once: stop when every file input has ended and all is written, however long its reader
 * takes. Links drain in the stop, which bounds that: collectors may never come. */
static void
on_once(void *arg, uint64_t now_us)
{
	struct engine *e = arg;
	(void)now_us;
	if (!e->args.once)
		return;
	loop_timer_set(e->once_timer, ONCE_CHECK_US);
	for (unsigned i = 0; i < e->n_ep; i++) {
		const struct endpoint *ep = e->ep[i];
		if (!endpoint_ends(ep) || ep->self == NULL)
			continue;
		if (!atomic_load(&ep->ended))
			return;
		if (atomic_load(&ep->failed))
			e->exit_status = 1;
	}
	if (!outputs_busy(e))
		loop_stop(e->loop);
	else
		loop_timer_set(e->once_timer, ONCE_BUSY_US);
}

/* ---- start */

static void
set_name(struct engine *e)
{
	const char *given = conf_text(&e->conf->daemon.bag, "name");
	if (given[0] != '\0')
		snprintf(e->name, sizeof(e->name), "%s", given);
	else if (gethostname(e->name, sizeof(e->name)) != 0 || e->name[0] == '\0')
		snprintf(e->name, sizeof(e->name), "unnamed");
	e->name[sizeof(e->name) - 1] = '\0';
}

static void
raise_fd_limit(void)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r); /* what is left is checked by check_fds */
	}
}

/* Do the peers that links may have fit into the descriptors this process may open? */
static int
check_fds(const struct conf *c, struct err *err)
{
	struct rlimit r;
	uint64_t need = FD_SPARE;
	for (unsigned i = 0; i < c->n_endpoints; i++)
		if (option_find(c->endpoints[i]->type, STRV("max_peers")) != NULL)
			need += 2 * conf_number(c->endpoints[i], "max_peers");
	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < need)
		return err_set(err, E_LIMIT,
		    "the links may need %lu descriptors and this process may open %lu (lower "
		    "max_peers or raise LimitNOFILE)", (unsigned long)need, (unsigned long)r.rlim_cur);
	return 0;
}

/* Outputs before inputs, so that the first record finds them. */
static int
attach_all(struct engine *e, struct conf *c, struct err *err)
{
	for (int pass = 0; pass < 2; pass++) {
		for (unsigned i = 0; i < c->n_endpoints; i++) {
			struct conf_endpoint *x = c->endpoints[i];
			unsigned n;
			bool is_input = false;
			const struct port_type *const *types = engine_types(&n);
			for (unsigned t = 0; x != NULL && t < n; t++)
				if (strcmp(types[t]->name, x->type) == 0)
					is_input = types[t]->direction == PORT_INPUT;
			if (x == NULL || is_input != (pass == 1))
				continue;
			int rc = engine_attach(e, &c->endpoints[i],
			    x->file[0] != '\0' && !x->is_saved, err);
			if (rc != 0) {
				if (x->file[0] != '\0' && err->file[0] == '\0') {
					snprintf(err->file, sizeof(err->file), "%s", x->file);
					err->line = x->line;
				}
				if (strncmp(err->text, x->name, strlen(x->name)) != 0)
					err_prefix(err, "%s: ", x->name);
				return rc;
			}
		}
	}
	return 0;
}

/* The newest endpoint may have the name of a saved one, which it replaces: it may have been saved
 * from the same command line. Of a file, or another --attach, is a mistake. */
static int
command_line_wins(struct conf *c, struct err *err)
{
	struct conf_endpoint *x = c->endpoints[c->n_endpoints - 1];
	for (unsigned i = 0; i + 1 < c->n_endpoints; i++) {
		struct conf_endpoint *old = c->endpoints[i];
		if (strcmp(old->name, x->name) != 0)
			continue;
		if (!old->is_saved)
			return err_set(err, E_EXIST, "there is an endpoint named '%s' already (choose "
			    "another name with name=...)", x->name);
		x->in_files = old->in_files;
		conf_endpoint_free(&c->endpoints[i]);
		c->endpoints[i] = x;
		c->n_endpoints--;
		break;
	}
	return 0;
}

static int
add_attached(struct engine *e, struct conf *c, struct err *err)
{
	struct conf_endpoint **list = realloc(c->endpoints,
	    (c->n_endpoints + e->args.n_attach + 1) * sizeof(struct conf_endpoint *));
	if (list == NULL)
		return err_set(err, E_NOMEM, "out of memory");
	c->endpoints = list;
	for (unsigned i = 0; i < e->args.n_attach; i++) {
		char **words = NULL;
		unsigned n = 0;
		int rc = conf_split(e->args.attach[i], &words, &n, err);
		if (rc == 0)
			rc = conf_endpoint_parse((const char *const *)words, n,
			    engine_type_names(), &c->endpoints[c->n_endpoints], err);
		conf_words_free(&words, n);
		if (rc == 0)
			rc = engine_check_endpoint(c->endpoints[c->n_endpoints++], err);
		if (rc == 0)
			rc = command_line_wins(c, err);
		if (rc != 0) {
			err_prefix(err, "--attach '%s': ", e->args.attach[i]);
			return rc;
		}
	}
	return 0;
}

static int
load(struct engine *e, struct conf **out, struct err *err)
{
	struct conf *c = NULL;
	int rc = engine_load_files(e, &c, err);
	if (rc != 0)
		return rc;
	*out = e->conf = c;
	rc = add_attached(e, c, err);
	if (rc == 0)
		rc = check_fds(c, err);
	return rc;
}

static int
open_signals(struct engine *e)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL); /* before any thread is made: all inherit it */
	signal(SIGPIPE, SIG_IGN);
	e->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (e->signal_fd < 0)
		return -E_SYS;
	e->signal_io = loop_io_add(e->loop, e->signal_fd, EPOLLIN, on_signal, e);
	return e->signal_io != NULL ? 0 : -E_NOMEM;
}

/* A control socket is a must for a configured daemon, and a convenience for a trial run. */
static int
start_control(struct engine *e, struct err *err)
{
	bool asked = conf_given(&e->conf->daemon.bag, "control") || e->args.conf_file != NULL;
	if (e->control == NULL || (e->args.once && !asked))
		return 0;
	int rc = e->control->start(e, &e->control_self, err);
	if (rc != 0 && !asked) {
		log_notice("engine: no control socket: %s (choose one with --socket)", err->text);
		return 0;
	}
	return rc;
}

static int
start(struct engine *e, struct err *err)
{
	struct conf *c = NULL;
	e->loop = loop_new();
	e->next_number = 1;
	e->started_us = clock_real_us();
	if (e->loop == NULL || open_signals(e) != 0 || messages_init(e) != 0)
		return err_set(err, E_SYS, "cannot start the poll loop");
	e->once_timer = loop_timer_add(e->loop, ONCE_CHECK_US, 0, on_once, e);
	e->facts_timer = loop_timer_add(e->loop, FACTS_US, FACTS_US, on_facts, e);
	if (e->once_timer == NULL || e->facts_timer == NULL || losses_init(e) != 0)
		return err_set(err, E_NOMEM, "out of memory");
	raise_fd_limit();
	int rc = load(e, &c, err);
	if (rc == 0) {
		for (unsigned i = 0; i < c->n_removed; i++)
			engine_removed_add(e, c->removed[i]);
		if (conf_given(&e->conf->daemon.bag, "log_level"))
			log_set_level((enum log_level)conf_choice(&e->conf->daemon.bag, "log_level"));
		set_name(e);
		e->node_id = facts_node_id(conf_text(&e->conf->daemon.bag, "state_dir"));
		rc = start_control(e, err);
	}
	if (rc == 0 && e->control_self != NULL) /* nobody else could ask for it */
		rc = history_start(e, conf_number(&e->conf->daemon.bag, "history"), err);
	if (rc == 0)
		rc = checkpoint_start(e, c, err);
	if (rc == 0)
		rc = attach_all(e, c, err);
	bool ends = !e->args.once;
	for (unsigned i = 0; i < e->n_ep && !ends; i++)
		ends = endpoint_ends(e->ep[i]);
	if (rc == 0 && !ends)
		rc = err_set(err, E_INVAL, "--once needs an input that ends: --attach 'pcap FILE'");
	return rc;
}

static uint64_t
lost_flows(struct engine *e)
{
	uint64_t sum[C_COUNT], lost = 0;
	for (unsigned i = 0; i < e->n_ep; i++) {
		endpoint_counters(e->ep[i], sum);
		for (int c = 0; c < C_COUNT; c++)
			if (counter_info[c].kind == CK_LOST && strcmp(counter_info[c].unit, "flows") == 0)
				lost += sum[c];
	}
	return lost;
}

static void
finish(struct engine *e)
{
	uint64_t grace = e->conf != NULL
	    ? (uint64_t)conf_span_us(&e->conf->daemon.bag, "stop_timeout") : 0;
	if (e->loop == NULL) {
		conf_free(&e->conf);
		return;
	}
	e->stopping = true;
	while (e->taps != NULL) {
		struct engine_tap *t = e->taps;
		if (e->control_self != NULL)
			break; /* control owns them and lets go below */
		engine_untap(&t);
	}
	endpoints_stop(e, clock_mono_us() + grace);
	if (e->args.once && e->exit_status == 0 && lost_flows(e) > 0) {
		log_err("engine: %lu flow records were lost", (unsigned long)lost_flows(e));
		e->exit_status = 1;
	}
	undo_forget(e);
	endpoints_free(e);
	if (e->control_self != NULL)
		e->control->stop(&e->control_self);
	checkpoint_stop(e);
	history_stop(e);
	link_stop(&e->link);
	bus_free(&e->bus);
	messages_fini(e);
	loop_io_del(&e->signal_io);
	loop_timer_del(&e->once_timer);
	loop_timer_del(&e->facts_timer);
	losses_fini(e);
	if (e->signal_fd >= 0)
		close(e->signal_fd);
	loop_free(&e->loop);
	while (e->n_removed > 0)
		free(e->removed[--e->n_removed]);
	free(e->removed);
	conf_free(&e->conf);
}

static int
check_only(struct engine *e, struct err *err)
{
	struct conf *c = NULL;
	raise_fd_limit();
	int rc = load(e, &c, err);
	for (unsigned i = 0; rc == 0 && i < c->n_endpoints; i++)
		rc = engine_check_endpoint(c->endpoints[i], err);
	if (rc == 0)
		printf("configuration is good: %u endpoints\n", c->n_endpoints);
	return rc;
}

/* ---- command line */

static const char usage_text[] =
    "usage: flowbusd [options]\n"
    "  -c, --config FILE     configuration (default /etc/flowbus/flowbus.conf), with the\n"
    "                        conf.d directory beside it\n"
    "      --attach TEXT     attach an endpoint: 'TYPE ADDRESS [name=N] [option=value ...]';\n"
    "                        without --config no configuration file is read then\n"
    "      --set NAME=VALUE  a daemon option (see flowctl show options daemon)\n"
    "      --name NAME       the same as --set name=NAME\n"
    "      --socket PATH     the same as --set control=PATH\n"
    "      --once            exit when the file inputs have ended and all is written\n"
    "      --check           check the configuration and exit\n"
    "      --print TABLE     print fields.md, options.md, commands.md, counters.md or errors.md\n"
    "      --log LEVEL       err, warn, notice, info or debug (the same as --set log_level=LEVEL)\n"
    "  -V, --version         print the version\n"
    "  -h, --help            print this\n";

struct parsed {
	const char *attach[ARGS_MAX];
	const char *set[ARGS_MAX];
	char *made[ARGS_MAX];
	unsigned n_attach, n_set, n_made;
	const char *conf_file, *print;
	bool once, check;
};

static int
usage_error(const char *text)
{
	fprintf(stderr, "flowbusd: %s\n%s", text, usage_text);
	return 2;
}

static bool
add_setting(struct parsed *p, const char *name, const char *value)
{
	char *text = NULL;
	if (p->n_set >= ARGS_MAX || p->n_made >= ARGS_MAX ||
	    asprintf(&text, "%s=%s", name, value) < 0)
		return false;
	p->made[p->n_made++] = text;
	p->set[p->n_set++] = text;
	return true;
}

/* -1: go on; else the exit status. */
static int
parse_args(int argc, char **argv, struct parsed *p)
{
	static const struct option longopts[] = {{"config", 1, NULL, 'c'}, {"attach", 1, NULL, 'a'},
	    {"set", 1, NULL, 's'}, {"name", 1, NULL, 'n'}, {"socket", 1, NULL, 'S'},
	    {"once", 0, NULL, 'o'}, {"check", 0, NULL, 'k'}, {"print", 1, NULL, 'p'},
	    {"log", 1, NULL, 'l'}, {"version", 0, NULL, 'V'}, {"help", 0, NULL, 'h'},
	    {NULL, 0, NULL, 0}};
	bool ok = true;
	optind = 1;
	for (int c; ok && (c = getopt_long(argc, argv, "c:Vh", longopts, NULL)) != -1;) {
		switch (c) {
		case 'c': p->conf_file = optarg; break;
		case 'a':
			ok = p->n_attach < ARGS_MAX;
			if (ok)
				p->attach[p->n_attach++] = optarg;
			break;
		case 's':
			ok = p->n_set < ARGS_MAX;
			if (ok)
				p->set[p->n_set++] = optarg;
			break;
		case 'n': ok = add_setting(p, "name", optarg); break;
		case 'S': ok = add_setting(p, "control", optarg); break;
		case 'l': ok = add_setting(p, "log_level", optarg); break;
		case 'o': p->once = true; break;
		case 'k': p->check = true; break;
		case 'p': p->print = optarg; break;
		case 'V': printf("flowbusd %s\n", engine_version()); return 0;
		case 'h': fputs(usage_text, stdout); return 0;
		default: return usage_error("what is the last option supposed to be?");
		}
	}
	if (!ok)
		return usage_error("too many arguments");
	if (optind < argc)
		return usage_error("unexpected word (endpoints are given with --attach '...')");
	return -1;
}

static int
run(struct engine *e, const struct parsed *p)
{
	struct err err = {0};
	char text[1024];
	int rc;
	if (p->print != NULL)
		rc = print_table(p->print, &err);
	else if (p->check)
		rc = check_only(e, &err);
	else
		rc = start(e, &err);
	if (rc == 0 && p->print == NULL && !p->check) {
		uint64_t memory = history_memory(e);
		for (unsigned i = 0; i < e->n_ep; i++)
			memory += endpoint_memory(e->ep[i]);
		log_notice("engine: %s is up, version %s, %u endpoints, memory at most %.1f MiB",
		    e->name, engine_version(), e->n_ep, (double)memory / (1 << 20));
		rc = loop_run(e->loop);
		if (rc != 0)
			err_set(&err, E_SYS, "poll loop: %s", strerror(errno));
	}
	if (rc != 0) {
		err_print(&err, text, sizeof(text));
		fprintf(stderr, "flowbusd: %s\n", text);
		e->exit_status = err_status(rc);
	}
	finish(e);
	return e->exit_status;
}

int
engine_main(int argc, char **argv, const struct engine_control *control)
{
	struct parsed *p = calloc(1, sizeof(*p));
	struct engine *e = calloc(1, sizeof(*e));
	int status = 1;
	if (p != NULL && e != NULL) {
		status = parse_args(argc, argv, p);
		e->args = (struct engine_conf){p->conf_file, false, p->attach, p->n_attach, p->set,
		    p->n_set, p->once};
		if (p->conf_file == NULL && p->n_attach == 0) {
			e->args.conf_file = default_conf;
			e->args.conf_may_miss = false;
		}
		e->control = control;
		e->signal_fd = e->wake.fd = -1; /* 0 is standard input's, if the start fails */
		if (status < 0)
			status = run(e, p);
		for (unsigned i = 0; i < p->n_made; i++)
			free(p->made[i]);
	}
	free(p);
	free(e);
	return status;
}
