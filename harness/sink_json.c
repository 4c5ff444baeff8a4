/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "json_cell.h"

static void columns(FILE *f, const struct table *t)
{
    fputs("\"columns\": [", f);
    for (int i = 0; i < t->n_columns; i++) {
        fputs(i ? ", {\"name\": " : "{\"name\": ", f);
        json_string_print(f, t->columns[i].name);
        fputs(", \"unit\": ", f);
        json_string_print(f, t->columns[i].unit);
        fputc('}', f);
    }
    fputs("]", f);
}

static enum status print(FILE *f, const struct table *const *tables, int n, struct err *e)
{
    fputs("[", f);
    for (int i = 0; i < n; i++) {
        fputs(i ? ",\n{\"title\": " : "\n{\"title\": ", f);
        json_string_print(f, tables[i]->title);
        fputs(", ", f);
        columns(f, tables[i]);
        fputs(", \"rows\": [", f);
        for (size_t r = 0; r < tables[i]->n_rows; r++) {
            fputs(r ? ",\n  " : "\n  ", f);
            json_row_print(f, tables[i], r, false);
        }
        fputs("]}", f);
    }
    fputs("\n]\n", f);
    return ST_OK;
}

const struct sink sink_json = {.name = "json", .title = "one array of tables: title, columns, rows", .print = print};
