/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "chart_data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats.h"

enum { RESAMPLES = 2000, SEED = 1 };

/* Pairs */

struct blob_view {
    void *data;
    size_t bytes;
};

static enum status load_pair(struct store *s, long long result, long long base, struct blob_view v[3], struct err *e)
{
    enum status st = store_blob(s, result, "nll", &v[0].data, &v[0].bytes, e);
    if (st == ST_OK)
        st = store_blob(s, base, "nll", &v[1].data, &v[1].bytes, e);
    if (st == ST_OK)
        st = store_blob(s, result, "block", &v[2].data, &v[2].bytes, e);
    if (st == ST_OK && (v[0].bytes != v[1].bytes || v[0].bytes != v[2].bytes || v[0].bytes % sizeof(float)))
        st = fail(e, ST_EFORMAT, "results %lld and %lld scored different tokens: they are no pair", result, base);
    return st;
}

static enum status difference(struct store *s, long long result, long long base, struct interval *out, struct err *e)
{
    struct blob_view v[3] = {{0}};
    double *x = NULL;
    enum status st = load_pair(s, result, base, v, e);
    size_t n = v[0].bytes / sizeof(float);
    if (st == ST_OK && !(x = malloc((n + 1) * sizeof *x)))
        st = fail(e, ST_ENOMEM, "no memory for %zu tokens", n);
    if (st == ST_OK) {
        const float *a = v[0].data, *b = v[1].data;
        for (size_t i = 0; i < n; i++)
            x[i] = (double)a[i] - (double)b[i];
        *out = stats_block_bootstrap(x, v[2].data, n, RESAMPLES, SEED);
    }
    free(x);
    for (int i = 0; i < 3; i++)
        free(v[i].data);
    return st;
}

static enum status pair_rows(struct dataset *d, struct store *s, struct err *e)
{
    int result = table_find(d->table, "result_id"), base = table_find(d->table, "base_id");
    if (result < 0 || base < 0)
        return fail(e, ST_EFORMAT, "the paired query '%s' needs the columns result_id and base_id", d->query->name);
    d->paired = calloc(d->table->n_rows + 1, sizeof *d->paired);
    if (!d->paired)
        return fail(e, ST_ENOMEM, "no memory for %zu pairs", d->table->n_rows);
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < d->table->n_rows; i++)
        st = difference(s, table_cell(d->table, i, result)->integer, table_cell(d->table, i, base)->integer, &d->paired[i], e);
    return st;
}

/* Queries */

static enum status open_set(struct dataset *d, const struct chart *c, struct store *s, const char *run, struct err *e)
{
    struct err why = {0};
    const char *params[] = {run};
    enum status st = store_query(s, d->query->sql, params, 1, &d->table, &why);
    if (st == ST_OK && d->query->kind == CHART_PAIRED)
        st = pair_rows(d, s, &why);
    if (st == ST_EUSAGE)
        st = ST_EFORMAT; /* SQL that SQLite refuses is the chart's fault, not the user's */
    return st == ST_OK ? ST_OK : fail(e, st, "chart %s, query '%s': %s", c->name, d->query->name, why.text);
}

enum status chart_data_open(struct chart_data *d, const struct chart *c, struct store *s, int64_t run, struct err *e)
{
    char id[32];
    snprintf(id, sizeof id, "%lld", (long long)run);
    *d = (struct chart_data){.sets = calloc((size_t)c->n_queries, sizeof *d->sets)};
    enum status st = d->sets ? ST_OK : fail(e, ST_ENOMEM, "no memory for the chart %s", c->name);
    for (; st == ST_OK && d->n < c->n_queries; d->n++) {
        struct dataset *set = &d->sets[d->n];
        set->query = &c->queries[d->n];
        st = open_set(set, c, s, id, e);
        if (st == ST_OK && set->query->kind != CHART_LIST)
            d->rows += set->table->n_rows;
    }
    if (st != ST_OK)
        chart_data_close(d);
    return st;
}

