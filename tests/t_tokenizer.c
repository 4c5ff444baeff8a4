/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpe.h"
#include "tok_core.h" /* before cmocka.h, whose macro is called fail too */
#include "utf8.h"

#include <cmocka.h>

/* ---- vocabularies made up at random, from a small alphabet so that pieces overlap much */

static const char *const letters[] = {"a", "b", "c", "é", "東", "\xe2\x96\x81"};
enum { LETTERS = 6, SPECIALS = 3, BYTES_END = SPECIALS + 256, MOST = 600 };

struct made {
    struct piece piece[MOST];
    char text[MOST][40];
    struct vocab v;
};

static void put(struct made *m, const char *text, enum piece_type type, float score)
{
    int i = m->v.count++;
    snprintf(m->text[i], sizeof m->text[i], "%s", text);
    m->piece[i] = (struct piece){.text = m->text[i], .bytes = (uint32_t)strlen(text), .type = type, .score = score};
}

static bool holds(const struct made *m, const char *text)
{
    for (int i = 0; i < m->v.count; i++)
        if (!strcmp(m->text[i], text))
            return true;
    return false;
}

static void put_specials(struct made *m)
{
    char text[8];
    *m = (struct made){.v = {.kind = TOKENIZER_PIECES, .piece = m->piece, .bos = 1, .eos = 2, .unk = 0, .add_bos = true, .scored = true}};
    put(m, "<unk>", PIECE_UNKNOWN, 0);
    put(m, "<s>", PIECE_CONTROL, 0);
    put(m, "</s>", PIECE_CONTROL, 0);
    for (unsigned b = 0; b < 256; b++) {
        snprintf(text, sizeof text, "<0x%02X>", b);
        put(m, text, PIECE_BYTE, 0);
    }
}

/* Few distinct scores, so that there are ties; some characters are no pieces, some stand only inside longer ones. */
static void make_scored(struct made *m, struct rng *r)
{
    put_specials(m);
    m->v.space_prefix = rng_below(r, 2);
    for (int i = 0; i < LETTERS; i++)
        if (rng_below(r, 4))
            put(m, letters[i], PIECE_NORMAL, -(float)rng_below(r, 5));
    for (uint32_t tries = 10 + rng_below(r, 200); tries--;) {
        char text[40] = "";
        for (uint32_t n = 2 + rng_below(r, 4); n--;)
            strcat(text, letters[rng_below(r, LETTERS)]);
        if (!holds(m, text))
            put(m, text, PIECE_NORMAL, -(float)rng_below(r, 20));
    }
}

/* What SentencePiece defines, word for word: the whole text, all pairs looked at for every merge, pieces found by their text. */
struct oracle {
    char part[2048][40];
    size_t n;
};

static int find(const struct made *m, const char *text)
{
    for (int i = BYTES_END; i < m->v.count; i++)
        if (!strcmp(m->text[i], text))
            return i;
    return -1;
}

static void oracle_split(struct oracle *o, const struct made *m, const uint8_t *s, size_t n)
{
    o->n = 0;
    if (m->v.space_prefix && n)
        strcpy(o->part[o->n++], "\xe2\x96\x81");
    for (size_t at = 0; at < n; o->n++) {
        uint32_t code;
        size_t length = utf8_decode(s + at, n - at, &code);
        length = length ? length : 1;
        snprintf(o->part[o->n], 40, "%.*s", (int)length, s[at] == ' ' ? "" : (const char *)s + at);
        if (s[at] == ' ')
            strcpy(o->part[o->n], "\xe2\x96\x81");
        at += length;
    }
}

static bool oracle_merge(struct oracle *o, const struct made *m)
{
    size_t best = o->n;
    float score = -INFINITY;
    char both[80];
    for (size_t i = 0; i + 1 < o->n; i++) {
        snprintf(both, sizeof both, "%s%s", o->part[i], o->part[i + 1]);
        int id = find(m, both);
        if (id >= 0 && m->piece[id].score > score) {
            best = i;
            score = m->piece[id].score;
        }
    }
    if (best == o->n)
        return false;
    snprintf(both, sizeof both, "%s%s", o->part[best], o->part[best + 1]);
    strcpy(o->part[best], both);
    memmove(o->part[best + 1], o->part[best + 2], (o->n - best - 2) * sizeof o->part[0]);
    o->n--;
    return true;
}

