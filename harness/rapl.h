/* rapl.h — what the energy meters share: domains, the wrap rule, liveness and totals. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_RAPL_H
#define QBENCH_RAPL_H

#include "meter.h"

/*
 * A machine has one package domain a socket, maybe a dram domain a socket, maybe psys, which contains both. (core and uncore are
 * within package and are never added, so they are not read.) A meter finds the domains and says how one is read; all else is here:
 *
 *     delta = now >= before ? now - before : now + range - before
 *     total = psys where it lives, else the sum of all packages and all dram
 *
 * A counter that goes backwards with an unknown range spoils the window; so does one that was not looked at for half the time in
 * which it wraps at RAPL_WATTS_MAX: it may have wrapped twice.
 */
enum rapl_kind { RAPL_PACKAGE, RAPL_DRAM, RAPL_PSYS, RAPL_KINDS };
extern const char *const rapl_kind_names[RAPL_KINDS]; /* "package", "dram", "psys" */

enum { RAPL_DOMAINS_MAX = 64, RAPL_METRICS = 2 * (RAPL_KINDS + 1), RAPL_WATTS_MAX = 1000 };
extern const struct metric rapl_metrics[RAPL_METRICS + 1];

struct rapl_domain {
    enum rapl_kind kind;
    char label[48];          /* "package-0", "dram of package-0" */
    char path[224];          /* powercap: of its zone, without sysroot */
    int fd;                  /* perf: -1 elsewhere */
    double joules_per_count;
    uint64_t range;          /* the counter's values are 0..range; 0: unknown, or it never wraps */
    bool alive;
    char reason[160];        /* why it is not alive */
    uint64_t last;           /* counts, at the latest look */
    double last_seconds;
    double joules;           /* since start */
    bool spoilt;             /* this window is, for this reason */
    char trouble[160];
};

typedef bool rapl_read(const struct meter_env *env, const struct rapl_domain *d, uint64_t *counts);

struct gauge {
    const struct meter *meter;
    const struct meter_env *env; /* borrowed */
    rapl_read *read;
    struct rapl_domain domain[RAPL_DOMAINS_MAX];
    int n;
    char missing[RAPL_KINDS][160]; /* why there is no domain of a kind */
    double started;
};

/* Adds every domain, those that cannot be read with their reason, or says what is missing. */
typedef enum status rapl_find(struct gauge *g, struct err *e);
/* Room for one more, its fd -1; NULL when there are too many. */
struct rapl_domain *rapl_add(struct gauge *g, enum rapl_kind kind);

/* Finds the domains and reads each around a busy loop. Those that cannot be read or do not advance are marked dead; ST_EUNSUPPORTED when
 * all are. *out is NULL after a failure. */
enum status rapl_open(struct gauge **out, const struct meter *meter, const struct meter_env *env, rapl_find *find, rapl_read *read,
                      struct err *e);

/* What the rows of both meters have in common. */
void rapl_start(struct gauge *g);
void rapl_poll(struct gauge *g);
int rapl_stop(struct gauge *g, struct reading *out);
void rapl_close(struct gauge *g);
int rapl_describe(struct gauge *g, char *out, size_t n);

#endif
