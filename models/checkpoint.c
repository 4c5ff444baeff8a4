/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { VERSION = 1 }; /* of the metadata; a reader refuses what is newer than itself */

void checkpoint_close(struct checkpoint *c)
{
    weights_free(c->weights);
    tokenizer_free(c->tokenizer);
    json_decref(c->provenance);
    *c = (struct checkpoint){0};
}

/* ---- configuration as JSON */

static char *config_text(const struct model_config *c)
{
    json_t *j = json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:f, s:f}", "preset", c->preset, "layers", c->layers,
                          "dim", c->dim, "ffn", c->ffn, "heads", c->heads, "kv_heads", c->kv_heads, "head_dim", c->head_dim,
                          "vocab", c->vocab, "context", c->context, "tied", (int)c->tied, "rope_base", (double)c->rope_base,
                          "norm_eps", (double)c->norm_eps);
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(j);
    return text;
}

static enum status parse_config(struct model_config *c, const char *text, struct err *e)
{
    json_error_t why;
    const char *preset;
    int tied;
    double rope_base, norm_eps;
    json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    enum status s = ST_OK;
    *c = (struct model_config){0};
    if (!j || json_unpack_ex(j, &why, 0, "{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:F, s:F !}", "preset", &preset, "layers",
                             &c->layers, "dim", &c->dim, "ffn", &c->ffn, "heads", &c->heads, "kv_heads", &c->kv_heads, "head_dim",
                             &c->head_dim, "vocab", &c->vocab, "context", &c->context, "tied", &tied, "rope_base", &rope_base,
                             "norm_eps", &norm_eps)) {
        s = fail(e, ST_EFORMAT, "qbench.config: %s", why.text);
    } else if (strlen(preset) >= sizeof c->preset) {
        s = fail(e, ST_EFORMAT, "qbench.config: the preset's name is too long");
    } else {
        snprintf(c->preset, sizeof c->preset, "%s", preset);
        c->tied = tied;
        c->rope_base = (float)rope_base;
        c->norm_eps = (float)norm_eps;
        s = config_check(c, e);
    }
    json_decref(j);
    return s;
}

/* ---- identity */

static void format_hash(char hash[17], uint64_t h) { snprintf(hash, 17, "%016" PRIx64, h); }

static size_t tensor_bytes(const struct tensor *t) { return (size_t)t->rows * (size_t)t->cols * sizeof(float); }

/* The terminating NULs keep config and tokenizer apart. */
static void hash_model(char hash[17], const struct weights *w, const char *config, const char *tokenizer)
{
    XXH64_state_t state;
    XXH64_reset(&state, 0);
    XXH64_update(&state, config, strlen(config) + 1);
    XXH64_update(&state, tokenizer, strlen(tokenizer) + 1);
    for (int i = 0; i < weights_tensors(&w->config); i++) {
        struct tensor t = weights_tensor(w, i);
        XXH64_update(&state, t.data, tensor_bytes(&t));
    }
    format_hash(hash, XXH64_digest(&state));
}

/* Where a model comes from is no part of what it is, but damage to it must be seen as well. */
static void hash_provenance(char hash[17], const char *provenance) { format_hash(hash, XXH64(provenance, strlen(provenance), 0)); }

static enum status check_finite(const struct weights *w, enum status wrong, struct err *e)
{
    for (int i = 0; i < weights_tensors(&w->config); i++) {
        struct tensor t = weights_tensor(w, i);
        size_t n = (size_t)t.rows * (size_t)t.cols, bad = 0;
        for (size_t k = 0; k < n; k++) {
            uint32_t bits;
            memcpy(&bits, &t.data[k], sizeof bits);
            bad += (bits & 0x7f800000u) == 0x7f800000u;
        }
        if (bad)
            return fail(e, wrong, "tensor '%s': %zu of %zu weights are infinite or not a number", t.name, bad, n);
    }
    return ST_OK;
}

/* ---- saving */

/* The texts that go into the file; owned. */
struct texts {
    char *config, *tokenizer, *provenance;
};

static void texts_free(struct texts *t)
{
    free(t->config);
    free(t->tokenizer);
    free(t->provenance);
}

/* Fills t and c->hash. t is to be freed also after a failure. */
static enum status describe(struct checkpoint *c, struct texts *t, struct err *e)
{
    *t = (struct texts){
        .config = config_text(&c->weights->config),
        .tokenizer = c->tokenizer ? tokenizer_save(c->tokenizer) : strdup(""),
        .provenance = c->provenance ? json_dumps(c->provenance, JSON_COMPACT | JSON_SORT_KEYS) : strdup("{}"),
    };
    if (!t->config || !t->tokenizer || !t->provenance)
        return fail(e, ST_ENOMEM, "no memory to describe a model");
    hash_model(c->hash, c->weights, t->config, t->tokenizer);
    return ST_OK;
}