static void oracle_ids(const struct oracle *o, const struct made *m, struct id_list *out)
{
    for (size_t i = 0; i < o->n; i++) {
        int id = find(m, o->part[i]);
        for (const char *c = o->part[i]; id < 0 && *c; c++)
            id_list_put(out, SPECIALS + (uint8_t)*c);
        if (id >= 0)
            id_list_put(out, id);
    }
}

static size_t random_text(struct rng *r, uint8_t *s, size_t most)
{
    static const char *const more[] = {" ", " ", "  ", "d", "\n", "\xff", "\xe6\x9d", "\xc3"};
    size_t n = 0;
    while (n + 8 < most) {
        uint32_t i = rng_below(r, LETTERS + 8);
        const char *part = i < LETTERS ? letters[i] : more[rng_below(r, 20) ? (i - LETTERS) % 3 : i - LETTERS];
        memcpy(s + n, part, strlen(part));
        n += strlen(part);
    }
    return n;
}

static void assert_ids(const struct id_list *a, const struct id_list *b)
{
    assert_int_equal(a->count, b->count);
    if (a->count)
        assert_memory_equal(a->id, b->id, a->count * sizeof *a->id);
}

static struct tokenizer *made_tokenizer(const struct made *m)
{
    struct tokenizer *t;
    struct err e = {0};
    if (tokenizer_new(&t, &m->v, "made", &e))
        print_message("%s\n", e.text);
    assert_non_null(t);
    return t;
}

static void assert_decodes(const struct tokenizer *t, const struct id_list *l, unsigned flags, const uint8_t *s, size_t n)
{
    size_t bytes = tokenizer_decode(t, l->id, l->count, flags, NULL);
    assert_int_equal(bytes, n);
    uint8_t *back = malloc(n + 1);
    tokenizer_decode(t, l->id, l->count, flags, back);
    assert_memory_equal(back, s, n);
    free(back);
}

static void scores_merge_as_sentencepiece_defines(void **state)
{
    struct rng r;
    const uint64_t seed = 11;
    print_message("seed %llu\n", (unsigned long long)seed);
    rng_seed(&r, seed);
    static struct made m;
    static struct oracle o;
    for (int round = 0; round < 60; round++) {
        make_scored(&m, &r);
        struct tokenizer *t = made_tokenizer(&m);
        for (int k = 0; k < 20; k++) {
            uint8_t text[400];
            size_t n = random_text(&r, text, k < 18 ? 16 + rng_below(&r, 40) : sizeof text);
            struct id_list want = {0}, got = {0};
            oracle_split(&o, &m, text, n);
            while (oracle_merge(&o, &m))
                ;
            id_list_put(&want, 1);
            oracle_ids(&o, &m, &want);
            assert_int_equal(tokenizer_encode(t, text, n, TOKENIZER_ENDS, &got, NULL), ST_OK);
            assert_ids(&got, &want);
            if (holds(&m, letters[5]) && !memmem(text, n, letters[5], 3)) /* U+2581 itself comes back as a space, as in SentencePiece */
                assert_decodes(t, &got, 0, text, n);
            id_list_free(&want);
            id_list_free(&got);
        }
        tokenizer_free(t);
    }
}

/* ---- byte-level merges at random */

static void spell(char *out, const uint8_t *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out += utf8_encode(tok_byte_char(s[i]), (uint8_t *)out);
    *out = '\0';
}

