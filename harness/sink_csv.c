/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <string.h>

#include "table.h"

/* RFC 4180: CRLF ends a line; a field with a quote, a comma or a line break is quoted, its quotes doubled. */
static void field(FILE *f, const char *s, bool *first)
{
    if (!*first)
        fputc(',', f);
    *first = false;
    if (!strpbrk(s, "\",\r\n")) {
        fputs(s, f);
        return;
    }
    fputc('"', f);
    for (; *s; s++)
        fprintf(f, *s == '"' ? "\"\"" : "%c", *s);
    fputc('"', f);
}

/* The extra fields of a column are there when any row needs them, so that every row has the same ones. */
struct extras {
    bool interval, reason;
};

static struct extras extras_of(const struct table *t, int column)
{
    struct extras x = {false, false};
    for (size_t r = 0; r < t->n_rows; r++) {
        const struct cell *c = table_cell(t, r, column);
        x.interval = x.interval || c->type == CELL_INTERVAL;
        x.reason = x.reason || (c->type == CELL_EMPTY && c->text);
    }
    return x;
}

static void header(FILE *f, const struct table *t)
{
    bool first = true;
    char buf[256];
    for (int c = 0; c < t->n_columns; c++) {
        struct extras x = extras_of(t, c);
        const char *name = t->columns[c].name, *unit = t->columns[c].unit;
        snprintf(buf, sizeof buf, unit[0] ? "%s [%s]" : "%s", name, unit);
        field(f, buf, &first);
        const char *suffixes[] = {x.interval ? "_lo" : NULL, x.interval ? "_hi" : NULL, x.reason ? "_reason" : NULL};
        for (int i = 0; i < 3; i++)
            if (suffixes[i]) {
                snprintf(buf, sizeof buf, "%s%s", name, suffixes[i]);
                field(f, buf, &first);
            }
    }
    fputs("\r\n", f);
}

static void real(FILE *f, double x, bool *first)
{
    char buf[48];
    real_show(x, buf, sizeof buf);
    field(f, buf, first);
}

static void cell(FILE *f, const struct cell *c, struct extras x, bool *first)
{
    char buf[32];
    snprintf(buf, sizeof buf, "%lld", c->integer);
    switch (c->type) {
    case CELL_TEXT: field(f, c->text, first); break;
    case CELL_INT: field(f, buf, first); break;
    default: real(f, c->real, first);
    }
    if (x.interval) {
        real(f, c->type == CELL_INTERVAL ? c->lo : NAN, first);
        real(f, c->type == CELL_INTERVAL ? c->hi : NAN, first);
    }
    if (x.reason)
        field(f, c->type == CELL_EMPTY && c->text ? c->text : "", first);
}

static enum status print(FILE *f, const struct table *const *tables, int n, struct err *e)
{
    for (int i = 0; i < n; i++) {
        const struct table *t = tables[i];
        fputs(i ? "\r\n" : "", f);
        header(f, t);
        for (size_t r = 0; r < t->n_rows; r++) {
            bool first = true;
            for (int c = 0; c < t->n_columns; c++)
                cell(f, table_cell(t, r, c), extras_of(t, c), &first);
            fputs("\r\n", f);
        }
    }
    return ST_OK;
}

const struct sink sink_csv = {.name = "csv", .title = "comma-separated values (RFC 4180), a blank line between tables", .print = print};
