/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "weights.h" /* before cmocka.h, whose macro is called fail too */

#include <cmocka.h>

static struct model_config preset(const char *name)
{
    struct model_config c;
    struct err e = {0};
    if (config_preset(&c, name, &e))
        fail_msg("%s", e.text);
    return c;
}

static void presets_have_their_sizes(void **state)
{
    static const struct {
        const char *name;
        double millions;
        size_t exact;
    } sizes[] = {
        {"1m", 1.0, 1049728},       {"3m", 3.3, 3279104},       {"10m", 10.4, 10425216},      {"30m", 29.8, 29764096},
        {"100m", 100.1, 100092672}, {"350m", 353.7, 353682432}, {"1b", 1034.5, 1034512384},
    };
    int n = 0;
    for (; config_preset_name(n); n++) {
        assert_string_equal(config_preset_name(n), sizes[n].name);
        struct model_config c = preset(sizes[n].name);
        struct err e = {0};
        assert_int_equal(config_check(&c, &e), ST_OK);
        assert_string_equal(c.preset, sizes[n].name);
        assert_int_equal(config_parameters(&c), sizes[n].exact);
        assert_int_equal((int)lround((double)config_parameters(&c) / 1e5), (int)lround(sizes[n].millions * 10));
        assert_int_equal(c.head_dim * c.heads, c.dim);
    }
    assert_int_equal(n, sizeof sizes / sizeof sizes[0]);
    assert_null(config_preset_name(-1));
}

static void unknown_preset_lists_the_known(void **state)
{
    struct model_config c;
    struct err e = {0};
    assert_int_equal(config_preset(&c, "7b", &e), ST_ENOENT);
    for (int i = 0; config_preset_name(i); i++)
        assert_non_null(strstr(e.text, config_preset_name(i)));
    assert_non_null(strstr(e.text, "'7b'"));
}

