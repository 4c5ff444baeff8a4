/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "case.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "host.h"
#include "kernel.h"
#include "kvcache.h"
#include "peak.h"
#include "quant.h"
#include "stream.h"
#include "words.h"
#include "work.h"

const struct axis axes[] = {
#define AXIS(name, type, fallback, doc) {name, AXIS_##type, fallback, doc},
#include "axes.def"
#undef AXIS
    {0},
};
_Static_assert(sizeof axes / sizeof *axes - 1 <= CASE_AXES_MAX, "CASE_AXES_MAX must hold every axis");

const struct setting_info setting_infos[] = {
#define SETTING(field, type, fallback, doc) {#field, AXIS_##type, fallback, doc, offsetof(struct settings, field)},
#include "settings.def"
#undef SETTING
    {0},
};

int axis_index(const char *name)
{
    for (int i = 0; axes[i].name; i++)
        if (!strcmp(axes[i].name, name))
            return i;
    return -1;
}

/* The words of each closed axis, from the table where they live. */

static const char *listed(const char *const *list, int n, int i) { return i < n ? list[i] : NULL; }

static const char *value_work(const struct work *w, int i) { return works[i] ? works[i]->name : NULL; }
static const char *value_method(const struct work *w, int i) { return quantizers[i] ? quantizers[i]->name : NULL; }
static const char *value_format(const struct work *w, int i) { return i < FORMAT_COUNT ? formats[i].name : NULL; }
static const char *value_kernel(const struct work *w, int i) { return kernels[i] ? kernels[i]->name : NULL; }
static const char *value_gamma(const struct work *w, int i) { return listed(gamma_names, GAMMA_COUNT, i); }
static const char *const zero_points[] = {"off", "on"};
static const char *const integer_acts[] = {"int8", "bf16"};
static const char *value_zero_point(const struct work *w, int i) { return listed(zero_points, 2, i); }
static const char *value_act(const struct work *w, int i) { return listed(integer_acts, 2, i); }
static const char *value_gamma_on(const struct work *w, int i) { return listed(gamma_on_names, GAMMA_ON_COUNT, i); }

static const char *value_kv(const struct work *w, int i) { return i < KV_COUNT ? kv_infos[i].name : NULL; }

static const char *value_tune(const struct work *w, int i)
{
    static const char *const list[] = {"none", "float"};
    return listed(list, 2, i);
}

static const char *value_acts(const struct work *w, int i)
{
    static const char *const list[] = {"quantize", "ready"};
    return listed(list, 2, i);
}

static const char *value_cache(const struct work *w, int i)
{
    static const char *const list[] = {"hot", "cold"};
    return listed(list, 2, i);
}

static const char *value_shape(const struct work *w, int i)
{
    static const char *const list[] = {
#define PRESET(name, ...) name "/q", name "/k", name "/v", name "/o", name "/gate", name "/up", name "/down", name "/head",
#include "presets.def"
#undef PRESET
    };
    return listed(list, sizeof list / sizeof *list, i);
}

static const char *value_op(const struct work *w, int i)
{
    int n = w && !strcmp(w->name, "peak") ? 0 : STREAM_COUNT;
    if (i < n)
        return stream_names[i];
    if (w && !strcmp(w->name, "bandwidth"))
        return NULL;
    return peaks[i - n] ? peaks[i - n]->name : NULL;
}

static const struct vocabulary {
    const char *axis;
    const char *(*word)(const struct work *w, int i);
} vocabularies[] = {
    {"work", value_work},         {"op", value_op},       {"tune", value_tune},         {"method", value_method},
    {"format", value_format},     {"zero_point", value_zero_point}, {"act", value_act},       {"gamma", value_gamma},
    {"gamma_on", value_gamma_on}, {"kernel", value_kernel},         {"acts", value_acts},     {"cache", value_cache},
    {"shape", value_shape},       {"head", value_format},           {"kv", value_kv},
};

