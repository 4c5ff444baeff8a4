/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pretokenize.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "bpe_core.h" /* bpe_word */
#include "utf8.h"

/* ---- the table */

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LAST_SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define PATTERN_GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define PATTERN_LLAMA3 CONTRACTIONS "|" LEAD "\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" LAST_SPACES
#define PATTERN_QWEN2 CONTRACTIONS "|" LEAD "\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" LAST_SPACES
#define PATTERN_GPT4O                                                                                             \
    LEAD UPPER "*" LOWER "+" CONTRACTIONS "?|" LEAD UPPER "+" LOWER "*" CONTRACTIONS "?|\\p{N}{1,3}|"             \
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" LAST_SPACES
#define PATTERN_TEKKEN \
    LEAD UPPER "*" LOWER "+|" LEAD UPPER "+" LOWER "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" LAST_SPACES
#define PATTERN_BAILING \
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"
#define PATTERN_DEEPSEEK3                                                                                         \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"          \
    " ?[\\p{P}\\p{S}]+[\\r\\n]*|" LAST_SPACES

static const struct pretokenize_row rows[] = {
#define PRETOKENIZER(name_, rules_, ...) {.name = name_, .rules = rules_, .stage = {__VA_ARGS__}},
#include "pretokenizers.def"
#undef PRETOKENIZER
};

const struct pretokenize_row *pretokenize_rows(size_t *n)
{
    *n = sizeof rows / sizeof rows[0];
    return rows;
}

const struct pretokenize_row *pretokenize_find(const char *name)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (!strcmp(rows[i].name, name))
            return &rows[i];
    return NULL;
}

static bool same_stages(const struct pretokenize_row *r, const char *const *stage, size_t stages)
{
    for (size_t i = 0; i < stages; i++)
        if (!r->stage[i] || strcmp(r->stage[i], stage[i]))
            return false;
    return !r->stage[stages];
}

const struct pretokenize_row *pretokenize_match(const char *const *stage, size_t stages, unsigned rules)
{
    const unsigned words = PRETOKENIZE_WHOLE | PRETOKENIZE_OWN; /* BOS is said apart */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (stages <= PRETOKENIZE_STAGES && ((rows[i].rules ^ rules) & words) == 0 && same_stages(&rows[i], stage, stages))
            return &rows[i];
    return NULL;
}

/* ---- patterns */

struct pretokenizer {
    unsigned rules;
    size_t stages;
    const char *pattern[PRETOKENIZE_STAGES]; /* owned, as given */
    pcre2_code *code[PRETOKENIZE_STAGES];
    pcre2_match_data *match[PRETOKENIZE_STAGES]; /* of its own each: a word is cut while its stage's match is still walked */
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

enum { JIT_STACK_BYTES = 1 << 20 };

/* Letters that mean the same after a backslash in every dialect. \s does not: see translate. */
static const char plain_escapes[] = "pPrntdDA";

/*
 * The dialects differ in little: PCRE2's \s takes U+180E, which is no White_Space since Unicode 6.3; a bracket or && inside a class
 * is a set operation in Oniguruma; ^ and $ are the ends of a line there. The first is put right, the others are refused.
 */
static enum status translate(char *out, const char *in, struct err *e)
{
    bool class = false;
    for (const char *s = in; *s; s++) {
        if (*s == '\\' && (s[1] == 's' || s[1] == 'S')) {
            out = stpcpy(out, s[1] == 's' ? "\\p{wspace}" : "\\P{wspace}");
            s++;
            continue;
        }
        bool letter = *s == '\\' && isalnum((unsigned char)s[1]);
        bool ends = !class && (*s == '^' || *s == '$'), set = class && (*s == '[' || (s[0] == '&' && s[1] == '&'));
        if (letter ? !strchr(plain_escapes, s[1]) : ends || set)
            return fail(e, ST_EUNSUPPORTED, "pre-tokenizer pattern \"%s\": '%.2s' at character %td differs between dialects and is not supported",
                        in, s, s - in + 1);
        *out++ = *s;
        if (*s == '\\' && s[1])
            *out++ = *++s;
        else if (*s == '[' && (s[1] == '^' || s[1] == ']')) {
            *out++ = *++s;
            class = true;
        } else if (*s == '[' || *s == ']')
            class = *s == '[';
    }
    *out = '\0';
    return ST_OK;
}

static enum status compile(struct pretokenizer *p, size_t i, const char *pattern, struct err *e)
{
    const size_t longest = strlen("\\p{wspace}");
    char *text = malloc(strlen(pattern) * longest + 1);
    p->pattern[i] = strdup(pattern);
    if (!text || !p->pattern[i]) {
        free(text);
        return fail(e, ST_ENOMEM, "no memory for the pre-tokenizer pattern \"%s\"", pattern);
    }
    int code = 0;
    PCRE2_SIZE at = 0;
    enum status s = translate(text, pattern, e);
    if (!s) {
        p->code[i] = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
        p->match[i] = p->code[i] ? pcre2_match_data_create(1, NULL) : NULL;
        PCRE2_UCHAR why[160] = "no memory";
        if (!p->code[i])
            pcre2_get_error_message(code, why, sizeof why);
        if (!p->match[i])
            s = fail(e, ST_EFORMAT, "pre-tokenizer pattern \"%s\": %s", pattern, (const char *)why);
    }
    if (!s)
        pcre2_jit_compile(p->code[i], PCRE2_JIT_COMPLETE); /* where it cannot, matching is interpreted: slower, the same */
    free(text);
    return s;
}

enum status pretokenizer_new(struct pretokenizer **out, const char *const *stage, size_t stages, unsigned rules, struct err *e)
{
    *out = NULL;
    if (stages > PRETOKENIZE_STAGES)
        return fail(e, ST_EUNSUPPORTED, "%zu pre-tokenizer patterns one after another; at most %d are supported", stages, PRETOKENIZE_STAGES);
    struct pretokenizer *p = calloc(1, sizeof *p);
    enum status s = p ? ST_OK : fail(e, ST_ENOMEM, "no memory for a pre-tokenizer");
    if (!s) {
        p->rules = rules;
        p->stages = stages;
        p->context = pcre2_match_context_create(NULL);
        p->stack = pcre2_jit_stack_create(32 << 10, JIT_STACK_BYTES, NULL);
        if (!p->context || !p->stack)
            s = fail(e, ST_ENOMEM, "no memory for a pre-tokenizer");
        else
            pcre2_jit_stack_assign(p->context, NULL, p->stack);
    }
    for (size_t i = 0; i < stages && !s; i++)
        s = compile(p, i, stage[i], e);
    if (s)
        pretokenizer_free(p);
    else
        *out = p;
    return s;
}

void pretokenizer_free(struct pretokenizer *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->stages; i++) {
        free((char *)p->pattern[i]);
        pcre2_code_free(p->code[i]);
        pcre2_match_data_free(p->match[i]);
    }
    pcre2_match_context_free(p->context);
    pcre2_jit_stack_free(p->stack);
    free(p);
}

