/* text.h — corpora as documents, their fixed split, and token streams cut from them. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_TEXT_H
#define QBENCH_TEXT_H

#include "base.h"
#include "tokenizer.h"

/*
 * A corpus is a UTF-8 file and where its documents begin. Documents (chapters, source files, manual pages; blank-line
 * separated sections of about 4 KB in a user's file) belong whole to one split, so that no two splits share a sentence.
 * Which one is a hash of the document's name, about 90 : 2 : 3 : 5: it does not move when documents are added. (A corpus with
 * so few documents that a split is empty gives it one from the fullest.)
 *
 * corpus.sh writes NAME.txt; NAME.docs, a line "<byte offset>\t<document's name>" each; and NAME.info: "title: …" and the POSIX
 * cksum of the other two as "text: <crc> <bytes>", "index: <crc> <bytes>", which both the shell and corpus_open can compute.
 */
enum split { SPLIT_TRAIN, SPLIT_CALIB, SPLIT_VALID, SPLIT_TEST, SPLIT_COUNT };
extern const char *const split_names[SPLIT_COUNT];

struct document {
    size_t begin, end; /* bytes in corpus->text */
    enum split split;
};

struct corpus {
    char name[64];     /* "kjv", "python", "man", or the file's base name */
    char title[128];   /* "King James Bible (Debian bible-kjv-text 4.38)" */
    char hash[17];     /* XXH64 of the whole text, hex */
    char path[1024];   /* of a user's file, absolute; "" for an extracted corpus */
    uint8_t *text;     /* owned */
    size_t bytes;
    struct document *docs; /* owned */
    size_t doc_count;
};

/*
 * name: a corpus under dir ("kjv": dir/kjv.txt, made by `make corpus`), or the path of a UTF-8 file (it contains '/' or '.').
 * ST_ENOENT when it is not there (says what to run), ST_EFORMAT when empty, too small to split (< 64 KB leaves a split empty) or not UTF-8
 * (with the byte offset), or when its checksum is not the one recorded when it was extracted.
 */
enum status corpus_open(struct corpus *c, const char *name, const char *dir, struct err *e);
void corpus_close(struct corpus *c);
size_t corpus_split_bytes(const struct corpus *c, enum split split);

/*
 * Documents of one split as one stream, each preceded by the boundary: the tokenizer's beginning of sequence, else its end of one, else
 * nothing. (qbench's own: BPE_EOT.)
 */
struct tokens {
    int32_t *id;       /* owned */
    size_t count;
    size_t bytes;      /* of text that the ids stand for */
    size_t *doc;       /* (docs) index of each document's boundary, owned */
    size_t docs;
    int32_t boundary;  /* -1: none */
};

/* Stops after the first document that reaches max_tokens (0 = all), then cuts at max_tokens. ST_EUSAGE when the split is empty. */
enum status tokens_cut(struct tokens *t, const struct corpus *c, enum split split, struct tokenizer *tokenizer, size_t max_tokens,
                       struct err *e);
void tokens_free(struct tokens *t);

/* The bytes of text that an id stands for, `before` being the id in front of it (-1: none): a space that the tokenizer puts in front of a
 * document is none of the text. */
int token_bytes(const struct tokenizer *t, int32_t before, int32_t id);

#endif
