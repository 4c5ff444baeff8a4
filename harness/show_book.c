/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "show_book.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum status book_open(struct book *b, struct store *s, int64_t run, const char *works, struct err *e)
{
    char id[32], sql[512];
    const char *params[] = {id};
    *b = (struct book){0};
    snprintf(id, sizeof id, "%lld", (long long)run);
    snprintf(sql, sizeof sql, "SELECT * FROM result_axes WHERE run_id = CAST(?1 AS INTEGER) AND work IN (%s) ORDER BY result_id", works);
    enum status st = store_query(s, sql, params, 1, &b->results, e);
    snprintf(sql, sizeof sql,
             "SELECT v.result_id, v.name, v.unit, v.value, v.lo, v.hi, v.text FROM value v JOIN result_axes a USING (result_id)"
             " WHERE a.run_id = CAST(?1 AS INTEGER) AND a.work IN (%s) ORDER BY v.result_id, v.name", works);
    if (st == ST_OK)
        st = store_query(s, sql, params, 1, &b->values, e);
    if (st != ST_OK)
        book_close(b);
    return st;
}

void book_close(struct book *b)
{
    table_free(b->results);
    table_free(b->values);
    *b = (struct book){0};
}

size_t book_size(const struct book *b) { return b->results->n_rows; }

static const struct cell *axis_cell(const struct book *b, size_t row, const char *axis)
{
    int column = table_find(b->results, axis);
    assert(column >= 0);
    return table_cell(b->results, row, column);
}

const char *book_text(const struct book *b, size_t row, const char *axis)
{
    const struct cell *c = axis_cell(b, row, axis);
    return c->type == CELL_TEXT ? c->text : "";
}

long long book_int(const struct book *b, size_t row, const char *axis)
{
    const struct cell *c = axis_cell(b, row, axis);
    return c->type == CELL_INT ? c->integer : 0;
}

bool book_is(const struct book *b, size_t row, const char *axis, const char *value) { return !strcmp(book_text(b, row, axis), value); }
bool book_measured(const struct book *b, size_t row) { return book_is(b, row, "outcome", "ok") || book_is(b, row, "outcome", "untrusted"); }

/* Cases without the axis do not count: f32 has no group, and that is no other group. */
bool book_varies(const struct book *b, const char *axis)
{
    const struct cell *first = NULL;
    for (size_t i = 0; i < book_size(b); i++) {
        const struct cell *c = axis_cell(b, i, axis);
        if (c->type == CELL_EMPTY)
            continue;
        if (first && (c->type == CELL_TEXT ? strcmp(c->text, first->text) != 0 : c->integer != first->integer))
            return true;
        first = c;
    }
    return false;
}

static double real_of(const struct cell *c) { return c->type == CELL_INT ? (double)c->integer : c->type == CELL_REAL ? c->real : NAN; }

struct wanted {
    long long result;
    const char *name;
};

static int by_result_and_name(const void *wanted, const void *row)
{
    const struct wanted *w = wanted;
    const struct cell *c = row; /* the row's first cell: result_id; the second: name */
    if (w->result != c[0].integer)
        return w->result < c[0].integer ? -1 : 1;
    return strcmp(w->name, c[1].text);
}

struct named book_value(const struct book *b, size_t row, const char *name)
{
    struct named absent = {NAN, NAN, NAN, "", "not measured"};
    const char *reason = book_text(b, row, "reason");
    struct wanted w = {book_int(b, row, "result_id"), name};
    const struct cell *c = b->values->n_rows ? bsearch(&w, b->values->cells, b->values->n_rows, (size_t)b->values->n_columns * sizeof *c, by_result_and_name) : NULL;
    if (!c) {
        absent.reason = *reason ? reason : absent.reason;
        return absent;
    }
    struct named n = {real_of(&c[3]), real_of(&c[4]), real_of(&c[5]), c[2].type == CELL_TEXT ? c[2].text : "", NULL};
    if (isnan(n.value))
        n.reason = c[6].type == CELL_TEXT && *c[6].text ? c[6].text : "absent";
    return n;
}

void book_put_axis(const struct book *b, size_t row, const char *axis, struct table *t, int column)
{
    const struct cell *c = axis_cell(b, row, axis);
    if (c->type == CELL_TEXT)
        table_text(t, column, c->text);
    else if (c->type == CELL_INT)
        table_int(t, column, c->integer);
}

void book_put(const struct book *b, size_t row, const char *name, double scale, struct table *t, int column)
{
    struct named n = book_value(b, row, name);
    if (n.reason)
        table_absent(t, column, n.reason);
    else
        table_interval(t, column, n.value * scale, n.lo * scale, n.hi * scale);
}
