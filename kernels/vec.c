/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vec.h"

#include "cpu.h"

const struct vec *const vecs[] = {&vec_scalar, &vec_avx2, &vec_avx512, NULL};

const struct vec *vec_get(void)
{
    const struct vec *best = &vec_scalar;
    for (int i = 0; vecs[i]; i++)
        if (vecs[i]->dot && (vecs[i]->needs & ~cpu_isa()) == 0)
            best = vecs[i];
    return best;
}
