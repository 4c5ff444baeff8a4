/* quant.h — from float weights to a quantized model: the method table, the specification, the result. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_QUANT_H
#define QBENCH_QUANT_H

#include "act.h"
#include "backprop.h"
#include "format.h"
#include "gamma.h"
#include "par.h"
#include "text.h"
#include "weights.h"

/*
 * A method is one file (ptq_<name>.c or qat_<name>.c) and one line in quantizers.def. PTQ methods encode given weights;
 * QAT methods also say how to train first: their fake quantization must be the very grid that encode uses afterwards.
 * What is quantized: the seven linear layers of every block, and the head where qspec.head says so. A tied head is the
 * embedding too: its rows are then looked up in the quantized table, and the float one is gone. Norms stay float.
 */
enum family { FAMILY_PTQ, FAMILY_QAT };
extern const char *const family_names[];

struct quantizer;

struct qspec {
    const struct quantizer *method; /* NULL for float formats */
    enum format format;
    int group;
    enum gamma gamma;
    enum gamma_on gamma_on;
    bool zero_point;  /* asymmetric: every scale has a shift, and all codes are used */
    bool weight_only; /* integer weights multiply bf16 activations, not int8 ones */
    enum format head; /* FORMAT_F32 = as it is; an integer format: round to nearest, a scale per channel, whatever the method */
};

struct quantizer {
    const char *name, *title;
    const char *source; /* the paper */
    enum family family;
    /* Fills the codes, scales and (where out has them) shifts of out, allocated by the caller, from w (rows, cols). */
    void (*encode)(struct qlinear *out, const float *w, struct par *p);
    /* QAT: what training does; the returned hooks live until release. NULL for PTQ. */
    enum status (*fake_quant)(struct fake_quant *f, const struct qspec *spec, const struct model_config *c, struct err *e);
    void (*release)(struct fake_quant *f);
};

extern const struct quantizer *const quantizers[]; /* NULL-terminated */
const struct quantizer *quantizer_find(const char *name); /* NULL: unknown */

/* The values that a group's codes stand for: scale * code + shift. Without a zero point shift is 0 and integers run from -qmax
 * to qmax; with one they run from qmin. */
struct grid {
    float scale, shift;
};

/* A grid for n weights w, not yet rounded as it is stored; scale 0 for weights that are all alike. What distinguishes one
 * round-to-nearest method from another. */
typedef struct grid grid_rule(const float *w, int n, enum format format, bool zero_point);

/* Encodes with rule, group by group: scale and shift = rule (rounded to fp16 where they are stored so), then the nearest codes. */
void encode_groups(struct qlinear *out, const float *w, struct par *p, grid_rule *rule);
/* One group: g already as stored. */
void encode_group(int8_t *codes, const float *w, int n, struct grid g, enum format format, bool zero_point);

/* From the least to the largest weight, or to ±max|w|. */
grid_rule grid_widest;
/* The same, but for formats that are all clipping the mean: bin and tern take mean|w| (Rastegari et al. 2016, arXiv 1603.05279;
 * Ma et al. 2024, arXiv 2402.17764). */
grid_rule grid_rtn;

/* Half to even without a call: adding 1.5 * 2^23 leaves no bits below one. |x| < 2^22. */
static inline float round_even(float x) { return (x + 12582912.0f) - 12582912.0f; }
/* Plain comparisons vectorize where fminf and fmaxf, with their rules for NaN, do not. */
static inline float clamp_float(float x, float lo, float hi) { return x < lo ? lo : x > hi ? hi : x; }

/* A quantized model. Float parts are borrowed from weights, which must outlive it. */
struct qmodel {
    const struct weights *weights;
    struct qspec spec;
    struct qlinear *linear;   /* (layers, LIN_COUNT) owned */
    struct qlinear head;      /* (vocab, dim); codes and scales owned */
    struct gamma_stat *gamma; /* (layers, LIN_COUNT) owned; what γ was where */
};

/*
 * w: base weights, or the checkpoint of spec's QAT method. calib: needed only when γ is estimated on activations (NULL
 * otherwise): its first tokens are run through the model, each layer's γ measured with the layers below already quantized and scaled.
 */
enum status quantize(struct qmodel *q, const struct weights *w, const struct qspec *spec, const struct tokens *calib,
                     struct par *p, struct err *e);
void qmodel_free(struct qmodel *q);

/* What the layers' kernels eat. */
enum act qspec_act(const struct qspec *s);

/* ST_EUSAGE when the parts do not fit together (γ by channel on activations, a group on f32, …). */
enum status qspec_check(const struct qspec *s, struct err *e);

/* Serialized sizes in bytes, as safetensors would hold them: payload, scales, float tensors and header. */
struct model_size {
    size_t total, quantized, fp32, fp16; /* fp32, fp16: the same model in those */
    double bits_per_weight;              /* of the quantized layers, scales included */
    double quantized_share;              /* of the parameters */
};
struct model_size qmodel_size(const struct qmodel *q);

#endif
