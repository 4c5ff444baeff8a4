/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chart_data.h"
#include "format.h"

enum { CAPTION_WIDTH = 158, WORDS_WIDTH = 84 };

/* Told apart by hue, by lightness and by pattern, so that a grey print still reads. */
static const struct chart_style styles[] = {
    {32, "#0072B2", 3, 7}, {16, "#56B4E9", 2, 6}, {8, "#E69F00", 4, 5}, {4, "#009E73", 1, 9},
    {3, "#CC79A7", 5, 11}, {2, "#D55E00", 6, 13}, {1, "#F0E442", 7, 15},
};

const struct chart_style *chart_style(int bits)
{
    static const struct chart_style other = {0, "#999999", 2, 4};
    for (size_t i = 0; i < sizeof styles / sizeof *styles; i++)
        if (styles[i].bits == bits)
            return &styles[i];
    return &other;
}

/*
 * Within single quotes gnuplot knows no escapes, no macros and no command substitution; what these cannot hold stands between
 * them, in double quotes. (It should know two of them as one, but not at the beginning of a string.)
 */
void chart_quote(FILE *f, const char *text)
{
    fputc('\'', f);
    for (int n; *text; text += n ? n : 1) {
        unsigned char c = (unsigned char)*text;
        if (!(n = utf8_length(text)))
            fputc('?', f);
        else if (n > 1)
            fwrite(text, 1, (size_t)n, f);
        else if (c == '\n')
            fputs("'.\"\\n\".'", f);
        else if (c == '\'')
            fputs("'.\"'\".'", f);
        else
            fputc(c < 0x20 || c == 0x7f ? ' ' : c, f);
    }
    fputc('\'', f);
}

/* The caption: where and what was measured, how often, and how to read it. */

static enum status query_text(struct store *s, int64_t run, const char *sql, char **out, struct err *e)
{
    char id[32], text[1024];
    const char *params[] = {id};
    struct table *t;
    snprintf(id, sizeof id, "%lld", (long long)run);
    *out = NULL;
    enum status st = store_query(s, sql, params, 1, &t, e);
    if (st != ST_OK)
        return st;
    text[0] = 0;
    if (t->n_rows)
        cell_plain(table_cell(t, 0, 0), text, sizeof text);
    table_free(t);
    *out = strdup(text);
    return *out ? ST_OK : fail(e, ST_ENOMEM, "no memory for a caption");
}

static const char machine_sql[] =
    "SELECT trim(coalesce(json_extract(m.json, '$.cpu'), 'unknown CPU')) || coalesce(', ' || json_extract(m.json, '$.threads') || ' CPUs', '')"
    " || coalesce(printf(', %.0f GiB', json_extract(m.json, '$.memory_bytes') / 1073741824.0), '')"
    " || coalesce(', ' || nullif(json_extract(m.json, '$.hypervisor'), 'none'), '') || ', machine ' || m.id"
    " FROM run r JOIN machine m ON m.id = r.machine_id WHERE r.id = CAST(?1 AS INTEGER)";
static const char build_sql[] =
    "SELECT 'commit ' || substr(coalesce(json_extract(b.json, '$.commit'), 'unknown'), 1, 12)"
    " || CASE WHEN json_extract(b.json, '$.dirty') THEN ' with changes' ELSE '' END || ', build ' || b.id"
    " FROM run r JOIN build b ON b.id = r.build_id WHERE r.id = CAST(?1 AS INTEGER)";
static const char run_sql[] =
    "SELECT 'run ' || id || coalesce(' ''' || nullif(label, '') || '''', '') || ' of suite ' || suite || ', ' || substr(started, 1, 10)"
    " || CASE WHEN complete THEN '' ELSE ', unfinished' END FROM run WHERE id = CAST(?1 AS INTEGER)";

/* Least and most over a column of all datasets that have it. */
static bool column_range(const struct chart_data *d, const char *column, long long range[2])
{
    bool any = false;
    for (int i = 0; i < d->n; i++) {
        const struct table *t = d->sets[i].table;
        for (size_t row = 0; row < t->n_rows && table_find(t, column) >= 0; row++) {
            const struct cell *c = table_cell(t, row, table_find(t, column));
            long long x = c->type == CELL_INT ? c->integer : c->type == CELL_REAL ? llround(c->real) : -1;
            if (x < 0)
                continue;
            range[0] = any && range[0] < x ? range[0] : x;
            range[1] = any && range[1] > x ? range[1] : x;
            any = true;
        }
    }
    return any;
}

/* "n = 12 samples a case. ": from the columns samples and tokens. */
static void count_text(const struct chart_data *d, char *buf, size_t n)
{
    static const char *const counted[] = {"samples", "tokens"};
    snprintf(buf, n, "%s", "");
    for (int i = 0; i < 2; i++) {
        long long range[2];
        size_t used = strlen(buf);
        if (!column_range(d, counted[i], range))
            continue;
        if (range[0] == range[1])
            snprintf(buf + used, n - used, "n = %lld %s a case. ", range[0], counted[i]);
        else
            snprintf(buf + used, n - used, "n = %lld to %lld %s a case. ", range[0], range[1], counted[i]);
    }
}

