/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"
#include "fuzz.h"
#include "gguf_bytes.h"
#include "gguf_llama.h"
#include "quant.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

static struct fixture folder;
static struct par *par;
static struct bytes b;
static char path[128];

static int open_all(void **state)
{
    if (fixture_open(&folder) || par_open(&par, 2, NULL) != ST_OK)
        return -1;
    snprintf(path, sizeof path, "%s/model.gguf", folder.root);
    return 0;
}

static int close_all(void **state)
{
    par_close(par);
    return fixture_remove(&folder, "");
}

static struct model_config config_of(bool tied)
{
    return (struct model_config){.layers = 2, .dim = 64, .ffn = 96, .heads = 4, .kv_heads = 2, .head_dim = 16, .vocab = 300, .context = 40,
                                 .tied = tied, .rope_base = 5000, .norm_eps = 2e-5f};
}

static struct weights *make_weights(bool tied)
{
    struct model_config c = config_of(tied);
    struct weights *w = weights_alloc(&c, NULL);
    assert_non_null(w);
    weights_random(w, 3, NULL);
    for (int i = 0; i < c.dim; i++)
        w->norm[i] = w->layer[1].ffn_norm[i] = 1 + (float)i / 64;
    return w;
}

/* f's vocabulary is filled in. */
static enum status write_file(const struct weights *w, struct gguf_llama_file f, struct err *e)
{
    struct gguf_vocab v;
    assert_int_equal(gguf_vocab_dummy(&v, 300, e), ST_OK);
    f.vocab = &v;
    f.par = par;
    enum status s = gguf_llama_write(path, w, &f, e);
    gguf_vocab_free(&v);
    return s;
}

static struct gguf *write_and_open(const struct weights *w, struct gguf_llama_file f)
{
    struct err e = {0};
    struct gguf *g = NULL;
    if (write_file(w, f, &e) != ST_OK || gguf_open(&g, path, &e) != ST_OK)
        fail_msg("%s", e.text);
    return g;
}

static struct weights *read_back(const struct gguf *g)
{
    struct err e = {0};
    struct weights *w;
    if (gguf_llama_read(&w, g, &e) != ST_OK)
        fail_msg("%s", e.text);
    return w;
}

static void assert_same_config(const struct model_config *x, const struct model_config *y)
{
    assert_true(x->layers == y->layers && x->dim == y->dim && x->ffn == y->ffn && x->heads == y->heads && x->kv_heads == y->kv_heads);
    assert_true(x->head_dim == y->head_dim && x->vocab == y->vocab && x->context == y->context && x->tied == y->tied);
    assert_true(x->rope_base == y->rope_base && x->norm_eps == y->norm_eps);
}

/* ---- there and back */

static void test_f32(void **state)
{
    for (int tied = 0; tied < 2; tied++) {
        struct weights *w = make_weights(tied);
        struct gguf *g = write_and_open(w, (struct gguf_llama_file){.matrices = GTYPE_F32, .embed = GTYPE_F32});
        struct weights *back = read_back(g);
        assert_same_config(&w->config, &back->config);
        assert_int_equal(gguf_tensors(g), tied ? 20 : 21);
        assert_int_equal(!gguf_find_tensor(g, "output.weight"), tied);
        assert_int_equal(w->count, back->count);
        assert_memory_equal(w->data, back->data, w->count * sizeof *w->data);
        weights_free(back);
        weights_free(w);
        gguf_close(g);
    }
}

