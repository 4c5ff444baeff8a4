/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tok_files.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "pretokenize.h"
#include "tok_core.h"
#include "utf8.h"

/*
 * Hugging Face's tokenizer.json describes a pipeline of named steps. Those of published language models are understood: byte-level BPE behind
 * any patterns, and SentencePiece-style BPE with byte fallback. Any other step is refused by name: a step ignored would be wrong ids.
 */
struct draft {
    const char *path;
    struct vocab v;
    struct piece *piece;      /* owned; text borrowed from the JSON; NULL: no piece of this id yet */
    struct merge_text *merge; /* owned */
    char *pattern[PRETOKENIZE_STAGES + 1]; /* owned */
    bool byte_level, spaces;  /* steps seen: ByteLevel; spaces are written as U+2581 */
    bool byte_fallback;       /* the model has byte pieces */
    bool removed;             /* a Split step drops what its pattern does not match */
};

static void draft_free(struct draft *d)
{
    free(d->piece);
    free(d->merge);
    for (size_t i = 0; i < d->v.patterns; i++)
        free(d->pattern[i]);
}

static enum status no_memory(const char *path, struct err *e) { return fail(e, ST_ENOMEM, "%s: no memory", path); }

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

/* A truth value that may be missing. */
static bool flag_of(const json_t *o, const char *key, bool missing)
{
    const json_t *x = json_object_get(o, key);
    return json_is_boolean(x) ? json_is_true(x) : missing;
}

static enum status load(json_t **root, const struct file_text *f, struct err *e)
{
    json_error_t why;
    *root = json_loadb(f->text, f->bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!*root)
        return fail(e, ST_EFORMAT, "%s:%d:%d: %s", f->path, why.line, why.column, why.text);
    if (json_is_object(*root))
        return ST_OK;
    json_decref(*root);
    *root = NULL;
    return fail(e, ST_EFORMAT, "%s: not a JSON object", f->path);
}

/* ---- pieces */

static bool is_byte(const char *s, size_t n) { return n == 6 && !memcmp(s, "<0x", 3) && s[5] == '>'; }

static enum status put_piece(struct draft *d, const char *text, size_t bytes, const json_t *id, enum piece_type type, struct err *e)
{
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= d->v.count)
        return fail(e, ST_EFORMAT, "%s: the id of piece '%.40s' is not one of 0 to %d, one for each piece", d->path, text, d->v.count - 1);
    struct piece *p = &d->piece[json_integer_value(id)];
    if (p->text && (p->bytes != bytes || memcmp(p->text, text, bytes)))
        return fail(e, ST_EFORMAT, "%s: id %lld is both '%.40s' and '%.40s'", d->path, (long long)json_integer_value(id), p->text, text);
    p->text = text;
    p->bytes = (uint32_t)bytes;
    p->type = type;
    return ST_OK;
}

static enum status put_vocab(struct draft *d, json_t *vocab, bool byte_pieces, struct err *e)
{
    const char *key;
    json_t *id;
    enum status s = ST_OK;
    json_object_foreach(vocab, key, id)
    {
        size_t n = strlen(key);
        s = put_piece(d, key, n, id, byte_pieces && is_byte(key, n) ? PIECE_BYTE : PIECE_NORMAL, e);
        if (s)
            break;
    }
    return s;
}

static enum status put_added(struct draft *d, const json_t *added, struct err *e)
{
    enum status s = ST_OK;
    for (size_t i = 0; i < json_array_size(added) && !s; i++) {
        const json_t *a = json_array_get(added, i), *content = json_object_get(a, "content");
        if (!json_is_string(content))
            return fail(e, ST_EFORMAT, "%s: added token %zu has no content", d->path, i);
        if (flag_of(a, "single_word", false))
            return fail(e, ST_EUNSUPPORTED, "%s: added token '%.40s' is a single_word, which is not supported", d->path, json_string_value(content));
        s = put_piece(d, json_string_value(content), json_string_length(content), json_object_get(a, "id"),
                      flag_of(a, "special", false) ? PIECE_CONTROL : PIECE_USER, e);
        if (s)
            break;
        struct piece *p = &d->piece[json_integer_value(json_object_get(a, "id"))];
        p->lstrip = flag_of(a, "lstrip", false);
        p->rstrip = flag_of(a, "rstrip", false);
    }
    return s;
}

