/* SPDX-License-Identifier: Apache-2.0
 * Every command by the table: who may, how many words, what comes back; and the guard behind
 * attach and set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "fake.h"

struct fixture {
	struct engine *e;
	struct control_server *s;
	char dir[64], path[96];
};

static int
setup(void **state)
{
	static const struct control_limits limits = {256 << 10, 16 << 20, 10000000, 16};
	struct fixture *f = calloc(1, sizeof(*f));
	snprintf(f->dir, sizeof(f->dir), "/tmp/flowbus-ctl-XXXXXX");
	if (mkdtemp(f->dir) == NULL)
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/sock", f->dir);
	f->e = fake_new();
	log_set_level(LOG_ERR);
	*state = f;
	return control_open(f->e, f->path, &limits, &f->s, NULL);
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	char cmd[128];
	control_close(&f->s);
	fake_free(&f->e);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", f->dir);
	free(f);
	return system(cmd);
}

/* A right call of every command that ends by itself. */
static const char *
good_args(const char *id)
{
	static const char *const t[][2] = {
	    {"attach", "\"capture\",\"eth1\",\"idle=5s\""},
	    {"detach", "\"lan\",\"--drain\""},
	    {"set", "\"lan\",\"idle=7s\""},
	    {"enable", "\"lan\""},
	    {"disable", "\"lan\""},
	    {"show_endpoints", "\"lan\""},
	    {"show_peers", "\"hub\""},
	    {"show_counters", "\"--all\""},
	    {"show_subscriptions", "\"hub\""},
	    {"show_options", "\"capture\""},
	    {"filter_check", "\"proto tcp\""},
	    {"filter_explain", "\"proto\",\"tcp\""},
	    {"key_trust", "\"alice\",\"fbp1-x\""},
	    {"key_revoke", "\"alice\""},
	    {"key_token", "\"alice\",\"--for\",\"5m\""},
	    {"filter_test", "\"proto\",\"tcp\",\"--last\",\"5s\""},
	    {"log", "\"err\""},
	    {"help", "\"attach\",\"capture\""},
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (strcmp(t[i][0], id) == 0)
			return t[i][1];
	return "";
}

static int
ask(struct talk *t, const char *cmd, const char *args, unsigned *rows)
{
	char line[1024];
	snprintf(line, sizeof(line), "{\"id\":1,\"cmd\":\"%s\",\"args\":[%s]}", cmd, args);
	return talk_ask(t, line, rows);
}

/* Role by role and row by row: what the table says is what happens. */
static void
test_roles(void **state)
{
	struct fixture *f = *state;
	for (int role = ROLE_VIEW; role <= ROLE_ADMIN; role++) {
		struct talk t = talk_as(f->e, f->s, (enum role)role);
		for (unsigned i = 0; i < command_count; i++) {
			const struct command *c = &commands[i];
			unsigned rows;
			if (c->shape == SHAPE_STREAM)
				continue;
			int code = ask(&t, c->words, good_args(c->id), &rows);
			int want = role < (int)c->role ? 4030 : CTL_OK;
			if (code != want)
				fail_msg(
				    "%s as %s: %d", c->words, role_name((enum role)role), code);
			if (want == CTL_OK && rows == 0)
				fail_msg("%s: no rows", c->words);
			if (want == CTL_OK && c->shape == SHAPE_OBJECT && rows != 1)
				fail_msg("%s: %u rows", c->words, rows);
			if (strcmp(c->id, "detach") == 0 && code == CTL_OK)
				ask(&t, "attach", "\"capture\",\"eth0\",\"name=lan\"", NULL);
			if (strcmp(c->id, "attach") == 0 && code == CTL_OK)
				ask(&t, "detach", "\"capture-eth1\"", NULL);
		}
		talk_close(&t);
	}
	assert_int_equal(f->e->n_drained, 2);
	assert_int_equal(f->e->n_reloads, 1);
	assert_int_equal(f->e->n_saved, 1);
}

static void
test_arity(void **state)
{
	struct fixture *f = *state;
	struct talk t = talk_as(f->e, f->s, ROLE_ADMIN);
	static const struct {
		const char *cmd, *args;
		int code;
	} rows[] = {
	    {"status", "\"x\"", 4000},
	    {"attach", "", 4000},
	    {"attach", "\"capture\"", 4000},
	    {"detach", "", 4000},
	    {"detach", "\"a\",\"b\"", 4000},
	    {"detach", "\"nope\"", 4040},
	    {"detach", "\"lan\",\"--drian\"", 4000},
	    {"detach", "\"lan\",\"--drain=1\"", 4000},
	    {"set", "\"lan\"", 4000},
	    {"set", "\"nope\",\"idle=1s\"", 4040},
	    {"set", "\"lan\",\"idel=1s\"", 4002},
	    {"enable", "", 4000},
	    {"enable", "\"no\"", 4040},
	    {"show endpoints", "\"nope\"", 4040},
	    {"show endpoints", "\"a\",\"b\"", 4000},
	    {"show peers", "\"lan\"", 4000},
	    {"show peers", "\"nope\"", 4040},
	    {"show options", "\"captur\"", 4040},
	    {"show options", "\"daemon\"", 1000},
	    {"show counters", "\"--al\"", 4000},
	    {"show counters", "\"--\",\"--all\"", 4040},
	    {"watch flows", "\"proto\",\"zzz\"", -4},
	    {"watch stats", "\"x\"", 4000},
	    {"watch stats", "\"--count\"", 4000},
	    {"watch stats", "\"--count\",\"0\"", 4000},
	    {"watch stats", "\"--count=x\"", 4000},
	    {"filter check", "", 4000},
	    {"filter check", "\"proto\",\"tcp\"", 1000},
	    {"key trust", "\"alice\"", 4000},
	    {"key trust", "\"bad\",\"x\"", 4001},
	    {"key trust", "\"alice\",\"same\"", 1000},
	    {"key token", "\"alice\",\"--for\"", 4000},
	    {"key token", "\"alice\",\"--for=x\"", 4003},
	    {"key token", "\"alice\",\"--for=500ms\"", 4003},
	    {"key token", "\"alice\",\"--for=31d\"", 4003},
	    {"key token", "\"alice\",\"hub\",\"--for=30d\"", 1000},
	    {"key token", "\"alice\",\"--count=3\"", 4000},
	    {"key revoke", "\"a\",\"b\",\"c\"", 4000},
	    {"log", "\"loud\"", 4002},
	    {"log", "", 1000},
	    {"help", "\"zzz\"", 4040},
	    {"help", "\"show\"", 1000},
	    {"help", "\"show\",\"peers\"", 1000},
	    {"help", "\"attach\",\"zz\"", 4040},
	    {"help", "", 1000},
	    {"stauts", "", 4002},
	    {"zzzzzz", "", 4002},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int code = ask(&t, rows[i].cmd, rows[i].args, NULL);
		bool ok = rows[i].code < 0 ? code / 1000 == -rows[i].code : code == rows[i].code;
		if (!ok)
			fail_msg("%s %s: %d", rows[i].cmd, rows[i].args, code);
	}
	talk_close(&t);
}

static void
test_arity_of(void **state)
{
	(void)state;
	static const struct {
		const char *arguments;
		unsigned min, max;
	} t[] = {
	    {"", 0, 0},
	    {"NAME", 1, 1},
	    {"[NAME]", 0, 1},
	    {"NAME [--drain]", 1, 1},
	    {"TYPE ADDRESS [name=N] [option=value ...]", 2, UINT32_MAX},
	    {"NAME option=value ...", 2, UINT32_MAX},
	    {"[EXPR] [--count N]", 0, 1},
	    {"[COMMAND ...]", 0, UINT32_MAX},
	    {"EXPR", 1, 1},
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		unsigned min, max;
		command_arity(t[i].arguments, &min, &max);
		assert_int_equal(min, t[i].min);
		assert_int_equal(max, t[i].max);
	}
}

/* What needs an admin even though attach and set are for operators. */
static void
test_guard(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *cmd, *args;
		int operate, admin;
	} t[] = {
	    {"attach", "\"capture\",\"e\",\"name=a\"", 1000, 4090},
	    {"attach", "\"subscribe\",\"tcp://h:1\",\"name=b\"", 1000, 4090},
	    {"attach", "\"subscribe\",\"tcp://h:1\",\"name=c\",\"key_file=/k\"", 4030, 1000},
	    {"attach", "\"subscribe\",\"tcp://*:1\",\"name=d\",\"encryption=none\"", 4030, 1000},
	    {"attach", "\"subscribe\",\"tcp://*:1\",\"name=d2\",\"encryption=NONE\"", 4030, 1000},
	    {"attach", "\"publish\",\"tcp://h:1\",\"name=e\"", 4030, 1000},
	    {"attach", "\"subscribe\",\"ipc:///tmp/x\",\"name=f\"", 4030, 1000},
	    {"attach", "\"pcap\",\"/x.pcap\",\"name=g\"", 4030, 1000},
	    {"attach", "\"pcap\",\"x.pcap\",\"name=h\"", 4030, 4000},
	    {"attach", "\"json\",\"-\",\"name=i\"", 4030, 1000},
	    {"attach", "\"json\",\"/etc/x\",\"name=j\"", 4030, 4030},
	    {"attach", "\"json\",\"OUT/x\",\"name=k\"", 4030, 1000},
	    {"attach", "\"json\",\"OUT/../x\",\"name=l\"", 4030, 4030},
	    {"attach", "\"json\",\"OUT/link/x\",\"name=m\"", 4030, 4030},
	    {"attach", "\"json\",\"OUT/none/x\",\"name=n\"", 4030, 4040},
	    {"attach", "\"json\",\"OUTx/x\",\"name=n\"", 4030, 4030},
	    {"attach", "\"json\",\"OUT/\",\"name=n\"", 4030, 4000},
	    {"attach", "\"json\",\"OUT/..\",\"name=n\"", 4030, 4000},
	    {"attach", "\"json\",\"x\",\"name=n\"", 4030, 4000},
	    {"set", "\"hub\",\"max_peers=3\"", 1000, 1000},
	    {"set", "\"hub\",\"max_peers=3\",\"key_file=/k\"", 4030, 1000},
	    {"set", "\"hub\",\"encryption=none\"", 4030, 1000},
	    {"set", "\"hub\",\"allow=a\"", 4030, 1000},
	    {"set", "\"hub\",\"peer=a\"", 4030, 1000},
	    {"set", "\"hub\",\"identity=/k\"", 4030, 1000},
	    {"attach", "\"subscribe\",\"tcp://h:1\",\"name=o\",\"relays=x\"", 4030, 1000},
	};
	char cmd[400], out[96], set[120];
	snprintf(out, sizeof(out), "%s/out", f->dir);
	snprintf(cmd, sizeof(cmd), "mkdir %s %sx && ln -s /etc %s/link", out, out, out);
	assert_int_equal(system(cmd), 0);
	snprintf(set, sizeof(set), "output_dirs=/none, %s", out);
	assert_int_equal(conf_daemon_set(&f->e->conf->daemon, set, NULL), 0);
	for (int role = ROLE_OPERATE; role <= ROLE_ADMIN; role++) {
		struct talk c = talk_as(f->e, f->s, (enum role)role);
		for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			char args[400];
			const char *at = strstr(t[i].args, "OUT");
			if (at != NULL)
				snprintf(args, sizeof(args), "%.*s%s%s", (int)(at - t[i].args),
				    t[i].args, out, at + 3);
			else
				snprintf(args, sizeof(args), "%s", t[i].args);
			int code = ask(&c, t[i].cmd, args, NULL);
			if (code != (role == ROLE_OPERATE ? t[i].operate : t[i].admin))
				fail_msg("%s %s as %s: %d", t[i].cmd, args,
				    role_name((enum role)role), code);
		}
		talk_close(&c);
	}
}

