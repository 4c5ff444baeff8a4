/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "panel_neon.h"

#ifndef __ARM_FEATURE_DOTPROD
const struct kernel kernel_int3_dotprod = {DOTPROD_DESCRIPTION("int3_dotprod", FORMAT_INT3, 32), .absent = "not an arm64 build"};
#else
NEON_GEMM(neon_int3, FORMAT_INT3, 8, 4, false)

const struct kernel kernel_int3_dotprod = {DOTPROD_DESCRIPTION("int3_dotprod", FORMAT_INT3, 32), NEON_FUNCTIONS};
#endif
