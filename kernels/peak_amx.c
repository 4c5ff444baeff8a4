/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "peak.h"
#include "tile.h"

/* bf16 by AVX-512 stands here too, for its flag is among AMX's. */
static const char title_bf16[] = "bf16 multiply-accumulate by VDPBF16PS, 512 bits";
static const char title_amx_int8[] = "int8 multiply-accumulate by AMX tiles";
static const char title_amx_bf16[] = "bf16 multiply-accumulate by AMX tiles";

#ifdef __AVX512BF16__

#include <immintrin.h>

/* The same bits as bf16 in every lane. */
static __m512bh all_bf16(uint16_t bits)
{
    union {
        __m512i i;
        __m512bh bh;
    } u = {.i = _mm512_set1_epi16((short)bits)};
    return u.bh;
}

/* 1 x 1 and 1 x -1 by turns: each lane goes up by 2 and back, so nothing saturates; one product more leaves 1 + 2. */
static double run_bf16(long iterations)
{
    const uint16_t one = 0x3f80, minus_one = 0xbf80;
    __m512bh x = all_bf16(one), plus = all_bf16(one), minus = all_bf16(minus_one);
    __m512 three = _mm512_set1_ps(3.0f);
#define START(j) PEAK_START(__m512, acc##j, _mm512_set1_ps(1.0f))
#define UP(j) acc##j = _mm512_dpbf16_ps(acc##j, x, plus);
#define DOWN(j) acc##j = _mm512_dpbf16_ps(acc##j, x, minus);
#define RIGHT(j) right &= _mm512_cmp_ps_mask(acc##j, three, _CMP_EQ_OQ) == 0xffff;
    PEAK_EACH_CHAIN(START)
    for (long i = 0; i < iterations; i++)
        for (int r = 0; r < PEAK_REPEAT / 2; r++) {
            PEAK_OPAQUE(x);
            PEAK_EACH_CHAIN(UP)
            PEAK_EACH_CHAIN(DOWN)
        }
    PEAK_EACH_CHAIN(UP)
    bool right = true;
    PEAK_EACH_CHAIN(RIGHT)
#undef START
#undef UP
#undef DOWN
#undef RIGHT
    return right ? 2.0 * 32 * PEAK_CHAINS * (PEAK_REPEAT * (double)iterations + 1) : 0;
}

const struct peak peak_bf16_avx512 = {
    .name = "bf16_avx512",
    .title = title_bf16,
    .needs = ISA_AVX512 | ISA_AVX512BF16,
    .unit_op = "flop",
    .run = run_bf16,
};

#else

const struct peak peak_bf16_avx512 = {.name = "bf16_avx512", .title = title_bf16, .needs = ISA_AVX512 | ISA_AVX512BF16,
                                      .unit_op = "flop", .absent = "this build has no AVX-512 BF16 code (not x86-64)"};

#endif

#if TILE

#include <string.h>

enum { TILE_REPEAT = 16 };

static void configure(void)
{
    struct tile_config shapes = tile_shapes(TILE_ROWS, TILE_ROW_BYTES);
    tile_configure(&shapes);
}

static void zero_accumulators(void)
{
    tile_zero(0);
    tile_zero(1);
    tile_zero(2);
    tile_zero(3);
}

/* Whether each of the 16 x 16 words of all four accumulators is want. */
static bool accumulators_hold(uint32_t want)
{
    uint32_t c[4][TILE_ROWS * TILE_ROW_BYTES / 4];
    tile_store(0, c[0], TILE_ROW_BYTES);
    tile_store(1, c[1], TILE_ROW_BYTES);
    tile_store(2, c[2], TILE_ROW_BYTES);
    tile_store(3, c[3], TILE_ROW_BYTES);
    for (size_t i = 0; i < sizeof c / 4; i++)
        if (c[0][i] != want)
            return false;
    return true;
}

static double tile_operations(int macs, double tile_products) { return 2.0 * macs * tile_products; }

