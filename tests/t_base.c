/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base.h"
#include "cpu.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

static void fail_keeps_the_first(void **state)
{
    struct err e = {0};
    assert_int_equal((fail)(&e, ST_EFORMAT, "%s:%d: bad", "file", 7), ST_EFORMAT);
    assert_int_equal((fail)(&e, ST_EIO, "later"), ST_EIO); /* what it returns is this failure's own */
    assert_int_equal(e.status, ST_EFORMAT);
    assert_string_equal(e.text, "file:7: bad");
    assert_int_equal((fail)(NULL, ST_ENOMEM, "nobody listens"), ST_ENOMEM);
}

static void fail_cuts_long_text(void **state)
{
    char long_text[3000];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = 0;
    struct err e = {0};
    (fail)(&e, ST_EUSAGE, "%s", long_text);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
}

static void memory_is_aligned_and_zeroed(void **state)
{
    static const size_t sizes[] = {0, 1, 63, 64, 65, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *p = mem_alloc(sizes[i], 1);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t j = 0; j < sizes[i]; j++)
            assert_int_equal(p[j], 0);
        memset(p, 0xff, sizes[i]);
        mem_free(p);
    }
    mem_free(NULL);
}

static void memory_overflow_is_refused(void **state)
{
    assert_null(mem_alloc(SIZE_MAX, 2));
    assert_null(mem_alloc(SIZE_MAX / 4 + 1, 4));
    assert_null(mem_alloc(SIZE_MAX, 1)); /* would overflow in rounding up */
    assert_null(mem_alloc(SIZE_MAX - 63, 1));
}

static void rounding_up(void **state)
{
    assert_int_equal(round_up(0, 64), 0);
    assert_int_equal(round_up(1, 64), 64);
    assert_int_equal(round_up(64, 64), 64);
    assert_int_equal(round_up(65, 3), 66);
}

