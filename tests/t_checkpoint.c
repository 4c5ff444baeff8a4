/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "checkpoint.h" /* before cmocka.h, whose macro is called fail too */

#include <cmocka.h>

static char folder[] = "/tmp/qbench-t_checkpoint-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int make_temporary(void **state) { return mkdtemp(folder) ? 0 : -1; }

static void remove_folder(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d)
        return;
    for (struct dirent *f; (f = readdir(d));) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        if (strcmp(f->d_name, ".") && strcmp(f->d_name, "..") && unlink(path))
            remove_folder(path);
    }
    closedir(d);
    rmdir(dir);
}

static int remove_temporary(void **state)
{
    remove_folder(folder);
    return 0;
}

static int count_files(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *f; (f = readdir(d));)
        n += f->d_name[0] != '.';
    closedir(d);
    return n;
}

static const struct model_config tiny = {
    .preset = "", .layers = 2, .dim = 8, .ffn = 12, .heads = 2, .kv_heads = 1, .head_dim = 4, .vocab = 261, .context = 16,
    .tied = true, .rope_base = 10000, .norm_eps = 1e-5f,
};

static struct checkpoint make_model(uint64_t seed, const char *recipe)
{
    struct checkpoint c = {.weights = weights_alloc(&tiny, NULL)};
    assert_non_null(c.weights);
    weights_random(c.weights, seed, NULL);
    assert_int_equal(tokenizer_load(&c.tokenizer, "116 104\n257 101\n32 258\n97 110\n", NULL), ST_OK);
    c.provenance = json_pack("{s:s, s:i, s:s}", "kind", "trained", "tokens", 1000, "recipe", recipe);
    assert_non_null(c.provenance);
    return c;
}

static void save_model(const char *path, uint64_t seed)
{
    struct checkpoint c = make_model(seed, "preset=tiny");
    struct err e = {0};
    if (checkpoint_save(&c, path, &e))
        fail_msg("%s", e.text);
    checkpoint_close(&c);
}

/* ---- bytes of files */

struct bytes {
    unsigned char *p;
    size_t n;
};

static struct bytes slurp(const char *path)
{
    struct stat st;
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fstat(fileno(f), &st), 0);
    struct bytes b = {malloc((size_t)st.st_size + 1), (size_t)st.st_size};
    assert_non_null(b.p);
    assert_int_equal(fread(b.p, 1, b.n, f), b.n);
    fclose(f);
    return b;
}

