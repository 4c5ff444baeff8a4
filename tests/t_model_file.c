/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "gguf_bytes.h"
#include "model_file.h"
#include "tiny.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

enum { SEED = 21 };

static struct fixture folder;
static struct bytes b; /* the file being put together */

static int open_folder(void **state) { return fixture_open(&folder); }
static int remove_folder(void **state) { return fixture_remove(&folder, ""); }

static const char *in_folder(const char *name)
{
    static char path[4][256];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder.root, name);
    return path[turn];
}

/* ---- Hugging Face folders, put together here */

static void put_element(float x, const char *dtype)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (!strcmp(dtype, "F32"))
        put_int(&b, bits, 4);
    else
        put_int(&b, !strcmp(dtype, "F16") ? fp16_from_float(x) : bits >> 16, 2);
}

/* Every `step`th tensor from `first`, so that two calls make two shards. odd: one more blank in the header, so that data is not aligned. */
static void put_safetensors(const char *name, const struct weights *w, const char *dtype, int first, int step, bool odd)
{
    static char header[1 << 16];
    size_t at = 0, element = strcmp(dtype, "F32") ? 2 : 4;
    int n = sprintf(header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = first; i < weights_tensors(&w->config); i += step) {
        struct tensor t = weights_tensor(w, i);
        size_t bytes = (size_t)t.rows * (size_t)t.cols * element;
        n += sprintf(header + n, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%d", t.name, dtype, t.rows);
        n += t.rank == 2 ? sprintf(header + n, ",%d", t.cols) : 0;
        n += sprintf(header + n, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes);
        at += bytes;
    }
    n += sprintf(header + n, "}");
    while (n % 8 != (odd ? 1 : 0))
        header[n++] = ' ';
    b.n = 0;
    put_int(&b, (uint64_t)n, 8);
    put(&b, header, (size_t)n);
    for (int i = first; i < weights_tensors(&w->config); i += step) {
        struct tensor t = weights_tensor(w, i);
        for (int k = 0; k < t.rows * t.cols; k++)
            put_element(t.data[k], dtype);
    }
    assert_true(bytes_save(&b, in_folder(name), b.n));
}

#define CONFIG(more) \
    "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_act\":\"silu\",\"hidden_size\":48,\"intermediate_size\":52," \
    "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"vocab_size\":300,\"max_position_embeddings\":32," \
    "\"rms_norm_eps\":1e-05,\"rope_theta\":10000.0" more "}"

static void put_config(const char *text) { assert_int_equal(fixture_write(&folder, "/config.json", "%s", text), 0); }

/* A vocabulary of the 256 bytes and two merges. */
static void put_tokenizer(void)
{
    char text[16384];
    int n = sprintf(text, "{\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (int i = 0; i < 256; i++) { /* GPT-2's spelling: bytes that cannot be printed are characters from 256 on, in order */
        static int next;
        bool shown = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
        int code = shown ? i : 256 + (i ? next : (next = 0));
        next += !shown;
        n += sprintf(text + n, "%s\"\\u%04x\":%d", i ? "," : "", code, i);
    }
    sprintf(text + n, ",\"th\":256,\"the\":257},\"merges\":[\"t h\",\"th e\"]},\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                      "\"use_regex\":true},\"decoder\":{\"type\":\"ByteLevel\"}}");
    assert_int_equal(fixture_write(&folder, "/tokenizer.json", "%s", text), 0);
}

static void clear(void)
{
    static const char *const names[] = {"config.json", "tokenizer.json", "model.safetensors", "model.safetensors.index.json", "a.safetensors",
                                        "b.safetensors", "native.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        remove(in_folder(names[i]));
}

static float rounded(float x, const char *dtype)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= 0xffff0000u;
    if (!strcmp(dtype, "F16"))
        return fp16_round(x);
    if (!strcmp(dtype, "BF16"))
        memcpy(&x, &bits, sizeof x);
    return x;
}

static void expect_weights(const char *path, const struct weights *w, const char *dtype, struct checkpoint *c)
{
    struct err e = {0};
    if (model_load(c, path, NULL, &e) != ST_OK)
        fail_msg("%s", e.text);
    assert_int_equal(c->weights->count, w->count);
    for (size_t i = 0; i < w->count; i++)
        if (c->weights->data[i] != rounded(w->data[i], dtype))
            fail_msg("%s, weight %zu: %g, not %g", dtype, i, (double)c->weights->data[i], (double)rounded(w->data[i], dtype));
}

static void folders_are_read(void **state)
{
    static const char *const dtypes[] = {"F32", "F16", "BF16"};
    for (int i = 0; i < 6; i++) {
        bool tied = i % 2;
        struct weights *w = tiny_weights(tied, SEED);
        struct checkpoint c;
        clear();
        put_config(tied ? CONFIG(",\"tie_word_embeddings\":true") : CONFIG(",\"head_dim\":12,\"rope_scaling\":null"));
        put_safetensors("model.safetensors", w, dtypes[i / 2], 0, 1, true);
        assert_string_equal(model_file_kind(folder.root), "hugging-face");
        assert_string_equal(model_file_kind(in_folder("model.safetensors")), "hugging-face");
        expect_weights(folder.root, w, dtypes[i / 2], &c);
        assert_int_equal(c.weights->config.kv_heads, 2);
        assert_int_equal(c.weights->config.context, 32);
        assert_true(c.weights->config.norm_eps == 1e-5f);
        assert_null(c.tokenizer);
        assert_non_null(json_object_get(c.provenance, "no_tokenizer"));
        checkpoint_close(&c);
        weights_free(w);
    }
}

static void shards_are_read(void **state)
{
    struct weights *w = tiny_weights(false, SEED);
    struct checkpoint c;
    struct err e = {0};
    clear();
    put_config(CONFIG(""));
    put_safetensors("a.safetensors", w, "F32", 0, 2, false);
    put_safetensors("b.safetensors", w, "F32", 1, 2, true);
    fixture_write(&folder, "/model.safetensors.index.json", "{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"b.safetensors\",\"z\":\"a.safetensors\"}}");
    expect_weights(folder.root, w, "F32", &c);
    checkpoint_close(&c);
    fixture_write(&folder, "/model.safetensors.index.json", "{\"weight_map\":{\"x\":\"a.safetensors\"}}");
    assert_int_equal(model_load(&c, folder.root, NULL, &e), ST_EFORMAT);
    assert_non_null(strstr(e.text, "missing"));
    e = (struct err){0};
    fixture_write(&folder, "/model.safetensors.index.json", "{\"weight_map\":{\"x\":\"../a.safetensors\"}}");
    assert_int_equal(model_load(&c, folder.root, NULL, &e), ST_EFORMAT);
    assert_non_null(strstr(e.text, "same folder"));
    weights_free(w);
}

static void what_is_not_computed_is_refused_by_name(void **state)
{
    static const struct {
        const char *config, *word;
        enum status status;
    } bad[] = {
        {CONFIG(",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0}"), "rope_scaling", ST_EUNSUPPORTED},
        {CONFIG(",\"rope_parameters\":{\"rope_type\":\"llama3\"}"), "llama3", ST_EUNSUPPORTED},
        {CONFIG(",\"attention_bias\":true"), "attention_bias", ST_EUNSUPPORTED},
        {CONFIG(",\"quantization_config\":{}"), "quantization_config", ST_EUNSUPPORTED},
        {CONFIG(",\"head_dim\":16"), "head_dim", ST_EUNSUPPORTED},
        {"{\"architectures\":[\"MistralForCausalLM\"]}", "MistralForCausalLM", ST_EUNSUPPORTED},
        {"{\"model_type\":\"gpt2\"}", "gpt2", ST_EUNSUPPORTED},
        {"{\"model_type\":\"llama\"}", "num_hidden_layers", ST_EFORMAT},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":1.5}", "num_hidden_layers", ST_EFORMAT},
        {"{\"model_type\":", "config.json:1", ST_EFORMAT},
        {"[]", "not an object", ST_EFORMAT},
    };
    struct weights *w = tiny_weights(false, SEED);
    clear();
    put_safetensors("model.safetensors", w, "F32", 0, 1, false);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct checkpoint c;
        struct err e = {0};
        put_config(bad[i].config);
        if (model_load(&c, folder.root, NULL, &e) != bad[i].status || !strstr(e.text, bad[i].word))
            fail_msg("%s: %s", bad[i].word, e.text);
        assert_null(c.weights);
        assert_null(strchr(e.text, '\n'));
    }
    weights_free(w);
}