/* GPT-2's own characters: the first that are shifted, the last, and some that are not. */
static void bytes_are_written_as_gpt2_does(void **state)
{
    static const struct {
        int byte;
        uint32_t code;
    } known[] = {{0, 0x100},     {'\n', 0x10a},  {' ', 0x120},   {'!', '!'},     {'~', '~'},     {0x7f, 0x121}, {0x80, 0x122},
                 {0xa0, 0x142}, {0xa1, 0xa1}, {0xac, 0xac}, {0xad, 0x143}, {0xae, 0xae}, {0xff, 0xff}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_int_equal(tok_byte_char((uint8_t)known[i].byte), known[i].code);
    int back = 0;
    for (uint32_t code = 0; code < 0x200; code++) {
        int byte = tok_char_byte(code);
        assert_true(byte < 0 || tok_byte_char((uint8_t)byte) == code);
        back += byte >= 0;
    }
    assert_int_equal(back, 256);
}

struct ranks {
    struct made m;
    struct merge merge[300];
};

/* 256 bytes, then merges of pieces that exist, in an order that is not that of the ids. */
static void make_ranked(struct ranks *k, struct rng *r)
{
    k->m = (struct made){.v = {.kind = TOKENIZER_BYTES, .piece = k->m.piece, .bos = -1, .eos = -1, .unk = -1, .merge = k->merge}};
    struct made *m = &k->m;
    static const uint8_t seeds[] = {'a', 'b', 'c', ' ', 0xc3, 0xa9};
    for (int b = 0; b < 256; b++) {
        uint8_t byte = (uint8_t)b;
        char text[8];
        spell(text, &byte, 1);
        put(m, text, PIECE_NORMAL, 0);
    }
    for (uint32_t n = rng_below(r, 120); n--;) {
        uint32_t made = (uint32_t)m->v.count - 256;
        int32_t left = made && rng_below(r, 2) ? 256 + (int32_t)rng_below(r, made) : seeds[rng_below(r, 6)];
        int32_t right = made && rng_below(r, 2) ? 256 + (int32_t)rng_below(r, made) : seeds[rng_below(r, 6)];
        char text[80];
        snprintf(text, sizeof text, "%s%s", m->text[left], m->text[right]);
        if (strlen(text) >= sizeof m->text[0] || holds(m, text))
            continue;
        k->merge[m->v.merges++] = (struct merge){left, right, m->v.count};
        put(m, text, PIECE_NORMAL, 0);
    }
    for (size_t i = m->v.merges; i > 1; i--) {
        size_t j = rng_below(r, (uint32_t)i);
        struct merge swap = k->merge[i - 1];
        k->merge[i - 1] = k->merge[j];
        k->merge[j] = swap;
    }
}

static size_t slow_merge(const struct ranks *k, int32_t *id, size_t n)
{
    for (;;) {
        size_t best = k->m.v.merges, at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t j = 0; j < best; j++)
                if (k->merge[j].left == id[i] && k->merge[j].right == id[i + 1]) {
                    best = j;
                    at = i;
                }
        if (best == k->m.v.merges)
            return n;
        id[at] = k->merge[best].id;
        n--;
        memmove(id + at + 1, id + at + 2, (n - at - 1) * sizeof *id);
    }
}

static void ranks_merge_lowest_first_leftmost_among_equals(void **state)
{
    struct rng r;
    const uint64_t seed = 12;
    print_message("seed %llu\n", (unsigned long long)seed);
    rng_seed(&r, seed);
    static struct ranks k;
    for (int round = 0; round < 200; round++) {
        make_ranked(&k, &r);
        struct tokenizer *t = made_tokenizer(&k.m);
        for (int i = 0; i < 30; i++) {
            uint8_t text[400];
            size_t n = random_text(&r, text, i < 25 ? 10 + rng_below(&r, 40) : sizeof text);
            int32_t want[400];
            for (size_t j = 0; j < n; j++)
                want[j] = text[j];
            /* Without a pattern each run of well-formed text is a word; an ill-formed byte merges with nothing. */
            size_t count = 0;
            for (size_t at = 0, run; at < n; at += run) {
                run = utf8_run(text + at, n - at);
                run = run ? run : 1;
                memmove(want + count, want + at, run * sizeof *want);
                count += slow_merge(&k, want + count, run);
            }
            struct id_list got = {0}, list = {want, count, count};
            assert_int_equal(tokenizer_encode(t, text, n, TOKENIZER_ENDS, &got, NULL), ST_OK);
            assert_ids(&got, &list);
            assert_decodes(t, &got, 0, text, n);
            id_list_free(&got);
        }
        tokenizer_free(t);
    }
}

