/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "act.h"
#include "cpu.h"
#include "format.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

enum { MAX_K = 1100, SEED = 11 };

/* The rule as act.h states it, by the C library's rounding. */
static float reference(const float *x, int k, int8_t *codes)
{
    float max = 0;
    bool finite = true;
    for (int j = 0; j < k; j++) {
        finite = finite && isfinite(x[j]);
        max = fmaxf(max, fabsf(x[j]));
    }
    float scale = finite ? max / 127.0f : NAN;
    for (int j = 0; j < k; j++)
        codes[j] = scale > 0 ? (int8_t)fmaxf(-127.0f, fminf(127.0f, nearbyintf(x[j] / scale))) : 0;
    return scale;
}

static const char *const fills[] = {"normal", "ties", "zeros", "huge", "subnormal", "tiny", "infinity", "nan", "negative nan"};
enum { FILLS = sizeof fills / sizeof *fills };

static void fill(float *x, int k, int kind, struct rng *r)
{
    for (int j = 0; j < k; j++) {
        float v = rng_normal(r);
        x[j] = kind == 1   ? (float)((int)rng_below(r, 508) - 254) * 0.5f /* max near 127: quotients at and around .5 */
               : kind == 2 ? (j % 2 ? -0.0f : 0.0f)
               : kind == 3 ? v * (FLT_MAX / 8)
               : kind == 4 ? v * 1e-42f
               : kind == 5 ? (v > 0 ? 1e-45f : -1e-45f)
                           : v;
    }
    int at = (int)rng_below(r, (uint32_t)k);
    if (kind == 1)
        x[at] = 127.0f;
    else if (kind == 6)
        x[at] = rng_u64(r) & 1 ? INFINITY : -INFINITY;
    else if (kind == 7)
        x[at] = NAN;
    else if (kind == 8)
        x[at] = -NAN;
}

static bool usable(const struct act_row *row) { return row->quantize && (row->needs & ~cpu_isa()) == 0; }

static void check_row(const struct act_row *row, const float *x, int k, int kind)
{
    _Alignas(64) int8_t got[MAX_K + 128], expected[MAX_K];
    memset(got, 0x55, sizeof got);
    float scale = row->quantize(x, k, got), right = reference(x, k, expected);
    bool same = (isnan(scale) && isnan(right)) || scale == right;
    if (!same || memcmp(got, expected, (size_t)k) != 0)
        fail_msg("seed %d: %s differs from the rule for k=%d, %s", SEED, row->name, k, fills[kind]);
    for (int j = k; j < k + 64; j++)
        assert_int_equal(got[j], 0x55);
}

static void test_rows_follow_the_rule(void **state)
{
    float buffer[MAX_K + 1];
    struct rng r;
    rng_seed(&r, SEED);
    for (int i = 0; act_rows[i]; i++) {
        if (!usable(act_rows[i])) {
            print_message("skipped: %s cannot run here\n", act_rows[i]->name);
            continue;
        }
        for (int kind = 0; kind < FILLS; kind++)
            for (int k = 1; k <= MAX_K; k += k < 140 ? 1 : 97) {
                fill(buffer + 1, k, kind, &r); /* not aligned */
                check_row(act_rows[i], buffer + 1, k, kind);
            }
    }
}

static void test_sums(void **state)
{
    static const int groups[] = {0, 1, 8, 24, 32, 40, 64, 100, 128, 4096};
    _Alignas(64) int8_t q[MAX_K + 64];
    int32_t got[MAX_K + 1];
    struct rng r;
    rng_seed(&r, SEED);
    for (int i = 0; act_rows[i]; i++)
        for (int k = 1; usable(act_rows[i]) && k <= MAX_K; k += k < 140 ? 1 : 97)
            for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
                int count = qlinear_groups(k, groups[g]), step = groups[g] ? groups[g] : k;
                memset(q, 0, sizeof q);
                for (int j = 0; j < k; j++)
                    q[j] = (int8_t)(k % 3 ? (int)rng_below(&r, 255) - 127 : -127);
                got[count] = 0x55;
                act_rows[i]->sums(q, k, groups[g], got);
                for (int s = 0; s < count; s++) {
                    int32_t sum = 0;
                    for (int j = s * step; j < min_int((s + 1) * step, k); j++)
                        sum += q[j];
                    assert_int_equal(got[s], sum);
                }
                assert_int_equal(got[count], 0x55);
            }
}