/* What the tokenizer of a folder encodes, the native file encodes. */
static void a_tokenizer_comes_along(void **state)
{
    static const char text[] = "the thin other\xff thé";
    struct weights *w = tiny_weights(true, SEED);
    struct checkpoint c, again;
    struct id_list first = {0}, second = {0};
    clear();
    put_config(CONFIG(",\"tie_word_embeddings\":true"));
    put_safetensors("model.safetensors", w, "F32", 0, 1, false);
    put_tokenizer();
    expect_weights(folder.root, w, "F32", &c);
    assert_non_null(c.tokenizer);
    char hash[17];
    memcpy(hash, c.hash, sizeof hash);
    assert_int_equal(checkpoint_save(&c, in_folder("native.safetensors"), NULL), ST_OK);
    assert_string_equal(c.hash, hash); /* the hash that it was given before there was a native file */
    assert_string_equal(model_file_kind(c.path), "native");
    assert_int_equal(model_load(&again, c.path, NULL, NULL), ST_OK);
    assert_string_equal(again.hash, hash);
    assert_string_equal(tokenizer_hash(again.tokenizer), tokenizer_hash(c.tokenizer));
    assert_int_equal(tokenizer_encode(c.tokenizer, text, sizeof text - 1, 0, &first, NULL), ST_OK);
    assert_int_equal(tokenizer_encode(again.tokenizer, text, sizeof text - 1, 0, &second, NULL), ST_OK);
    assert_int_equal(first.id[0], 257);
    assert_int_equal(first.count, second.count);
    assert_memory_equal(first.id, second.id, first.count * sizeof *first.id);
    id_list_free(&first);
    id_list_free(&second);
    checkpoint_close(&c);
    checkpoint_close(&again);
    weights_free(w);
}

