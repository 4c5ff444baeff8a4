/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "show.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static enum status query_run(struct store *s, const char *sql, int64_t run, struct table **out, struct err *e)
{
    char id[32];
    const char *params[] = {id};
    snprintf(id, sizeof id, "%lld", (long long)run);
    return store_query(s, sql, params, 1, out, e);
}

static void retitle(struct table *t, const char *fmt, int64_t run)
{
    char text[256];
    snprintf(text, sizeof text, fmt, (long long)run);
    free(t->title);
    t->title = strdup(text);
}

/* A table that says nothing is none. */
static void drop_empty(struct table **t)
{
    if (*t && !(*t)->n_rows) {
        table_free(*t);
        *t = NULL;
    }
}

enum status show_find_run(struct store *s, const char *which, const char *suite, int64_t *run, struct err *e)
{
    /* The latest run is that of a suite, if there is one: a case repeated in between hides nothing. */
    static const char sql[] = "SELECT id FROM run WHERE (?2 = '' OR suite = ?2) AND"
                              " (?1 = '' OR label = ?1 OR uuid = ?1 OR (?3 <> '' AND id = CAST(?3 AS INTEGER)))"
                              " ORDER BY (?1 = '' AND ?2 = '' AND suite IN ('case', 'eval')), id DESC LIMIT 1";
    which = !which || !strcmp(which, "latest") ? "" : which;
    suite = suite ? suite : "";
    bool number = *which && strspn(which, "0123456789") == strlen(which);
    const char *params[] = {which, suite, number ? which : ""};
    struct table *t;
    enum status st = store_query(s, sql, params, 3, &t, e);
    if (st != ST_OK)
        return st;
    const struct cell *c = table_cell(t, 0, 0);
    bool found = c && c->type == CELL_INT;
    *run = found ? c->integer : 0;
    table_free(t);
    if (found)
        return ST_OK;
    if (!*which && !*suite)
        return fail(e, ST_ENOENT, "%s holds no run yet; `qbench run quick` makes one", store_path(s));
    return fail(e, ST_ENOENT, "%s holds no run '%s'%s%s; `qbench show --runs` lists them", store_path(s), *which ? which : "latest", *suite ? " of suite " : "", suite);
}

enum status show_runs(struct store *s, const char *suite, struct table **out, struct err *e)
{
    static const char sql[] =
        "SELECT r.id AS run, r.started, r.label, r.suite, CASE WHEN r.complete THEN 'complete' ELSE 'unfinished' END AS state, r.cases,"
        " (SELECT count(*) FROM result x WHERE x.run_id = r.id) AS done,"
        " (SELECT count(*) FROM result x WHERE x.run_id = r.id AND x.outcome = 'ok') AS ok,"
        " coalesce(json_extract(m.json, '$.cpu'), r.machine_id) AS machine,"
        " substr(coalesce(json_extract(b.json, '$.commit'), r.build_id), 1, 12) AS build, r.uuid"
        " FROM run r JOIN machine m ON m.id = r.machine_id JOIN build b ON b.id = r.build_id WHERE ?1 = '' OR r.suite = ?1 ORDER BY r.id";
    const char *params[] = {suite ? suite : ""};
    enum status st = store_query(s, sql, params, 1, out, e);
    if (st == ST_OK) {
        (*out)->title = strdup("Runs");
        drop_empty(out);
    }
    return st;
}

/* The header: one line a fact. */

static void fact(struct table *t, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    table_row(t);
    table_text(t, 0, name);
    table_text(t, 1, value);
}

static enum status add_outcomes(struct store *s, int64_t run, long long cases, struct table *t, struct err *e)
{
    struct table *o;
    char text[256] = "";
    long long done = 0;
    enum status st = query_run(s, "SELECT outcome, cases FROM run_outcomes WHERE run_id = CAST(?1 AS INTEGER) ORDER BY outcome <> 'ok', outcome", run, &o, e);
    if (st != ST_OK)
        return st;
    for (size_t i = 0; i < o->n_rows; i++) {
        size_t used = strlen(text);
        done += table_cell(o, i, 1)->integer;
        snprintf(text + used, sizeof text - used, "%s%lld %s", used ? ", " : "", table_cell(o, i, 1)->integer, table_cell(o, i, 0)->text);
    }
    if (done < cases)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%lld not run", *text ? ", " : "", cases - done);
    fact(t, "outcomes", text);
    table_free(o);
    return ST_OK;
}

static void add_warnings(struct table *t, const char *warnings)
{
    char line[512];
    for (const char *p = warnings; *p; p += strcspn(p, "\n"), p += *p == '\n') {
        snprintf(line, sizeof line, "%.*s", (int)strcspn(p, "\n"), p);
        fact(t, "warning", line);
    }
}

