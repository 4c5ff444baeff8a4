/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "fuzz.h"
#include "tok_core.h"
#include "tok_gguf.h"
#include "tokenizer.h" /* before cmocka.h, whose macro is called fail too */
#include "utf8.h"

#include <cmocka.h>

static struct fixture folder;

static int make_folder_of_files(void **state) { return fixture_open(&folder); }
static int remove_folder_of_files(void **state) { return fixture_remove(&folder, ""); }

struct text {
    char *s;
    size_t n;
};

static struct text slurp(const char *path)
{
    struct text t = {NULL, 0};
    FILE *f = fopen(path, "rb");
    if (!f)
        return t;
    t.s = malloc(4 << 20);
    t.n = fread(t.s, 1, (4 << 20) - 1, f);
    t.s[t.n] = '\0';
    fclose(f);
    return t;
}

static void write_file(char path[96], const char *name, const void *s, size_t n)
{
    snprintf(path, 96, "%s/%s", folder.root, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(s, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static struct tokenizer *opened(const char *path)
{
    struct tokenizer *t;
    struct err e = {0};
    if (tokenizer_open(&t, path, &e))
        print_message("%s\n", e.text);
    assert_non_null(t);
    return t;
}

static void assert_encodes(struct tokenizer *t, const char *text, size_t bytes, unsigned flags, const int32_t *id, size_t n)
{
    struct id_list got = {0};
    assert_int_equal(tokenizer_encode(t, text, bytes, flags, &got, NULL), ST_OK);
    if (got.count != n || (n && memcmp(got.id, id, n * sizeof *id) != 0))
        for (size_t i = 0; i < got.count; i++)
            print_message("'%.*s': %d\n", (int)bytes, text, got.id[i]);
    assert_int_equal(got.count, n);
    if (n)
        assert_memory_equal(got.id, id, n * sizeof *id);
    id_list_free(&got);
}
#define ENCODES(t, text, flags, ...) \
    assert_encodes(t, text, strlen(text), flags, (const int32_t[]){__VA_ARGS__}, sizeof(const int32_t[]){__VA_ARGS__} / sizeof(int32_t))

static void assert_refused(const char *path, enum status status, const char *why)
{
    struct tokenizer *t;
    struct err e = {0};
    enum status s = tokenizer_open(&t, path, &e);
    if (s != status || !strstr(e.text, why) || !strstr(e.text, folder.root))
        print_message("%d: %s\n", s, e.text);
    assert_int_equal(s, status);
    assert_null(t);
    assert_non_null(strstr(e.text, why));
    assert_non_null(strstr(e.text, folder.root)); /* the file is named */
}

/* ---- llama2.c's tokenizer.bin */

struct bin {
    uint8_t s[8192];
    size_t n;
};

static void put_word(struct bin *b, const void *x)
{
    memcpy(b->s + b->n, x, 4);
    b->n += 4;
}

static void put_piece(struct bin *b, const char *text, float score)
{
    int32_t n = (int32_t)strlen(text);
    put_word(b, &score);
    put_word(b, &n);
    memcpy(b->s + b->n, text, (size_t)n);
    b->n += (size_t)n;
}

static void make_bin(struct bin *b)
{
    static const char *const pieces[] = {" ", "a", "b", " a", "ab", " ab", "é"};
    char text[8];
    int32_t longest = 7;
    b->n = 0;
    put_word(b, &longest);
    put_piece(b, "<unk>", 0);
    put_piece(b, "\n<s>\n", 0);
    put_piece(b, "\n</s>\n", 0);
    for (unsigned i = 0; i < 256; i++) {
        snprintf(text, sizeof text, "<0x%02X>", i);
        put_piece(b, text, 0);
    }
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
        put_piece(b, pieces[i], i < 3 || i == 6 ? -10 : -(float)i);
}

static void a_tokenizer_bin_is_sentencepiece(void **state)
{
    static struct bin b;
    char path[96];
    make_bin(&b);
    write_file(path, "tokenizer.bin", b.s, b.n);
    struct tokenizer *t = opened(path);
    ENCODES(t, "ab é\xff\n", TOKENIZER_ENDS, 1, 264, 259, 265, 258, 13);
    ENCODES(t, "<s>ab", TOKENIZER_SPECIAL, 1, 264);
    const struct vocab *v = tokenizer_vocab(t);
    assert_int_equal(v->piece[1].type, PIECE_CONTROL);
    assert_int_equal(v->piece[0].type, PIECE_UNKNOWN);
    assert_int_equal(v->piece[258].type, PIECE_BYTE);
    assert_memory_equal(v->piece[262].text, "\xe2\x96\x81" "a", 4);
    struct tokenizer *folder_too = opened(folder.root);
    assert_string_equal(tokenizer_hash(t), tokenizer_hash(folder_too));
    tokenizer_free(folder_too);
    tokenizer_free(t);
}

/* Cut anywhere: an error that names the file, or, between two pieces, a smaller vocabulary. */
static void a_cut_off_tokenizer_bin_is_an_error(void **state)
{
    static struct bin b;
    make_bin(&b);
    int whole = 0;
    for (size_t n = 0; n < b.n; n++) {
        char path[96];
        struct tokenizer *t;
        struct err e = {0};
        write_file(path, "cut.bin", b.s, n);
        if (tokenizer_open(&t, path, &e) == ST_OK)
            whole++;
        else
            assert_non_null(strstr(e.text, path));
        tokenizer_free(t);
    }
    assert_int_equal(whole, 7); /* after the bytes, and after each piece but the last */
}

static void a_damaged_tokenizer_bin_is_an_error(void **state)
{
    static struct bin b;
    char path[96];
    int32_t bad = 2000000000;
    make_bin(&b);
    memcpy(b.s + 8, &bad, 4);
    write_file(path, "bad.bin", b.s, b.n);
    assert_refused(path, ST_EFORMAT, "piece 0 has 2000000000 bytes; the file's longest has 7");
    bad = -1;
    memcpy(b.s + 8, &bad, 4);
    write_file(path, "bad.bin", b.s, b.n);
    assert_refused(path, ST_EFORMAT, "piece 0 has -1 bytes");
    make_bin(&b);
    memcpy(b.s + 12, "nope!", 5);
    write_file(path, "bad.bin", b.s, b.n);
    assert_refused(path, ST_EFORMAT, "piece 0 is 'nope!'");
    make_bin(&b);
    put_piece(&b, "ab", 0);
    write_file(path, "bad.bin", b.s, b.n);
    assert_refused(path, ST_EFORMAT, "pieces 263 and 266 are both 'ab'");
    make_bin(&b);
    put_piece(&b, "\xe9t\xe9", 0);
    write_file(path, "bad.bin", b.s, b.n);
    assert_refused(path, ST_EFORMAT, "piece 266 is not UTF-8");
    write_file(path, "bad.bin", "", 0);
    assert_refused(path, ST_EFORMAT, "not a tokenizer");
}

/* ---- Hugging Face's tokenizer.json, with a vocabulary of the 256 bytes and what is asked for */

static void json_escaped(FILE *f, const char *s, size_t n)
{
    fputc('"', f);
    for (size_t i = 0; i < n; i++)
        fprintf(f, s[i] == '"' || s[i] == '\\' ? "\\%c" : "%c", s[i]);
    fputc('"', f);
}

static void put_bytes(FILE *f)
{
    for (int b = 0; b < 256; b++) {
        uint8_t text[4];
        size_t n = utf8_encode(tok_byte_char((uint8_t)b), text);
        json_escaped(f, (const char *)text, n);
        fprintf(f, ":%d,", b);
    }
}

/* Steps and extra parts are JSON; the vocabulary goes on from 256 with "ab", "Ġab" (a space in front) and more. */
static void write_byte_json(char path[96], const char *steps, const char *more, const char *merges, const char *model)
{
    snprintf(path, 96, "%s/tokenizer.json", folder.root);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "{%s \"model\": {%s \"vocab\":{", steps, model);
    put_bytes(f);
    fprintf(f, "\"ab\":256,\"\u0120ab\":257%s},\"merges\":%s}}", more, merges);
    assert_int_equal(fclose(f), 0);
}

static const char byte_level[] = "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},";
static const char two_merges[] = "[\"a b\",\"\u0120 ab\"]";

static void a_byte_level_json_is_gpt2(void **state)
{
    char path[96];
    write_byte_json(path, byte_level, "", two_merges, "\"type\":\"BPE\",");
    struct tokenizer *t = opened(path);
    ENCODES(t, "ab ab\nabc", 0, 256, 257, 10, 256, 'c');
    assert_string_equal(tokenizer_vocab(t)->pre, "gpt-2");
    assert_int_equal(tokenizer_vocab(t)->bos, -1);
    char hash[17];
    strcpy(hash, tokenizer_hash(t));
    tokenizer_free(t);
    write_byte_json(path, byte_level, "", "[[\"a\",\"b\"],[\"\u0120\",\"ab\"]]", ""); /* merges as pairs, no type */
    t = opened(path);
    assert_string_equal(tokenizer_hash(t), hash);
    tokenizer_free(t);
    write_byte_json(path, "\"pre_tokenizer\":{\"type\":\"ByteLevel\"},", "", two_merges, "");
    t = opened(path);
    ENCODES(t, "ab", 0, 257); /* a space is put in front by default */
    ENCODES(t, " ab", 0, 257);
    tokenizer_free(t);
}

static void json_steps_become_patterns(void **state)
{
    static const struct {
        const char *steps, *pre, *text;
        int32_t id[8];
    } cases[] = {
        {"\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},"
         "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]},",
         "smollm", "ab1", {256, '1'}},
        {"\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a|b\"},\"behavior\":\"Isolated\","
         "\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},",
         NULL, "ab", {'a', 'b'}},
        {"\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"String\":\".\"},\"behavior\":\"Isolated\"},"
         "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},",
         NULL, "ab.ab", {256, '.', 256}},
        {"\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}]},\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},",
         "gpt-2", "e\u0301", {0xc3, 0xa9}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[96];
        write_byte_json(path, cases[i].steps, "", two_merges, "");
        struct tokenizer *t = opened(path);
        size_t n = 0;
        while (cases[i].id[n])
            n++;
        assert_encodes(t, cases[i].text, strlen(cases[i].text), 0, cases[i].id, n);
        if (cases[i].pre)
            assert_string_equal(tokenizer_vocab(t)->pre, cases[i].pre);
        else
            assert_null(tokenizer_vocab(t)->pre);
        tokenizer_free(t);
    }
}

static void json_says_what_goes_around_a_text(void **state)
{
    char path[96];
    static const char added[] = "\"added_tokens\":[{\"id\":258,\"content\":\"<|begin_of_text|>\",\"special\":true},"
                                "{\"id\":259,\"content\":\"  \",\"special\":false},{\"id\":260,\"content\":\"[X]\",\"special\":true}],";
    char steps[2048];
    snprintf(steps, sizeof steps, "%s%s", added, byte_level);
    write_byte_json(path, steps, "", two_merges, "");
    struct tokenizer *t = opened(path);
    ENCODES(t, "ab  ab<|begin_of_text|>", TOKENIZER_ENDS | TOKENIZER_SPECIAL, 256, 259, 256, 258);
    assert_int_equal(tokenizer_vocab(t)->bos, 258);
    tokenizer_free(t);
    snprintf(steps, sizeof steps, "%s%s%s", added, byte_level,
             "\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},{\"type\":\"TemplateProcessing\",\"single\":["
             "{\"SpecialToken\":{\"id\":\"<|begin_of_text|>\"}},{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"[X]\"}}]}]},");
    write_byte_json(path, steps, "", two_merges, "");
    t = opened(path);
    ENCODES(t, "ab", TOKENIZER_ENDS, 258, 256, 260);
    tokenizer_free(t);
    assert_int_equal(fixture_write(&folder, "/tokenizer_config.json", "%s",
                                   "{\"bos_token\":{\"content\":\"[X]\"},\"eos_token\":null,\"add_eos_token\":false}"), 0);
    t = opened(path);
    ENCODES(t, "ab", TOKENIZER_ENDS, 260, 256);
    tokenizer_free(t);
    assert_int_equal(fixture_remove(&folder, "/tokenizer_config.json"), 0);
}

static void write_piece_json(char path[96], const char *steps, const char *model)
{
    snprintf(path, 96, "%s/tokenizer.json", folder.root);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true},{\"id\":1,\"content\":\"<s>\",\"special\":true}],%s"
               "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",%s\"vocab\":{\"<unk>\":0,\"<s>\":1,",
            steps, model);
    for (int b = 0; b < 256; b++)
        fprintf(f, "\"<0x%02X>\":%d,", (unsigned)b, b + 2);
    fprintf(f, "\"\u2581\":258,\"a\":259,\"b\":260,\"\u2581a\":261,\"ab\":262,\"\u2581ab\":263},\"merges\":[\"a b\",\"\u2581 a\",\"\u2581 ab\"]}}");
    assert_int_equal(fclose(f), 0);
}

static void a_json_of_pieces_is_sentencepiece(void **state)
{
    char path[96];
    static const char replace[] = "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"}", fallback[] = "\"byte_fallback\":true,";
    char steps[512];
    snprintf(steps, sizeof steps, "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\u2581\"},%s]},", replace);
    write_piece_json(path, steps, fallback);
    struct tokenizer *t = opened(path);
    ENCODES(t, "ab aé", 0, 263, 261, 2 + 0xc3, 2 + 0xa9);
    ENCODES(t, " a<s>a", TOKENIZER_SPECIAL, 258, 261, 1, 261);
    tokenizer_free(t);
    snprintf(steps, sizeof steps, "\"normalizer\":%s,", replace);
    write_piece_json(path, steps, fallback);
    t = opened(path);
    ENCODES(t, "ab a", 0, 262, 261);
    tokenizer_free(t);
    write_piece_json(path, "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"prepend_scheme\":\"first\",\"split\":false},", fallback);
    t = opened(path);
    ENCODES(t, "ab<s>a", TOKENIZER_SPECIAL, 263, 1, 259);
    ENCODES(t, " ab", TOKENIZER_SPECIAL, 263);
    tokenizer_free(t);
    write_piece_json(path, "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\u2581\"},", fallback);
    assert_refused(path, ST_EUNSUPPORTED, "Metaspace is supported with the replacement U+2581 and split false alone");
    write_piece_json(path, steps, "");
    assert_refused(path, ST_EUNSUPPORTED, "without byte_fallback");
    write_piece_json(path, "", fallback);
    assert_refused(path, ST_EUNSUPPORTED, "leave spaces as they are");
}

static void other_jsons_are_refused_in_words(void **state)
{
    static const struct {
        const char *steps, *more, *merges, *model;
        enum status status;
        const char *why;
    } cases[] = {
        {byte_level, "", "[\"a b\",\"b c\"]", "", ST_EFORMAT, "merge 1: 'bc' is not in the vocabulary"},
        {byte_level, "", "[\"a b\",\"xyz c\"]", "", ST_EFORMAT, "merge 1: 'xyz' is not in the vocabulary"},
        {byte_level, "", "[\"a b\",\"a b\"]", "", ST_EFORMAT, "merge 1 repeats an earlier one"},
        {byte_level, "", "[\"a\"]", "", ST_EFORMAT, "merge 0 is not two pieces"},
        {byte_level, "", "[[\"a\",1]]", "", ST_EFORMAT, "merge 0 is not two pieces"},
        {byte_level, "", "7", "\"type\":\"BPE\",", ST_EFORMAT, "no list of merges"},
        {byte_level, ",\"ab\":258", "[]", "", ST_EFORMAT, "duplicate object key"},
        {byte_level, ",\"zz\":9000000000", "[]", "", ST_EFORMAT, "the id of piece 'zz' is not one of 0 to 258"},
        {byte_level, ",\"zz\":-1", "[]", "", ST_EFORMAT, "the id of piece 'zz'"},
        {byte_level, ",\"zz\":\"x\"", "[]", "", ST_EFORMAT, "the id of piece 'zz'"},
        {byte_level, ",\"zz\":257", "[]", "", ST_EFORMAT, "id 257 is both '\u0120ab' and 'zz'"},
        {byte_level, ",\"\xff\":258", "[]", "", ST_EFORMAT, "unable to decode byte 0xff"},
        {byte_level, "", "[]", "\"type\":\"WordPiece\",", ST_EUNSUPPORTED, "type 'WordPiece'; only byte-pair"},
        {byte_level, "", "[]", "\"dropout\":0.1,", ST_EUNSUPPORTED, "dropout"},
        {byte_level, "", "[]", "\"end_of_word_suffix\":\"</w>\",", ST_EUNSUPPORTED, "end_of_word_suffix '</w>'"},
        {"\"normalizer\":{\"type\":\"Lowercase\"},", "", "[]", "", ST_EUNSUPPORTED, "the normalizer Lowercase is not supported"},
        {"\"pre_tokenizer\":{\"type\":\"Whitespace\"},", "", "[]", "", ST_EUNSUPPORTED, "the pre-tokenizer Whitespace is not supported"},
        {"\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Removed\"},", "", "[]", "", ST_EUNSUPPORTED, "Split with behavior Removed"},
        {"\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a[b]]\"},\"behavior\":\"Isolated\"},"
         "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]},",
         "", "[]", "", ST_EUNSUPPORTED, "pattern \"[a[b]]\": '[b' at character 3"},
        {"\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"post_processor\":{\"type\":\"Nope\"},", "", "[]", "", ST_EUNSUPPORTED, "the post-processor Nope"},
        {"\"added_tokens\":[{\"id\":300,\"content\":\"x\"}],", "", "[]", "", ST_EFORMAT, "id of piece 'x'"},
        {"\"added_tokens\":[{\"id\":258}],", "", "[]", "", ST_EFORMAT, "has no content"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[96];
        write_byte_json(path, cases[i].steps, cases[i].more, cases[i].merges, cases[i].model);
        assert_refused(path, cases[i].status, cases[i].why);
    }
    char path[96];
    write_file(path, "tokenizer.json", "{\"model\":{", 10);
    assert_refused(path, ST_EFORMAT, "tokenizer.json:1:10:");
    write_file(path, "tokenizer.json", "{\"model\":{}}", 12);
    assert_refused(path, ST_EUNSUPPORTED, "only byte-pair");
}

/* ---- GPT-2's pair */

static void a_pair_of_files_is_gpt2(void **state)
{
    char path[96], merges[96];
    snprintf(path, sizeof path, "%s/encoder.json", folder.root);
    FILE *f = fopen(path, "w");
    fputs("{", f);
    put_bytes(f);
    fputs("\"ab\":256,\"<|endoftext|>\":257,\"model\":258}", f);
    fclose(f);
    assert_refused(path, ST_ENOENT, "needs vocab.bpe or merges.txt in the same folder");
    write_file(merges, "merges.txt", "#version: 0.2\na b\n", 18);
    struct tokenizer *t = opened(path), *u = opened(merges);
    ENCODES(t, "ab<|endoftext|>model", TOKENIZER_SPECIAL, 256, 257, 258);
    ENCODES(t, "model", 0, 'm', 'o', 'd', 'e', 'l');
    assert_int_equal(tokenizer_vocab(t)->bos, 257);
    assert_string_equal(tokenizer_hash(t), tokenizer_hash(u));
    tokenizer_free(t);
    tokenizer_free(u);
    write_file(merges, "merges.txt", "#version: 0.2\na b\n\nab\n", 22);
    assert_refused(path, ST_EFORMAT, "merges.txt:4: not two pieces");
    write_file(merges, "merges.txt", "a b\nab c\n", 9);
    assert_refused(path, ST_EFORMAT, "merge 1: 'abc' is not in the vocabulary");
    snprintf(path, sizeof path, "%s/none", folder.root);
    assert_refused(path, ST_ENOENT, "No such file");
    assert_int_equal(fixture_folder(&folder, "/empty"), 0);
    snprintf(path, sizeof path, "%s/empty", folder.root);
    assert_refused(path, ST_ENOENT, "no tokenizer.json");
}

/* ---- GGUF */

static void write_gguf(char path[96], const struct gguf_vocab *v, const char *key, const char *value)
{
    struct gguf_writer *w = gguf_writer_new();
    struct err e = {0};
    snprintf(path, 96, "%s/vocab.gguf", folder.root);
    gguf_vocab_write(w, v);
    if (key)
        gguf_set_text(w, key, value);
    enum status s = gguf_writer_begin(w, path, &e);
    if (!s)
        s = gguf_writer_finish(w, &e);
    if (s)
        print_message("%s\n", e.text);
    assert_int_equal(s, ST_OK);
    gguf_writer_free(w);
}

/* Written and read again, a tokenizer is the same one. */
static void assert_survives_gguf(const struct tokenizer *t)
{
    struct gguf_vocab v;
    struct err e = {0};
    char path[96];
    if (tokenizer_to_gguf(&v, t, &e))
        print_message("%s\n", e.text);
    assert_int_equal(e.status, ST_OK);
    write_gguf(path, &v, NULL, NULL);
    struct tokenizer *back = opened(path);
    assert_string_equal(tokenizer_hash(back), tokenizer_hash(t));
    tokenizer_free(back);
    gguf_vocab_free(&v);
}

static void a_gguf_holds_every_kind(void **state)
{
    static struct bin b;
    char path[96];
    make_bin(&b);
    write_file(path, "tokenizer.bin", b.s, b.n);
    struct tokenizer *t = opened(path);
    assert_survives_gguf(t);
    tokenizer_free(t);
    write_byte_json(path, byte_level, "", two_merges, "");
    t = opened(path);
    assert_survives_gguf(t);
    tokenizer_free(t);
    struct bpe *own;
    assert_int_equal(bpe_load(&own, "97 98\n98 99\n32 257\n", NULL), ST_OK);
    assert_int_equal(tokenizer_from_bpe(&t, own, NULL), ST_OK);
    assert_survives_gguf(t);
    tokenizer_free(t);
    bpe_free(own);
}

static void what_gguf_cannot_say_is_refused(void **state)
{
    struct gguf_vocab v;
    struct tokenizer *t;
    struct bpe *own;
    struct err e = {0};
    char path[96];
    assert_int_equal(bpe_load(&own, "97 98\n98 99\n257 99\n97 258\n", NULL), ST_OK);
    assert_int_equal(tokenizer_from_bpe(&t, own, NULL), ST_OK);
    assert_int_equal(tokenizer_to_gguf(&v, t, &e), ST_EUNSUPPORTED);
    assert_string_equal(e.text, "tokens 259 and 260 stand for the same text, which GGUF cannot tell apart");
    tokenizer_free(t);
    bpe_free(own);
    write_byte_json(path, "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a|b\"},"
                          "\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},",
                    "", two_merges, "");
    t = opened(path);
    e = (struct err){0};
    assert_int_equal(tokenizer_to_gguf(&v, t, &e), ST_EUNSUPPORTED);
    assert_non_null(strstr(e.text, "\"a|b\""));
    tokenizer_free(t);
}

static void a_broken_gguf_vocabulary_is_an_error(void **state)
{
    char path[96];
    struct gguf_vocab v, bad;
    write_byte_json(path, byte_level, "", two_merges, "");
    struct tokenizer *t = opened(path);
    assert_int_equal(tokenizer_to_gguf(&v, t, NULL), ST_OK);
    bad = v;
    bad.pre = "nobody's";
    write_gguf(path, &bad, NULL, NULL);
    assert_refused(path, ST_EUNSUPPORTED, "unknown pre-tokenizer 'nobody's'");
    bad = v;
    bad.model = "bert";
    write_gguf(path, &bad, NULL, NULL);
    assert_refused(path, ST_EUNSUPPORTED, "the tokenizer 'bert'");
    write_gguf(path, &v, "tokenizer.ggml.bos_token_id", "1");
    assert_refused(path, ST_EFORMAT, "tokenizer.ggml.bos_token_id");
    bad = v;
    bad.bos = v.count;
    write_gguf(path, &bad, NULL, NULL);
    assert_refused(path, ST_EFORMAT, "tokenizer.ggml.bos_token_id");
    bad = v;
    bad.merges = (const struct gguf_string[]){{"a  b", 4}};
    bad.n_merges = 1;
    write_gguf(path, &bad, NULL, NULL);
    assert_refused(path, ST_EFORMAT, "merge 0 is not two pieces");
    bad.merges = (const struct gguf_string[]){{"a c", 3}};
    write_gguf(path, &bad, NULL, NULL);
    assert_refused(path, ST_EFORMAT, "merge 0: 'ac' is not in the vocabulary");
    bad = v;
    bad.model = "llama";
    write_gguf(path, &bad, NULL, NULL);
    assert_refused(path, ST_ENOENT, "tokenizer.ggml.scores");
    bad.scores = (const float[]){1, 2};
    bad.count = 2;
    bad.types = (const int32_t[]){1, 7};
    write_gguf(path, &bad, NULL, NULL);
    assert_refused(path, ST_EFORMAT, "tokenizer.ggml.token_type of token 1 is 7");
    gguf_vocab_free(&v);
    tokenizer_free(t);
}

/* ---- anything at all */

static void nothing_in_a_file_crashes(void **state)
{
    struct rng r;
    const uint64_t seed = 21;
    static struct bin b;
    static uint8_t mutant[1 << 14];
    char path[96];
    print_message("seed %llu; the fuzzer looks longer\n", (unsigned long long)seed);
    rng_seed(&r, seed);
    make_bin(&b);
    write_byte_json(path, byte_level, "", two_merges, "");
    struct text json = slurp(path);
    for (int i = 0; i < 3000; i++) {
        size_t n = i & 1 ? b.n : json.n;
        mutant[0] = i & 1 ? 1 : 2;
        memcpy(mutant + 1, i & 1 ? (void *)b.s : json.s, n);
        for (uint32_t k = rng_below(&r, 4); k--;)
            mutant[1 + rng_below(&r, (uint32_t)n)] = (uint8_t)rng_below(&r, 256);
        fuzz_tokenizer(mutant, i % 3 ? n + 1 : 1 + rng_below(&r, (uint32_t)n));
    }
    free(json.s);
}

/* ---- real vocabularies with known answers: QBENCH_TEST_DATA says where */

static const char *data(char path[512], const char *name)
{
    const char *root = getenv("QBENCH_TEST_DATA");
    snprintf(path, 512, "%s/%s", root ? root : "", name);
    FILE *f = root ? fopen(path, "rb") : NULL;
    if (!f) {
        print_message("skipped: needs %s in the folder that QBENCH_TEST_DATA names\n", name);
        skip();
    }
    fclose(f);
    return path;
}

static struct id_list numbers(char **at)
{
    struct id_list l = {0};
    char *end = strchrnul(*at, '\n');
    while (*at < end && **at) {
        char *next;
        long id = strtol(*at, &next, 10);
        if (next == *at || next > end)
            break;
        id_list_put(&l, (int32_t)id);
        *at = next;
    }
    *at = *end ? end + 1 : end;
    return l;
}

static void assert_comes_back(const struct tokenizer *t, const struct id_list *l, const char *s, size_t n)
{
    char *back = malloc(n + 1);
    assert_int_equal(tokenizer_decode(t, l->id, l->count, 0, NULL), n);
    tokenizer_decode(t, l->id, l->count, 0, (uint8_t *)back);
    assert_memory_equal(back, s, n);
    free(back);
}

/* llama.cpp's probe texts, separated by a line; their ids, a line each. */
static void assert_probes(struct tokenizer *t, const char *answers)
{
    static const char mark[] = "\n__ggml_vocab_test__\n";
    char path[512];
    struct text in = slurp(data(path, "vocab-probes.inp")), out = slurp(data(path, answers));
    char *at = in.s, *line = out.s;
    int probes = 0;
    for (char *end; (end = strstr(at, mark)); at = end + sizeof mark - 1, probes++) {
        struct id_list want = numbers(&line);
        assert_encodes(t, at, (size_t)(end - at), 0, want.id, want.count);
        assert_comes_back(t, &want, at, (size_t)(end - at));
        id_list_free(&want);
    }
    assert_int_equal(probes, 46);
    assert_int_equal(*line, '\0');
    free(in.s);
    free(out.s);
}

static void assert_json_probes(struct tokenizer *t, const char *which)
{
    char path[512];
    json_t *root = json_load_file(data(path, "probe_encodings.json"), 0, NULL), *entry;
    const char *text;
    assert_int_equal(json_object_size(root), 6);
    json_object_foreach(root, text, entry)
    {
        struct id_list want = {0};
        json_t *ids = json_object_get(entry, which);
        for (size_t i = 0; i < json_array_size(ids); i++)
            id_list_put(&want, (int32_t)json_integer_value(json_array_get(ids, i)));
        assert_encodes(t, text, strlen(text), TOKENIZER_ENDS, want.id, want.count);
        assert_comes_back(t, &want, text, strlen(text));
        id_list_free(&want);
    }
    json_decref(root);
}

static void assert_wiki(struct tokenizer *t, size_t count)
{
    char path[512];
    struct text wiki = slurp(data(path, "wiki.test.raw"));
    struct id_list got = {0};
    assert_int_equal(tokenizer_encode(t, wiki.s, wiki.n, TOKENIZER_ENDS, &got, NULL), ST_OK);
    assert_int_equal(got.count, count);
    assert_comes_back(t, &got, wiki.s, wiki.n);
    id_list_free(&got);
    free(wiki.s);
}

static void gpt2_answers_are_exact(void **state)
{
    char path[512];
    static const char *const files[] = {"vocab.bpe", "ggml-vocab-gpt-2.gguf"};
    for (int i = 0; i < 2; i++) {
        struct tokenizer *t = opened(data(path, files[i]));
        assert_int_equal(tokenizer_vocab(t)->count, 50257);
        assert_int_equal(tokenizer_vocab(t)->bos, 50256);
        assert_string_equal(tokenizer_vocab(t)->pre, "gpt-2");
        assert_probes(t, "vocab-probes-gpt2.out");
        assert_json_probes(t, "gpt2");
        assert_wiki(t, 286221);
        assert_survives_gguf(t);
        tokenizer_free(t);
    }
}

static void llama_answers_are_exact(void **state)
{
    char path[512];
    static const char *const files[] = {"llama-tokenizer.bin", "ggml-vocab-llama-spm.gguf"};
    for (int i = 0; i < 2; i++) {
        struct tokenizer *t = opened(data(path, files[i]));
        assert_int_equal(tokenizer_vocab(t)->count, 32000);
        assert_probes(t, "vocab-probes-llama.out");
        assert_json_probes(t, "llama");
        assert_wiki(t, 335688);
        assert_survives_gguf(t);
        tokenizer_free(t);
    }
}

static void stories260k_answers_are_exact(void **state)
{
    static const char text[] = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big,";
    static const int32_t id[] = {1,   403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401, 396, 267,
                                 337, 410, 408, 419, 292, 411, 322, 265, 282, 295, 433, 426, 385, 328, 432, 358, 394, 261, 370, 432};
    char path[512];
    struct tokenizer *t = opened(data(path, "tok512.bin"));
    struct id_list l = {(int32_t *)id, sizeof id / sizeof id[0], 0};
    ENCODES(t, "Once upon a time", TOKENIZER_ENDS, 1, 403, 407, 261, 378);
    assert_comes_back(t, &l, text, sizeof text - 1);
    assert_encodes(t, text, sizeof text - 1, TOKENIZER_ENDS, id, l.count);
    struct text stories = slurp(data(path, "stories100.txt"));
    struct id_list got = {0};
    assert_int_equal(tokenizer_encode(t, stories.s, stories.n, 0, &got, NULL), ST_OK);
    assert_comes_back(t, &got, stories.s, stories.n);
    id_list_free(&got);
    free(stories.s);
    tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tokenizer_bin_is_sentencepiece),  cmocka_unit_test(a_cut_off_tokenizer_bin_is_an_error),
        cmocka_unit_test(a_damaged_tokenizer_bin_is_an_error), cmocka_unit_test(a_byte_level_json_is_gpt2),
        cmocka_unit_test(json_steps_become_patterns),        cmocka_unit_test(json_says_what_goes_around_a_text),
        cmocka_unit_test(a_json_of_pieces_is_sentencepiece), cmocka_unit_test(other_jsons_are_refused_in_words),
        cmocka_unit_test(a_gguf_holds_every_kind),           cmocka_unit_test(what_gguf_cannot_say_is_refused),
        cmocka_unit_test(a_broken_gguf_vocabulary_is_an_error), cmocka_unit_test(nothing_in_a_file_crashes),
        cmocka_unit_test(a_pair_of_files_is_gpt2),           cmocka_unit_test(gpt2_answers_are_exact),
        cmocka_unit_test(llama_answers_are_exact),           cmocka_unit_test(stories260k_answers_are_exact),
    };
    return cmocka_run_group_tests(tests, make_folder_of_files, remove_folder_of_files);
}
