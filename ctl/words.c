/* SPDX-License-Identifier: Apache-2.0
 * ctl/words.c - from what was typed to a command of the table. */
#include <stdlib.h>
#include <unistd.h>

#include "flowctl.h"

const struct ctl_command ctl_commands[] = {
#define COMMAND(id, words, arguments, role, shape, summary, manual) \
	{#id, words, arguments, summary, SHAPE_##shape},
#include "flowbus/commands.def"
    {"key_secret", "key secret", "[FILE]", "Make the secret of a link; runs without the daemon",
	SHAPE_NONE},
    {"key_new", "key new", "FILE", "Make a key pair for this node; runs without the daemon",
	SHAPE_NONE},
    {"key_show", "key show", "FILE",
	"Public key and fingerprint of a key file; runs without the daemon", SHAPE_NONE},
};
const unsigned ctl_command_count = sizeof(ctl_commands) / sizeof(ctl_commands[0]);
enum { COMMANDS = sizeof(ctl_commands) / sizeof(ctl_commands[0]) };

enum { T_BOOL, T_NUMBER, T_SIZE, T_SPAN, T_TEXT, T_PATH, T_CHOICE, T_FIELDS, T_FILTER };
const struct ctl_option ctl_options[] = {
#define OPTION(owner, name, type, def, min, max, choices, apply, help) \
	{#owner, #name, choices, help, T_##type == T_PATH, T_##type == T_BOOL},
#include "flowbus/options.def"
};
const unsigned ctl_option_count = sizeof(ctl_options) / sizeof(ctl_options[0]);

unsigned
words_count(const char *words)
{
	unsigned n = 1;
	for (const char *p = words; *p != '\0'; p++)
		n += *p == ' ';
	return n;
}

/* Word @i of "show peers". */
static struct strv
word_at(const char *words, unsigned i)
{
	while (i-- > 0) {
		words = strchr(words, ' ');
		if (words == NULL)
			return (struct strv){NULL, 0};
		words++;
	}
	return (struct strv){words, strcspn(words, " ")};
}

static bool
begins(struct strv word, const char *typed)
{
	size_t n = strlen(typed);
	return n > 0 && n <= word.n && memcmp(word.p, typed, n) == 0;
}

/* Keep the candidates whose word @i is what was typed, in full if any is, else as a beginning. */
static unsigned
narrow(bool keep[COMMANDS], unsigned i, const char *typed)
{
	unsigned left = 0;
	bool exact = false;
	for (unsigned k = 0; k < COMMANDS; k++)
		exact = exact ||
			(keep[k] && strv_eq(word_at(ctl_commands[k].words, i), strv_of(typed)));
	for (unsigned k = 0; k < COMMANDS; k++) {
		struct strv w = word_at(ctl_commands[k].words, i);
		keep[k] = keep[k] && (exact ? strv_eq(w, strv_of(typed)) : begins(w, typed));
		left += keep[k];
	}
	return left;
}

static int
nothing(char *const *words, unsigned i, struct err *err)
{
	const char *names[COMMANDS + 1];
	char typed[128], q[140];
	unsigned n = 0;
	int len = 0;
	for (unsigned k = 0; k <= i && len >= 0 && (size_t)len < sizeof(typed); k++)
		len += snprintf(
		    typed + len, sizeof(typed) - (size_t)len, "%s%s", k > 0 ? " " : "", words[k]);
	for (unsigned k = 0; k < COMMANDS; k++)
		names[n++] = ctl_commands[k].words;
	names[n] = NULL;
	const char *near = strv_nearest(strv_of(typed), names);
	strv_quote(strv_of(typed), q, sizeof(q));
	if (near != NULL)
		return err_set(err, E_UNKNOWN, "no command %s, did you mean \"%s\"?", q, near);
	return err_set(err, E_UNKNOWN, "no command %s; `flowctl help` lists them", q);
}

static int
several(const bool keep[COMMANDS], const char *why, struct err *err)
{
	char list[360] = "";
	size_t n = 0;
	for (unsigned k = 0; k < COMMANDS && n < sizeof(list); k++)
		if (keep[k])
			n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", n > 0 ? ", " : "",
			    ctl_commands[k].words);
	return err_set(err, E_UNKNOWN, "%s: %s", why, list);
}

int
words_command(char *const *words, unsigned n, const struct ctl_command **out, unsigned *used_out,
    struct err *err)
{
	bool keep[COMMANDS];
	for (unsigned k = 0; k < COMMANDS; k++)
		keep[k] = true;
	for (unsigned i = 0; i < n; i++) {
		unsigned left = narrow(keep, i, words[i]), only = 0;
		if (left == 0)
			return nothing(words, i, err);
		for (unsigned k = 0; k < COMMANDS; k++)
			if (keep[k])
				only = k;
		if (left == 1 && words_count(ctl_commands[only].words) == i + 1) {
			*out = &ctl_commands[only];
			*used_out = i + 1;
			return 0;
		}
		/* several that end here, or one of one word and others of two: not clear */
		unsigned ends = 0;
		for (unsigned k = 0; k < COMMANDS; k++)
			ends += keep[k] && words_count(ctl_commands[k].words) == i + 1;
		if (ends > 0 && left > 1)
			return several(keep, "not clear which is meant", err);
	}
	return several(keep, n == 0 ? "there are" : "a word is missing, one of", err);
}

/* Replace a relative file name behind @skip bytes of *word; "" and "-" stay. */
static int
absolute(char **word, size_t skip)
{
	const char *path = *word + skip;
	if (path[0] == '/' || path[0] == '\0' || strcmp(path, "-") == 0)
		return 0;
	char *cwd = getcwd(NULL, 0), *made = NULL;
	if (cwd == NULL ||
	    asprintf(&made, "%.*s%s/%s", (int)skip, *word, strcmp(cwd, "/") == 0 ? "" : cwd,
		strncmp(path, "./", 2) == 0 ? path + 2 : path) < 0)
		made = NULL;
	free(cwd);
	if (made == NULL)
		return -E_NOMEM;
	free(*word);
	*word = made;
	return 0;
}

/* Does option @name of @type (NULL: of any) name a file? */
static bool
is_path(const char *type, struct strv name)
{
	for (unsigned i = 0; i < ctl_option_count; i++)
		if (ctl_options[i].is_path && strv_eq(strv_of(ctl_options[i].name), name) &&
		    (type == NULL || strcmp(ctl_options[i].owner, type) == 0))
			return true;
	return false;
}

int
words_absolute(const struct ctl_command *cmd, char **args, unsigned n)
{
	static const char *const files[] = {CTL_FILE_TYPES};
	bool is_attach = strcmp(cmd->id, "attach") == 0;
	int r = 0;
	if (!is_attach && strcmp(cmd->id, "set") != 0)
		return 0;
	for (size_t t = 0; is_attach && n >= 2 && t < sizeof(files) / sizeof(files[0]); t++)
		if (r == 0 && strcmp(args[0], files[t]) == 0)
			r = absolute(&args[1], 0);
	for (unsigned i = is_attach ? 2 : 1; r == 0 && i < n; i++) {
		size_t key = strcspn(args[i], "=");
		if (args[i][key] == '=' &&
		    is_path(is_attach ? args[0] : NULL, (struct strv){args[i], key}))
			r = absolute(&args[i], key + 1);
	}
	return r;
}