/* Walks from the first word every time: the tables have tens of rows, and a row past the end must never be looked at. */
const char *axis_value(int axis, const struct work *w, int i)
{
    for (size_t v = 0; v < sizeof vocabularies / sizeof *vocabularies; v++) {
        if (strcmp(vocabularies[v].axis, axes[axis].name) != 0)
            continue;
        const char *word = NULL;
        for (int k = 0; k <= i; k++)
            if (!(word = vocabularies[v].word(w, k)))
                return NULL;
        return word;
    }
    return NULL;
}

bool work_reads(const struct work *w, int axis) { return axis == 0 || words_has(w->axes, axes[axis].name); }

void axis_readers(int axis, char *buf, size_t n)
{
    snprintf(buf, n, "%s", "");
    for (int i = 0; works[i]; i++)
        if (work_reads(works[i], axis))
            words_append(buf, n, works[i]->name);
}

/* Numbers, as axes and settings take them. */

static enum status check_int(const char *name, const char *value, long least, long *out, struct err *e)
{
    char *end;
    errno = 0;
    long x = strtol(value, &end, 10);
    if (!isdigit((unsigned char)value[value[0] == '-']) || *end)
        return fail(e, ST_EUSAGE, "%s: '%s' is not a whole number", name, value);
    if (errno || x > 1000000000000000L)
        return fail(e, ST_EUSAGE, "%s: %s is too large", name, value);
    if (x < least)
        return fail(e, ST_EUSAGE, "%s: %s is too small, the least is %ld", name, value, least);
    *out = x;
    return ST_OK;
}

static enum status check_real(const char *name, const char *value, double *out, struct err *e)
{
    char *end;
    double x = strtod(value, &end);
    if (!*value || isspace((unsigned char)*value) || *end || !isfinite(x))
        return fail(e, ST_EUSAGE, "%s: '%s' is not a number", name, value);
    if (x < 0)
        return fail(e, ST_EUSAGE, "%s: %s is negative", name, value);
    *out = x;
    return ST_OK;
}

int setting_index(const char *name)
{
    for (int i = 0; setting_infos[i].name; i++)
        if (!strcmp(setting_infos[i].name, name))
            return i;
    return -1;
}

/* Zero samples or no time at all would measure nothing and call it done. */
static bool must_be_positive(const char *setting) { return words_has("samples sample_seconds max_noise group_cases timeout_seconds", setting); }

static enum status check_axis_list(const char *name, const char *list, struct err *e)
{
    char word[CASE_VALUE_MAX], hint[128];
    for (const char *p = list + strspn(list, " "); *p; p += strcspn(p, " "), p += strspn(p, " ")) {
        snprintf(word, sizeof word, "%.*s", (int)strcspn(p, " "), p);
        struct nearest near = nearest_to(word);
        for (int i = 0; axes[i].name; i++)
            nearest_offer(&near, axes[i].name);
        if (axis_index(word) < 0)
            return fail(e, ST_EUSAGE, "%s: unknown axis '%s'%s", name, word, nearest_hint(&near, hint, sizeof hint));
    }
    return ST_OK;
}

enum status settings_set(struct settings *s, const char *name, const char *value, struct err *e)
{
    int i = setting_index(name);
    if (i < 0) {
        struct nearest near = nearest_to(name);
        char hint[128];
        for (int k = 0; setting_infos[k].name; k++)
            nearest_offer(&near, setting_infos[k].name);
        return fail(e, ST_EUSAGE, "unknown setting '%s'%s", name, nearest_hint(&near, hint, sizeof hint));
    }
    char *field = (char *)s + setting_infos[i].offset;
    long whole = 0;
    double real = 0;
    switch (setting_infos[i].type) {
    case AXIS_INT:
        if (check_int(name, value, must_be_positive(name), &whole, e) != ST_OK)
            return ST_EUSAGE;
        memcpy(field, &whole, sizeof whole);
        return ST_OK;
    case AXIS_REAL:
        if (check_real(name, value, &real, e) != ST_OK)
            return ST_EUSAGE;
        if (real == 0 && must_be_positive(name))
            return fail(e, ST_EUSAGE, "%s: must be more than 0", name);
        memcpy(field, &real, sizeof real);
        return ST_OK;
    default:
        if (strlen(value) >= sizeof s->train_text)
            return fail(e, ST_EUSAGE, "%s: longer than %zu characters", name, sizeof s->train_text - 1);
        if (!strcmp(name, "compare") && check_axis_list(name, value, e) != ST_OK)
            return ST_EUSAGE;
        strcpy(field, value);
        return ST_OK;
    }
}

