/* SPDX-License-Identifier: Apache-2.0
 * control/dispatch.c - one request line to one handler: the only place that checks role and arity.
 *
 * The table is commands.def; a row without its control_cmd_ID does not link. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "control/control_priv.h"

#define VIEW	ROLE_VIEW
#define OPERATE ROLE_OPERATE
#define ADMIN	ROLE_ADMIN
const struct command commands[] = {
#define COMMAND(id, words, arguments, role, shape, summary, manual) \
	{#id, words, arguments, summary, manual, role, SHAPE_##shape, control_cmd_##id},
#include "flowbus/commands.def"
};
const unsigned command_count = sizeof(commands) / sizeof(commands[0]);
enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

const struct command *
command_find(struct strv words)
{
	for (unsigned i = 0; i < command_count; i++)
		if (strv_eq(strv_of(commands[i].words), words))
			return &commands[i];
	return NULL;
}

const struct command *
command_of_words(char *const *words, unsigned n, unsigned *used_out)
{
	char text[128] = "";
	size_t len = 0;
	const struct command *best = NULL;
	for (unsigned i = 0; i < n && i < 3; i++) {
		size_t w = strlen(words[i]);
		if (len + 1 + w >= sizeof(text))
			break;
		if (i > 0)
			text[len++] = ' ';
		memcpy(text + len, words[i], w + 1);
		len += w;
		const struct command *found = command_find((struct strv){text, len});
		if (found != NULL) {
			best = found;
			*used_out = i + 1;
		}
	}
	return best;
}

void
command_arity(const char *p, unsigned *min_out, unsigned *max_out)
{
	unsigned min = 0, max = 0;
	while (*p != '\0') {
		bool optional = *p == '[';
		size_t n = optional ? strcspn(p, "]") + 1 : strcspn(p, " ");
		bool is_flag = optional && strncmp(p, "[--", 3) == 0;
		bool any = memmem(p, n, "...", 3) != NULL;
		if (any)
			max = UINT_MAX;
		else if (!is_flag && max != UINT_MAX)
			max++;
		if (!optional && !any)
			min++;
		p += n;
		p += strspn(p, " ");
	}
	*min_out = min;
	*max_out = max;
}

/* "... EXPR" or "[EXPR] ...": what is left over is one expression, however many words it came in.
 */
static bool
takes_expr(const struct command *cmd)
{
	return strstr(cmd->arguments, "EXPR") != NULL;
}

static int
take_flag(struct call *c, unsigned *i, struct err *err)
{
	char flag[32], q[64];
	const char *word = c->words[*i];
	size_t n = strcspn(word, "=");
	if (n + 3 < sizeof(flag)) {
		snprintf(flag, sizeof(flag), "[%.*s", (int)n, word);
		/* --confirm is also how --confirmed begins */
		const char *at = strstr(c->cmd->arguments, flag);
		while (at != NULL && at[strlen(flag)] != ']' && at[strlen(flag)] != ' ')
			at = strstr(at + 1, flag);
		char end = at != NULL ? at[strlen(flag)] : '\0';
		if (end == ']' && word[n] == '\0') {
			c->drain = c->drain || strcmp(word, "--drain") == 0;
			c->all = c->all || strcmp(word, "--all") == 0;
			c->confirmed = c->confirmed || strcmp(word, "--confirmed") == 0;
			c->undo = c->undo || strcmp(word, "--undo") == 0;
			return 0;
		}
		const char **value = strcmp(flag, "[--count") == 0 ? &c->count :
		    strcmp(flag, "[--for") == 0 ? &c->span :
		    strcmp(flag, "[--last") == 0 ? &c->last :
		    strcmp(flag, "[--confirm") == 0 ? &c->confirm : NULL;
		if (end == ' ' && value != NULL) {
			if (word[n] == '=')
				*value = word + n + 1;
			else if (*i + 1 < c->n_words)
				*value = c->words[++*i];
			else
				return err_set(err, E_INVAL, "%.*s needs a %s", (int)n, word,
				    value == &c->count ? "number" : "duration");
			return 0;
		}
	}
	return err_set(err, E_INVAL, "%s does not know %s; usage: %s %s", c->cmd->words,
	    strv_quote(strv_of(word), q, sizeof(q)), c->cmd->words, c->cmd->arguments);
}

