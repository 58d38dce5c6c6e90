/* SPDX-License-Identifier: Apache-2.0
 * ctl/main.c - flowctl: words to a request, rows to a table or to JSON, the final line to an exit
 * status (0 ok, 1 refused, 2 usage, 3 daemon not running, 4 no such object, 5 timed out, 6 partly).
 */
#include <ctype.h>
#include <stdlib.h>
#include <unistd.h>

#include "flowctl.h"

enum { ANSWER_TIMEOUT_MS = 30000 };

static void
usage(FILE *out)
{
	fputs("usage: flowctl [--json] [--socket PATH] [--timeout SECONDS] COMMAND ...\n\n", out);
	for (unsigned i = 0; i < ctl_command_count; i++)
		fprintf(out, "  %-18s %-32s %s\n", ctl_commands[i].words,
		    strlen(ctl_commands[i].arguments) > 32 ? "..." : ctl_commands[i].arguments,
		    ctl_commands[i].summary);
	fputs("\nWords may be shortened while unambiguous. `flowctl help COMMAND` tells more.\n",
	    out);
}

static int
fail(int status, const char *text)
{
	struct buf b = buf_init(1 << 16);
	format_safe(&b, strv_of(text), true);
	fprintf(stderr, "flowctl: %s\n", buf_cstr(&b));
	buf_fini(&b);
	return status;
}

/* "2", "0.5", "500ms", "2s" to milliseconds; 0: for ever. */
static bool
parse_timeout(const char *s, int *out)
{
	char *end;
	double v = strtod(s, &end);
	if (end == s || !(v >= 0) || v > 86400 || isspace((unsigned char)s[0]))
		return false;
	if (strcmp(end, "ms") == 0)
		*out = (int)v;
	else if (end[0] == '\0' || strcmp(end, "s") == 0)
		*out = (int)(v * 1000 + 0.5);
	else
		return false;
	return true;
}

/* Value of --NAME VALUE or --NAME=VALUE at argv[*i]; NULL when it is another word. */
static const char *
value_of(char **argv, int argc, int *i, const char *name, const char *letter)
{
	size_t n = strlen(name);
	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): *i < argc */
	if (strncmp(argv[*i], name, n) == 0 && argv[*i][n] == '=')
		return argv[*i] + n + 1;
	if (strcmp(argv[*i], name) == 0 || strcmp(argv[*i], letter) == 0)
		return *i + 1 < argc ? argv[++*i] : "";
	return NULL;
}

/* Our own options may stand anywhere before `--`; everything else belongs to the command. -1: go
 * on. */
static int
parse_args(int argc, char **argv, struct ask *a)
{
	bool rest = false;
	for (int i = 1; i < argc; i++) {
		const char *v;
		/* what is completed is not ours to read: `complete` takes everything behind it */
		rest = rest || (a->n_words > 0 && strcmp(a->words[0], "complete") == 0);
		if (rest) {
			a->words[a->n_words++] = argv[i];
		} else if (strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "-j") == 0) {
			a->json = true;
		} else if ((v = value_of(argv, argc, &i, "--socket", "-s")) != NULL) {
			if (v[0] == '\0')
				return fail(EXIT_USAGE, "--socket needs a path");
			a->socket = v;
		} else if ((v = value_of(argv, argc, &i, "--timeout", "-t")) != NULL) {
			if (!parse_timeout(v, &a->timeout_ms))
				return fail(
				    EXIT_USAGE, "--timeout needs seconds, like 2, 0.5 or 500ms");
			/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): i < argc */
		} else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			usage(stdout);
			return EXIT_OK;
		} else if (strcmp(argv[i], "--version") == 0 || strcmp(argv[i], "-V") == 0) {
			printf("flowctl %s\n", FLOWBUS_VERSION);
			return EXIT_OK;
		} else {
			rest = strcmp(argv[i], "--") == 0;
			a->words[a->n_words++] = argv[i];
		}
	}
	return -1;
}

static void
tell_lost(void *arg, uint64_t n)
{
	(void)arg;
	fprintf(stderr, "flowctl: %llu rows lost, reading was too slow\n", (unsigned long long)n);
}