/* How many ids vocabulary and added tokens have together: those added come behind it, or stand in it too. */
static enum status make_pieces(struct draft *d, const json_t *vocab, const json_t *added, struct err *e)
{
    size_t n = json_object_size(vocab);
    for (size_t i = 0; i < json_array_size(added); i++)
        n += !json_object_get(vocab, text_of(json_array_get(added, i), "content"));
    if (!json_is_object(vocab) || !n || n > INT32_MAX)
        return fail(e, ST_EFORMAT, "%s: no vocabulary of pieces and ids", d->path);
    d->v.count = (int)n;
    d->piece = calloc(n, sizeof *d->piece);
    d->v.piece = d->piece;
    return d->piece ? ST_OK : no_memory(d->path, e);
}

static int32_t find_piece(const struct draft *d, const char *text)
{
    for (int i = d->v.count; text && *text && i-- > 0;)
        if (d->piece[i].bytes == strlen(text) && !memcmp(d->piece[i].text, text, d->piece[i].bytes))
            return i;
    return -1;
}

/* ---- merges */

static bool merge_of(const json_t *m, struct merge_text *out)
{
    if (json_is_string(m))
        return merge_split(json_string_value(m), json_string_length(m), out);
    const json_t *left = json_array_get(m, 0), *right = json_array_get(m, 1);
    *out = (struct merge_text){json_string_value(left), json_string_value(right), (uint32_t)json_string_length(left), (uint32_t)json_string_length(right)};
    return json_array_size(m) == 2 && out->left && out->right;
}

static enum status put_merges(struct draft *d, const json_t *merges, struct err *e)
{
    d->v.merges = json_array_size(merges);
    d->merge = malloc((d->v.merges + 1) * sizeof *d->merge);
    if (!json_is_array(merges))
        return fail(e, ST_EFORMAT, "%s: no list of merges", d->path);
    if (!d->merge)
        return no_memory(d->path, e);
    for (size_t i = 0; i < d->v.merges; i++)
        if (!merge_of(json_array_get(merges, i), &d->merge[i]))
            return fail(e, ST_EFORMAT, "%s: merge %zu is not two pieces", d->path, i);
    d->v.merge_text = d->merge;
    return ST_OK;
}

static enum status put_model(struct draft *d, const json_t *root, struct err *e)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const json_t *model = json_object_get(root, "model"), *added = json_object_get(root, "added_tokens");
    json_t *vocab = json_object_get(model, "vocab");
    const char *type = text_of(model, "type");
    if (*type ? strcmp(type, "BPE") != 0 : !json_object_get(model, "merges"))
        return fail(e, ST_EUNSUPPORTED, "%s: a tokenizer of type '%s'; only byte-pair encodings (BPE) are supported", d->path, type);
    for (int i = 0; i < 2; i++)
        if (*text_of(model, affixes[i]))
            return fail(e, ST_EUNSUPPORTED, "%s: %s '%s' is not supported", d->path, affixes[i], text_of(model, affixes[i]));
    if (json_number_value(json_object_get(model, "dropout")) > 0)
        return fail(e, ST_EUNSUPPORTED, "%s: dropout makes random ids, which is not supported", d->path);
    d->v.whole_words = flag_of(model, "ignore_merges", false);
    d->byte_fallback = flag_of(model, "byte_fallback", false);
    enum status s = make_pieces(d, vocab, added, e);
    if (!s)
        s = put_vocab(d, vocab, d->byte_fallback, e);
    if (!s)
        s = put_added(d, added, e);
    for (int i = 0; i < d->v.count && !s; i++)
        if (!d->piece[i].text)
            s = fail(e, ST_EFORMAT, "%s: id %d of %d has no piece", d->path, i, d->v.count);
    if (!s)
        s = put_merges(d, json_object_get(model, "merges"), e);
    d->v.unk = s ? -1 : find_piece(d, text_of(model, "unk_token"));
    if (d->v.unk >= 0)
        d->piece[d->v.unk].type = PIECE_UNKNOWN;
    return s;
}

