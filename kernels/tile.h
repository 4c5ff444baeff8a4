/* tile.h — the AMX instructions that kernels use: eight tile registers of 16 rows of 64 bytes, and their products. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_TILE_H
#define QBENCH_TILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * A product adds to c (m rows of 16 32-bit numbers) what a (m rows) times b makes: b's row j stands against bytes 4 j .. 4 j + 3
 * of a's rows, four bytes (or two bf16) of each of its 16 columns side by side. So 16 rows of b are 64 columns of int8.
 *
 * TILE is 1 where this build has the instructions. A test that defines TILE_EMULATED has defined them too, as C functions:
 * the same source then runs on any machine. Register numbers are literal, for the compilers want them so.
 */
enum { TILE_COUNT = 8, TILE_ROWS = 16, TILE_ROW_BYTES = 64, TILE_BYTES = TILE_ROWS * TILE_ROW_BYTES };

/* LDTILECFG's memory, Intel SDM volume 1, chapter 18. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "the hardware reads 64 bytes");

#if defined(TILE_EMULATED)
#define TILE 1

#elif defined(__AMX_INT8__) || defined(__AMXINT8__) /* gcc, clang */
#define TILE 1
#include <immintrin.h>

/* gcc 12 does not see that these read memory: without this it drops stores in front of them, or moves later ones there. */
#define TILE_SETTLE __asm__ volatile("" : : : "memory")

#define tile_load(tile, base, stride)        \
    do {                                     \
        TILE_SETTLE;                         \
        _tile_loadd(tile, (base), (stride)); \
        TILE_SETTLE;                         \
    } while (0)
#define tile_store(tile, base, stride) _tile_stored(tile, (base), (stride))
#define tile_zero(tile) _tile_zero(tile)
#define tile_dpbssd(c, a, b) _tile_dpbssd(c, a, b)     /* signed x signed bytes */
#define tile_dpbsud(c, a, b) _tile_dpbsud(c, a, b)     /* signed x unsigned */
#define tile_dpbf16ps(c, a, b) _tile_dpbf16ps(c, a, b) /* bf16; denormals are 0, in and out */

static inline void tile_configure(const struct tile_config *c)
{
    __asm__ volatile("" : : "r"(c) : "memory");
    _tile_loadconfig(c);
    TILE_SETTLE;
}

static inline void tile_release(void) { _tile_release(); }

#else
#define TILE 0
#endif

/* Registers 0-3 accumulate, rows of a: rows; 4-5 are a, row_bytes wide; 6-7 b, of as many rows as that takes. */
static inline struct tile_config tile_shapes(int rows, int row_bytes)
{
    struct tile_config c = {.palette = 1};
    for (int i = 0; i < TILE_COUNT; i++) {
        c.row_bytes[i] = (uint16_t)(i == 4 || i == 5 ? row_bytes : TILE_ROW_BYTES);
        c.rows[i] = (uint8_t)(i < 6 ? rows : row_bytes / 4);
    }
    return c;
}

#endif
