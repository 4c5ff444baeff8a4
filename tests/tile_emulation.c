/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tile_emulation.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static _Thread_local struct {
    struct tile_config config; /* palette 0: none */
    uint8_t tile[TILE_COUNT][TILE_ROWS][TILE_ROW_BYTES];
} now;

static _Thread_local jmp_buf *trap;
static _Thread_local char fault_text[128];
static atomic_long configured, released;

static _Noreturn void fault(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(fault_text, sizeof fault_text, format, args);
    va_end(args);
    if (trap)
        longjmp(*trap, 1);
    fprintf(stderr, "emulated tiles: %s\n", fault_text);
    abort();
}

const char *tile_faults(void (*fn)(void *ctx), void *ctx)
{
    jmp_buf here;
    const char *volatile why = NULL;
    trap = &here;
    if (setjmp(here) == 0)
        fn(ctx);
    else
        why = fault_text;
    trap = NULL;
    return why;
}

struct tile_counts tile_counts(void)
{
    return (struct tile_counts){atomic_exchange(&configured, 0), atomic_exchange(&released, 0)};
}

static void forget(void) { memset(&now, 0, sizeof now); }

/* Configuration */

static void check_reserved(const struct tile_config *c)
{
    for (size_t i = 0; i < sizeof c->reserved; i++)
        if (c->reserved[i])
            fault("#GP: LDTILECFG: reserved byte %zu is %d", 2 + i, c->reserved[i]);
    for (int i = TILE_COUNT; i < 16; i++)
        if (c->row_bytes[i] || c->rows[i])
            fault("#GP: LDTILECFG: there is no tile %d", i);
}

void tile_configure(const struct tile_config *c)
{
    if (c->palette > 1)
        fault("#GP: LDTILECFG: palette %d", c->palette);
    if (c->palette == 0) {
        forget();
        return;
    }
    check_reserved(c);
    for (int i = 0; i < TILE_COUNT; i++) {
        if (c->row_bytes[i] > TILE_ROW_BYTES || c->rows[i] > TILE_ROWS)
            fault("#GP: LDTILECFG: tile %d of %d rows of %d bytes", i, c->rows[i], c->row_bytes[i]);
        if (!c->row_bytes[i] != !c->rows[i])
            fault("#GP: LDTILECFG: tile %d has rows or bytes, not both", i);
    }
    if (c->start_row)
        fault("LDTILECFG: start_row %d is for restarts, which nothing here asks for", c->start_row);
    forget();
    now.config = *c;
    configured++;
}

void tile_release(void)
{
    forget();
    released++;
}

/* Loads and stores */

static void check_tile(const char *what, int tile)
{
    if (!now.config.palette)
        fault("#UD: %s: tiles are not configured", what);
    if (tile < 0 || tile >= TILE_COUNT || !now.config.rows[tile])
        fault("#UD: %s: tile %d is not configured", what, tile);
    if (now.config.row_bytes[tile] % 4)
        fault("#UD: %s: tile %d has rows of %d bytes", what, tile, now.config.row_bytes[tile]);
}

void tile_zero(int tile)
{
    check_tile("TILEZERO", tile);
    memset(now.tile[tile], 0, sizeof now.tile[tile]);
}

void tile_load(int tile, const void *base, size_t stride)
{
    check_tile("TILELOADD", tile);
    tile_zero(tile);
    for (int r = 0; r < now.config.rows[tile]; r++)
        memcpy(now.tile[tile][r], (const uint8_t *)base + (size_t)r * stride, now.config.row_bytes[tile]);
}

void tile_store(int tile, void *base, size_t stride)
{
    check_tile("TILESTORED", tile);
    for (int r = 0; r < now.config.rows[tile]; r++)
        memcpy((uint8_t *)base + (size_t)r * stride, now.tile[tile][r], now.config.row_bytes[tile]);
}

/* Products */

static void check_product(const char *what, int c, int a, int b)
{
    check_tile(what, c);
    check_tile(what, a);
    check_tile(what, b);
    if (c == a || c == b || a == b)
        fault("#UD: %s: tiles %d, %d and %d are not three", what, c, a, b);
    if (now.config.rows[c] != now.config.rows[a] || now.config.row_bytes[c] != now.config.row_bytes[b] ||
        now.config.row_bytes[a] / 4 != now.config.rows[b])
        fault("#UD: %s: the shapes of tiles %d, %d and %d do not fit", what, c, a, b);
}

/* Rows and bytes of c beyond its shape become zero. */
static void clear_beyond(int c)
{
    for (int r = 0; r < TILE_ROWS; r++) {
        size_t used = r < now.config.rows[c] ? now.config.row_bytes[c] : 0;
        memset(now.tile[c][r] + used, 0, TILE_ROW_BYTES - used);
    }
}

/* One row: sum (16) += a's four bytes times b's (16, 4), without saturation. */
static void add_quads(uint32_t *sum, const uint8_t *a, const uint8_t *b, int columns, bool b_signed)
{
    for (int n = 0; n < columns; n++)
        for (int i = 0; i < 4; i++) {
            int w = b_signed ? (int8_t)b[4 * n + i] : b[4 * n + i];
            sum[n] += (uint32_t)((int8_t)a[i] * w);
        }
}

static void multiply_bytes(const char *what, int c, int a, int b, bool b_signed)
{
    check_product(what, c, a, b);
    for (int m = 0; m < now.config.rows[c]; m++) {
        uint32_t sum[TILE_ROW_BYTES / 4];
        memcpy(sum, now.tile[c][m], sizeof sum);
        for (int k = 0; k < now.config.rows[b]; k++)
            add_quads(sum, now.tile[a][m] + 4 * k, now.tile[b][k], now.config.row_bytes[c] / 4, b_signed);
        memcpy(now.tile[c][m], sum, sizeof sum);
    }
    clear_beyond(c);
}

void tile_dpbssd(int c, int a, int b) { multiply_bytes("TDPBSSD", c, a, b, true); }
void tile_dpbsud(int c, int a, int b) { multiply_bytes("TDPBSUD", c, a, b, false); }

/* Denormals are zero, in and out; the sign stays. */
static float flushed(float x) { return fpclassify(x) == FP_SUBNORMAL ? copysignf(0.0f, x) : x; }

static float widened(const uint8_t *at)
{
    uint16_t half;
    float x;
    memcpy(&half, at, sizeof half);
    uint32_t bits = (uint32_t)half << 16;
    memcpy(&x, &bits, sizeof x);
    return flushed(x);
}

/* Even columns and odd ones are summed apart, from zero, then together, then to c. */
void tile_dpbf16ps(int c, int a, int b)
{
    check_product("TDPBF16PS", c, a, b);
    for (int m = 0; m < now.config.rows[c]; m++)
        for (int n = 0; n < now.config.row_bytes[c] / 4; n++) {
            float sum[2] = {0, 0}, old;
            for (int k = 0; k < now.config.rows[b]; k++)
                for (int i = 0; i < 2; i++)
                    sum[i] = flushed(fmaf(widened(now.tile[a][m] + 4 * k + 2 * i), widened(now.tile[b][k] + 4 * n + 2 * i), sum[i]));
            memcpy(&old, now.tile[c][m] + 4 * n, sizeof old);
            float y = flushed(flushed(old) + flushed(sum[0] + sum[1]));
            memcpy(now.tile[c][m] + 4 * n, &y, sizeof y);
        }
    clear_beyond(c);
}
