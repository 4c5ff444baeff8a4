/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "work_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cpu.h"
#include "host.h"

const struct quantizer *model_qat(const struct bench_case *c)
{
    const struct quantizer *m = quantizer_find(case_text(c, "method"));
    return m && m->family == FAMILY_QAT && !case_is(c, "format", "f32") ? m : NULL;
}

bool model_is_random(const struct bench_case *c) { return !strncmp(case_text(c, "model"), "random:", 7); }

static enum status find_word(const char *const *words, int count, const char *axis, const char *word, int *out, struct err *e)
{
    char list[128] = "";
    for (int i = 0; i < count; i++) {
        if (!strcmp(words[i], word)) {
            *out = i;
            return ST_OK;
        }
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", words[i]);
    }
    return fail(e, ST_EUSAGE, "%s '%s' is unknown; take one of %s", axis, word, list);
}

enum status model_qspec(const struct bench_case *c, struct qspec *spec, struct err *e)
{
    const struct format_info *f = format_find(case_text(c, "format")), *head = format_find(case_text(c, "head"));
    int gamma = 0, on = 0;
    if (!f || !head)
        return fail(e, ST_EUSAGE, "format '%s' is unknown; `qbench list formats` shows them", case_text(c, f ? "head" : "format"));
    *spec = (struct qspec){.format = (enum format)(f - formats), .head = (enum format)(head - formats)};
    if (f->qmax == 0)
        return ST_OK;
    spec->method = quantizer_find(case_text(c, "method"));
    if (!spec->method)
        return fail(e, ST_EUSAGE, "method '%s' is unknown; `qbench list methods` shows them", case_text(c, "method"));
    enum status st = find_word(gamma_names, GAMMA_COUNT, "gamma", case_text(c, "gamma"), &gamma, e);
    if (st == ST_OK)
        st = find_word(gamma_on_names, GAMMA_ON_COUNT, "gamma_on", case_text(c, "gamma_on"), &on, e);
    spec->group = (int)case_int(c, "group");
    spec->zero_point = case_is(c, "zero_point", "on");
    spec->weight_only = case_is(c, "act", "bf16");
    spec->gamma = (enum gamma)gamma;
    spec->gamma_on = (enum gamma_on)on;
    return st == ST_OK ? qspec_check(spec, e) : st;
}

/* ---- finding models ---- */

static void cache_folders(char models[static 1024], char corpora[static 1024])
{
    host_path(models, 1024, "cache/models");
    host_path(corpora, 1024, "cache/corpus");
}

static bool is_preset(const char *name)
{
    for (int i = 0; config_preset_name(i); i++)
        if (!strcmp(config_preset_name(i), name))
            return true;
    return false;
}

static enum status set_identity(struct bench_case *c, const char *name, const char *hash, const char *path, struct err *e)
{
    char value[CASE_VALUE_MAX];
    snprintf(value, sizeof value, "%.50s@%.16s", name, hash);
    snprintf(c->settings.model_path, sizeof c->settings.model_path, "%s", path);
    return case_set(c, "model", value, e);
}

static struct zoo_request request_of(const struct bench_case *c, const char *preset)
{
    return (struct zoo_request){preset, c->settings.train_text, c->settings.train_tokens, (uint64_t)c->settings.train_seed};
}

static enum status resolve_file(struct bench_case *c, const char *path, struct err *e)
{
    json_t *metadata;
    char name[64];
    enum status st = st_read_metadata(&metadata, path, e);
    if (st != ST_OK)
        return st;
    const char *hash = json_string_value(json_object_get(metadata, "qbench.hash")), *slash = strrchr(path, '/');
    snprintf(name, sizeof name, "%.50s", slash ? slash + 1 : path);
    name[strcspn(name, "-.@ ")] = '\0';
    st = hash ? set_identity(c, name, hash, path, e) : fail(e, ST_EFORMAT, "%s holds no qbench model (no qbench.hash in its metadata)", path);
    json_decref(metadata);
    return st;
}

