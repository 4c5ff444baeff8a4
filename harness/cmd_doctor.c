/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "doctor.h"
#include "host.h"
#include "options.h"

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = o; return 0;
    case ARGP_KEY_ARG: argp_failure(state, EXIT_USAGE, 0, "takes no arguments, not '%s'", arg); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {{&options_argp, 0, "Common options:", 10}, {0}};
static const struct argp parser = {
    .parser = parse,
    .doc = "What this machine can measure, and what spoils it.\v"
           "Examples:\n"
           "  qbench doctor\n"
           "  qbench doctor --format json\n\n"
           "Exit status: 0 when all that a run needs works (kernels, OpenBLAS, threads, a database), else 3.",
    .children = children,
};

static bool for_people(const char *form) { return !strcmp(form, "text") || !strcmp(form, "md"); }

int cmd_doctor(int argc, char **argv)
{
    struct options o;
    struct meter_env env;
    struct doctor d;
    char corpora[1024];
    options_default(&o);
    options_parse(&parser, argc, argv, &o);
    meter_env_real(&env, o.sysroot);
    host_path(corpora, sizeof corpora, "cache/corpus");
    doctor_examine(&d, &(struct doctor_env){.meters = &env, .db = o.db, .corpora = corpora});
    struct table *t = doctor_table(&d, for_people(o.format));
    struct err e = {0};
    if (!t) {
        fail(&e, ST_ENOMEM, "no memory for a table");
        return complain(&e);
    }
    int code = options_print(&o, &t, 1);
    table_free(t);
    return code != EXIT_OK ? code : doctor_ready(&d) ? EXIT_OK : EXIT_NOTHING;
}