static void misfits_are_named(void **state)
{
    struct model_config good = preset("1m");
    static const struct {
        size_t offset;
        int value;
        const char *says;
    } bad[] = {
        {offsetof(struct model_config, layers), 0, "layers"},       {offsetof(struct model_config, dim), -128, "dim"},
        {offsetof(struct model_config, ffn), 1 << 20, "ffn"},       {offsetof(struct model_config, heads), 0, "heads"},
        {offsetof(struct model_config, kv_heads), 3, "kv_heads 3"}, {offsetof(struct model_config, head_dim), 16, "head_dim 16"},
        {offsetof(struct model_config, vocab), 1 << 21, "vocab"},   {offsetof(struct model_config, context), 0, "context"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct model_config c = good;
        memcpy((char *)&c + bad[i].offset, &bad[i].value, sizeof(int));
        struct err e = {0};
        assert_int_equal(config_check(&c, &e), ST_EFORMAT);
        assert_non_null(strstr(e.text, bad[i].says));
        e = (struct err){0};
        assert_null(weights_alloc(&c, &e));
        assert_int_equal(e.status, ST_EFORMAT);
    }
    struct model_config odd = good, base = good, eps = good;
    odd.heads = odd.kv_heads = 128;
    odd.head_dim = 1;
    base.rope_base = NAN;
    eps.norm_eps = -1;
    assert_int_equal(config_check(&odd, NULL), ST_EFORMAT);
    assert_int_equal(config_check(&base, NULL), ST_EFORMAT);
    assert_int_equal(config_check(&eps, NULL), ST_EFORMAT);
}

/* Tensors in file order fill the arena without gap or overlap, and the named pointers are theirs. */
static void directory_covers_the_arena(void **state)
{
    for (int tied = 0; tied < 2; tied++) {
        struct model_config c = preset("1m");
        c.tied = tied;
        struct weights *w = weights_alloc(&c, NULL);
        assert_non_null(w);
        assert_int_equal(w->count, config_parameters(&c));
        float *next = w->data;
        int n = weights_tensors(&c);
        for (int i = 0; i < n; i++) {
            struct tensor t = weights_tensor(w, i);
            assert_ptr_equal(t.data, next);
            assert_int_equal(t.decays, t.rank == 2);
            if (t.rank == 1)
                assert_int_equal(t.cols, 1);
            for (int k = 0; k < i; k++)
                assert_string_not_equal(t.name, weights_tensor(w, k).name);
            next += (size_t)t.rows * (size_t)t.cols;
        }
        assert_ptr_equal(next, w->data + w->count);
        assert_ptr_equal(w->embed, w->data);
        assert_int_equal(w->head == w->embed, tied);
        assert_string_equal(weights_tensor(w, n - 1).name, tied ? "model.norm.weight" : "lm_head.weight");
        weights_free(w);
    }
    weights_free(NULL);
}

static void directory_names_what_it_points_to(void **state)
{
    struct model_config c = preset("1m");
    struct weights *w = weights_alloc(&c, NULL);
    assert_non_null(w);
    const struct {
        const char *name;
        const float *data;
        int rows, cols;
    } expect[] = {
        {"model.embed_tokens.weight", w->embed, 2048, 128},
        {"model.layers.0.input_layernorm.weight", w->layer[0].attn_norm, 128, 1},
        {"model.layers.1.self_attn.q_proj.weight", w->layer[1].linear[LIN_Q], 128, 128},
        {"model.layers.1.self_attn.k_proj.weight", w->layer[1].linear[LIN_K], 64, 128},
        {"model.layers.2.self_attn.v_proj.weight", w->layer[2].linear[LIN_V], 64, 128},
        {"model.layers.3.self_attn.o_proj.weight", w->layer[3].linear[LIN_O], 128, 128},
        {"model.layers.3.post_attention_layernorm.weight", w->layer[3].ffn_norm, 128, 1},
        {"model.layers.3.mlp.gate_proj.weight", w->layer[3].linear[LIN_GATE], 384, 128},
        {"model.layers.3.mlp.up_proj.weight", w->layer[3].linear[LIN_UP], 384, 128},
        {"model.layers.3.mlp.down_proj.weight", w->layer[3].linear[LIN_DOWN], 128, 384},
        {"model.norm.weight", w->norm, 128, 1},
    };
    for (size_t k = 0; k < sizeof expect / sizeof expect[0]; k++) {
        int found = 0;
        for (int i = 0; i < weights_tensors(&c); i++) {
            struct tensor t = weights_tensor(w, i);
            if (strcmp(t.name, expect[k].name))
                continue;
            found++;
            assert_ptr_equal(t.data, expect[k].data);
            assert_int_equal(t.rows, expect[k].rows);
            assert_int_equal(t.cols, expect[k].cols);
        }
        assert_int_equal(found, 1);
    }
    weights_free(w);
}

static void check_moments(const struct tensor *t, double sd)
{
    double n = (double)t->rows * t->cols, sum = 0, squares = 0, fourth = 0;
    for (size_t i = 0; i < (size_t)n; i++) {
        double x = (double)t->data[i] / sd;
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
    }
    /* Standard errors of mean, variance and fourth moment of a normal: 1, sqrt(2), sqrt(96) over sqrt(n); six of each. */
    assert_true(fabs(sum / n) < 6 / sqrt(n));
    assert_true(fabs(squares / n - 1) < 6 * sqrt(2 / n));
    assert_true(fabs(fourth / n - 3) < 6 * sqrt(96 / n));
}

static void random_is_gpt2s(void **state)
{
    struct model_config c = preset("1m");
    struct weights *a = weights_alloc(&c, NULL), *b = weights_alloc(&c, NULL);
    assert_true(a && b);
    weights_random(a, 7, NULL);
    for (int i = 0; i < weights_tensors(&c); i++) {
        struct tensor t = weights_tensor(a, i);
        bool residual = strstr(t.name, "o_proj") || strstr(t.name, "down_proj");
        if (t.rank == 2)
            check_moments(&t, residual ? 0.02 / sqrt(2.0 * c.layers) : 0.02);
        else
            for (int k = 0; k < t.rows; k++)
                assert_true(t.data[k] == 1.0f);
    }
    weights_random(b, 8, NULL);
    assert_memory_not_equal(a->data, b->data, a->count * sizeof(float));
    weights_free(a);
    weights_free(b);
}

/* Tensors of several pieces among them. */
static void threads_draw_the_same(void **state)
{
    struct model_config c = preset("3m");
    struct weights *a = weights_alloc(&c, NULL), *b = weights_alloc(&c, NULL);
    assert_true(a && b);
    weights_random(a, 7, NULL);
    for (int threads = 1; threads <= 3; threads++) {
        struct par *p;
        assert_int_equal(par_open(&p, threads, NULL), ST_OK);
        memset(b->data, 0, b->count * sizeof(float));
        weights_random(b, 7, p);
        assert_memory_equal(a->data, b->data, a->count * sizeof(float));
        par_close(p);
    }
    weights_free(a);
    weights_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_have_their_sizes),      cmocka_unit_test(unknown_preset_lists_the_known),
        cmocka_unit_test(misfits_are_named),             cmocka_unit_test(directory_covers_the_arena),
        cmocka_unit_test(directory_names_what_it_points_to), cmocka_unit_test(random_is_gpt2s),
        cmocka_unit_test(threads_draw_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
