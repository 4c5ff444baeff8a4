/* peak.h — measured ceilings of arithmetic: what one thread reaches when everything stands in registers. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PEAK_H
#define QBENCH_PEAK_H

#include "base.h"

/*
 * A roofline's flat part is measured on this machine, for this instruction set and thread count, never taken from a
 * datasheet. Each peak runs independent multiply-accumulates, enough of them to hide their latency.
 */
struct peak {
    const char *name;    /* "int8_vnni": format and ISA, as kernels are named */
    const char *title;
    uint32_t needs;      /* ISA bits */
    const char *unit_op; /* "flop" or "op" (integer): a multiply-accumulate is two of them */
    /* Does iterations >= 1 times a fixed amount of work (some hundred ns) and returns the operations done; 0 when the registers do
     * not hold at the end what that much work must leave in them. */
    double (*run)(long iterations);
    const char *absent;  /* why run is NULL in this build */
};

extern const struct peak *const peaks[]; /* NULL-terminated */
const struct peak *peak_find(const char *name); /* NULL: unknown */

/* "" when p can run here and now, else the reason in words. */
void peak_reason(const struct peak *p, char *buf, size_t n);

/* Twelve independent chains cover the latency of two ports (5 cycles at most) and leave room for constants in 16 registers.
 * They are named variables, not an array: gcc 12 would keep an array in memory, and a third of the peak would be left. */
#define PEAK_EACH_CHAIN(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
enum { PEAK_CHAINS = 12, PEAK_REPEAT = 64 };

/* Makes v unknown to the compiler: work on a constant is neither hoisted nor folded, and chains that start from the same
 * value are not merged into one (gcc did that, and "measured" 1.6 times the peak). */
#if defined(__x86_64__) || defined(__i386__)
#define PEAK_OPAQUE(v) __asm__ volatile("" : "+v"(v))
#else
#define PEAK_OPAQUE(v) __asm__ volatile("" : "+m"(v))
#endif
#define PEAK_START(type, name, value) \
    type name = value;                \
    PEAK_OPAQUE(name);

#endif