/* ---- steps before the model */

typedef enum status step(struct draft *d, const json_t *x, const char *type, struct err *e);

/* Calls take for x, or for the steps of the sequence that x is. No step at all is fine. */
static enum status each_step(struct draft *d, const json_t *x, const char *list, step *take, struct err *e)
{
    if (!json_is_object(x))
        return ST_OK;
    const char *type = text_of(x, "type");
    if (strcmp(type, "Sequence") != 0)
        return take(d, x, type, e);
    const json_t *steps = json_object_get(x, list);
    enum status s = ST_OK;
    for (size_t i = 0; i < json_array_size(steps) && !s; i++)
        s = each_step(d, json_array_get(steps, i), list, take, e);
    return s;
}

static const char metaspace[] = "\xe2\x96\x81"; /* U+2581 */

static enum status take_normalizer(struct draft *d, const json_t *x, const char *type, struct err *e)
{
    const char *from = text_of(json_object_get(x, "pattern"), "String");
    if (!strcmp(type, "NFC"))
        d->v.nfc = true;
    else if (!strcmp(type, "Prepend") && !strcmp(text_of(x, "prepend"), metaspace))
        d->v.space_prefix = true;
    else if (!strcmp(type, "Replace") && !strcmp(from, " ") && !strcmp(text_of(x, "content"), metaspace))
        d->spaces = true;
    else
        return fail(e, ST_EUNSUPPORTED, "%s: the normalizer %s is not supported", d->path, type);
    return ST_OK;
}

static enum status put_pattern(struct draft *d, const char *pattern, struct err *e)
{
    if (d->byte_level)
        return fail(e, ST_EUNSUPPORTED, "%s: a pre-tokenizer step behind ByteLevel is not supported", d->path);
    if (d->v.patterns == PRETOKENIZE_STAGES)
        return fail(e, ST_EUNSUPPORTED, "%s: more than %d pre-tokenizer steps", d->path, PRETOKENIZE_STAGES);
    d->pattern[d->v.patterns] = strdup(pattern);
    if (!d->pattern[d->v.patterns])
        return no_memory(d->path, e);
    d->v.patterns++;
    return ST_OK;
}

static enum status put_literal(struct draft *d, const char *text, struct err *e)
{
    char *quoted = malloc(2 * strlen(text) + 1), *to = quoted;
    if (!quoted)
        return no_memory(d->path, e);
    for (; *text; text++) {
        if (strchr("\\^$.[]|()?*+{}#-", *text))
            *to++ = '\\';
        *to++ = *text;
    }
    *to = '\0';
    enum status s = put_pattern(d, quoted, e);
    free(quoted);
    return s;
}

/* Cutting out the matches and what lies between them is one behaviour under two names, if nothing lies between. */
static enum status take_split(struct draft *d, const json_t *x, struct err *e)
{
    const json_t *pattern = json_object_get(x, "pattern");
    const char *behaviour = text_of(x, "behavior"), *regex = text_of(pattern, "Regex"), *literal = text_of(pattern, "String");
    bool invert = flag_of(x, "invert", false), isolated = !strcmp(behaviour, "Isolated"), removed = !strcmp(behaviour, "Removed") && invert;
    if (!strcmp(literal, " ") && d->spaces)
        return ST_OK; /* no space is left to split at */
    if (!isolated && !removed)
        return fail(e, ST_EUNSUPPORTED, "%s: the pre-tokenizer Split with behavior %s%s is not supported", d->path, behaviour, invert ? ", inverted," : "");
    if (!*regex && !*literal)
        return fail(e, ST_EFORMAT, "%s: the pre-tokenizer Split has no pattern", d->path);
    d->removed |= removed;
    return *regex ? put_pattern(d, regex, e) : put_literal(d, literal, e);
}

