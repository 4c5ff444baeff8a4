/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host.h"
#include "model_verbs.h"

/* ---- the cache folder */

static int is_model(const struct dirent *f)
{
    static const char ending[] = ".safetensors";
    size_t n = strlen(f->d_name), k = sizeof ending - 1;
    return f->d_name[0] != '.' && n > k && !strcmp(f->d_name + n - k, ending);
}

/* Calls fn for every model file, by name. An absent folder holds none. */
static enum status each_model(const char *dir, void (*fn)(void *ctx, const char *path), void *ctx, struct err *e)
{
    struct dirent **files;
    int n = scandir(dir, &files, is_model, alphasort);
    if (n < 0)
        return errno == ENOENT ? ST_OK : fail(e, ST_EIO, "%s: %s", dir, strerror(errno));
    for (int i = 0; i < n; i++) {
        char path[2048];
        if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, files[i]->d_name) < sizeof path)
            fn(ctx, path);
        free(files[i]);
    }
    free(files);
    return ST_OK;
}

/* ---- listing */

enum { NAME, HASH, KIND, PARAMETERS, TOKENS, NLL, BYTES, PATH };

static json_t *json_of(const json_t *metadata, const char *key)
{
    const char *text = json_string_value(json_object_get(metadata, key));
    return text ? json_loads(text, 0, NULL) : NULL;
}

static void set_number(struct table *t, int column, const json_t *x)
{
    if (json_is_integer(x))
        table_int(t, column, json_integer_value(x));
    else if (json_is_real(x))
        table_real(t, column, json_real_value(x));
    else
        table_absent(t, column, "not recorded");
}

static void describe(struct table *t, const json_t *metadata)
{
    json_t *provenance = json_of(metadata, "qbench.provenance"), *config = json_of(metadata, "qbench.config");
    const char *preset = json_string_value(json_object_get(config, "preset")), *kind = json_string_value(json_object_get(provenance, "kind"));
    const char *hash = json_string_value(json_object_get(metadata, "qbench.hash"));
    const char *name = json_string_value(json_object_get(provenance, "name"));
    table_text(t, NAME, preset && *preset ? preset : name ? name : "model");
    if (hash)
        table_text(t, HASH, hash);
    if (kind)
        table_text(t, KIND, kind);
    set_number(t, PARAMETERS, json_object_get(provenance, "parameters"));
    set_number(t, TOKENS, json_object_get(provenance, "tokens"));
    set_number(t, NLL, json_object_get(provenance, "valid_loss"));
    json_decref(config);
    json_decref(provenance);
}

static void list_one(void *ctx, const char *path)
{
    struct table *t = ctx;
    struct err e = {0};
    struct stat st;
    json_t *metadata;
    table_row(t);
    table_text(t, PATH, path);
    if (stat(path, &st) == 0)
        table_int(t, BYTES, (long long)st.st_size);
    if (st_read_metadata(&metadata, path, &e) != ST_OK) {
        table_text(t, KIND, "unreadable");
        table_note(t, "%s", e.text);
        return;
    }
    describe(t, metadata);
    json_decref(metadata);
}

static error_t parse_options(int key, char *arg, struct argp_state *state)
{
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = state->input;
    return 0;
}

int model_list(int argc, char **argv)
{
    static const struct argp_child children[] = {{&options_argp, 0, "Common options:", 10}, {0}};
    static const struct argp argp = {NULL, parse_options, "", "The models of the cache folder, by file name.", children, NULL, NULL};
    struct options o;
    struct err e = {0};
    char dir[1024];
    options_default(&o);
    options_parse(&argp, argc, argv, &o);
    host_path(dir, sizeof dir, "cache/models");
    struct table *t = table_new(NULL);
    table_column(t, "model", "", 0);
    table_column(t, "hash", "", 0);
    table_column(t, "kind", "", 0);
    table_column(t, "parameters", "", 0);
    table_column(t, "tokens", "", 0);
    table_column(t, "NLL", "nat", 4);
    table_column(t, "bytes", "B", 0);
    table_column(t, "path", "", 0);
    enum status s = each_model(dir, list_one, t, &e);
    int code = s ? complain(&e) : options_print(&o, &t, 1);
    table_free(t);
    return code;
}

