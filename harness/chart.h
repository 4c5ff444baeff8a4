/* chart.h — draws plots/<name>.gp, a gnuplot script with its queries in its header, from one run of the database. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_CHART_H
#define QBENCH_CHART_H

#include <stdio.h>

#include "store.h"

/*
 * The header of a chart is comments: its title on the first line, then why it is drawn, then directives.
 *     #data:speed SELECT …     a dataset; `#sql …` (or `#data …`, …) without a name goes on with the query above
 *     #sql SELECT …            the dataset "data"
 *     #paired:gain SELECT …    a dataset with columns result_id and base_id, to which the mean difference of their NLL per token is
 *                              added as columns difference, lo, hi (95 %, by bootstrap over blocks of text)
 *     #list:panel SELECT …     one text a row, as the gnuplot array panel[1 … panel_count]
 *     #note Bars are …         a sentence of the caption; a list named note adds others
 *     #empty No … in this run  what the picture says when every dataset is empty; a list named absent, where it has rows, says it instead
 * ?1 in a query is the run. All datasets go to <name>.dat, one block each, found by `index block("speed")`; a column named panel splits
 * a dataset into speed_panels blocks, block("speed/1"), block("speed/2") …, and a column title gives the array speed_title of their titles.
 * speed_rows counts all rows. Every block has a header, and the column row, from 1, before all others.
 * The rest of the file is drawn onto a page that has its title and caption already. What it may use: the variables and functions that
 * chart_script.c writes before it.
 */
enum chart_kind { CHART_DATA, CHART_PAIRED, CHART_LIST };
struct chart_query {
    enum chart_kind kind;
    char *name, *sql; /* owned */
};
struct chart {
    char *name, *title, *note, *empty, *body; /* owned; name: the file's, without folder and .gp */
    struct chart_query *queries;              /* owned */
    int n_queries;
};

/* ST_ENOENT: no such file; ST_EFORMAT "file:line: what": a header that cannot be understood. Nothing is left behind. */
enum status chart_load(struct chart *c, const char *path, struct err *e);
void chart_free(struct chart *c);

/* The names of all charts in a folder, sorted; owned by the caller, ended by NULL, freed by chart_names_free. */
enum status chart_names(char ***names, const char *folder, struct err *e);
void chart_names_free(char **names);

/*
 * Draws into the folder (made if it is not there): <name>.svg, .png, .dat and .gp, which is the whole script, for a user to restyle.
 * All four are there or, after a failure, none is changed. ST_EUNSUPPORTED: there is no gnuplot.
 */
enum status chart_draw(const struct chart *c, struct store *s, int64_t run, const char *folder, struct err *e);

/* text as a gnuplot string constant: nothing in it is substituted, expanded or run. */
void chart_quote(FILE *f, const char *text);
/* Breaks lines at blanks so that none is longer than width characters, where words allow; owned by the caller. */
char *chart_wrap(const char *text, int width);

/* One colour, fill pattern and point per bit width, in every chart. Colours: Okabe and Ito. */
struct chart_style {
    int bits;
    const char *colour;
    int pattern, point;
};
const struct chart_style *chart_style(int bits);

#endif
