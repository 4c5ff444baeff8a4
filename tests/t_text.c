/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text.h"
#include "tiny.h" /* before cmocka.h, whose macro is called fail too */

#include <cmocka.h>

static char folder[] = "/tmp/qbench-t_text-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int make_temporary(void **state) { return mkdtemp(folder) ? 0 : -1; }

static int remove_temporary(void **state)
{
    DIR *d = opendir(folder);
    if (!d)
        return -1;
    for (struct dirent *f; (f = readdir(d));)
        unlinkat(dirfd(d), f->d_name, 0);
    closedir(d);
    return rmdir(folder);
}

static void spill(const char *name, const void *p, size_t n)
{
    FILE *f = fopen(in_folder(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* ---- made-up corpora */

/* Document i is `bytes` bytes of words and lines that name it. */
static size_t write_document(char *s, int i, size_t bytes)
{
    size_t n = 0;
    while (n + 40 < bytes)
        n += (size_t)sprintf(s + n, "line %zu of document %d, caf\xc3\xa9\n", n, i);
    memset(s + n, '.', bytes - n);
    s[bytes - 1] = '\n';
    return bytes;
}

/* What the shell's cksum says: the other side of the agreement between corpus.sh and corpus_open. */
static void cksum(const char *name, char out[64])
{
    char command[600];
    snprintf(command, sizeof command, "cksum < '%s'", in_folder(name));
    FILE *p = popen(command, "r");
    assert_non_null(p);
    assert_non_null(fgets(out, 64, p));
    assert_int_equal(pclose(p), 0);
    out[strcspn(out, "\n")] = '\0';
}

static void write_info(const char *corpus)
{
    char name[64], text[64], index[64], info[256];
    snprintf(name, sizeof name, "%s.txt", corpus);
    cksum(name, text);
    snprintf(name, sizeof name, "%s.docs", corpus);
    cksum(name, index);
    snprintf(name, sizeof name, "%s.info", corpus);
    spill(name, info, (size_t)sprintf(info, "title: Some text (%s 1.0)\ntext: %s\nindex: %s\n", corpus, text, index));
}

/* Documents [first, last), each of `bytes`, named by number. */
static void write_corpus(const char *corpus, int first, int last, size_t bytes)
{
    size_t room = (size_t)(last - first) * bytes, n = 0, k = 0;
    char *text = malloc(room), *index = malloc((size_t)(last - first) * 40), name[64];
    assert_true(text && index);
    for (int i = first; i < last; i++) {
        k += (size_t)sprintf(index + k, "%zu\tdocument %d\n", n, i);
        n += write_document(text + n, i, bytes);
    }
    snprintf(name, sizeof name, "%s.txt", corpus);
    spill(name, text, n);
    snprintf(name, sizeof name, "%s.docs", corpus);
    spill(name, index, k);
    free(text);
    free(index);
    write_info(corpus);
}

static struct corpus open_corpus(const char *name)
{
    struct corpus c;
    struct err e = {0};
    if (corpus_open(&c, name, folder, &e))
        fail_msg("%s", e.text);
    return c;
}

static void assert_refused(const char *name, enum status status, const char *says)
{
    struct corpus c;
    struct err e = {0};
    enum status s = corpus_open(&c, name, folder, &e);
    if (s != status || !strstr(e.text, says))
        fail_msg("'%s': status %d instead of %d, or not '%s': %s", name, s, status, says, e.text);
    assert_null(strchr(e.text, '\n'));
    assert_null(c.text);
    assert_null(c.docs);
}

/* Documents follow each other without gap, begin on characters, and no split is empty. */
static void assert_whole(const struct corpus *c)
{
    size_t at = 0, sum = 0;
    for (size_t i = 0; i < c->doc_count; i++) {
        assert_int_equal(c->docs[i].begin, at);
        assert_true(c->docs[i].end > at);
        assert_int_not_equal(c->text[at] & 0xc0, 0x80);
        at = c->docs[i].end;
    }
    assert_int_equal(at, c->bytes);
    for (int s = 0; s < SPLIT_COUNT; s++) {
        size_t bytes = corpus_split_bytes(c, (enum split)s);
        assert_true(bytes > 0);
        sum += bytes;
    }
    assert_int_equal(sum, c->bytes);
}

/* ---- a user's file */

static void any_text_of_64_kilobytes_is_split(void **state)
{
    static const char *const units[] = {"x", "\n", "word ", "a line\n", "a paragraph\n\n", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    static const size_t sizes[] = {65536, 65539, 70000, 200000, 1 << 20};
    char *text = malloc((1 << 20) + 8);
    assert_non_null(text);
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++)
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
            size_t n = 0, length = strlen(units[u]);
            for (; n < sizes[k]; n += length)
                memcpy(text + n, units[u], length);
            spill("any.txt", text, n);
            struct corpus c = open_corpus(in_folder("any.txt"));
            assert_string_equal(c.name, "any.txt");
            assert_int_equal(c.bytes, n);
            assert_int_equal(strlen(c.hash), 16);
            assert_whole(&c);
            corpus_close(&c);
        }
    free(text);
}

static void sections_end_at_blank_lines(void **state)
{
    char *text = malloc(300000);
    assert_non_null(text);
    size_t n = 0;
    while (n < 290000) {
        n += (size_t)sprintf(text + n, "%0*d\n%0*d\n\n", 200 + (int)(n % 300), 1, 77, 2);
    }
    spill("sections.txt", text, n);
    struct corpus c = open_corpus(in_folder("sections.txt"));
    assert_whole(&c);
    for (size_t i = 0; i + 1 < c.doc_count; i++) {
        size_t end = c.docs[i].end, bytes = end - c.docs[i].begin;
        assert_memory_equal(c.text + end - 2, "\n\n", 2);
        assert_true(bytes >= 4096 && bytes <= 8192);
    }
    corpus_close(&c);
    free(text);
}

static void hash_tells_texts_apart(void **state)
{
    static char text[70000];
    memset(text, 'a', sizeof text);
    spill("one.txt", text, sizeof text);
    text[69999] = 'b';
    spill("two.txt", text, sizeof text);
    struct corpus one = open_corpus(in_folder("one.txt"));
    struct corpus two = open_corpus(in_folder("two.txt"));
    assert_string_not_equal(one.hash, two.hash);
    corpus_close(&one);
    corpus_close(&two);
}

static void only_utf8_is_read(void **state)
{
    static const struct {
        const char *bytes;
        int wrong; /* offset of the first wrong byte's character; -1: none */
    } cases[] = {
        {"\xc2\x80", -1},         {"\xdf\xbf", -1},        {"\xe0\xa0\x80", -1},     {"\xed\x9f\xbf", -1},
        {"\xee\x80\x80", -1},     {"\xef\xbf\xbf", -1},    {"\xf0\x90\x80\x80", -1}, {"\xf4\x8f\xbf\xbf", -1},
        {"\x80", 0},              {"\xbf", 0},             {"\xc0\x80", 0},          {"\xc1\xbf", 0},
        {"\xc2", 0},              {"\xc2\xc2", 0},         {"\xe0\x9f\xbf", 0},      {"\xe1\x80", 0},
        {"\xed\xa0\x80", 0},      {"\xed\xbf\xbf", 0},     {"\xf0\x8f\xbf\xbf", 0},  {"\xf0\x9f\x98", 0},
        {"\xf4\x90\x80\x80", 0},  {"\xf5\x80\x80\x80", 0}, {"\xf8\x88\x80\x80", 0},  {"\xff", 0},
        {"ab\xe9t", 2},           {"\xe2\x82\xac\xe2\x82", 3}, {"\xe2\x82z", 0},
    };
    static char text[80000];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int at_end = 0; at_end < 2; at_end++) {
            size_t n = strlen(cases[i].bytes), at = at_end ? sizeof text - n : 40000;
            char says[64];
            memset(text, 'x', sizeof text);
            memcpy(text + at, cases[i].bytes, n);
            spill("utf8.txt", text, sizeof text);
            snprintf(says, sizeof says, "not UTF-8 at byte %zu ", at + (size_t)cases[i].wrong);
            if (cases[i].wrong >= 0) {
                assert_refused(in_folder("utf8.txt"), ST_EFORMAT, says);
            } else {
                struct corpus c = open_corpus(in_folder("utf8.txt"));
                corpus_close(&c);
            }
        }
}

static void what_cannot_be_used_says_why(void **state)
{
    static char text[65535];
    memset(text, 'x', sizeof text);
    spill("empty.txt", text, 0);
    spill("small.txt", text, sizeof text);
    assert_refused(in_folder("empty.txt"), ST_EFORMAT, "empty");
    assert_refused(in_folder("small.txt"), ST_EFORMAT, "65535 bytes are too few");
    assert_refused(in_folder("nothing.txt"), ST_ENOENT, "No such file");
    assert_refused(folder, ST_EFORMAT, "not a regular file");
    assert_refused("nothing", ST_ENOENT, "make corpus");
}

/* ---- an extracted corpus */

static void extracted_is_opened_by_name(void **state)
{
    write_corpus("good", 0, 300, 700);
    struct corpus c = open_corpus("good");
    assert_string_equal(c.name, "good");
    assert_string_equal(c.title, "Some text (good 1.0)");
    assert_int_equal(c.doc_count, 300);
    assert_whole(&c);
    /* 300 draws of 90, 2, 3 and 5 in 100: within five standard deviations. */
    size_t train = corpus_split_bytes(&c, SPLIT_TRAIN) / 700;
    assert_true(train > 270 - 26 && train < 270 + 26);
    corpus_close(&c);
}

/* The split of a document is a matter of its name alone. */
static void splits_stay_when_documents_come_and_go(void **state)
{
    write_corpus("many", 0, 1000, 300);
    write_corpus("later", 200, 1200, 300);
    struct corpus many = open_corpus("many"), later = open_corpus("later");
    for (size_t i = 200; i < 1000; i++)
        assert_int_equal(many.docs[i].split, later.docs[i - 200].split);
    corpus_close(&many);
    corpus_close(&later);
}

static void few_documents_still_fill_every_split(void **state)
{
    for (int n = 4; n < 12; n++) {
        write_corpus("few", 0, n, 70000 / 4);
        struct corpus c = open_corpus("few");
        assert_whole(&c);
        corpus_close(&c);
    }
    write_corpus("few", 0, 3, 70000);
    assert_refused("few", ST_EFORMAT, "3 documents cannot be split");
}

static void damage_is_noticed(void **state)
{
    write_corpus("hurt", 0, 100, 700);
    FILE *f = fopen(in_folder("hurt.txt"), "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, 5000, SEEK_SET), 0);
    fputc('#', f);
    fclose(f);
    assert_refused("hurt", ST_EFORMAT, "hurt.txt: checksum");
    assert_int_equal(truncate(in_folder("hurt.txt"), 69999), 0);
    assert_refused("hurt", ST_EFORMAT, "69999 bytes, but 70000 were extracted; delete it and run 'make corpus'");

    write_corpus("hurt", 0, 100, 700);
    assert_int_equal(truncate(in_folder("hurt.docs"), 100), 0);
    assert_refused("hurt", ST_EFORMAT, "hurt.docs");
    write_corpus("hurt", 0, 100, 700);
    spill("hurt.info", "title: x\n", 9);
    assert_refused("hurt", ST_EFORMAT, "hurt.info: no title, text or index");
    assert_int_equal(unlink(in_folder("hurt.info")), 0);
    assert_refused("hurt", ST_ENOENT, "make corpus");
}

static void broken_indexes_name_the_line(void **state)
{
    static const struct {
        const char *index, *says;
    } cases[] = {
        {"", "0 documents"},
        {"5\ta\n", "docs:1: no document can begin at byte 5"},
        {"0 a\n", "docs:1: not an offset, a tab and a name"},
        {"0\t\n", "docs:1: not an offset"},
        {"\ta\n", "docs:1: not an offset"},
        {"-1\ta\n", "docs:1: not an offset"},
        {"0\ta\n0\tb\n", "docs:2: no document can begin at byte 0"},
        {"0\ta\n900\tb\n800\tc\n", "docs:3: no document can begin at byte 800"},
        {"0\ta\n70000\tb\n", "docs:2: no document can begin at byte 70000"},
        {"0\ta\n99999999999999999999999\tb\n", "docs:2: not an offset"},
        {"0\ta\n\n", "docs:2: not an offset"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_corpus("index", 0, 100, 700);
        spill("index.docs", cases[i].index, strlen(cases[i].index));
        write_info("index");
        assert_refused("index", ST_EFORMAT, cases[i].says);
    }
    static char text[70000];
    memset(text, 'x', sizeof text);
    memcpy(text + 100, "\xc3\xa9", 2);
    spill("index.txt", text, sizeof text);
    spill("index.docs", "0\ta\n101\tb\n", 10);
    write_info("index");
    assert_refused("index", ST_EFORMAT, "docs:2: no document can begin at byte 101");
}

/* ---- tokens */

static void tokens_are_the_documents(void **state)
{
    write_corpus("stream", 0, 300, 700);
    struct corpus c = open_corpus("stream");
    struct tokenizer *b = tiny_tokenizer(c.text, c.bytes, 300);
    struct err e = {0};
    for (int s = 0; s < SPLIT_COUNT; s++) {
        struct tokens t;
        assert_int_equal(tokens_cut(&t, &c, (enum split)s, b, 0, &e), ST_OK);
        assert_int_equal(t.bytes, corpus_split_bytes(&c, (enum split)s));
        size_t k = 0, doc = 0;
        for (size_t i = 0; i < c.doc_count; i++) {
            if (c.docs[i].split != (enum split)s)
                continue;
            assert_int_equal(t.doc[doc++], k);
            assert_int_equal(t.id[k++], BPE_EOT);
            for (size_t at = c.docs[i].begin; at < c.docs[i].end;) {
                int bytes;
                const uint8_t *token = tokenizer_piece(b, t.id[k++], &bytes);
                assert_true(bytes > 0);
                assert_memory_equal(token, c.text + at, (size_t)bytes);
                at += (size_t)bytes;
            }
        }
        assert_int_equal(k, t.count);
        assert_int_equal(doc, t.docs);
        tokens_free(&t);
    }
    tokenizer_free(b);
    corpus_close(&c);
}

static void cut_streams_are_prefixes(void **state)
{
    write_corpus("prefix", 0, 300, 700);
    struct corpus c = open_corpus("prefix");
    struct tokenizer *b = tiny_tokenizer(c.text, c.bytes, 300);
    struct tokens all, t;
    struct err e = {0};
    assert_int_equal(tokens_cut(&all, &c, SPLIT_VALID, b, 0, &e), ST_OK);
    size_t bytes = 0, docs = 0;
    for (size_t n = 1; n <= all.count; n++) {
        int length;
        tokenizer_piece(b, all.id[n - 1], &length);
        bytes += (size_t)length;
        docs += all.id[n - 1] == BPE_EOT;
        assert_int_equal(tokens_cut(&t, &c, SPLIT_VALID, b, n, &e), ST_OK);
        assert_int_equal(t.count, n);
        assert_int_equal(t.bytes, bytes);
        assert_int_equal(t.docs, docs);
        assert_memory_equal(t.id, all.id, n * sizeof *t.id);
        assert_memory_equal(t.doc, all.doc, docs * sizeof *t.doc);
        tokens_free(&t);
    }
    assert_int_equal(tokens_cut(&t, &c, SPLIT_VALID, b, 10 * all.count, &e), ST_OK);
    assert_int_equal(t.count, all.count);
    tokens_free(&t);
    tokens_free(&all);
    for (size_t i = 0; i < c.doc_count; i++)
        c.docs[i].split = SPLIT_TRAIN;
    assert_int_equal(tokens_cut(&t, &c, SPLIT_TEST, b, 0, &e), ST_EUSAGE);
    assert_non_null(strstr(e.text, "test"));
    tokenizer_free(b);
    corpus_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_text_of_64_kilobytes_is_split), cmocka_unit_test(sections_end_at_blank_lines),
        cmocka_unit_test(hash_tells_texts_apart),            cmocka_unit_test(only_utf8_is_read),
        cmocka_unit_test(what_cannot_be_used_says_why),      cmocka_unit_test(extracted_is_opened_by_name),
        cmocka_unit_test(splits_stay_when_documents_come_and_go), cmocka_unit_test(few_documents_still_fill_every_split),
        cmocka_unit_test(damage_is_noticed),                 cmocka_unit_test(broken_indexes_name_the_line),
        cmocka_unit_test(tokens_are_the_documents),          cmocka_unit_test(cut_streams_are_prefixes),
    };
    return cmocka_run_group_tests(tests, make_temporary, remove_temporary);
}
