/* doctor.h — what this machine can measure and what it cannot, a row a capability. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_DOCTOR_H
#define QBENCH_DOCTOR_H

#include "meter.h"
#include "table.h"

enum doctor_state { DOCTOR_WORKS, DOCTOR_PARTLY, DOCTOR_MISSING };

struct doctor_row {
    const char *what;
    enum doctor_state state;
    bool required;    /* without it nothing can be run */
    char detail[320]; /* what works, or why it does not */
    char advice[160]; /* what to do; "" only where it works */
};

enum { DOCTOR_ROWS_MAX = 24 };
struct doctor {
    struct doctor_row row[DOCTOR_ROWS_MAX];
    int n;
};

struct doctor_env {
    const struct meter_env *meters; /* its sysroot holds for every path of /sys and /proc */
    const char *db;                 /* path of the database */
    const char *corpora;            /* folder of the texts */
};

/* Never fails: what cannot be found out is a row that says so. Takes some seconds. Call it before OpenBLAS is loaded: only then
 * can it be told which kernels that library would have chosen by itself. */
void doctor_examine(struct doctor *d, const struct doctor_env *env);
bool doctor_ready(const struct doctor *d); /* everything required works */

/* brief: cells are cut so that a terminal of 110 columns shows them; else whole, for machines. NULL: no memory. */
struct table *doctor_table(const struct doctor *d, bool brief);

#endif
