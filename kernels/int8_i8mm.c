/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "panel_neon.h"

#ifndef __ARM_FEATURE_MATMUL_INT8
const struct kernel kernel_int8_i8mm = {I8MM_DESCRIPTION("int8_i8mm", FORMAT_INT8, 8), .absent = "not an arm64 build"};
#else
NEON_GEMM(neon_int8, FORMAT_INT8, 2, 0, true)

const struct kernel kernel_int8_i8mm = {I8MM_DESCRIPTION("int8_i8mm", FORMAT_INT8, 8), NEON_FUNCTIONS};
#endif
