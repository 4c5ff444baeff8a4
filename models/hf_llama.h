/* hf_llama.h — a Hugging Face folder of architecture LlamaForCausalLM: config.json and safetensors files, into struct weights. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_HF_LLAMA_H
#define QBENCH_HF_LLAMA_H

#include "weights.h"

/*
 * The tensors are F32, F16 or BF16, in model.safetensors or in the files that model.safetensors.index.json names. Tensor names and the order of
 * rows are qbench's own. What the configuration leaves out is as the transformers library takes it. ST_EUNSUPPORTED names the architecture
 * or the feature that qbench does not compute; a failure leaves *w NULL.
 */
enum status hf_llama_read(struct weights **w, const char *folder, struct err *e);

#endif
