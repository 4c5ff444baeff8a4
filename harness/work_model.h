/* work_model.h — what the works on whole models share: resolving, opening and describing a quantized model. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_WORK_MODEL_H
#define QBENCH_WORK_MODEL_H

#include "checkpoint.h"
#include "infer.h"
#include "model_file.h"
#include "work.h"
#include "zoo.h"

#define MODEL_AXES "model tune tune_tokens method format group zero_point act gamma gamma_on calib_tokens head kv kernel isa seed threads"

/* A case's model, ready to run. */
struct model_job {
    struct par *par;
    struct checkpoint base, tuned; /* tuned: empty unless the case names further training */
    const struct checkpoint *used; /* the one that was quantized */
    struct qmodel q;
    const struct kernel *kernel;
    enum kv kv;
    double load_seconds;           /* reading, quantizing */
};

/* The method of a QAT case, or NULL. */
const struct quantizer *model_qat(const struct bench_case *c);
bool model_is_random(const struct bench_case *c);
/* The qspec that the case spells; ST_EUSAGE for unknown words. */
enum status model_qspec(const struct bench_case *c, struct qspec *spec, struct err *e);

/* Shared resolve: checks words and combinations and finds the file of a model that is not a preset. */
enum status model_resolve(struct bench_case *c, struct err *e);

/* For prepare_models: a preset becomes "1m@<hash>", found or trained; further training that the case names is done. Where z must not train, an
 * untrained preset becomes "1m@untrained". Fills base and tuned with what was loaded on the way. */
enum status model_prepare(struct bench_case *c, struct zoo *z, struct checkpoint *base, struct checkpoint *tuned, struct err *e);

enum status model_open(struct model_job *j, const struct bench_case *c, struct err *e);
void model_close(struct model_job *j);

/* size_bytes, bits_per_weight, vs_fp32, vs_fp16, parameters, checkpoint hash, γ's statistics. */
void model_emit(const struct model_job *j, struct emitter *m);

/*
 * What a stretch of work holds at its peak, above what the process held before it: begin, work, then held. NaN where the kernel does not let
 * the peak be reset (then it could be an earlier case's).
 */
double memory_begin(void);
double memory_held(double before);

#endif
