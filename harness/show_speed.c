/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "show.h"
#include "show_book.h"

/* Kernels against the roofs that the same run measured: a ratio across runs would mix two states of the machine. */

enum { NO_ROW = -1 };

/* The last-level cache of the machine that the run ran on, 0 when unknown. */
static enum status cache_bytes(struct store *s, int64_t run, long long *bytes, struct err *e)
{
    char id[32];
    const char *params[] = {id};
    struct table *t;
    snprintf(id, sizeof id, "%lld", (long long)run);
    *bytes = 0;
    enum status st = store_query(s, "SELECT json_extract(m.json, '$.l3') FROM run r JOIN machine m ON m.id = r.machine_id WHERE r.id = CAST(?1 AS INTEGER)", params, 1, &t, e);
    if (st != ST_OK)
        return st;
    const struct cell *c = table_cell(t, 0, 0);
    *bytes = c && c->type == CELL_INT ? c->integer : 0;
    table_free(t);
    return ST_OK;
}

/* Cold weights stream from memory: the largest buffer read. Hot ones come from the caches: the smallest, if it fits there. */
static long bandwidth_row(const struct book *b, size_t row, long long cache)
{
    bool cold = book_is(b, row, "cache", "cold");
    long best = NO_ROW;
    for (size_t i = 0; i < book_size(b); i++) {
        if (!book_is(b, i, "work", "bandwidth") || !book_is(b, i, "op", "read") || !book_measured(b, i) || book_int(b, i, "threads") != book_int(b, row, "threads"))
            continue;
        long long bytes = book_int(b, i, "bytes");
        if (cold ? bytes <= cache : bytes > cache)
            continue;
        if (best == NO_ROW || (cold ? bytes > book_int(b, (size_t)best, "bytes") : bytes < book_int(b, (size_t)best, "bytes")))
            best = (long)i;
    }
    return best;
}

/* Peaks are named by the arithmetic that fills them: int4_vnni multiplies as int8_vnni does; the BLAS library, as the best f32 peak. */
static bool is_ceiling_of(const char *peak, const char *kernel)
{
    const struct kernel *k = kernel_find(kernel);
    const char *isa = strchr(kernel, '_'), *arithmetic = !k ? "int8" : act_names[k->act];
    char name[64];
    if (!isa)
        return false;
    snprintf(name, sizeof name, "%s%s", arithmetic, isa);
    return !strcmp(isa, "_blas") ? !strncmp(peak, "f32_", 4) : !strcmp(peak, name);
}

static long peak_row(const struct book *b, size_t row)
{
    long best = NO_ROW;
    for (size_t i = 0; i < book_size(b); i++) {
        if (!book_is(b, i, "work", "peak") || !book_measured(b, i) || book_int(b, i, "threads") != book_int(b, row, "threads") ||
            !is_ceiling_of(book_text(b, i, "op"), book_text(b, row, "kernel")))
            continue;
        if (best == NO_ROW || book_value(b, i, "ops_per_second").value > book_value(b, (size_t)best, "ops_per_second").value)
            best = (long)i;
    }
    return best;
}

static void put_share(const struct book *b, size_t row, long roof, const char *name, const char *absent, struct table *t, int column)
{
    struct named mine = book_value(b, row, name);
    struct named limit = roof == NO_ROW ? (struct named){.value = NAN} : book_value(b, (size_t)roof, name);
    if (roof == NO_ROW)
        table_absent(t, column, absent);
    else if (mine.reason || limit.reason)
        table_absent(t, column, mine.reason ? mine.reason : limit.reason);
    else
        table_real(t, column, 100 * mine.value / limit.value);
}