void settings_default(struct settings *s)
{
    memset(s, 0, sizeof *s);
    for (int i = 0; setting_infos[i].name; i++) {
        enum status ok = settings_set(s, setting_infos[i].name, setting_infos[i].fallback, NULL);
        assert(ok == ST_OK);
        (void)ok;
    }
}

/* Values */

static int axis_must(const char *axis)
{
    int i = axis_index(axis);
    assert(i >= 0);
    return i;
}

const char *case_text(const struct bench_case *c, const char *axis)
{
    int i = axis_must(axis);
    return c->has[i] ? c->value[i] : axes[i].fallback;
}

long case_int(const struct bench_case *c, const char *axis) { return strtol(case_text(c, axis), NULL, 10); }

bool case_is(const struct bench_case *c, const char *axis, const char *value) { return !strcmp(case_text(c, axis), value); }

bool case_matches(const struct bench_case *c, int axis, const char *glob)
{
    if (!c->has[axis])
        return false;
    if (fnmatch(glob, c->value[axis], 0) == 0)
        return true;
    char name[CASE_VALUE_MAX];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(c->value[axis], "@"), c->value[axis]);
    return fnmatch(glob, name, 0) == 0;
}

static enum status check_word(int axis, const struct work *w, const char *value, struct err *e)
{
    if (!*value)
        return fail(e, ST_EUSAGE, "%s: has no value", axes[axis].name);
    if (strcspn(value, " \t\r\n") != strlen(value))
        return fail(e, ST_EUSAGE, "%s: '%s' has a blank in it; a key cannot hold one", axes[axis].name, value);
    struct nearest near = nearest_to(value);
    char hint[128], list[512] = "";
    const char *word;
    for (int i = 0; (word = axis_value(axis, w, i)); i++) {
        if (!strcmp(word, value))
            return ST_OK;
        nearest_offer(&near, word);
        words_append(list, sizeof list, word);
    }
    if (!axis_value(axis, w, 0) || !strcmp(value, axes[axis].fallback))
        return ST_OK;
    if (!*nearest_hint(&near, hint, sizeof hint))
        return fail(e, ST_EUSAGE, "%s: unknown value '%s'; it takes %s", axes[axis].name, value, list);
    return fail(e, ST_EUSAGE, "%s: unknown value '%s'%s", axes[axis].name, value, hint);
}

enum status case_set(struct bench_case *c, const char *axis, const char *value, struct err *e)
{
    int i = axis_must(axis);
    long whole;
    if (strlen(value) >= CASE_VALUE_MAX)
        return fail(e, ST_EUSAGE, "%s: longer than %d characters: '%.40s…'", axis, CASE_VALUE_MAX - 1, value);
    if (axes[i].type == AXIS_INT) {
        /* 0 is a value only where it stands for something. */
        if (check_int(axis, value, strcmp(axes[i].fallback, "0") != 0, &whole, e) != ST_OK)
            return ST_EUSAGE;
        snprintf(c->value[i], CASE_VALUE_MAX, "%ld", whole);
    } else {
        if (check_word(i, c->work, value, e) != ST_OK)
            return ST_EUSAGE;
        snprintf(c->value[i], CASE_VALUE_MAX, "%s", value);
    }
    c->has[i] = true;
    if (i == 0)
        c->work = work_find(value);
    return ST_OK;
}

