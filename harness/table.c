/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "table.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SINK(name) extern const struct sink sink_##name;
#include "sinks.def"
#undef SINK

const struct sink *const sinks[] = {
#define SINK(name) &sink_##name,
#include "sinks.def"
#undef SINK
    NULL,
};

const struct sink *sink_find(const char *name)
{
    for (int i = 0; sinks[i]; i++)
        if (!strcmp(sinks[i]->name, name))
            return sinks[i];
    return NULL;
}

/* A table is what a person or a pipe is about to read: with no memory for a line of text there is nothing left to report it with. */
static void *must(void *p)
{
    if (!p)
        abort();
    return p;
}

static char *copy(const char *s) { return s ? must(strdup(s)) : NULL; }

struct table *table_new(const char *title)
{
    struct table *t = must(calloc(1, sizeof *t));
    t->title = copy(title);
    return t;
}

void table_free(struct table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_rows * (size_t)t->n_columns; i++)
        free(t->cells[i].text);
    for (int i = 0; i < t->n_columns; i++) {
        free(t->columns[i].name);
        free(t->columns[i].unit);
    }
    for (int i = 0; i < t->n_notes; i++)
        free(t->notes[i]);
    free(t->cells);
    free(t->columns);
    free(t->notes);
    free(t->title);
    free(t);
}

/* Columns come before rows: a later one would move every cell. */
void table_column(struct table *t, const char *name, const char *unit, int digits)
{
    if (t->n_rows)
        abort();
    t->columns = must(realloc(t->columns, (size_t)(t->n_columns + 1) * sizeof *t->columns));
    t->columns[t->n_columns++] = (struct column){copy(name), copy(unit ? unit : ""), digits};
}

void table_row(struct table *t)
{
    size_t width = (size_t)t->n_columns;
    if (t->n_rows == t->capacity) {
        t->capacity = t->capacity ? t->capacity * 2 : 16;
        t->cells = must(realloc(t->cells, t->capacity * (width ? width : 1) * sizeof *t->cells));
    }
    struct cell *row = t->cells + t->n_rows++ * width;
    for (size_t i = 0; i < width; i++)
        row[i] = (struct cell){.type = CELL_EMPTY, .real = NAN, .lo = NAN, .hi = NAN};
}

static struct cell *last(struct table *t, int column)
{
    if (!t->n_rows || column < 0 || column >= t->n_columns)
        abort();
    struct cell *c = t->cells + (t->n_rows - 1) * (size_t)t->n_columns + column;
    free(c->text);
    *c = (struct cell){.type = CELL_EMPTY, .real = NAN, .lo = NAN, .hi = NAN};
    return c;
}

void table_text(struct table *t, int column, const char *text)
{
    struct cell *c = last(t, column);
    c->text = copy(text);
    c->type = text ? CELL_TEXT : CELL_EMPTY;
}

void table_int(struct table *t, int column, long long x)
{
    struct cell *c = last(t, column);
    c->type = CELL_INT;
    c->integer = x;
}

void table_real(struct table *t, int column, double x)
{
    struct cell *c = last(t, column);
    if (isnan(x))
        return;
    c->type = CELL_REAL;
    c->real = x;
}

void table_interval(struct table *t, int column, double x, double lo, double hi)
{
    table_real(t, column, x);
    struct cell *c = t->cells + (t->n_rows - 1) * (size_t)t->n_columns + column;
    if (c->type != CELL_REAL || isnan(lo) || isnan(hi))
        return;
    c->type = CELL_INTERVAL;
    c->lo = lo;
    c->hi = hi;
}

void table_absent(struct table *t, int column, const char *reason)
{
    struct cell *c = last(t, column);
    c->text = reason && *reason ? copy(reason) : NULL;
}

const struct cell *table_cell(const struct table *t, size_t row, int column)
{
    if (row >= t->n_rows || column < 0 || column >= t->n_columns)
        return NULL;
    return t->cells + row * (size_t)t->n_columns + column;
}

int table_find(const struct table *t, const char *column)
{
    for (int i = 0; i < t->n_columns; i++)
        if (!strcmp(t->columns[i].name, column))
            return i;
    return -1;
}

void table_note(struct table *t, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        abort();
    va_end(ap);
    t->notes = must(realloc(t->notes, (size_t)(t->n_notes + 1) * sizeof *t->notes));
    t->notes[t->n_notes++] = text;
}

void real_show(double x, char *buf, size_t n)
{
    snprintf(buf, n, "%s", "");
    if (!isfinite(x))
        return;
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(buf, n, "%.*g", digits, x);
        if (strtod(buf, NULL) == x)
            return;
    }
}

/* Decimals that show x with so many significant digits: the three numbers of an interval share the first one's. */
static int decimals(double x, int digits)
{
    if (digits < 0)
        return -digits;
    if (x == 0 || !isfinite(x))
        return 0;
    int exponent = (int)floor(log10(fabs(x)));
    return max_int(0, (digits ? digits : 4) - 1 - exponent);
}

