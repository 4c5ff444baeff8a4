/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "bpe_core.h"
#include "tok_core.h"
#include "utf8.h"

/* Two bytes of spelling for one at most; the boundary has a name that stands for no text. */
static const char boundary[] = "<|endoftext|>";

static void spell(struct piece *p, const struct bpe *b, int id, char **room)
{
    int n;
    const uint8_t *s = bpe_token(b, id, &n);
    p->text = *room;
    for (int i = 0; i < n; i++)
        *room += utf8_encode(tok_byte_char(s[i]), (uint8_t *)*room);
    p->bytes = (uint32_t)(*room - p->text);
    p->type = PIECE_NORMAL;
}

enum status tokenizer_from_bpe(struct tokenizer **t, const struct bpe *b, struct err *e)
{
    int count = bpe_vocab(b), merges = count - BPE_FIRST_MERGE;
    struct piece *piece = calloc((size_t)count, sizeof *piece);
    struct merge *merge = malloc(((size_t)merges + 1) * sizeof *merge);
    char *text = malloc(2 * (size_t)b->begin[count] + 4), *room = text;
    enum status s = piece && merge && text ? ST_OK : fail(e, ST_ENOMEM, "no memory for a tokenizer of %d ids", count);
    *t = NULL;
    for (int id = 0; id < count && !s; id++)
        spell(&piece[id], b, id, &room);
    for (int i = 0; i < merges && !s; i++) {
        int32_t id = BPE_FIRST_MERGE + i;
        merge[i] = (struct merge){bpe_left(b->pairs[id]), bpe_right(b->pairs[id]), id};
    }
    if (!s) {
        piece[BPE_EOT] = (struct piece){.text = boundary, .bytes = sizeof boundary - 1, .type = PIECE_CONTROL};
        struct vocab v = {.kind = TOKENIZER_BYTES, .count = count, .piece = piece, .merges = (size_t)merges, .merge = merge,
                          .bos = BPE_EOT, .eos = BPE_EOT, .unk = -1, .add_bos = true, .pre = "qbench"};
        s = tokenizer_new(t, &v, "qbench's tokenizer", e);
    }
    free(piece);
    free(merge);
    free(text);
    return s;
}
