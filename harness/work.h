/* work.h — a workload: what is opened, checked, timed and counted; and the table of all of them (works.def). */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_WORK_H
#define QBENCH_WORK_H

#include "case.h"

struct job;     /* a work's own state */
struct emitter; /* where results go */

/* Named results of a case. A value has an interval when lo <= value <= hi are finite; what could not be had is emitted as missing, with its reason. */
void emit_value(struct emitter *m, const char *name, const char *unit, double value);
void emit_interval(struct emitter *m, const char *name, const char *unit, double value, double lo, double hi);
void emit_missing(struct emitter *m, const char *name, const char *unit, const char *reason);
void emit_text(struct emitter *m, const char *name, const char *text);
/* type: "f32" or "i32" array, little-endian */
void emit_blob(struct emitter *m, const char *name, const char *type, const void *data, size_t bytes);

struct work {
    const char *name, *unit; /* "decode", "token" */
    const char *title;       /* one line for `qbench list works` */
    const char *axes;        /* the suite keys that it reads, blank separated */
    /* Turns what the case says into what it means, drops axes without meaning; NULL: nothing to do. ST_EUNSUPPORTED becomes a skip. */
    enum status (*resolve)(struct bench_case *, struct err *);
    enum status (*open)(struct job **, const struct bench_case *, struct err *);
    enum status (*check)(struct job *, struct err *);  /* before any timing; ST_EWRONG when a result is wrong */
    void (*begin)(struct job *);                        /* after warming up, before the first sample; NULL: nothing to do */
    double (*once)(struct job *);                      /* timed; returns the units done. NULL: nothing is timed (quality) */
    void (*amounts)(struct job *, double *ops, double *bytes); /* of one unit; NULL or zeros: not counted */
    enum status (*results)(struct job *, struct emitter *, struct err *); /* after timing; verifies outputs again */
    void (*close)(struct job *);
    bool needs_blas; /* times or compares with fp32: untrusted when OpenBLAS runs the wrong core */
    bool alone; /* never interleaved with other cases in one child (needs the memory or the machine for itself) */
};

extern const struct work *const works[]; /* NULL-terminated */
const struct work *work_find(const char *name);

#endif
