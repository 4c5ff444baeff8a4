/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "options.h"
#include "run.h"
#include "words.h"

static const char version[] = "0.1.0";

int cmd_doctor(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_case(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_train(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_generate(int argc, char **argv);
int cmd_plot(int argc, char **argv);
int cmd_model(int argc, char **argv);

static const struct command {
    const char *name, *title;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"doctor", "What this machine can measure, and what spoils it", cmd_doctor},
    {"list", "What there is: kernels, methods, formats, works, suites, models …", cmd_list},
    {"run", "Run a suite and store every sample", cmd_run},
    {"case", "Run one case by its key", cmd_case},
    {"show", "Print the tables of a run", cmd_show},
    {"train", "Train a preset on a corpus", cmd_train},
    {"eval", "Quality of a model on a text", cmd_eval},
    {"generate", "Go on with a text", cmd_generate},
    {"plot", "Draw the charts of plots/", cmd_plot},
    {"model", "Look at, write and keep models", cmd_model},
};
enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static void print_version(FILE *f, struct argp_state *state)
{
    struct build b;
    if (build_read(&b, NULL) != ST_OK) {
        fprintf(f, "qbench %s\n", version);
        return;
    }
    const char *commit = json_string_value(json_object_get(b.json, "commit")), *compiler = json_string_value(json_object_get(b.json, "compiler"));
    fprintf(f, "qbench %s (%.12s%s, %s)\n", version, commit ? commit : "unknown", json_is_true(json_object_get(b.json, "dirty")) ? " dirty" : "",
            compiler ? compiler : "unknown compiler");
    build_close(&b);
}

static void print_help(FILE *f)
{
    fputs("Usage: qbench COMMAND [OPTION...]\n"
          "What does quantizing a language model cost in quality on this machine, and what does it buy in speed and size?\n\n", f);
    for (int i = 0; i < COMMAND_COUNT; i++)
        fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].title);
    fputs("\nExamples:\n"
          "  qbench doctor\n"
          "  qbench run quick\n"
          "  qbench show latest --format md\n"
          "  qbench case 'work=gemm kernel=int4_vnni m=1 n=4096 k=4096 group=32'\n\n"
          "`qbench COMMAND --help` tells a command's options; `qbench --version` the build.\n"
          "Exit status: 0 ok, 1 regression, 2 usage, 3 nothing measured or a case failed, 4 a wrong result, 5 inconclusive, 130 interrupted.\n", f);
}

/* argp names the program by argv[0] in every message of a subcommand. */
static int run_command(const struct command *c, int argc, char **argv)
{
    char name[32];
    snprintf(name, sizeof name, "qbench %s", c->name);
    argv[1] = name;
    return c->run(argc - 1, argv + 1);
}

static int unknown(const char *word)
{
    struct nearest near = nearest_to(word);
    char hint[128];
    for (int i = 0; i < COMMAND_COUNT; i++)
        nearest_offer(&near, commands[i].name);
    if (word[0] == '-')
        fprintf(stderr, "qbench: unknown option '%s'; options follow the command, as in `qbench run %s`\n", word, word);
    else
        fprintf(stderr, "qbench: unknown command '%s'%s; `qbench --help` lists them\n", word, nearest_hint(&near, hint, sizeof hint));
    return EXIT_USAGE;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "-?") || !strcmp(word, "help")) {
        print_help(stdout);
        return EXIT_OK;
    }
    if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
        print_version(stdout, NULL);
        return EXIT_OK;
    }
    if (!strcmp(word, "worker")) /* the child of a run, not for people */
        return worker_main();
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (!strcmp(word, commands[i].name))
            return run_command(&commands[i], argc, argv);
    return unknown(word);
}

int main(int argc, char **argv)
{
    argp_program_version_hook = print_version;
    int code = dispatch(argc, argv);
    /* A full disk or a closed pipe behind stdout must not look like success. */
    if (fflush(stdout) != 0 && code == EXIT_OK) {
        perror("qbench: standard output");
        code = EXIT_NOTHING;
    }
    return code;
}
