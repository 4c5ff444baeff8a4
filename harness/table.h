/* table.h — a table of typed cells, and the sinks that print one (sinks.def). */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_TABLE_H
#define QBENCH_TABLE_H

#include <stdio.h>

#include "base.h"

/*
 * Machine forms (csv, json, jsonl) print full precision and one cell a field; text and md print what a person reads: `digits`
 * significant digits, intervals as "1.23 [1.20, 1.26]", "n/a" for an absent number. Colour only on a terminal without NO_COLOR.
 */
enum cell_type { CELL_EMPTY, CELL_TEXT, CELL_INT, CELL_REAL, CELL_INTERVAL };
struct cell {
    enum cell_type type;
    char *text; /* owned; for CELL_EMPTY the reason, if there is one */
    long long integer;
    double real, lo, hi;
};
struct column {
    char *name, *unit; /* owned */
    int digits;        /* in text and md: > 0 significant digits, < 0 that many decimals, 0 = 4 significant */
};
struct table {
    char *title;       /* owned, may be NULL */
    struct column *columns;
    int n_columns;
    struct cell *cells; /* (rows, n_columns) */
    size_t n_rows, capacity;
    char **notes;      /* lines under the table in text and md */
    int n_notes;
};

struct table *table_new(const char *title);
void table_free(struct table *t);
void table_column(struct table *t, const char *name, const char *unit, int digits);
void table_row(struct table *t); /* starts a row of empty cells */
/* into the last row, by column index */
void table_text(struct table *t, int column, const char *text);
void table_int(struct table *t, int column, long long x);
void table_real(struct table *t, int column, double x); /* NaN: empty */
void table_interval(struct table *t, int column, double x, double lo, double hi);
void table_absent(struct table *t, int column, const char *reason);
/* NULL past the last column or row; table_find: -1 when there is no such column */
const struct cell *table_cell(const struct table *t, size_t row, int column);
int table_find(const struct table *t, const char *column);
void table_drop_empty(struct table *t, int column); /* removes the column when no cell of it says anything */
void table_note(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct sink {
    const char *name, *title;
    enum status (*print)(FILE *f, const struct table *const *tables, int n, struct err *e);
};
extern const struct sink *const sinks[]; /* NULL-terminated */
const struct sink *sink_find(const char *name);

/* A cell as text and md show it. */
void cell_show(const struct cell *c, const struct column *column, char *buf, size_t n);
/* The shortest decimal that reads back as x; "" for what is no number (JSON and CSV have no word for it). */
void real_show(double x, char *buf, size_t n);

/* Could path (NULL or "-": stdout) be written? Asked before long work whose result goes there. */
enum status output_check(const char *path, struct err *e);

/* Prints tables in the named form to path (NULL or "-": stdout); a file is written whole or not at all. ST_EUSAGE lists the forms. */
enum status tables_print(const struct table *const *tables, int n, const char *form, const char *path, struct err *e);

#endif
