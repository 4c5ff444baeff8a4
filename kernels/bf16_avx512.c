/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "kernel.h"

#define DESCRIPTION                                                                                               \
    .name = "bf16_avx512", .title = "AVX-512: bf16 shifted to f32, fused multiply-adds of 16", .format = FORMAT_BF16, \
    .needs = ISA_AVX2 | ISA_AVX512, .act = ACT_BF16, .n_step = 16, .k_step = 1

#ifndef __AVX512DQ__
const struct kernel kernel_bf16_avx512 = {DESCRIPTION, .absent = "not an x86-64 build"};
#else
#include "fma_avx512.h"

#include "bf16_loops.h"

const struct kernel kernel_bf16_avx512 = {DESCRIPTION, .packed_size = bf16_size, .pack = bf16_pack, .gemm = bf16_gemm};
#endif
