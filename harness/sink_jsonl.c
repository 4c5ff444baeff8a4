/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "json_cell.h"

static enum status print(FILE *f, const struct table *const *tables, int n, struct err *e)
{
    for (int i = 0; i < n; i++)
        for (size_t r = 0; r < tables[i]->n_rows; r++) {
            json_row_print(f, tables[i], r, n > 1); /* of several tables each row says which it is in */
            fputc('\n', f);
        }
    return ST_OK;
}

const struct sink sink_jsonl = {.name = "jsonl", .title = "one JSON object a row and line", .print = print};