/* ---- every kind of tokenizer as one text */

static void expect_same(const struct vocab *v)
{
    struct tokenizer *t, *again;
    struct err e = {0};
    if (tokenizer_new(&t, v, "test", &e) != ST_OK)
        fail_msg("%s", e.text);
    char *text = tokenizer_save(t);
    assert_non_null(text);
    if (tokenizer_load(&again, text, &e) != ST_OK)
        fail_msg("%s: %s", e.text, text);
    char *twice = tokenizer_save(again);
    assert_string_equal(text, twice);
    assert_string_equal(tokenizer_hash(t), tokenizer_hash(again));
    for (size_t n = strlen(text) - 1; n > 0; n -= n / 7 + 1) { /* cut anywhere: refused */
        struct tokenizer *cut;
        text[n] = '\0';
        assert_int_not_equal(tokenizer_load(&cut, text, NULL), ST_OK);
        assert_null(cut);
    }
    free(text);
    free(twice);
    tokenizer_free(t);
    tokenizer_free(again);
}

static void tokenizers_survive_as_text(void **state)
{
    static struct piece piece[262];
    static char names[256][8];
    for (int i = 0; i < 256; i++) {
        sprintf(names[i], "<0x%02X>", i);
        piece[3 + i] = (struct piece){.text = names[i], .bytes = 6, .type = PIECE_BYTE};
    }
    piece[0] = (struct piece){.text = "<unk>", .bytes = 5, .type = PIECE_UNKNOWN};
    piece[1] = (struct piece){.text = "<s>", .bytes = 3, .type = PIECE_CONTROL, .lstrip = true};
    piece[2] = (struct piece){.text = "</s>", .bytes = 4, .type = PIECE_CONTROL, .rstrip = true};
    piece[259] = (struct piece){.text = "\xe2\x96\x81" "a", .bytes = 4, .type = PIECE_NORMAL, .score = -1.1f};
    piece[260] = (struct piece){.text = "a\xff", .bytes = 2, .type = PIECE_CONTROL, .score = 1e-30f}; /* not UTF-8 */
    piece[261] = (struct piece){.text = "b\0c\"", .bytes = 4, .type = PIECE_USER, .score = -3.3333333f};
    struct vocab v = {.kind = TOKENIZER_PIECES, .count = 262, .piece = piece, .scored = true, .bos = 1, .eos = 2, .unk = 0, .add_bos = true,
                      .space_prefix = true, .prefix_unless = true};
    expect_same(&v);
    v.add_eos = v.nfc = v.prefix_once = true;
    v.prefix_unless = v.space_prefix = false;
    expect_same(&v);
}

