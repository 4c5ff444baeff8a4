/* chart_data.h — what a chart's queries gave: its datasets and lists, the file that gnuplot reads them from, and the script. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_CHART_DATA_H
#define QBENCH_CHART_DATA_H

#include "chart.h"
#include "stats.h"

struct dataset {
    const struct chart_query *query; /* borrowed */
    struct table *table;             /* owned; a list's texts are its first column */
    struct interval *paired;         /* owned, one a row; NULL unless the query is CHART_PAIRED */
};
struct chart_data {
    struct dataset *sets; /* owned; one a query, in order */
    int n;
    size_t rows;          /* of all datasets, lists not counted */
};

enum status chart_data_open(struct chart_data *d, const struct chart *c, struct store *s, int64_t run, struct err *e);
void chart_data_close(struct chart_data *d);
const struct dataset *chart_data_find(const struct chart_data *d, const char *name); /* NULL: there is none */
size_t dataset_panels(const struct dataset *d); /* blocks that the column panel makes of it; 1 without one, 0 without rows */
size_t dataset_panel_end(const struct dataset *d, size_t row); /* the row after the last one of the block that begins at row */

/* Tab separated, a header over every block, NaN for an absent number; a text holds no tab, newline or double quote. */
void chart_data_write(FILE *f, const struct chart_data *d);

/* The whole script: variables, page, the chart's own commands (or words in their place), and the same again as a PNG. */
enum status chart_script_write(FILE *f, const struct chart *c, const struct chart_data *d, struct store *s, int64_t run, struct err *e);

/* The cell as plain text; "" when it is empty. */
void cell_plain(const struct cell *c, char *buf, size_t n);
/* Length of the UTF-8 sequence at text, 0 where there is none. */
int utf8_length(const char *text);

#endif
