/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernel.h"
#include "peak.h"
#include "show.h"
#include "show_ratio.h"

/* Kernels against the roofs that the same run measured: a ratio across runs would mix two states of the machine. */

enum { NO_ROW = -1 };

static bool same_machine_share(const struct book *b, size_t x, size_t y)
{
    return book_int(b, x, "threads") == book_int(b, y, "threads") && book_is(b, x, "isa", book_text(b, y, "isa"));
}

/* How fast memory is depends on where what is read stands: the roof is the read whose buffer is nearest in size to the bytes that
 * the case touches before it comes back to the same ones, and none that is more than four times larger or smaller. */
static long bandwidth_row(const struct book *b, size_t row)
{
    double mine = book_value(b, row, "footprint_bytes").value, nearest = log(4);
    long best = NO_ROW;
    for (size_t i = 0; i < book_size(b); i++) {
        if (!book_is(b, i, "work", "bandwidth") || !book_is(b, i, "op", "read") || !book_measured(b, i) || !same_machine_share(b, i, row))
            continue;
        double distance = fabs(log(book_value(b, i, "footprint_bytes").value / mine));
        if (distance <= nearest) {
            nearest = distance;
            best = (long)i;
        }
    }
    return best;
}

/* Libraries choose their instructions themselves, and so does a kernel that hands on; the others use those that they name. */
static bool chooses(const struct kernel *k) { return strstr(k->name, "_blas") || strstr(k->name, "_onednn") || k->describe; }

/* Peaks are named by the arithmetic that fills them: int4_vnni multiplies as int8_vnni does. */
static bool is_ceiling_of(const struct peak *p, const struct kernel *k)
{
    bool integer = !strncmp(p->name, "int", 3), bf16 = !strncmp(p->name, "bf16", 4);
    bool same = integer == (k->act == ACT_INT8) && (!bf16 || k->act == ACT_BF16); /* bf16 may be multiplied as f32, not the reverse */
    return same && (chooses(k) || (p->needs & ~k->needs) == 0);
}

/* The highest of those that the kernel could reach. */
static long peak_row(const struct book *b, size_t row)
{
    const struct kernel *k = kernel_find(book_text(b, row, "kernel"));
    long best = NO_ROW;
    for (size_t i = 0; k && i < book_size(b); i++) {
        const struct peak *p = book_is(b, i, "work", "peak") ? peak_find(book_text(b, i, "op")) : NULL;
        if (!p || !book_measured(b, i) || !same_machine_share(b, i, row) || !is_ceiling_of(p, k))
            continue;
        if (best == NO_ROW || book_value(b, i, "ops_per_second").value > book_value(b, (size_t)best, "ops_per_second").value)
            best = (long)i;
    }
    return best;
}

/* Reached over roof in percent; NaN and why where one of them is missing. */
static double share(const struct book *b, size_t row, long roof, const char *name, const char *absent, const char **why)
{
    struct named mine = book_value(b, row, name);
    struct named limit = roof == NO_ROW ? (struct named){.value = NAN, .reason = absent} : book_value(b, (size_t)roof, name);
    *why = mine.reason ? mine.reason : limit.reason;
    return *why ? NAN : 100 * mine.value / limit.value;
}

static void put_share(struct table *t, int column, double percent, const char *why)
{
    if (why)
        table_absent(t, column, why);
    else
        table_real(t, column, percent);
}

/* "read of 64 MiB" */
static void name_bandwidth(const struct book *b, long row, char *buf, size_t n)
{
    double bytes = (double)book_int(b, (size_t)row, "bytes");
    int power = bytes >= 0x1p30 ? 3 : bytes >= 0x1p20 ? 2 : bytes >= 0x1p10;
    snprintf(buf, n, "read of %.4g %s", bytes / pow(1024, power), (const char *const[]){"B", "KiB", "MiB", "GiB"}[power]);
}

/*
 * What is attainable is the lower of the peak and of intensity times bandwidth; so the share of it is the larger of the two shares,
 * and that roof is the one that binds. With only one of them measured, which one binds is not known.
 */
static void put_roofs(const struct book *b, size_t row, struct table *t, int c)
{
    long memory = bandwidth_row(b, row), arithmetic = peak_row(b, row);
    const char *no_memory, *no_arithmetic;
    char name[64];
    double of_bandwidth = share(b, row, memory, "bytes_per_second", "no read of a like size on as many threads in this run", &no_memory);
    double of_peak = share(b, row, arithmetic, "ops_per_second", "no peak for this kernel's arithmetic on as many threads in this run", &no_arithmetic);
    put_share(t, c, of_bandwidth, no_memory);
    put_share(t, c + 1, of_peak, no_arithmetic);
    put_share(t, c + 2, fmax(of_bandwidth, of_peak), no_memory ? no_memory : no_arithmetic);
    if (no_memory || no_arithmetic)
        return;
    if (of_bandwidth >= of_peak)
        name_bandwidth(b, memory, name, sizeof name);
    else
        snprintf(name, sizeof name, "%s", book_text(b, (size_t)arithmetic, "op"));
    table_text(t, c + 3, name);
}