static void test_halves(void **state)
{
    static const struct {
        enum gtype type;
        float ulp; /* at most half of it is lost */
    } rows[] = {{GTYPE_F16, 0x1p-10f}, {GTYPE_BF16, 0x1p-7f}};
    struct weights *w = make_weights(true);
    for (int r = 0; r < 2; r++) {
        struct gguf *g = write_and_open(w, (struct gguf_llama_file){.matrices = rows[r].type, .embed = GTYPE_F32});
        struct weights *back = read_back(g);
        const float *x = w->layer[1].linear[LIN_K], *y = back->layer[1].linear[LIN_K];
        int differ = 0;
        assert_int_equal(gguf_find_tensor(g, "blk.1.attn_k.weight")->type, rows[r].type);
        assert_int_equal(gguf_find_tensor(g, "blk.1.attn_norm.weight")->type, GTYPE_F32);
        assert_memory_equal(w->embed, back->embed, 300 * 64 * sizeof *w->embed);
        for (int i = 0; i < 32 * 64; i++) {
            assert_true(fabsf(x[i] - y[i]) <= 0.5f * rows[r].ulp * fabsf(x[i]) + 0x1p-25f);
            differ += x[i] != y[i];
        }
        assert_true(differ > 1000);
        weights_free(back);
        gguf_close(g);
    }
    weights_free(w);
}

/* Files pair rows 2i and 2i + 1 of a head for rotation, qbench rows i and i + 8 of its 16. */
static void test_row_order(void **state)
{
    static const int order[16] = {0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15};
    struct weights *w = make_weights(true);
    struct gguf *g = write_and_open(w, (struct gguf_llama_file){.matrices = GTYPE_F32, .embed = GTYPE_F32});
    static const struct {
        const char *name;
        enum lin lin;
        int rows;
        bool turned;
    } cases[] = {{"blk.1.attn_q.weight", LIN_Q, 64, true}, {"blk.1.attn_k.weight", LIN_K, 32, true}, {"blk.1.attn_v.weight", LIN_V, 32, false},
                 {"blk.1.attn_output.weight", LIN_O, 64, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int r = 0; r < cases[i].rows; r++) {
            float row[64];
            int here = cases[i].turned ? r / 16 * 16 + order[r % 16] : r;
            assert_int_equal(gguf_read_floats(g, gguf_find_tensor(g, cases[i].name), (uint64_t)r, 1, row, NULL), ST_OK);
            assert_memory_equal(row, w->layer[1].linear[cases[i].lin] + here * 64, sizeof row);
        }
    gguf_close(g);
    weights_free(w);
}

static void test_names(void **state)
{
    static const char *const pairs[][2] = {
        {"model.embed_tokens.weight", "token_embd.weight"}, {"model.norm.weight", "output_norm.weight"}, {"lm_head.weight", "output.weight"},
        {"model.layers.7.input_layernorm.weight", "blk.7.attn_norm.weight"},
        {"model.layers.12.mlp.gate_proj.weight", "blk.12.ffn_gate.weight"}, {"model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"},
        {"model.layers.3.post_attention_layernorm.weight", "blk.3.ffn_norm.weight"},
    };
    char name[GGUF_MAX_NAME];
    bool turned = true;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        assert_string_equal(gguf_llama_name(pairs[i][0], name, &turned), pairs[i][1]);
        assert_false(turned);
    }
    assert_null(gguf_llama_name("model.layers.3.mlp.router.weight", name, &turned));
    assert_null(gguf_llama_name("model.layers.x.mlp.up_proj.weight", name, &turned));
    assert_null(gguf_llama_name("model", name, &turned));
}

/* ---- codes */

struct coded {
    struct qlinear linear[2 * LIN_COUNT];
};

/* Every layer in int8, int4 or, with shifts that Q4_1 can hold, int4 with an additive shift. */
static struct coded encode(const struct weights *w, enum format format, bool shifted)
{
    struct coded c = {0};
    struct rng r;
    rng_seed(&r, 5);
    for (int i = 0; i < 2 * LIN_COUNT; i++) {
        int rows, cols;
        lin_shape(&w->config, (enum lin)(i % LIN_COUNT), &rows, &cols);
        assert_int_equal(qlinear_alloc(&c.linear[i], format, rows, cols, 32, NULL), ST_OK);
        encode_groups(&c.linear[i], w->layer[i / LIN_COUNT].linear[i % LIN_COUNT], par, grid_widest);
        if (shifted)
            assert_int_equal(qlinear_alloc_shift(&c.linear[i], NULL), ST_OK);
        for (int k = 0; shifted && k < rows * cols / 32; k++) /* so that 8 scales less it is an fp16 number too */
            c.linear[i].plane.shift[k] = c.linear[i].plane.scale[k] * (float[]){0, 4, 8, -8}[rng_below(&r, 4)];
    }
    return c;
}