enum status checkpoint_name(struct checkpoint *c, struct err *e)
{
    struct texts t;
    enum status s = check_finite(c->weights, ST_EWRONG, e);
    if (s)
        return s;
    s = describe(c, &t, e);
    texts_free(&t);
    return s;
}

static json_t *make_metadata(const struct checkpoint *c, const struct texts *t)
{
    char provenance_hash[17];
    hash_provenance(provenance_hash, t->provenance);
    json_t *m = json_pack("{s:o, s:s, s:s, s:s, s:s}", "qbench.version", json_sprintf("%d", VERSION), "qbench.config", t->config,
                          "qbench.provenance", t->provenance, "qbench.provenance_hash", provenance_hash, "qbench.hash", c->hash);
    if (m && c->tokenizer && json_object_set_new(m, "qbench.tokenizer", json_string(t->tokenizer))) {
        json_decref(m);
        return NULL;
    }
    return m;
}

static enum status write_model(const struct checkpoint *c, const struct texts *text, const char *path, struct err *e)
{
    const struct weights *w = c->weights;
    int count = weights_tensors(&w->config);
    struct st_tensor *tensors = calloc((size_t)count, sizeof *tensors);
    json_t *metadata = make_metadata(c, text);
    enum status s;
    if (!tensors || !metadata) {
        s = fail(e, ST_ENOMEM, "%s: no memory for its header", path);
    } else {
        for (int i = 0; i < count; i++) {
            struct tensor t = weights_tensor(w, i);
            tensors[i] = (struct st_tensor){.dtype = "F32", .rank = t.rank, .shape = {t.rows, t.cols}, .data = t.data,
                                            .bytes = tensor_bytes(&t)};
            snprintf(tensors[i].name, sizeof tensors[i].name, "%s", t.name);
        }
        s = st_write(path, tensors, count, metadata, e);
    }
    free(tensors);
    json_decref(metadata);
    return s;
}

static const char *name_of(const struct checkpoint *c)
{
    const char *name = json_string_value(json_object_get(c->provenance, "name"));
    return c->weights->config.preset[0] ? c->weights->config.preset : name && *name && !strchr(name, '/') ? name : "model";
}

/* To path, or into dir under a name made from preset and hash. */
static enum status save(struct checkpoint *c, const char *dir, const char *path, struct err *e)
{
    struct texts t;
    char made[sizeof c->path];
    struct err why = {0};
    enum status s = check_finite(c->weights, ST_EWRONG, &why);
    if (s)
        return fail(e, s, "%s: not written: %s", dir ? dir : path, why.text);
    s = describe(c, &t, e);
    if (!s) {
        const char *preset = name_of(c);
        int n = dir ? snprintf(made, sizeof made, "%s/%s-%s.safetensors", dir, preset, c->hash)
                    : snprintf(made, sizeof made, "%s", path);
        s = n >= (int)sizeof made ? fail(e, ST_EUSAGE, "%s: the path is too long", dir ? dir : path) : write_model(c, &t, made, e);
    }
    if (!s)
        memcpy(c->path, made, sizeof made);
    texts_free(&t);
    return s;
}

enum status checkpoint_save(struct checkpoint *c, const char *path, struct err *e) { return save(c, NULL, path, e); }

/* ---- loading */

static const char *meta(const json_t *metadata, const char *key) { return json_string_value(json_object_get(metadata, key)); }

static enum status check_version(const json_t *metadata, struct err *e)
{
    const char *text = meta(metadata, "qbench.version");
    if (!text)
        return fail(e, ST_EFORMAT, "it has no qbench.version: not a model that qbench wrote");
    char *end;
    errno = 0;
    long version = strtol(text, &end, 10);
    if (errno || end == text || *end || version < 1)
        return fail(e, ST_EFORMAT, "qbench.version '%s' is not a number", text);
    if (version > VERSION)
        return fail(e, ST_EUNSUPPORTED, "it has version %ld, this qbench reads up to %d; build a newer qbench", version, VERSION);
    return ST_OK;
}

