/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "show.h" /* before cmocka.h, whose macro is called fail too */
#include "work.h"

#include <cmocka.h>

static char folder[] = "/tmp/qbench-store-XXXXXX", path[128];
static struct machine machine = {.id = "00000000000000aa"};
static struct build build = {.id = "00000000000000bb"};

enum { L3 = 32 << 20 };

static int set_up(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/a b%%?.db", folder);
    machine.json = json_pack("{s:s, s:i, s:i, s:s, s:s}", "cpu", "Test CPU", "threads", 2, "l3", L3, "isa", "avx2", "hypervisor", "none");
    build.json = json_pack("{s:s, s:b, s:s}", "commit", "0123456789abcdef0123", "dirty", 1, "compiler", "gcc");
    return 0;
}

static int tear_down(void **state)
{
    json_decref(machine.json);
    json_decref(build.json);
    return rmdir(folder);
}

static void remove_db(void)
{
    char name[160];
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

static struct store *opened(enum store_mode mode)
{
    struct store *s;
    struct err e = {0};
    if (store_open(&s, path, mode, &e) != ST_OK)
        fail_msg("%s", e.text);
    return s;
}

static struct run_info info(const char *suite, const char *label)
{
    return (struct run_info){.suite = suite, .suite_text = "sections: {}", .suite_hash = "hash", .label = label, .argv = "qbench run", .machine = &machine, .build = &build, .cases = 4};
}

static int64_t begun(struct store *s, const char *suite, const char *label)
{
    struct run_info r = info(suite, label);
    struct err e = {0};
    int64_t id = 0;
    if (store_run_begin(s, &r, &id, &e) != ST_OK)
        fail_msg("%s", e.text);
    assert_true(id > 0);
    return id;
}

static struct bench_case keyed(const char *key)
{
    struct bench_case c;
    struct err e = {0};
    if (case_parse(&c, key, &e) != ST_OK)
        fail_msg("%s", e.text);
    case_make_key(&c);
    return c;
}

static void add_value(struct result *r, const char *name, const char *unit, double x, double half)
{
    struct value v = {.value = x, .lo = half > 0 ? x - half : NAN, .hi = half > 0 ? x + half : NAN};
    snprintf(v.name, sizeof v.name, "%s", name);
    snprintf(v.unit, sizeof v.unit, "%s", unit);
    assert_int_equal(result_add_value(r, &v), ST_OK);
}

static void stored(struct store *s, int64_t run, const char *key, struct result *r)
{
    struct bench_case c = keyed(key);
    struct err e = {0};
    if (store_result(s, run, &c, r, &e) != ST_OK)
        fail_msg("%s", e.text);
    result_clear(r);
}

static struct table *queried(struct store *s, const char *sql)
{
    struct table *t;
    struct err e = {0};
    if (store_query(s, sql, NULL, 0, &t, &e) != ST_OK)
        fail_msg("%s", e.text);
    return t;
}

static long long count(struct store *s, const char *sql)
{
    struct table *t = queried(s, sql);
    long long n = table_cell(t, 0, 0)->integer;
    table_free(t);
    return n;
}

static void results_come_back(void **state)
{
    struct store *s = opened(STORE_WRITE);
    struct err e = {0};
    int64_t run = begun(s, "quick", "first");
    struct result r = {.outcome = OUTCOME_UNTRUSTED, .reason = "noise of 40 %", .wall_seconds = 1.5};
    for (int i = 0; i < 20; i++)
        assert_int_equal(result_add_sample(&r, &(struct sample){0.1 * i, i, 2 * i}), ST_OK);
    struct reading x = {.meter = "perf", .metric = "cycles", .unit = "1", .source = "perf", .status = READING_UNAVAILABLE, .value = 0, .reason = "no PMU", .idle_watts = NAN, .net_value = NAN, .sample = -1};
    assert_int_equal(result_add_reading(&r, &x), ST_OK);
    add_value(&r, "rate", "pass/s", 1.0 / 3, 0.1);
    struct value absent = {.name = "kl", .unit = "nat", .value = NAN, .lo = NAN, .hi = NAN, .text = "no reference"};
    assert_int_equal(result_add_value(&r, &absent), ST_OK);
    float nll[3] = {1, 2, 3};
    assert_int_equal(result_add_blob(&r, "nll", "f32", nll, sizeof nll), ST_OK);
    assert_int_equal(result_add_blob(&r, "empty", "f32", nll, 0), ST_OK);
    static const char key[] = "work=gemm format=f32 kernel=f32_scalar m=1 n=64 k=64 cache=hot isa=native threads=1";
    stored(s, run, key, &r);
    bool has;
    assert_int_equal(store_has(s, run, key, &has, &e), ST_OK);
    assert_true(has);
    assert_int_equal(store_has(s, run, "work=gemm", &has, &e), ST_OK);
    assert_false(has);
    assert_int_equal(count(s, "SELECT count(*) FROM sample WHERE position = 2 * n AND units = n"), 20);
    assert_int_equal(count(s, "SELECT count(*) FROM reading WHERE sample IS NULL AND value IS NULL AND reason = 'no PMU' AND status = 'unavailable'"), 1);
    assert_int_equal(count(s, "SELECT count(*) FROM value WHERE name = 'kl' AND value IS NULL AND lo IS NULL AND text = 'no reference'"), 1);
    assert_int_equal(count(s, "SELECT count(*) FROM result_axes WHERE work = 'gemm' AND m = 1 AND n = 64 AND op IS NULL AND outcome = 'untrusted'"), 1);
    struct table *t = queried(s, "SELECT rate AS \"speed [pass/s]\", lo, NULL AS x, x'00ff' AS b, kernel FROM rate");
    assert_string_equal(t->columns[0].name, "speed");
    assert_string_equal(t->columns[0].unit, "pass/s");
    assert_true(table_cell(t, 0, 0)->real == 1.0 / 3);
    assert_int_equal(table_cell(t, 0, 2)->type, CELL_EMPTY);
    assert_string_equal(table_cell(t, 0, 3)->text, "<2 bytes>");
    assert_string_equal(table_cell(t, 0, 4)->text, "f32_scalar");
    table_free(t);
    void *data;
    size_t bytes;
    assert_int_equal(store_blob(s, 1, "nll", &data, &bytes, &e), ST_OK);
    assert_int_equal(bytes, sizeof nll);
    assert_memory_equal(data, nll, bytes);
    free(data);
    assert_int_equal(store_blob(s, 1, "empty", &data, &bytes, &e), ST_OK);
    assert_int_equal(bytes, 0);
    free(data);
    assert_int_equal(store_blob(s, 1, "none", &data, &bytes, &e), ST_ENOENT);
    /* measured again: replaced, with all its parts */
    r = (struct result){.outcome = OUTCOME_OK};
    stored(s, run, key, &r);
    assert_int_equal(count(s, "SELECT count(*) FROM result"), 1);
    assert_int_equal(count(s, "SELECT (SELECT count(*) FROM sample) + (SELECT count(*) FROM value) + (SELECT count(*) FROM blob) + (SELECT count(*) FROM reading)"), 0);
    store_close(s);
    remove_db();
}

static void runs_and_models(void **state)
{
    struct store *s = opened(STORE_WRITE);
    struct err e = {0};
    struct run_info r = info("quick", NULL);
    int64_t id, first;
    assert_int_equal(store_run_unfinished(s, &r, &id, &e), ST_OK);
    assert_int_equal(id, 0);
    first = begun(s, "quick", NULL);
    id = begun(s, "quick", "x");
    int64_t found;
    assert_int_equal(store_run_unfinished(s, &r, &found, &e), ST_OK);
    assert_int_equal(found, id);
    assert_int_equal(store_run_end(s, id, NULL, "loaded\nthrottled", &e), ST_OK);
    assert_int_equal(store_run_unfinished(s, &r, &found, &e), ST_OK);
    assert_int_equal(found, first);
    r.suite_hash = "other";
    assert_int_equal(store_run_unfinished(s, &r, &found, &e), ST_OK);
    assert_int_equal(found, 0);
    char where[64];
    json_t *from = json_pack("{s:s}", "text", "kjv");
    assert_int_equal(store_model_path(s, "abc", where, sizeof where, &e), ST_ENOENT);
    assert_int_equal(store_model(s, "abc", "1m", "trained", from, "/x", NULL), ST_OK);
    assert_int_equal(store_model(s, "abc", "1m", "trained", from, "/y", NULL), ST_OK);
    assert_int_equal(store_model(s, "abc", "1m", "trained", from, NULL, NULL), ST_OK);
    assert_int_equal(store_model_path(s, "abc", where, sizeof where, NULL), ST_OK);
    assert_string_equal(where, "/y");
    json_decref(from);
    struct table *t;
    const char *params[] = {"1m"};
    assert_int_equal(store_query(s, "SELECT hash FROM model WHERE name = ?1", params, 1, &t, NULL), ST_OK);
    assert_string_equal(table_cell(t, 0, 0)->text, "abc");
    table_free(t);
    static const char *const refused[] = {"DELETE FROM run", "SELEC 1", "", "SELECT nothing FROM run", "PRAGMA user_version = 9"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        e = (struct err){0};
        assert_int_equal(store_query(s, refused[i], NULL, 0, &t, &e), ST_EUSAGE);
        assert_null(t);
    }
    store_close(s);
    remove_db();
}

static void run_sqlite(const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void refused(enum store_mode mode, enum status status, const char *says)
{
    struct store *s;
    struct err e = {0};
    assert_int_equal(store_open(&s, path, mode, &e), status);
    assert_null(s);
    if (!strstr(e.text, says) || strchr(e.text, '\n'))
        fail_msg("'%s' lacks '%s'", e.text, says);
}

static void write_garbage(size_t offset, size_t n)
{
    FILE *f = fopen(path, "r+b");
    if (!f)
        f = fopen(path, "w+b");
    assert_non_null(f);
    fseek(f, (long)offset, SEEK_SET);
    for (size_t i = 0; i < n; i++)
        fputc((int)(i * 37 & 255), f);
    fclose(f);
}

/* An older build's file had other axes: whoever opens it sees this build's, and a file that is only read stays as it was. */
static void views_follow_the_build(void **state)
{
    struct store *s = opened(STORE_WRITE);
    begun(s, "quick", "first");
    store_close(s);
    run_sqlite("DROP VIEW result_axes; CREATE VIEW result_axes AS SELECT 1 AS result_id, 'ok' AS outcome"); /* the others are as they should be */
    s = opened(STORE_READ);
    assert_int_equal(count(s, "SELECT count(plain) FROM rate"), 0);
    store_close(s);
    run_sqlite("DROP VIEW rate; DROP VIEW value_axes; DROP VIEW result_axes; CREATE VIEW result_axes AS SELECT 1 AS work;"
               "CREATE TABLE stamp AS SELECT 'kept' AS x");
    s = opened(STORE_READ);
    assert_int_equal(count(s, "SELECT count(act) + count(model_name) + count(text_id) FROM value_axes"), 0);
    assert_int_equal(count(s, "SELECT count(*) FROM rate"), 0);
    assert_int_equal(count(s, "SELECT count(*) FROM main.sqlite_schema WHERE type = 'view'"), 2);
    store_close(s);
    s = opened(STORE_WRITE);
    assert_int_equal(count(s, "SELECT count(*) FROM main.sqlite_schema WHERE type = 'view'"), 4);
    assert_int_equal(count(s, "SELECT count(*) FROM main.rate"), 0);
    int64_t version = count(s, "SELECT schema_version FROM pragma_schema_version");
    store_close(s);
    s = opened(STORE_WRITE); /* what stands is not made again */
    assert_int_equal(count(s, "SELECT schema_version FROM pragma_schema_version"), version);
    store_close(s);
    remove_db();
}

static void foreign_and_broken_files(void **state)
{
    refused(STORE_READ, ST_ENOENT, "No such file");
    run_sqlite("CREATE TABLE other (x)");
    refused(STORE_WRITE, ST_EFORMAT, "is not a qbench database");
    refused(STORE_READ, ST_EFORMAT, "is not a qbench database");
    run_sqlite("SELECT x FROM other"); /* and it was left as it was */
    remove_db();
    store_close(opened(STORE_WRITE));
    run_sqlite("PRAGMA user_version = 2");
    refused(STORE_WRITE, ST_EFORMAT, "schema version 2, this qbench reads 1; use the newer qbench");
    run_sqlite("PRAGMA user_version = 0");
    refused(STORE_READ, ST_EFORMAT, "schema version 0, this qbench reads 1; keep it with the older qbench");
    remove_db();
    write_garbage(0, 5000);
    refused(STORE_WRITE, ST_EFORMAT, "is not a qbench database");
    refused(STORE_READ, ST_EFORMAT, "is not a qbench database");
    remove_db();
    store_close(opened(STORE_WRITE));
    run_sqlite("PRAGMA journal_mode = DELETE");
    write_garbage(100, 4000); /* the page that lists the tables */
    refused(STORE_WRITE, ST_EFORMAT, "is corrupted");
    remove_db();
    char kept[sizeof path];
    strcpy(kept, path);
    snprintf(path, sizeof path, "%s/absent/x.db", folder);
    refused(STORE_WRITE, ST_EIO, "No such file or directory");
    snprintf(path, sizeof path, "%s", folder);
    refused(STORE_WRITE, ST_EIO, "cannot open");
    strcpy(path, kept);
}

static void read_only_folders(void **state)
{
    struct store *s = opened(STORE_WRITE);
    begun(s, "quick", NULL);
    store_close(s);
    assert_int_equal(chmod(path, 0444), 0);
    assert_int_equal(chmod(folder, 0555), 0);
    if (access(folder, W_OK) == 0) {
        chmod(folder, 0755);
        remove_db();
        print_message("skipped: root may write to read-only folders\n");
        skip();
    }
    s = opened(STORE_READ);
    assert_int_equal(count(s, "SELECT count(*) FROM run"), 1);
    store_close(s);
    refused(STORE_WRITE, ST_EIO, "read-only");
    chmod(folder, 0755);
    remove_db();
}

/* A limit on the size of files stands for a full disk: the case in flight is lost with a reason, what was stored stays. */
static int fill_disk(void)
{
    struct store *s = opened(STORE_WRITE);
    struct err e = {0};
    int64_t run = begun(s, "quick", NULL);
    static char big[3 << 20];
    struct bench_case c = keyed("work=peak op=f32_scalar threads=1");
    struct result r = {.outcome = OUTCOME_OK};
    signal(SIGXFSZ, SIG_IGN);
    if (store_result(s, run, &c, &r, &e) != ST_OK)
        return 1;
    result_add_blob(&r, "nll", "f32", big, sizeof big);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){1 << 20, 1 << 20});
    c = keyed("work=peak op=f32_scalar threads=2");
    enum status st = store_result(s, run, &c, &r, &e);
    result_clear(&r);
    store_close(s);
    return st == ST_EIO && strstr(e.text, path) && !strchr(e.text, '\n') ? 0 : 2;
}

