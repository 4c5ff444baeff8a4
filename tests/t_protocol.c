/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol.h" /* before cmocka.h, whose macro is called fail too */

#include <cmocka.h>

/* qbench's own tokenizer without a merge: a byte is its id, BPE_EOT is BOS. So windows can be written down by hand. */
static struct tokenizer *bytes_tokenizer(bool add_bos)
{
    struct bpe *b;
    struct tokenizer *own, *t;
    assert_int_equal(bpe_load(&b, "", NULL), ST_OK);
    assert_int_equal(tokenizer_from_bpe(&own, b, NULL), ST_OK);
    struct vocab v = *tokenizer_vocab(own);
    v.add_bos = add_bos;
    assert_int_equal(tokenizer_new(&t, &v, "bytes", NULL), ST_OK);
    tokenizer_free(own);
    bpe_free(b);
    return t;
}

static struct windows planned(enum protocol_id id, bool add_bos, struct protocol_text text)
{
    struct tokenizer *t = bytes_tokenizer(add_bos);
    struct windows w;
    struct err e = {0};
    text.bytes = strlen(text.text);
    if (protocol_plan(&w, id, t, &text, &e))
        print_message("%s\n", e.text);
    assert_int_equal(e.status, ST_OK);
    tokenizer_free(t);
    return w;
}

/* "ids>targets" of every window: '^' is BOS, '.' no target. */
static void assert_windows(struct windows w, const char *want)
{
    char got[1024];
    size_t n = 0, targets = 0;
    for (size_t i = 0; i < w.count; i++) {
        int32_t id[64], target[64];
        int length = w.window[i].length;
        targets += (size_t)windows_fill(&w, i, length, id, target);
        n += (size_t)sprintf(got + n, i ? " " : "");
        for (int j = 0; j < length; j++)
            got[n++] = id[j] == BPE_EOT ? '^' : id[j] == '\n' ? '/' : (char)id[j];
        got[n++] = '>';
        for (int j = 0; j < length; j++)
            got[n++] = target[j] < 0 ? '.' : target[j] == BPE_EOT ? '^' : target[j] == '\n' ? '/' : (char)target[j];
    }
    got[n] = '\0';
    assert_string_equal(got, want);
    assert_int_equal(targets, w.targets);
    windows_free(&w);
}

static void windows_are_those_of_each_protocol(void **state)
{
    assert_windows(planned(PROTOCOL_chunk, true, (struct protocol_text){.text = "abc|def", .separator = "|", .context = 4}), "^abc>abc. ^def>def.");
    assert_windows(planned(PROTOCOL_chunk, true, (struct protocol_text){.text = "ab|cdefg", .separator = "|", .context = 3}), "^ab>ab. ^cd>cd. efg>fg.");
    assert_windows(planned(PROTOCOL_chunk, true, (struct protocol_text){.text = "abcd|ef", .separator = "|", .context = 4}), "^abc>abc. d^ef>.ef.");
    assert_windows(planned(PROTOCOL_gptq, true, (struct protocol_text){.text = "ab\n\ncd\n", .context = 5}), "^ab//>ab//. ///cd>//cd.");
    assert_windows(planned(PROTOCOL_gptq, false, (struct protocol_text){.text = " ab | |\ncd", .separator = "|", .context = 6}), "ab//cd>b//cd.");
    assert_windows(planned(PROTOCOL_llama_cpp, true, (struct protocol_text){.text = "abcdefghi", .context = 4}), "^abc>..c. ^efg>..g.");
    assert_windows(planned(PROTOCOL_llama_cpp, false, (struct protocol_text){.text = "abcdefghij", .context = 5}), "abcde>..de. fghij>..ij.");
    assert_windows(planned(PROTOCOL_strided, true, (struct protocol_text){.text = "abcdefg", .context = 4, .stride = 2}),
                   "^abc>abc. bcde>.de. defg>.fg.");
    assert_windows(planned(PROTOCOL_strided, false, (struct protocol_text){.text = "abcdefgh", .context = 5, .stride = 4}), "abcde>bcde. efgh>fgh.");
    assert_windows(planned(PROTOCOL_doc, false, (struct protocol_text){.text = " abcdef\n|x| \n|yz ", .separator = "|", .context = 5}),
                   "^abcd>abcd. ^x>x. ^yz>yz.");
    assert_windows(planned(PROTOCOL_doc, true, (struct protocol_text){.text = " a", .context = 5}), "^ a> a.");
}