/* A quadratic merge would take hours. */
static void a_megabyte_without_a_break_is_no_trouble(void **state)
{
    static struct made m;
    put_specials(&m);
    for (int i = 0; i < 6; i++) {
        char text[40] = "";
        memset(text, 'a', (size_t)1 << i);
        put(&m, text, PIECE_NORMAL, (float)-i);
    }
    struct tokenizer *t = made_tokenizer(&m);
    const size_t n = (1 << 20) + 33;
    uint8_t *long_text = malloc(n);
    memset(long_text, 'a', n);
    struct id_list got = {0};
    assert_int_equal(tokenizer_encode(t, long_text, n, 0, &got, NULL), ST_OK);
    assert_int_equal(got.count, (1 << 15) + 2); /* words of 32, then 32 + 1 */
    assert_int_equal(got.id[got.count - 2], BYTES_END + 5);
    assert_int_equal(got.id[got.count - 1], BYTES_END);
    id_list_free(&got);
    free(long_text);
    tokenizer_free(t);
}

/* ---- special pieces, ends, spaces */

static void assert_encodes(struct tokenizer *t, const char *text, unsigned flags, const int32_t *id, size_t n)
{
    struct id_list got = {0};
    struct err e = {0};
    assert_int_equal(tokenizer_encode(t, text, strlen(text), flags, &got, &e), ST_OK);
    if (got.count != n || (n && memcmp(got.id, id, n * sizeof *id) != 0))
        for (size_t i = 0; i < got.count; i++)
            print_message("%s: %d\n", text, got.id[i]);
    assert_int_equal(got.count, n);
    if (n)
        assert_memory_equal(got.id, id, n * sizeof *id);
    id_list_free(&got);
}
#define ENCODES(t, text, flags, ...) \
    assert_encodes(t, text, flags, (const int32_t[]){__VA_ARGS__}, sizeof(const int32_t[]){__VA_ARGS__} / sizeof(int32_t))

enum { A = BYTES_END, SPACE_A, SPACE_ALONE, USER, USER_LONG, LEFT, RIGHT };

static void make_special(struct made *m)
{
    put_specials(m);
    put(m, "a", PIECE_NORMAL, -1);
    put(m, "\xe2\x96\x81"
           "a",
        PIECE_NORMAL, -2);
    put(m, "\xe2\x96\x81", PIECE_NORMAL, -3);
    put(m, "[u]", PIECE_USER, 0);
    put(m, "[u][u]", PIECE_USER, 0);
    put(m, "[left]", PIECE_CONTROL, 0);
    put(m, "[right]", PIECE_CONTROL, 0);
    m->piece[LEFT].lstrip = m->piece[RIGHT].rstrip = true;
    m->v.space_prefix = m->v.add_eos = true;
}

static void ends_and_prefix_follow_the_vocabulary(void **state)
{
    static struct made m;
    make_special(&m);
    struct tokenizer *t = made_tokenizer(&m);
    ENCODES(t, "a a", TOKENIZER_ENDS, 1, SPACE_A, SPACE_A, 2);
    ENCODES(t, "a a", 0, SPACE_A, SPACE_A);
    ENCODES(t, "a a", TOKENIZER_CONTINUE, A, SPACE_A);
    ENCODES(t, "", TOKENIZER_ENDS, 1, 2);
    ENCODES(t, " a", 0, SPACE_ALONE, SPACE_A);
    tokenizer_free(t);
    m.v.prefix_unless = true;
    t = made_tokenizer(&m);
    ENCODES(t, " a", 0, SPACE_A);
    ENCODES(t, "a", 0, SPACE_A);
    ENCODES(t, "\xe2\x96\x81" "a", 0, SPACE_A);
    tokenizer_free(t);
    m.v.prefix_unless = false;
    m.v.prefix_once = true;
    t = made_tokenizer(&m);
    ENCODES(t, "a[u]a", 0, SPACE_A, USER, A);
    tokenizer_free(t);
}

