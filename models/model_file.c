/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "model_file.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gguf_llama.h"
#include "hf_llama.h"
#include "llama2c.h"
#include "tok_gguf.h"

/* ---- what a path is */

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The file `name` in the folder of path, or in path where that is a folder. */
static void beside(char out[PATH_MAX], const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    if (is_folder(path))
        snprintf(out, PATH_MAX, "%s/%s", path, name);
    else
        snprintf(out, PATH_MAX, "%.*s%s", slash ? (int)(slash - path) + 1 : 0, path, name);
}

static bool has_beside(const char *path, const char *name)
{
    char file[PATH_MAX];
    struct stat st;
    beside(file, path, name);
    return stat(file, &st) == 0;
}

static bool is_safetensors(const char *path)
{
    size_t n = strlen(path);
    return n > 12 && !strcmp(path + n - 12, ".safetensors");
}

/* A damaged file under our name stays ours, so that the message is about the damage. */
static bool is_native(const char *path)
{
    json_t *metadata = NULL;
    bool read = st_read_metadata(&metadata, path, NULL) == ST_OK;
    bool is = read ? json_object_get(metadata, "qbench.version") || (is_safetensors(path) && !has_beside(path, "config.json")) : is_safetensors(path);
    json_decref(metadata);
    return is && !is_folder(path);
}

static bool is_gguf(const char *path)
{
    char magic[4];
    FILE *f = fopen(path, "rb");
    bool is = f && fread(magic, 1, sizeof magic, f) == sizeof magic && !memcmp(magic, "GGUF", sizeof magic);
    if (f)
        fclose(f);
    return is;
}

static bool is_hugging_face(const char *path) { return (is_folder(path) || is_safetensors(path)) && has_beside(path, "config.json"); }

/* ---- reading each kind */

static enum status read_gguf(struct checkpoint *c, const char *path, struct err *e)
{
    struct gguf *g;
    struct err why = {0};
    enum status s = gguf_open(&g, path, e);
    if (!s)
        s = gguf_llama_read(&c->weights, g, e);
    if (!s && tokenizer_from_gguf(&c->tokenizer, g, &why) != ST_OK)
        json_object_set_new(c->provenance, "no_tokenizer", json_string(why.text));
    gguf_close(g);
    return s;
}

/* The tokenizer that lies beside a model is a guess: what does not fit is left, with its reason. */
static void take_beside(struct checkpoint *c, const char *path, const char *name, bool same_count)
{
    char file[PATH_MAX];
    struct err why = {0};
    beside(file, path, name);
    enum status s = tokenizer_open(&c->tokenizer, file, &why);
    int ids = s ? 0 : tokenizer_vocab(c->tokenizer)->count;
    if (!s && (ids > c->weights->config.vocab || (same_count && ids != c->weights->config.vocab)))
        s = fail(&why, ST_EFORMAT, "%s has %d ids, the model %d", file, ids, c->weights->config.vocab);
    if (!s)
        return;
    tokenizer_free(c->tokenizer);
    c->tokenizer = NULL;
    json_object_set_new(c->provenance, "no_tokenizer", json_string(why.text));
}

static enum status read_llama2c(struct checkpoint *c, const char *path, struct err *e)
{
    enum status s = llama2c_read(&c->weights, path, e);
    if (!s)
        take_beside(c, path, "tokenizer.bin", true);
    return s;
}

static enum status read_hugging_face(struct checkpoint *c, const char *path, struct err *e)
{
    char folder[PATH_MAX];
    beside(folder, path, ".");
    enum status s = hf_llama_read(&c->weights, is_folder(path) ? path : folder, e);
    if (!s)
        take_beside(c, path, "tokenizer.json", false);
    return s;
}

