/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "format.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

/* A refused allocation is one of the cases; under ASan it would end the program. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

static void test_names(void **state)
{
    for (int f = 0; f < FORMAT_COUNT; f++) {
        assert_non_null(formats[f].title);
        assert_ptr_equal(format_find(formats[f].name), &formats[f]);
        int held = 0;
        for (int code = -200; code <= 200; code++)
            held += format_holds((enum format)f, code);
        assert_true(held <= (formats[f].qmax ? 1 << formats[f].bits : 0));
        assert_true(formats[f].qmax == 0 || (format_holds((enum format)f, formats[f].qmax) && format_holds((enum format)f, formats[f].qmin)));
    }
    assert_null(format_find("int5"));
    assert_null(format_find(""));
}

static void test_groups(void **state)
{
    static const struct {
        int cols, group, groups;
    } rows[] = {{1, 0, 1}, {100, 0, 1}, {1, 32, 1}, {32, 32, 1}, {33, 32, 2}, {100, 32, 4}, {65536, 32, 2048}, {100, 1, 100}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(qlinear_groups(rows[i].cols, rows[i].group), rows[i].groups);
}

static void test_dequantize(void **state)
{
    enum { ROWS = 3, COLS = 70, GROUP = 32, GROUPS = 3 };
    struct err e = {0};
    struct qlinear q;
    float w[ROWS * COLS];
    assert_int_equal(qlinear_alloc(&q, FORMAT_INT4, ROWS, COLS, GROUP, &e), ST_OK);
    assert_true(q.act_gain == 1.0f);
    for (int i = 0; i < ROWS * COLS; i++)
        q.plane.codes[i] = (int8_t)(i % 15 - 7);
    for (int i = 0; i < ROWS * GROUPS; i++)
        q.plane.scale[i] = (float)(i + 1) * 0.25f;
    qlinear_dequantize(&q, w);
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLS; c++) {
            float expected = (float)(r * GROUPS + c / GROUP + 1) * 0.25f * (float)((r * COLS + c) % 15 - 7);
            assert_true(w[r * COLS + c] == expected);
        }
    qlinear_free(&q);
    assert_null(q.plane.codes);
    qlinear_free(&q);
    struct qlinear dense = {.rows = ROWS, .cols = COLS, .format = FORMAT_F32, .dense = w};
    float copy[ROWS * COLS];
    qlinear_dequantize(&dense, copy);
    assert_memory_equal(copy, w, sizeof w);
}

static void test_bytes(void **state)
{
    static const struct {
        enum format format;
        int rows, cols, group;
        size_t bytes;
    } rows[] = {
        {FORMAT_F32, 3, 5, 0, 60},
        {FORMAT_INT8, 3, 5, 0, 3 * 5 + 3 * 4},
        {FORMAT_INT8, 3, 5, 4, 3 * 5 + 3 * 2 * 2},
        {FORMAT_INT4, 3, 5, 0, 3 * 3 + 3 * 4},
        {FORMAT_INT4, 2, 128, 32, 2 * 64 + 2 * 4 * 2},
        {FORMAT_BF16, 3, 5, 0, 30},
        {FORMAT_INT3, 2, 5, 0, 2 * 2 + 2 * 4},
        {FORMAT_INT2, 2, 9, 0, 2 * 3 + 2 * 4},
        {FORMAT_TERN, 1, 2048, 0, 512 + 4}, /* 2.016 bits a weight */
        {FORMAT_BIN, 2, 9, 0, 2 * 2 + 2 * 4},
        {FORMAT_POT4, 2, 128, 32, 2 * 64 + 2 * 4 * 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct qlinear q = {.rows = rows[i].rows, .cols = rows[i].cols, .format = rows[i].format};
        q.plane.group = rows[i].group;
        assert_int_equal(qlinear_bytes(&q), rows[i].bytes);
    }
}

static void test_refusals(void **state)
{
    static const struct {
        enum format format;
        int rows, cols, group;
        enum status status;
        const char *says;
    } rows[] = {
        {FORMAT_INT8, 4, 4, -1, ST_EUSAGE, "group -1"},
        {FORMAT_INT8, 0, 4, 0, ST_EUSAGE, "0 x 4"},
        {FORMAT_INT4, 4, -2, 0, ST_EUSAGE, "4 x -2"},
        {FORMAT_F32, 4, 4, 0, ST_EUSAGE, "f32"},
        {FORMAT_INT8, INT32_MAX, INT32_MAX, 0, ST_ENOMEM, "no memory"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err e = {0};
        struct qlinear q;
        assert_int_equal(qlinear_alloc(&q, rows[i].format, rows[i].rows, rows[i].cols, rows[i].group, &e), rows[i].status);
        assert_non_null(strstr(e.text, rows[i].says));
        assert_null(q.plane.codes);
        assert_null(q.plane.scale);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names), cmocka_unit_test(test_groups),   cmocka_unit_test(test_dequantize),
        cmocka_unit_test(test_bytes), cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
