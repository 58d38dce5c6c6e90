/* SPDX-License-Identifier: Apache-2.0
 * ctl/complete.c - the hidden word `complete`: what could stand where the cursor is.
 *
 * `flowctl complete WORD...` takes the words typed so far, the last one perhaps unfinished or
 * empty, and prints candidates, one a line. Names of endpoints are asked of the daemon, briefly. */
#include <stdlib.h>

#include "flowctl.h"

struct completion {
	const struct ask *ask;
	const char *cur;  /* the word being typed */
	const char *name; /* of the endpoint whose type take_type looks for */
	char type[32];
};

static void
offer(const struct completion *c, const char *prefix, struct strv word, const char *suffix)
{
	char text[256];
	snprintf(text, sizeof(text), "%s%.*s%s", prefix, (int)word.n, word.p, suffix);
	if (strncmp(text, c->cur, strlen(c->cur)) == 0)
		puts(text);
}

/* Next words of commands that begin with @words. */
static void
offer_commands(const struct completion *c, char *const *words, unsigned n)
{
	const char *last = "";
	size_t last_n = 0;
	for (unsigned k = 0; k < ctl_command_count; k++) {
		const char *p = ctl_commands[k].words;
		bool fits = true;
		for (unsigned i = 0; fits && i < n; i++) {
			size_t len = strcspn(p, " ");
			fits = strncmp(p, words[i], strlen(words[i])) == 0 &&
			       strlen(words[i]) <= len && p[len] == ' ';
			p += len + (p[len] == ' ');
		}
		struct strv word = {p, strcspn(p, " ")};
		if (!fits || word.n == 0 || strv_eq(word, (struct strv){last, last_n}))
			continue;
		last = word.p; /* the table keeps commands of one first word together */
		last_n = word.n;
		offer(c, "", word, "");
	}
}

static void
offer_types(const struct completion *c)
{
	for (unsigned i = 0; i < ctl_option_count; i++) {
		bool seen = strcmp(ctl_options[i].owner, "daemon") == 0;
		for (unsigned k = 0; k < i && !seen; k++)
			seen = strcmp(ctl_options[k].owner, ctl_options[i].owner) == 0;
		if (!seen)
			offer(c, "", strv_of(ctl_options[i].owner), "");
	}
}

static void
offer_list(const struct completion *c, const char *prefix, const char *list)
{
	for (const char *p = list; *p != '\0';) {
		size_t n = strcspn(p, ",");
		offer(c, prefix, (struct strv){p, n}, "");
		p += n + (p[n] == ',');
	}
}

/* option= of a type, and behind the = its choices. */
static void
offer_options(const struct completion *c, const char *type)
{
	char prefix[64];
	size_t key = strcspn(c->cur, "=");
	for (unsigned i = 0; i < ctl_option_count; i++) {
		const struct ctl_option *o = &ctl_options[i];
		if (strcmp(o->owner, type) != 0)
			continue;
		if (c->cur[key] != '=') {
			offer(c, "", strv_of(o->name), "=");
		} else if (strv_eq(strv_of(o->name), (struct strv){c->cur, key})) {
			snprintf(prefix, sizeof(prefix), "%s=", o->name);
			offer_list(c, prefix, o->is_bool ? "yes,no" : o->choices);
		}
	}
}

static void
take_name(void *arg, json_t *row)
{
	const struct completion *c = arg;
	const char *name = json_string_value(json_object_get(row, "name"));
	if (name != NULL)
		offer(c, "", strv_of(name), "");
}

static void
take_type(void *arg, json_t *row)
{
	struct completion *c = arg;
	const char *name = json_string_value(json_object_get(row, "name"));
	const char *type = json_string_value(json_object_get(row, "type"));
	if (name != NULL && type != NULL && strcmp(name, c->name) == 0)
		snprintf(c->type, sizeof(c->type), "%s", type);
}

static void
each_endpoint(struct completion *c, client_row_fn *fn)
{
	const struct ctl_command *cmd = NULL;
	const struct client_sink sink = {fn, NULL, c};
	json_t *final = NULL;
	for (unsigned k = 0; k < ctl_command_count; k++)
		if (strcmp(ctl_commands[k].id, "show_endpoints") == 0)
			cmd = &ctl_commands[k];
	client_run(c->ask->socket, cmd, NULL, 0, 1000, &sink, &final, NULL);
	json_decref(final);
}

static void
offer_flags(const struct completion *c, const char *arguments)
{
	for (const char *p = arguments; (p = strstr(p, "[--")) != NULL; p++)
		offer(c, "", (struct strv){p + 1, strcspn(p + 1, " ]")}, "");
}

/* Arguments of a command: @args before the cursor. */
static void
offer_arguments(struct completion *c, const struct ctl_command *cmd, char *const *args, unsigned n)
{
	bool names =
	    strncmp(cmd->arguments, "NAME", 4) == 0 || strncmp(cmd->arguments, "[NAME]", 6) == 0;
	offer_flags(c, cmd->arguments);
	if (strcmp(cmd->id, "attach") == 0) {
		if (n == 0)
			offer_types(c);
		if (n >= 2) {
			offer_options(c, args[0]);
			offer(c, "", STRV("name="), "");
		}
	} else if (strcmp(cmd->id, "set") == 0 && n > 0) {
		c->name = args[0];
		each_endpoint(c, take_type);
		offer_options(c, c->type);
	} else if (names && n == 0) {
		each_endpoint(c, take_name);
	} else if (strcmp(cmd->id, "log") == 0 && n == 0) {
		offer_list(c, "", "err,warn,notice,info,debug");
	} else if (strcmp(cmd->id, "show_options") == 0 && n == 0) {
		offer_types(c);
		offer(c, "", STRV("daemon"), "");
	} else if (strcmp(cmd->id, "help") == 0) {
		if (n == 1 && strcmp(args[0], "attach") == 0)
			offer_types(c);
		else
			offer_commands(c, args, n);
	}
}

int
complete_command(const struct ask *a)
{
	const struct ctl_command *cmd;
	unsigned used, n = a->n_words > 0 ? a->n_words - 1 : 0; /* without the word `complete` */
	char *const *words = a->words + 1;
	struct completion c = {.ask = a, .cur = n > 0 ? words[n - 1] : ""};
	unsigned before = n > 0 ? n - 1 : 0;
	if (before > 0 && words_command(words, before, &cmd, &used, NULL) == 0)
		offer_arguments(&c, cmd, words + used, before - used);
	else
		offer_commands(&c, words, before);
	return EXIT_OK;
}
