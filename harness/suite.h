/* suite.h — a suite file: YAML sections whose lists multiply into cases. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_SUITE_H
#define QBENCH_SUITE_H

#include "case.h"

/*
 *   # why this suite exists
 *   global:               # settings and axes that every section starts from
 *     samples: 12
 *     threads: [1, 2]
 *   sections:
 *     gemv:
 *       work: gemm
 *       kernel: int?_*    # globs over the axis's table (kernel, method, format, work, op)
 *       m: 1..4           # ranges: 1..4, 1..64*2 (doubling), 0..100+25
 *       exclude:          # cases that match every pair of an entry are left out; values may be lists and globs
 *         - {kernel: int8_scalar, threads: 2}
 *     gemm:
 *       inherit: gemv     # starts from that section's keys; its own keys replace them
 *       m: [64, 512]
 *
 * Unknown key, empty glob, wrong type, unknown parent, duplicate key: ST_EFORMAT with file:line:column and the nearest valid word.
 */
struct suite {
    char name[64];
    char path[512];
    char *text;               /* owned: the file */
    char hash[17];            /* of text, overrides, sections and filter */
    struct bench_case *cases; /* owned; resolved, without duplicates, in order */
    size_t count;
};

struct suite_options {
    const char *const *sets; /* "key=value" (value may be a YAML list), each replaces that key in every section */
    int n_sets;
    int n_general;           /* the first so many speak to the whole command (--seed): where no section reads them, they say nothing */
    const char *const *sections; /* globs over names of sections; n_sections == 0: all */
    int n_sections;
    const char *filter;      /* a glob over keys, or "axis=glob,axis=glob"; NULL = all */
};

/* name: suites/<name>.yaml under home, or a path. Loads, expands, resolves and filters. Zero cases is ST_EUSAGE. */
enum status suite_load(struct suite *s, const char *name, const struct suite_options *o, struct err *e);
void suite_close(struct suite *s);

#endif