/* Ones everywhere: each TDPBSSD adds 64 to a word. */
static double run_amx_int8(long iterations)
{
    uint8_t ones[TILE_ROWS * TILE_ROW_BYTES];
    memset(ones, 1, sizeof ones);
    configure();
    zero_accumulators();
    tile_load(4, ones, TILE_ROW_BYTES);
    tile_load(5, ones, TILE_ROW_BYTES);
    tile_load(6, ones, TILE_ROW_BYTES);
    tile_load(7, ones, TILE_ROW_BYTES);
    for (long i = 0; i < iterations; i++)
        for (int r = 0; r < TILE_REPEAT; r++) {
            tile_dpbssd(0, 4, 6);
            tile_dpbssd(1, 4, 7);
            tile_dpbssd(2, 5, 6);
            tile_dpbssd(3, 5, 7);
        }
    bool right = accumulators_hold((uint32_t)(64u * TILE_REPEAT * (unsigned long)iterations));
    tile_release();
    return right ? tile_operations(16 * 16 * 64, 4.0 * TILE_REPEAT * (double)iterations) : 0;
}

const struct peak peak_int8_amx = {
    .name = "int8_amx",
    .title = title_amx_int8,
    .needs = ISA_AMX_INT8,
    .unit_op = "op",
    .run = run_amx_int8,
};

/* 1 x 1 and 1 x -1 by turns: each word goes to 32 and back to 0, so nothing saturates; one product more leaves 32. */
static double run_amx_bf16(long iterations)
{
    uint16_t ones[TILE_ROWS * TILE_ROW_BYTES / 2], minus[TILE_ROWS * TILE_ROW_BYTES / 2];
    for (size_t i = 0; i < sizeof ones / 2; i++) {
        ones[i] = 0x3f80;
        minus[i] = 0xbf80;
    }
    configure();
    zero_accumulators();
    tile_load(4, ones, TILE_ROW_BYTES);
    tile_load(5, ones, TILE_ROW_BYTES);
    tile_load(6, ones, TILE_ROW_BYTES);
    tile_load(7, minus, TILE_ROW_BYTES);
    for (long i = 0; i < iterations; i++)
        for (int r = 0; r < TILE_REPEAT / 2; r++) {
            tile_dpbf16ps(0, 4, 6);
            tile_dpbf16ps(1, 4, 6);
            tile_dpbf16ps(2, 5, 6);
            tile_dpbf16ps(3, 5, 6);
            tile_dpbf16ps(0, 4, 7);
            tile_dpbf16ps(1, 4, 7);
            tile_dpbf16ps(2, 5, 7);
            tile_dpbf16ps(3, 5, 7);
        }
    tile_dpbf16ps(0, 4, 6);
    tile_dpbf16ps(1, 4, 6);
    tile_dpbf16ps(2, 5, 6);
    tile_dpbf16ps(3, 5, 6);
    const uint32_t thirty_two = 0x42000000u; /* as float */
    bool right = accumulators_hold(thirty_two);
    tile_release();
    return right ? tile_operations(16 * 16 * 32, 4.0 * (TILE_REPEAT * (double)iterations + 1)) : 0;
}

const struct peak peak_bf16_amx = {
    .name = "bf16_amx",
    .title = title_amx_bf16,
    .needs = ISA_AMX_BF16,
    .unit_op = "flop",
    .run = run_amx_bf16,
};

#else

static const char why[] = "this build has no AMX code (not x86-64, or a compiler that does not know it)";
const struct peak peak_int8_amx = {.name = "int8_amx", .title = title_amx_int8, .needs = ISA_AMX_INT8, .unit_op = "op",
                                   .absent = why};
const struct peak peak_bf16_amx = {.name = "bf16_amx", .title = title_amx_bf16, .needs = ISA_AMX_BF16, .unit_op = "flop",
                                   .absent = why};

#endif