enum status show_header(struct store *s, int64_t run, struct table **out, struct err *e)
{
    static const char sql[] =
        "SELECT r.suite, r.label, r.started, coalesce(r.finished, 'unfinished') AS finished, r.uuid,"
        " coalesce(json_extract(m.json, '$.cpu'), '') || ', ' || coalesce(json_extract(m.json, '$.threads') || ' threads, ', '')"
        " || coalesce(printf('%.0f GiB, ', json_extract(m.json, '$.memory_bytes') / 1073741824.0), '')"
        " || coalesce(nullif(json_extract(m.json, '$.hypervisor'), 'none') || ', ', '') || 'id ' || m.id AS machine,"
        " coalesce(json_extract(m.json, '$.isa'), '') AS isa,"
        " substr(coalesce(json_extract(b.json, '$.commit'), 'unknown'), 1, 12) || CASE WHEN json_extract(b.json, '$.dirty') THEN ' (dirty)' ELSE '' END"
        " || coalesce(', ' || json_extract(b.json, '$.compiler'), '') || ', id ' || b.id AS build, r.argv AS command, r.warnings, r.cases"
        " FROM run r JOIN machine m ON m.id = r.machine_id JOIN build b ON b.id = r.build_id WHERE r.id = CAST(?1 AS INTEGER)";
    struct table *q, *t;
    *out = NULL;
    enum status st = query_run(s, sql, run, &q, e);
    if (st != ST_OK)
        return st;
    t = table_new(NULL);
    retitle(t, "Run %lld", run);
    table_column(t, "fact", "", 0);
    table_column(t, "value", "", 0);
    int warnings = table_find(q, "warnings"), cases = table_find(q, "cases");
    for (int i = 0; q->n_rows && i < warnings; i++)
        fact(t, q->columns[i].name, table_cell(q, 0, i)->text);
    if (q->n_rows) {
        st = add_outcomes(s, run, table_cell(q, 0, cases)->integer, t, e);
        add_warnings(t, table_cell(q, 0, warnings)->text);
    }
    table_free(q);
    if (st == ST_OK)
        *out = t;
    else
        table_free(t);
    return st;
}

enum status show_problems(struct store *s, int64_t run, struct table **out, struct err *e)
{
    static const char sql[] = "SELECT outcome, count(*) AS cases, reason, min(key) || CASE WHEN count(*) > 1 THEN ' …' ELSE '' END AS \"first case\" FROM result_axes"
                              " WHERE run_id = CAST(?1 AS INTEGER) AND outcome <> 'ok' GROUP BY outcome, reason ORDER BY outcome, cases DESC";
    enum status st = query_run(s, sql, run, out, e);
    if (st == ST_OK) {
        retitle(*out, "Not ok", run);
        drop_empty(out);
    }
    return st;
}

enum status show_cases(struct store *s, int64_t run, struct table **out, struct err *e)
{
    static const char sql[] = "SELECT v.value, v.lo, v.hi, a.section, a.outcome, v.unit, r.wall_seconds,"
                              " (SELECT count(*) FROM sample x WHERE x.result_id = a.result_id), a.reason, a.key"
                              " FROM result_axes a JOIN result r ON r.id = a.result_id LEFT JOIN value v ON v.result_id = a.result_id AND v.name = 'rate'"
                              " WHERE a.run_id = CAST(?1 AS INTEGER) ORDER BY a.result_id";
    struct table *q;
    *out = NULL;
    enum status st = query_run(s, sql, run, &q, e);
    if (st != ST_OK)
        return st;
    struct table *t = table_new(NULL);
    retitle(t, "Cases of run %lld", run);
    for (const char *const *name = (const char *const[]){"section", "outcome", "rate", "unit", NULL}; *name; name++)
        table_column(t, *name, "", 0);
    table_column(t, "wall", "s", 3);
    table_column(t, "samples", "", 0);
    table_column(t, "reason", "", 0);
    table_column(t, "key", "", 0);
    for (size_t i = 0; i < q->n_rows; i++) {
        const struct cell *c = table_cell(q, i, 0);
        table_row(t);
        table_text(t, 0, c[3].text);
        table_text(t, 1, c[4].text);
        table_interval(t, 2, c[0].real, c[1].real, c[2].real);
        table_text(t, 3, c[5].text);
        table_real(t, 4, c[6].real);
        table_int(t, 5, c[7].integer);
        table_text(t, 6, c[8].text);
        table_text(t, 7, c[9].text);
    }
    table_free(q);
    *out = t;
    return ST_OK;
}

enum status show_values(struct store *s, int64_t run, struct table **out, struct err *e)
{
    static const char sql[] = "SELECT name, value, lo, hi, unit, value_text AS text, key FROM value_axes"
                              " WHERE run_id = CAST(?1 AS INTEGER) ORDER BY result_id, name";
    enum status st = query_run(s, sql, run, out, e);
    if (st == ST_OK) {
        retitle(*out, "Values of run %lld", run);
        drop_empty(out);
    }
    return st;
}

typedef enum status view(struct store *s, int64_t run, struct table **out, struct err *e);
static view *const views[SHOW_TABLES_MAX] = {show_header, show_problems, show_models, show_random, show_paired,
                                             show_kernels, show_roofs, show_threads, show_cases, show_values};
enum { FIRST_DETAIL = SHOW_TABLES_MAX - 2 };

enum status show_extent(struct store *s, int64_t run, enum show_extent extent, struct show_tables *out, struct err *e)
{
    int first = extent == SHOW_CASES ? FIRST_DETAIL : 0, last = extent == SHOW_ALL ? SHOW_TABLES_MAX : extent == SHOW_CASES ? FIRST_DETAIL + 1 : FIRST_DETAIL;
    enum status st = ST_OK;
    *out = (struct show_tables){.n = 0};
    for (int i = first; st == ST_OK && i < last; i++) {
        st = views[i](s, run, &out->tables[out->n], e);
        out->n += st == ST_OK && out->tables[out->n];
    }
    if (st != ST_OK)
        show_close(out);
    return st;
}

enum status show_run(struct store *s, const char *which, struct show_tables *out, struct err *e)
{
    int64_t run;
    enum status st = show_find_run(s, which, NULL, &run, e);
    return st == ST_OK ? show_extent(s, run, SHOW_SUMMARY, out, e) : st;
}

void show_close(struct show_tables *t)
{
    for (int i = 0; i < SHOW_TABLES_MAX; i++)
        table_free(t->tables[i]);
    *t = (struct show_tables){.n = 0};
}