/* The texts that every model has; borrowed from metadata. */
static enum status find_texts(const json_t *metadata, const char **config, const char **provenance, struct err *e)
{
    static const char *const keys[] = {"qbench.config", "qbench.provenance", "qbench.provenance_hash", "qbench.hash"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (!meta(metadata, keys[i]))
            return fail(e, ST_EFORMAT, "its metadata lacks %s", keys[i]);
    *config = meta(metadata, keys[0]);
    *provenance = meta(metadata, keys[1]);
    return ST_OK;
}

static enum status load_provenance(struct checkpoint *c, const char *text, const json_t *metadata, struct err *e)
{
    char hash[17];
    json_error_t why;
    hash_provenance(hash, text);
    if (strcmp(hash, meta(metadata, "qbench.provenance_hash")))
        return fail(e, ST_EFORMAT, "qbench.provenance is not what was written: it is damaged");
    c->provenance = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(c->provenance))
        return fail(e, ST_EFORMAT, "qbench.provenance: %s", c->provenance ? "not an object" : why.text);
    return ST_OK;
}

enum status checkpoint_fits(const struct tokenizer *t, const struct model_config *config, struct err *e)
{
    int ids = t ? tokenizer_vocab(t)->count : 0;
    return ids <= config->vocab ? ST_OK : fail(e, ST_EFORMAT, "its tokenizer has %d ids, its model %d", ids, config->vocab);
}

static enum status load_texts(struct checkpoint *c, const json_t *metadata, struct model_config *config, struct err *e)
{
    const char *config_json = NULL, *provenance = NULL, *tokenizer = meta(metadata, "qbench.tokenizer");
    enum status s = find_texts(metadata, &config_json, &provenance, e);
    if (!s)
        s = parse_config(config, config_json, e);
    if (!s && tokenizer)
        s = tokenizer_load(&c->tokenizer, tokenizer, e);
    if (!s)
        s = checkpoint_fits(c->tokenizer, config, e);
    return s ? s : load_provenance(c, provenance, metadata, e);
}

/* Before anything is allocated: a configuration of terabytes beside a file of kilobytes is refused by its tensors. */
static enum status check_size(const struct model_config *config, const struct st_file *f, struct err *e)
{
    if (config_parameters(config) > f->buffer_bytes / sizeof(float))
        return fail(e, ST_EFORMAT, "its configuration has %zu parameters, more than its %zu bytes hold", config_parameters(config),
                    f->buffer_bytes);
    return ST_OK;
}

static enum status copy_tensor(const struct tensor *to, const struct st_file *f, struct err *e)
{
    const struct st_tensor *from = st_find(f, to->name);
    if (!from)
        return fail(e, ST_EFORMAT, "tensor '%s' is missing", to->name);
    if (strcmp(from->dtype, "F32"))
        return fail(e, ST_EFORMAT, "tensor '%s' is %s; F32 is expected", to->name, from->dtype);
    if (from->rank != to->rank || from->shape[0] != to->rows || (to->rank == 2 && from->shape[1] != to->cols))
        return fail(e, ST_EFORMAT, "tensor '%s' has not the shape that the configuration gives it (%d, %d)", to->name, to->rows,
                    to->cols);
    memcpy(to->data, from->data, from->bytes);
    return ST_OK;
}

static bool is_expected(const struct weights *w, const char *name)
{
    for (int i = 0; i < weights_tensors(&w->config); i++)
        if (!strcmp(weights_tensor(w, i).name, name))
            return true;
    return false;
}

static enum status copy_weights(struct weights *w, const struct st_file *f, struct err *e)
{
    enum status s = ST_OK;
    int expected = weights_tensors(&w->config);
    for (int i = 0; i < expected && !s; i++) {
        struct tensor t = weights_tensor(w, i);
        s = copy_tensor(&t, f, e);
    }
    /* Names are distinct, so more tensors than expected means that some are strangers. */
    for (int i = 0; i < f->count && f->count > expected && !s; i++)
        if (!is_expected(w, f->tensors[i].name))
            s = fail(e, ST_EFORMAT, "tensor '%s' belongs to no layer of its configuration", f->tensors[i].name);
    return s ? s : check_finite(w, ST_EFORMAT, e);
}

static enum status check_hash(struct checkpoint *c, const json_t *metadata, struct err *e)
{
    const char *tokenizer = meta(metadata, "qbench.tokenizer"), *recorded = meta(metadata, "qbench.hash");
    hash_model(c->hash, c->weights, meta(metadata, "qbench.config"), tokenizer ? tokenizer : "");
    if (strcmp(c->hash, recorded))
        return fail(e, ST_EFORMAT, "its content hashes to %s, but %.32s was recorded: it is damaged", c->hash, recorded);
    return ST_OK;
}