static void full_disks(void **state)
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(fill_disk());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    struct store *s = opened(STORE_READ);
    assert_int_equal(count(s, "SELECT count(*) FROM result"), 1);
    store_close(s);
    remove_db();
}

/* Several processes that create one database at once, and write to it at once. */
static void many_writers(void **state)
{
    enum { WRITERS = 6, RESULTS = 10 };
    fflush(NULL);
    for (int w = 0; w < WRITERS; w++)
        if (fork() == 0) {
            struct store *s;
            struct run_info info_of = info("quick", NULL);
            struct err e = {0};
            int64_t run = 0;
            enum status st = store_open(&s, path, STORE_WRITE, &e);
            st = st == ST_OK ? store_run_begin(s, &info_of, &run, &e) : st;
            for (int i = 0; st == ST_OK && i < RESULTS; i++) {
                struct bench_case c = {0};
                struct result r = {.outcome = OUTCOME_OK};
                snprintf(c.key, sizeof c.key, "work=peak threads=%d", i);
                result_add_sample(&r, &(struct sample){1, 1, 1});
                st = store_result(s, run, &c, &r, &e);
                result_clear(&r);
            }
            if (st != ST_OK)
                fprintf(stderr, "writer %d: %s\n", w, e.text);
            store_close(s);
            _exit(st != ST_OK);
        }
    for (int w = 0, status; w < WRITERS; w++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    struct store *s = opened(STORE_READ);
    assert_int_equal(count(s, "SELECT count(*) FROM run"), WRITERS);
    assert_int_equal(count(s, "SELECT count(*) FROM result"), WRITERS * RESULTS);
    assert_int_equal(count(s, "SELECT count(*) FROM bench_case"), RESULTS);
    assert_int_equal(count(s, "SELECT count(*) FROM machine"), 1);
    store_close(s);
    remove_db();
}

/* A run with everything that show joins. */

enum { BLOCKS = 12, TOKENS = 20 * BLOCKS };

static void add_scores(struct result *r, double shift)
{
    float nll[TOKENS];
    int32_t block[TOKENS];
    for (int i = 0; i < TOKENS; i++) {
        block[i] = i / (TOKENS / BLOCKS);
        nll[i] = (float)(2 + 0.25 * (i % 7) + shift);
    }
    assert_int_equal(result_add_blob(r, "nll", "f32", nll, sizeof nll), ST_OK);
    assert_int_equal(result_add_blob(r, "block", "i32", block, sizeof block), ST_OK);
}

static void add_quality(struct store *s, int64_t run, const char *axes_of, const char *text, double nll, double delta)
{
    char key[512];
    struct result r = {.outcome = OUTCOME_OK};
    snprintf(key, sizeof key, "work=quality model=1m@abc %s kernel=auto text=%s tokens=4096 isa=native seed=1 threads=2", axes_of, text);
    add_value(&r, "nll", "nat", nll, 0.02);
    add_value(&r, "perplexity", "", exp(nll), 0.1);
    add_value(&r, "delta_nll", "nat", delta, 0.001);
    add_value(&r, "kl", "nat", 0.00123, 0);
    add_value(&r, "top1", "", 0.975, 0);
    add_value(&r, "size_bytes", "B", 1000000, 0);
    add_value(&r, "bits_per_weight", "bit", 4.5, 0);
    add_value(&r, "vs_fp32", "", 0.25, 0);
    add_value(&r, "vs_fp16", "", 0.5, 0);
    add_scores(&r, nll);
    stored(s, run, key, &r);
}

static void add_speed(struct store *s, int64_t run, const char *key, double rate, enum outcome outcome, const char *reason)
{
    struct result r = {.outcome = outcome};
    snprintf(r.reason, sizeof r.reason, "%s", reason);
    if (outcome == OUTCOME_OK || outcome == OUTCOME_UNTRUSTED) {
        add_value(&r, "rate", "token/s", rate, rate / 100);
        add_value(&r, "bytes_per_second", "B/s", rate * 1e9, rate * 1e7);
        add_value(&r, "ops_per_second", "op/s", rate * 2e9, rate * 2e7);
    }
    stored(s, run, key, &r);
}

static int64_t seeded_run(struct store *s)
{
    int64_t run = begun(s, "quick", "seeded");
    json_t *from = json_pack("{s:s}", "text", "kjv");
    assert_int_equal(store_model(s, "abc", "1m", "trained", from, "/x", NULL), ST_OK);
    json_decref(from);
    static const char rtn[] = "tune=none method=rtn format=int4 group=32 gamma=off", tuned[] = "tune=float tune_tokens=1000 method=rtn format=int4 group=32 gamma=off",
                      qat[] = "tune_tokens=1000 method=qat_ste format=int4 group=32 gamma=off", lonely[] = "tune_tokens=1000 method=qat_ste format=int8 group=0 gamma=off";
    add_quality(s, run, "tune=none format=f32", "kjv", 3.5, 0);
    add_quality(s, run, rtn, "kjv", 3.6, 0.1);
    add_quality(s, run, rtn, "python", 5.6, 0.3);
    add_quality(s, run, "tune=none method=rtn format=int4 group=0 gamma=off", "kjv", 3.9, 0.4);
    add_quality(s, run, tuned, "python", 5.5, 0.2); /* another text: no control for kjv */
    add_quality(s, run, tuned, "kjv", 3.55, 0.05);
    add_quality(s, run, qat, "kjv", 3.45, -0.05);
    add_quality(s, run, lonely, "kjv", 3.4, -0.1);
    add_speed(s, run, "work=decode model=1m@abc tune=none method=rtn format=int4 group=32 gamma=off kernel=int4_scalar prompt=8 generate=8 isa=native seed=1 threads=2", 100, OUTCOME_OK, "");
    add_speed(s, run, "work=decode model=1m@abc tune=none method=rtn format=int4 group=32 gamma=off kernel=int4_avx2 prompt=8 generate=8 isa=native seed=1 threads=2", 400, OUTCOME_UNTRUSTED, "noise");
    add_speed(s, run, "work=prefill model=1m@abc tune=none method=rtn format=int4 group=32 gamma=off kernel=int4_avx2 prompt=8 isa=native seed=1 threads=2", 0, OUTCOME_FAILED, "killed by SIGSEGV");
    add_speed(s, run, "work=decode model=random:1b tune=none method=rtn format=int4 group=32 gamma=off kernel=int4_avx2 prompt=8 generate=8 isa=native seed=1 threads=2", 7, OUTCOME_OK, "");
    add_speed(s, run, "work=gemm format=int4 group=32 kernel=int4_avx2 m=1 n=64 k=64 acts=quantize cache=cold isa=native seed=1 threads=2", 8, OUTCOME_OK, "");
    add_speed(s, run, "work=gemm format=int4 group=32 kernel=int4_avx2 m=1 n=64 k=64 acts=quantize cache=hot isa=native seed=1 threads=2", 16, OUTCOME_OK, "");
    add_speed(s, run, "work=gemm format=int4 group=32 kernel=int4_avx2 m=1 n=64 k=64 acts=quantize cache=hot isa=native seed=1 threads=1", 4, OUTCOME_OK, "");
    add_speed(s, run, "work=gemm format=int4 group=32 kernel=int4_vnni m=1 n=64 k=64 cache=hot isa=native seed=1 threads=2", 0, OUTCOME_SKIPPED, "needs avx512_vnni");
    add_speed(s, run, "work=gemm format=int8 group=0 kernel=int8_vnni m=1 n=64 k=64 cache=hot isa=native seed=1 threads=2", 0, OUTCOME_SKIPPED, "needs avx512_vnni");
    add_speed(s, run, "work=gemm format=int4 group=32 kernel=int4_avx2 m=1 n=64 k=64 acts=quantize cache=cold isa=native seed=1 threads=4", 4, OUTCOME_OK, "");
    add_speed(s, run, "work=bandwidth op=read bytes=1048576 isa=native threads=4", 100, OUTCOME_OK, "");
    add_speed(s, run, "work=bandwidth op=read bytes=1073741824 isa=native threads=2", 16, OUTCOME_OK, "");
    add_speed(s, run, "work=bandwidth op=read bytes=134217728 isa=native threads=2", 20, OUTCOME_OK, "");
    add_speed(s, run, "work=bandwidth op=read bytes=1048576 isa=native threads=2", 64, OUTCOME_OK, "");
    add_speed(s, run, "work=bandwidth op=copy bytes=1073741824 isa=native threads=2", 5, OUTCOME_OK, "");
    add_speed(s, run, "work=peak op=int8_avx2 isa=native threads=2", 80, OUTCOME_OK, "");
    add_speed(s, run, "work=peak op=f32_avx2 isa=native threads=2", 160, OUTCOME_OK, "");
    assert_int_equal(store_run_end(s, run, NULL, "load average 3.0\nCPU throttled", NULL), ST_OK);
    return run;
}

typedef enum status view(struct store *s, int64_t run, struct table **out, struct err *e);

static struct table *shown(view *v, struct store *s, int64_t run)
{
    struct table *t;
    struct err e = {0};
    if (v(s, run, &t, &e) != ST_OK)
        fail_msg("%s", e.text);
    return t;
}

static const struct cell *cell(const struct table *t, size_t row, const char *column)
{
    const struct cell *c = table_cell(t, row, table_find(t, column));
    if (!c)
        fail_msg("no cell '%s' in row %zu", column, row);
    return c;
}

/* The row whose columns hold these words; "" is an empty cell. */
static size_t row_of(const struct table *t, const char *const (*pairs)[2], int n)
{
    for (size_t r = 0; r < t->n_rows; r++) {
        bool all = true;
        for (int i = 0; i < n; i++) {
            const struct cell *c = cell(t, r, pairs[i][0]);
            all = all && !strcmp(c->type == CELL_TEXT ? c->text : "", pairs[i][1]);
        }
        if (all)
            return r;
    }
    fail_msg("no such row: %s=%s", pairs[0][0], pairs[0][1]);
    return 0;
}

static void assert_near(const struct cell *c, double wanted)
{
    double x = c->type == CELL_INT ? (double)c->integer : c->real;
    if (!(fabs(x - wanted) <= 1e-12 * fabs(wanted)))
        fail_msg("%.17g is not %.17g", x, wanted);
}

static void models_are_joined(void **state)
{
    struct store *s = opened(STORE_WRITE);
    int64_t run = seeded_run(s);
    struct table *t = shown(show_models, s, run);
    assert_int_equal(t->n_rows, 6);
    size_t rtn = row_of(t, (const char *const[][2]){{"method", "rtn"}, {"tune", "none"}}, 2);
    assert_int_equal(cell(t, rtn, "group")->integer, 0); /* then by group: the next row has 32 */
    rtn++;
    assert_true(row_of(t, (const char *const[][2]){{"format", "f32"}}, 1) == 0); /* width first: f32, int8, int4 */
    assert_true(row_of(t, (const char *const[][2]){{"format", "int8"}}, 1) < row_of(t, (const char *const[][2]){{"format", "int4"}}, 1));
    assert_near(cell(t, rtn, "NLL"), 3.6);
    assert_int_equal(cell(t, rtn, "NLL")->type, CELL_INTERVAL);
    assert_near(cell(t, rtn, "ΔNLL"), 0.1);
    assert_near(cell(t, rtn, "ΔNLL python"), 0.3);
    assert_int_equal(table_find(t, "ΔNLL kjv"), -1);
    assert_near(cell(t, rtn, "top-1"), 97.5);
    assert_near(cell(t, rtn, "vs FP32"), 25);
    assert_near(cell(t, rtn, "size"), 1000000);
    assert_near(cell(t, rtn, "decode"), 400); /* the fastest of two kernels */
    assert_string_equal(cell(t, rtn, "untrusted")->text, "decode");
    assert_int_equal(cell(t, rtn, "prefill")->type, CELL_EMPTY);
    assert_string_equal(cell(t, rtn, "prefill")->text, "killed by SIGSEGV");
    size_t tuned = row_of(t, (const char *const[][2]){{"tune", "float"}}, 1), f32 = row_of(t, (const char *const[][2]){{"format", "f32"}}, 1);
    assert_near(cell(t, tuned, "NLL"), 3.55);
    assert_int_equal(cell(t, tuned, "decode")->type, CELL_EMPTY); /* other axes, other row: nothing is borrowed */
    assert_null(cell(t, tuned, "decode")->text);
    assert_near(cell(t, f32, "ΔNLL"), 0);
    assert_int_equal(cell(t, f32, "ΔNLL python")->type, CELL_EMPTY);
    table_free(t);
    t = shown(show_random, s, run);
    assert_int_equal(t->n_rows, 1);
    assert_string_equal(cell(t, 0, "model")->text, "random:1b");
    assert_int_equal(table_find(t, "NLL"), -1);
    assert_near(cell(t, 0, "decode"), 7);
    table_free(t);
    store_close(s);
    remove_db();
}

static void qat_is_paired_with_its_control(void **state)
{
    struct store *s = opened(STORE_WRITE);
    struct table *t = shown(show_paired, s, seeded_run(s));
    assert_int_equal(t->n_rows, 2);
    const struct cell *d = cell(t, row_of(t, (const char *const[][2]){{"format", "int4"}}, 1), "ΔNLL");
    assert_int_equal(d->type, CELL_INTERVAL);
    /* every token differs by the same, up to the rounding of two floats below 8: so do mean and interval */
    assert_true(fabs(d->real - (3.45 - 3.55)) < 1e-6 && d->hi - d->lo < 1e-6 && d->lo <= d->real && d->real <= d->hi);
    d = cell(t, row_of(t, (const char *const[][2]){{"format", "int8"}}, 1), "ΔNLL");
    assert_int_equal(d->type, CELL_EMPTY);
    assert_non_null(strstr(d->text, "no control"));
    table_free(t);
    store_close(s);
    remove_db();
}

static void what_went_wrong_is_told(void **state)
{
    struct store *s = opened(STORE_WRITE);
    int64_t run = seeded_run(s);
    struct table *t = shown(show_problems, s, run);
    assert_int_equal(t->n_rows, 3); /* two skipped for one reason are one line */
    assert_int_equal(cell(t, row_of(t, (const char *const[][2]){{"outcome", "skipped"}}, 1), "cases")->integer, 2);
    table_free(t);
    t = shown(show_header, s, run);
    static const char *const facts[][2] = {{"outcomes", "21 ok, 1 failed, 2 skipped, 1 untrusted"}, {"warning", "load average 3.0"}, {"warning", "CPU throttled"},
                                           {"build", "0123456789ab (dirty), gcc, id 00000000000000bb"}, {"suite", "quick"}, {"label", "seeded"}};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        row_of(t, (const char *const[][2]){{"fact", facts[i][0]}, {"value", facts[i][1]}}, 2);
    table_free(t);
    store_close(s);
    remove_db();
}

static void runs_are_found(void **state)
{
    struct store *s = opened(STORE_WRITE);
    struct err e = {0};
    int64_t run, seeded, last;
    assert_int_equal(show_find_run(s, NULL, NULL, &run, &e), ST_ENOENT);
    assert_non_null(strstr(e.text, "holds no run yet"));
    seeded = seeded_run(s);
    last = begun(s, "smoke", "2");
    static const struct {
        const char *which, *suite;
        int wanted; /* 0: none, 1: the seeded one, 2: the last */
    } cases[] = {{NULL, NULL, 2}, {"latest", NULL, 2}, {NULL, "quick", 1}, {"1", NULL, 1}, {"seeded", NULL, 1}, {"2", NULL, 2}, {"seeded", "smoke", 0}, {"3", NULL, 0}, {"1 OR 1", NULL, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        e = (struct err){0};
        enum status st = show_find_run(s, cases[i].which, cases[i].suite, &run, &e);
        assert_int_equal(st, cases[i].wanted ? ST_OK : ST_ENOENT);
        assert_int_equal(run, cases[i].wanted == 0 ? 0 : cases[i].wanted == 1 ? seeded : last);
    }
    struct table *t;
    assert_int_equal(show_runs(s, NULL, &t, &e), ST_OK);
    assert_int_equal(t->n_rows, 2);
    assert_string_equal(cell(t, 1, "state")->text, "unfinished");
    table_free(t);
    /* every view of an empty run is empty or a header, in every form */
    struct show_tables all;
    for (int64_t id = 1; id <= 2; id++)
        for (int i = 0; sinks[i]; i++) {
            FILE *sink = fopen("/dev/null", "w");
            assert_int_equal(show_extent(s, id, SHOW_ALL, &all, &e), ST_OK);
            assert_int_equal(sinks[i]->print(sink, (const struct table *const *)all.tables, all.n, &e), ST_OK);
            show_close(&all);
            fclose(sink);
        }
    store_close(s);
    remove_db();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_come_back),
        cmocka_unit_test(runs_and_models),
        cmocka_unit_test(views_follow_the_build), cmocka_unit_test(foreign_and_broken_files),
        cmocka_unit_test(read_only_folders),
        cmocka_unit_test(full_disks),
        cmocka_unit_test(many_writers),
        cmocka_unit_test(models_are_joined),
        cmocka_unit_test(qat_is_paired_with_its_control),
        cmocka_unit_test(what_went_wrong_is_told),
        cmocka_unit_test(runs_are_found),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
