/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "train.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "adamw.h"
#include "batches.h"

enum {
    VALID_TOKENS = 32768, /* scored at the end … */
    VALID_STRIDE = 4,     /* … and every fourth batch of them at each tenth of the way */
    RECIPE_CHARS = 2048,
    LONGEST = 2048,       /* sequence, unless asked for */
};

struct train {
    struct train_spec spec;    /* with every default filled in */
    struct model_config config;
    struct par *par;           /* borrowed */
    char recipe[RECIPE_CHARS], what[256];
    struct tokenizer *tokenizer; /* owned until it is handed out */
    struct batches batches;
    struct weights *weights;   /* owned until handed out */
    struct weights *shadow;    /* owned: what fake quantization makes of them; NULL without it */
    struct weights *grads;     /* owned */
    struct backprop *backprop; /* owned */

    struct adamw adamw;        /* from here on: the state that is saved, besides the weights */
    struct rng rng;
    long step, steps;
    double smooth_loss;
    double seconds;            /* of training before this process */

    long first_step;           /* of this process */
    double started, saved;
    double loss, grad_norm, valid_loss;
};

/* ---- the recipe */

struct train_spec train_spec_default(void)
{
    return (struct train_spec){.weight_decay = -1, .beta1 = -1, .beta2 = -1, .clip = -1, .warmup = -1, .final_lr = -1,
                               .seed = 1, .save_seconds = 60};
}

static double or_default(double value, double fallback) { return value < 0 ? fallback : value; }

/*
 * The peak learning rate falls with the width, as in GPT-3's table. Small models in little time gain from many small steps, so that
 * a batch is a few sequences (which is also how many threads can share a step). Tokens are few for the parameters: enough
 * for a model whose quantization can be studied, in minutes for the small presets. Tuning starts near a minimum and takes a tenth
 * of the rate and an eighth of the tokens.
 */
static void fill_defaults(struct train_spec *s, const struct model_config *c)
{
    double lr = 0.5 / c->dim;
    long tokens = 4 * (long)config_parameters(c);
    s->seq = s->seq ? s->seq : min_int(c->context, LONGEST);
    s->batch = s->batch ? s->batch : c->dim < 384 ? 4 : 8;
    s->lr = s->lr != 0 ? s->lr : s->base ? lr / 10 : lr;
    s->tokens = s->tokens ? s->tokens : s->base ? tokens / 8 : tokens;
    s->weight_decay = or_default(s->weight_decay, 0.1);
    s->beta1 = or_default(s->beta1, 0.9);
    s->beta2 = or_default(s->beta2, 0.95);
    s->clip = or_default(s->clip, 1.0);
    s->warmup = or_default(s->warmup, 0.05);
    s->final_lr = or_default(s->final_lr, 0.1);
}

static enum status find_config(struct model_config *c, const struct train_spec *s, struct err *e)
{
    if (s->base) {
        *c = s->base->weights->config;
        return ST_OK;
    }
    if (!s->preset)
        return fail(e, ST_EUSAGE, "nothing to train: name a preset, or a model to tune");
    return config_preset(c, s->preset, e);
}

void train_recipe(const struct train_spec *spec, int threads, char *buf, size_t n)
{
    struct train_spec s = *spec;
    struct model_config c = {0};
    if (find_config(&c, &s, NULL) == ST_OK)
        fill_defaults(&s, &c);
    /* train=1 is the version of this procedure: a change that moves results takes the next number. */
    snprintf(buf, n,
             "train=1 preset=%s base=%s text=%s text_hash=%s tokens=%ld batch=%d seq=%d lr=%.9g decay=%.9g beta1=%.9g beta2=%.9g "
             "clip=%.9g warmup=%.9g final_lr=%.9g seed=%llu threads=%d%s%s%s",
             s.base ? c.preset : s.preset ? s.preset : "", s.base ? s.base->hash : "-", s.corpus->name, s.corpus->hash, s.tokens,
             s.batch, s.seq, s.lr, s.weight_decay, s.beta1, s.beta2, s.clip, s.warmup, s.final_lr, (unsigned long long)s.seed,
             threads, s.fake_quant && s.fake_quant->act_int8 ? " act=int8" : "", s.extra_recipe && *s.extra_recipe ? " " : "",
             s.extra_recipe ? s.extra_recipe : "");
}