static bool same_axes(const struct book *b, size_t x, size_t y, const char *const *names)
{
    for (; *names; names++)
        if (book_int(b, x, *names) != book_int(b, y, *names) || !book_is(b, x, *names, book_text(b, y, *names)))
            return false;
    return true;
}

/* The same product in float, by the BLAS library where that was measured. */
static long float_row(const struct book *b, size_t row)
{
    static const char *const same[] = {"m", "n", "k", "cache", "isa", "seed", "threads", NULL};
    long best = NO_ROW;
    for (size_t i = 0; i < book_size(b); i++)
        if (book_is(b, i, "work", "gemm") && book_is(b, i, "format", "f32") && book_measured(b, i) && same_axes(b, i, row, same) &&
            (best == NO_ROW || book_is(b, i, "kernel", "f32_blas")))
            best = (long)i;
    return best;
}

/* Axes of a gemm case that are always shown, and those that are where a run has several. */
static const char *const kernel_axes[] = {"kernel", "m", "n", "k", "group", "threads", "cache", "acts", "isa", "seed"};
enum { KERNEL_AXES_COUNT = sizeof kernel_axes / sizeof *kernel_axes, KERNEL_AXES_ALWAYS = 8 };

static void kernel_row(const struct book *b, struct ratios *ratios, size_t row, struct table *t)
{
    int c = 0;
    table_row(t);
    for (; c < KERNEL_AXES_COUNT; c++)
        if (c < KERNEL_AXES_ALWAYS || book_varies(b, kernel_axes[c]))
            book_put_axis(b, row, kernel_axes[c], t, c);
    book_put(b, row, "ops_per_second", 1e-9, t, c);
    book_put(b, row, "bytes_per_second", 1e-9, t, c + 1);
    ratios_put(ratios, b, row, float_row(b, row), t, c + 2);
    put_roofs(b, row, t, c + 3);
    table_text(t, c + 7, book_text(b, row, "outcome"));
}

static bool any_above(const struct table *t, const char *column)
{
    for (size_t i = 0; i < t->n_rows; i++)
        if (table_cell(t, i, table_find(t, column))->real > 100)
            return true;
    return false;
}

static struct table *kernel_table(void)
{
    struct table *t = table_new("Kernels");
    for (int i = 0; i < KERNEL_AXES_COUNT; i++)
        table_column(t, kernel_axes[i], "", 0);
    table_column(t, "operations", "GOP/s", 3);
    table_column(t, "bytes", "GB/s", 3);
    table_column(t, "vs f32", "×", 3);
    table_column(t, "of bandwidth", "%", 3);
    table_column(t, "of peak", "%", 3);
    table_column(t, "of roof", "%", 3);
    table_column(t, "bound by", "", 0);
    table_column(t, "outcome", "", 0);
    return t;
}

enum status show_kernels(struct store *s, int64_t run, struct table **out, struct err *e)
{
    struct book b;
    struct ratios ratios;
    *out = NULL;
    enum status st = book_open(&b, s, run, "'gemm', 'bandwidth', 'peak'", e);
    if (st != ST_OK)
        return st;
    if ((st = ratios_open(&ratios, s, run, e)) != ST_OK) {
        book_close(&b);
        return st;
    }
    struct table *t = kernel_table();
    for (size_t i = 0; i < book_size(&b); i++)
        if (book_is(&b, i, "work", "gemm") && book_measured(&b, i))
            kernel_row(&b, &ratios, i, t);
    table_note(t, "Medians with 95 %% intervals. Roofs are of this run, this ISA and as many threads: the read whose buffer is nearest in size to what the case touches, and the peak of its arithmetic. "
                  "Of roof: of what is attainable, min(peak, operations per byte x bandwidth).");
    if (any_above(t, "of roof"))
        table_note(t, "A share above 100 %%: part of what was touched stood in a nearer cache than the buffer that the roof was measured on.");
    for (int c = t->n_columns; c-- > KERNEL_AXES_ALWAYS;)
        table_drop_empty(t, c);
    if (table_find(t, "vs f32") >= 0)
        ratios_note(&ratios, t);
    if (t->n_rows)
        *out = t;
    else
        table_free(t);
    ratios_close(&ratios);
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