/* The texts of a list, one after the other. */
static void join_list(FILE *f, const struct chart_data *d, const char *name, const char *separator)
{
    const struct dataset *list = chart_data_find(d, name);
    char text[1024];
    for (size_t i = 0; list && i < list->table->n_rows; i++) {
        cell_plain(table_cell(list->table, i, 0), text, sizeof text);
        fprintf(f, "%s%s", i ? separator : "", text);
    }
}

static char *caption_notes(const struct chart *c, const struct chart_data *d)
{
    char *text = NULL, count[256];
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (!f)
        return NULL;
    count_text(d, count, sizeof count);
    fprintf(f, "%s%s%s", count, c->note && d->rows ? c->note : "", c->note && d->rows ? " " : "");
    join_list(f, d, "note", " ");
    if (fclose(f) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* The script */

static void write_variable(FILE *f, const char *name, const char *text)
{
    fprintf(f, "%s = ", name);
    chart_quote(f, text);
    fputc('\n', f);
}

static void write_wrapped(FILE *f, const char *name, const char *text, int width)
{
    char *wrapped = chart_wrap(text, width);
    write_variable(f, name, wrapped ? wrapped : text);
    free(wrapped);
}

static enum status write_caption(FILE *f, const struct chart *c, const struct chart_data *d, struct store *s, int64_t run, struct err *e)
{
    static const struct {
        const char *name, *sql;
    } facts[] = {{"machine", machine_sql}, {"build", build_sql}, {"run", run_sql}};
    enum status st = ST_OK;
    write_variable(f, "title", c->title);
    for (size_t i = 0; st == ST_OK && i < sizeof facts / sizeof *facts; i++) {
        char *text;
        st = query_text(s, run, facts[i].sql, &text, e);
        if (st == ST_OK)
            write_variable(f, facts[i].name, text);
        free(text);
    }
    char *notes = caption_notes(c, d);
    if (st == ST_OK && !notes)
        st = fail(e, ST_ENOMEM, "no memory for a caption");
    if (st == ST_OK)
        write_wrapped(f, "notes", notes, CAPTION_WIDTH);
    free(notes);
    return st;
}

static void write_palette(FILE *f)
{
    for (int i = 0; i < FORMAT_COUNT; i++) {
        const struct chart_style *s = chart_style(formats[i].bits);
        const char *name = formats[i].name;
        fprintf(f, "colour_%s = \"%s\"; pattern_%s = %d; point_%s = %d\n", name, s->colour, name, s->pattern, name, s->point);
    }
    fputs("formats = \"", f);
    for (int i = 0; i < FORMAT_COUNT; i++)
        fprintf(f, "%s%s", i ? " " : "", formats[i].name);
    fputs("\"\n", f);
}

static void write_list(FILE *f, const struct dataset *list)
{
    const char *name = list->query->name;
    size_t n = list->table->n_rows;
    char text[1024];
    fprintf(f, "%s_count = %zu\n", name, n);
    for (size_t i = 0; i < n; i++) {
        fprintf(f, i ? ", " : "array %s[%zu] = [", name, n);
        cell_plain(table_cell(list->table, i, 0), text, sizeof text);
        chart_quote(f, text);
    }
    if (n)
        fputs("]\n", f);
}

/* The rows and panels of a dataset, and where it has a column title, what each panel's first row says there. */
static void write_shape(FILE *f, const struct dataset *set)
{
    const char *name = set->query->name;
    size_t panels = dataset_panels(set), row = 0;
    int title = table_find(set->table, "title");
    char text[1024];
    fprintf(f, "%s_rows = %zu; %s_panels = %zu\n", name, set->table->n_rows, name, panels);
    for (size_t i = 0; title >= 0 && i < panels; i++, row = dataset_panel_end(set, row)) {
        fprintf(f, i ? ", " : "array %s_title[%zu] = [", name, panels);
        cell_plain(table_cell(set->table, row, title), text, sizeof text);
        chart_quote(f, text);
    }
    if (title >= 0 && panels)
        fputs("]\n", f);
}

static void write_sets(FILE *f, const struct chart_data *d)
{
    for (int i = 0; i < d->n; i++)
        if (d->sets[i].query->kind == CHART_LIST)
            write_list(f, &d->sets[i]);
        else
            write_shape(f, &d->sets[i]);
}

/* What the picture says in place of a drawing. */
static void write_words(FILE *f, const struct chart *c, const struct chart_data *d)
{
    char *text = NULL;
    size_t size;
    FILE *words = d->rows ? NULL : open_memstream(&text, &size);
    const struct dataset *absent = chart_data_find(d, "absent");
    if (words) {
        if (absent && absent->table->n_rows)
            join_list(words, d, "absent", "\n");
        else
            fputs(c->empty ? c->empty : "This run has nothing to draw here.", words);
        fclose(words);
    }
    write_wrapped(f, "words", text ? text : "", WORDS_WIDTH);
    free(text);
}

static const char page[] =
    "\n"
    "# The page: its title on top, the caption at the bottom; between them plots are placed with eval place(i).\n"
    "reset\n"
    "set encoding utf8\n"
    "if (!exists(\"form\")) { form = \"svg\" }\n"
    "if (form eq \"svg\") { set terminal svg size 900,540 dynamic noenhanced font \"DejaVu Sans,9\" fontscale 1.333 linewidth 0.75 background \"white\" }\n"
    "if (form eq \"png\") { set terminal pngcairo size 900,540 noenhanced font \"DejaVu Sans,9\" background \"white\" }\n"
    "set output name.\".\".form\n"
    "data = name.\".dat\"\n"
    "set datafile separator \"\\t\"\n"
    "set datafile columnheaders\n"
    "set datafile missing \"NaN\"\n"
    "block(set) = \"[\".set.\"]\"\n"
    "colour(format) = value(\"colour_\".format)\n"
    "pattern(format) = value(\"pattern_\".format)\n"
    "point(format) = value(\"point_\".format)\n"
    "caption = machine.\"\\n\".build.\"; \".run.(strlen(notes) ? \"\\n\".notes : \"\")\n"
    "lines = 1\n"
    "do for [i = 1:strlen(caption)] { if (caption[i:i] eq \"\\n\") { lines = lines + 1 } }\n"
    "page_top = 0.915; page_bottom = 0.03 + 0.026 * lines\n"
    "across = 1; down = 1; left = 0.075; right = 0.01; above = 0.05; below = 0.09\n"
    "panel_left(i) = ((i - 1) % across) * 1.0 / across\n"
    "panel_top(i) = page_top - ((i - 1) / across) * (page_top - page_bottom) / down\n"
    "# Panel i, from 1, of across x down; left, right, above, below: what it leaves for its tics, labels and title.\n"
    "place(i) = sprintf(\"set lmargin at screen %g; set rmargin at screen %g; set tmargin at screen %g; set bmargin at screen %g\", \\\n"
    "    panel_left(i) + left, panel_left(i) + 1.0 / across - right, panel_top(i) - above, panel_top(i + across) + below)\n"
    "# A legend over all panels: eval legend_begin, a plot with key entries alone, eval legend_end.\n"
    "legend_begin = 'unset border; unset tics; unset title; set lmargin at screen 0.01; set rmargin at screen 0.99; \\\n"
    "    set tmargin at screen 0.93; set bmargin at screen 0.3; set key at screen 0.985, 0.925 right top horizontal samplen 2 font \",9\"'\n"
    "legend_end = 'unset key; set key noautotitle; set border 3; set xtics nomirror scale 0; set ytics nomirror'\n"
    "set multiplot\n"
    "unset border; unset tics; unset key\n"
    "set label 1 title at screen 0.015, 0.955 left font \",13\"\n"
    "set label 2 caption at screen 0.015, page_bottom - 0.025 left font \",8\" textcolor rgb \"#555555\"\n"
    "set label 3 words at screen 0.5, 0.55 center font \",11\"\n"
    "plot [0:1] [0:1] -1 notitle\n"
    "unset label\n"
    "set border 3; set xtics nomirror scale 0; set ytics nomirror; set grid ytics linecolor rgb \"#dddddd\" linetype 1\n"
    "set style arrow 1 heads size screen 0.004, 90 nofilled linecolor rgb \"#000000\" # an error bar: with vectors arrowstyle 1\n"
    "set key noautotitle; set errorbars 0.6; set style fill solid border linecolor rgb \"#000000\"\n";

static const char again[] =
    "\n"
    "# The same once more as a PNG.\n"
    "unset multiplot\n"
    "unset output\n"
    "if (form eq \"svg\") { form = \"png\"; load name.\".gp\" }\n"
    "undefine form\n";

enum status chart_script_write(FILE *f, const struct chart *c, const struct chart_data *d, struct store *s, int64_t run, struct err *e)
{
    fprintf(f, "# %s\n# Drawn by qbench. To restyle it: change this script, then run `gnuplot %s.gp` in its folder.\n\n", c->title, c->name);
    write_variable(f, "name", c->name);
    enum status st = write_caption(f, c, d, s, run, e);
    write_palette(f);
    write_sets(f, d);
    write_words(f, c, d);
    fputs(page, f);
    if (d->rows)
        fprintf(f, "\n%s\n", c->body);
    fputs(again, f);
    return st;
}
