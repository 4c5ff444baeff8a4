/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "host.h"

enum { OPT_DB = 0x1000, OPT_LABEL, OPT_SEED, OPT_THREADS, OPT_ISA, OPT_FORMAT, OPT_OUTPUT, OPT_SYSROOT };

static const struct argp_option table_of_options[] = {
    {"db", OPT_DB, "FILE", 0, "Database (default: results/qbench.db)", 0},
    {"label", OPT_LABEL, "NAME", 0, "Name of a run, to find it again", 0},
    {"seed", OPT_SEED, "N", 0, "Seed of everything random (default: 1)", 0},
    {"threads", OPT_THREADS, "N", 0, "Threads (default: all CPUs that this process may use)", 0},
    {"isa", OPT_ISA, "LEVEL", 0, "Highest instruction set: scalar, avx2, avxvnni, avx512, vnni, bf16, amx, neon, dotprod, i8mm, native", 0},
    {"format", OPT_FORMAT, "FORM", 0, "Output form: text, md, csv, json, jsonl", 0},
    {"output", OPT_OUTPUT, "FILE", 0, "Write there instead of to the standard output", 0},
    {"sysroot", OPT_SYSROOT, "DIR", 0, "Look up /proc and /sys under DIR", 0},
    {0},
};

void options_default(struct options *o)
{
    *o = (struct options){.seed = 1, .format = sinks[0]->name, .sysroot = ""};
    host_path(o->db, sizeof o->db, "results/qbench.db");
}

static unsigned long long number(struct argp_state *state, const char *option, const char *text, unsigned long long least, unsigned long long most)
{
    char *end;
    errno = 0;
    unsigned long long x = strtoull(text, &end, 10);
    if (!*text || strspn(text, "0123456789") != strlen(text) || *end || errno || x < least || x > most)
        argp_failure(state, EXIT_USAGE, 0, "%s: '%s' is not a whole number from %llu to %llu", option, text, least, most);
    return x;
}

static void set_isa(struct argp_state *state, struct options *o, const char *level)
{
    struct err e = {0};
    if (cpu_set_level(level, &e) != ST_OK)
        argp_failure(state, EXIT_USAGE, 0, "--isa: %s", e.text);
    o->isa = level;
}

static void set_format(struct argp_state *state, struct options *o, const char *form)
{
    char list[256] = "";
    for (int i = 0; sinks[i]; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", sinks[i]->name);
    if (!sink_find(form))
        argp_failure(state, EXIT_USAGE, 0, "--format: unknown form '%s'; the forms are %s", form, list);
    o->format = form;
}

/* A label must not be taken for a run's number or for the word that stands for the latest. */
static const char *label(struct argp_state *state, const char *text)
{
    if (!*text || !strcmp(text, "latest") || strspn(text, "0123456789") == strlen(text))
        argp_failure(state, EXIT_USAGE, 0, "--label: '%s' would be taken for something else; use a word", text);
    return text;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case OPT_DB:
        if (!*arg || strlen(arg) >= sizeof o->db)
            argp_failure(state, EXIT_USAGE, 0, "--db: the path is %s", *arg ? "too long" : "empty");
        snprintf(o->db, sizeof o->db, "%s", arg);
        return 0;
    case OPT_LABEL: o->label = label(state, arg); return 0;
    case OPT_SEED:
        o->seed = number(state, "--seed", arg, 0, 1000000000000000ull);
        o->has_seed = true;
        return 0;
    case OPT_THREADS: o->threads = (int)number(state, "--threads", arg, 1, 1024); return 0;
    case OPT_ISA: set_isa(state, o, arg); return 0;
    case OPT_FORMAT: set_format(state, o, arg); return 0;
    case OPT_OUTPUT: o->output = arg; return 0;
    case OPT_SYSROOT: o->sysroot = arg; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

const struct argp options_argp = {.options = table_of_options, .parser = parse};

void options_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    argp_err_exit_status = EXIT_USAGE;
    argp_parse(argp, argc, argv, 0, NULL, input);
}

int exit_code(enum status s)
{
    switch (s) {
    case ST_OK: return EXIT_OK;
    case ST_EUSAGE:
    case ST_EFORMAT:
    case ST_ENOENT: return EXIT_USAGE;
    case ST_EWRONG: return EXIT_WRONG;
    case ST_EINTERRUPTED: return EXIT_INTERRUPTED;
    default: return EXIT_NOTHING;
    }
}

int complain(const struct err *e)
{
    fprintf(stderr, "qbench: %s\n", e->text);
    return exit_code(e->status);
}

int options_print(const struct options *o, struct table *const *tables, int n)
{
    struct err e = {0};
    enum status s = tables_print((const struct table *const *)tables, n, o->format, o->output, &e);
    return s == ST_OK ? EXIT_OK : complain(&e);
}