static void check_set(struct acts *a, struct par *p, int m, int k, int group, struct rng *r)
{
    enum { LDX_MORE = 3 };
    int ldx = k + LDX_MORE;
    float *x = mem_alloc((size_t)m * (size_t)ldx, sizeof *x);
    int8_t expected[MAX_K];
    for (int i = 0; i < m * ldx; i++)
        x[i] = rng_normal(r);
    acts_set(a, p, ACT_INT8, x, m, k, ldx, group);
    assert_true(a->ld >= k && a->ld % ACT_PAD == 0 && a->ld % 1024 != 0 && a->ld == act_ld(k));
    assert_int_equal(a->groups, qlinear_groups(k, group));
    for (int i = 0; i < m; i++) {
        const int8_t *q = a->q + (size_t)i * (size_t)a->ld;
        assert_true(a->scale[i] == reference(x + (size_t)i * (size_t)ldx, k, expected));
        assert_memory_equal(q, expected, (size_t)k);
        for (int j = k; j < a->ld; j++)
            assert_int_equal(q[j], 0);
        int64_t sum = 0, all = 0;
        for (int g = 0; g < a->groups; g++)
            sum += a->sum[i * a->groups + g];
        for (int j = 0; j < k; j++)
            all += q[j];
        assert_int_equal(sum, all);
    }
    mem_free(x);
}

static void test_set(void **state)
{
    static const int ks[] = {1000, 1, 63, 64, 65, 512, 1024, 100}; /* falling and rising within what was reserved */
    struct err e = {0};
    struct rng r;
    rng_seed(&r, SEED);
    for (int threads = 1; threads <= 3; threads++) {
        struct par *p = NULL;
        struct acts a = {0};
        assert_int_equal(par_open(&p, threads, &e), ST_OK);
        assert_int_equal(acts_reserve(&a, ACT_INT8, 70, 1024, 16, &e), ST_OK);
        const void *held[] = {a.q, a.scale, a.sum};
        for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
            for (int m = 1; m <= 70; m += 23) {
                check_set(&a, p, m, ks[i], 16, &r);
                check_set(&a, NULL, m, ks[i], 0, &r);
            }
        assert_int_equal(acts_reserve(&a, ACT_INT8, 3, 100, 32, &e), ST_OK); /* smaller: keeps what it has */
        assert_true(held[0] == a.q && held[1] == a.scale && held[2] == a.sum);
        acts_free(&a);
        acts_free(&a);
        par_close(p);
    }
}

static void test_float_borrows(void **state)
{
    float x[8] = {0};
    struct acts a = {0};
    acts_set(&a, NULL, ACT_F32, x, 2, 3, 4, 0);
    assert_ptr_equal(a.x, x);
    assert_int_equal(a.ldx, 4);
    assert_null(a.q);
    acts_free(&a);
}

static void test_every_level_agrees(void **state)
{
    static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512", "vnni", "bf16", "amx", "native"};
    float x[777];
    int8_t codes[777], expected[777];
    struct rng r;
    rng_seed(&r, SEED);
    fill(x, 777, 0, &r);
    float scale = reference(x, 777, expected);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        struct err e = {0};
        if (cpu_set_level(levels[i], &e) != ST_OK) {
            print_message("skipped: %s\n", e.text);
            continue;
        }
        memset(codes, 0x55, sizeof codes);
        assert_true(act_quantize_row(x, 777, codes) == scale);
        assert_memory_equal(codes, expected, sizeof codes);
    }
    cpu_set_mask(UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_follow_the_rule), cmocka_unit_test(test_sums),
        cmocka_unit_test(test_set),                  cmocka_unit_test(test_float_borrows),
        cmocka_unit_test(test_every_level_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
