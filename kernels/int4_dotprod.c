/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "panel_neon.h"

#ifndef __ARM_FEATURE_DOTPROD
const struct kernel kernel_int4_dotprod = {DOTPROD_DESCRIPTION("int4_dotprod", FORMAT_INT4, 8), .absent = "not an arm64 build"};
#else
NEON_GEMM(neon_int4, FORMAT_INT4, 2, 8, false)

const struct kernel kernel_int4_dotprod = {DOTPROD_DESCRIPTION("int4_dotprod", FORMAT_INT4, 8), NEON_FUNCTIONS};
#endif