static void spill(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* One line, naming the file. */
static void assert_clean_error(const struct err *e, const char *path)
{
    assert_int_not_equal(e->status, ST_OK);
    assert_null(strchr(e->text, '\n'));
    assert_non_null(strstr(e->text, path));
}

static void assert_refused(const char *path, enum status status, const char *says)
{
    struct checkpoint c;
    struct err e = {0};
    enum status s = checkpoint_load(&c, path, &e);
    if (s != status || !strstr(e.text, says))
        fail_msg("status %d instead of %d, or not '%s': %s", s, status, says, e.text);
    assert_clean_error(&e, path);
    assert_null(c.weights);
    assert_null(c.tokenizer);
    assert_null(c.provenance);
}

/* ---- models */

static void what_is_saved_is_loaded(void **state)
{
    char path[512];
    snprintf(path, sizeof path, "%s", in_folder("roundtrip.safetensors"));
    struct checkpoint a = make_model(3, "preset=tiny"), b;
    struct err e = {0};
    assert_int_equal(checkpoint_save(&a, path, &e), ST_OK);
    assert_int_equal(strlen(a.hash), 16);
    assert_string_equal(a.path, path);
    if (checkpoint_load(&b, path, &e))
        fail_msg("%s", e.text);
    assert_string_equal(b.hash, a.hash);
    assert_string_equal(b.path, path);
    assert_true(json_equal(a.provenance, b.provenance));
    assert_memory_equal(a.weights->data, b.weights->data, a.weights->count * sizeof(float));
    struct model_config ca = a.weights->config, cb = b.weights->config;
    assert_int_equal(ca.vocab, cb.vocab);
    assert_true(ca.rope_base == cb.rope_base && ca.norm_eps == cb.norm_eps && ca.tied == cb.tied);
    char *sa = tokenizer_save(a.tokenizer), *sb = tokenizer_save(b.tokenizer);
    assert_string_equal(sa, sb);
    free(sa);
    free(sb);
    /* Saved again it is the same file, byte for byte. */
    struct bytes first = slurp(path);
    assert_int_equal(checkpoint_save(&b, path, &e), ST_OK);
    struct bytes second = slurp(path);
    assert_int_equal(first.n, second.n);
    assert_memory_equal(first.p, second.p, first.n);
    free(first.p);
    free(second.p);
    checkpoint_close(&a);
    checkpoint_close(&b);
}

static void hash_is_of_the_content(void **state)
{
    struct checkpoint a = make_model(3, "one"), b = make_model(3, "two");
    struct err e = {0};
    char first[17];
    assert_int_equal(checkpoint_save(&a, in_folder("a.safetensors"), &e), ST_OK);
    assert_int_equal(checkpoint_save(&b, in_folder("b.safetensors"), &e), ST_OK);
    assert_string_equal(a.hash, b.hash); /* provenance is no part of it */
    memcpy(first, a.hash, sizeof first);
    a.weights->norm[2] += 1;
    assert_int_equal(checkpoint_save(&a, in_folder("a.safetensors"), &e), ST_OK);
    assert_string_not_equal(a.hash, first);
    a.weights->norm[2] -= 1;
    a.weights->config.context++;
    assert_int_equal(checkpoint_save(&a, in_folder("a.safetensors"), &e), ST_OK);
    assert_string_not_equal(a.hash, first);
    a.weights->config.context--;
    tokenizer_free(a.tokenizer);
    a.tokenizer = NULL;
    assert_int_equal(checkpoint_save(&a, in_folder("a.safetensors"), &e), ST_OK);
    assert_string_not_equal(a.hash, first);
    checkpoint_close(&a);
    checkpoint_close(&b);
}

static void any_cut_is_noticed(void **state)
{
    char path[512];
    snprintf(path, sizeof path, "%s", in_folder("cut.safetensors"));
    save_model(path, 4);
    struct bytes b = slurp(path);
    for (size_t n = 0; n < b.n; n += n < 64 || n + 64 > b.n ? 1 : 29) {
        struct checkpoint c;
        struct err e = {0};
        spill(path, b.p, n);
        if (!checkpoint_load(&c, path, &e))
            fail_msg("the first %zu of %zu bytes were taken for a model", n, b.n);
        assert_clean_error(&e, path);
    }
    b.p[b.n] = 0;
    spill(path, b.p, b.n + 1);
    assert_refused(path, ST_EFORMAT, "belong to no tensor");
    free(b.p);
}

static void any_flipped_bit_is_noticed(void **state)
{
    char path[512];
    snprintf(path, sizeof path, "%s", in_folder("flip.safetensors"));
    save_model(path, 5);
    struct bytes b = slurp(path);
    uint64_t header;
    memcpy(&header, b.p, 8);
    assert_int_equal(header % 8, 0);
    for (size_t at = 0; at < b.n; at += at < 8 + header ? 1 : 41)
        for (int bit = at < 8 ? 0 : (int)(at % 8), last = at < 8 ? 7 : bit; bit <= last; bit++) {
            struct checkpoint c;
            struct err e = {0};
            b.p[at] ^= (unsigned char)(1 << bit);
            spill(path, b.p, b.n);
            if (!checkpoint_load(&c, path, &e))
                fail_msg("bit %d of byte %zu of %zu was flipped unnoticed", bit, at, b.n);
            assert_clean_error(&e, path);
            b.p[at] ^= (unsigned char)(1 << bit);
        }
    free(b.p);
}

/* Writes the good file's tensors and metadata after `change` had its hands on them. */
struct parts {
    struct st_tensor t[32];
    int count;
    json_t *metadata;
};

static void drop_last(struct parts *p) { p->count--; }
static void rename_one(struct parts *p) { strcpy(p->t[3].name, "model.layers.0.self_attn.x_proj.weight"); }
static void add_one(struct parts *p)
{
    static float extra[4];
    p->t[p->count++] = (struct st_tensor){.name = "stranger", .dtype = "F32", .rank = 1, .shape = {4}, .data = extra, .bytes = sizeof extra};
}
static void other_dtype(struct parts *p) { p->t[2].dtype = "I32"; }
static void transpose(struct parts *p)
{
    p->t[0].shape[0] = 8;
    p->t[0].shape[1] = 261;
}
static void flatten(struct parts *p)
{
    p->t[0].rank = 1;
    p->t[0].shape[0] = 8 * 261;
}
static void poison(struct parts *p)
{
    static float bad[8] = {1, 1, NAN, 1, 1, -INFINITY, 1, 1};
    p->t[1].data = bad;
}
static void other_value(struct parts *p)
{
    static float other[8] = {1, 1, 1, 1, 1, 1, 1, 1.5f};
    p->t[1].data = other;
}
static void set(struct parts *p, const char *key, const char *value) { json_object_set_new(p->metadata, key, json_string(value)); }
static void newer(struct parts *p) { set(p, "qbench.version", "99"); }
static void no_version(struct parts *p) { json_object_del(p->metadata, "qbench.version"); }
static void odd_version(struct parts *p) { set(p, "qbench.version", "one"); }
static void no_config(struct parts *p) { json_object_del(p->metadata, "qbench.config"); }
static void no_hash(struct parts *p) { json_object_del(p->metadata, "qbench.hash"); }
static void broken_config(struct parts *p) { set(p, "qbench.config", "{\"layers\":"); }
static void empty_config(struct parts *p) { set(p, "qbench.config", "{}"); }
static void no_tokenizer(struct parts *p) { json_object_del(p->metadata, "qbench.tokenizer"); }
static void broken_tokenizer(struct parts *p) { set(p, "qbench.tokenizer", "116 104\n900 1\n"); }
static void long_tokenizer(struct parts *p) { set(p, "qbench.tokenizer", "116 104\n257 101\n32 258\n97 110\n97 98\n"); }
static void other_provenance(struct parts *p) { set(p, "qbench.provenance", "{\"kind\":\"other\"}"); }
static void huge_config(struct parts *p)
{
    set(p, "qbench.config",
        "{\"preset\":\"\",\"layers\":1000,\"dim\":65536,\"ffn\":65536,\"heads\":64,\"kv_heads\":64,\"head_dim\":1024,"
        "\"vocab\":261,\"context\":16,\"tied\":true,\"rope_base\":10000.0,\"norm_eps\":1e-5}");
}

static void each_misfit_is_named(void **state)
{
    static const struct {
        void (*change)(struct parts *);
        enum status status;
        const char *says;
    } cases[] = {
        {drop_last, ST_EFORMAT, "'model.norm.weight' is missing"},
        {rename_one, ST_EFORMAT, "'model.layers.0.self_attn.k_proj.weight' is missing"},
        {add_one, ST_EFORMAT, "'stranger' belongs to no layer"},
        {other_dtype, ST_EFORMAT, "'model.layers.0.self_attn.q_proj.weight' is I32"},
        {transpose, ST_EFORMAT, "'model.embed_tokens.weight' has not the shape"},
        {flatten, ST_EFORMAT, "'model.embed_tokens.weight' has not the shape"},
        {poison, ST_EFORMAT, "'model.layers.0.input_layernorm.weight': 2 of 8"},
        {other_value, ST_EFORMAT, "damaged; delete it, and it will be trained again"},
        {newer, ST_EUNSUPPORTED, "version 99"},
        {no_version, ST_EFORMAT, "no qbench.version"},
        {odd_version, ST_EFORMAT, "'one' is not a number"},
        {no_config, ST_EFORMAT, "lacks qbench.config"},
        {no_hash, ST_EFORMAT, "lacks qbench.hash"},
        {broken_config, ST_EFORMAT, "qbench.config"},
        {empty_config, ST_EFORMAT, "qbench.config"},
        {huge_config, ST_EFORMAT, "parameters, more than"},
        {no_tokenizer, ST_EFORMAT, "damaged"},
        {broken_tokenizer, ST_EFORMAT, "tokenizer, line 2"},
        {long_tokenizer, ST_EFORMAT, "its tokenizer has 262 ids, its model 261"},
        {other_provenance, ST_EFORMAT, "qbench.provenance is not what was written"},
    };
    char good[512], bad[512];
    snprintf(good, sizeof good, "%s", in_folder("good.safetensors"));
    snprintf(bad, sizeof bad, "%s", in_folder("bad.safetensors"));
    save_model(good, 6);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct st_file f;
        struct err e = {0};
        assert_int_equal(st_read(&f, good, &e), ST_OK);
        struct parts p = {.count = f.count, .metadata = f.metadata};
        memcpy(p.t, f.tensors, (size_t)f.count * sizeof *p.t);
        cases[i].change(&p);
        if (st_write(bad, p.t, p.count, p.metadata, &e))
            fail_msg("%s", e.text);
        st_close(&f);
        assert_refused(bad, cases[i].status, cases[i].says);
    }
}