/* Whatever the text and the shape, a strided plan scores every token but the first exactly once, with the context it should have. */
static void strides_score_every_token_once(void **state)
{
    char text[200];
    for (int n = 2; n < 120; n += 7)
        for (int context = 2; context < 40; context += 3)
            for (int stride = 1; stride < context; stride += 2) {
                memset(text, 'a', (size_t)n);
                text[n] = '\0';
                struct windows w = planned(PROTOCOL_strided, false, (struct protocol_text){.text = text, .context = context, .stride = stride});
                int times[200] = {0};
                for (size_t i = 0; i < w.count; i++)
                    for (int j = w.window[i].scored; j < w.window[i].length; j++) {
                        times[w.window[i].at + (size_t)j]++;
                        assert_true(i == 0 || j >= context - stride);
                    }
                assert_int_equal(times[0], 0);
                for (int i = 1; i < n; i++)
                    assert_int_equal(times[i], 1);
                assert_int_equal(w.targets, n - 1);
                windows_free(&w);
            }
}

/* The stream that evaluation cuts today, by today's rule. */
static void chunk_is_what_evaluation_scores(void **state)
{
    int32_t id[103];
    for (int i = 0; i < 103; i++)
        id[i] = i % 9 == 0 ? BPE_EOT : i;
    struct tokens t = {.id = id, .count = 103};
    struct windows w;
    assert_int_equal(protocol_plan_tokens(&w, &t, BPE_EOT, 10, NULL), ST_OK);
    assert_int_equal(w.count, 10);
    size_t scored = 0;
    for (size_t i = 0; i < w.count; i++) {
        int32_t got[12], target[12];
        scored += (size_t)windows_fill(&w, i, 12, got, target);
        for (int j = 0; j < 12; j++) {
            int32_t next = j + 1 < 10 ? id[i * 10 + (size_t)j + 1] : -1;
            assert_int_equal(got[j], id[i * 10 + (size_t)min_int(j, 9)]);
            assert_int_equal(target[j], next != BPE_EOT ? next : -1);
        }
    }
    assert_int_equal(scored, w.targets);
    windows_free(&w);
    assert_int_equal(protocol_plan_tokens(&w, &t, BPE_EOT, 60, NULL), ST_EUSAGE);
}

static void equal_plans_have_equal_hashes(void **state)
{
    struct protocol_text text = {.text = "abcdefghijkl", .context = 4};
    struct windows a = planned(PROTOCOL_gptq, false, text), b = planned(PROTOCOL_gptq, false, text), c = planned(PROTOCOL_llama_cpp, false, text);
    assert_string_equal(a.hash, b.hash);
    assert_string_not_equal(a.hash, c.hash);
    windows_free(&a);
    windows_free(&b);
    windows_free(&c);
}

static void what_does_not_fit_is_refused_in_words(void **state)
{
    static const struct {
        enum protocol_id id;
        struct protocol_text text;
        const char *why;
    } cases[] = {
        {PROTOCOL_llama_cpp, {.text = "abcdefg"}, "the text has 8 tokens; the protocol 'llama.cpp' needs 1024, 2 windows of 512"},
        {PROTOCOL_llama_cpp, {.text = "abc", .separator = "|"}, "takes the text as it is"},
        {PROTOCOL_llama_cpp, {.text = "abc", .context = 3}, "needs a context of 4 tokens at least, not 3"},
        {PROTOCOL_gptq, {.text = "abc", .context = 5}, "the text has 4 tokens; the protocol 'gptq' needs 5, 1 windows of 5"},
        {PROTOCOL_gptq, {.text = "abc"}, "the protocol 'gptq' needs a context of 2 tokens at least, not 0"},
        {PROTOCOL_gptq, {.text = "abc", .context = 2, .stride = 1}, "the protocol 'gptq' has no stride; 'strided' has"},
        {PROTOCOL_strided, {.text = "", .context = 4}, "the text has 1 tokens; the protocol 'strided' needs 2"},
        {PROTOCOL_strided, {.text = "abc", .context = 4, .stride = 4}, "a stride of 4 does not fit a context of 4: 1 to 3 do"},
        {PROTOCOL_strided, {.text = "abc", .context = 4, .stride = -1}, "a stride of -1 does not fit"},
        {PROTOCOL_doc, {.text = "| |", .separator = "|", .context = 4}, "no document of the text has two tokens"},
        {PROTOCOL_doc, {.text = "abc", .separator = "", .context = 4}, "the separator of documents is empty"},
    };
    struct tokenizer *t = bytes_tokenizer(true);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct windows w;
        struct err e = {0};
        struct protocol_text text = cases[i].text;
        text.bytes = strlen(text.text);
        assert_int_equal(protocol_plan(&w, cases[i].id, t, &text, &e), ST_EUSAGE);
        if (!strstr(e.text, cases[i].why))
            print_message("%s\n", e.text);
        assert_non_null(strstr(e.text, cases[i].why));
        assert_null(w.id);
        assert_null(w.window);
    }
    tokenizer_free(t);
}

