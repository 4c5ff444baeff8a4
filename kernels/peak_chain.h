/* peak_chain.h — the loop of a peak whose chains are vector registers; included after PEAK_CHAIN, their type, is defined. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PEAK_CHAIN_H
#define QBENCH_PEAK_CHAIN_H

#include <string.h>

#include "peak.h"

#ifdef PEAK_CHAIN

#define CHAIN_INLINE static inline __attribute__((always_inline))

typedef PEAK_CHAIN chain;

/* One multiply-accumulate of every lane: acc becomes what is returned. Where x w does not depend on acc, the step makes *x unknown
 * first: else one product serves all chains. */
typedef chain chain_step(chain acc, chain *x, chain w);

CHAIN_INLINE bool chain_same(chain a, chain b) { return memcmp(&a, &b, sizeof a) == 0; }

/*
 * Steps every chain iterations * PEAK_REPEAT times from start, each step macs multiply-accumulates, and returns the operations
 * done; 0 when a chain does not end as want.
 */
CHAIN_INLINE double chain_run(long iterations, int macs, chain start, chain x, chain w, chain want, chain_step *step)
{
#define START(j) PEAK_START(chain, acc##j, start)
#define STEP(j) acc##j = step(acc##j, &x, w);
#define RIGHT(j) right &= chain_same(acc##j, want);
    PEAK_EACH_CHAIN(START)
    for (long i = 0; i < iterations; i++)
        for (int r = 0; r < PEAK_REPEAT; r++) {
            PEAK_OPAQUE(x);
            PEAK_EACH_CHAIN(STEP)
        }
    bool right = true;
    PEAK_EACH_CHAIN(RIGHT)
#undef START
#undef STEP
#undef RIGHT
    return right ? 2.0 * macs * PEAK_CHAINS * PEAK_REPEAT * (double)iterations : 0;
}

/* Where each step adds 4 to a 32-bit lane, as products of ones in int8 do: what stands there at the end. */
CHAIN_INLINE int32_t chain_fours(long iterations) { return (int32_t)(uint32_t)(4u * PEAK_REPEAT * (unsigned long)iterations); }

#endif
#endif