static void kernel_row(const struct book *b, size_t row, long long cache, struct table *t)
{
    static const char *const shown[] = {"kernel", "m", "n", "k", "group", "threads", "cache", "acts"};
    int c = 0;
    table_row(t);
    for (; c < (int)(sizeof shown / sizeof *shown); c++)
        book_put_axis(b, row, shown[c], t, c);
    book_put(b, row, "ops_per_second", 1e-9, t, c);
    book_put(b, row, "bytes_per_second", 1e-9, t, c + 1);
    bool cold = book_is(b, row, "cache", "cold");
    put_share(b, row, bandwidth_row(b, row, cache), "bytes_per_second",
              cold ? "no bandwidth case beyond the caches on as many threads in this run" : "no bandwidth case within the caches on as many threads in this run", t, c + 2);
    put_share(b, row, peak_row(b, row), "ops_per_second", "no peak case for this kernel's arithmetic on as many threads in this run", t, c + 3);
    table_text(t, c + 4, book_text(b, row, "outcome"));
}

static bool any_above(const struct table *t, const char *column)
{
    for (size_t i = 0; i < t->n_rows; i++)
        if (table_cell(t, i, table_find(t, column))->real > 100)
            return true;
    return false;
}

enum status show_kernels(struct store *s, int64_t run, struct table **out, struct err *e)
{
    struct book b;
    long long cache;
    *out = NULL;
    enum status st = cache_bytes(s, run, &cache, e);
    if (st == ST_OK)
        st = book_open(&b, s, run, "'gemm', 'bandwidth', 'peak'", e);
    if (st != ST_OK)
        return st;
    struct table *t = table_new("Kernels");
    for (const char *const *name = (const char *const[]){"kernel", "m", "n", "k", "group", "threads", "cache", "acts", NULL}; *name; name++)
        table_column(t, *name, "", 0);
    table_column(t, "operations", "GOP/s", 3);
    table_column(t, "bytes", "GB/s", 3);
    table_column(t, "of bandwidth", "%", 3);
    table_column(t, "of peak", "%", 3);
    table_column(t, "outcome", "", 0);
    for (size_t i = 0; i < book_size(&b); i++)
        if (book_is(&b, i, "work", "gemm") && book_measured(&b, i))
            kernel_row(&b, i, cache, t);
    table_note(t, "Medians with 95 %% intervals. Shares are of this run's own read bandwidth (cold: memory, hot: caches) and of its arithmetic peak.");
    if (any_above(t, "of bandwidth"))
        table_note(t, "A share of bandwidth above 100 %%: the weights stood in a nearer cache than the buffer that the roof was measured on.");
    if (t->n_rows)
        *out = t;
    else
        table_free(t);
    book_close(&b);
    return ST_OK;
}

enum status show_roofs(struct store *s, int64_t run, struct table **out, struct err *e)
{
    struct book b;
    *out = NULL;
    enum status st = book_open(&b, s, run, "'bandwidth', 'peak'", e);
    if (st != ST_OK)
        return st;
    struct table *t = table_new("Roofs");
    for (const char *const *name = (const char *const[]){"work", "op", "bytes", "threads", NULL}; *name; name++)
        table_column(t, *name, "", 0);
    table_column(t, "transferred", "GB/s", 3);
    table_column(t, "operations", "GOP/s", 3);
    table_column(t, "outcome", "", 0);
    for (size_t i = 0; i < book_size(&b); i++) {
        bool transfer = book_is(&b, i, "work", "bandwidth");
        if (!book_measured(&b, i))
            continue;
        table_row(t);
        book_put_axis(&b, i, "work", t, 0);
        book_put_axis(&b, i, "op", t, 1);
        book_put_axis(&b, i, "bytes", t, 2);
        book_put_axis(&b, i, "threads", t, 3);
        book_put(&b, i, transfer ? "bytes_per_second" : "ops_per_second", 1e-9, t, transfer ? 4 : 5);
        table_text(t, 6, book_text(&b, i, "outcome"));
    }
    if (t->n_rows)
        *out = t;
    else
        table_free(t);
    book_close(&b);
    return ST_OK;
}