static void special_pieces_are_found_longest_first(void **state)
{
    static struct made m;
    make_special(&m);
    struct tokenizer *t = made_tokenizer(&m);
    ENCODES(t, "a[u][u][u]a", 0, SPACE_A, USER_LONG, USER, SPACE_A);
    ENCODES(t, "</s>a", TOKENIZER_SPECIAL, 2, SPACE_A);
    ENCODES(t, "<s", TOKENIZER_SPECIAL, SPACE_ALONE, SPECIALS + '<', SPECIALS + 's');
    ENCODES(t, "</s>", 0, SPACE_ALONE, SPECIALS + '<', SPECIALS + '/', SPECIALS + 's', SPECIALS + '>');
    ENCODES(t, "a \u3000\n[left] a", TOKENIZER_SPECIAL, SPACE_A, LEFT, SPACE_ALONE, SPACE_A);
    ENCODES(t, "[u] [left]", TOKENIZER_SPECIAL, USER, LEFT);
    ENCODES(t, "a[right] \u2003a", TOKENIZER_SPECIAL, SPACE_A, RIGHT, SPACE_A);
    tokenizer_free(t);
}

static void decoding_drops_or_shows_special_pieces(void **state)
{
    static struct made m;
    make_special(&m);
    struct tokenizer *t = made_tokenizer(&m);
    const int32_t id[] = {1, SPACE_A, USER, SPECIALS + 0xff, 0, SPACE_A, 2, -1, m.v.count};
    struct id_list l = {(int32_t *)id, sizeof id / sizeof id[0], 0};
    assert_decodes(t, &l, 0, (const uint8_t *)"a[u]\xff a", 7);
    assert_decodes(t, &l, TOKENIZER_CONTINUE, (const uint8_t *)" a[u]\xff a", 8);
    assert_decodes(t, &l, TOKENIZER_SPECIAL, (const uint8_t *)"<s>a[u]\xff<unk> a</s>", 19);
    int n;
    assert_memory_equal(tokenizer_piece(t, SPACE_A, &n), " a", 2);
    assert_int_equal(n, 2);
    for (int32_t none = -1; none < 3; none++) {
        tokenizer_piece(t, none, &n);
        assert_int_equal(n, 0);
    }
    assert_int_equal(tokenizer_find(t, "</s>", 4), 2);
    assert_int_equal(tokenizer_find(t, "</", 2), -1);
    tokenizer_free(t);
}

/* A word that is a piece but that no merge makes: only whole_words finds it. */
static void whole_words_win_over_merges_where_asked(void **state)
{
    static struct ranks k;
    struct rng r;
    rng_seed(&r, 1);
    do
        make_ranked(&k, &r);
    while (k.m.v.merges);
    put(&k.m, "abc", PIECE_NORMAL, 0);
    put(&k.m, "\u0120abc", PIECE_NORMAL, 0); /* a space in front */
    k.m.v.pre = "gpt-2";
    struct tokenizer *t = made_tokenizer(&k.m);
    ENCODES(t, "abc abc", 0, 'a', 'b', 'c', ' ', 'a', 'b', 'c');
    tokenizer_free(t);
    k.m.v.pre = "llama-bpe";
    t = made_tokenizer(&k.m);
    ENCODES(t, "abc abc abcd", 0, 256, 257, ' ', 'a', 'b', 'c', 'd');
    assert_true(tokenizer_vocab(t)->whole_words);
    tokenizer_free(t);
}

static void text_is_composed_where_asked(void **state)
{
    static struct ranks k;
    struct rng r;
    rng_seed(&r, 1);
    do
        make_ranked(&k, &r);
    while (k.m.v.merges);
    k.m.v.nfc = true;
    struct tokenizer *t = made_tokenizer(&k.m);
    ENCODES(t, "xe\u0301\xff", 0, 'x', 0xc3, 0xa9, 0xff);
    ENCODES(t, "\u0958", 0, 0xe0, 0xa4, 0x95, 0xe0, 0xa4, 0xbc); /* composition excluded: it grows */
    tokenizer_free(t);
}

