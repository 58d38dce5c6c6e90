/* SPDX-License-Identifier: Apache-2.0
 * conf/words.c - one string to words, by the shell's rules for quotes and backslash.
 *
 * Used for `--attach 'json - filter="app http"'`: quotes group, inside "..." a backslash escapes
 * only " and \, inside '...' nothing is special; no expansion of any kind. */
#include <stdlib.h>

#include "conf/conf.h"

enum { WORDS_MAX = 256, WORD_BYTES_MAX = 65536 };

struct splitter {
	const char *p;
	struct buf word;
	char **words;
	unsigned n;
	bool in_word;
};

static int
end_word(struct splitter *s, struct err *err)
{
	if (!s->in_word)
		return 0;
	if (s->n == WORDS_MAX)
		return err_set(err, E_LIMIT, "more than %d words", WORDS_MAX);
	if (s->word.err != 0)
		return err_set(err, -s->word.err, "a word of more than %d bytes", WORD_BYTES_MAX);
	char *copy =
	    strv_dup((struct strv){s->word.n > 0 ? (const char *)s->word.p : "", s->word.n});
	if (copy == NULL)
		return err_set(err, E_NOMEM, "out of memory");
	s->words[s->n++] = copy;
	s->words[s->n] = NULL;
	buf_reset(&s->word);
	s->in_word = false;
	return 0;
}

/* s->p is behind the opening quote; leaves it behind the closing one. */
static int
quoted(struct splitter *s, char quote, struct err *err)
{
	for (; *s->p != quote; s->p++) {
		if (quote == '"' && s->p[0] == '\\' && (s->p[1] == '"' || s->p[1] == '\\'))
			s->p++;
		if (*s->p == '\0')
			return err_set(err, E_SYNTAX, "a %c is never closed", quote);
		buf_u8(&s->word, (uint8_t)*s->p);
	}
	s->p++;
	return 0;
}

static int
split(struct splitter *s, struct err *err)
{
	int r = 0;
	while (r == 0 && *s->p != '\0') {
		char c = *s->p++;
		if (c == ' ' || c == '\t' || c == '\n') {
			r = end_word(s, err);
			continue;
		}
		s->in_word = true;
		if (c == '"' || c == '\'') {
			r = quoted(s, c, err);
		} else if (c == '\\') {
			if (*s->p == '\0')
				return err_set(err, E_SYNTAX, "a backslash at the end");
			buf_u8(&s->word, (uint8_t)*s->p++);
		} else {
			buf_u8(&s->word, (uint8_t)c);
		}
	}
	return r != 0 ? r : end_word(s, err);
}

int
conf_split(const char *text, char ***words_out, unsigned *n_out, struct err *err)
{
	struct splitter s = {.p = text, .word = buf_init(WORD_BYTES_MAX)};
	*words_out = NULL;
	*n_out = 0;
	s.words = calloc(WORDS_MAX + 1, sizeof(*s.words));
	if (s.words == NULL)
		return err_set(err, E_NOMEM, "out of memory");
	int r = split(&s, err);
	buf_fini(&s.word);
	if (r != 0) {
		conf_words_free(&s.words, s.n);
		return r;
	}
	*words_out = s.words;
	*n_out = s.n;
	return 0;
}

void
conf_words_free(char ***words, unsigned n)
{
	for (unsigned i = 0; *words != NULL && i < n; i++)
		free((*words)[i]);
	free(*words);
	*words = NULL;
}
