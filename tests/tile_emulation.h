/* tile_emulation.h — AMX's tile instructions in C, faults and all, so that kernels can be proven where the hardware is not. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_TILE_EMULATION_H
#define QBENCH_TILE_EMULATION_H

#define TILE_EMULATED
#include "tile.h"

/*
 * Written from the instruction reference (Intel SDM volume 2, "Operation" of LDTILECFG, TILELOADD, TILESTORED, TILEZERO, TDPBSSD,
 * TDPBSUD and TDPBF16PS, and the exception classes AMX-E1 to E6). Each thread has tiles of its own. What would be #GP or #UD ends
 * the process with a message, or the function under tile_faults.
 */
void tile_configure(const struct tile_config *c);
void tile_release(void);
void tile_load(int tile, const void *base, size_t stride);
void tile_store(int tile, void *base, size_t stride);
void tile_zero(int tile);
void tile_dpbssd(int c, int a, int b);
void tile_dpbsud(int c, int a, int b);
void tile_dpbf16ps(int c, int a, int b);

/* Why fn(ctx) faulted on this thread; NULL when it did not. */
const char *tile_faults(void (*fn)(void *ctx), void *ctx);

/* On all threads since the last call: configurations loaded, and released. */
struct tile_counts {
    long configured, released;
};
struct tile_counts tile_counts(void);

#endif
