/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "options.h"
#include "show.h"

struct arguments {
    struct options common;
    const char *run, *suite;
    bool runs, cases, all;
};

enum { OPT_SUITE = 1, OPT_RUNS, OPT_CASES, OPT_ALL };

static const struct argp_option table_of_options[] = {
    {"suite", OPT_SUITE, "NAME", 0, "The latest run of this suite", 0},
    {"runs", OPT_RUNS, NULL, 0, "List the runs of the database", 0},
    {"cases", OPT_CASES, NULL, 0, "A line a case instead of tables", 0},
    {"all", OPT_ALL, NULL, 0, "The tables, every case and every value", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &a->common; return 0;
    case OPT_SUITE: a->suite = arg; return 0;
    case OPT_RUNS: a->runs = true; return 0;
    case OPT_CASES: a->cases = true; return 0;
    case OPT_ALL: a->all = true; return 0;
    case ARGP_KEY_ARG:
        if (a->run)
            argp_failure(state, EXIT_USAGE, 0, "one run at a time, not '%s' and '%s'", a->run, arg);
        a->run = arg;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {{&options_argp, 0, "Common options:", 10}, {0}};
static const struct argp parser = {
    .options = table_of_options,
    .parser = parse,
    .args_doc = "[RUN]",
    .doc = "Print the tables of a run: RUN is its number, its label or 'latest' (the default).\v"
           "Examples:\n"
           "  qbench show\n"
           "  qbench show 3 --format md --output run3.md\n"
           "  qbench show --suite quick --all --format json\n"
           "  qbench show --runs",
    .children = children,
};

static enum status collect(const struct arguments *a, struct store *s, struct show_tables *out, struct err *e)
{
    int64_t run;
    enum status st;
    if (a->runs) {
        st = show_runs(s, a->suite, &out->tables[0], e);
        if (st == ST_OK && !out->tables[0])
            st = fail(e, ST_ENOENT, "%s holds no run%s%s", store_path(s), a->suite ? " of suite " : "", a->suite ? a->suite : "");
        out->n = st == ST_OK;
        return st;
    }
    st = show_find_run(s, a->run ? a->run : a->common.label, a->suite, &run, e);
    return st == ST_OK ? show_extent(s, run, a->all ? SHOW_ALL : a->cases ? SHOW_CASES : SHOW_SUMMARY, out, e) : st;
}

int cmd_show(int argc, char **argv)
{
    struct arguments a = {0};
    struct show_tables shown = {.n = 0};
    struct store *s;
    struct err e = {0};
    options_default(&a.common);
    options_parse(&parser, argc, argv, &a);
    if (store_open(&s, a.common.db, STORE_READ, &e) != ST_OK)
        return complain(&e);
    int code = collect(&a, s, &shown, &e) == ST_OK ? options_print(&a.common, shown.tables, shown.n) : complain(&e);
    show_close(&shown);
    store_close(s);
    return code;
}