void case_drop(struct bench_case *c, const char *axis)
{
    int i = axis_must(axis);
    c->has[i] = false;
    c->value[i][0] = 0;
}

/* Keys */

static size_t write_key(const struct bench_case *c, char *buf, size_t n)
{
    size_t used = 0;
    snprintf(buf, n, "%s", "");
    for (int i = 0; axes[i].name; i++)
        if (c->has[i])
            used += (size_t)snprintf(used < n ? buf + used : NULL, used < n ? n - used : 0, "%s%s=%s", used ? " " : "", axes[i].name, c->value[i]);
    return used;
}

void case_make_key(struct bench_case *c) { write_key(c, c->key, sizeof c->key); }

static enum status parse_pair(struct bench_case *c, char *pair, struct err *e)
{
    char *value = strchr(pair, '='), hint[128];
    if (!value)
        return fail(e, ST_EUSAGE, "'%s' in a key is not of the form axis=value", pair);
    *value++ = 0;
    int axis = axis_index(pair);
    if (axis < 0) {
        struct nearest near = nearest_to(pair);
        for (int i = 0; axes[i].name; i++)
            nearest_offer(&near, axes[i].name);
        return fail(e, ST_EUSAGE, "unknown axis '%s'%s", pair, nearest_hint(&near, hint, sizeof hint));
    }
    if (c->has[axis])
        return fail(e, ST_EUSAGE, "the axis '%s' stands twice in the key", pair);
    return case_set(c, pair, value, e);
}

static enum status check_axes_read(const struct bench_case *c, struct err *e)
{
    char readers[256];
    for (int i = 0; axes[i].name; i++)
        if (c->has[i] && !work_reads(c->work, i)) {
            axis_readers(i, readers, sizeof readers);
            return fail(e, ST_EUSAGE, "work %s does not read the axis '%s' (%s)", c->work->name, axes[i].name, readers);
        }
    return ST_OK;
}

enum status case_parse(struct bench_case *c, const char *key, struct err *e)
{
    memset(c, 0, sizeof *c);
    settings_default(&c->settings);
    if (strlen(key) >= CASE_KEY_MAX)
        return fail(e, ST_EUSAGE, "the key is longer than %d characters", CASE_KEY_MAX - 1);
    char text[CASE_KEY_MAX], *save;
    strcpy(text, key);
    for (char *pair = strtok_r(text, " \t\r\n", &save); pair; pair = strtok_r(NULL, " \t\r\n", &save))
        if (parse_pair(c, pair, e) != ST_OK)
            return ST_EUSAGE;
    if (!c->work)
        return fail(e, ST_EUSAGE, "the key has no work=…; `qbench list works` lists them");
    return check_axes_read(c, e);
}

/* What an axis presupposes: where that is not so, the axis says nothing, and two cases that differ in it are one. */

static bool float_format(const struct bench_case *c)
{
    const struct format_info *f = format_find(case_text(c, "format"));
    return f && f->qmax == 0;
}

static bool always_symmetric(const struct bench_case *c)
{
    const struct format_info *f = format_find(case_text(c, "format"));
    return f && !format_shifts((enum format)(f - formats));
}

static bool trained_by_method(const struct bench_case *c)
{
    const struct quantizer *q = c->has[axis_index("method")] ? quantizer_find(case_text(c, "method")) : NULL;
    return q && q->family == FAMILY_QAT;
}

static bool no_gamma(const struct bench_case *c) { return case_is(c, "gamma", "off"); }
static bool not_calibrated(const struct bench_case *c) { return no_gamma(c) || !case_is(c, "gamma_on", "act"); }
static bool spelled_out(const struct bench_case *c) { return true; } /* n and k say it */
static bool not_tuned(const struct bench_case *c) { return case_is(c, "tune", "none") && !trained_by_method(c); }