static void absent_files_and_folders(void **state)
{
    struct checkpoint c = make_model(1, "x");
    struct err e = {0};
    assert_refused(in_folder("nowhere.safetensors"), ST_ENOENT, "No such file");
    assert_refused(folder, ST_EFORMAT, "not a regular file");
    assert_int_equal(checkpoint_save(&c, in_folder("no/such/folder.safetensors"), &e), ST_EIO);
    char longer[2000];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    e = (struct err){0};
    assert_int_equal(checkpoint_save(&c, longer, &e), ST_EUSAGE);
    struct checkpoint d;
    assert_int_equal(checkpoint_load(&d, longer, NULL), ST_EUSAGE);
    checkpoint_close(&c);
}

static void infinite_weights_are_not_saved(void **state)
{
    struct checkpoint c = make_model(1, "x");
    struct err e = {0};
    c.weights->layer[1].linear[LIN_UP][3] = INFINITY;
    assert_int_equal(checkpoint_save(&c, in_folder("infinite.safetensors"), &e), ST_EWRONG);
    assert_non_null(strstr(e.text, "model.layers.1.mlp.up_proj.weight"));
    assert_int_equal(access(in_folder("infinite.safetensors"), F_OK), -1);
    checkpoint_close(&c);
}

/* A limit on the file's size stands in for a full disk: the same call fails with EFBIG instead of ENOSPC. */
static void full_disk_keeps_the_old_file(void **state)
{
    char path[512];
    snprintf(path, sizeof path, "%s", in_folder("full.safetensors"));
    save_model(path, 1);
    struct bytes before = slurp(path);
    int files = count_files(folder);
    struct checkpoint c = make_model(2, "x");
    struct err e = {0};
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    for (rlim_t limit = 0; limit < before.n / 2; limit += before.n / 5) {
        small = (struct rlimit){limit, old.rlim_max};
        e = (struct err){0};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        enum status s = checkpoint_save(&c, path, &e);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(s, ST_EIO);
        assert_non_null(strstr(e.text, "free some space"));
        assert_clean_error(&e, path);
        struct bytes after = slurp(path);
        assert_int_equal(after.n, before.n);
        assert_memory_equal(after.p, before.p, before.n);
        free(after.p);
        assert_int_equal(count_files(folder), files);
    }
    signal(SIGXFSZ, handler);
    free(before.p);
    checkpoint_close(&c);
}

