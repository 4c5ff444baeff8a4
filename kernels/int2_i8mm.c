/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "panel_neon.h"

#ifndef __ARM_FEATURE_MATMUL_INT8
const struct kernel kernel_int2_i8mm = {I8MM_DESCRIPTION("int2_i8mm", FORMAT_INT2, 16), .absent = "not an arm64 build"};
#else
NEON_GEMM(neon_int2, FORMAT_INT2, 4, 2, true)

const struct kernel kernel_int2_i8mm = {I8MM_DESCRIPTION("int2_i8mm", FORMAT_INT2, 16), NEON_FUNCTIONS};
#endif
