/* emulated_amx.h — the AMX kernels once more, over emulated tiles: they need only the AVX-512 of the rest of their code. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_EMULATED_AMX_H
#define QBENCH_EMULATED_AMX_H

#include "kernel.h"

/* NULL-terminated; empty in a build without AVX-512. Their names are those of the real ones. */
const struct kernel *const *emulated_kernels(void);

#endif