static void random_models(void **state)
{
    struct checkpoint a, b;
    struct err e = {0};
    assert_int_equal(checkpoint_random(&a, "1m", 1, NULL, &e), ST_OK);
    assert_int_equal(checkpoint_random(&b, "1m", 2, NULL, &e), ST_OK);
    assert_string_not_equal(a.hash, b.hash);
    assert_string_equal(a.path, "");
    assert_null(a.tokenizer);
    assert_string_equal(json_string_value(json_object_get(a.provenance, "kind")), "random");
    checkpoint_close(&b);
    assert_int_equal(checkpoint_random(&b, "1m", 1, NULL, &e), ST_OK);
    assert_string_equal(a.hash, b.hash);
    assert_memory_equal(a.weights->data, b.weights->data, a.weights->count * sizeof(float));
    checkpoint_close(&a);
    checkpoint_close(&b);
    assert_int_equal(checkpoint_random(&a, "2m", 1, NULL, &e), ST_ENOENT);
    checkpoint_close(&a);
}

/* ---- the cache */

static void cache_finds_what_was_put(void **state)
{
    char dir[512], path[1024], stale[1024];
    snprintf(dir, sizeof dir, "%s", in_folder("cache/of/models"));
    struct err e = {0};
    assert_int_equal(cache_find_recipe(dir, "first", path, sizeof path, &e), ST_ENOENT);
    struct checkpoint a = make_model(1, "first"), b = make_model(2, "second"), c;
    strcpy(b.weights->config.preset, "tiny");
    assert_int_equal(cache_put(dir, &a, NULL), ST_OK);
    /* What lies about: a broken model, and the temporary file of a dead writer and of a living one. */
    snprintf(path, sizeof path, "%s/broken-0123456789abcdef.safetensors", dir);
    spill(path, "{}", 2);
    pid_t dead = fork();
    if (!dead)
        _exit(0);
    waitpid(dead, NULL, 0);
    snprintf(stale, sizeof stale, "%s/x.safetensors.tmp.%ld", dir, (long)dead);
    spill(stale, "x", 1);
    snprintf(path, sizeof path, "%s/x.safetensors.tmp.%ld", dir, (long)getpid());
    spill(path, "x", 1);
    assert_int_equal(cache_put(dir, &b, NULL), ST_OK);
    assert_int_equal(access(stale, F_OK), -1);
    assert_int_equal(access(path, F_OK), 0);

    e = (struct err){0};
    assert_int_equal(cache_find_recipe(dir, "second", path, sizeof path, &e), ST_OK);
    assert_string_equal(path, b.path);
    assert_non_null(strstr(path, "/tiny-"));
    assert_non_null(strstr(path, b.hash));
    assert_int_equal(cache_find_hash(dir, a.hash, path, sizeof path, &e), ST_OK);
    assert_string_equal(path, a.path);
    assert_int_equal(checkpoint_load(&c, path, &e), ST_OK);
    assert_string_equal(c.hash, a.hash);
    assert_int_equal(cache_find_recipe(dir, "third", path, sizeof path, &e), ST_ENOENT);
    assert_int_equal(cache_find_hash(dir, "ffffffffffffffff", path, sizeof path, &e), ST_ENOENT);
    assert_int_equal(cache_find_hash(dir, "", path, sizeof path, &e), ST_ENOENT);
    checkpoint_close(&a);
    checkpoint_close(&b);
    checkpoint_close(&c);
}

