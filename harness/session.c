/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "interrupt.h"
#include "progress.h"
#include "show.h"
#include "store.h"

void session_add_set(struct session_sets *sets, const char *text, struct argp_state *state)
{
    if (sets->n == SESSION_SETS_MAX)
        argp_failure(state, EXIT_USAGE, 0, "more than %d times --set", SESSION_SETS_MAX);
    sets->text[sets->n++] = text;
}

int session_overrides(const struct options *o, char sets[SESSION_OVERRIDES_MAX][64])
{
    int n = 0;
    if (o->threads)
        snprintf(sets[n++], 64, "threads=%d", o->threads);
    if (o->has_seed)
        snprintf(sets[n++], 64, "seed=%llu", (unsigned long long)o->seed);
    if (o->isa)
        snprintf(sets[n++], 64, "isa=%s", o->isa);
    return n;
}

enum status session_override_case(const struct options *o, struct bench_case *c, struct err *e)
{
    char sets[SESSION_OVERRIDES_MAX][64];
    enum status st = ST_OK;
    int n = session_overrides(o, sets);
    for (int i = 0; st == ST_OK && i < n; i++) {
        char *value = strchr(sets[i], '=');
        *value++ = '\0';
        if (work_reads(c->work, axis_index(sets[i])))
            st = case_set(c, sets[i], value, e);
    }
    return st;
}

/* What the run stands on. */
struct ground {
    struct store *store;
    struct machine machine;
    struct build build;
    json_t *conditions;
    char argv[2048];
};

/* As a shell would take it again: a key has blanks and goes in quotes. */
static void join_argv(int argc, char **argv, char *buf, size_t n)
{
    size_t used = 0;
    buf[0] = '\0';
    for (int i = 0; i < argc && used < n; i++) {
        const char *quote = i && strpbrk(argv[i], " \t*?[]{}$\"`;&|<>()#~") ? "'" : "";
        used += (size_t)snprintf(buf + used, n - used, "%s%s%s%s", i ? " " : "", quote, argv[i], quote);
    }
}

static enum status ground_open(struct ground *g, const struct session *s, struct err *e)
{
    const char *sysroot = s->options->sysroot;
    *g = (struct ground){0};
    join_argv(s->argc, s->argv, g->argv, sizeof g->argv);
    enum status st = store_open(&g->store, s->options->db, STORE_WRITE, e);
    if (st == ST_OK)
        st = machine_read(&g->machine, sysroot, e);
    if (st == ST_OK)
        st = build_read(&g->build, e);
    if (st == ST_OK)
        g->conditions = conditions_read(sysroot, NULL);
    return st;
}

static void ground_close(struct ground *g)
{
    json_decref(g->conditions);
    build_close(&g->build);
    machine_close(&g->machine);
    store_close(g->store);
}

static enum status begin(struct session *s, struct ground *g, struct err *e)
{
    struct run_info info = {.suite = s->suite->name, .suite_text = s->suite->text, .suite_hash = s->suite->hash, .label = s->options->label,
                            .argv = g->argv, .machine = &g->machine, .build = &g->build, .conditions = g->conditions, .cases = (long)s->suite->count};
    s->run_id = 0;
    enum status st = s->resume ? store_run_unfinished(g->store, &info, &s->run_id, e) : ST_OK;
    if (st != ST_OK || s->run_id) {
        if (st == ST_OK && !s->quiet)
            fprintf(stderr, "resuming run %lld\n", (long long)s->run_id);
        return st;
    }
    return store_run_begin(g->store, &info, &s->run_id, e);
}

static enum status end(struct session *s, struct ground *g, struct err *e)
{
    char warnings[2048];
    json_t *after = conditions_read(s->options->sysroot, g->conditions);
    conditions_warn(g->conditions, after, warnings, sizeof warnings);
    enum status st = store_run_end(g->store, s->run_id, after, warnings, e);
    if (*warnings && !s->quiet)
        fprintf(stderr, "%s\n", warnings);
    json_decref(after);
    return st;
}

static void tell(const struct session *s, const struct run_summary *sum)
{
    char time[32];
    progress_duration(sum->seconds, time, sizeof time);
    fprintf(stderr, "run %lld: ", (long long)s->run_id);
    for (int i = 0; i < OUTCOME_COUNT; i++)
        if (sum->outcomes[i])
            fprintf(stderr, "%zu %s, ", sum->outcomes[i], outcome_names[i]);
    if (sum->resumed)
        fprintf(stderr, "%zu of them done before, ", sum->resumed);
    fprintf(stderr, "in %s\n", time);
}

/* A suite is told by its tables; of one case, every value is of interest. */
static enum status collect(const struct session *s, struct store *store, struct show_tables *out, struct err *e)
{
    *out = (struct show_tables){0};
    if (s->suite->count > 1)
        return show_extent(store, s->run_id, SHOW_SUMMARY, out, e);
    enum status st = show_problems(store, s->run_id, &out->tables[0], e);
    out->n = out->tables[0] != NULL;
    if (st == ST_OK)
        st = show_values(store, s->run_id, &out->tables[out->n], e);
    out->n += out->tables[out->n] != NULL;
    return st;
}

static int print_run(const struct session *s, struct store *store)
{
    struct show_tables shown;
    struct err e = {0};
    enum status st = collect(s, store, &shown, &e);
    int code = st == ST_OK ? options_print(s->options, shown.tables, shown.n) : complain(&e);
    show_close(&shown);
    return code;
}

int session_run(struct session *s)
{
    struct err e = {0};
    struct ground g;
    struct run_summary summary = {0};
    volatile const int *stop = interrupt_flag();
    int code = EXIT_OK;
    enum status st = ground_open(&g, s, &e);
    if (st == ST_OK)
        st = output_check(s->options->output, &e);
    if (st == ST_OK)
        st = prepare_models(s->suite->cases, s->suite->count, true, g.store, stop, s->quiet, &e);
    if (st == ST_OK)
        st = begin(s, &g, &e);
    struct run_options o = {.store = g.store, .run_id = s->run_id, .sysroot = s->options->sysroot, .stop = stop, .quiet = s->quiet};
    if (st == ST_OK)
        st = run_cases(s->suite->cases, s->suite->count, &o, &summary, &e);
    if (st == ST_OK)
        st = end(s, &g, &e);
    if (summary.seconds > 0 && !s->quiet)
        tell(s, &summary);
    if (st == ST_OK) {
        code = print_run(s, g.store);
        code = code ? code : run_exit_code(&summary);
    }
    ground_close(&g);
    return st == ST_OK ? code : complain(&e);
}