static const struct relevance {
    const char *axis;
    bool (*meaningless)(const struct bench_case *c);
} relevances[] = {
    {"method", float_format},
    {"group", float_format},
    {"zero_point", always_symmetric},
    {"act", float_format},
    {"gamma", float_format},
    {"acts", float_format},
    {"gamma_on", no_gamma}, /* after gamma: off for float formats too */
    {"calib_tokens", not_calibrated},
    {"tune", trained_by_method},
    {"tune_tokens", not_tuned},
    {"shape", spelled_out},
};

static void drop_irrelevant(struct bench_case *c)
{
    for (size_t i = 0; i < sizeof relevances / sizeof *relevances; i++)
        if (c->has[axis_must(relevances[i].axis)] && relevances[i].meaningless(c))
            case_drop(c, relevances[i].axis);
}

/* A kernel that is spelled out says which format it takes; one that contradicts the format is a mistake, not a skip. */
static enum status match_one(struct bench_case *c, const char *axis, const char *takes, struct err *e)
{
    if (!c->has[axis_must(axis)])
        return case_set(c, axis, takes, e);
    if (case_is(c, axis, takes))
        return ST_OK;
    return fail(e, ST_EUSAGE, "kernel %s takes %s %s, not %s", case_text(c, "kernel"), axis, takes, case_text(c, axis));
}

static enum status match_kernel(struct bench_case *c, struct err *e)
{
    const struct kernel *k = c->has[axis_must("kernel")] ? kernel_find(case_text(c, "kernel")) : NULL;
    if (!k || !work_reads(c->work, axis_must("kernel")) || !work_reads(c->work, axis_must("format")))
        return ST_OK;
    enum status s = match_one(c, "format", formats[k->format].name, e);
    return s == ST_OK && formats[k->format].qmax ? match_one(c, "act", act_names[k->act], e) : s;
}

static enum status set_int(struct bench_case *c, const char *axis, long value, struct err *e)
{
    char text[24];
    snprintf(text, sizeof text, "%ld", value);
    return case_set(c, axis, text, e);
}

/* "1b/down" stands for that layer's n and k. */
static enum status resolve_shape(struct bench_case *c, struct err *e)
{
    struct model_config m;
    const char *shape = case_text(c, "shape"), *layer = strchr(shape, '/');
    char preset[sizeof m.preset];
    int rows, cols, lin = 0;
    if (!layer || !work_reads(c->work, axis_must("shape")))
        return ST_OK;
    if (c->has[axis_must("n")] || c->has[axis_must("k")])
        return fail(e, ST_EUSAGE, "shape=%s says what n and k are; give one or the other", shape);
    snprintf(preset, sizeof preset, "%.*s", (int)(layer - shape), shape);
    if (config_preset(&m, preset, e) != ST_OK)
        return ST_EUSAGE;
    while (lin < LIN_COUNT && strcmp(lin_names[lin], layer + 1) != 0)
        lin++;
    rows = m.vocab; /* the head */
    cols = m.dim;
    if (lin < LIN_COUNT)
        lin_shape(&m, (enum lin)lin, &rows, &cols);
    enum status s = set_int(c, "n", rows, e);
    return s == ST_OK ? set_int(c, "k", cols, e) : s;
}

static enum status fill_defaults(struct bench_case *c, struct err *e)
{
    char list[256] = "";
    for (int i = 0; axes[i].name; i++) {
        if (!work_reads(c->work, i)) {
            case_drop(c, axes[i].name);
        } else if (!c->has[i]) {
            if (!axes[i].fallback[0]) {
                const char *word;
                for (int k = 0; (word = axis_value(i, c->work, k)); k++)
                    words_append(list, sizeof list, word);
                return fail(e, ST_EUSAGE, "work %s needs the axis '%s': one of %s", c->work->name, axes[i].name, list);
            }
            if (case_set(c, axes[i].name, axes[i].fallback, e) != ST_OK)
                return ST_EUSAGE;
        }
    }
    return ST_OK;
}