/* ---- safetensors */

static void raw_headers(void **state)
{
    static const struct {
        const char *header;
        size_t data;
        const char *says; /* NULL: good */
    } cases[] = {
        {"{}", 0, NULL},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}   ", 4, NULL},
        {"{\"a\":{\"dtype\":\"U64\",\"shape\":[0,3],\"data_offsets\":[0,0]}}", 0, NULL},
        {"{\"b\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[4,6]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 6, NULL},
        {"", 0, "header"},
        {"[]", 0, "not a JSON object"},
        {"{", 0, "header, byte"},
        {"{} x", 0, "header, byte"},
        {"{\"a\":1}", 0, "tensor 'a'"},
        {"{\"__metadata__\":[]}", 0, "__metadata__ is not an object"},
        {"{\"__metadata__\":{\"k\":1}}", 0, "'k' is not a string"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"more\":1}}", 4, "more"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "'a'"},
        {"{\"a\":{\"dtype\":\"Q4\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype 'Q4'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":3,\"data_offsets\":[0,4]}}", 4, "shape is not an array"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "dimension 0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "dimension 0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "dimension 1"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "5 dimensions"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "needs 8 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "offsets 4 to 0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "offsets -4"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,9223372036854775807]}}", 4, "offsets 0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3, "cut short"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5, "last 1 bytes belong to no tensor"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]}}", 5, "'a' begins at byte 1"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}", 6,
         "'b' begins at byte 2"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
         "duplicate"},
    };
    char path[512];
    snprintf(path, sizeof path, "%s", in_folder("raw.safetensors"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char file[1024] = {0};
        uint64_t n = strlen(cases[i].header);
        memcpy(file, &n, 8);
        memcpy(file + 8, cases[i].header, n);
        spill(path, file, 8 + n + cases[i].data);
        struct st_file f;
        struct err e = {0};
        enum status s = st_read(&f, path, &e);
        if (cases[i].says ? s != ST_EFORMAT || !strstr(e.text, cases[i].says) : s != ST_OK)
            fail_msg("%s with %zu bytes of data: status %d: %s", cases[i].header, cases[i].data, s, e.text);
        if (s)
            assert_clean_error(&e, path);
        st_close(&f);
    }
}

