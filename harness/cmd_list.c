/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "case.h"
#include "cpu.h"
#include "host.h"
#include "kernel.h"
#include "meter.h"
#include "options.h"
#include "peak.h"
#include "quant.h"
#include "words.h"
#include "work.h"

static void columns(struct table *t, const char *const *names)
{
    for (; *names; names++)
        table_column(t, *names, "", 0);
}
#define COLUMNS(t, ...) columns(t, (const char *const[]){__VA_ARGS__, NULL})

static void runs_here(struct table *t, int column, const char *reason)
{
    char text[600];
    snprintf(text, sizeof text, *reason ? "no: %s" : "yes%s", reason);
    table_text(t, column, text);
}

/* What a kernel that chooses has chosen belongs to its title. */
static void kernel_title(const struct kernel *k, bool runs, char *buf, size_t n)
{
    char choice[512] = "";
    if (runs && k->describe)
        k->describe(choice, sizeof choice);
    snprintf(buf, n, "%s%s%s", k->title, *choice ? ": " : "", choice);
}

static void list_kernels(struct table *t)
{
    char text[512], title[768];
    COLUMNS(t, "kernel", "format", "acts", "needs", "runs here", "title");
    for (int i = 0; kernels[i]; i++) {
        const struct kernel *k = kernels[i];
        table_row(t);
        table_text(t, 0, k->name);
        table_text(t, 1, formats[k->format].name);
        table_text(t, 2, act_names[k->act]);
        cpu_isa_text(k->needs, text, sizeof text);
        table_text(t, 3, text);
        kernel_reason(k, text, sizeof text);
        runs_here(t, 4, text);
        kernel_title(k, !*text, title, sizeof title);
        table_text(t, 5, title);
    }
}

static void list_methods(struct table *t)
{
    COLUMNS(t, "method", "family", "title", "source");
    for (int i = 0; quantizers[i]; i++) {
        table_row(t);
        table_text(t, 0, quantizers[i]->name);
        table_text(t, 1, family_names[quantizers[i]->family]);
        table_text(t, 2, quantizers[i]->title);
        table_text(t, 3, quantizers[i]->source);
    }
}

static void list_formats(struct table *t)
{
    COLUMNS(t, "format", "bits", "largest code", "title");
    for (int i = 0; i < FORMAT_COUNT; i++) {
        table_row(t);
        table_text(t, 0, formats[i].name);
        table_int(t, 1, formats[i].bits);
        if (formats[i].qmax)
            table_int(t, 2, formats[i].qmax);
        table_text(t, 3, formats[i].title);
    }
}

static void list_works(struct table *t)
{
    COLUMNS(t, "work", "unit", "axes", "title");
    for (int i = 0; works[i]; i++) {
        table_row(t);
        table_text(t, 0, works[i]->name);
        table_text(t, 1, works[i]->unit);
        table_text(t, 2, works[i]->axes);
        table_text(t, 3, works[i]->title);
    }
}

static const char *type_name(enum axis_type type) { return type == AXIS_INT ? "whole number" : type == AXIS_REAL ? "number" : "word"; }

static void list_axes(struct table *t)
{
    char readers[256];
    COLUMNS(t, "axis", "type", "default", "read by", "meaning");
    for (int i = 0; axes[i].name; i++) {
        axis_readers(i, readers, sizeof readers);
        table_row(t);
        table_text(t, 0, axes[i].name);
        table_text(t, 1, type_name(axes[i].type));
        table_text(t, 2, axes[i].fallback);
        table_text(t, 3, i == 0 ? "all" : readers);
        table_text(t, 4, axes[i].doc);
    }
}

static void list_settings(struct table *t)
{
    COLUMNS(t, "setting", "type", "default", "meaning");
    for (int i = 0; setting_infos[i].name; i++) {
        table_row(t);
        table_text(t, 0, setting_infos[i].name);
        table_text(t, 1, type_name(setting_infos[i].type));
        table_text(t, 2, setting_infos[i].fallback);
        table_text(t, 3, setting_infos[i].doc);
    }
}

/* The comment that a suite begins with says why it exists; its first clause fits a line. */
static void suite_why(const char *path, char *buf, size_t n)
{
    char line[512];
    FILE *f = fopen(path, "r");
    snprintf(buf, n, "%s", "");
    while (f && fgets(line, sizeof line, f) && line[0] == '#') {
        const char *text = line + strspn(line, "# \t");
        size_t used = strlen(buf), end = strcspn(text, "\n");
        if (strncmp(text, "SPDX-", 5) != 0 && end)
            snprintf(buf + used, n - used, "%s%.*s", used ? " " : "", (int)end, text);
    }
    for (char *p = buf; *p; p++)
        if (strchr(".?:", *p) && (p[1] == ' ' || !p[1])) {
            p[*p == '?'] = '\0';
            break;
        }
    if (f)
        fclose(f);
}

static int is_suite(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return d->d_name[0] != '.' && n > 5 && !strcmp(d->d_name + n - 5, ".yaml");
}