static json_t *
row_of(struct talk *t, const char *cmd, const char *args)
{
	char line[512];
	json_t *row = NULL;
	snprintf(line, sizeof(line), "{\"cmd\":\"%s\",\"args\":[%s]}\n", cmd, args);
	talk_send(t, line);
	for (json_t *j; (j = talk_line(t)) != NULL; json_decref(j)) {
		if (json_object_get(j, "code") != NULL) {
			json_decref(j);
			break;
		}
		if (row == NULL)
			row = json_incref(json_object_get(j, "row"));
	}
	return row;
}

static void
test_rows(void **state)
{
	struct fixture *f = *state;
	struct talk t = talk_as(f->e, f->s, ROLE_VIEW);
	json_t *j = row_of(&t, "show endpoints", "\"hub\"");
	assert_string_equal(json_string_value(json_object_get(j, "why")), "keys differ");
	assert_string_equal(json_string_value(json_object_get(j, "state")), "down");
	assert_int_equal(json_integer_value(json_object_get(j, "lost_flows")), 5);
	json_t *options = json_object_get(j, "options"), *details = json_object_get(j, "details");
	assert_string_equal(json_string_value(json_object_get(options, "codec")), "zstd");
	assert_int_equal(json_integer_value(json_object_get(details, "queue")), 12);
	assert_string_equal(json_string_value(json_object_get(details, "driver")), "fake \"1\"");
	json_decref(j);

	j = row_of(&t, "status", "");
	assert_string_equal(json_string_value(json_object_get(j, "role")), "probe");
	assert_string_equal(json_string_value(json_object_get(j, "your_role")), "view");
	assert_int_equal(json_array_size(json_object_get(j, "problems")), 2);
	assert_true(json_integer_value(json_object_get(j, "memory_bytes")) > 100000);
	json_decref(j);

	j = row_of(&t, "show peers", "");
	assert_string_equal(json_string_value(json_object_get(j, "name")), "probe-\\xff");
	assert_string_equal(json_string_value(json_object_get(j, "seen")), "198.51.100.7");
	assert_int_equal(json_array_size(json_object_get(j, "addresses")), 2);
	assert_int_equal(json_integer_value(json_object_get(j, "bits_per_s")), 8000);
	assert_true(json_real_value(json_object_get(j, "uptime_s")) >= 5);
	json_decref(j);

	j = row_of(&t, "filter check", "\"(proto tcp)\"");
	assert_non_null(json_string_value(json_object_get(j, "canonical")));
	json_decref(j);

	j = row_of(&t, "show config", "");
	const char *text = json_string_value(json_object_get(j, "text"));
	struct conf *c = conf_new();
	assert_int_equal(conf_parse_text(c, strv_of(text), "x", engine_type_names(), NULL), 0);
	assert_int_equal(c->n_endpoints, 2);
	conf_free(&c);
	json_decref(j);
	talk_close(&t);
}

