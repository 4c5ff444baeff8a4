/* options.h — the options that every subcommand takes, the exit codes, and how an error is told. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_OPTIONS_H
#define QBENCH_OPTIONS_H

#include <argp.h>

#include "table.h"

enum exit_code {
    EXIT_OK = 0,
    EXIT_REGRESSED = 1,     /* of speed, energy, size or quality */
    EXIT_USAGE = 2,         /* usage or configuration */
    EXIT_NOTHING = 3,       /* nothing measured, a case failed or timed out, or not comparable */
    EXIT_WRONG = 4,         /* a result is wrong */
    EXIT_INCONCLUSIVE = 5,  /* with --strict */
    EXIT_INTERRUPTED = 130,
};

struct options {
    char db[1024];          /* the default is results/qbench.db under home */
    const char *label;      /* NULL: none */
    bool has_seed;
    uint64_t seed;          /* 1 unless given */
    int threads;            /* 0: not given */
    const char *isa;        /* in force already; NULL: not given */
    const char *format;     /* an output form of sinks.def */
    const char *output;     /* NULL: stdout */
    const char *sysroot;    /* "" : the real one */
};
void options_default(struct options *o);

/* A child parser whose input is struct options: {&options_argp, 0, "Common options:", 10} in the parent's children, and
 * state->child_inputs[i] = options at ARGP_KEY_INIT. */
extern const struct argp options_argp;

/* Parses argv with the parent's argp; usage errors exit with EXIT_USAGE, --help and --version with 0. */
void options_parse(const struct argp *argp, int argc, char **argv, void *input);

/* Says e on stderr as "qbench: text" and returns the exit code of its status. */
int complain(const struct err *e);
int exit_code(enum status s);

/* Prints tables as the options ask; the exit code. */
int options_print(const struct options *o, struct table *const *tables, int n);

#endif
