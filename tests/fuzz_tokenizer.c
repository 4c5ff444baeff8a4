/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pretokenize.h"
#include "tok_core.h"
#include "tok_files.h"
#include "utf8.h"

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "fuzz_tokenizer: %s\n", what);
    abort();
}

static void check_error(enum status s, const struct err *e)
{
    must((s != ST_OK) == (e->status != ST_OK), "status and error disagree");
    must(s == ST_OK || (e->text[0] && !strchr(e->text, '\n')), "an error is no single line");
}

static bool has_text(const struct tokenizer *t, int32_t id)
{
    int bytes;
    tokenizer_piece(t, id, &bytes);
    return bytes > 0;
}

/* What U+2581 stands for, what is composed or stripped, and ends that are no control pieces do not come back as they were. */
static bool comes_back(const struct tokenizer *t, unsigned flags, const uint8_t *s, size_t n)
{
    const struct vocab *v = tokenizer_vocab(t);
    if (v->nfc || (v->kind == TOKENIZER_BYTES && v->space_prefix) || v->prefix_unless || flags & TOKENIZER_SPECIAL || t->any_user)
        return false;
    if (flags & TOKENIZER_ENDS && ((v->add_bos && has_text(t, v->bos)) || (v->add_eos && has_text(t, v->eos))))
        return false;
    return v->kind == TOKENIZER_BYTES || (tokenizer_find(t, "\xe2\x96\x81", 3) >= 0 && !memmem(s, n, "\xe2\x96\x81", 3));
}

static void encode(struct tokenizer *t, unsigned flags, const uint8_t *s, size_t n)
{
    struct id_list l = {0};
    struct err e = {0};
    enum status st = tokenizer_encode(t, s, n, flags, &l, &e);
    check_error(st, &e);
    for (size_t i = 0; i < l.count; i++)
        must(l.id[i] >= 0 && l.id[i] < tokenizer_vocab(t)->count, "an id is out of range");
    size_t bytes = tokenizer_decode(t, l.id, l.count, flags, NULL);
    uint8_t *back = malloc(bytes + 1);
    must(back && tokenizer_decode(t, l.id, l.count, flags, back) == bytes, "two decodings differ");
    if (!st && comes_back(t, flags, s, n))
        must(bytes == n && !memcmp(back, s, n), "a text does not come back");
    free(back);
    id_list_free(&l);
}

/* ---- small vocabularies */

enum { PIECES = 300 };
struct small {
    struct piece piece[PIECES];
    char text[PIECES][16];
    int count;
};

static void put(struct small *m, enum piece_type type, float score, const char *text)
{
    int i = m->count++;
    snprintf(m->text[i], sizeof m->text[i], "%s", text);
    m->piece[i] = (struct piece){.text = m->text[i], .bytes = (uint32_t)strlen(text), .type = type, .score = score};
}

static struct tokenizer *small_pieces(void)
{
    static const char *const pieces[] = {"\u2581", "a", "b", "é", "ab", "aba", "\u2581a", "\u2581\u2581", "xy", "xyx", "東a"};
    static struct small m;
    struct tokenizer *t;
    m.count = 0;
    put(&m, PIECE_UNKNOWN, 0, "<unk>");
    put(&m, PIECE_CONTROL, 0, "<s>");
    for (unsigned b = 0; b < 256; b++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", b);
        put(&m, PIECE_BYTE, 0, text);
    }
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
        put(&m, PIECE_NORMAL, -(float)(i % 5), pieces[i]);
    struct vocab v = {.kind = TOKENIZER_PIECES, .count = m.count, .piece = m.piece, .bos = 1, .eos = -1, .unk = 0, .add_bos = true, .space_prefix = true,
                      .scored = true};
    must(tokenizer_new(&t, &v, "small", NULL) == ST_OK, "no small vocabulary");
    return t;
}

