/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "table.h"

/* A cell of a pipe table: '|' would end it, a newline the row, and < and & would be taken for HTML. */
static void escaped(FILE *f, const char *s)
{
    for (; *s; s++)
        switch (*s) {
        case '|': fputs("\\|", f); break;
        case '\\': fputs("\\\\", f); break;
        case '*': fputs("\\*", f); break;
        case '_': fputs("\\_", f); break;
        case '`': fputs("\\`", f); break;
        case '<': fputs("&lt;", f); break;
        case '&': fputs("&amp;", f); break;
        case '\n':
        case '\r':
        case '\t': fputc(' ', f); break;
        default: fputc(*s, f);
        }
}

static bool is_words(const struct table *t, int column)
{
    for (size_t r = 0; r < t->n_rows; r++)
        if (table_cell(t, r, column)->type == CELL_TEXT)
            return true;
    return false;
}

static void header(FILE *f, const struct table *t)
{
    for (int c = 0; c < t->n_columns; c++) {
        fputs("| ", f);
        escaped(f, t->columns[c].name);
        if (t->columns[c].unit[0]) {
            fputs(" (", f);
            escaped(f, t->columns[c].unit);
            fputc(')', f);
        }
        fputc(' ', f);
    }
    fputs("|\n", f);
    for (int c = 0; c < t->n_columns; c++)
        fputs(is_words(t, c) ? "|---" : "|--:", f);
    fputs("|\n", f);
}

static enum status print(FILE *f, const struct table *const *tables, int n, struct err *e)
{
    for (int i = 0; i < n; i++) {
        const struct table *t = tables[i];
        char buf[1024];
        fputs(i ? "\n" : "", f);
        if (t->title) {
            fputs("### ", f);
            escaped(f, t->title);
            fputs("\n\n", f);
        }
        if (t->n_columns)
            header(f, t);
        for (size_t r = 0; r < t->n_rows; r++) {
            for (int c = 0; c < t->n_columns; c++) {
                cell_show(table_cell(t, r, c), &t->columns[c], buf, sizeof buf);
                fputs("| ", f);
                escaped(f, buf);
                fputc(' ', f);
            }
            fputs("|\n", f);
        }
        for (int k = 0; k < t->n_notes; k++) {
            fputc('\n', f);
            escaped(f, t->notes[k]);
            fputc('\n', f);
        }
    }
    return ST_OK;
}

const struct sink sink_md = {.name = "md", .title = "Markdown pipe tables", .print = print};