/* ---- cutting */

struct sink {
    enum status (*word)(void *ctx, const uint8_t *s, size_t n, struct err *e);
    void *ctx;
};

/* The next match of a stage at or after `from`, or the end of s twice. A match may be empty. */
static enum status next_match(struct pretokenizer *p, size_t stage, const uint8_t *s, size_t n, size_t from, size_t *begin, size_t *end,
                              struct err *e)
{
    int got = from > n ? PCRE2_ERROR_NOMATCH
                       : pcre2_match(p->code[stage], s, n, from, PCRE2_NO_UTF_CHECK, p->match[stage], p->context);
    *begin = *end = n;
    if (got == PCRE2_ERROR_NOMATCH)
        return ST_OK;
    if (got < 0) {
        PCRE2_UCHAR why[160];
        pcre2_get_error_message(got, why, sizeof why);
        return fail(e, ST_EUNSUPPORTED, "pre-tokenizer pattern \"%s\" gave up on a text of %zu bytes: %s", p->pattern[stage], n, (const char *)why);
    }
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(p->match[stage]);
    *begin = span[0];
    *end = span[1];
    return ST_OK;
}

/* s is well-formed; stages from `stage` on are to be applied. */
static enum status cut(struct pretokenizer *p, size_t stage, const uint8_t *s, size_t n, const struct sink *to, struct err *e)
{
    if (stage == p->stages)
        return n ? to->word(to->ctx, s, n, e) : ST_OK;
    enum status st = ST_OK;
    for (size_t at = 0, from = 0, begin, end; at < n && !st; at = end) {
        st = next_match(p, stage, s, n, from, &begin, &end, e);
        if (!st && begin > at)
            st = cut(p, stage + 1, s + at, begin - at, to, e);
        if (!st && end > begin)
            st = cut(p, stage + 1, s + begin, end - begin, to, e);
        uint32_t code;
        from = end > begin || end == n ? end : end + utf8_decode(s + end, n - end, &code);
    }
    return st;
}

static enum status own_words(const uint8_t *s, size_t n, const struct sink *to, struct err *e)
{
    enum status st = ST_OK;
    for (size_t at = 0, length; at < n && !st; at += length) {
        length = bpe_word(s + at, n - at);
        st = to->word(to->ctx, s + at, length, e);
    }
    return st;
}

enum status pretokenize(struct pretokenizer *p, const uint8_t *text, size_t bytes,
                        enum status (*word)(void *ctx, const uint8_t *s, size_t n, struct err *e), void *ctx, struct err *e)
{
    const struct sink to = {word, ctx};
    if (p->rules & PRETOKENIZE_OWN)
        return own_words(text, bytes, &to, e);
    enum status s = ST_OK;
    for (size_t at = 0; at < bytes && !s;) {
        size_t run = utf8_run(text + at, bytes - at);
        s = run ? cut(p, 0, text + at, run, &to, e) : word(ctx, text + at, run = 1, e);
        at += run;
    }
    return s;
}