static struct tokenizer *small_bytes(const char *pre)
{
    static struct small m;
    struct tokenizer *t;
    m.count = 0;
    for (int b = 0; b < 256; b++) {
        char text[8] = "";
        text[utf8_encode(tok_byte_char((uint8_t)b), (uint8_t *)text)] = '\0';
        put(&m, PIECE_NORMAL, 0, text);
    }
    put(&m, PIECE_NORMAL, 0, "ab");
    put(&m, PIECE_NORMAL, 0, "aab");
    put(&m, PIECE_CONTROL, 0, "<end>");
    const struct merge merges[] = {{'a', 'b', 256}, {'a', 256, 257}};
    struct vocab v = {.kind = TOKENIZER_BYTES, .count = m.count, .piece = m.piece, .merge = merges, .merges = 2, .bos = -1, .eos = 258, .unk = -1,
                      .add_eos = true, .pre = pre};
    must(tokenizer_new(&t, &v, "small", NULL) == ST_OK, "no small vocabulary");
    return t;
}

/* The first byte chooses the vocabulary, the second the flags. */
static void fuzz_text(const uint8_t *s, size_t n)
{
    static struct tokenizer *made[128]; /* kept: what is checked is encoding */
    size_t rows;
    const struct pretokenize_row *row = pretokenize_rows(&rows);
    must(rows < 128, "too many pre-tokenizers");
    size_t i = n ? s[0] % (rows + 1) : rows;
    if (!made[i])
        made[i] = i < rows ? small_bytes(row[i].name) : small_pieces();
    encode(made[i], n > 1 ? s[1] & (TOKENIZER_SPECIAL | TOKENIZER_CONTINUE) : 0, s, n);
}

/* ---- files */

static void use(struct tokenizer *t, enum status s, const struct err *e)
{
    static const char text[] = "Once upon a time,  there's 1234 tëxt \u6771\u4eac\n\t<s></s>\xff\u2581 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";
    check_error(s, e);
    must((t != NULL) == (s == ST_OK), "a failure leaves a tokenizer");
    for (unsigned flags = 0; t && flags < 8; flags++)
        encode(t, flags, (const uint8_t *)text, sizeof text - 1);
    tokenizer_free(t);
}

static enum status open_bytes(struct tokenizer **t, const struct file_text *f, struct err *e)
{
    char path[64];
    int fd = memfd_create("fuzz", 0);
    must(fd >= 0 && write(fd, f->text, f->bytes) == (ssize_t)f->bytes, "no file in memory");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    enum status s = tokenizer_open(t, path, e);
    close(fd);
    return s;
}

static const char tiny_json[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}", tiny_encoder[] = "{\"a\":0,\"b\":1,\"ab\":2}";

void fuzz_tokenizer(const uint8_t *data, size_t size)
{
    if (!size)
        return;
    int choice = data[0] % 7;
    data++;
    size--;
    char *copy = malloc(size + 1);
    must(copy, "no memory");
    memcpy(copy, data, size);
    copy[size] = '\0';
    struct file_text f = {"file", copy, size}, json = {"json", (char *)tiny_json, sizeof tiny_json - 1},
                     encoder = {"encoder", (char *)tiny_encoder, sizeof tiny_encoder - 1}, merges = {"merges", "a b\n", 4};
    struct err e = {0};
    struct tokenizer *t = NULL;
    enum status s = ST_OK;
    if (choice == 0)
        fuzz_text((const uint8_t *)copy, size);
    else {
        s = choice == 1   ? tok_from_llama2c(&t, &f, &e)
            : choice == 2 ? tok_from_json(&t, &f, NULL, &e)
            : choice == 3 ? tok_from_json(&t, &json, &f, &e)
            : choice == 4 ? tok_from_pair(&t, &f, &merges, &e)
            : choice == 5 ? tok_from_pair(&t, &encoder, &f, &e)
                          : open_bytes(&t, &f, &e);
        use(t, tok_one_line(s, &e), &e);
    }
    free(copy);
}