static enum status resolve_hash(struct bench_case *c, const char *value, struct err *e)
{
    char models[1024], corpora[1024], path[1024];
    cache_folders(models, corpora);
    if (c->settings.model_path[0])
        return ST_OK;
    enum status st = cache_find_hash(models, strchr(value, '@') + 1, path, sizeof path, e);
    if (st == ST_OK)
        snprintf(c->settings.model_path, sizeof c->settings.model_path, "%s", path);
    return st;
}

/* What --dry-run prints for a preset that is not trained yet; it can be asked for like the preset itself. */
static const char untrained[] = "@untrained";

static enum status resolve_model(struct bench_case *c, struct err *e)
{
    char value[CASE_VALUE_MAX];
    snprintf(value, sizeof value, "%s", case_text(c, "model"));
    char *mark = strstr(value, untrained);
    if (mark) {
        *mark = '\0';
        if (case_set(c, "model", value, e) != ST_OK)
            return ST_EUSAGE;
    }
    if (model_is_random(c)) {
        struct model_config config;
        return config_preset(&config, value + 7, e);
    }
    if (model_is_path(value)) {
        const char *kind = model_file_kind(value);
        return kind && strcmp(kind, "native") ? ST_OK : resolve_file(c, value, e); /* prepare_models reads what another program wrote */
    }
    if (strchr(value, '@'))
        return resolve_hash(c, value, e);
    if (is_preset(value))
        return ST_OK; /* prepare_models finds it or trains it, once for all cases, and names its content */
    struct model_config config;
    struct err list = {0};
    config_preset(&config, value, &list);
    return fail(e, ST_EUSAGE, "model '%s' is neither a preset, nor random:PRESET, nor a file; %s", value, list.text);
}

enum status model_resolve(struct bench_case *c, struct err *e)
{
    struct qspec spec;
    int tune;
    enum status st = model_qspec(c, &spec, e);
    if (st == ST_OK)
        st = find_word((const char *const[]){"none", "float"}, 2, "tune", case_text(c, "tune"), &tune, e);
    if (st != ST_OK)
        return st;
    if (tune && model_qat(c))
        return fail(e, ST_EUSAGE, "method %s trains by itself; take tune none (tune float is the control for PTQ methods)", case_text(c, "method"));
    if (model_is_random(c) && spec.gamma != GAMMA_OFF && spec.gamma_on == GAMMA_ON_ACT)
        return fail(e, ST_EUNSUPPORTED, "gamma on activations is estimated on the text of training, and random weights have none");
    if ((tune || model_qat(c)) && model_is_random(c))
        return fail(e, ST_EUSAGE, "random weights cannot be tuned; take a PTQ method and tune none");
    return resolve_model(c, e);
}

/* ---- preparing and opening ---- */

static enum status open_base(const struct bench_case *c, struct checkpoint *base, struct par *p, struct err *e)
{
    const char *model = case_text(c, "model"), *hash = strchr(model, '@');
    if (model_is_random(c))
        return checkpoint_random(base, model + 7, (uint64_t)case_int(c, "seed"), p, e);
    enum status st = model_load(base, c->settings.model_path, NULL, e);
    if (st == ST_OK && hash && strcmp(base->hash, hash + 1)) {
        st = fail(e, ST_EFORMAT, "%s is model %s, not %s; it was replaced since this case was named", base->path, base->hash, hash + 1);
        checkpoint_close(base);
    }
    return st;
}

/* Found or trained; the child that measures only loads what stands here. */
static enum status prepare_tuned(struct bench_case *c, struct zoo *z, const struct checkpoint *base, struct checkpoint *tuned, struct err *e)
{
    struct qspec spec;
    enum status st = model_qspec(c, &spec, e);
    if (st != ST_OK)
        return st;
    st = zoo_tuned(z, base, c->settings.train_text, model_qat(c) ? &spec : NULL, case_int(c, "tune_tokens"), (uint64_t)case_int(c, "seed"), tuned, e);
    if (st == ST_OK)
        snprintf(c->settings.tuned_path, sizeof c->settings.tuned_path, "%s", tuned->path);
    return st;
}

