/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "chart.h"
#include "host.h"
#include "options.h"
#include "show.h"
#include "words.h"

enum { CHARTS_MAX = 64, OPT_RUN = 1 };

struct arguments {
    struct options common;
    const char *run;
    const char *charts[CHARTS_MAX];
    int n_charts;
};

static const struct argp_option table_of_options[] = {
    {"run", OPT_RUN, "RUN", 0, "A run by number, uuid or label (default: latest)", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &a->common; return 0;
    case OPT_RUN: a->run = arg; return 0;
    case ARGP_KEY_ARG:
        if (a->n_charts == CHARTS_MAX)
            argp_failure(state, EXIT_USAGE, 0, "more than %d charts at once", CHARTS_MAX);
        a->charts[a->n_charts++] = arg;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {{&options_argp, 0, "Common options (--output is a folder here, plots/out by default):", 10}, {0}};
static const struct argp parser = {
    .options = table_of_options,
    .parser = parse,
    .args_doc = "[CHART…]",
    .doc = "Draw the charts of plots/*.gp, all of them or those named, as SVG and PNG. Beside each picture stand its data and its whole"
           " gnuplot script, to be restyled.\v"
           "Examples:\n"
           "  qbench plot\n"
           "  qbench plot throughput quality --run 3\n"
           "  qbench plot --run before --output /tmp/before",
    .children = children,
};

static volatile sig_atomic_t interrupted;
static void on_signal(int number) { interrupted = number; }

/* A chart that is being drawn when the signal comes is finished or taken away, never left half-made. */
static void obey_signals(void)
{
    struct sigaction a = {.sa_handler = on_signal};
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}

static enum status check_names(const struct arguments *a, char *const *known, struct err *e)
{
    for (int i = 0; i < a->n_charts; i++) {
        struct nearest near = nearest_to(a->charts[i]);
        char list[512] = "", hint[128];
        bool found = false;
        for (char *const *k = known; *k; k++) {
            found |= !strcmp(*k, a->charts[i]);
            nearest_offer(&near, *k);
            words_append(list, sizeof list, *k);
        }
        if (!found && *nearest_hint(&near, hint, sizeof hint))
            return fail(e, ST_EUSAGE, "no chart is named '%s'%s", a->charts[i], hint);
        if (!found)
            return fail(e, ST_EUSAGE, "no chart is named '%s'; there are %s", a->charts[i], list);
    }
    return ST_OK;
}

static bool is_wanted(const struct arguments *a, const char *name)
{
    for (int i = 0; i < a->n_charts; i++)
        if (!strcmp(a->charts[i], name))
            return true;
    return !a->n_charts;
}

static enum status draw_one(const char *sources, const char *name, struct store *s, int64_t run, const char *folder, struct table *drawn, struct err *e)
{
    char path[4096];
    struct chart c;
    snprintf(path, sizeof path, "%s/%s.gp", sources, name);
    enum status st = chart_load(&c, path, e);
    if (st != ST_OK)
        return st;
    st = chart_draw(&c, s, run, folder, e);
    if (st == ST_OK) {
        snprintf(path, sizeof path, "%s/%s.png", folder, name);
        table_row(drawn);
        table_text(drawn, 0, name);
        table_text(drawn, 1, path);
        table_text(drawn, 2, c.title);
    }
    chart_free(&c);
    return st;
}

/* One chart that fails does not take the others with it, unless gnuplot itself is what is missing. */
static int draw_all(const struct arguments *a, struct store *s, int64_t run, const char *sources, char *const *names, struct table *drawn)
{
    char folder[2048];
    int code = EXIT_OK;
    host_path(folder, sizeof folder, "plots/out");
    if (a->common.output)
        snprintf(folder, sizeof folder, "%s", a->common.output);
    for (; *names && !interrupted; names++) {
        struct err e = {0};
        if (!is_wanted(a, *names))
            continue;
        if (draw_one(sources, *names, s, run, folder, drawn, &e) == ST_OK)
            continue;
        if (interrupted)
            break;
        complain(&e);
        code = EXIT_NOTHING;
        if (e.status == ST_EUNSUPPORTED || e.status == ST_EUSAGE)
            return e.status == ST_EUSAGE ? EXIT_USAGE : code;
    }
    return interrupted ? EXIT_INTERRUPTED : code;
}

static int plot(const struct arguments *a, struct store *s, int64_t run, const char *sources, char *const *names)
{
    struct options print = a->common;
    struct table *drawn = table_new("Charts");
    print.output = NULL; /* the folder of the pictures, not the place of this table */
    table_column(drawn, "chart", "", 0);
    table_column(drawn, "picture", "", 0);
    table_column(drawn, "what it shows", "", 0);
    obey_signals();
    int code = draw_all(a, s, run, sources, names, drawn);
    table_note(drawn, "Beside each .png: the same as .svg, its data (.dat) and its script (.gp).");
    if (drawn->n_rows)
        code = options_print(&print, &drawn, 1) == EXIT_OK ? code : EXIT_NOTHING;
    table_free(drawn);
    return code;
}

int cmd_plot(int argc, char **argv)
{
    struct arguments a = {0};
    struct store *s = NULL;
    struct err e = {0};
    char sources[1024], **names = NULL;
    int64_t run = 0;
    options_default(&a.common);
    options_parse(&parser, argc, argv, &a);
    host_path(sources, sizeof sources, "plots");
    enum status st = chart_names(&names, sources, &e);
    if (st == ST_OK)
        st = check_names(&a, names, &e);
    if (st == ST_OK && !names[0])
        st = fail(&e, ST_ENOENT, "%s holds no chart (*.gp)", sources);
    if (st == ST_OK)
        st = store_open(&s, a.common.db, STORE_READ, &e);
    if (st == ST_OK)
        st = show_find_run(s, a.run ? a.run : a.common.label, NULL, &run, &e);
    int code = st == ST_OK ? plot(&a, s, run, sources, names) : complain(&e);
    store_close(s);
    chart_names_free(names);
    return code;
}