static void free_coded(struct coded *c)
{
    for (int i = 0; i < 2 * LIN_COUNT; i++)
        qlinear_free(&c->linear[i]);
}

static void assert_same_codes(const struct gguf *g, const struct model_config *config, int i, const struct qlinear *q, const float *read)
{
    struct err e = {0};
    struct qlinear back;
    const float *shift = q->plane.shift;
    int n = q->rows * q->cols;
    if (gguf_llama_codes(g, config, i / LIN_COUNT, (enum lin)(i % LIN_COUNT), &back, &e) != ST_OK)
        fail_msg("%s", e.text);
    assert_true(back.format == q->format && back.rows == q->rows && back.cols == q->cols && back.plane.group == 32 && back.act_gain == 1);
    assert_memory_equal(back.plane.codes, q->plane.codes, n);
    assert_memory_equal(back.plane.scale, q->plane.scale, n / 32 * 4);
    assert_int_equal(!back.plane.shift, !shift);
    if (shift)
        assert_memory_equal(back.plane.shift, shift, n / 32 * 4);
    for (int k = 0; k < n; k++) /* what the file means in floats is what the codes mean */
        assert_true(read[k] == q->plane.scale[k / 32] * (float)q->plane.codes[k] + (shift ? shift[k / 32] : 0.0f));
    qlinear_free(&back);
}

static void test_codes(void **state)
{
    static const struct {
        enum format format;
        bool shifted;
        enum gtype type;
    } rows[] = {{FORMAT_INT8, false, GTYPE_Q8_0}, {FORMAT_INT4, false, GTYPE_Q4_0}, {FORMAT_INT4, true, GTYPE_Q4_1}};
    struct weights *w = make_weights(false);
    for (int r = 0; r < 3; r++) {
        struct coded c = encode(w, rows[r].format, rows[r].shifted);
        struct gguf *g = write_and_open(w, (struct gguf_llama_file){.matrices = GTYPE_F32, .embed = GTYPE_F16, .linear = c.linear});
        struct weights *back = read_back(g);
        assert_int_equal(gguf_find_tensor(g, "blk.0.ffn_down.weight")->type, rows[r].type);
        assert_int_equal(gguf_find_tensor(g, "output.weight")->type, GTYPE_F16);
        for (int i = 0; i < 2 * LIN_COUNT; i++)
            assert_same_codes(g, &w->config, i, &c.linear[i], back->layer[i / LIN_COUNT].linear[i % LIN_COUNT]);
        weights_free(back);
        gguf_close(g);
        free_coded(&c);
    }
    weights_free(w);
}

/* Without codes, integer types are rounded to nearest: the codes of method rtn. */
static void test_rounded(void **state)
{
    struct weights *w = make_weights(true);
    struct coded c = encode(w, FORMAT_INT4, false);
    struct gguf *g = write_and_open(w, (struct gguf_llama_file){.matrices = GTYPE_Q4_0, .embed = GTYPE_Q8_0});
    struct weights *back = read_back(g);
    assert_int_equal(gguf_find_tensor(g, "token_embd.weight")->type, GTYPE_Q8_0);
    for (int i = 0; i < 2 * LIN_COUNT; i++)
        assert_same_codes(g, &w->config, i, &c.linear[i], back->layer[i / LIN_COUNT].linear[i % LIN_COUNT]);
    for (int i = 0; i < 300 * 64; i++) /* within half a step of absmax / 127, and fp16's rounding of it */
        assert_true(fabsf(back->embed[i] - w->embed[i]) < 0.1f / 127);
    weights_free(back);
    gguf_close(g);
    free_coded(&c);
    weights_free(w);
}