static bool needs_tuning(const struct bench_case *c) { return model_qat(c) || case_is(c, "tune", "float"); }

/* A preset gets its content hash: from the cache, from training, or (when that is not allowed) the mark of an untrained one. */
static enum status prepare_preset(struct bench_case *c, struct zoo *z, struct checkpoint *base, struct err *e)
{
    char preset[CASE_VALUE_MAX], path[1024];
    struct err missing = {0};
    snprintf(preset, sizeof preset, "%s", case_text(c, "model"));
    struct zoo_request r = request_of(c, preset);
    if (!z->train) {
        enum status found = zoo_find_trained(z, &r, path, sizeof path, &missing);
        if (found == ST_ENOENT)
            return set_identity(c, preset, untrained + 1, "", e);
        return found == ST_OK ? resolve_file(c, path, e) : fail(e, found, "%s", missing.text);
    }
    enum status st = zoo_trained(z, &r, base, e);
    return st == ST_OK ? set_identity(c, preset, base->hash, base->path, e) : st;
}

/* A file that another program wrote gets its name and its content hash by reading all of it, once for all cases. */
static enum status prepare_foreign(struct bench_case *c, struct checkpoint *base, struct err *e)
{
    char path[CASE_VALUE_MAX], name[41];
    snprintf(path, sizeof path, "%s", case_text(c, "model"));
    enum status st = model_load(base, path, NULL, e);
    if (st != ST_OK)
        return st;
    model_file_name(name, path);
    return set_identity(c, name, base->hash, base->path, e);
}

enum status model_prepare(struct bench_case *c, struct zoo *z, struct checkpoint *base, struct checkpoint *tuned, struct err *e)
{
    enum status st = ST_OK;
    if (model_is_random(c))
        return ST_OK;
    if (is_preset(case_text(c, "model")))
        st = prepare_preset(c, z, base, e);
    else if (model_is_path(case_text(c, "model")))
        st = prepare_foreign(c, base, e);
    else if (z->train)
        st = open_base(c, base, z->par, e);
    bool tune = st == ST_OK && z->train && needs_tuning(c);
    if (tune && !base->tokenizer)
        snprintf(c->skip, sizeof c->skip, "model %s has no tokenizer, so no text can train it", base->hash);
    else if (tune)
        st = prepare_tuned(c, z, base, tuned, e);
    if (st == ST_OK)
        case_make_key(c);
    return st;
}

static enum status open_calibration(const struct bench_case *c, const struct checkpoint *base, struct tokens *calib, struct err *e)
{
    char models[1024], corpora[1024];
    struct corpus corpus;
    cache_folders(models, corpora);
    enum status st = base->tokenizer ? ST_OK : fail(e, ST_EUNSUPPORTED, "model %s has no tokenizer, so it cannot be calibrated on text", base->hash);
    if (st == ST_OK)
        st = zoo_corpus(base, c->settings.train_text, corpora, &corpus, e);
    if (st != ST_OK)
        return st;
    st = tokens_cut(calib, &corpus, SPLIT_CALIB, base->tokenizer, (size_t)case_int(c, "calib_tokens"), e);
    corpus_close(&corpus);
    return st;
}

