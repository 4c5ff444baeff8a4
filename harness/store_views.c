/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store_views.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "case.h"

enum { SQL_MAX = 16384 };

/* Truncation cannot pass: SQLite would refuse the half statement. */
static void append(char *sql, const char *fmt, ...)
{
    size_t used = strlen(sql);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(sql + used, SQL_MAX - used, fmt, ap);
    va_end(ap);
}

/* The value before and behind its '@': "name@content hash". */
static void append_parts(char *sql, const char *axis, const char *name, const char *hash)
{
    append(sql, ",\n       CASE WHEN instr(json_extract(c.axes, '$.%s'), '@') > 0"
                " THEN substr(json_extract(c.axes, '$.%s'), 1, instr(json_extract(c.axes, '$.%s'), '@') - 1)"
                " ELSE json_extract(c.axes, '$.%s') END AS %s", axis, axis, axis, axis, name);
    if (hash)
        append(sql, ",\n       CASE WHEN instr(json_extract(c.axes, '$.%s'), '@') > 0"
                    " THEN substr(json_extract(c.axes, '$.%s'), instr(json_extract(c.axes, '$.%s'), '@') + 1) END AS %s", axis, axis, axis, hash);
}

/* 1 where these axes are absent or at their defaults: what charts of one bar a format draw. */
static void append_plain(char *sql)
{
    static const char *const names[] = {"zero_point", "act", "head", "kv", "batch", "depth"};
    const char *and = "";
    append(sql, ",\n       ");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++, and = " AND ") {
        const char *fallback = axes[axis_index(names[i])].fallback;
        append(sql, "%scoalesce(json_extract(c.axes, '$.%s'), '%s') || '' = '%s'", and, names[i], fallback, fallback);
    }
    append(sql, " AS plain");
}

static void append_result_axes(char *sql, const char *temp)
{
    append(sql, "CREATE %sVIEW result_axes AS\nSELECT r.id AS result_id, r.run_id, r.case_id, c.key, r.section, r.outcome, r.reason", temp);
    for (int i = 0; axes[i].name; i++) {
        bool is_text = !strcmp(axes[i].name, "text");
        append(sql, ",\n       json_extract(c.axes, '$.%s') AS \"%s\"", axes[i].name, is_text ? "text_id" : axes[i].name);
        if (is_text)
            append_parts(sql, "text", "text", NULL);
        if (!strcmp(axes[i].name, "model"))
            append_parts(sql, "model", "model_name", "model_hash");
    }
    append_plain(sql);
    append(sql, "\nFROM result r JOIN bench_case c ON c.id = r.case_id");
}

static const struct view {
    const char *name, *sql; /* NULL: made from the axes */
} views[] = {
    {"result_axes", NULL},
    {"value_axes", "VIEW value_axes AS\nSELECT a.*, v.name, v.unit, v.value, v.lo, v.hi, v.text AS value_text\n"
                   "FROM result_axes a JOIN value v USING (result_id)"},
    {"rate", "VIEW rate AS\nSELECT a.*, v.unit, v.value AS rate, v.lo, v.hi\n"
             "FROM result_axes a JOIN value v ON v.result_id = a.result_id AND v.name = 'rate'\nWHERE a.outcome IN ('ok', 'untrusted')"},
    {"run_outcomes", "VIEW run_outcomes AS\nSELECT run_id, outcome, count(*) AS cases FROM result GROUP BY run_id, outcome"},
};

static void view_sql(const struct view *v, bool temp, char *sql)
{
    *sql = '\0';
    if (v->sql)
        append(sql, "CREATE %s%s", temp ? "TEMP " : "", v->sql);
    else
        append_result_axes(sql, temp ? "TEMP " : "");
}

static bool stands(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *st;
    if (sqlite3_prepare_v2(db, "SELECT 1 FROM main.sqlite_schema WHERE type = 'view' AND sql = ?1", -1, &st, NULL) != SQLITE_OK)
        return false;
    sqlite3_bind_text(st, 1, sql, -1, SQLITE_STATIC);
    bool found = sqlite3_step(st) == SQLITE_ROW;
    sqlite3_finalize(st);
    return found;
}

static bool all_stand(sqlite3 *db)
{
    char sql[SQL_MAX];
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        view_sql(&views[i], false, sql);
        if (!stands(db, sql))
            return false;
    }
    return true;
}

/* All or none: a view of the file sees only views of the file, and so not what is temporary. */
int store_views(sqlite3 *db, bool temp)
{
    char sql[SQL_MAX], drop[64];
    int rc = SQLITE_OK;
    if (all_stand(db))
        return rc;
    for (size_t i = 0; rc == SQLITE_OK && i < sizeof views / sizeof *views; i++) {
        view_sql(&views[i], temp, sql);
        snprintf(drop, sizeof drop, "DROP VIEW IF EXISTS %s.%s", temp ? "temp" : "main", views[i].name);
        rc = sqlite3_exec(db, drop, NULL, NULL, NULL);
        if (rc == SQLITE_OK)
            rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    }
    return rc;
}