static const struct kind {
    const char *name;
    bool (*is)(const char *path);
    enum status (*read)(struct checkpoint *c, const char *path, struct err *e); /* weights and tokenizer; NULL: the native file */
} kinds[] = {
    {"native", is_native, NULL},
    {"hugging-face", is_hugging_face, read_hugging_face},
    {"gguf", is_gguf, read_gguf},
    {"llama2c", llama2c_is, read_llama2c}, /* its first version has no magic: last */
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static const struct kind *kind_of(const char *path)
{
    for (int i = 0; i < KINDS; i++)
        if (kinds[i].is(path))
            return &kinds[i];
    return NULL;
}

const char *model_file_kind(const char *path)
{
    const struct kind *k = kind_of(path);
    return k ? k->name : NULL;
}

bool model_is_path(const char *word)
{
    if (strchr(word, '/') || strchr(word, '.'))
        return true;
    return !strchr(word, '@') && !strchr(word, ':') && is_hugging_face(word);
}

/* ---- the whole */

void model_file_name(char name[41], const char *path)
{
    char *whole = realpath(path, NULL);
    const char *from = whole ? whole : path, *slash = strrchr(from, '/'), *dot;
    if (!is_folder(path) && is_safetensors(path) && slash && is_hugging_face(path)) { /* the folder's: every such file is called model */
        whole[slash - whole] = '\0';
        slash = strrchr(whole, '/');
    }
    from = slash ? slash + 1 : from;
    dot = is_folder(path) ? NULL : strrchr(from, '.');
    size_t n = dot && dot > from ? (size_t)(dot - from) : strlen(from);
    n = n > 40 ? 40 : n;
    for (size_t i = 0; i < n; i++)
        name[i] = isalnum((unsigned char)from[i]) ? from[i] : '_';
    name[n] = '\0';
    if (!n)
        strcpy(name, "model");
    free(whole);
}

static enum status use_tokenizer(struct checkpoint *c, const char *path, struct err *e)
{
    tokenizer_free(c->tokenizer);
    json_object_del(c->provenance, "no_tokenizer");
    enum status s = tokenizer_open(&c->tokenizer, path, e);
    struct err why = {0};
    if (!s && (s = checkpoint_fits(c->tokenizer, &c->weights->config, &why)))
        fail(e, s, "%s: %s", path, why.text);
    return s;
}

static enum status load_foreign(struct checkpoint *c, const struct kind *k, const char *path, const char *tokenizer, struct err *e)
{
    char name[41];
    const char *slash = strrchr(path, '/');
    model_file_name(name, path);
    c->provenance = json_pack("{s:s, s:s, s:s}", "kind", "imported", "format", k->name, "name", name);
    if (!c->provenance)
        return fail(e, ST_ENOMEM, "%s: no memory", path);
    json_object_set_new(c->provenance, "source", json_string(slash && slash[1] ? slash + 1 : path)); /* not recorded where it is no UTF-8 */
    enum status s = k->read(c, path, e);
    if (s)
        return s;
    json_object_set_new(c->provenance, "parameters", json_integer((json_int_t)c->weights->count));
    s = tokenizer ? use_tokenizer(c, tokenizer, e) : ST_OK;
    return s ? s : checkpoint_name(c, e);
}

static enum status load_native(struct checkpoint *c, const char *path, const char *tokenizer, struct err *e)
{
    enum status s = checkpoint_load(c, path, e);
    if (!s && tokenizer && !(s = use_tokenizer(c, tokenizer, e)))
        s = checkpoint_name(c, e);
    return s;
}

enum status model_load(struct checkpoint *c, const char *path, const char *tokenizer, struct err *e)
{
    struct stat st;
    *c = (struct checkpoint){0};
    if (stat(path, &st))
        return fail(e, errno == ENOENT ? ST_ENOENT : ST_EIO, "%s: %s", path, strerror(errno));
    const struct kind *k = kind_of(path);
    if (!k)
        return fail(e, ST_EFORMAT, is_folder(path) ? "%s: no config.json in this folder: not a Hugging Face model"
                                                   : "%s: not a model that qbench reads (its own, GGUF, llama2.c, or a Hugging Face folder)", path);
    enum status s = k->read ? load_foreign(c, k, path, tokenizer, e) : load_native(c, path, tokenizer, e);
    if (s) {
        checkpoint_close(c);
        return s;
    }
    char *whole = realpath(path, NULL);
    if (k->read)
        snprintf(c->path, sizeof c->path, "%s", whole ? whole : path);
    free(whole);
    return ST_OK;
}