/* ---- qbench's own */

static void own_ids_are_those_of_bpe(void **state)
{
    struct rng r;
    const uint64_t seed = 13;
    print_message("seed %llu\n", (unsigned long long)seed);
    rng_seed(&r, seed);
    enum { BYTES = 60000 };
    uint8_t *text = malloc(BYTES);
    size_t n = random_text(&r, text, BYTES);
    struct bpe *b;
    struct tokenizer *t;
    assert_int_equal(bpe_train(&b, text, n, 700, NULL), ST_OK);
    assert_int_equal(tokenizer_from_bpe(&t, b, NULL), ST_OK);
    for (int round = 0; round < 200; round++) {
        uint8_t s[2000];
        size_t m = random_text(&r, s, 20 + rng_below(&r, 1900));
        for (uint32_t k = round & 1 ? rng_below(&r, 30) : 0; k--;)
            s[rng_below(&r, (uint32_t)m)] = (uint8_t)rng_below(&r, 256);
        int32_t want[2000];
        struct id_list got = {0}, list = {want, bpe_encode(b, s, m, want), 0};
        assert_int_equal(tokenizer_encode(t, s, m, 0, &got, NULL), ST_OK);
        assert_ids(&got, &list);
        assert_decodes(t, &got, 0, s, m);
        id_list_free(&got);
    }
    for (int32_t id = 0; id < bpe_vocab(b); id++) {
        int want, got;
        const uint8_t *p = bpe_token(b, id, &want), *q = tokenizer_piece(t, id, &got);
        assert_int_equal(got, want);
        assert_memory_equal(q, p, (size_t)want);
    }
    ENCODES(t, "", TOKENIZER_ENDS, BPE_EOT);
    free(text);
    tokenizer_free(t);
    bpe_free(b);
}

/* Two merges that make the same bytes: told apart by id, refused as text. */
static void equal_pieces_need_merges_by_id(void **state)
{
    struct bpe *b;
    struct tokenizer *t, *u;
    struct err e = {0};
    assert_int_equal(bpe_load(&b, "97 98\n98 99\n257 99\n97 258\n", &e), ST_OK); /* ab bc (ab)c a(bc) */
    assert_int_equal(tokenizer_from_bpe(&t, b, &e), ST_OK);
    ENCODES(t, "abc bc", 0, 259, ' ', 258);
    struct vocab v = *tokenizer_vocab(t);
    assert_int_equal(tokenizer_new(&u, &v, "again", &e), ST_OK);
    assert_string_equal(tokenizer_hash(t), tokenizer_hash(u));
    tokenizer_free(u);
    v.merge = NULL;
    v.merges = 0;
    assert_int_equal(tokenizer_new(&u, &v, "again", &e), ST_EFORMAT);
    assert_string_equal(e.text, "again: pieces 259 and 260 are both 'abc'");
    tokenizer_free(t);
    bpe_free(b);
}

/* ---- what cannot be */

static void assert_refused(const struct vocab *v, const char *why)
{
    struct tokenizer *t;
    struct err e = {0};
    assert_int_not_equal(tokenizer_new(&t, v, "bad", &e), ST_OK);
    assert_null(t);
    assert_string_equal(e.text, why);
}

