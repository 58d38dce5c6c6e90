/* SPDX-License-Identifier: Apache-2.0
 * unit/engine/fixture.c - a whole engine in this process. */
#include "fixture.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

static char lab[64];
static scenario_fn *scenario;
static struct loop_timer *timer;
struct err last_error;

int
lab_setup(void **state)
{
	(void)state;
	snprintf(lab, sizeof(lab), "/tmp/fbengineXXXXXX");
	if (mkdtemp(lab) == NULL)
		return -1;
	return mkdir(file_of("state"), 0755);
}

static void
empty(const char *dir)
{
	DIR *d = opendir(dir);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		char path[512];
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_name[0] != '.')
			(void)unlink(path);
	}
	if (d != NULL)
		closedir(d);
}

int
lab_teardown(void **state)
{
	(void)state;
	empty(file_of("state"));
	(void)rmdir(file_of("state"));
	empty(lab);
	return rmdir(lab);
}

const char *
file_of(const char *name)
{
	static char paths[8][256];
	static unsigned next;
	char *p = paths[next++ % 8];
	snprintf(p, sizeof(paths[0]), "%s/%s", lab, name);
	return p;
}

void
write_file(const char *name, const char *fmt, ...)
{
	FILE *f = fopen(file_of(name), "w");
	va_list ap;
	assert_non_null(f);
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fclose(f);
}

const char *
read_text(const char *name)
{
	static char text[1 << 16];
	FILE *f = fopen(file_of(name), "r");
	size_t n = f != NULL ? fread(text, 1, sizeof(text) - 1, f) : 0;
	if (f != NULL)
		fclose(f);
	text[n] = '\0';
	return text;
}

unsigned
lines_of(const char *name)
{
	FILE *f = fopen(file_of(name), "r");
	unsigned n = 0;
	for (int c; f != NULL && (c = getc(f)) != EOF;)
		n += c == '\n';
	if (f != NULL)
		fclose(f);
	return n;
}

static void
packet(FILE *f, uint32_t i, bool back)
{
	uint32_t record[4] = {1700000000 + i / 1000, i % 1000 * 1000, 46, 46};
	uint8_t p[46] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17,
	    0, 0, 10, 0, (uint8_t)(i >> 8), (uint8_t)i, 10, 9, 9, 9, 0x9c, 0x40, 0x9c, 0x41, 0, 12};
	if (back) {
		uint8_t addr[4];
		memcpy(addr, p + 26, 4);
		memcpy(p + 26, p + 30, 4);
		memcpy(p + 30, addr, 4);
		p[35] = 0x41;
		p[37] = 0x40;
	}
	fwrite(record, sizeof(record), 1, f);
	fwrite(p, sizeof(p), 1, f);
}

const char *
make_pcap(const char *name, unsigned n_flows)
{
	const uint32_t head[6] = {0xa1b2c3d4, 2 | 4 << 16, 0, 0, 65535, 1};
	FILE *f = fopen(file_of(name), "wb");
	assert_non_null(f);
	fwrite(head, sizeof(head), 1, f);
	for (uint32_t i = 0; i < n_flows; i++) {
		packet(f, i, false);
		packet(f, i, true);
	}
	fclose(f);
	return file_of(name);
}

/* ---- running */

static void
play(void *arg, uint64_t now_us)
{
	struct engine *e = arg;
	(void)now_us;
	scenario(e);
	engine_stop(e);
}

static int
control_start(struct engine *e, void **self_out, struct err *err)
{
	(void)err;
	*self_out = NULL;
	timer = loop_timer_add(engine_loop(e), 0, 0, play, e);
	return timer != NULL ? 0 : -E_NOMEM;
}

static void
control_stop(void **self)
{
	*self = NULL;
}

int
run_engine(scenario_fn *fn, const char *const *args)
{
	static const struct engine_control control = {control_start, control_stop};
	char *argv[32] = {strdup("flowbusd")}, state[300];
	int argc = 1;
	snprintf(state, sizeof(state), "--set=state_dir=%s", file_of("state"));
	argv[argc++] = strdup(state);
	while (*args != NULL && argc < 31)
		argv[argc++] = strdup(*args++);
	scenario = fn;
	int status = engine_main(argc, argv, fn != NULL ? &control : NULL);
	while (argc > 0)
		free(argv[--argc]);
	return status;
}

int
attach(struct engine *e, const char *fmt, ...)
{
	char text[1024], **words;
	unsigned n;
	struct conf_endpoint *conf = NULL;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memset(&last_error, 0, sizeof(last_error));
	assert_int_equal(conf_split(text, &words, &n, &last_error), 0);
	int rc = conf_endpoint_parse((const char *const *)words, n, engine_type_names(), &conf,
	    &last_error);
	if (rc == 0)
		rc = engine_attach(e, &conf, false, &last_error);
	assert_true((conf == NULL) == (rc == 0) || conf == NULL); /* taken only on success */
	conf_endpoint_free(&conf);
	conf_words_free(&words, n);
	return -rc;
}

int
set(struct engine *e, const char *name, const char *w1, const char *w2)
{
	const char *words[] = {w1, w2};
	memset(&last_error, 0, sizeof(last_error));
	return -engine_set(e, strv_of(name), words, w2 != NULL ? 2 : 1, &last_error);
}

static void
see(void *arg, const struct engine_endpoint *ep)
{
	struct seen *s = arg;
	snprintf(s->name, sizeof(s->name), "%s", ep->name);
	snprintf(s->address, sizeof(s->address), "%s", ep->address);
	snprintf(s->why, sizeof(s->why), "%s", ep->why);
	s->state = ep->state;
	s->persistent = ep->persistent;
	s->ended = ep->ended;
	memcpy(s->counters, ep->counters, sizeof(s->counters));
}

struct seen
look(struct engine *e, const char *name)
{
	struct seen s = {0};
	(void)engine_endpoints(e, strv_of(name), see, &s, NULL);
	return s;
}

static void
add_one(void *arg, const struct engine_endpoint *ep)
{
	(void)ep;
	++*(unsigned *)arg;
}

unsigned
count(struct engine *e)
{
	unsigned n = 0;
	assert_int_equal(engine_endpoints(e, STRV(""), add_one, &n, NULL), 0);
	return n;
}

void
wait_ended(struct engine *e, const char *name)
{
	for (int i = 0; i < 10000 && !look(e, name).ended; i++)
		clock_sleep_us(1000);
	assert_true(look(e, name).ended);
}

void
wait_written(struct engine *e, const char *name, uint64_t n)
{
	for (int i = 0; i < 10000 && look(e, name).counters[C_flow_out] < n; i++)
		clock_sleep_us(1000);
	assert_int_equal(look(e, name).counters[C_flow_out], n);
}