/* ---- pruning */

struct prune {
    struct options options;
    const char *kind;
    bool go;
    char **hashes; /* (n_hashes) borrowed from argv */
    bool *met;
    int n_hashes;
    struct table *table; /* what is removed */
    struct err failed;
};

enum { OPT_KIND = 1, OPT_YES };

static error_t parse_prune(int key, char *arg, struct argp_state *state)
{
    struct prune *p = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &p->options; return 0;
    case OPT_KIND: p->kind = arg; return 0;
    case OPT_YES: p->go = true; return 0;
    case ARGP_KEY_ARGS:
        p->hashes = state->argv + state->next;
        p->n_hashes = state->argc - state->next;
        return 0;
    case ARGP_KEY_END: return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static bool is_chosen(struct prune *p, const char *path)
{
    json_t *metadata = NULL;
    if (st_read_metadata(&metadata, path, NULL) != ST_OK)
        return false;
    json_t *provenance = json_of(metadata, "qbench.provenance");
    const char *kind = json_string_value(json_object_get(provenance, "kind")), *hash = json_string_value(json_object_get(metadata, "qbench.hash"));
    bool chosen = p->kind && kind && !strcmp(kind, p->kind);
    for (int i = 0; i < p->n_hashes; i++)
        if (hash && !strcmp(hash, p->hashes[i]))
            chosen = p->met[i] = true;
    json_decref(provenance);
    json_decref(metadata);
    return chosen;
}

static void prune_one(void *ctx, const char *path)
{
    struct prune *p = ctx;
    struct stat st;
    if (!is_chosen(p, path) || stat(path, &st) != 0)
        return;
    if (p->go && unlink(path) != 0) {
        fail(&p->failed, ST_EIO, "%s: cannot be removed: %s", path, strerror(errno));
        return;
    }
    table_row(p->table);
    table_text(p->table, 0, path);
    table_int(p->table, 1, (long long)st.st_size);
}

static enum status prune(struct prune *p, struct err *e)
{
    char dir[1024];
    host_path(dir, sizeof dir, "cache/models");
    if (p->go)
        st_sweep(dir);
    enum status s = each_model(dir, prune_one, p, e);
    if (!s && p->failed.status)
        s = fail(e, p->failed.status, "%s", p->failed.text);
    for (int i = 0; i < p->n_hashes && !s; i++)
        if (!p->met[i])
            s = fail(e, ST_ENOENT, "%s holds no model %s; `qbench model list` shows them", dir, p->hashes[i]);
    return s;
}

int model_prune(int argc, char **argv)
{
    static const struct argp_option own[] = {
        {"kind", OPT_KIND, "KIND", 0, "Every model of this kind (trained, tuned, imported), as `qbench model list` calls it", 0},
        {"yes", OPT_YES, 0, 0, "Remove them; without it they are only named", 0},
        {0},
    };
    static const struct argp_child children[] = {{&options_argp, 0, "Common options:", 10}, {0}};
    static const struct argp argp = {
        own, parse_prune, "[HASH...]",
        "Removes models from the cache folder, and what killed writers left there. A trained model that is needed again is trained again; an imported one is not.\v"
        "Examples:\n"
        "  qbench model prune --kind tuned\n"
        "  qbench model prune 84d3411d53d8705d --yes\n",
        children, NULL, NULL};
    struct prune p = {.table = table_new(NULL)};
    struct err e = {0};
    options_default(&p.options);
    options_parse(&argp, argc, argv, &p);
    table_column(p.table, "path", "", 0);
    table_column(p.table, "bytes", "B", 0);
    p.met = calloc((size_t)p.n_hashes + 1, sizeof *p.met);
    enum status s = p.met ? prune(&p, &e) : fail(&e, ST_ENOMEM, "no memory");
    table_note(p.table, p.go ? "Removed." : "Nothing is removed without --yes.");
    int code = options_print(&p.options, &p.table, 1); /* what is gone is told also after a failure */
    table_free(p.table);
    free(p.met);
    return s ? complain(&e) : code;
}