static void list_suites(struct table *t)
{
    char dir[1024], path[1400], text[512];
    struct dirent **found;
    COLUMNS(t, "suite", "why");
    host_path(dir, sizeof dir, "suites");
    int n = scandir(dir, &found, is_suite, alphasort);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, found[i]->d_name);
        suite_why(path, text, sizeof text);
        found[i]->d_name[strlen(found[i]->d_name) - 5] = 0;
        table_row(t);
        table_text(t, 0, found[i]->d_name);
        table_text(t, 1, text);
        free(found[i]);
    }
    if (n >= 0)
        free(found);
}

static void list_presets(struct table *t)
{
    char heads[32];
    COLUMNS(t, "preset", "layers", "d", "ffn", "heads / kv", "vocab", "context", "parameters");
    for (int i = 0; config_preset_name(i); i++) {
        struct model_config c;
        if (config_preset(&c, config_preset_name(i), NULL) != ST_OK)
            continue;
        snprintf(heads, sizeof heads, "%d / %d", c.heads, c.kv_heads);
        table_row(t);
        table_text(t, 0, c.preset);
        table_int(t, 1, c.layers);
        table_int(t, 2, c.dim);
        table_int(t, 3, c.ffn);
        table_text(t, 4, heads);
        table_int(t, 5, c.vocab);
        table_int(t, 6, c.context);
        table_int(t, 7, (long long)config_parameters(&c));
    }
}

static void list_meters(struct table *t)
{
    COLUMNS(t, "meter", "metrics", "title");
    for (int i = 0; meters[i]; i++) {
        char text[512] = "", one[96];
        for (const struct metric *m = meters[i]->metrics; m->name; m++) {
            snprintf(one, sizeof one, "%s [%s]", m->name, m->unit);
            words_append(text, sizeof text, one);
        }
        table_row(t);
        table_text(t, 0, meters[i]->name);
        table_text(t, 1, text);
        table_text(t, 2, meters[i]->title);
    }
    table_note(t, "`qbench doctor` says which of them work here.");
}

static void list_peaks(struct table *t)
{
    char text[256];
    COLUMNS(t, "peak", "needs", "runs here", "title");
    for (int i = 0; peaks[i]; i++) {
        table_row(t);
        table_text(t, 0, peaks[i]->name);
        cpu_isa_text(peaks[i]->needs, text, sizeof text);
        table_text(t, 1, text);
        peak_reason(peaks[i], text, sizeof text);
        runs_here(t, 2, text);
        table_text(t, 3, peaks[i]->title);
    }
}

static void list_sinks(struct table *t)
{
    COLUMNS(t, "form", "title");
    for (int i = 0; sinks[i]; i++) {
        table_row(t);
        table_text(t, 0, sinks[i]->name);
        table_text(t, 1, sinks[i]->title);
    }
}

static const struct listing {
    const char *name, *title;
    void (*fill)(struct table *t);
} listings[] = {
    {"kernels", "linear-layer kernels, and which can run here", list_kernels},
    {"methods", "quantization methods", list_methods},
    {"formats", "weight formats", list_formats},
    {"works", "what a case can do", list_works},
    {"axes", "what tells cases apart", list_axes},
    {"settings", "how cases are measured", list_settings},
    {"suites", "suites/*.yaml", list_suites},
    {"presets", "model sizes", list_presets},
    {"meters", "sources of measurements", list_meters},
    {"peaks", "arithmetic ceilings", list_peaks},
    {"sinks", "output forms", list_sinks},
};
enum { LISTING_COUNT = sizeof listings / sizeof *listings };

struct arguments {
    struct options common;
    const struct listing *what;
};

static const struct listing *find(struct argp_state *state, const char *word)
{
    struct nearest near = nearest_to(word);
    char hint[128];
    for (int i = 0; i < LISTING_COUNT; i++) {
        if (!strcmp(word, listings[i].name))
            return &listings[i];
        nearest_offer(&near, listings[i].name);
    }
    argp_failure(state, EXIT_USAGE, 0, "nothing to list is named '%s'%s; `qbench list` says what there is", word, nearest_hint(&near, hint, sizeof hint));
    return NULL;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &a->common; return 0;
    case ARGP_KEY_ARG:
        if (a->what)
            argp_failure(state, EXIT_USAGE, 0, "one list at a time, not '%s' and '%s'", a->what->name, arg);
        a->what = find(state, arg);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {{&options_argp, 0, "Common options:", 10}, {0}};
static const struct argp parser = {
    .parser = parse,
    .args_doc = "[WHAT]",
    .doc = "List what there is; without WHAT, what can be listed.\v"
           "Examples:\n"
           "  qbench list kernels\n"
           "  qbench list kernels --isa avx2\n"
           "  qbench list axes --format md",
    .children = children,
};

static void list_listings(struct table *t)
{
    COLUMNS(t, "what", "title");
    for (int i = 0; i < LISTING_COUNT; i++) {
        table_row(t);
        table_text(t, 0, listings[i].name);
        table_text(t, 1, listings[i].title);
    }
}

int cmd_list(int argc, char **argv)
{
    struct arguments a = {0};
    options_default(&a.common);
    options_parse(&parser, argc, argv, &a);
    struct table *t = table_new(NULL);
    if (a.what)
        a.what->fill(t);
    else
        list_listings(t);
    int code = options_print(&a.common, &t, 1);
    table_free(t);
    return code;
}
