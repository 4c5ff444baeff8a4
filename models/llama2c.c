/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "llama2c.h"

#include <math.h>
#include <string.h>

#include "infile.h"

enum { MAGIC = 0x616b3432, HEADER_0 = 28, HEADER_2 = 256 }; /* "24ka" as bytes stand */

struct reader {
    struct infile file;
    struct model_config c;
    int version, group;
    uint64_t at; /* of the next tensor */
};

/* q and k in the file's order of rows, for one layer. */
static const enum lin kinds[] = {LIN_Q, LIN_K, LIN_V, LIN_O, LIN_GATE, LIN_DOWN, LIN_UP};
enum { KINDS = sizeof kinds / sizeof *kinds };

static int32_t int_at(const unsigned char *p)
{
    return (int32_t)((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
}

static enum status read_dimensions(struct reader *r, const unsigned char *p, struct err *e)
{
    int vocab = int_at(p + 20), heads = int_at(p + 12);
    r->c = (struct model_config){.dim = int_at(p), .ffn = int_at(p + 4), .layers = int_at(p + 8), .heads = heads, .kv_heads = int_at(p + 16)};
    r->c.tied = vocab > 0;
    r->c.vocab = vocab < 0 && vocab != INT32_MIN ? -vocab : vocab;
    r->c.context = int_at(p + 24);
    r->c.head_dim = heads > 0 ? r->c.dim / heads : 0;
    r->c.rope_base = 10000.0f;
    r->c.norm_eps = 1e-5f;
    struct err why = {0};
    if (config_check(&r->c, &why) != ST_OK)
        return fail(e, ST_EFORMAT, "%s: no llama2.c checkpoint: %s", r->file.path, why.text);
    return ST_OK;
}

static enum status read_header_2(struct reader *r, struct err *e)
{
    unsigned char h[HEADER_2];
    enum status s = infile_read(&r->file, h, sizeof h, 0, e);
    if (s != ST_OK)
        return s;
    r->version = int_at(h + 4);
    if (r->version != 2)
        return fail(e, ST_EUNSUPPORTED, "%s: llama2.c checkpoint of version %d; export it as version 0 or 2", r->file.path, r->version);
    if ((s = read_dimensions(r, h + 8, e)) != ST_OK)
        return s;
    r->c.tied = h[36];
    r->group = int_at(h + 37);
    r->at = HEADER_2;
    if (r->group < 1 || r->c.dim % r->group || r->c.ffn % r->group)
        return fail(e, ST_EFORMAT, "%s: groups of %d weights do not divide its widths %d and %d", r->file.path, r->group, r->c.dim, r->c.ffn);
    return ST_OK;
}

static enum status read_header(struct reader *r, struct err *e)
{
    unsigned char h[HEADER_0];
    enum status s = infile_read(&r->file, h, sizeof h, 0, e);
    if (s != ST_OK)
        return s;
    if (int_at(h) == MAGIC)
        return read_header_2(r, e);
    r->at = HEADER_0;
    return read_dimensions(r, h, e);
}

static uint64_t expected_bytes(const struct reader *r)
{
    const struct model_config *c = &r->c;
    uint64_t parameters = config_parameters(c), norms = (2 * (uint64_t)c->layers + 1) * (uint64_t)c->dim;
    if (r->version == 2)
        return HEADER_2 + 4 * norms + (parameters - norms) + (parameters - norms) / (uint64_t)r->group * 4;
    return HEADER_0 + 4 * (parameters + (uint64_t)c->context * (uint64_t)c->head_dim);
}

static enum status open_reader(struct reader *r, const char *path, struct err *e)
{
    *r = (struct reader){0};
    enum status s = infile_open(&r->file, path, e);
    if (s == ST_OK)
        s = read_header(r, e);
    if (s == ST_OK && expected_bytes(r) != r->file.bytes)
        s = fail(e, ST_EFORMAT, "%s: %llu bytes, but a llama2.c checkpoint with its header has %llu: truncated, or something else", path,
                 (unsigned long long)r->file.bytes, (unsigned long long)expected_bytes(r));
    if (s != ST_OK)
        infile_close(&r->file);
    return s;
}

bool llama2c_is(const char *path)
{
    struct reader r;
    unsigned char h[4];
    if (infile_open(&r.file, path, NULL) != ST_OK)
        return false;
    bool magic = infile_read(&r.file, h, sizeof h, 0, NULL) == ST_OK && int_at(h) == MAGIC;
    infile_close(&r.file);
    if (magic)
        return true;
    if (open_reader(&r, path, NULL) != ST_OK)
        return false;
    infile_close(&r.file);
    return true;
}

static enum status check_finite(const struct reader *r, const char *what, const float *w, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(w[i]))
            return fail(e, ST_EFORMAT, "%s: %s: a weight is infinite or not a number", r->file.path, what);
    return ST_OK;
}

static enum status read_floats(struct reader *r, float *w, size_t n, struct err *e)
{
    enum status s = infile_read(&r->file, w, n * sizeof *w, r->at, e);
    r->at += n * sizeof *w;
    return s;
}

static enum status read_groups(struct reader *r, float *w, size_t n, struct err *e)
{
    size_t groups = n / (size_t)r->group;
    int8_t *codes = mem_alloc(n, 1);
    float *scales = mem_alloc(groups, sizeof *scales);
    enum status s = codes && scales ? ST_OK : fail(e, ST_ENOMEM, "%s: no memory for the codes of a tensor", r->file.path);
    if (s == ST_OK)
        s = infile_read(&r->file, codes, n, r->at, e);
    if (s == ST_OK)
        s = infile_read(&r->file, scales, groups * sizeof *scales, r->at + n, e);
    for (size_t i = 0; s == ST_OK && i < n; i++)
        w[i] = scales[i / (size_t)r->group] * (float)codes[i];
    r->at += n + groups * sizeof *scales;
    mem_free(codes);
    mem_free(scales);
    return s;
}

static enum status read_matrix(struct reader *r, const char *what, float *w, size_t n, struct err *e)
{
    enum status s = r->version == 2 ? read_groups(r, w, n, e) : read_floats(r, w, n, e);
    return s == ST_OK ? check_finite(r, what, w, n, e) : s;
}

static enum status read_norm(struct reader *r, const char *what, float *w, struct err *e)
{
    enum status s = read_floats(r, w, (size_t)r->c.dim, e);
    return s == ST_OK ? check_finite(r, what, w, (size_t)r->c.dim, e) : s;
}

/* Row 2 i + s of every head goes to row i + s * head_dim / 2. */
static enum status halve_pairs(const struct reader *r, float *w, int rows, struct err *e)
{
    size_t cols = (size_t)r->c.dim;
    int head = r->c.head_dim;
    float *room = mem_alloc((size_t)head * cols, sizeof *room);
    if (!room)
        return fail(e, ST_ENOMEM, "%s: no memory to reorder the rows of a head", r->file.path);
    for (int h = 0; h < rows; h += head, w += (size_t)head * cols) {
        memcpy(room, w, (size_t)head * cols * sizeof *w);
        for (int i = 0; i < head; i++)
            memcpy(w + (size_t)(i / 2 + i % 2 * (head / 2)) * cols, room + (size_t)i * cols, cols * sizeof *w);
    }
    mem_free(room);
    return ST_OK;
}

static enum status read_kind(struct reader *r, struct weights *w, enum lin lin, struct err *e)
{
    int rows, cols;
    enum status s = ST_OK;
    lin_shape(&r->c, lin, &rows, &cols);
    for (int l = 0; s == ST_OK && l < r->c.layers; l++) {
        float *to = w->layer[l].linear[lin];
        s = read_matrix(r, lin_names[lin], to, (size_t)rows * (size_t)cols, e);
        if (s == ST_OK && (lin == LIN_Q || lin == LIN_K))
            s = halve_pairs(r, to, rows, e);
    }
    return s;
}

static enum status read_norms(struct reader *r, struct weights *w, bool ffn, struct err *e)
{
    enum status s = ST_OK;
    for (int l = 0; s == ST_OK && l < r->c.layers; l++)
        s = read_norm(r, ffn ? "ffn norm" : "attention norm", ffn ? w->layer[l].ffn_norm : w->layer[l].attn_norm, e);
    return s;
}

static enum status read_0(struct reader *r, struct weights *w, struct err *e)
{
    size_t embed = (size_t)r->c.vocab * (size_t)r->c.dim;
    enum status s = read_matrix(r, "embedding", w->embed, embed, e);
    if (s == ST_OK)
        s = read_norms(r, w, false, e);
    for (int i = 0; s == ST_OK && i < KINDS; i++) {
        if (kinds[i] == LIN_GATE)
            s = read_norms(r, w, true, e);
        if (s == ST_OK)
            s = read_kind(r, w, kinds[i], e);
    }
    if (s == ST_OK)
        s = read_norm(r, "last norm", w->norm, e);
    r->at += 4 * (uint64_t)r->c.context * (uint64_t)r->c.head_dim; /* the rotary tables */
    return s == ST_OK && !r->c.tied ? read_matrix(r, "head", w->head, embed, e) : s;
}

static enum status read_2(struct reader *r, struct weights *w, struct err *e)
{
    size_t embed = (size_t)r->c.vocab * (size_t)r->c.dim;
    enum status s = read_norms(r, w, false, e);
    if (s == ST_OK)
        s = read_norms(r, w, true, e);
    if (s == ST_OK)
        s = read_norm(r, "last norm", w->norm, e);
    if (s == ST_OK)
        s = read_matrix(r, "embedding", w->embed, embed, e);
    for (int i = 0; s == ST_OK && i < KINDS; i++)
        s = read_kind(r, w, kinds[i], e);
    return s == ST_OK && !r->c.tied ? read_matrix(r, "head", w->head, embed, e) : s;
}

enum status llama2c_read(struct weights **out, const char *path, struct err *e)
{
    struct reader r;
    *out = NULL;
    enum status s = open_reader(&r, path, e);
    if (s != ST_OK)
        return s;
    struct weights *w = weights_alloc(&r.c, e);
    s = !w ? ST_ENOMEM : r.version == 2 ? read_2(&r, w, e) : read_0(&r, w, e);
    infile_close(&r.file);
    if (s == ST_OK)
        *out = w;
    else
        weights_free(w);
    return s;
}