static enum status take_byte_level(struct draft *d, const json_t *x, struct err *e)
{
    bool prefix = flag_of(x, "add_prefix_space", true);
    if (prefix && d->v.patterns)
        return fail(e, ST_EUNSUPPORTED, "%s: ByteLevel with add_prefix_space behind other pre-tokenizer steps is not supported", d->path);
    enum status s = flag_of(x, "use_regex", true) ? put_pattern(d, pretokenize_find("gpt-2")->stage[0], e) : ST_OK;
    d->v.space_prefix = d->v.prefix_unless = prefix;
    d->byte_level = true;
    return s;
}

static enum status take_metaspace(struct draft *d, const json_t *x, struct err *e)
{
    const char *scheme = text_of(x, "prepend_scheme");
    if (strcmp(text_of(x, "replacement"), metaspace) != 0 || flag_of(x, "split", true))
        return fail(e, ST_EUNSUPPORTED, "%s: the pre-tokenizer Metaspace is supported with the replacement U+2581 and split false alone", d->path);
    d->spaces = true;
    d->v.space_prefix = d->v.prefix_unless = *scheme ? strcmp(scheme, "never") != 0 : flag_of(x, "add_prefix_space", true);
    d->v.prefix_once = !strcmp(scheme, "first");
    return ST_OK;
}

static enum status take_pretokenizer(struct draft *d, const json_t *x, const char *type, struct err *e)
{
    if (!strcmp(type, "Split"))
        return take_split(d, x, e);
    if (!strcmp(type, "ByteLevel"))
        return take_byte_level(d, x, e);
    if (!strcmp(type, "Metaspace"))
        return take_metaspace(d, x, e);
    if (!strcmp(type, "Digits"))
        return put_pattern(d, flag_of(x, "individual_digits", false) ? "\\p{N}" : "\\p{N}+", e);
    return fail(e, ST_EUNSUPPORTED, "%s: the pre-tokenizer %s is not supported", d->path, type);
}

static enum status put_steps(struct draft *d, const json_t *root, struct err *e)
{
    enum status s = each_step(d, json_object_get(root, "normalizer"), "normalizers", take_normalizer, e);
    if (!s)
        s = each_step(d, json_object_get(root, "pre_tokenizer"), "pretokenizers", take_pretokenizer, e);
    if (s)
        return s;
    d->v.kind = d->byte_level ? TOKENIZER_BYTES : TOKENIZER_PIECES;
    d->v.pattern = (const char *const *)d->pattern;
    if (d->byte_level == d->spaces)
        return fail(e, ST_EUNSUPPORTED, "%s: neither byte-level nor SentencePiece-style: its steps %s", d->path,
                    d->spaces ? "do both" : "leave spaces as they are");
    if (d->spaces && !d->byte_fallback)
        return fail(e, ST_EUNSUPPORTED, "%s: SentencePiece-style pieces without byte_fallback are not supported", d->path);
    if (!d->byte_level && d->v.patterns)
        return fail(e, ST_EUNSUPPORTED, "%s: pre-tokenizer patterns with SentencePiece-style pieces are not supported", d->path);
    if (d->removed && !pretokenize_match(d->v.pattern, d->v.patterns, 0) && !pretokenize_match(d->v.pattern, d->v.patterns, PRETOKENIZE_WHOLE))
        return fail(e, ST_EUNSUPPORTED, "%s: the pre-tokenizer pattern \"%s\" drops what it does not match, which is not supported", d->path,
                    d->pattern[0]);
    return ST_OK;
}