static void assert_write_fails(const struct weights *w, struct gguf_llama_file f, enum status status, const char *word)
{
    struct err e = {0};
    enum status s = write_file(w, f, &e);
    if (s != status || !strstr(e.text, word) || !strstr(e.text, path) || strchr(e.text, '\n'))
        fail_msg("status %d '%s'; wanted '%s'", s, e.text, word);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_write_refused(void **state)
{
    struct weights *w = make_weights(true);
    struct coded c = encode(w, FORMAT_INT4, false);
    struct gguf_llama_file f = {.matrices = GTYPE_F32, .embed = GTYPE_F32, .linear = c.linear};
    volatile int stop = 1;
    unlink(path);
    c.linear[LIN_COUNT + LIN_V].act_gain = 1.01f;
    assert_write_fails(w, f, ST_EUNSUPPORTED, "tensor 'blk.1.attn_v.weight': a gain");
    c.linear[LIN_COUNT + LIN_V].act_gain = 1;
    c.linear[LIN_UP].plane.group = 0;
    assert_write_fails(w, f, ST_EUNSUPPORTED, "tensor 'blk.0.ffn_up.weight': one scale for 64 weights");
    c.linear[LIN_UP].plane.group = 32;
    c.linear[LIN_UP].plane.scale[2 * 5 + 1] = 0.1f; /* row 5, second group */
    assert_write_fails(w, f, ST_EUNSUPPORTED, "tensor 'blk.0.ffn_up.weight', row 5: block 1: scale 0.1");
    free_coded(&c);
    f.linear = NULL;
    w->layer[0].linear[LIN_DOWN][7] = NAN;
    assert_write_fails(w, f, ST_EWRONG, "tensor 'blk.0.ffn_down.weight', row 0: weight 7");
    f.matrices = GTYPE_Q8_0;
    assert_write_fails(w, f, ST_EWRONG, "tensor 'blk.0.ffn_down.weight'");
    w->layer[0].linear[LIN_DOWN][7] = 0;
    f.matrices = GTYPE_Q4_K;
    assert_write_fails(w, f, ST_EUSAGE, "only");
    f.matrices = GTYPE_F16;
    f.stop = &stop;
    assert_write_fails(w, f, ST_EINTERRUPTED, "interrupted");
    f.stop = NULL;
    w->config.vocab--;
    assert_write_fails(w, f, ST_EUSAGE, "a vocabulary of 300 tokens beside an embedding of 299");
    weights_free(w);
}

static void test_write_narrow(void **state)
{
    struct model_config c = config_of(true);
    c.ffn = 80; /* no multiple of 32 */
    struct weights *w = weights_alloc(&c, NULL);
    assert_non_null(w);
    unlink(path);
    assert_write_fails(w, (struct gguf_llama_file){.matrices = GTYPE_Q8_0, .embed = GTYPE_F32}, ST_EUNSUPPORTED,
                       "tensor 'blk.0.ffn_down.weight': Q8_0 needs rows of a multiple of 32 weights, and these have 80");
    weights_free(w);
}

/* ---- files of others: dim 8, ffn 4, 2 heads over 1, 1 layer, 3 tokens */

struct oddity {
    const char *key;   /* left out of the file, or replaced */
    const char *text;  /* by this text */
    double number;     /* or this number; NAN: by nothing */
    const char *tensor;/* left out; "+name": one more */
    int embed_rows;    /* 3 unless given */
    float weight;      /* the first of token_embd */
};

static bool is_odd(const struct oddity *o, const char *key) { return o->key && !strcmp(o->key, key); }

static void put_config(const struct oddity *o)
{
    static const struct {
        const char *key;
        uint32_t x;
    } numbers[] = {{"llama.block_count", 1}, {"llama.context_length", 16}, {"llama.embedding_length", 8}, {"llama.feed_forward_length", 4},
                   {"llama.attention.head_count", 2}, {"llama.attention.head_count_kv", 1}};
    put_text_key(&b, is_odd(o, "general.architecture") ? "other" : "general.architecture", "llama");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        put_u32_key(&b, is_odd(o, numbers[i].key) ? "left.out" : numbers[i].key, numbers[i].x);
    put_key(&b, "llama.attention.layer_norm_rms_epsilon", 6), put_f32(&b, 1e-5f);
    put_key(&b, "tokenizer.ggml.tokens", 9), put_int(&b, 8, 4), put_int(&b, 3, 8);
    put_text(&b, "a"), put_text(&b, "b"), put_text(&b, "c");
    if (o->text)
        put_text_key(&b, o->key, o->text);
    else if (o->key && !isnan(o->number))
        put_u32_key(&b, o->key, (uint32_t)o->number);
}

static void put_model(const struct oddity *o)
{
    static const struct {
        const char *name;
        uint64_t cols, rows; /* rows 0: a vector */
    } tensors[] = {{"blk.0.attn_norm.weight", 8, 0}, {"blk.0.attn_q.weight", 8, 8}, {"blk.0.attn_k.weight", 8, 4}, {"blk.0.attn_v.weight", 8, 4},
                   {"blk.0.attn_output.weight", 8, 8}, {"blk.0.ffn_norm.weight", 8, 0}, {"blk.0.ffn_gate.weight", 8, 4},
                   {"blk.0.ffn_up.weight", 8, 4}, {"blk.0.ffn_down.weight", 4, 8}, {"output_norm.weight", 8, 0}};
    uint64_t at = 0, keys = 9 + (o->text || (o->key && !isnan(o->number)));
    int count = (int)(sizeof tensors / sizeof *tensors), rows = o->embed_rows ? o->embed_rows : 3;
    int more = o->tensor ? o->tensor[0] == '+' ? 1 : -1 : 0;
    put_head(&b, 3, (uint64_t)(count + 1 + more), keys);
    put_config(o);
    for (int i = 0; i < count; i++) {
        if (o->tensor && !strcmp(o->tensor, tensors[i].name))
            continue;
        put_tensor(&b, tensors[i].name, 0, tensors[i].rows ? 2 : 1, (uint64_t[]){tensors[i].cols, tensors[i].rows}, at);
        at += 4 * tensors[i].cols * (tensors[i].rows ? tensors[i].rows : 1);
    }
    put_tensor(&b, "token_embd.weight", 0, 2, (uint64_t[]){8, (uint64_t)rows}, at);
    if (more > 0)
        put_tensor(&b, o->tensor + 1, 0, 1, (uint64_t[]){8}, at + 32 * (uint64_t)rows);
    put_zeros_to(&b, 32);
    put(&b, (char[4096]){0}, at);
    put_f32(&b, o->weight);
    put(&b, (char[4096]){0}, 32 * (uint64_t)rows - 4 + 32);
}

static struct gguf *open_model(const struct oddity *o)
{
    struct err e = {0};
    struct gguf *g;
    put_model(o);
    assert_true(bytes_save(&b, path, b.n));
    if (gguf_open(&g, path, &e) != ST_OK)
        fail_msg("%s", e.text);
    return g;
}

static void test_foreign(void **state)
{
    struct gguf *g = open_model(&(struct oddity){.number = NAN, .weight = 0.5f});
    struct weights *w = read_back(g);
    const struct model_config expected = {.layers = 1, .dim = 8, .ffn = 4, .heads = 2, .kv_heads = 1, .head_dim = 4, .vocab = 3, .context = 16,
                                          .tied = true, .rope_base = 10000, .norm_eps = 1e-5f};
    assert_same_config(&w->config, &expected);
    assert_true(w->embed[0] == 0.5f && w->head == w->embed);
    weights_free(w);
    gguf_close(g);
}

static void test_foreign_refused(void **state)
{
    static const struct {
        struct oddity odd;
        enum status status;
        const char *word;
    } rows[] = {
        {{.key = "general.architecture", .number = NAN}, ST_EFORMAT, "key 'general.architecture' is missing"},
        {{.key = "llama.block_count", .number = NAN}, ST_EFORMAT, "key 'llama.block_count' is missing"},
        {{.key = "llama.block_count", .number = 2}, ST_EFORMAT, "tensor 'blk.1.attn_norm.weight' is missing"},
        {{.key = "llama.block_count", .number = 4e9}, ST_EFORMAT, "it must be 1 to 1024"},
        {{.key = "llama.embedding_length", .text = "8"}, ST_EFORMAT, "not a whole number"},
        {{.key = "llama.embedding_length", .number = 10}, ST_EFORMAT, "head_dim 5 is odd"},
        {{.key = "llama.embedding_length", .number = 12}, ST_EFORMAT, "tensor 'token_embd.weight' is 8 x 3; the configuration makes it 12 x 3"},
        {{.key = "llama.attention.head_count", .number = 3}, ST_EFORMAT, "not dim 8"},
        {{.key = "llama.feed_forward_length", .number = 65536}, ST_EFORMAT, "tensor 'blk.0.ffn_gate.weight'"},
        {{.key = "llama.expert_count", .number = 8}, ST_EUNSUPPORTED, "8 experts"},
        {{.key = "llama.rope.dimension_count", .number = 2}, ST_EUNSUPPORTED, "rotary"},
        {{.key = "llama.rope.scaling.type", .text = "yarn"}, ST_EUNSUPPORTED, "rope.scaling"},
        {{.key = "llama.vocab_size", .number = 4}, ST_EFORMAT, "llama.vocab_size is 4, but the embedding has 3 rows"},
        {{.embed_rows = 4}, ST_EFORMAT, "a vocabulary of 3 tokens, but the embedding has 4 rows"},
        {{.tensor = "blk.0.attn_v.weight"}, ST_EFORMAT, "tensor 'blk.0.attn_v.weight' is missing"},
        {{.tensor = "+rope_freqs.weight"}, ST_EUNSUPPORTED, "tensor 'rope_freqs.weight' has no place"},
        {{.tensor = "+output.weight"}, ST_EFORMAT, "tensor 'output.weight' is 8 x 1"},
        {{.weight = INFINITY}, ST_EFORMAT, "tensor 'token_embd.weight': a weight is infinite"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct oddity odd = rows[i].odd;
        struct err e = {0};
        struct weights *w;
        if (!odd.key)
            odd.number = NAN;
        struct gguf *g = open_model(&odd);
        enum status s = gguf_llama_read(&w, g, &e);
        assert_null(w);
        if (s != rows[i].status || !strstr(e.text, rows[i].word) || !strstr(e.text, path) || strchr(e.text, '\n'))
            fail_msg("status %d '%s'; wanted '%s'", s, e.text, rows[i].word);
        gguf_close(g);
    }
}

static void test_other_architecture(void **state)
{
    struct err e = {0};
    struct weights *w;
    put_head(&b, 3, 0, 1);
    put_text_key(&b, "general.architecture", "mam\nba\x7f\xc3\xa4");
    assert_true(bytes_save(&b, path, b.n));
    struct gguf *g;
    assert_int_equal(gguf_open(&g, path, NULL), ST_OK);
    assert_int_equal(gguf_llama_read(&w, g, &e), ST_EUNSUPPORTED);
    assert_non_null(strstr(e.text, "architecture 'mam?ba?\xc3\xa4'"));
    gguf_close(g);
}

/* A file that is read as codes must hold codes. */
static void test_codes_refused(void **state)
{
    struct weights *w = make_weights(true);
    struct gguf *g = write_and_open(w, (struct gguf_llama_file){.matrices = GTYPE_F16, .embed = GTYPE_F32});
    struct err e = {0};
    struct qlinear q;
    assert_int_equal(gguf_llama_codes(g, &w->config, 0, LIN_UP, &q, &e), ST_EUNSUPPORTED);
    assert_non_null(strstr(e.text, "tensor 'blk.0.ffn_up.weight' is F16"));
    assert_null(q.plane.codes);
    gguf_close(g);
    weights_free(w);
}

/* ---- vocabularies */

static void test_dummy_vocab(void **state)
{
    struct gguf_vocab v;
    struct err e = {0};
    assert_int_equal(gguf_vocab_dummy(&v, 258, &e), ST_EUSAGE);
    assert_int_equal(gguf_vocab_dummy(&v, 1000, NULL), ST_OK);
    assert_memory_equal(v.tokens[13].text, "<0x0A>", v.tokens[13].bytes); /* byte tokens begin at 3 */
    assert_true(v.types[0] == 2 && v.types[1] == 3 && v.types[3] == 6 && v.types[258] == 6 && v.types[259] == 1);
    for (int i = 1; i < 1000; i++)
        assert_false(v.tokens[i].bytes == v.tokens[i - 1].bytes && !memcmp(v.tokens[i].text, v.tokens[i - 1].text, v.tokens[i].bytes));
    gguf_vocab_free(&v);
}

static void assert_text(struct gguf_string s, const char *text)
{
    assert_int_equal(s.bytes, strlen(text));
    assert_memory_equal(s.text, text, s.bytes);
}

static void test_bpe_vocab(void **state)
{
    struct bpe *bpe;
    struct gguf_vocab v;
    struct err e = {0};
    assert_int_equal(bpe_load(&bpe, "116 104\n257 101\n32 258\n195 164\n", NULL), ST_OK); /* th, the, " the", a two-byte character */
    assert_int_equal(gguf_vocab_bpe(&v, bpe, &e), ST_OK);
    assert_int_equal(v.count, 261);
    assert_text(v.tokens['A'], "A");
    assert_text(v.tokens[' '], "\xc4\xa0");  /* U+0120 */
    assert_text(v.tokens[0], "\xc4\x80");    /* U+0100 */
    assert_text(v.tokens[0x7f], "\xc4\xa1"); /* U+0121 */
    assert_text(v.tokens[0xad], "\xc5\x83"); /* U+0143, the last of them */
    assert_text(v.tokens[0xff], "\xc3\xbf");
    assert_text(v.tokens[256], "<|endoftext|>");
    assert_text(v.tokens[259], "\xc4\xa0the");
    assert_text(v.tokens[260], "\xc3\x83\xc2\xa4");
    assert_int_equal(v.n_merges, 4);
    assert_text(v.merges[1], "th e");
    assert_text(v.merges[2], "\xc4\xa0 the");
    assert_true(v.types[256] == 3 && v.types[259] == 1 && v.bos == 256);
    gguf_vocab_free(&v);
    bpe_free(bpe);
    assert_int_equal(bpe_load(&bpe, "97 98\n257 99\n98 99\n97 259\n", NULL), ST_OK); /* ab c and a bc */
    assert_int_equal(gguf_vocab_bpe(&v, bpe, &e), ST_EUNSUPPORTED);
    assert_non_null(strstr(e.text, "the same bytes"));
    bpe_free(bpe);
}

/* Real and hostile: a whole model with bytes changed at random. */
static void test_mutations(void **state)
{
    enum { ROUNDS = 3000, SEED = 43 };
    static uint8_t mutant[BYTES_ROOM];
    struct rng r;
    printf("seed %d\n", SEED);
    rng_seed(&r, SEED);
    put_model(&(struct oddity){.number = NAN});
    for (int i = 0; i < ROUNDS; i++) {
        memcpy(mutant, b.p, b.n);
        for (uint32_t k = rng_below(&r, 3); k < 3; k++)
            mutant[rng_below(&r, 1100)] = (uint8_t)(rng_u64(&r) >> rng_below(&r, 60)); /* in the header, mostly */
        fuzz_model(mutant, b.n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),           cmocka_unit_test(test_halves),          cmocka_unit_test(test_row_order),
        cmocka_unit_test(test_names),         cmocka_unit_test(test_codes),           cmocka_unit_test(test_rounded),
        cmocka_unit_test(test_write_refused), cmocka_unit_test(test_write_narrow),    cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_foreign_refused), cmocka_unit_test(test_other_architecture), cmocka_unit_test(test_codes_refused),
        cmocka_unit_test(test_dummy_vocab),   cmocka_unit_test(test_bpe_vocab),       cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