/* The values that the authors' reference code gives for the state 1, 2, 3, 4. */
static void generator_is_xoshiro256starstar(void **state)
{
    static const uint64_t want[] = {11520u,
                                    0u,
                                    1509978240u,
                                    1215971899390074240u,
                                    1216172134540287360u,
                                    607988272756665600u,
                                    16172922978634559625u,
                                    8476171486693032832u,
                                    10595114339597558777u,
                                    2904607092377533576u};
    struct rng r = {{1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        assert_int_equal(rng_u64(&r), want[i]);
}

/* splitmix64 from 0, as published. */
static void seeding_is_splitmix64(void **state)
{
    struct rng r;
    rng_seed(&r, 0);
    assert_int_equal(r.s[0], 0xe220a8397b1dcdafu);
    assert_int_equal(r.s[1], 0x6e789e6aa1b965f4u);
    assert_int_equal(r.s[2], 0x06c45d188009454fu);
    assert_int_equal(r.s[3], 0xf88bb8a8724c81ecu);
}

/* Chi-square over 7 cells, 6 degrees of freedom: 27.86 has p = 1e-4, and the seed is fixed. */
static void below_is_uniform(void **state)
{
    enum { CELLS = 7, DRAWS = 70000 };
    int count[CELLS] = {0};
    struct rng r;
    rng_seed(&r, 1);
    for (int i = 0; i < DRAWS; i++) {
        uint32_t v = rng_below(&r, CELLS);
        assert_true(v < CELLS);
        count[v]++;
    }
    double chi = 0, expected = (double)DRAWS / CELLS;
    for (int i = 0; i < CELLS; i++)
        chi += (count[i] - expected) * (count[i] - expected) / expected;
    assert_true(chi < 27.86);
    assert_int_equal(rng_below(&r, 1), 0);
    /* 3 * 2^30 does not divide 2^32: a biased generator gives the lower third twice as often. */
    int low = 0;
    for (int i = 0; i < 30000; i++)
        low += rng_below(&r, 3u << 30) < 1u << 30;
    assert_in_range(low, 9600, 10400); /* 4.9 sigma */
}

static void uniform_and_normal(void **state)
{
    enum { N = 200000 };
    struct rng r;
    rng_seed(&r, 2);
    double sum = 0, normal = 0, square = 0, fourth = 0;
    for (int i = 0; i < N; i++) {
        float u = rng_uniform(&r);
        assert_true(u >= 0 && u < 1);
        sum += u;
        double z = rng_normal(&r);
        normal += z;
        square += z * z;
        fourth += z * z * z * z;
    }
    /* five standard errors: 1/sqrt(12 N), 1/sqrt(N), sqrt(2/N), sqrt(96/N) */
    assert_true(fabs(sum / N - 0.5) < 5 / sqrt(12.0 * N));
    assert_true(fabs(normal / N) < 5 / sqrt(N));
    assert_true(fabs(square / N - 1) < 5 * sqrt(2.0 / N));
    assert_true(fabs(fourth / N - 3) < 5 * sqrt(96.0 / N));
}

static void generator_resumes_from_its_state(void **state)
{
    struct rng a, b;
    rng_seed(&a, 42);
    for (int i = 0; i < 11; i++)
        rng_normal(&a);
    b = a;
    for (int i = 0; i < 100; i++)
        assert_memory_equal(&(float){rng_normal(&a)}, &(float){rng_normal(&b)}, sizeof(float));
}

/* What the format says, by arithmetic that has nothing in common with the code. */
static double fp16_value(unsigned h)
{
    int e = (int)(h >> 10 & 31), m = (int)(h & 1023);
    double v = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}

static void fp16_decodes_every_value(void **state)
{
    for (unsigned h = 0; h < 65536; h++) {
        float got = fp16_to_float((uint16_t)h);
        if ((h >> 10 & 31) < 31) {
            assert_true((double)got == fp16_value(h));
            assert_int_equal(!!signbit(got), h >> 15);
        } else if (h & 1023)
            assert_true(isnan(got));
        else
            assert_true(isinf(got) && !!signbit(got) == (int)(h >> 15));
    }
}

/* Rounding is monotone, so the values, the midpoints between neighbours and what lies beside the midpoints decide it all. */
static void fp16_rounds_to_nearest_even(void **state)
{
    for (unsigned sign = 0; sign < 65536; sign += 0x8000)
        for (unsigned h = sign; h < sign + 0x7bff; h++) {
            double a = fp16_value(h), b = fp16_value(h + 1);
            float middle = (float)((a + b) / 2), far = sign ? -INFINITY : INFINITY;
            assert_int_equal(fp16_from_float((float)a), h);
            assert_int_equal(fp16_from_float(middle), h + (h & 1));
            assert_int_equal(fp16_from_float(nextafterf(middle, far)), h + 1);
            assert_int_equal(fp16_from_float(nextafterf(middle, -far)), h);
        }
}

static void fp16_saturates(void **state)
{
    static const float big[] = {65504, 65519.996f, 65520, 1e10f, 3e38f, INFINITY};
    for (size_t i = 0; i < sizeof big / sizeof *big; i++) {
        assert_int_equal(fp16_from_float(big[i]), 0x7bff);
        assert_int_equal(fp16_from_float(-big[i]), 0xfbff);
    }
    assert_true(isnan(fp16_round(NAN)));
    assert_int_equal(fp16_from_float(-0.0f), 0x8000);
    assert_int_equal(fp16_from_float(1e-30f), 0);
}

#if defined(__x86_64__)
__attribute__((target("avx,f16c"))) static uint16_t f16c(float x)
{
    return (uint16_t)_mm_extract_epi16(_mm_cvtps_ph(_mm_set_ss(x), _MM_FROUND_TO_NEAREST_INT), 0);
}
#endif

/* Floats of all exponents and signs, a prime apart. */
static void fp16_agrees_with_hardware(void **state)
{
#if defined(__x86_64__)
    if (!(cpu_isa() & ISA_AVX2))
        skip();
    for (uint64_t u = 0; u < 1ull << 32; u += 641) {
        uint32_t bits = (uint32_t)u;
        float x;
        memcpy(&x, &bits, 4);
        if (isnan(x) || fabsf(x) >= 65520)
            continue;
        if (fp16_from_float(x) != f16c(x))
            fail_msg("%a: %#x, hardware %#x", (double)x, fp16_from_float(x), f16c(x));
    }
#else
    skip();
#endif
}

static void clock_advances(void **state)
{
    double a = now_seconds(), b = now_seconds();
    for (int i = 0; i < 1000000 && b == a; i++)
        b = now_seconds();
    assert_true(b > a && b - a < 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail_keeps_the_first),
        cmocka_unit_test(fail_cuts_long_text),
        cmocka_unit_test(memory_is_aligned_and_zeroed),
        cmocka_unit_test(memory_overflow_is_refused),
        cmocka_unit_test(rounding_up),
        cmocka_unit_test(generator_is_xoshiro256starstar),
        cmocka_unit_test(seeding_is_splitmix64),
        cmocka_unit_test(below_is_uniform),
        cmocka_unit_test(uniform_and_normal),
        cmocka_unit_test(generator_resumes_from_its_state),
        cmocka_unit_test(fp16_decodes_every_value),
        cmocka_unit_test(fp16_rounds_to_nearest_even),
        cmocka_unit_test(fp16_saturates),
        cmocka_unit_test(fp16_agrees_with_hardware),
        cmocka_unit_test(clock_advances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