/* ---- what goes around a text */

static enum status put_end(struct draft *d, bool front, int32_t id, const char *name, struct err *e)
{
    bool *add = front ? &d->v.add_bos : &d->v.add_eos;
    if (id < 0)
        return fail(e, ST_EFORMAT, "%s: the post-processor's '%.40s' is not in the vocabulary", d->path, name);
    if (*add)
        return fail(e, ST_EUNSUPPORTED, "%s: the post-processor puts several pieces %s a text, which is not supported", d->path,
                    front ? "in front of" : "behind");
    *add = true;
    *(front ? &d->v.bos : &d->v.eos) = id;
    return ST_OK;
}

static enum status take_template(struct draft *d, const json_t *x, struct err *e)
{
    const json_t *single = json_object_get(x, "single");
    bool front = true;
    enum status s = ST_OK;
    for (size_t i = 0; i < json_array_size(single) && !s; i++) {
        const json_t *part = json_array_get(single, i), *special = json_object_get(part, "SpecialToken");
        const char *name = text_of(special, "id");
        if (json_object_get(part, "Sequence"))
            front = false;
        else
            s = put_end(d, front, find_piece(d, name), name, e);
    }
    return s;
}

static enum status take_processor(struct draft *d, const json_t *x, const char *type, struct err *e)
{
    if (!strcmp(type, "ByteLevel"))
        return ST_OK;
    if (!strcmp(type, "TemplateProcessing"))
        return take_template(d, x, e);
    if (strcmp(type, "RobertaProcessing") != 0 && strcmp(type, "BertProcessing") != 0)
        return fail(e, ST_EUNSUPPORTED, "%s: the post-processor %s is not supported", d->path, type);
    const char *front = json_string_value(json_array_get(json_object_get(x, "cls"), 0));
    const char *behind = json_string_value(json_array_get(json_object_get(x, "sep"), 0));
    enum status s = put_end(d, true, find_piece(d, front), front ? front : "", e);
    return s ? s : put_end(d, false, find_piece(d, behind), behind ? behind : "", e);
}

static int32_t control_piece(const struct draft *d, const char *text)
{
    int32_t id = find_piece(d, text);
    return id >= 0 && d->piece[id].type == PIECE_CONTROL ? id : -1;
}

/* By the names that published models use, where no file says it. */
static void guess_ends(struct vocab *v, const struct draft *d)
{
    static const char *const bos[] = {"<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>", "<|endoftext|>"};
    static const char *const eos[] = {"</s>", "<|end_of_text|>", "<eos>", "<|endoftext|>"};
    for (size_t i = 0; i < sizeof bos / sizeof bos[0] && v->bos < 0; i++)
        v->bos = control_piece(d, bos[i]);
    for (size_t i = 0; i < sizeof eos / sizeof eos[0] && v->eos < 0; i++)
        v->eos = control_piece(d, eos[i]);
}

/* A token by name, or as an object with a content. */
static int32_t named(const struct draft *d, const json_t *config, const char *key, int32_t missing)
{
    const json_t *x = json_object_get(config, key);
    int32_t id = find_piece(d, json_is_object(x) ? text_of(x, "content") : json_string_value(x));
    return id >= 0 ? id : missing;
}

static void put_config(struct draft *d, const json_t *config)
{
    struct vocab *v = &d->v;
    v->bos = named(d, config, "bos_token", v->bos);
    v->eos = named(d, config, "eos_token", v->eos);
    guess_ends(v, d);
    v->add_bos = flag_of(config, "add_bos_token", v->add_bos) && v->bos >= 0;
    v->add_eos = flag_of(config, "add_eos_token", v->add_eos) && v->eos >= 0;
}