/* An error in a filter comes back with its place and its caret. */
static void
test_filter_error(void **state)
{
	struct fixture *f = *state;
	struct talk t = talk_as(f->e, f->s, ROLE_VIEW);
	json_decref(talk_line(&t)); /* hello */
	talk_send(&t, "{\"id\":\"x\",\"cmd\":\"filter check\",\"args\":[\"proto tcp andd\"]}\n");
	json_t *j = talk_line(&t);
	assert_string_equal(json_string_value(json_object_get(j, "id")), "x");
	assert_int_equal(json_integer_value(json_object_get(j, "code")) / 1000, 4);
	assert_true(json_integer_value(json_object_get(j, "col")) > 0);
	assert_non_null(strchr(json_string_value(json_object_get(j, "text")), '^'));
	json_decref(j);
	talk_close(&t);
}

static void
test_partly(void **state)
{
	struct fixture *f = *state;
	unsigned rows;
	struct talk t = talk_as(f->e, f->s, ROLE_ADMIN);
	f->e->reload_result = -E_PARTLY;
	assert_int_equal(ask(&t, "reload", "", &rows), 2000);
	assert_int_equal(rows, 1);
	f->e->reload_result = -E_SYNTAX;
	assert_int_equal(ask(&t, "reload", "", &rows), 4001);
	assert_int_equal(rows, 0);
	talk_close(&t);
}

int
main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {T(test_roles), T(test_arity),
	    cmocka_unit_test(test_arity_of), T(test_guard), T(test_rows), T(test_filter_error),
	    T(test_partly)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