static void broken_texts_are_refused(void **state)
{
    static const char *const bad[] = {
        "{}", "{\"kind\":\"words\",\"bos\":-1,\"eos\":-1,\"unk\":-1}",
        "{\"kind\":\"pieces\",\"bos\":-1,\"eos\":-1,\"unk\":-1,\"rules\":[\"new\"],\"text\":[\"a\"],\"type\":\"1\",\"merge\":[]}",
        "{\"kind\":\"pieces\",\"bos\":-1,\"eos\":-1,\"unk\":-1,\"rules\":[],\"text\":[\"a\"],\"type\":\"11\",\"merge\":[]}",
        "{\"kind\":\"pieces\",\"bos\":-1,\"eos\":-1,\"unk\":-1,\"rules\":[],\"text\":[[256]],\"type\":\"1\",\"merge\":[]}",
        "{\"kind\":\"pieces\",\"bos\":-1,\"eos\":-1,\"unk\":-1,\"rules\":[],\"text\":[\"a\"],\"type\":\"9\",\"merge\":[]}",
        "{\"kind\":\"pieces\",\"bos\":7,\"eos\":-1,\"unk\":-1,\"rules\":[],\"text\":[\"a\"],\"type\":\"1\",\"merge\":[]}",
        "{\"kind\":\"pieces\",\"bos\":-1,\"eos\":-1,\"unk\":-1,\"rules\":[],\"text\":[\"a\"],\"type\":\"1\",\"merge\":[0,0]}",
        "{\"kind\":\"bytes\",\"bos\":-1,\"eos\":-1,\"unk\":-1,\"rules\":[],\"text\":[\"a\"],\"type\":\"1\",\"merge\":[]}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tokenizer *t;
        struct err e = {0};
        if (tokenizer_load(&t, bad[i], &e) == ST_OK)
            fail_msg("taken: %s", bad[i]);
        assert_null(t);
        assert_true(e.text[0] && !strchr(e.text, '\n'));
    }
}

/* ---- names, and what is nothing */

static void names_fit_keys(void **state)
{
    char name[41];
    model_file_name(name, "some/where/tiny llama-1.1b.Q4_0.gguf");
    assert_string_equal(name, "tiny_llama_1_1b_Q4_0");
    model_file_name(name, "stories260K.bin");
    assert_string_equal(name, "stories260K");
    model_file_name(name, "a-name-that-is-much-longer-than-forty-characters-are.bin");
    assert_int_equal(strlen(name), 40);
}

static void what_is_no_model_is_refused(void **state)
{
    static const struct {
        const char *name, *word;
    } bad[] = {{"text", "not a model"}, {"empty", "not a model"}, {"absent", "No such file"}, {"none", "config.json"}};
    fixture_write(&folder, "/text", "just words, longer than a header of any kind would be\n");
    fixture_write(&folder, "/empty", "%s", "");
    fixture_folder(&folder, "/none");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct checkpoint c;
        struct err e = {0};
        assert_int_not_equal(model_load(&c, in_folder(bad[i].name), NULL, &e), ST_OK);
        assert_non_null(strstr(e.text, bad[i].word));
        assert_null(c.weights);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_are_read),
        cmocka_unit_test(shards_are_read),
        cmocka_unit_test(what_is_not_computed_is_refused_by_name),
        cmocka_unit_test(a_tokenizer_comes_along),
        cmocka_unit_test(tokenizers_survive_as_text),
        cmocka_unit_test(broken_texts_are_refused),
        cmocka_unit_test(names_fit_keys),
        cmocka_unit_test(what_is_no_model_is_refused),
    };
    return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