static int
join_expr(struct call *c)
{
	struct buf b = buf_init(CTL_LINE_MAX);
	for (unsigned i = 0; i < c->n_args; i++) {
		if (i > 0)
			buf_u8(&b, ' ');
		buf_str(&b, c->args[i]);
	}
	char *joined = b.err == 0 ? strv_dup(strv_of(buf_cstr(&b))) : NULL;
	buf_fini(&b);
	if (joined == NULL)
		return err_set(&c->err, E_NOMEM, "out of memory");
	for (unsigned i = 0; i < c->n_args; i++)
		free(c->args[i]);
	c->args[0] = joined;
	c->n_args = 1;
	return 0;
}

/* Sort the words into flags and positionals and count them against the table. */
static int
take_args(struct call *c)
{
	unsigned min, max;
	bool only_positionals = false;
	c->args = calloc(c->n_words + 1, sizeof(*c->args));
	if (c->args == NULL)
		return err_set(&c->err, E_NOMEM, "out of memory");
	for (unsigned i = 0; i < c->n_words; i++) {
		const char *w = c->words[i];
		if (!only_positionals && strcmp(w, "--") == 0) {
			only_positionals = true;
		} else if (!only_positionals && strncmp(w, "--", 2) == 0) {
			int r = take_flag(c, &i, &c->err);
			if (r != 0)
				return r;
		} else if ((c->args[c->n_args] = strv_dup(strv_of(w))) != NULL) {
			c->n_args++;
		} else {
			return err_set(&c->err, E_NOMEM, "out of memory");
		}
	}
	if (takes_expr(c->cmd) && c->n_args > 1) {
		int r = join_expr(c);
		if (r != 0)
			return r;
	}
	command_arity(c->cmd->arguments, &min, &max);
	if (c->n_args >= min && c->n_args <= max)
		return 0;
	return err_set(&c->err, E_INVAL, "%s; usage: %s%s%s",
	    c->n_args < min ? "an argument is missing" : "too many arguments", c->cmd->words,
	    c->cmd->arguments[0] != '\0' ? " " : "", c->cmd->arguments);
}

/* Changes are logged with who made them, each one. */
static void
log_change(const struct call *c, int r)
{
	char line[400], q[128];
	size_t n = 0;
	struct log_site site = {0};
	if (c->cmd->role == ROLE_VIEW || (c->cmd->fn == control_cmd_log && c->n_args == 0))
		return;
	line[0] = '\0';
	for (unsigned i = 0; i < c->n_words && n < sizeof(line); i++)
		n += (size_t)snprintf(line + n, sizeof(line) - n, " %s",
		    strv_quote(strv_of(c->words[i]), q, sizeof(q)));
	if (log_wants(LOG_NOTICE))
		log_line(&site, LOG_NOTICE, "control: uid %u pid %d: %s%s: %s",
		    (unsigned)c->client->peer.uid, (int)c->client->peer.pid, c->cmd->words, line,
		    r == 0	       ? "done"
		    : c->err.code != 0 ? c->err.text
				       : err_text(r));
}

static void
call_free(struct call **cp)
{
	struct call *c = *cp;
	if (c == NULL)
		return;
	for (unsigned i = 0; i < c->n_args; i++)
		free(c->args[i]);
	free(c->args);
	for (unsigned i = 0; i < c->n_words; i++)
		free(c->words[i]);
	free(c->words);
	json_decref(c->id);
	free(c);
	*cp = NULL;
}

