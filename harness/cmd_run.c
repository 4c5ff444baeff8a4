/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "progress.h"
#include "session.h"

enum { OPT_SET = 1, OPT_SECTION, OPT_FILTER, OPT_DRY_RUN, OPT_RESUME, OPT_QUIET };

struct arguments {
    struct options options;
    const char *suite, *filter;
    struct session_sets sets;
    const char *sections[SESSION_SETS_MAX];
    int n_sections;
    bool dry_run, resume, quiet;
};

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
    case OPT_SECTION:
        if (a->n_sections == SESSION_SETS_MAX)
            argp_failure(state, EXIT_USAGE, 0, "more than %d times --section", SESSION_SETS_MAX);
        a->sections[a->n_sections++] = arg;
        return 0;
    case OPT_FILTER:
        a->filter = arg;
        return 0;
    case OPT_DRY_RUN:
        a->dry_run = true;
        return 0;
    case OPT_RESUME:
        a->resume = true;
        return 0;
    case OPT_QUIET:
        a->quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->suite)
            argp_failure(state, EXIT_USAGE, 0, "one suite at a time: '%s' is one too many", arg);
        a->suite = arg;
        return 0;
    case ARGP_KEY_END:
        if (!a->suite)
            argp_failure(state, EXIT_USAGE, 0, "name a suite; `qbench list suites` shows them");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int print_plan(const struct arguments *a, const struct suite *s)
{
    struct table *t = table_new("Cases that would run");
    double total = 0;
    char time[32];
    table_column(t, "section", "", 0);
    table_column(t, "key", "", 0);
    table_column(t, "seconds", "s", 2);
    for (size_t i = 0; i < s->count; i++) {
        double seconds = run_estimate(&s->cases[i]);
        total += seconds;
        table_row(t);
        table_text(t, 0, s->cases[i].section);
        table_text(t, 1, s->cases[i].key);
        if (s->cases[i].skip[0])
            table_absent(t, 2, s->cases[i].skip);
        else
            table_real(t, 2, seconds);
    }
    progress_duration(total, time, sizeof time);
    table_note(t, "%zu cases, about %s (training, where a model is @untrained, comes on top)", s->count, time);
    int code = options_print(&a->options, &t, 1);
    table_free(t);
    return code;
}

int cmd_run(int argc, char **argv)
{
    static const struct argp_option own[] = {
        {"set", OPT_SET, "KEY=VALUE", 0, "Replace a key in every section (may be repeated; VALUE may be a YAML list)", 0},
        {"section", OPT_SECTION, "NAME", 0, "Run only this section of the suite (may be repeated; NAME may be a glob)", 0},
        {"filter", OPT_FILTER, "GLOB", 0, "Run only the cases whose key matches, or axis=glob,axis=glob", 0},
        {"dry-run", OPT_DRY_RUN, 0, 0, "Print the cases and an estimate of time", 0},
        {"resume", OPT_RESUME, 0, 0, "Go on with the latest unfinished run of this suite, if there is one", 0},
        {"quiet", OPT_QUIET, 0, 0, "No progress on the standard error", 0},
        {0},
    };
    static const struct argp_child children[] = {{&options_argp, 0, "Common options:", 10}, {0}};
    static const struct argp argp = {
        own, parse, "SUITE",
        "Runs a suite: a file of suites/, by name, or any YAML file. Every result is stored as soon as it is there.\v"
        "Examples:\n"
        "  qbench run quick\n"
        "  qbench run quick --set model=random:1b --filter 'work=decode'\n"
        "  qbench run kernels --section bandwidth --section 'hot_*'\n"
        "  qbench run smoke --isa avx2 --threads 1 --label before\n"
        "  qbench run quick --dry-run --format csv\n",
        children, NULL, NULL};
    struct arguments a = {0};
    struct suite suite;
    struct err e = {0};
    char overrides[SESSION_OVERRIDES_MAX][64];
    const char *sets[SESSION_OVERRIDES_MAX + SESSION_SETS_MAX]; /* the common options', then --set, which wins */
    options_default(&a.options);
    options_parse(&argp, argc, argv, &a);
    int n = session_overrides(&a.options, overrides);
    for (int i = 0; i < n; i++)
        sets[i] = overrides[i];
    for (int i = 0; i < a.sets.n; i++)
        sets[n + i] = a.sets.text[i];
    struct suite_options so = {.sets = sets, .n_sets = n + a.sets.n, .n_general = n, .sections = a.sections, .n_sections = a.n_sections, .filter = a.filter};
    if (suite_load(&suite, a.suite, &so, &e) != ST_OK)
        return complain(&e);
    struct session s = {.options = &a.options, .suite = &suite, .resume = a.resume, .quiet = a.quiet, .argc = argc, .argv = argv};
    int code;
    if (!a.dry_run)
        code = session_run(&s);
    else if (prepare_models(suite.cases, suite.count, false, NULL, NULL, true, &e) == ST_OK)
        code = print_plan(&a, &suite);
    else
        code = complain(&e);
    suite_close(&suite);
    return code;
}
