/* gguf_llama.h — between GGUF files of architecture "llama" and struct weights: configuration, tensor names, rotary row order. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_GGUF_LLAMA_H
#define QBENCH_GGUF_LLAMA_H

#include "format.h"
#include "gguf.h"
#include "gguf_vocab.h"
#include "par.h"
#include "weights.h"

/*
 * Rotary positions turn pairs of a head's rows. Hugging Face, and qbench with it, pairs row i with row i + head_dim / 2; files of
 * architecture "llama" pair row 2i with row 2i + 1. So the rows of q and k stand there in another order: row 2i + s of a head is row
 * i + s * head_dim / 2 here. Everything below translates.
 */

/* general.architecture and its keys. ST_EUNSUPPORTED: an architecture, or a feature of it, that qbench does not compute. */
enum status gguf_llama_config(struct model_config *c, const struct gguf *g, struct err *e);
/* The same, and exactly the configuration's tensors are there, in their shapes; no data is looked at. */
enum status gguf_llama_check(struct model_config *c, const struct gguf *g, struct err *e);

/* The GGUF name of a tensor of weights_tensor(), "blk.0.attn_q.weight"; NULL when there is none. turned: q or k, rows reordered. */
const char *gguf_llama_name(const char *name, char buf[GGUF_MAX_NAME], bool *turned);
/* The row of q or k here that stands in a file as row `stored`. */
int gguf_llama_row(const struct model_config *c, int stored);

/* All tensors as floats; *w is NULL after a failure. Missing, surplus and misshapen tensors and weights that are not finite fail. */
enum status gguf_llama_read(struct weights **w, const struct gguf *g, struct err *e);

/*
 * One layer as stored: q gets codes and scales in groups of 32, int8 from Q8_0, int4 from Q4_0 and, with shifts, from Q4_1.
 * ST_EUNSUPPORTED: another type, or codes and shifts that struct qplane cannot hold exactly (gguf_types.h; shifts of groups are
 * fp16); the layer can still be read as floats.
 */
enum status gguf_llama_codes(const struct gguf *g, const struct model_config *c, int layer, enum lin lin, struct qlinear *q, struct err *e);

struct gguf_llama_file {
    const char *name;              /* general.name; NULL: the preset's */
    enum gtype matrices, embed;    /* F32, F16, BF16, or Q8_0, Q4_0: rounded to nearest. embed: embedding and head */
    const struct qlinear *linear;  /* (layers, LIN_COUNT) or NULL: integer layers among them are written as they are, whatever `matrices` says */
    const struct gguf_vocab *vocab;
    struct par *par;               /* rounds */
    volatile const int *stop;      /* may be NULL; set: ST_EINTERRUPTED, and no file is left */
};
/* Norms are F32. A tied head has no tensor of its own. ST_EUNSUPPORTED names a layer that the types cannot express exactly. */
enum status gguf_llama_write(const char *path, const struct weights *w, const struct gguf_llama_file *f, struct err *e);

#endif
