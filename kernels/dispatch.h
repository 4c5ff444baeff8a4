/* dispatch.h — for each format a kernel that hands every call to the one that was measured to be fastest for so many tokens. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_DISPATCH_H
#define QBENCH_DISPATCH_H

#include "kernel.h"

/*
 * Kernels of one format read the same packed weights and give the same bits (to rounding for bf16), but one for streaming weights
 * past a single token is not the one for multiplying hundreds. `<format>_dispatch` times those that can run here on a layer that
 * stays in the cache, when the first layer is packed (never while anything is timed), for m = 1, 2, 4 … 64; each answers for the
 * tokens up to the next. It does so once in a process for layers with groups, once for those without, and again only when the
 * mask of instruction sets has changed.
 */
enum { DISPATCH_SIZES = 7 };

/* What would run m tokens under the mask in force; measures if that is still to be done. NULL: this format has no such row. */
const struct kernel *dispatch_choice(enum format format, bool grouped, int m);

/* The rule. seconds (count) in the table's order, a candidate each, INFINITY for one that is out of the race: the last of those that
 * are within 3 % of the fastest, since later rows are preferred and less is noise. */
int dispatch_pick(const double *seconds, int count);

/* Whether a candidate that takes ratio times as long as the fastest at m tokens can still win at more, up to 64: twice the tokens take
 * it no less time, and the other at most twice as long. */
bool dispatch_in_the_race(double ratio, int m);

#endif
