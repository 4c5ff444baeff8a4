/* pretokenize.h — cutting text into the words that byte-pair merges never cross, by the patterns of published tokenizers. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PRETOKENIZE_H
#define QBENCH_PRETOKENIZE_H

#include "base.h"

/*
 * A pre-tokenizer is a list of regular expressions. The first cuts the text into its matches and what lies between them; each
 * further one cuts those pieces again. Patterns are PCRE2's with Unicode properties, which are a superset of what published tokenizers
 * write in Oniguruma's or Rust's dialect; the few constructs that mean something else there are refused, never guessed.
 * A byte that belongs to no well-formed UTF-8 character is a word by itself.
 */
enum { PRETOKENIZE_STAGES = 6 };

enum pretokenize_rule {
    PRETOKENIZE_WHOLE = 1, /* a word that is a piece is that piece, whatever the merges make of it */
    PRETOKENIZE_BOS = 2,   /* such tokenizers put the beginning-of-sequence id first unless they say otherwise */
    PRETOKENIZE_OWN = 4,   /* qbench's own words (bpe.h): no pattern, bytes instead of characters */
};

/* pretokenizers.def, one a line: by the names that GGUF files give them. */
struct pretokenize_row {
    const char *name;
    unsigned rules;
    const char *stage[PRETOKENIZE_STAGES + 1]; /* ends with NULL */
};
const struct pretokenize_row *pretokenize_rows(size_t *n);
const struct pretokenize_row *pretokenize_find(const char *name); /* NULL: unknown */
/* The first row of these very patterns and rules; NULL: none. */
const struct pretokenize_row *pretokenize_match(const char *const *stage, size_t stages, unsigned rules);

struct pretokenizer;

/* No stages: the whole text is one word. ST_EUNSUPPORTED or ST_EFORMAT names the pattern and what is wrong with it. */
enum status pretokenizer_new(struct pretokenizer **p, const char *const *stage, size_t stages, unsigned rules, struct err *e);
void pretokenizer_free(struct pretokenizer *p);

/* Calls word for every word of text in order, none empty; together they are the text. Stops at the first failure and returns it. */
enum status pretokenize(struct pretokenizer *p, const uint8_t *text, size_t bytes,
                        enum status (*word)(void *ctx, const uint8_t *s, size_t n, struct err *e), void *ctx, struct err *e);

#endif
