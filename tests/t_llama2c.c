/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "gguf_bytes.h"
#include "infer.h"
#include "llama2c.h"
#include "tiny.h"
#include "tokenizer.h"
#include "vec.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

enum { SEED = 11, CONTEXT = 512, GROUP = 4 };

static struct fixture folder;
static struct bytes b; /* the file being put together */

static int open_folder(void **state) { return fixture_open(&folder); }
static int remove_folder(void **state) { return fixture_remove(&folder, ""); }

static const char *saved(size_t n)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/model.bin", folder.root);
    assert_true(bytes_save(&b, path, n));
    return path;
}

static void put_config(const struct model_config *c)
{
    const int fields[] = {c->dim, c->ffn, c->layers, c->heads, c->kv_heads, c->tied ? c->vocab : -c->vocab, c->context};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        put_int(&b, (uint32_t)fields[i], 4);
}

/* n weights as floats, or as codes and then scales. */
static void put_weights(const float *w, size_t n, bool coded)
{
    for (size_t i = 0; i < n && !coded; i++)
        put_f32(&b, w[i]);
    for (size_t i = 0; i < n && coded; i++)
        put_int(&b, (uint8_t)(int8_t)w[i], 1);
    for (size_t i = 0; i < n / GROUP && coded; i++)
        put_f32(&b, 1);
}

/* One layer's matrix, q and k with the halves of every head interleaved, as the format has them. */
static void put_matrix(const struct weights *w, int layer, enum lin lin, bool coded)
{
    int rows, cols, head = w->config.head_dim;
    lin_shape(&w->config, lin, &rows, &cols);
    float *out = mem_alloc((size_t)rows * (size_t)cols, sizeof *out);
    for (int r = 0; r < rows; r++) {
        int i = r % head, from = lin == LIN_Q || lin == LIN_K ? r - i + i / 2 + (i % 2 ? head / 2 : 0) : r;
        memcpy(out + r * cols, w->layer[layer].linear[lin] + from * cols, (size_t)cols * sizeof *out);
    }
    put_weights(out, (size_t)rows * (size_t)cols, coded);
    mem_free(out);
}

static void put_kind(const struct weights *w, enum lin lin, bool coded)
{
    for (int l = 0; l < w->config.layers; l++)
        put_matrix(w, l, lin, coded);
}

static void put_norms(const struct weights *w, bool ffn)
{
    for (int l = 0; l < w->config.layers; l++)
        put_weights(ffn ? w->layer[l].ffn_norm : w->layer[l].attn_norm, (size_t)w->config.dim, false);
}

static void put_version_0(const struct weights *w)
{
    static const enum lin after[] = {LIN_GATE, LIN_DOWN, LIN_UP};
    const struct model_config *c = &w->config;
    b.n = 0;
    put_config(c);
    put_weights(w->embed, (size_t)c->vocab * (size_t)c->dim, false);
    put_norms(w, false);
    for (int i = LIN_Q; i <= LIN_O; i++)
        put_kind(w, (enum lin)i, false);
    put_norms(w, true);
    for (int i = 0; i < 3; i++)
        put_kind(w, after[i], false);
    put_weights(w->norm, (size_t)c->dim, false);
    for (int i = 0; i < c->context * c->head_dim; i++)
        put_f32(&b, NAN); /* rotary tables: never looked at */
    if (!c->tied)
        put_weights(w->head, (size_t)c->vocab * (size_t)c->dim, false);
}

static void put_version_2(const struct weights *w)
{
    static const enum lin order[] = {LIN_Q, LIN_K, LIN_V, LIN_O, LIN_GATE, LIN_DOWN, LIN_UP};
    struct model_config c = w->config;
    bool tied = c.tied;
    b.n = 0;
    c.tied = true; /* the sign says nothing here */
    put_int(&b, 0x616b3432, 4);
    put_int(&b, 2, 4);
    put_config(&c);
    put_int(&b, tied, 1);
    put_int(&b, GROUP, 4);
    put_zeros_to(&b, 256);
    put_norms(w, false);
    put_norms(w, true);
    put_weights(w->norm, (size_t)c.dim, false);
    put_weights(w->embed, (size_t)c.vocab * (size_t)c.dim, true);
    for (int i = 0; i < LIN_COUNT; i++)
        put_kind(w, order[i], true);
    if (!tied)
        put_weights(w->head, (size_t)c.vocab * (size_t)c.dim, true);
}

/* Whole numbers, which survive 8-bit codes of scale 1. */
static struct weights *whole_weights(bool tied)
{
    struct weights *w = tiny_weights(tied, SEED);
    struct rng r;
    rng_seed(&r, SEED);
    for (size_t i = 0; i < w->count; i++)
        w->data[i] = (float)((int)rng_below(&r, 255) - 127);
    return w;
}

static void files_come_back(void **state)
{
    for (int tied = 0; tied < 2; tied++)
        for (int version = 0; version <= 2; version += 2) {
            struct weights *w = whole_weights(tied), *back;
            struct err e = {0};
            (version ? put_version_2 : put_version_0)(w);
            const char *path = saved(b.n);
            assert_true(llama2c_is(path));
            if (llama2c_read(&back, path, &e) != ST_OK)
                fail_msg("%s", e.text);
            assert_int_equal(back->count, w->count);
            assert_memory_equal(back->data, w->data, w->count * sizeof *w->data);
            assert_int_equal(back->config.context, w->config.context);
            assert_int_equal(back->config.tied, tied);
            weights_free(w);
            weights_free(back);
        }
}