void
call_end(struct client *cl, int r)
{
	struct call *c = cl->call;
	stream_free(&cl->stream);
	if (cl->out.err == -E_LIMIT) {
		cl->out.n =
		    c->out_start; /* none of the answer, so that what is there are whole lines */
		cl->out.err = 0;
		r = err_set(&c->err, E_LIMIT, "the answer is too large; ask for one endpoint");
	}
	reply_final(cl, c, r);
	call_free(&cl->call);
}

static int
take_words(struct call *c, const json_t *args)
{
	size_t i;
	json_t *v;
	if (args != NULL && !json_is_array(args))
		return err_set(&c->err, E_TYPE, "args is not an array");
	if (json_array_size(args) > CTL_ARGS_MAX)
		return err_set(&c->err, E_LIMIT, "more than %d arguments", CTL_ARGS_MAX);
	c->words = calloc(json_array_size(args) + 1, sizeof(*c->words));
	if (c->words == NULL)
		return err_set(&c->err, E_NOMEM, "out of memory");
	json_array_foreach(args, i, v)
	{
		if (!json_is_string(v))
			return err_set(&c->err, E_TYPE, "argument %zu is not text", i + 1);
		c->words[c->n_words] = strv_dup(strv_of(json_string_value(v)));
		if (c->words[c->n_words] == NULL)
			return err_set(&c->err, E_NOMEM, "out of memory");
		c->n_words++;
	}
	return 0;
}

static int
unknown_command(struct call *c, const char *words)
{
	const char *names[COMMANDS + 1];
	char q[80];
	for (unsigned i = 0; i < command_count; i++)
		names[i] = commands[i].words;
	names[COMMANDS] = NULL;
	const char *near = strv_nearest(strv_of(words), names);
	strv_quote(strv_of(words), q, sizeof(q));
	if (near != NULL)
		return err_set(&c->err, E_UNKNOWN, "no command %s, did you mean \"%s\"?", q, near);
	return err_set(&c->err, E_UNKNOWN, "no command %s; `flowctl help` lists them", q);
}

static int
prepare(struct call *c, const json_t *request)
{
	const json_t *id = json_object_get(request, "id"), *cmd = json_object_get(request, "cmd");
	if (!json_is_object(request))
		return err_set(&c->err, E_SYNTAX, "a request is one JSON object");
	if (id != NULL && !json_is_integer(id) &&
	    !(json_is_string(id) && json_string_length(id) <= 64))
		return err_set(&c->err, E_TYPE, "id is neither an integer nor a short text");
	c->id = json_copy((json_t *)(uintptr_t)id);
	if (!json_is_string(cmd))
		return err_set(&c->err, E_TYPE, "cmd is missing or not text");
	c->cmd = command_find(strv_of(json_string_value(cmd)));
	if (c->cmd == NULL)
		return unknown_command(c, json_string_value(cmd));
	if (c->client->peer.role < c->cmd->role)
		return err_set(&c->err, E_PERM, "%s needs the role %s, you have %s%s",
		    c->cmd->words, role_name(c->cmd->role), role_name(c->client->peer.role),
		    c->cmd->role == ROLE_OPERATE ? "; members of the control group operate"
						 : "; run it as root or as the daemon's user");
	int r = take_words(c, json_object_get(request, "args"));
	return r != 0 ? r : take_args(c);
}

void
dispatch_line(struct client *cl, struct strv line)
{
	json_error_t je;
	struct call *c = calloc(1, sizeof(*c));
	if (c == NULL) {
		client_doom(cl);
		return;
	}
	c->client = cl;
	c->engine = control_engine(cl->server);
	c->out_start = cl->out.n;
	cl->call = c;
	json_t *request = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &je);
	int r = request == NULL
		    ? err_set(&c->err, E_SYNTAX, "the request is not JSON: %s (position %d)",
			  je.text, je.position)
		    : prepare(c, request);
	json_decref(request);
	bool ran = r == 0;
	if (ran)
		r = c->cmd->fn(c);
	if (r == CALL_STREAM)
		return;
	if (c->cmd != NULL && (ran || r == -E_PERM))
		log_change(c, r);
	call_end(cl, r);
}