static void skip(struct bench_case *c, const char *reason)
{
    if (!c->skip[0])
        snprintf(c->skip, sizeof c->skip, "%.*s", (int)sizeof c->skip - 1, reason);
}

static enum status resolve_kernel(struct bench_case *c, struct err *e)
{
    struct err why = {0};
    char reason[256];
    int group = (int)case_int(c, "group");
    bool shift = c->has[axis_must("zero_point")] && case_is(c, "zero_point", "on");
    const struct kernel *k = kernel_find(case_text(c, "kernel"));
    if (!k) {
        const struct format_info *f = format_find(case_text(c, "format"));
        assert(f);
        bool weight_only = f->qmax && case_is(c, "act", "bf16");
        enum act act = weight_only ? ACT_BF16 : kernel_act((enum format)(f - formats));
        k = kernel_best((enum format)(f - formats), act, group, shift, &why);
        if (!k)
            skip(c, why.text);
        return k ? case_set(c, "kernel", k->name, e) : ST_OK;
    }
    kernel_refusal(k, group, shift, reason, sizeof reason);
    if (reason[0])
        skip(c, reason);
    return ST_OK;
}

/* Looks at the machine as the case's isa shows it, then puts the mask in force back. */
static enum status resolve_under_isa(struct bench_case *c, struct err *e)
{
    bool masked = c->has[axis_must("isa")];
    char outer[32], text[128];
    uint32_t allowed = cpu_isa();
    snprintf(outer, sizeof outer, "%s", cpu_level());
    if (masked && case_is(c, "isa", "native") && strcmp(outer, "custom") != 0 && case_set(c, "isa", outer, e) != ST_OK)
        return ST_EUSAGE;
    masked = masked && !case_is(c, "isa", "native") && strcmp(outer, "custom") != 0;
    struct err why = {0};
    if (masked && cpu_set_level(case_text(c, "isa"), &why) != ST_OK) {
        if (why.status == ST_EUSAGE)
            return fail(e, ST_EUSAGE, "isa: %s", why.text);
        skip(c, why.text);
    }
    if (masked && cpu_isa() & ~allowed) {
        snprintf(text, sizeof text, "isa=%s is above --isa %s", case_text(c, "isa"), outer);
        skip(c, text);
    }
    enum status s = ST_OK;
    if (c->has[axis_must("kernel")])
        s = resolve_kernel(c, e);
    if (masked)
        cpu_set_level(outer, NULL);
    return s;
}

static enum status resolve_work(struct bench_case *c, struct err *e)
{
    struct err why = {0};
    enum status s = c->work->resolve ? c->work->resolve(c, &why) : ST_OK;
    if (s == ST_EUNSUPPORTED) {
        skip(c, why.text);
        return ST_OK;
    }
    return s == ST_OK ? ST_OK : fail(e, s, "%s", why.text);
}

enum status case_resolve(struct bench_case *c, struct err *e)
{
    if (!c->work)
        return fail(e, ST_EUSAGE, "a case needs a work; `qbench list works` lists them");
    enum status s;
    c->skip[0] = 0;
    if ((s = match_kernel(c, e)) != ST_OK || (s = resolve_shape(c, e)) != ST_OK || (s = fill_defaults(c, e)) != ST_OK)
        return s;
    drop_irrelevant(c);
    if (c->has[axis_must("threads")] && case_int(c, "threads") == 0 && (s = set_int(c, "threads", host_cpus(), e)) != ST_OK)
        return s;
    if ((s = resolve_under_isa(c, e)) != ST_OK || (s = resolve_work(c, e)) != ST_OK)
        return s;
    if (write_key(c, c->key, sizeof c->key) >= sizeof c->key)
        return fail(e, ST_EUSAGE, "the case's key is longer than %d characters; use shorter names", CASE_KEY_MAX - 1);
    return ST_OK;
}
