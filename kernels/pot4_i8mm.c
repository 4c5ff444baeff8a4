/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "panel_neon.h"

#ifndef __ARM_FEATURE_MATMUL_INT8
const struct kernel kernel_pot4_i8mm = {I8MM_DESCRIPTION("pot4_i8mm", FORMAT_POT4, 8), .absent = "not an arm64 build"};
#else
NEON_GEMM(neon_pot4, FORMAT_POT4, 2, 0, true)

const struct kernel kernel_pot4_i8mm = {I8MM_DESCRIPTION("pot4_i8mm", FORMAT_POT4, 8), NEON_FUNCTIONS};
#endif
