/* fuzz.h — hostile bytes for the readers of model and tokenizer files: checks what must hold whatever they are. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_FUZZ_H
#define QBENCH_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Both abort when a failure leaves something behind or its message is not one line that names the file. tests/fuzz/ makes libFuzzer
 * programs of them (`make fuzz`); the unit tests call them with mutations of good files. */

/* A file of each kind of model. */
void fuzz_model(const uint8_t *data, size_t size);

/*
 * The first byte chooses: a text for a small vocabulary of each kind and every pre-tokenizer; tokenizer.bin; tokenizer.json;
 * tokenizer_config.json; encoder.json; merges.txt; a file of any kind, such as GGUF. Aborts also when an id is out of range, or a text does
 * not come back.
 */
void fuzz_tokenizer(const uint8_t *data, size_t size);

#endif
