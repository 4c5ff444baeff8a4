/* stream.h — memory bandwidth: read, copy and triad over arrays of a chosen size, the roof of everything memory-bound. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_STREAM_H
#define QBENCH_STREAM_H

#include "base.h"
#include "par.h"

/*
 * Three arrays of equal size, each thread's share first touched by that thread, in huge pages where the kernel gives them,
 * as mem_alloc asks for weights. Loads and stores are the widest that the CPU mask allows. What is counted is what the program asks for
 * (McCalpin's STREAM): a store that first reads its line moves more than that.
 */
enum stream_op {
    STREAM_READ,  /* sum of a:     1 array is read */
    STREAM_COPY,  /* b = a:        1 read, 1 written */
    STREAM_TRIAD, /* c = a + 3 b:  2 read, 1 written */
    STREAM_COUNT
};
extern const char *const stream_names[STREAM_COUNT]; /* "read", "copy", "triad" */

struct stream;

/* bytes per array (rounded up to whole pages): read touches one of them, copy two, triad three; as many are made as widest_op needs. p
 * is borrowed. */
enum status stream_open(struct stream **s, enum stream_op widest_op, size_t bytes, struct par *p, struct err *e);
void stream_close(struct stream *s);

size_t stream_footprint(const struct stream *s, enum stream_op op); /* bytes touched by a pass: what a cache must hold */
const char *stream_isa(const struct stream *s);                     /* "avx512", "avx2" or "scalar": whose loads */

/* One pass on all threads; returns the bytes moved as counted above, 0 when a read did not find what was written. */
double stream_run(struct stream *s, enum stream_op op);

/* Runs each op, up to the widest, once and compares every element. ST_EWRONG names the op and the place. Not for timing. */
enum status stream_check(struct stream *s, struct err *e);

/* The loops, one table an instruction set. bytes is a multiple of 4096; pointers are 64-byte aligned. */
struct stream_loops {
    const char *name;
    uint32_t needs;
    uint64_t (*read)(const void *a, size_t bytes); /* sum of the 64-bit words modulo 2^64 */
    void (*copy)(void *b, const void *a, size_t bytes);
    void (*triad)(float *c, const float *a, const float *b, size_t bytes);
};
extern const struct stream_loops stream_avx2, stream_avx512; /* functions are NULL where they were not built */

#endif
