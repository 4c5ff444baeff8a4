/* likwid_probe.h — what liblikwid knows about this machine, asked in a child process. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_LIKWID_PROBE_H
#define QBENCH_LIKWID_PROBE_H

#include "base.h"

/*
 * The library calls exit() from inside, prints, and returns success where it failed: it is loaded in a child, and a counter works
 * when it has counted, whatever was returned.
 */
struct likwid_report {
    bool loaded, topology;
    char cpu[96];   /* what it takes the CPU for: "Unknown Intel Processor" */
    int sockets, cores, threads, numa_nodes;
    double instructions, joules; /* over a busy loop; 0: the counters, or the energy, do not work */
    char reason[160];            /* why not all of it works; "" when all does */
};

/* ST_EUNSUPPORTED when nothing could be had: not installed, not built in. A library that dies half-way leaves what it had told. */
enum status likwid_probe(struct likwid_report *r, struct err *e);

#endif
