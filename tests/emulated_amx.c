/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "emulated_amx.h"

#ifdef __AVX512VNNI__

#include "tile_emulation.h"

/* The library has these names. */
#define amx_gemm emulated_gemm
#define kernel_bf16_amx bf16_amx
#define kernel_int8_amx int8_amx
#define kernel_int4_amx int4_amx
#define kernel_int3_amx int3_amx
#define kernel_int2_amx int2_amx
#define kernel_tern_amx tern_amx
#define kernel_bin_amx bin_amx
#define kernel_pot4_amx pot4_amx

#include "panel_amx.c"

#include "bf16_amx.c"
#include "bin_amx.c"
#include "int2_amx.c"
#include "int3_amx.c"
#include "int4_amx.c"
#include "int8_amx.c"
#include "pot4_amx.c"
#include "tern_amx.c"

static const struct kernel *const real[] = {&int8_amx, &int4_amx, &int3_amx, &int2_amx, &tern_amx, &bin_amx, &pot4_amx, &bf16_amx};
enum { COUNT = sizeof real / sizeof *real };

const struct kernel *const *emulated_kernels(void)
{
    static struct kernel copy[COUNT];
    static const struct kernel *list[COUNT + 1];
    for (int i = 0; i < COUNT; i++) {
        copy[i] = *real[i];
        copy[i].needs &= ~(uint32_t)(ISA_AMX_INT8 | ISA_AMX_BF16);
        list[i] = &copy[i];
    }
    return list;
}

#else

const struct kernel *const *emulated_kernels(void)
{
    static const struct kernel *none[1];
    return none;
}

#endif
