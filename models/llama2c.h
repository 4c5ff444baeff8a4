/* llama2c.h — checkpoints of llama2.c: version 0 (float, no magic) and version 2 (8-bit groups, "ak42"). */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_LLAMA2C_H
#define QBENCH_LLAMA2C_H

#include "weights.h"

/*
 * Little-endian. Version 0: seven int32 (dim, ffn, layers, heads, kv_heads, vocab, context; vocab negative: the head is a tensor
 * of its own), then floats, each kind of tensor for all layers: embedding, attention norms, q, k, v, o, ffn norms, gate, down, up, last norm, two
 * rotary tables (context, head_dim / 2) that are not used, the head. Version 2: "ak42", version, the seven int32, a byte (tied),
 * int32 group, zeros up to byte 256; float norms (attention, ffn, last); then codes (int8) and scales (float, one a group) of embedding, q, k,
 * v, o, gate, down, up and the head. Rows of q and k stand as rotary pairs (2 i, 2 i + 1) and are brought into Hugging Face's
 * halves. Rotary base 10000 and epsilon 1e-5 are the format's.
 */

/* Does path look like one? By magic, or, for version 0, by a header whose tensors fill the file exactly. */
bool llama2c_is(const char *path);

/* ST_EFORMAT or ST_EUNSUPPORTED "path: reason" leave *w NULL. */
enum status llama2c_read(struct weights **w, const char *path, struct err *e);

#endif