static enum status load_from(struct checkpoint *c, const struct st_file *f, struct err *e)
{
    struct model_config config;
    enum status s = check_version(f->metadata, e);
    if (!s)
        s = load_texts(c, f->metadata, &config, e);
    if (!s)
        s = check_size(&config, f, e);
    if (s)
        return s;
    c->weights = weights_alloc(&config, e);
    if (!c->weights)
        return ST_ENOMEM;
    s = copy_weights(c->weights, f, e);
    return s ? s : check_hash(c, f->metadata, e);
}

enum status checkpoint_load(struct checkpoint *c, const char *path, struct err *e)
{
    static const char cure[] = "; delete it, and it will be trained again";
    struct st_file f;
    struct err why = {0};
    *c = (struct checkpoint){0};
    if (strlen(path) >= sizeof c->path)
        return fail(e, ST_EUSAGE, "%.200s…: the path is too long", path);
    enum status s = st_read(&f, path, &why);
    if (s)
        return fail(e, s, "%s%s", why.text, s == ST_EFORMAT ? cure : "");
    s = load_from(c, &f, &why);
    st_close(&f);
    if (s) {
        checkpoint_close(c);
        return fail(e, s, "%s: %s%s", path, why.text, s == ST_EFORMAT ? cure : "");
    }
    snprintf(c->path, sizeof c->path, "%s", path);
    return ST_OK;
}

enum status checkpoint_random(struct checkpoint *c, const char *preset, uint64_t seed, struct par *p, struct err *e)
{
    struct model_config config;
    char identity[64];
    *c = (struct checkpoint){0};
    enum status s = config_preset(&config, preset, e);
    if (s)
        return s;
    c->weights = weights_alloc(&config, e);
    c->provenance = json_pack("{s:s, s:s, s:I}", "kind", "random", "preset", preset, "seed", (json_int_t)seed);
    if (!c->weights || !c->provenance) {
        checkpoint_close(c);
        return fail(e, ST_ENOMEM, "no memory for a model");
    }
    weights_random(c->weights, seed, p);
    int n = snprintf(identity, sizeof identity, "random preset=%s seed=%" PRIu64, preset, seed);
    format_hash(c->hash, XXH64(identity, (size_t)n, 0));
    return ST_OK;
}

/* ---- the cache */

static int is_model(const struct dirent *f)
{
    static const char ending[] = ".safetensors";
    size_t n = strlen(f->d_name), k = sizeof ending - 1;
    return f->d_name[0] != '.' && n > k && !strcmp(f->d_name + n - k, ending);
}

static bool has_recipe(const char *path, const void *recipe)
{
    /* A broken file is nobody's model here; loading it by name says what is wrong with it. */
    json_t *metadata, *provenance;
    if (st_read_metadata(&metadata, path, NULL))
        return false;
    const char *text = meta(metadata, "qbench.provenance");
    provenance = text ? json_loads(text, 0, NULL) : NULL;
    const char *found = meta(provenance, "recipe");
    bool same = found && !strcmp(found, recipe);
    json_decref(provenance);
    json_decref(metadata);
    return same;
}

static bool has_hash(const char *path, const void *hash)
{
    const char *dash = strrchr(path, '-');
    return dash && strlen(hash) == 16 && !strncmp(dash + 1, hash, 16) && dash[17] == '.';
}

/* The first model of dir, by name, that fits. */
static enum status cache_find(const char *dir, bool (*fits)(const char *path, const void *want), const char *want, char *path, size_t n,
                              struct err *e)
{
    struct dirent **files;
    int count = scandir(dir, &files, is_model, alphasort);
    if (count < 0 && errno != ENOENT)
        return fail(e, ST_EIO, "%s: %s", dir, strerror(errno));
    bool found = false;
    for (int i = 0; i < count; i++) {
        if (!found)
            found = (size_t)snprintf(path, n, "%s/%s", dir, files[i]->d_name) < n && fits(path, want);
        free(files[i]);
    }
    if (count >= 0)
        free(files);
    return found ? ST_OK : fail(e, ST_ENOENT, "%s: no model of '%s'", dir, want);
}

enum status cache_find_recipe(const char *dir, const char *recipe, char *path, size_t n, struct err *e)
{
    return cache_find(dir, has_recipe, recipe, path, n, e);
}

enum status cache_find_hash(const char *dir, const char *hash, char *path, size_t n, struct err *e)
{
    return cache_find(dir, has_hash, hash, path, n, e);
}

enum status cache_put(const char *dir, struct checkpoint *c, struct err *e)
{
    enum status s = make_folder(dir, e);
    if (s)
        return s;
    st_sweep(dir);
    return save(c, dir, NULL, e);
}
