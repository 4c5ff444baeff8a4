/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "table.h"

/* Cells are never cut or wrapped: a table wider than the terminal is still whole in a pager and in a file. */
enum { CELL_MAX = 1024 };

/* Columns on a terminal: characters of UTF-8, each of them one wide. */
static int width_of(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

/* One line a cell: a newline or a control character inside a reason would break the rows apart. */
static void shown(const struct table *t, size_t row, int column, char *buf)
{
    cell_show(table_cell(t, row, column), &t->columns[column], buf, CELL_MAX);
    for (char *p = buf; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
}

/* Numbers line up on the right, words on the left; an empty column is words. */
static bool is_numeric(const struct table *t, int column)
{
    bool any = false;
    for (size_t r = 0; r < t->n_rows; r++) {
        enum cell_type type = table_cell(t, r, column)->type;
        if (type == CELL_TEXT)
            return false;
        any = any || type != CELL_EMPTY;
    }
    return any;
}

/* Blanks wait until something follows them, so that no line ends in any. */
static void pad(FILE *f, const char *s, int width, bool right, bool line_end, int *blanks)
{
    int fill = max_int(0, width - width_of(s));
    *blanks += right ? fill : 0;
    if (*s) {
        fprintf(f, "%*s%s", *blanks, "", s);
        *blanks = 0;
    }
    *blanks += (right ? 0 : fill) + 2;
    if (line_end) {
        fputc('\n', f);
        *blanks = 0;
    }
}

static void line(FILE *f, const struct table *t, const int *width, const bool *right, const char *(*text)(const struct column *))
{
    int blanks = 0;
    for (int c = 0; c < t->n_columns; c++)
        pad(f, text(&t->columns[c]), width[c], right[c], c == t->n_columns - 1, &blanks);
}

static const char *name_of(const struct column *c) { return c->name; }
static const char *unit_of(const struct column *c) { return c->unit; }

static void style(FILE *f, const char *code)
{
    if (isatty(fileno(f)) && !getenv("NO_COLOR"))
        fputs(code, f);
}

static void layout(const struct table *t, int *width, bool *right, bool *units)
{
    char buf[CELL_MAX];
    *units = false;
    for (int c = 0; c < t->n_columns; c++) {
        right[c] = is_numeric(t, c);
        width[c] = max_int(width_of(t->columns[c].name), width_of(t->columns[c].unit));
        *units = *units || t->columns[c].unit[0];
        for (size_t r = 0; r < t->n_rows; r++) {
            shown(t, r, c, buf);
            width[c] = max_int(width[c], width_of(buf));
        }
    }
}

static void header(FILE *f, const struct table *t, const int *width, const bool *right, bool units)
{
    style(f, "\033[1m");
    line(f, t, width, right, name_of);
    style(f, "\033[0m");
    if (units)
        line(f, t, width, right, unit_of);
    for (int c = 0; c < t->n_columns; c++) {
        for (int i = 0; i < width[c]; i++)
            fputc('-', f);
        fputs(c == t->n_columns - 1 ? "\n" : "  ", f);
    }
}

static enum status print_table(FILE *f, const struct table *t, struct err *e)
{
    int *width = calloc((size_t)t->n_columns + 1, sizeof *width);
    bool *right = calloc((size_t)t->n_columns + 1, sizeof *right), units;
    char buf[CELL_MAX];
    if (!width || !right) {
        free(width);
        free(right);
        return fail(e, ST_ENOMEM, "no memory to print a table");
    }
    layout(t, width, right, &units);
    if (t->title) {
        style(f, "\033[1m");
        fprintf(f, "%s\n", t->title);
        style(f, "\033[0m");
    }
    if (t->n_columns)
        header(f, t, width, right, units);
    for (size_t r = 0; r < t->n_rows; r++)
        for (int c = 0, blanks = 0; c < t->n_columns; c++) {
            shown(t, r, c, buf);
            pad(f, buf, width[c], right[c], c == t->n_columns - 1, &blanks);
        }
    for (int i = 0; i < t->n_notes; i++)
        fprintf(f, "%s\n", t->notes[i]);
    free(width);
    free(right);
    return ST_OK;
}

static enum status print(FILE *f, const struct table *const *tables, int n, struct err *e)
{
    for (int i = 0; i < n; i++) {
        if (i)
            fputc('\n', f);
        enum status s = print_table(f, tables[i], e);
        if (s != ST_OK)
            return s;
    }
    return ST_OK;
}

const struct sink sink_text = {.name = "text", .title = "aligned columns for a terminal", .print = print};
