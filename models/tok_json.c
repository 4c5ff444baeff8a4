/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "tok_draft.h"

/*
 * Hugging Face's tokenizer.json describes a pipeline of named steps. Those of published language models are understood: byte-level BPE behind
 * any patterns, and SentencePiece-style BPE with byte fallback. Any other step is refused by name: a step ignored would be wrong ids.
 */

/* A truth value that may be missing. */
static bool flag_of(const json_t *o, const char *key, bool missing)
{
    const json_t *x = json_object_get(o, key);
    return json_is_boolean(x) ? json_is_true(x) : missing;
}

/* ---- pieces and merges */

static enum status put_added(struct draft *d, const json_t *added, struct err *e)
{
    enum status s = ST_OK;
    for (size_t i = 0; i < json_array_size(added) && !s; i++) {
        const json_t *a = json_array_get(added, i), *content = json_object_get(a, "content");
        if (!json_is_string(content))
            return fail(e, ST_EFORMAT, "%s: added token %zu has no content", d->path, i);
        if (flag_of(a, "single_word", false))
            return fail(e, ST_EUNSUPPORTED, "%s: added token '%.40s' is a single_word, which is not supported", d->path, json_string_value(content));
        s = draft_put(d, json_string_value(content), json_string_length(content), json_object_get(a, "id"),
                      flag_of(a, "special", false) ? PIECE_CONTROL : PIECE_USER, e);
        if (s)
            break;
        struct piece *p = &d->piece[json_integer_value(json_object_get(a, "id"))];
        p->lstrip = flag_of(a, "lstrip", false);
        p->rstrip = flag_of(a, "rstrip", false);
    }
    return s;
}

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
        return draft_no_memory(d, e);
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
    const char *type = draft_text(model, "type");
    if (*type ? strcmp(type, "BPE") != 0 : !json_object_get(model, "merges"))
        return fail(e, ST_EUNSUPPORTED, "%s: a tokenizer of type '%s'; only byte-pair encodings (BPE) are supported", d->path, type);
    for (int i = 0; i < 2; i++)
        if (*draft_text(model, affixes[i]))
            return fail(e, ST_EUNSUPPORTED, "%s: %s '%s' is not supported", d->path, affixes[i], draft_text(model, affixes[i]));
    if (json_number_value(json_object_get(model, "dropout")) > 0)
        return fail(e, ST_EUNSUPPORTED, "%s: dropout makes random ids, which is not supported", d->path);
    d->v.whole_words = flag_of(model, "ignore_merges", false);
    d->byte_fallback = flag_of(model, "byte_fallback", false);
    enum status s = draft_pieces(d, vocab, added, e);
    if (!s)
        s = draft_vocab(d, vocab, d->byte_fallback, e);
    if (!s)
        s = put_added(d, added, e);
    if (!s)
        s = draft_whole(d, e);
    if (!s)
        s = put_merges(d, json_object_get(model, "merges"), e);
    d->v.unk = s ? -1 : draft_find(d, draft_text(model, "unk_token"));
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
    const char *type = draft_text(x, "type");
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
    const char *from = draft_text(json_object_get(x, "pattern"), "String");
    if (!strcmp(type, "NFC"))
        d->v.nfc = true;
    else if (!strcmp(type, "Prepend") && !strcmp(draft_text(x, "prepend"), metaspace))
        d->v.space_prefix = true;
    else if (!strcmp(type, "Replace") && !strcmp(from, " ") && !strcmp(draft_text(x, "content"), metaspace))
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
        return draft_no_memory(d, e);
    d->v.patterns++;
    return ST_OK;
}

static enum status put_literal(struct draft *d, const char *text, struct err *e)
{
    char *quoted = malloc(2 * strlen(text) + 1), *to = quoted;
    if (!quoted)
        return draft_no_memory(d, e);
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
    const char *behaviour = draft_text(x, "behavior"), *regex = draft_text(pattern, "Regex"), *literal = draft_text(pattern, "String");
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
    const char *scheme = draft_text(x, "prepend_scheme");
    if (strcmp(draft_text(x, "replacement"), metaspace) != 0 || flag_of(x, "split", true))
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
        const char *name = draft_text(special, "id");
        if (json_object_get(part, "Sequence"))
            front = false;
        else
            s = put_end(d, front, draft_find(d, name), name, e);
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
    enum status s = put_end(d, true, draft_find(d, front), front ? front : "", e);
    return s ? s : put_end(d, false, draft_find(d, behind), behind ? behind : "", e);
}

/* A token by name, or as an object with a content. */
static int32_t named(const struct draft *d, const json_t *config, const char *key, int32_t missing)
{
    const json_t *x = json_object_get(config, key);
    int32_t id = draft_find(d, json_is_object(x) ? draft_text(x, "content") : json_string_value(x));
    return id >= 0 ? id : missing;
}

static void put_config(struct draft *d, const json_t *config)
{
    struct vocab *v = &d->v;
    v->bos = named(d, config, "bos_token", v->bos);
    v->eos = named(d, config, "eos_token", v->eos);
    draft_guess_ends(d);
    v->add_bos = flag_of(config, "add_bos_token", v->add_bos) && v->bos >= 0;
    v->add_eos = flag_of(config, "add_eos_token", v->add_eos) && v->eos >= 0;
}

enum status tok_from_json(struct tokenizer **t, const struct file_text *f, const struct file_text *config, struct err *e)
{
    struct draft d = {.path = f->path, .v = {.bos = -1, .eos = -1, .unk = -1}};
    json_t *root = NULL, *more = NULL;
    *t = NULL;
    enum status s = draft_load(&root, f, e);
    if (!s && config)
        s = draft_load(&more, config, e);
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
