/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "batches.h"

#include <stdlib.h>
#include <string.h>

enum status batches_tokenizer(struct tokenizer **t, const struct corpus *c, int vocab, struct err *e)
{
    size_t bytes = 0;
    uint8_t *text = malloc(corpus_split_bytes(c, SPLIT_TRAIN) + 1);
    if (!text)
        return fail(e, ST_ENOMEM, "no memory for the text of %s", c->name);
    for (size_t i = 0; i < c->doc_count; i++)
        if (c->docs[i].split == SPLIT_TRAIN) {
            size_t n = c->docs[i].end - c->docs[i].begin;
            memcpy(text + bytes, c->text + c->docs[i].begin, n);
            bytes += n;
        }
    struct bpe *b = NULL;
    enum status s = bpe_train(&b, text, bytes, vocab, e);
    if (!s)
        s = tokenizer_from_bpe(t, b, e);
    bpe_free(b);
    free(text);
    return s;
}

static enum status open_train(struct batches *b, const struct corpus *c, struct tokenizer *tokenizer, struct err *e)
{
    enum status s = tokens_cut(&b->stream, c, SPLIT_TRAIN, tokenizer, 0, e);
    if (s)
        return s;
    if (b->stream.count <= (size_t)b->seq || b->stream.count > UINT32_MAX)
        return fail(e, ST_EUSAGE, "the training split of %s has %zu tokens and a sequence needs %d: take another text or seq",
                    c->name, b->stream.count, b->seq + 1);
    size_t count = (size_t)b->batch * b->seq;
    b->inputs = mem_alloc(count, sizeof *b->inputs);
    b->targets = mem_alloc(count, sizeof *b->targets);
    return b->inputs && b->targets ? ST_OK : fail(e, ST_ENOMEM, "no memory to train");
}

static enum status open_valid(struct batches *b, const struct corpus *c, struct tokenizer *tokenizer, size_t most, struct err *e)
{
    struct tokens t = {0};
    enum status s = tokens_cut(&t, c, SPLIT_VALID, tokenizer, most + 1, e);
    if (s)
        return s;
    size_t scored = t.count - 1, step = (size_t)b->batch * b->seq, room = round_up(scored, step);
    b->valid_count = (int)(room / step);
    b->valid_inputs = mem_alloc(room, sizeof *b->valid_inputs);
    b->valid_targets = mem_alloc(room, sizeof *b->valid_targets);
    if (!scored)
        s = fail(e, ST_EUSAGE, "the validation split of %s holds no text: take a longer one", c->name);
    else if (!b->valid_inputs || !b->valid_targets)
        s = fail(e, ST_ENOMEM, "no memory for the validation text");
    for (size_t i = 0; !s && i < room; i++) {
        b->valid_inputs[i] = i < scored ? t.id[i] : 0;
        b->valid_targets[i] = i < scored ? t.id[i + 1] : -1;
    }
    tokens_free(&t);
    return s;
}

enum status batches_open(struct batches *b, const struct corpus *c, struct tokenizer *tokenizer, int batch, int seq,
                         size_t valid_tokens, struct err *e)
{
    *b = (struct batches){.batch = batch, .seq = seq};
    enum status s = open_train(b, c, tokenizer, e);
    return s ? s : open_valid(b, c, tokenizer, valid_tokens, e);
}

void batches_close(struct batches *b)
{
    tokens_free(&b->stream);
    mem_free(b->inputs);
    mem_free(b->targets);
    mem_free(b->valid_inputs);
    mem_free(b->valid_targets);
    *b = (struct batches){0};
}

void batches_draw(struct batches *b, struct rng *r)
{
    size_t seq = (size_t)b->seq;
    for (int i = 0; i < b->batch; i++) {
        const int32_t *id = b->stream.id + rng_below(r, (uint32_t)(b->stream.count - seq));
        memcpy(b->inputs + i * seq, id, seq * sizeof *id);
        memcpy(b->targets + i * seq, id + 1, seq * sizeof *id);
    }
}