static enum status check_spec(const struct train_spec *s, const struct model_config *c, struct err *e)
{
    const struct {
        const char *name;
        double value, low, high;
    } ranges[] = {
        {"tokens", (double)s->tokens, 1, 1e15},
        {"batch", s->batch, 1, 65536},
        {"seq", s->seq, 1, c->context},
        {"lr", s->lr, DBL_MIN, 10},
        {"weight_decay", s->weight_decay, 0, 10},
        {"beta1", s->beta1, 0, 0.999999},
        {"beta2", s->beta2, 0, 0.999999},
        {"clip", s->clip, DBL_MIN, INFINITY},
        {"warmup", s->warmup, 0, 1},
        {"final_lr", s->final_lr, 0, 1},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (!(ranges[i].value >= ranges[i].low && ranges[i].value <= ranges[i].high))
            return fail(e, ST_EUSAGE, "train: %s is %g; it must lie between %g and %g", ranges[i].name, ranges[i].value,
                        ranges[i].low, ranges[i].high);
    return ST_OK;
}

/* ---- one step */

/* Linear warm-up to lr, then half a cosine down to final_lr * lr at the last step. */
static double learning_rate(const struct train_spec *s, long step, long steps)
{
    long warm = lround(s->warmup * (double)steps);
    if (step < warm)
        return s->lr * (double)(step + 1) / (double)warm;
    double way = steps - 1 > warm ? (double)(step - warm) / (double)(steps - 1 - warm) : 1;
    return s->lr * (s->final_lr + (1 - s->final_lr) * 0.5 * (1 + cos(3.14159265358979323846 * way)));
}

/* What fake quantization leaves in float: embedding, norms and head. */
static void copy_unquantized(struct weights *to, const struct weights *from)
{
    const struct model_config *c = &from->config;
    size_t table = (size_t)c->vocab * c->dim * sizeof(float), row = (size_t)c->dim * sizeof(float);
    memcpy(to->embed, from->embed, table);
    for (int i = 0; i < c->layers; i++) {
        memcpy(to->layer[i].attn_norm, from->layer[i].attn_norm, row);
        memcpy(to->layer[i].ffn_norm, from->layer[i].ffn_norm, row);
    }
    memcpy(to->norm, from->norm, row);
    if (!c->tied)
        memcpy(to->head, from->head, table);
}

/* The weights that forward and backward use: the master's, or what the quantizer makes of them. */
static enum status effective(struct train *t, const struct weights **w, struct err *e)
{
    *w = t->weights;
    if (!t->shadow)
        return ST_OK;
    *w = t->shadow;
    copy_unquantized(t->shadow, t->weights);
    return t->spec.fake_quant->weights(t->spec.fake_quant->ctx, t->weights, t->shadow, t->par, e);
}

static bool act_int8(const struct train *t) { return t->spec.fake_quant && t->spec.fake_quant->act_int8; }

static enum status step(struct train *t, struct err *e)
{
    const struct fake_quant *q = t->spec.fake_quant;
    const struct weights *w;
    enum status s = effective(t, &w, e);
    if (s)
        return s;
    batches_draw(&t->batches, &t->rng);
    memset(t->grads->data, 0, t->grads->count * sizeof *t->grads->data);
    t->loss = backprop_run(t->backprop, w, t->batches.inputs, t->batches.targets, act_int8(t), t->grads);
    if (q && q->grads)
        q->grads(q->ctx, t->weights, t->grads, t->par);
    t->grad_norm = adamw_norm(&t->adamw, t->grads);
    if (!isfinite(t->loss) || !isfinite(t->grad_norm))
        return fail(e, ST_EWRONG, "training %s: at step %ld of %ld the loss is %g and the gradient's norm %g; take a learning rate "
                    "below %g", t->what, t->step + 1, t->steps, t->loss, t->grad_norm, t->spec.lr);
    adamw_update(&t->adamw, t->weights, t->grads, t->step, learning_rate(&t->spec, t->step, t->steps),
                 t->grad_norm > t->spec.clip ? t->spec.clip / t->grad_norm : 1);
    t->smooth_loss = t->step ? 0.95 * t->smooth_loss + 0.05 * t->loss : t->loss;
    t->step++;
    return ST_OK;
}

/* Mean NLL over every stride-th batch of the validation text. */
static enum status validate(struct train *t, int stride, struct err *e)
{
    const struct weights *w;
    enum status s = effective(t, &w, e);
    size_t count = (size_t)t->spec.batch * t->spec.seq, total = 0;
    double nll = 0;
    for (int i = 0; !s && i < t->batches.valid_count; i += stride) {
        const int32_t *targets = t->batches.valid_targets + i * count;
        size_t scored = 0;
        while (scored < count && targets[scored] >= 0)
            scored++;
        nll += backprop_run(t->backprop, w, t->batches.valid_inputs + i * count, targets, act_int8(t), NULL) * (double)scored;
        total += scored;
    }
    if (s)
        return s;
    t->valid_loss = nll / (double)total; /* batches_open left no batch without a target */
    return isfinite(t->valid_loss) ? ST_OK
                                   : fail(e, ST_EWRONG, "training %s: after step %ld of %ld the validation loss is %g", t->what,
                                          t->step, t->steps, t->valid_loss);
}

/* ---- state */

static double seconds_so_far(const struct train *t) { return t->seconds + now_seconds() - t->started; }

static enum status save_state(struct train *t, struct err *e)
{
    uint64_t words[3] = {(uint64_t)t->step};
    double numbers[2] = {t->smooth_loss, seconds_so_far(t)};
    memcpy(words + 1, numbers, sizeof numbers);
    int64_t count = (int64_t)t->weights->count;
    size_t bytes = t->weights->count * sizeof(float);
    const struct st_tensor tensors[] = {
        {"weights", "F32", 1, {count}, t->weights->data, bytes},
        {"m", "F32", 1, {count}, t->adamw.m->data, bytes},
        {"v", "F32", 1, {count}, t->adamw.v->data, bytes},
        {"rng", "U64", 1, {4}, t->rng.s, sizeof t->rng.s},
        {"progress", "U64", 1, {3}, words, sizeof words},
    };
    json_t *metadata = json_pack("{s:s}", "qbench.recipe", t->recipe);
    enum status s = metadata ? st_write(t->spec.state_path, tensors, sizeof tensors / sizeof tensors[0], metadata, e)
                             : fail(e, ST_ENOMEM, "no memory to save %s", t->spec.state_path);
    json_decref(metadata);
    t->saved = now_seconds();
    return s;
}

static bool copy_tensor(const struct st_file *f, const char *name, const char *dtype, void *to, size_t bytes)
{
    const struct st_tensor *tensor = st_find(f, name);
    if (!tensor || strcmp(tensor->dtype, dtype) || tensor->bytes != bytes)
        return false;
    memcpy(to, tensor->data, bytes);
    return true;
}

static enum status restore(struct train *t, const struct st_file *f, struct err *e)
{
    const char *path = t->spec.state_path, *recipe = json_string_value(json_object_get(f->metadata, "qbench.recipe"));
    if (!recipe || strcmp(recipe, t->recipe))
        return fail(e, ST_EFORMAT, "%s belongs to another run (%s); remove it, or ask for the same recipe: %s", path,
                    recipe ? recipe : "no recipe in it", t->recipe);
    uint64_t words[3];
    double numbers[2];
    size_t bytes = t->weights->count * sizeof(float);
    if (!copy_tensor(f, "weights", "F32", t->weights->data, bytes) || !copy_tensor(f, "m", "F32", t->adamw.m->data, bytes) ||
        !copy_tensor(f, "v", "F32", t->adamw.v->data, bytes) || !copy_tensor(f, "rng", "U64", t->rng.s, sizeof t->rng.s) ||
        !copy_tensor(f, "progress", "U64", words, sizeof words) || words[0] > (uint64_t)t->steps)
        return fail(e, ST_EFORMAT, "%s is not the state of this training run; remove it to start again", path);
    memcpy(numbers, words + 1, sizeof numbers);
    t->step = (long)words[0];
    t->smooth_loss = numbers[0];
    t->seconds = numbers[1];
    return ST_OK;
}

static bool has_state(const struct train *t) { return t->spec.resume && t->spec.state_path && access(t->spec.state_path, F_OK) == 0; }

static enum status load_state(struct train *t, struct err *e)
{
    struct st_file f = {0};
    enum status s = st_read(&f, t->spec.state_path, e);
    if (!s)
        s = restore(t, &f, e);
    st_close(&f);
    return s;
}

/* ---- a whole run */

static enum status open_tokenizer(struct train *t, struct err *e)
{
    const struct checkpoint *base = t->spec.base;
    if (!base)
        return batches_tokenizer(&t->tokenizer, t->spec.corpus, t->config.vocab, e);
    if (!base->tokenizer)
        return fail(e, ST_EUSAGE, "a model that has no tokenizer (random weights, or imported without one) cannot be tuned");
    enum status s = checkpoint_fits(base->tokenizer, &t->config, e);
    return s ? s : tokenizer_copy(&t->tokenizer, base->tokenizer, e);
}

static enum status open_arenas(struct train *t, struct err *e)
{
    const struct fake_quant *q = t->spec.fake_quant;
    struct weights **arenas[] = {&t->weights, &t->grads, q && q->weights ? &t->shadow : NULL};
    for (size_t i = 0; i < sizeof arenas / sizeof arenas[0]; i++)
        if (arenas[i] && !(*arenas[i] = weights_alloc(&t->config, e)))
            return ST_ENOMEM;
    return ST_OK;
}

static void start_weights(struct train *t)
{
    rng_seed(&t->rng, t->spec.seed);
    if (t->spec.base)
        memcpy(t->weights->data, t->spec.base->weights->data, t->weights->count * sizeof(float));
    else
        weights_random(t->weights, t->spec.seed, NULL);
}

static enum status open_spec(struct train *t, const struct train_spec *s, struct par *p, struct err *e)
{
    *t = (struct train){.spec = *s, .par = p, .valid_loss = NAN};
    enum status st = find_config(&t->config, s, e);
    if (st)
        return st;
    fill_defaults(&t->spec, &t->config);
    if ((st = check_spec(&t->spec, &t->config, e)))
        return st;
    long per_step = (long)t->spec.batch * t->spec.seq;
    t->steps = (t->spec.tokens + per_step - 1) / per_step;
    train_recipe(s, par_threads(p), t->recipe, sizeof t->recipe);
    bool extra = s->extra_recipe && *s->extra_recipe;
    snprintf(t->what, sizeof t->what, "%s%s%s", t->config.preset, extra ? " " : "", extra ? s->extra_recipe : "");
    return ST_OK;
}

static enum status open_all(struct train *t, struct err *e)
{
    const struct train_spec *p = &t->spec;
    enum status s = open_arenas(t, e);
    if (!s)
        s = adamw_open(&t->adamw, t->weights, p->beta1, p->beta2, p->weight_decay, t->par, e);
    if (!s)
        s = backprop_open(&t->backprop, &t->config, p->batch, p->seq, t->par, e);
    if (!s)
        start_weights(t);
    if (!s && has_state(t))
        s = load_state(t, e);
    if (!s)
        s = open_tokenizer(t, e);
    if (!s)
        s = batches_open(&t->batches, p->corpus, t->tokenizer, p->batch, p->seq, VALID_TOKENS, e);
    t->first_step = t->step;
    t->started = t->saved = now_seconds();
    return s;
}

static void close_all(struct train *t)
{
    backprop_close(t->backprop);
    weights_free(t->weights);
    weights_free(t->shadow);
    weights_free(t->grads);
    adamw_close(&t->adamw);
    batches_close(&t->batches);
    tokenizer_free(t->tokenizer);
}

static void report(const struct train *t)
{
    if (!t->spec.progress)
        return;
    long per_step = (long)t->spec.batch * t->spec.seq;
    double speed = (double)((t->step - t->first_step) * per_step) / (now_seconds() - t->started);
    struct train_progress p = {
        .what = t->what,
        .step = t->step,
        .steps = t->steps,
        .tokens_done = t->step * per_step,
        .tokens_total = t->steps * per_step,
        .loss = t->loss,
        .smooth_loss = t->smooth_loss,
        .grad_norm = t->grad_norm,
        .lr = learning_rate(&t->spec, t->step - 1, t->steps),
        .tokens_per_second = speed,
        .seconds_left = (double)((t->steps - t->step) * per_step) / speed,
        .valid_loss = t->valid_loss,
    };
    t->spec.progress(t->spec.progress_ctx, &p);
}

static enum status interrupted(struct train *t, struct err *e)
{
    if (!t->spec.state_path)
        return fail(e, ST_EINTERRUPTED, "training %s: stopped after step %ld of %ld; nothing was saved", t->what, t->step, t->steps);
    enum status s = save_state(t, e);
    return s ? s : fail(e, ST_EINTERRUPTED, "training %s: stopped after step %ld of %ld; %s holds the state to resume from", t->what,
                        t->step, t->steps, t->spec.state_path);
}

static bool is_stopped(const struct train *t)
{
    return (t->spec.stop && *t->spec.stop) || (t->spec.stop_after_steps > 0 && t->step >= t->spec.stop_after_steps);
}

/* At each tenth of the way, for the eyes of whoever watches. */
static bool is_milestone(const struct train *t)
{
    return t->spec.progress && t->step < t->steps && t->step * 10 / t->steps != (t->step - 1) * 10 / t->steps;
}

static enum status loop(struct train *t, struct err *e)
{
    while (t->step < t->steps) {
        enum status s = is_stopped(t) ? interrupted(t, e) : step(t, e);
        if (!s && is_milestone(t))
            s = validate(t, VALID_STRIDE, e);
        if (!s && t->step == t->steps)
            s = validate(t, 1, e);
        if (!s && t->spec.state_path && t->spec.save_seconds > 0 && now_seconds() - t->saved >= t->spec.save_seconds)
            s = save_state(t, e);
        if (s)
            return s;
        report(t);
    }
    return ST_OK;
}

/* ---- what the model's file says about its making */

static json_t *split_bytes(const struct corpus *c)
{
    json_t *o = json_object();
    for (int i = 0; o && i < SPLIT_COUNT; i++)
        json_object_set_new(o, split_names[i], json_integer((json_int_t)corpus_split_bytes(c, (enum split)i)));
    return o;
}

static json_t *provenance(const struct train *t)
{
    const struct train_spec *s = &t->spec;
    json_t *o = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:i, s:i, s:f, s:s, s:s, s:s, s:s, s:s, s:o, s:i, s:f, s:f, s:s, s:i, s:f}",
        "kind", s->base ? "tuned" : "trained", "preset", t->config.preset, "parameters", (json_int_t)t->weights->count,
        "seed", (json_int_t)s->seed, "tokens", (json_int_t)(t->steps * s->batch * s->seq), "steps", (json_int_t)t->steps,
        "batch", s->batch, "seq", s->seq, "lr", s->lr, "schedule", "linear warm-up, then cosine", "optimizer", "AdamW",
        "text", s->corpus->name, "text_hash", s->corpus->hash,
        "split", "whole documents, by a hash of the document's name", "split_bytes", split_bytes(s->corpus),
        "tokenizer_vocab", tokenizer_vocab(t->tokenizer)->count, "train_loss", t->smooth_loss, "valid_loss", t->valid_loss,
        "recipe", t->recipe, "threads", par_threads(t->par), "seconds", seconds_so_far(t));
    if (o && s->corpus->path[0])
        json_object_set_new(o, "text_path", json_string(s->corpus->path));
    if (o && s->base)
        json_object_set_new(o, "base", json_string(s->base->hash));
    return o;
}

static enum status hand_out(struct checkpoint *out, struct train *t, struct err *e)
{
    json_t *o = provenance(t);
    if (!o)
        return fail(e, ST_ENOMEM, "the text's name is not UTF-8 and cannot be recorded: %s; rename the file", t->spec.corpus->name);
    *out = (struct checkpoint){.weights = t->weights, .tokenizer = t->tokenizer, .provenance = o};
    t->weights = NULL;
    t->tokenizer = NULL;
    return ST_OK;
}

enum status train_run(struct checkpoint *out, const struct train_spec *spec, struct par *p, struct err *e)
{
    struct train t;
    *out = (struct checkpoint){0};
    enum status s = open_spec(&t, spec, p, e);
    if (!s)
        s = open_all(&t, e);
    if (!s)
        s = loop(&t, e);
    if (!s && isnan(t.valid_loss)) /* resumed with nothing left to do */
        s = validate(&t, 1, e);
    if (!s)
        s = hand_out(out, &t, e);
    close_all(&t);
    return s;
}