enum status tok_from_json(struct tokenizer **t, const struct file_text *f, const struct file_text *config, struct err *e)
{
    struct draft d = {.path = f->path, .v = {.bos = -1, .eos = -1, .unk = -1}};
    json_t *root = NULL, *more = NULL;
    *t = NULL;
    enum status s = load(&root, f, e);
    if (!s && config)
        s = load(&more, config, e);
    if (!s)
        s = put_model(&d, root, e);
    if (!s)
        s = put_steps(&d, root, e);
    if (!s)
        s = each_step(&d, json_object_get(root, "post_processor"), "processors", take_processor, e);
    if (!s) {
        put_config(&d, more);
        s = tokenizer_new(t, &d.v, f->path, e);
    }
    draft_free(&d);
    json_decref(root);
    json_decref(more);
    return s;
}

/* ---- GPT-2's pair of files */

static size_t count_lines(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += *s == '\n';
    return n + 1;
}

static enum status put_lines(struct draft *d, const struct file_text *f, struct err *e)
{
    d->merge = malloc(count_lines(f->text) * sizeof *d->merge);
    d->v.merge_text = d->merge;
    if (!d->merge)
        return no_memory(d->path, e);
    const char *line = f->text, *end;
    for (size_t number = 1; *line; line = *end ? end + 1 : end, number++) {
        end = strchrnul(line, '\n');
        size_t n = (size_t)(end - line);
        n -= n && line[n - 1] == '\r';
        if (!n || (number == 1 && !strncmp(line, "#version", 8)))
            continue;
        if (!merge_split(line, n, &d->merge[d->v.merges++]))
            return fail(e, ST_EFORMAT, "%s:%zu: not two pieces with a space between them", f->path, number);
    }
    return ST_OK;
}

/* What is no byte and what no merge makes never comes from text. */
static enum status mark_controls(struct draft *d, const json_t *vocab, struct err *e)
{
    bool *made = calloc((size_t)d->v.count, sizeof *made);
    if (!made)
        return no_memory(d->path, e);
    for (size_t i = 0; i < d->v.merges; i++) {
        char key[512];
        const struct merge_text *m = &d->merge[i];
        if ((size_t)m->left_bytes + m->right_bytes >= sizeof key)
            continue;
        memcpy(key, m->left, m->left_bytes);
        memcpy(key + m->left_bytes, m->right, m->right_bytes);
        const json_t *id = json_object_getn(vocab, key, m->left_bytes + m->right_bytes);
        if (id)
            made[json_integer_value(id)] = true;
    }
    for (int i = 0; i < d->v.count; i++) {
        uint32_t code;
        const struct piece *p = &d->piece[i];
        bool byte = utf8_decode((const uint8_t *)p->text, p->bytes, &code) == p->bytes && tok_char_byte(code) >= 0;
        if (!made[i] && !byte)
            d->piece[i].type = PIECE_CONTROL;
    }
    free(made);
    return ST_OK;
}

enum status tok_from_pair(struct tokenizer **t, const struct file_text *encoder, const struct file_text *merges, struct err *e)
{
    struct draft d = {.path = encoder->path, .v = {.kind = TOKENIZER_BYTES, .bos = -1, .eos = -1, .unk = -1, .pre = "gpt-2"}};
    json_t *vocab = NULL;
    *t = NULL;
    enum status s = load(&vocab, encoder, e);
    if (!s)
        s = make_pieces(&d, vocab, NULL, e);
    if (!s)
        s = put_vocab(&d, vocab, false, e);
    for (int i = 0; i < d.v.count && !s; i++)
        if (!d.piece[i].text)
            s = fail(e, ST_EFORMAT, "%s: id %d of %d has no piece", d.path, i, d.v.count);
    if (!s)
        s = put_lines(&d, merges, e);
    if (!s)
        s = mark_controls(&d, vocab, e);
    if (!s) {
        guess_ends(&d.v, &d);
        s = tokenizer_new(t, &d.v, encoder->path, e);
    }
    draft_free(&d);
    json_decref(vocab);
    return s;
}