static void protocols_are_found_by_name(void **state)
{
    for (int i = 0; i < PROTOCOL_COUNT; i++)
        assert_ptr_equal(protocol_find(protocols[i].name), &protocols[i]);
    assert_ptr_equal(protocol_find("llama.cpp"), &protocols[PROTOCOL_llama_cpp]);
    assert_null(protocol_find("none"));
}

/* ---- figures that others have published: QBENCH_TEST_DATA says where the texts are */

static void open_data(const char *name, char path[512])
{
    const char *root = getenv("QBENCH_TEST_DATA");
    snprintf(path, 512, "%s/%s", root ? root : "", name);
    FILE *f = root ? fopen(path, "rb") : NULL;
    if (!f) {
        print_message("skipped: needs %s in the folder that QBENCH_TEST_DATA names\n", name);
        skip();
    }
    fclose(f);
}

static struct windows plan_file(enum protocol_id id, const char *tokenizer, const char *name, struct protocol_text text)
{
    char path[512];
    struct err e = {0};
    struct tokenizer *t;
    struct windows w;
    open_data(tokenizer, path);
    assert_int_equal(tokenizer_open(&t, path, &e), ST_OK);
    open_data(name, path);
    FILE *f = fopen(path, "rb");
    char *s = malloc(2 << 20);
    text.text = s;
    text.bytes = fread(s, 1, 2 << 20, f);
    fclose(f);
    if (protocol_plan(&w, id, t, &text, &e))
        print_message("%s\n", e.text);
    assert_int_equal(e.status, ST_OK);
    tokenizer_free(t);
    free(s);
    return w;
}

static void published_counts_are_met(void **state)
{
    /* WikiText-2's test split joined by blank lines: 341,469 LLaMA tokens (GPTQ), 287,644 GPT-2 tokens (Hugging Face's guide). */
    struct windows w = plan_file(PROTOCOL_gptq, "llama-tokenizer.bin", "wiki.test.raw", (struct protocol_text){.context = 2048});
    assert_int_equal(w.ids, 341469);
    assert_int_equal(w.count, 166);
    assert_int_equal(w.targets, 166 * 2047);
    windows_free(&w);
    w = plan_file(PROTOCOL_strided, "vocab.bpe", "wiki.test.raw", (struct protocol_text){.context = 1024, .stride = 512});
    assert_int_equal(w.ids, 287644);
    assert_int_equal(w.targets, 287643);
    windows_free(&w);
    w = plan_file(PROTOCOL_llama_cpp, "llama-tokenizer.bin", "wiki.test.raw", (struct protocol_text){.context = 0});
    assert_int_equal(w.count, 655); /* as llama-perplexity says */
    assert_int_equal(w.targets, 655 * 255);
    windows_free(&w);
    w = plan_file(PROTOCOL_doc, "tok512.bin", "stories100.txt", (struct protocol_text){.separator = "<|endoftext|>", .context = 512});
    assert_int_equal(w.count, 100);
    assert_int_equal(w.targets, 39439);
    windows_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_are_those_of_each_protocol), cmocka_unit_test(strides_score_every_token_once),
        cmocka_unit_test(chunk_is_what_evaluation_scores),    cmocka_unit_test(equal_plans_have_equal_hashes),
        cmocka_unit_test(what_does_not_fit_is_refused_in_words), cmocka_unit_test(protocols_are_found_by_name),
        cmocka_unit_test(published_counts_are_met),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