enum status model_open(struct model_job *j, const struct bench_case *c, struct err *e)
{
    struct qspec spec;
    struct tokens calib = {0};
    double start = now_seconds();
    *j = (struct model_job){0};
    enum status st = par_open(&j->par, (int)case_int(c, "threads"), e);
    if (st == ST_OK)
        st = open_base(c, &j->base, j->par, e);
    j->used = &j->base;
    if (st == ST_OK && needs_tuning(c)) {
        st = checkpoint_load(&j->tuned, c->settings.tuned_path, e);
        j->used = &j->tuned;
    }
    if (st == ST_OK)
        st = model_qspec(c, &spec, e);
    bool calibrate = st == ST_OK && spec.gamma != GAMMA_OFF && spec.gamma_on == GAMMA_ON_ACT && !model_is_random(c);
    if (calibrate)
        st = open_calibration(c, &j->base, &calib, e);
    if (st == ST_OK)
        st = quantize(&j->q, j->used->weights, &spec, calibrate ? &calib : NULL, j->par, e);
    tokens_free(&calib);
    const struct kv_info *kv = kv_find(case_text(c, "kv"));
    j->kernel = kernel_find(case_text(c, "kernel"));
    j->kv = kv ? (enum kv)(kv - kv_infos) : KV_F32;
    j->load_seconds = now_seconds() - start;
    if (st == ST_OK && !j->kernel)
        st = fail(e, ST_EUSAGE, "kernel '%s' is unknown; `qbench list kernels` shows them", case_text(c, "kernel"));
    if (st == ST_OK && !kv)
        st = fail(e, ST_EUSAGE, "kv '%s' is unknown; take f32, bf16, int8 or int4", case_text(c, "kv"));
    return st;
}

void model_close(struct model_job *j)
{
    if (j->q.linear)
        qmodel_free(&j->q);
    checkpoint_close(&j->tuned);
    checkpoint_close(&j->base);
    par_close(j->par);
}

/* ---- describing ---- */

static void emit_gamma(const struct model_job *j, struct emitter *m)
{
    const struct qmodel *q = &j->q;
    int layers = q->weights->config.layers, undefined = 0, count = 0, n = layers * LIN_COUNT;
    float least = 1, most = 1, means[3 * 1024];
    if (q->spec.gamma == GAMMA_OFF)
        return;
    for (int i = 0; i < n; i++) {
        const struct gamma_stat *s = &q->gamma[i];
        least = i ? fminf(least, s->min) : s->min;
        most = i ? fmaxf(most, s->max) : s->max;
        undefined += s->undefined;
        count += s->count;
        if (i < 1024) {
            means[3 * i] = s->mean;
            means[3 * i + 1] = s->min;
            means[3 * i + 2] = s->max;
        }
    }
    emit_value(m, "gamma_min", "", least);
    emit_value(m, "gamma_max", "", most);
    emit_value(m, "gamma_count", "", count);
    emit_value(m, "gamma_undefined", "", undefined);
    emit_blob(m, "gamma", "f32", means, (size_t)min_int(n, 1024) * 3 * sizeof *means); /* (layers, LIN_COUNT, 3): mean, min, max */
}

void model_emit(const struct model_job *j, struct emitter *m)
{
    struct model_size s = qmodel_size(&j->q);
    emit_value(m, "parameters", "", (double)j->q.weights->count);
    emit_value(m, "size_bytes", "B", (double)s.total);
    emit_value(m, "vs_fp32", "", (double)s.total / (double)s.fp32);
    emit_value(m, "vs_fp16", "", (double)s.total / (double)s.fp16);
    emit_value(m, "bits_per_weight", "bit", s.bits_per_weight);
    emit_value(m, "quantized_share", "", s.quantized_share);
    emit_value(m, "load_seconds", "s", j->load_seconds);
    emit_text(m, "checkpoint", j->used->hash);
    emit_gamma(j, m);
}

static double status_bytes(const char *field)
{
    char line[256];
    double kb = NAN;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && isnan(kb) && fgets(line, sizeof line, f))
        if (!strncmp(line, field, strlen(field)) && sscanf(line + strlen(field), ": %lf", &kb) != 1)
            kb = NAN;
    if (f)
        fclose(f);
    return kb * 1024;
}

double memory_begin(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (!f)
        return NAN;
    bool reset = fputs("5", f) >= 0;
    reset = fclose(f) == 0 && reset; /* 5 sets the peak (VmHWM) back to what is resident now */
    return reset ? status_bytes("VmRSS") : NAN;
}

double memory_held(double before) { return status_bytes("VmHWM") - before; }
