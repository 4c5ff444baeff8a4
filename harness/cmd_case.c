/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "session.h"
#include "store.h"

enum { OPT_SET = 1, OPT_QUIET };

struct arguments {
    struct options options;
    char key[CASE_KEY_MAX];
    struct session_sets sets;
    bool quiet;
};

/* A key may come as one argument or, unquoted, as one an axis. */
static void add_to_key(struct arguments *a, const char *arg, struct argp_state *state)
{
    size_t used = strlen(a->key);
    if (used + strlen(arg) + 2 > sizeof a->key)
        argp_failure(state, EXIT_USAGE, 0, "the key is longer than %d characters", CASE_KEY_MAX - 1);
    snprintf(a->key + used, sizeof a->key - used, "%s%s", used ? " " : "", arg);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->options;
        return 0;
    case OPT_SET:
        session_add_set(&a->sets, arg, state);
        return 0;
    case OPT_QUIET:
        a->quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        add_to_key(a, arg, state);
        return 0;
    case ARGP_KEY_END:
        if (!a->key[0])
            argp_failure(state, EXIT_USAGE, 0, "give the key of a case, such as 'work=gemm kernel=int4_vnni m=1'");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum status apply_sets(struct bench_case *c, const struct session_sets *sets, struct err *e)
{
    for (int i = 0; i < sets->n; i++) {
        char name[64];
        const char *set = sets->text[i], *equals = strchr(set, '=');
        if (!equals || equals - set >= (long)sizeof name)
            return fail(e, ST_EUSAGE, "--set '%s' is not of the form setting=value", set);
        snprintf(name, sizeof name, "%.*s", (int)(equals - set), set);
        enum status st = settings_set(&c->settings, name, equals + 1, e);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

/* A model in a key is a name and a hash; its file is in the cache, or where the database last saw it. */
static void find_model(struct bench_case *c, const char *db)
{
    struct store *store;
    const char *at = strchr(case_text(c, "model"), '@');
    if (!at || store_open(&store, db, STORE_READ, NULL) != ST_OK)
        return;
    if (store_model_path(store, at + 1, c->settings.model_path, sizeof c->settings.model_path, NULL) != ST_OK)
        c->settings.model_path[0] = '\0';
    store_close(store);
}

int cmd_case(int argc, char **argv)
{
    static const struct argp_option own[] = {
        {"set", OPT_SET, "SETTING=VALUE", 0, "How to measure: a row of `qbench list settings` (may be repeated)", 0},
        {"quiet", OPT_QUIET, 0, 0, "No progress on the standard error", 0},
        {0},
    };
    static const struct argp_child children[] = {{&options_argp, 0, "Common options:", 10}, {0}};
    static const struct argp argp = {
        own, parse, "KEY",
        "Runs one case by its key, as `qbench show --cases` and every failure print it.\v"
        "Examples:\n"
        "  qbench case 'work=gemm kernel=int4_vnni group=32 m=1 n=4096 k=4096 cache=cold threads=2'\n"
        "  qbench case work=bandwidth op=read --set samples=30\n",
        children, NULL, NULL};
    struct arguments a = {0};
    struct bench_case c;
    struct err e = {0};
    options_default(&a.options);
    options_parse(&argp, argc, argv, &a);
    enum status st = case_parse(&c, a.key, &e);
    if (st == ST_OK)
        st = session_override_case(&a.options, &c, &e);
    if (st == ST_OK)
        st = apply_sets(&c, &a.sets, &e);
    if (st == ST_OK)
        find_model(&c, a.options.db);
    if (st == ST_OK)
        st = case_resolve(&c, &e);
    if (st != ST_OK)
        return complain(&e);
    struct suite one = {.name = "case", .text = c.key, .cases = &c, .count = 1};
    snprintf(one.hash, sizeof one.hash, "%016llx", (unsigned long long)XXH64(c.key, strlen(c.key), 0));
    struct session s = {.options = &a.options, .suite = &one, .quiet = a.quiet, .argc = argc, .argv = argv};
    return session_run(&s);
}
