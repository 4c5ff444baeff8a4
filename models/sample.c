/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sample.h"

#include <math.h>
#include <stdlib.h>

struct candidate {
    float logit;
    int32_t id;
};

struct sampler {
    struct sampling how;
    struct rng rng;
    int vocab;
    struct candidate *candidate; /* (vocab) owned */
    double *weight;              /* (vocab) owned */
};

enum status sampler_open(struct sampler **out, const struct sampling *how, int vocab, struct err *e)
{
    *out = NULL;
    if (!(how->temperature >= 0 && how->temperature <= 100))
        return fail(e, ST_EUSAGE, "temperature %g: it must lie between 0 (the most likely token) and 100", how->temperature);
    if (how->top_k < 0)
        return fail(e, ST_EUSAGE, "top-k %d: it must be 0 (all) or more", how->top_k);
    if (!(how->top_p > 0 && how->top_p <= 1))
        return fail(e, ST_EUSAGE, "top-p %g: it must lie above 0 and not above 1", how->top_p);
    struct sampler *s = mem_alloc(1, sizeof *s);
    if (s) {
        *s = (struct sampler){.how = *how, .vocab = vocab, .candidate = mem_alloc((size_t)vocab, sizeof *s->candidate),
                              .weight = mem_alloc((size_t)vocab, sizeof *s->weight)};
        rng_seed(&s->rng, how->seed);
    }
    if (!s || !s->candidate || !s->weight) {
        sampler_close(s);
        return fail(e, ST_ENOMEM, "no memory to draw from %d tokens", vocab);
    }
    *out = s;
    return ST_OK;
}

void sampler_close(struct sampler *s)
{
    if (!s)
        return;
    mem_free(s->candidate);
    mem_free(s->weight);
    mem_free(s);
}

static int by_logit(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return x->logit != y->logit ? (x->logit < y->logit) - (x->logit > y->logit) : (x->id > y->id) - (x->id < y->id);
}

static int32_t most_likely(const struct sampler *s, const float *logits)
{
    int32_t best = 0;
    for (int32_t i = 1; i < s->vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* Fills weight with the kept candidates' shares, not normalized; returns how many are kept, their sum in *total. */
static int keep(struct sampler *s, double *total)
{
    int n = s->how.top_k ? min_int(s->how.top_k, s->vocab) : s->vocab, kept = 0;
    double sum = 0, so_far = 0;
    for (int i = 0; i < n; i++)
        sum += s->weight[i] = exp(((double)s->candidate[i].logit - (double)s->candidate[0].logit) / s->how.temperature);
    while (kept < n && (kept == 0 || so_far < s->how.top_p * sum))
        so_far += s->weight[kept++];
    *total = so_far;
    return kept;
}

int32_t sampler_next(struct sampler *s, const float *logits)
{
    if (s->how.temperature == 0 || s->how.top_k == 1)
        return most_likely(s, logits);
    for (int32_t i = 0; i < s->vocab; i++)
        s->candidate[i] = (struct candidate){logits[i], i};
    qsort(s->candidate, (size_t)s->vocab, sizeof *s->candidate, by_logit);
    double total, at;
    int n = keep(s, &total), i = 0;
    at = total * (double)rng_uniform(&s->rng);
    while (i + 1 < n && (at -= s->weight[i]) >= 0)
        i++;
    return s->candidate[i].id;
}