static void refused(size_t n, const char *says)
{
    struct weights *w;
    struct err e = {0};
    const char *path = saved(n);
    assert_int_not_equal(llama2c_read(&w, path, &e), ST_OK);
    assert_null(w);
    if (!strstr(e.text, says) || !strstr(e.text, path) || strchr(e.text, '\n'))
        fail_msg("'%s' does not say '%s'", e.text, says);
}

static void broken_files_are_refused(void **state)
{
    struct weights *w = whole_weights(true);
    put_version_0(w);
    refused(b.n - 1, "truncated");
    assert_false(llama2c_is(saved(b.n - 1)));
    refused(10, "cut short");
    size_t weight = 28 + 4 * 77;
    memcpy(b.p + weight, "\xff\xff\xff\x7f", 4);
    refused(b.n, "embedding: a weight is infinite or not a number");
    memcpy(b.p + 8, "\xff\xff\xff\x7f", 4);
    refused(b.n, "layers is 2147483647");
    put_version_2(w);
    memcpy(b.p + 4, "\x01", 1);
    refused(b.n, "version 1");
    put_version_2(w);
    memcpy(b.p + 37, "\x05", 1);
    refused(b.n, "groups of 5 weights do not divide");
    memcpy(b.p + 37, "\0", 1);
    refused(b.n, "groups of 0");
    weights_free(w);
}

/* ---- a real model with known answers: QBENCH_TEST_DATA says where */

static const char *data(const char *name)
{
    static char path[2][512];
    static int turn;
    const char *root = getenv("QBENCH_TEST_DATA");
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", root ? root : "", name);
    FILE *f = root ? fopen(path[turn], "rb") : NULL;
    if (!f) {
        print_message("skipped: needs %s in the folder that QBENCH_TEST_DATA names\n", name);
        skip();
    }
    fclose(f);
    return path[turn];
}

struct stories {
    struct par *par;
    struct weights *w;
    struct qmodel q;
    struct infer *session;
    struct tokenizer *t;
    float *logits;
};

static void stories_open(struct stories *s)
{
    struct err e = {0};
    struct qspec f32 = {.format = FORMAT_F32};
    const char *model = data("stories260K.bin"), *tokens = data("tok512.bin");
    if (par_open(&s->par, 2, &e) != ST_OK || llama2c_read(&s->w, model, &e) != ST_OK || tokenizer_open(&s->t, tokens, &e) != ST_OK ||
        quantize(&s->q, s->w, &f32, NULL, s->par, &e) != ST_OK || infer_open(&s->session, &s->q, NULL, &(struct infer_shape){1, CONTEXT, CONTEXT, KV_F32}, s->par, &e) != ST_OK)
        fail_msg("%s", e.text);
    s->logits = mem_alloc((size_t)CONTEXT * (size_t)s->w->config.vocab, sizeof *s->logits);
    assert_non_null(s->logits);
}

static void stories_close(struct stories *s)
{
    mem_free(s->logits);
    infer_close(s->session);
    qmodel_free(&s->q);
    weights_free(s->w);
    tokenizer_free(s->t);
    par_close(s->par);
}

static void a_story_is_told_to_the_token(void **state)
{
    static const int32_t told[] = {403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401, 396, 267, 337,
                                   410, 408, 419, 292, 411, 322, 265, 282, 295, 433, 426, 385, 328, 432, 358, 394, 261, 370, 432, 352};
    struct stories s;
    stories_open(&s);
    int32_t id = 1; /* BOS */
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        assert_int_equal(infer_forward(s.session, &id, 1, INFER_LAST, s.logits, NULL), ST_OK);
        id = infer_argmax(s.logits, s.w->config.vocab);
        assert_int_equal(id, told[i]);
    }
    stories_close(&s);
}

static double story_nll(struct stories *s, const char *text, size_t n, size_t *targets)
{
    struct id_list ids = {0};
    double sum = 0;
    int vocab = s->w->config.vocab;
    assert_int_equal(tokenizer_encode(s->t, text, n, TOKENIZER_ENDS, &ids, NULL), ST_OK);
    assert_int_equal(ids.id[0], 1);
    int count = ids.count < CONTEXT ? (int)ids.count : CONTEXT;
    infer_reset(s->session);
    assert_int_equal(infer_forward(s->session, ids.id, count, INFER_ALL, s->logits, NULL), ST_OK);
    for (int i = 0; i + 1 < count; i++) {
        const float *l = s->logits + (size_t)i * (size_t)vocab;
        sum += (double)vec_get()->logsumexp(l, vocab) - (double)l[ids.id[i + 1]];
    }
    *targets += (size_t)count - 1;
    id_list_free(&ids);
    return sum;
}

static bool blank(char c) { return c == ' ' || c == '\n'; }

static void stories_score_as_they_are_known_to(void **state)
{
    static char text[1 << 18];
    struct stories s;
    FILE *f = fopen(data("stories100.txt"), "rb");
    size_t n = fread(text, 1, sizeof text - 1, f), targets = 0;
    double sum = 0;
    fclose(f);
    stories_open(&s);
    for (const char *at = text, *end; *at; at = end + strspn(end, "<|endoft>x")) {
        const char *mark = strstr(at, "\n<|endoftext|>\n"), *last = end = mark ? mark + 1 : text + n;
        while (at < last && blank(*at))
            at++;
        while (last > at && blank(last[-1]))
            last--;
        if (last > at)
            sum += story_nll(&s, at, (size_t)(last - at), &targets);
    }
    assert_int_equal(targets, 39439);
    assert_true(fabs(sum / (double)targets - 1.527952) < 1e-4);
    stories_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_come_back),
        cmocka_unit_test(broken_files_are_refused),
        cmocka_unit_test(a_story_is_told_to_the_token),
        cmocka_unit_test(stories_score_as_they_are_known_to),
    };
    return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