static void broken_vocabularies_are_refused_in_words(void **state)
{
    static struct ranks k;
    static struct made m;
    struct rng r;
    rng_seed(&r, 2);
    make_special(&m);
    struct vocab v = m.v;
    v.count = 0;
    assert_refused(&v, "bad: a vocabulary of 0 pieces; 1 to 4194304 are supported");
    v = m.v;
    v.eos = v.count;
    assert_refused(&v, "bad: the end-of-sequence id 266 is not in its vocabulary of 266");
    v.eos = -1;
    assert_refused(&v, "bad: puts its end-of-sequence id around every text, and has none");
    m.piece[A].score = NAN;
    assert_refused(&m.v, "bad: the score of piece 259 is not finite");
    make_special(&m);
    m.piece[A].type = 9;
    assert_refused(&m.v, "bad: piece 259 has type 9; types are 1 to 6");
    make_special(&m);
    m.piece[A].text = "\xc3(";
    m.piece[A].bytes = 2;
    assert_refused(&m.v, "bad: piece 259 is not UTF-8 at its byte 0 (0xc3)");
    make_special(&m);
    m.piece[SPECIALS + 0x41].text = "<0x4G>";
    assert_refused(&m.v, "bad: has no byte piece <0x41>");
    do
        make_ranked(&k, &r);
    while (k.m.v.merges < 3);
    v = k.m.v;
    struct merge good = k.merge[1];
    k.merge[1].id = good.left;
    struct err e = {0};
    struct tokenizer *t;
    assert_int_equal(tokenizer_new(&t, &v, "bad", &e), ST_EFORMAT); /* a circle: it makes one of its parts */
    assert_non_null(strstr(e.text, "bad: merge 1: "));
    assert_non_null(strstr(e.text, " do not make "));
    k.merge[1] = (struct merge){good.left, -1, good.id};
    assert_int_equal(tokenizer_new(&t, &v, "bad", NULL), ST_EFORMAT);
    k.merge[1] = k.merge[0];
    assert_refused(&v, "bad: merge 1 repeats an earlier one");
    k.merge[1] = good;
    v.pre = "nobody's";
    assert_refused(&v, "bad: unknown pre-tokenizer 'nobody's'");
    v.pre = NULL;
    v.pattern = (const char *const[]){"("};
    v.patterns = 1;
    assert_refused(&v, "bad: pre-tokenizer pattern \"(\": missing closing parenthesis");
    k.m.piece['a'].text = "zz";
    v.patterns = v.merges = 0;
    assert_refused(&v, "bad: no piece stands for the byte 0x61 ('a')");
}

static void merges_as_text_are_looked_up(void **state)
{
    static struct ranks k;
    struct rng r;
    rng_seed(&r, 1);
    do
        make_ranked(&k, &r);
    while (k.m.v.merges);
    put(&k.m, "ab", PIECE_NORMAL, 0);
    struct merge_text text[2];
    assert_true(merge_split("a b", 3, &text[0]));
    assert_true(merge_split("ab c", 4, &text[1]));
    k.m.v.merge = NULL;
    k.m.v.merge_text = text;
    k.m.v.merges = 2;
    assert_refused(&k.m.v, "bad: merge 1: 'abc' is not in the vocabulary");
    text[1].right = "\u01a9";
    text[1].right_bytes = 2;
    assert_refused(&k.m.v, "bad: merge 1: '\u01a9' is not in the vocabulary");
    k.m.v.merges = 1;
    struct tokenizer *t = made_tokenizer(&k.m);
    ENCODES(t, "abab", 0, 256, 256);
    tokenizer_free(t);
    static const char *const bad[] = {"", " ", "a", "a ", " a", "a  b", "a b c"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(merge_split(bad[i], strlen(bad[i]), &text[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_merge_as_sentencepiece_defines), cmocka_unit_test(ranks_merge_lowest_first_leftmost_among_equals),
        cmocka_unit_test(a_megabyte_without_a_break_is_no_trouble), cmocka_unit_test(ends_and_prefix_follow_the_vocabulary),
        cmocka_unit_test(special_pieces_are_found_longest_first), cmocka_unit_test(decoding_drops_or_shows_special_pieces),
        cmocka_unit_test(whole_words_win_over_merges_where_asked), cmocka_unit_test(text_is_composed_where_asked),
        cmocka_unit_test(own_ids_are_those_of_bpe), cmocka_unit_test(equal_pieces_need_merges_by_id),
        cmocka_unit_test(broken_vocabularies_are_refused_in_words), cmocka_unit_test(merges_as_text_are_looked_up),
        cmocka_unit_test(bytes_are_written_as_gpt2_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
