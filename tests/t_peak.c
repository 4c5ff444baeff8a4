/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "cpu.h"
#include "peak.h"
#include "stream.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

static int unmask(void **state)
{
    cpu_set_mask(UINT32_MAX);
    return 0;
}

static void rows_are_whole(void **state)
{
    char why[128];
    for (int i = 0; peaks[i]; i++) {
        const struct peak *p = peaks[i];
        assert_true(p->name && p->title && p->unit_op);
        assert_ptr_equal(peak_find(p->name), p);
        assert_true((p->run == NULL) == (p->absent != NULL));
        assert_true(strcmp(p->unit_op, "flop") == 0 || strcmp(p->unit_op, "op") == 0);
        if (!p->run) {
            peak_reason(p, why, sizeof why);
            assert_string_equal(why, p->absent);
        }
    }
    assert_null(peak_find("f32_quantum"));
}

/* Operations are counted exactly and grow with the iterations; 0 would say that the arithmetic came out wrong. */
static void peaks_compute_what_they_count(void **state)
{
    for (int i = 0; peaks[i]; i++) {
        char why[128];
        peak_reason(peaks[i], why, sizeof why);
        if (why[0]) {
            printf("skipped %s: %s\n", peaks[i]->name, why);
            continue;
        }
        double one = peaks[i]->run(1), three = peaks[i]->run(3), four = peaks[i]->run(4);
        assert_true(one > 1000);
        assert_true(four - three > 0 && three - one == 2 * (four - three));
    }
}

/* Wider instructions cannot be slower than the baseline; a factor 1.2 leaves room for noise. The figures are for the reader. */
static void report_rates(void **state)
{
    double scalar = 0;
    for (int i = 0; peaks[i]; i++) {
        if (!peaks[i]->run || (peaks[i]->needs & ~cpu_isa()) != 0)
            continue;
        double best = 0;
        for (int r = 0; r < 10; r++) {
            double start = now_seconds(), ops = peaks[i]->run(1000), rate = ops / (now_seconds() - start);
            best = rate > best ? rate : best;
        }
        printf("%-12s %8.1f G%s/s\n", peaks[i]->name, best / 1e9, peaks[i]->unit_op);
        if (strcmp(peaks[i]->name, "f32_scalar") == 0)
            scalar = best;
        assert_true(best > scalar / 1.2);
    }
}

static void masked_peaks_say_so(void **state)
{
    cpu_set_level("scalar", NULL);
    char why[128];
    for (int i = 0; peaks[i]; i++) {
        peak_reason(peaks[i], why, sizeof why);
        assert_int_equal(why[0] == 0, peaks[i]->needs == 0 && peaks[i]->run);
    }
}

/* Sizes around a block, and more threads than blocks, on every instruction set. */
static void streams_move_what_they_count(void **state)
{
    static const size_t sizes[] = {1, 4096, 4097, 100000, 1 << 20};
    static const char *const levels[] = {"scalar", "avx2", "avx512", "native"};
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        if (cpu_set_level(levels[l], NULL) != ST_OK)
            continue;
        for (int threads = 1; threads <= 3; threads++) {
            struct par *p;
            assert_int_equal(par_open(&p, threads, NULL), ST_OK);
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                struct stream *s;
                struct err e = {0};
                assert_int_equal(stream_open(&s, STREAM_TRIAD, sizes[i], p, &e), ST_OK);
                double n = (double)round_up(sizes[i], 4096);
                if (stream_check(s, &e) != ST_OK)
                    fail_msg("%s", e.text);
                assert_true(stream_run(s, STREAM_READ) == n);
                assert_true(stream_run(s, STREAM_COPY) == 2 * n);
                assert_true(stream_run(s, STREAM_TRIAD) == 3 * n);
                assert_int_equal(stream_footprint(s, STREAM_TRIAD), 3 * round_up(sizes[i], 4096));
                if (strcmp(levels[l], "native") != 0)
                    assert_string_equal(stream_isa(s), levels[l]);
                stream_close(s);
            }
            par_close(p);
        }
    }
}

static void impossible_streams_are_refused(void **state)
{
    struct par *p;
    assert_int_equal(par_open(&p, 1, NULL), ST_OK);
    struct stream *s = (void *)1;
    struct err e = {0};
    assert_int_equal(stream_open(&s, STREAM_TRIAD, 0, p, &e), ST_EUSAGE);
    assert_null(s);
    assert_int_equal(stream_open(&s, STREAM_TRIAD, SIZE_MAX, p, NULL), ST_EUSAGE);
    assert_int_equal(stream_open(&s, STREAM_TRIAD, (size_t)1 << 52, p, NULL), ST_ENOMEM);
    assert_null(s);
    stream_close(NULL);
    par_close(p);
}

static void report_bandwidth(void **state)
{
    struct par *p;
    struct stream *s;
    assert_int_equal(par_open(&p, 1, NULL), ST_OK);
    assert_int_equal(stream_open(&s, STREAM_TRIAD, 16 << 20, p, NULL), ST_OK);
    for (int op = 0; op < STREAM_COUNT; op++) {
        double best = 0;
        for (int r = 0; r < 5; r++) {
            double start = now_seconds(), bytes = stream_run(s, (enum stream_op)op), rate = bytes / (now_seconds() - start);
            best = rate > best ? rate : best;
        }
        printf("%-5s %6.1f GB/s (16 MiB an array, 1 thread, %s)\n", stream_names[op], best / 1e9, stream_isa(s));
        assert_true(best > 1e8);
    }
    stream_close(s);
    par_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_whole),
        cmocka_unit_test(peaks_compute_what_they_count),
        cmocka_unit_test(report_rates),
        cmocka_unit_test_teardown(masked_peaks_say_so, unmask),
        cmocka_unit_test_teardown(streams_move_what_they_count, unmask),
        cmocka_unit_test(impossible_streams_are_refused),
        cmocka_unit_test(report_bandwidth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