static void number(double x, int places, int digits, char *buf, size_t n)
{
    double size = fabs(x);
    if (isinf(x))
        snprintf(buf, n, "%s", x > 0 ? "inf" : "-inf");
    else if ((digits >= 0 && size > 0 && (size < 1e-4 || size >= 1e9)) || size >= 1e15)
        snprintf(buf, n, "%.*e", (digits > 0 ? digits : 4) - 1, x);
    else
        snprintf(buf, n, "%.*f", places, x);
}

void cell_show(const struct cell *c, const struct column *column, char *buf, size_t n)
{
    int digits = column->digits, places = decimals(c->real, digits);
    char x[48], lo[48], hi[48];
    number(c->real, places, digits, x, sizeof x);
    number(c->lo, places, digits, lo, sizeof lo);
    number(c->hi, places, digits, hi, sizeof hi);
    switch (c->type) {
    case CELL_TEXT: snprintf(buf, n, "%s", c->text); break;
    case CELL_INT: snprintf(buf, n, "%lld", c->integer); break;
    case CELL_REAL: snprintf(buf, n, "%s", x); break;
    case CELL_INTERVAL: snprintf(buf, n, "%s [%s, %s]", x, lo, hi); break;
    default: snprintf(buf, n, "%s", c->text ? "n/a" : "");
    }
}

void table_drop_empty(struct table *t, int column)
{
    for (size_t r = 0; r < t->n_rows; r++) {
        const struct cell *c = table_cell(t, r, column);
        if (c->type != CELL_EMPTY || c->text)
            return;
    }
    free(t->columns[column].name);
    free(t->columns[column].unit);
    memmove(&t->columns[column], &t->columns[column + 1], (size_t)(t->n_columns - column - 1) * sizeof *t->columns);
    size_t kept = 0;
    for (size_t i = 0; i < t->n_rows * (size_t)t->n_columns; i++)
        if (i % (size_t)t->n_columns != (size_t)column)
            t->cells[kept++] = t->cells[i];
    t->n_columns--;
}

static enum status print_to(FILE *f, const struct sink *sink, const struct table *const *tables, int n, const char *where, struct err *e)
{
    enum status s = sink->print(f, tables, n, e);
    if (s == ST_OK && (fflush(f) != 0 || ferror(f)))
        s = fail(e, ST_EIO, "cannot write %s: %s", where, strerror(errno));
    return s;
}

static enum status print_and_close(FILE *f, const struct sink *sink, const struct table *const *tables, int n, const char *path, struct err *e)
{
    enum status s = print_to(f, sink, tables, n, path, e);
    if (fclose(f) != 0 && s == ST_OK)
        s = fail(e, ST_EIO, "cannot write %s: %s", path, strerror(errno));
    return s;
}

/* A device, a pipe or a link is written where it is: a rename would put a file in its place. */
static enum status print_in_place(const char *path, const struct sink *sink, const struct table *const *tables, int n, struct err *e)
{
    FILE *f = fopen(path, "w");
    if (!f)
        return fail(e, ST_EIO, "cannot write %s: %s", path, strerror(errno));
    return print_and_close(f, sink, tables, n, path, e);
}

/* Beside the file that it will replace, so that the rename stays within one file system. */
static enum status print_file(const char *path, const struct sink *sink, const struct table *const *tables, int n, struct err *e)
{
    char temporary[4096];
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid()) >= sizeof temporary)
        return fail(e, ST_EUSAGE, "--output: the path is too long");
    FILE *f = fopen(temporary, "w");
    if (!f)
        return fail(e, ST_EIO, "cannot write %s: %s", path, strerror(errno));
    enum status s = print_and_close(f, sink, tables, n, path, e);
    if (s == ST_OK && rename(temporary, path) != 0)
        s = fail(e, ST_EIO, "cannot write %s: %s", path, strerror(errno));
    if (s != ST_OK)
        unlink(temporary);
    return s;
}

enum status output_check(const char *path, struct err *e)
{
    char folder[4096];
    if (!path || !strcmp(path, "-"))
        return ST_OK;
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    const char *where = access(path, F_OK) == 0 ? path : slash ? folder : ".";
    if (access(where, W_OK) == 0)
        return ST_OK;
    return fail(e, ST_EUSAGE, "--output: cannot write %s: %s", path, strerror(errno));
}

enum status tables_print(const struct table *const *tables, int n, const char *form, const char *path, struct err *e)
{
    const struct sink *sink = sink_find(form ? form : sinks[0]->name);
    if (!sink) {
        char list[256] = "";
        for (int i = 0; sinks[i]; i++)
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", sinks[i]->name);
        return fail(e, ST_EUSAGE, "--format: unknown form '%s'; the forms are %s", form, list);
    }
    if (!path || !strcmp(path, "-"))
        return print_to(stdout, sink, tables, n, "the standard output", e);
    struct stat there;
    bool special = lstat(path, &there) == 0 && !S_ISREG(there.st_mode);
    return (special ? print_in_place : print_file)(path, sink, tables, n, e);
}
