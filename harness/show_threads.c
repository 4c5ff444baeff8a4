/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "show.h"
#include "show_ratio.h"

/* What more threads bring: every case of several threads beside the same case on one, measured in the same run. */

/* The key without its threads, which stand last or between blanks. */
static void key_apart(const char *key, char *buf, size_t n)
{
    const char *threads = strstr(key, " threads=");
    size_t before = threads ? (size_t)(threads - key) : strlen(key);
    const char *rest = threads ? threads + 1 + strcspn(threads + 1, " ") : "";
    snprintf(buf, n, "%.*s%s", (int)before, key, rest);
}

static long single_row(const struct book *b, size_t row, const char *apart)
{
    char other[CASE_KEY_MAX];
    for (size_t i = 0; i < book_size(b); i++) {
        if (book_int(b, i, "threads") != 1 || !book_measured(b, i) || !book_is(b, i, "work", book_text(b, row, "work")))
            continue;
        key_apart(book_text(b, i, "key"), other, sizeof other);
        if (!strcmp(other, apart))
            return (long)i;
    }
    return -1;
}

static void thread_row(const struct book *b, struct ratios *ratios, size_t row, struct table *t)
{
    char apart[CASE_KEY_MAX];
    key_apart(book_text(b, row, "key"), apart, sizeof apart);
    long single = single_row(b, row, apart);
    if (single < 0)
        return;
    table_row(t);
    table_text(t, 0, apart);
    book_put_axis(b, row, "threads", t, 1);
    book_put(b, row, "rate", 1, t, 2);
    book_put(b, (size_t)single, "rate", 1, t, 3);
    table_text(t, 4, book_value(b, row, "rate").unit);
    ratios_put(ratios, b, row, single, t, 5);
    struct cell ratio = *table_cell(t, t->n_rows - 1, 5);
    double percent = 100.0 / (double)book_int(b, row, "threads");
    if (ratio.type == CELL_INTERVAL)
        table_interval(t, 6, percent * ratio.real, percent * ratio.lo, percent * ratio.hi);
    else if (ratio.type == CELL_REAL)
        table_real(t, 6, percent * ratio.real);
    table_text(t, 7, book_text(b, row, "outcome"));
}

static struct table *thread_table(void)
{
    struct table *t = table_new("Threads");
    table_column(t, "case", "", 0);
    table_column(t, "threads", "", 0);
    table_column(t, "rate", "", 4);
    table_column(t, "on one", "", 4);
    table_column(t, "unit", "", 0);
    table_column(t, "vs one", "×", 3);
    table_column(t, "efficiency", "%", 3);
    table_column(t, "outcome", "", 0);
    table_note(t, "Efficiency: the gain over the number of threads; 100 %% would be as many times as fast.");
    return t;
}

enum status show_threads(struct store *s, int64_t run, struct table **out, struct err *e)
{
    struct book b;
    struct ratios ratios;
    *out = NULL;
    enum status st = book_open(&b, s, run, "'gemm', 'bandwidth', 'peak', 'decode', 'prefill'", e);
    if (st != ST_OK)
        return st;
    if ((st = ratios_open(&ratios, s, run, e)) == ST_OK) {
        struct table *t = thread_table();
        for (size_t i = 0; i < book_size(&b); i++)
            if (book_int(&b, i, "threads") > 1 && book_measured(&b, i))
                thread_row(&b, &ratios, i, t);
        ratios_note(&ratios, t);
        if (t->n_rows)
            *out = t;
        else
            table_free(t);
        ratios_close(&ratios);
    }
    book_close(&b);
    return st;
}