void chart_data_close(struct chart_data *d)
{
    for (int i = 0; i < d->n; i++) {
        table_free(d->sets[i].table);
        free(d->sets[i].paired);
    }
    free(d->sets);
    *d = (struct chart_data){0};
}

const struct dataset *chart_data_find(const struct chart_data *d, const char *name)
{
    for (int i = 0; i < d->n; i++)
        if (!strcmp(d->sets[i].query->name, name))
            return &d->sets[i];
    return NULL;
}

/* Writing */

int utf8_length(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    int n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
    for (int i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

void cell_plain(const struct cell *c, char *buf, size_t n)
{
    snprintf(buf, n, "%s", "");
    if (c->type == CELL_TEXT)
        snprintf(buf, n, "%s", c->text);
    else if (c->type == CELL_INT)
        snprintf(buf, n, "%lld", c->integer);
    else if (c->type != CELL_EMPTY)
        real_show(c->real, buf, n);
}

/* gnuplot has no escapes within a field. */
static void write_text(FILE *f, const char *text)
{
    while (*text) {
        int n = utf8_length(text);
        if (!n)
            fputc('?', f);
        else if (n > 1)
            fwrite(text, 1, (size_t)n, f);
        else
            fputc((unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text == '"' ? '\'' : *text, f);
        text += n ? n : 1;
    }
}

static void write_real(FILE *f, double x)
{
    char text[48];
    real_show(x, text, sizeof text);
    fputs(*text ? text : "NaN", f);
}

static void write_cell(FILE *f, const struct cell *c)
{
    if (c->type == CELL_TEXT)
        write_text(f, c->text);
    else if (c->type == CELL_INT)
        fprintf(f, "%lld", c->integer);
    else
        write_real(f, c->real); /* NaN when the cell is empty */
}

static void write_header(FILE *f, const struct dataset *d)
{
    fputs("row", f);
    for (int i = 0; i < d->table->n_columns; i++) {
        fputc('\t', f);
        write_text(f, d->table->columns[i].name);
    }
    fputs(d->paired ? "\tdifference\tlo\thi\n" : "\n", f);
}

static void write_row(FILE *f, const struct dataset *d, size_t row, int number)
{
    fprintf(f, "%d", number);
    for (int i = 0; i < d->table->n_columns; i++) {
        fputc('\t', f);
        write_cell(f, table_cell(d->table, row, i));
    }
    for (int i = 0; d->paired && i < 3; i++) {
        fputc('\t', f);
        write_real(f, i == 0 ? d->paired[row].value : i == 1 ? d->paired[row].lo : d->paired[row].hi);
    }
    fputc('\n', f);
}

size_t dataset_panel_end(const struct dataset *d, size_t row)
{
    int panel = table_find(d->table, "panel");
    long long first = panel >= 0 ? table_cell(d->table, row, panel)->integer : 0;
    while (++row < d->table->n_rows && (panel < 0 || table_cell(d->table, row, panel)->integer == first))
        ;
    return row;
}

size_t dataset_panels(const struct dataset *d)
{
    size_t n = 0;
    for (size_t row = 0; row < d->table->n_rows; row = dataset_panel_end(d, row))
        n++;
    return n;
}

/* gnuplot finds a block by the beginning of its comment: the brackets keep speed/1 from being taken for speed/10. */
static void write_set(FILE *f, const struct dataset *d)
{
    bool panels = table_find(d->table, "panel") >= 0;
    size_t row = 0;
    for (int block = 1; row < d->table->n_rows; block++) {
        size_t end = dataset_panel_end(d, row);
        fprintf(f, panels ? "# [%s/%d]\n" : "# [%s]\n", d->query->name, block);
        write_header(f, d);
        for (int number = 1; row < end; row++, number++)
            write_row(f, d, row, number);
        fputs("\n\n", f);
    }
}

void chart_data_write(FILE *f, const struct chart_data *d)
{
    for (int i = 0; i < d->n; i++)
        if (d->sets[i].query->kind != CHART_LIST)
            write_set(f, &d->sets[i]);
}
