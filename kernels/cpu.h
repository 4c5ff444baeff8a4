/* cpu.h — which instruction sets can be used here, and a mask to pretend to be a smaller machine. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_CPU_H
#define QBENCH_CPU_H

#include "base.h"

/*
 * One word of ISA bits. A bit is set when the CPU has the instructions, the kernel saves their registers, and the mask
 * allows them. A kernel states the bits it needs; everything that chooses code asks here and nowhere else.
 */
enum isa {
    ISA_AVX2 = 1 << 0,       /* AVX2, FMA and F16C */
    ISA_AVXVNNI = 1 << 1,    /* VPDPBUSD on ymm registers */
    ISA_AVX512 = 1 << 2,     /* F, BW, DQ and VL */
    ISA_AVX512VNNI = 1 << 3, /* VPDPBUSD on zmm registers */
    ISA_AVX512BF16 = 1 << 4,
    ISA_AMX_INT8 = 1 << 5, /* TILE and INT8, and the kernel grants tile state */
    ISA_AMX_BF16 = 1 << 6,
    ISA_NEON = 1 << 7,    /* aarch64's Advanced SIMD */
    ISA_DOTPROD = 1 << 8, /* SDOT and UDOT */
    ISA_I8MM = 1 << 9,    /* SMMLA, UMMLA and USMMLA, USDOT */
};

uint32_t cpu_isa(void);                                /* usable now: detected and not masked */
uint32_t cpu_isa_detected(void);                       /* what the machine has, whatever the mask */
const char *cpu_isa_name(uint32_t bit);                /* "avx512_vnni" */
void cpu_isa_text(uint32_t isa, char *buf, size_t n);  /* "avx2 avx512 avx512_vnni"; "scalar" for 0 */

/*
 * Levels for --isa, each with everything below it: scalar; on x86 avx2, avxvnni, avx512, vnni, bf16, amx; on aarch64 neon,
 * dotprod, i8mm; native. Masks from then on. An unknown level is ST_EUSAGE (with the list); one that this machine does not
 * reach, or of the other architecture, is ST_EUNSUPPORTED, naming what is missing.
 */
enum status cpu_set_level(const char *level, struct err *e);
const char *cpu_level(void); /* the level in force; "native" by default */
void cpu_set_mask(uint32_t allowed); /* for tests: UINT32_MAX allows everything */

/* "" when every bit of needs is usable; else "needs avx512_vnni" or "avx512_vnni is masked by --isa avx2". */
void cpu_missing(uint32_t needs, char *buf, size_t n);

struct cpu_caches {
    size_t l1d, l2, l3; /* bytes; l3 is what the machine reports, shared or not; 0 = unknown */
};
struct cpu_caches cpu_caches(void);
void cpu_brand(char *buf, size_t n); /* "Intel(R) Xeon(R) Processor" */
bool cpu_hypervisor(char *vendor, size_t n);

#endif