/* The sink's argument is a renderer; lost rows need none. */
static int
run(const struct ask *a, const struct ctl_command *cmd, char **args, unsigned n)
{
	struct err err = {0};
	json_t *final = NULL;
	int timeout = a->timeout_ms >= 0	   ? a->timeout_ms
		      : cmd->shape == SHAPE_STREAM ? 0
						   : ANSWER_TIMEOUT_MS;
	struct render *text = a->json ? NULL : render_text_new(cmd, a->color, stdout);
	struct render_json *json = a->json ? render_json_new(cmd, stdout) : NULL;
	const struct client_sink sink = {a->json ? render_json_row : render_text_row, tell_lost,
	    a->json ? (void *)json : (void *)text};
	int status = client_run(a->socket, cmd, args, n, timeout, &sink, &final, &err);
	if (final == NULL)
		final = json_pack("{s:i, s:s}", "code", err_control(err.code), "text", err.text);
	const char *said = json_string_value(json_object_get(final, "text"));
	if (a->json)
		render_json_end(&json, final);
	else
		render_text_end(&text, status != EXIT_OK);
	bool quiet = cmd->shape != SHAPE_OBJECT || a->json || strcmp(said, "done") == 0;
	if (status != EXIT_OK)
		fail(status, said != NULL ? said : "no reason given");
	else if (!quiet)
		printf("%s\n", said);
	json_decref(final);
	if (fflush(stdout) != 0 && status == EXIT_OK)
		status = EXIT_REFUSED;
	return status;
}

/* Help on a command the daemon does not know, since it runs here. */
static bool
help_local(char *const *words, unsigned n)
{
	const struct ctl_command *cmd;
	unsigned used;
	if (n == 0 || words_command(words, n, &cmd, &used, NULL) != 0 || key_help(cmd) == NULL)
		return false;
	printf("flowctl %s %s\n\n%s.\n%s", cmd->words, cmd->arguments, cmd->summary, key_help(cmd));
	return true;
}

static int
dispatch(const struct ask *a)
{
	struct err err = {0};
	const struct ctl_command *cmd;
	unsigned used;
	if (strcmp(a->words[0], "complete") == 0)
		return complete_command(a);
	if (words_command(a->words, a->n_words, &cmd, &used, &err) != 0)
		return fail(EXIT_USAGE, err.text);
	if (key_help(cmd) != NULL)
		return key_command(a, cmd, a->words + used, a->n_words - used);
	if (strcmp(cmd->id, "help") == 0 && a->n_words == used && !a->json &&
	    access(a->socket, F_OK) != 0) {
		usage(stdout); /* the list is known without a daemon */
		return EXIT_OK;
	}
	if (strcmp(cmd->id, "help") == 0 && help_local(a->words + used, a->n_words - used))
		return EXIT_OK;
	unsigned n = a->n_words - used;
	char **args = calloc(n + 1, sizeof(*args));
	bool ok = args != NULL;
	for (unsigned i = 0; ok && i < n; i++)
		ok = (args[i] = strdup(a->words[used + i])) != NULL;
	ok = ok && words_absolute(cmd, args, n) == 0;
	int status = ok ? run(a, cmd, args, n) : fail(EXIT_REFUSED, "out of memory");
	for (unsigned i = 0; args != NULL && i < n; i++)
		free(args[i]);
	free(args);
	return status;
}

int
main(int argc, char **argv)
{
	const char *env = getenv(CTL_SOCKET_ENV), *no_color = getenv("NO_COLOR");
	struct ask a = {
	    .socket = env != NULL && env[0] != '\0' ? env : CTL_SOCKET, .timeout_ms = -1};
	a.color = isatty(STDOUT_FILENO) && (no_color == NULL || no_color[0] == '\0');
	a.words = calloc((size_t)argc + 1, sizeof(*a.words));
	if (a.words == NULL)
		return fail(EXIT_REFUSED, "out of memory");
	int status = parse_args(argc, argv, &a);
	if (status < 0 && a.n_words == 0) {
		usage(stderr);
		status = EXIT_USAGE;
	}
	if (status < 0)
		status = dispatch(&a);
	free(a.words);
	return status;
}