static void long_names_and_header_lengths(void **state)
{
    char path[512], header[400];
    struct st_file f;
    struct err e = {0};
    snprintf(path, sizeof path, "%s", in_folder("long.safetensors"));
    static const uint64_t lengths[] = {1, 0x7fffffff, UINT64_MAX, 99999999};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        spill(path, &lengths[i], 8);
        e = (struct err){0};
        assert_int_equal(st_read(&f, path, &e), ST_EFORMAT);
        assert_clean_error(&e, path);
    }
    uint64_t n = (uint64_t)snprintf(header + 8, sizeof header - 8, "{\"%0200d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 7);
    memcpy(header, &n, 8);
    spill(path, header, 8 + n);
    e = (struct err){0};
    assert_int_equal(st_read(&f, path, &e), ST_EFORMAT);
    assert_non_null(strstr(e.text, "longer than"));
}

static void other_types_survive(void **state)
{
    char path[512];
    snprintf(path, sizeof path, "%s", in_folder("state.safetensors"));
    uint64_t counters[4] = {1, UINT64_MAX, 3, 4};
    int64_t step = -5;
    float moments[6] = {1, 2, 3, 4, 5, 6};
    const struct st_tensor t[] = {
        {.name = "rng", .dtype = "U64", .rank = 1, .shape = {4}, .data = counters, .bytes = sizeof counters},
        {.name = "m", .dtype = "F32", .rank = 2, .shape = {2, 3}, .data = moments, .bytes = sizeof moments},
        {.name = "step", .dtype = "I64", .rank = 0, .data = &step, .bytes = sizeof step},
    };
    json_t *metadata = json_pack("{s:s}", "recipe", "a \"quoted\" line\nand ünicode"), *read;
    struct err e = {0};
    assert_int_equal(st_write(path, t, 3, metadata, &e), ST_OK);
    struct st_file f;
    assert_int_equal(st_read(&f, path, &e), ST_OK);
    assert_int_equal(f.count, 3);
    assert_true(json_equal(f.metadata, metadata));
    for (int i = 0; i < 3; i++) {
        const struct st_tensor *g = st_find(&f, t[i].name);
        assert_non_null(g);
        assert_string_equal(g->dtype, t[i].dtype);
        assert_int_equal(g->rank, t[i].rank);
        assert_memory_equal(g->shape, t[i].shape, (size_t)g->rank * sizeof g->shape[0]);
        assert_int_equal(g->bytes, t[i].bytes);
        assert_memory_equal(g->data, t[i].data, g->bytes);
    }
    assert_null(st_find(&f, "v"));
    assert_int_equal(st_read_metadata(&read, path, &e), ST_OK);
    assert_true(json_equal(read, metadata));
    json_decref(read);
    json_decref(metadata);
    st_close(&f);
    assert_int_equal(st_write(path, t, 0, NULL, &e), ST_OK);
    assert_int_equal(st_read(&f, path, &e), ST_OK);
    assert_int_equal(f.count, 0);
    assert_int_equal(json_object_size(f.metadata), 0);
    st_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_saved_is_loaded),        cmocka_unit_test(hash_is_of_the_content),
        cmocka_unit_test(any_cut_is_noticed),             cmocka_unit_test(any_flipped_bit_is_noticed),
        cmocka_unit_test(each_misfit_is_named),           cmocka_unit_test(absent_files_and_folders),
        cmocka_unit_test(infinite_weights_are_not_saved), cmocka_unit_test(full_disk_keeps_the_old_file),
        cmocka_unit_test(random_models),                  cmocka_unit_test(cache_finds_what_was_put),
        cmocka_unit_test(raw_headers),                    cmocka_unit_test(long_names_and_header_lengths),
        cmocka_unit_test(other_types_survive),
    };
    return cmocka_run_group_tests(tests, make_temporary, remove_temporary);
}
