/* json_cell.h — a table's cells as JSON, for every sink whose form it is. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_JSON_CELL_H
#define QBENCH_JSON_CELL_H

#include "table.h"

/* text as a JSON string; bytes that are not UTF-8 become U+FFFD. NULL: null. */
void json_string_print(FILE *f, const char *text);
/* name_table: {"table": "Models", …}. {"a": 1, "b": null, "b_reason": "…", "c": 1.5, "c_lo": 1.4, "c_hi": 1.6} */
void json_row_print(FILE *f, const struct table *t, size_t row, bool name_table);

#endif
