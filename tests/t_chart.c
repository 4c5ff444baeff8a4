/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chart.h" /* before cmocka.h, whose macro is called fail too */
#include "format.h"
#include "host.h"

#include <cmocka.h>

int cmd_plot(int argc, char **argv);

static char folder[64] = "/tmp/t_chart_XXXXXX";

/* Helpers */

static const char *path_of(const char *name)
{
    static char paths[8][512];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* The whole file; NULL when it is not there. The caller frees. */
static char *read_all(const char *path)
{
    FILE *f = fopen(path, "r");
    char *text = NULL;
    size_t n = 0;
    if (!f)
        return NULL;
    if (getdelim(&text, &n, 0, f) < 0) {
        free(text);
        text = strdup("");
    }
    fclose(f);
    return text;
}

/* What a picture says, without its tags: lines that were broken are joined by one blank. */
static char *words_of(const char *path)
{
    char *text = read_all(path), *to = text;
    bool tag = false;
    for (const char *p = text; p && *p; p++) {
        if (*p == '<' || *p == '>')
            tag = *p == '<';
        else if (!tag && !(strchr(" \n\t", *p) && to > text && to[-1] == ' '))
            *to++ = *p == '\n' || *p == '\t' ? ' ' : *p;
    }
    if (to)
        *to = 0;
    return text;
}

static void assert_says(const char *path, const char *want)
{
    char *text = words_of(path);
    if (!text || !strstr(text, want))
        fail_msg("%s does not say '%s'; it says:\n%s", path, want, text ? text : "(not there)");
    free(text);
}

static void assert_file_has(const char *path, const char *want)
{
    char *text = read_all(path);
    if (!text || !strstr(text, want))
        fail_msg("%s does not hold '%s'; it is:\n%s", path, want, text ? text : "(not there)");
    free(text);
}

static int count_files(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *f; d && (f = readdir(d));)
        n += strcmp(f->d_name, ".") && strcmp(f->d_name, "..");
    if (d)
        closedir(d);
    return n;
}

static void need_gnuplot(void)
{
    if (system("command -v gnuplot >/dev/null 2>&1") != 0) {
        print_message("skipped: gnuplot is not installed\n");
        skip();
    }
}

/* A chart from text; asserts that it can be read. */
static struct chart chart_from(const char *name, const char *text)
{
    struct chart c;
    struct err e = {0};
    char file[128];
    snprintf(file, sizeof file, "%s.gp", name);
    write_file(path_of(file), text);
    if (chart_load(&c, path_of(file), &e) != ST_OK)
        fail_msg("%s", e.text);
    return c;
}

/* A database with one run that holds nothing. */

static sqlite3 *db;

static void sql(const char *fmt, ...)
{
    va_list ap;
    char *error = NULL;
    va_start(ap, fmt);
    char *text = sqlite3_vmprintf(fmt, ap);
    va_end(ap);
    if (sqlite3_exec(db, text, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s: %s", error, text);
    sqlite3_free(text);
}

static const char hostile[] = "\"quoted\" 'it' `touch pwned` \\ \\n @name $x %d {/Bold b} a_b^c #x\ttab";

static struct store *make_store(const char *name)
{
    struct store *s;
    struct err e = {0};
    unlink(path_of(name));
    if (store_open(&s, path_of(name), STORE_WRITE, &e) != ST_OK)
        fail_msg("%s", e.text);
    assert_int_equal(sqlite3_open(path_of(name), &db), SQLITE_OK);
    sql("INSERT INTO machine VALUES ('m', json_object('cpu', %Q, 'threads', 2, 'memory_bytes', 8589934592, 'hypervisor', 'KVM'), 'now')", hostile);
    sql("INSERT INTO build VALUES ('b', '{\"commit\": \"0123456789abcdef\", \"dirty\": true}', 'now')");
    sql("INSERT INTO run (id, uuid, label, suite, suite_hash, suite_text, argv, machine_id, build_id, started, cases, owner)"
        " VALUES (1, 'u', %Q, 'quick', 'h', '', '', 'm', 'b', '2026-01-02T03:04:05Z', 0, '')", hostile);
    return s;
}

static void close_store(struct store *s)
{
    sqlite3_close(db);
    db = NULL;
    store_close(s);
}

static int results;

static void value(const char *name, double x, double lo, double hi)
{
    sql("INSERT INTO value VALUES (%d, %Q, '', %.17g, %.17g, %.17g, '')", results, name, x, lo, hi);
}

static void begin_case(const char *work, const char *model, const char *method, const char *format, int group, const char *gamma, const char *on)
{
    results++;
    sql("INSERT INTO bench_case (id, key, axes) VALUES (%d, 'case %d', json_patch('{}', json_object('work', %Q, 'model', %Q, 'method', %Q, 'format', %Q,"
        " 'group', %s, 'gamma', %Q, 'gamma_on', %Q, 'tune', %s, 'threads', 2, 'seed', 1, 'isa', 'native', 'kernel', 'k')))",
        results, results, work, model, method, format, method ? (group ? "32" : "0") : "NULL", gamma, on, method && !strcmp(method, "qat_ste") ? "NULL" : "'none'");
    sql("INSERT INTO result VALUES (%d, 1, %d, 's', %Q, %Q, 1, 'now')", results, results, results % 5 ? "ok" : "untrusted", results % 5 ? "" : "noise");
}

static void add_axis(const char *name, const char *json) { sql("UPDATE bench_case SET axes = json_set(axes, '$.%s', json(%Q)) WHERE id = %d", name, json, results); }

static void add_size(const char *format)
{
    double bits = !strcmp(format, "f32") ? 32 : !strcmp(format, "int8") ? 8.25 : 4.5;
    value("parameters", 1e6, 0, 0);
    value("size_bytes", 1e6 * (1 + bits / 8 * 0.75), 0, 0);
    value("vs_fp32", 0.25 + 0.75 * bits / 32, 0, 0);
    value("vs_fp16", 0.5 + 1.5 * bits / 32, 0, 0);
    value("bits_per_weight", bits, 0, 0);
    value("quantized_share", bits < 32 ? 0.75 : 0, 0, 0);
}

static void add_nll(const float *nll, int n)
{
    sqlite3_stmt *st;
    int block[64];
    for (int i = 0; i < n; i++)
        block[i] = i / 8;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sqlite3_prepare_v2(db, "INSERT INTO blob (result_id, name, type, data) VALUES (?1, ?2, ?3, ?4)", -1, &st, NULL), SQLITE_OK);
        sqlite3_bind_int(st, 1, results);
        sqlite3_bind_text(st, 2, i ? "block" : "nll", -1, SQLITE_STATIC);
        sqlite3_bind_text(st, 3, i ? "i32" : "f32", -1, SQLITE_STATIC);
        sqlite3_bind_blob(st, 4, i ? (const void *)block : nll, n * 4, SQLITE_TRANSIENT);
        assert_int_equal(sqlite3_step(st), SQLITE_DONE);
        sqlite3_finalize(st);
    }
}

static void add_quality(const char *method, const char *format, const char *gamma, const char *on, double delta)
{
    float nll[64];
    for (int i = 0; i < 64; i++)
        nll[i] = 3 + 0.5f * (float)(i % 7) + (float)delta + 0.001f * (float)((i * 37 + results) % 11);
    begin_case("quality", "1m@abc", method, format, 0, gamma, on);
    add_axis("text", "\"kjv@123\"");
    add_axis("tokens", "64");
    value("delta_nll", delta, delta - 0.01, delta + 0.01);
    value("perplexity", 20 * exp(delta), 19, 24);
    value("scored_tokens", 64, 0, 0);
    add_nll(nll, 64);
    add_size(format);
}

static void add_energy(const char *metric, const char *unit)
{
    sql("INSERT INTO reading (result_id, meter, metric, unit, source, status, value, reason, window_seconds, idle_watts, net_value)"
        " VALUES (%d, 'rapl_perf', %Q, %Q, 'perf energy-pkg', 'measured', 60.0, '', 1.0, 20.0, 40.0)", results, metric, unit);
}

static void add_speed(const char *work, const char *model, const char *method, const char *format, const char *gamma, double rate, bool energy)
{
    begin_case(work, model, method, format, 0, gamma, NULL);
    value("rate", rate, rate * 0.97, rate * 1.02);
    add_size(format);
    for (int i = 0; i < 12; i++)
        sql("INSERT INTO sample VALUES (%d, %d, 0.05, 1, %d)", results, i, i);
    if (energy) {
        add_energy("total_joules", "J");
        value("total_joules_per_unit", 60 / rate, 0, 0);
    } else {
        sql("INSERT INTO reading (result_id, meter, metric, unit, source, status, reason) VALUES (%d, 'rapl_perf', 'total_joules', 'J', '', 'unavailable', %Q)", results, hostile);
    }
}

static void fill_models(bool energy)
{
    static const char *const works[] = {"decode", "prefill"};
    add_quality(NULL, "f32", NULL, NULL, 0);
    add_quality("rtn", "int8", "off", NULL, 0.002);
    add_quality("rtn", "int8", "tensor", "weight", 0.001);
    add_quality("qat_ste", "int4", "off", NULL, 0.02);
    add_quality("qat_ste", "int4", "tensor", "act", 0.03);
    for (int i = 0; i < 2; i++) {
        add_speed(works[i], "1m@abc", NULL, "f32", NULL, 2000, energy);
        add_speed(works[i], "1m@abc", "rtn", "int8", "off", 5000, energy);
        add_speed(works[i], "1m@abc", "qat_ste", "int4", "off", 8000, energy);
        add_speed(works[i], "random:100m", NULL, "f32", NULL, 90, energy);
        add_speed(works[i], "random:100m", "rtn", "int4", "off", 400, energy);
    }
}

static void fill_kernels(void)
{
    begin_case("bandwidth", NULL, NULL, NULL, 0, NULL, NULL);
    add_axis("op", "\"read\"");
    add_axis("bytes", "1000000000");
    value("bytes_per_second", 3e10, 2.9e10, 3.1e10);
    begin_case("gemm", NULL, "rtn", "int4", 32, NULL, NULL);
    add_axis("m", "1");
    add_axis("n", "4096");
    add_axis("k", "4096");
    add_axis("cache", "\"cold\"");
    value("bytes_per_second", 2.4e10, 2.3e10, 2.5e10);
}

/* Reading */

static void a_header_is_read(void **state)
{
    struct chart c = chart_from("read", "# A title\n# SPDX-License-Identifier: GPL-3.0-or-later\n#\n# Why it is\n#  drawn.\n#note One.\n#note Two.\n#empty Nothing here.\n"
                                        "#sql SELECT 1\n#sql   AS x\n#data:speed SELECT 2\n#sql WHERE 1\n#paired:gain\n#sql SELECT 3\n#list:word SELECT 4\n\nplot 1\n# a comment of the body\nplot 2\n");
    static const struct {
        enum chart_kind kind;
        const char *name, *sql;
    } want[] = {{CHART_DATA, "data", "SELECT 1\nAS x"}, {CHART_DATA, "speed", "SELECT 2\nWHERE 1"}, {CHART_PAIRED, "gain", "SELECT 3"}, {CHART_LIST, "word", "SELECT 4"}};
    assert_string_equal(c.name, "read");
    assert_string_equal(c.title, "A title");
    assert_string_equal(c.note, "One. Two.");
    assert_string_equal(c.empty, "Nothing here.");
    assert_int_equal(c.n_queries, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(c.queries[i].kind, want[i].kind);
        assert_string_equal(c.queries[i].name, want[i].name);
        assert_string_equal(c.queries[i].sql, want[i].sql);
    }
    assert_non_null(strstr(c.body, "plot 1\n# a comment of the body\nplot 2"));
    chart_free(&c);
}

static void a_bad_header_is_refused(void **state)
{
    static const struct {
        const char *text, *said;
    } bad[] = {
        {"# T\n#sqll SELECT 1\nplot 1\n", "bad.gp:2: unknown directive '#sqll'"},
        {"# T\n#data:a SELECT 1\n#list:a SELECT 1\nplot 1\n", "bad.gp:3: a second query is named 'a'"},
        {"# T\n#data:a-b SELECT 1\nplot 1\n", "bad.gp:2: 'a-b' is no name"},
        {"# T\n#data: SELECT 1\nplot 1\n", "bad.gp:2: '' is no name"},
        {"# T\n#sql SELECT 1\n#list:title SELECT 1\nplot 1\n", "bad.gp:3: the name 'title' is taken"},
        {"# T\n#sql SELECT 1\n#data:a\nplot 1\n", "the query 'a' is empty"},
        {"# T\n#list:a SELECT 1\nplot 1\n", "has no query"},
        {"# T\n# just words\nplot 1\n", "has no query"},
        {"# T\n#sql SELECT 1\n", "nothing follows its header"},
        {"#sql SELECT 1\nplot 1\n", "must be a comment with the title"},
        {"", "must be a comment with the title"},
    };
    struct chart c;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        write_file(path_of("bad.gp"), bad[i].text);
        assert_int_equal(chart_load(&c, path_of("bad.gp"), &e), ST_EFORMAT);
        if (!strstr(e.text, bad[i].said))
            fail_msg("case %zu: '%s' does not say '%s'", i, e.text, bad[i].said);
        assert_null(c.name);
    }
    struct err e = {0};
    assert_int_equal(chart_load(&c, path_of("nowhere.gp"), &e), ST_ENOENT);
}

static void lines_are_wrapped(void **state)
{
    static const struct {
        const char *text, *want;
        int width;
    } cases[] = {
        {"one two three", "one two\nthree", 8}, {"one two three", "one two three", 13}, {"one two three", "one\ntwo\nthree", 3},
        {"unbreakable x", "unbreakable\nx", 4}, {"γγγ γγγ", "γγγ γγγ", 7},               {"a\nb c d", "a\nb c\nd", 3},
        {"", "", 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *got = chart_wrap(cases[i].text, cases[i].width);
        assert_string_equal(got, cases[i].want);
        free(got);
    }
}

static void every_bit_width_has_its_own_look(void **state)
{
    static const int bits[] = {32, 16, 8, 4, 3, 2, 1};
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        const struct chart_style *a = chart_style(bits[i]);
        assert_int_equal(a->bits, bits[i]);
        for (size_t k = 0; k < i; k++) {
            const struct chart_style *b = chart_style(bits[k]);
            assert_string_not_equal(a->colour, b->colour);
            assert_int_not_equal(a->point, b->point);
        }
    }
    for (int f = 0; f < FORMAT_COUNT; f++)
        for (int g = 0; g < f; g++)
            if (formats[f].bits != formats[g].bits)
                assert_int_not_equal(chart_style(formats[f].bits)->pattern, chart_style(formats[g].bits)->pattern);
    assert_string_equal(chart_style(32)->colour, "#0072B2");
    assert_string_equal(chart_style(8)->colour, "#E69F00");
    assert_string_equal(chart_style(4)->colour, "#009E73");
    assert_non_null(chart_style(77)->colour);
}

/* Escaping */

static void gnuplot_reads_back_what_was_quoted(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"plain", "plain"},
        {"`touch pwned`", "`touch pwned`"},
        {"\\`touch pwned\\`", "\\`touch pwned\\`"},
        {"\" ; system(\"touch pwned\") ; \"", "\" ; system(\"touch pwned\") ; \""},
        {"'single' @macro $1 %d {/Bold x} a_b^c #", "'single' @macro $1 %d {/Bold x} a_b^c #"},
        {"back\\slash \\n \\101", "back\\slash \\n \\101"},
        {"tab\tand\rreturn", "tab and return"},
        {"two\nlines", "two\nlines"},
        {"γ × 10⁶", "γ × 10⁶"},
        {"bad \xff\xc3 bytes \xe2\x82", "bad ?? bytes ??"},
        {"digit after \"1", "digit after \"1"},
        {"} unbalanced {{ ( [ '", "} unbalanced {{ ( [ '"},
        {"ends in \\", "ends in \\"},
        {"", ""},
    };
    char command[256];
    need_gnuplot();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        FILE *f = fopen(path_of("quote.gp"), "w");
        assert_non_null(f);
        fputs("set print \"quote.txt\"\nmacro = \"expanded\"\nx = ", f);
        chart_quote(f, cases[i].text);
        fputs("\nprint x\n", f);
        fclose(f);
        snprintf(command, sizeof command, "cd %s && gnuplot -d quote.gp 2>quote.err", folder);
        assert_int_equal(system(command), 0);
        char *got = read_all(path_of("quote.txt"));
        assert_non_null(got);
        size_t n = strlen(got);
        assert_true(n > 0 && got[n - 1] == '\n');
        got[n - 1] = 0;
        assert_string_equal(got, cases[i].want);
        free(got);
    }
    assert_int_not_equal(access(path_of("pwned"), F_OK), 0);
}

/* gnuplot draws what the database says, whatever that is: labels, lists, captions and the data itself. */
static void hostile_texts_are_only_drawn(void **state)
{
    struct store *s = make_store("hostile.db");
    struct err e = {0};
    need_gnuplot();
    struct chart c = chart_from("hostile", "# Hostile \"`touch pwned`\" \\ title\n#note A `touch pwned` note.\n#list:words_of SELECT label FROM run\n"
                                           "#data:data SELECT label AS \"a `touch pwned` \"\"name\", 1 AS x, 2 AS y, label, NULL AS none FROM run WHERE id = ?1\n"
                                           "set title words_of[1]\nplot data index block(\"data\") using \"x\":\"y\":(strcol(\"label\")) with labels\n");
    if (chart_draw(&c, s, 1, path_of("hostile"), &e) != ST_OK)
        fail_msg("%s", e.text);
    assert_int_equal(count_files(path_of("hostile")), 4);
    assert_file_has(path_of("hostile/hostile.dat"), "\n1\t'quoted' 'it' `touch pwned` \\ \\n @name $x %d {/Bold b} a_b^c #x tab\t1\t2\t");
    assert_file_has(path_of("hostile/hostile.dat"), "\tNaN\n");
    assert_file_has(path_of("hostile/hostile.svg"), "`touch pwned`");
    assert_file_has(path_of("hostile/hostile.svg"), "{/Bold b} a_b^c");
    assert_int_not_equal(access(path_of("hostile/pwned"), F_OK), 0);
    assert_int_not_equal(access("pwned", F_OK), 0);
    chart_free(&c);
    close_store(s);
}

/* Data */

static void datasets_become_blocks(void **state)
{
    struct store *s = make_store("blocks.db");
    struct err e = {0};
    need_gnuplot();
    struct chart c = chart_from("blocks", "# Blocks\n#data:one SELECT 1.5 AS v, 7 AS samples UNION ALL SELECT 2, 9\n"
                                          "#data:two SELECT 1 AS panel, 'first' AS title, 10 AS v UNION ALL SELECT 2, 'second', 20 UNION ALL SELECT 2, 'second', 30\n"
                                          "#list:none SELECT 1 WHERE 0\n"
                                          "if (one_rows != 2 || two_rows != 3 || two_panels != 2 || none_count != 0 || two_title[2] ne \"second\") { exit error \"shape\" }\n"
                                          "plot data index block(\"one\") using \"row\":\"v\", for [p = 1:2] data index block(sprintf(\"two/%d\", p)) using \"row\":\"v\"\n");
    if (chart_draw(&c, s, 1, path_of("blocks"), &e) != ST_OK)
        fail_msg("%s", e.text);
    char *text = read_all(path_of("blocks/blocks.dat"));
    assert_string_equal(text, "# [one]\nrow\tv\tsamples\n1\t1.5\t7\n2\t2\t9\n\n\n# [two/1]\nrow\tpanel\ttitle\tv\n1\t1\tfirst\t10\n\n\n"
                              "# [two/2]\nrow\tpanel\ttitle\tv\n1\t2\tsecond\t20\n2\t2\tsecond\t30\n\n\n");
    free(text);
    assert_file_has(path_of("blocks/blocks.svg"), "n = 7 to 9 samples a case.");
    chart_free(&c);
    close_store(s);
}

static void pairs_are_subtracted_token_by_token(void **state)
{
    struct store *s = make_store("pairs.db");
    struct err e = {0};
    float a[64], b[64];
    double lo, hi, mean, base;
    need_gnuplot();
    for (int i = 0; i < 64; i++) {
        b[i] = (float)(i % 13);
        a[i] = b[i] + (i / 8 % 2 ? 0.75f : 0.25f); /* by block: the mean is 0.5, the interval within [0.25, 0.75] */
    }
    results = 0;
    begin_case("quality", "m", "rtn", "int8", 0, "tensor", "weight");
    add_nll(a, 64);
    begin_case("quality", "m", "rtn", "int8", 0, "off", NULL);
    add_nll(b, 64);
    begin_case("quality", "m", "rtn", "int4", 0, "off", NULL);
    add_nll(b, 32);
    struct chart c = chart_from("pairs", "# Pairs\n#paired:gain SELECT 1 AS result_id, 2 AS base_id\nplot data index block(\"gain\") using \"row\":\"difference\"\n");
    if (chart_draw(&c, s, 1, path_of("pairs"), &e) != ST_OK)
        fail_msg("%s", e.text);
    char *text = read_all(path_of("pairs/pairs.dat"));
    assert_int_equal(sscanf(text, "# [gain]\nrow\tresult_id\tbase_id\tdifference\tlo\thi\n1\t1\t%lf\t%lf\t%lf\t%lf", &base, &mean, &lo, &hi), 4);
    assert_true(mean == 0.5 && lo >= 0.25 && lo < 0.5 && hi > 0.5 && hi <= 0.75);
    free(text);
    chart_free(&c);
    static const char *const bad[] = {"SELECT 1 AS result_id, 3 AS base_id", "SELECT 1 AS result_id", "SELECT 1 AS result_id, 9 AS base_id"};
    static const char *const said[] = {"scored different tokens", "needs the columns", "has no 'nll'"};
    for (int i = 0; i < 3; i++) {
        char chart[256];
        snprintf(chart, sizeof chart, "# Pairs\n#paired:gain %s\nplot 1\n", bad[i]);
        c = chart_from("pairs", chart);
        e = (struct err){0};
        assert_int_not_equal(chart_draw(&c, s, 1, path_of("pairs"), &e), ST_OK);
        assert_non_null(strstr(e.text, "chart pairs, query 'gain'"));
        assert_non_null(strstr(e.text, said[i]));
        chart_free(&c);
    }
    close_store(s);
}

/* Failures */

static void a_failure_leaves_nothing_behind(void **state)
{
    struct store *s = make_store("fails.db");
    struct err e = {0};
    need_gnuplot();
    struct chart good = chart_from("x", "# T\n#sql SELECT 1 AS x\nplot data using \"row\":\"x\"\n");
    if (chart_draw(&good, s, 1, path_of("fails/deep"), &e) != ST_OK)
        fail_msg("%s", e.text);
    char *before = read_all(path_of("fails/deep/x.gp"));
    struct chart bad = chart_from("x", "# T\n#sql SELECT 2 AS x\nplot no_such_function(x)\n");
    assert_int_equal(chart_draw(&bad, s, 1, path_of("fails/deep"), &e), ST_EFORMAT);
    assert_non_null(strstr(e.text, "chart x: gnuplot failed: \"x.gp\" line "));
    assert_non_null(strstr(e.text, "undefined function"));
    chart_free(&bad);
    bad = chart_from("x", "# T\n#sql SELEKT 2 AS x\nplot 1\n");
    e = (struct err){0};
    assert_int_equal(chart_draw(&bad, s, 1, path_of("fails/deep"), &e), ST_EFORMAT);
    assert_non_null(strstr(e.text, "chart x, query 'data'"));
    chart_free(&bad);
    bad = chart_from("x", "# T\n#sql SELECT 2 AS x\nunset multiplot\nunset output\nexit\n");
    e = (struct err){0};
    assert_int_equal(chart_draw(&bad, s, 1, path_of("fails/deep"), &e), ST_EIO);
    char *after = read_all(path_of("fails/deep/x.gp"));
    assert_string_equal(after, before);
    assert_int_equal(count_files(path_of("fails/deep")), 4);
    e = (struct err){0};
    assert_int_equal(chart_draw(&good, s, 1, path_of("fails/deep/x.gp"), &e), ST_EIO); /* a file is no folder */
    free(before);
    free(after);
    chart_free(&bad);
    chart_free(&good);
    close_store(s);
}

static void without_gnuplot_it_says_so(void **state)
{
    struct store *s = make_store("without.db");
    struct err e = {0};
    struct chart c = chart_from("x", "# T\n#sql SELECT 1 AS x\nplot 1\n");
    char *path = strdup(getenv("PATH") ? getenv("PATH") : "");
    setenv("PATH", "/nowhere", 1);
    enum status st = chart_draw(&c, s, 1, path_of("without"), &e);
    setenv("PATH", path, 1);
    free(path);
    assert_int_equal(st, ST_EUNSUPPORTED);
    assert_non_null(strstr(e.text, "gnuplot-nox"));
    assert_int_equal(count_files(path_of("without")), 0);
    chart_free(&c);
    close_store(s);
}

/* The command, in a child: its exit code, and what it said. */
static int plot_command(char *said, size_t n, const char *const *args)
{
    char *argv[16] = {(char *)"plot"};
    int argc = 1, status;
    for (; *args; args++)
        argv[argc++] = (char *)*args;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (!freopen(path_of("said"), "w", stderr) || !freopen("/dev/null", "w", stdout))
            _Exit(99);
        int code = cmd_plot(argc, argv);
        fflush(stderr);
        _Exit(code);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    char *text = read_all(path_of("said"));
    snprintf(said, n, "%s", text ? text : "");
    free(text);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
#define PLOT(said, ...) plot_command(said, sizeof said, (const char *const[]){__VA_ARGS__, NULL})

static void the_command_answers_with_codes(void **state)
{
    char said[2048];
    close_store(make_store("command.db"));
    assert_int_equal(PLOT(said, "througput", "--db", path_of("command.db")), 2);
    assert_non_null(strstr(said, "did you mean 'throughput'?"));
    assert_int_equal(PLOT(said, "xyzzyplugh", "--db", path_of("command.db")), 2);
    assert_non_null(strstr(said, "there are "));
    assert_int_equal(PLOT(said, "--no-such-option"), 2);
    assert_int_equal(PLOT(said, "--run", "nothing", "--db", path_of("command.db")), 2);
    assert_int_equal(PLOT(said, "--db", path_of("no.db")), 2);
    need_gnuplot();
    assert_int_equal(PLOT(said, "size", "gemv", "--db", path_of("command.db"), "--output", path_of("command")), 0);
    assert_int_equal(count_files(path_of("command")), 8);
    setenv("PATH", "/nowhere", 1);
    assert_int_equal(PLOT(said, "--db", path_of("command.db"), "--output", path_of("command")), 3);
    setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1);
    assert_non_null(strstr(said, "gnuplot-nox"));
    assert_null(strchr(strchr(said, '\n') + 1, '\n')); /* once, not for every chart */
}

/* The charts of plots/ */

/* Draws them all; then runs every script again, as a user would, and wants no word from gnuplot (but that a panel lacks a format). */
static void draw_every_chart(struct store *s, const char *out, const char *empty)
{
    char plots[1024], path[2048], file[128], command[512], **names;
    struct err e = {0};
    host_path(plots, sizeof plots, "plots");
    if (chart_names(&names, plots, &e) != ST_OK)
        fail_msg("%s", e.text);
    assert_non_null(names[0]);
    for (char **name = names; *name; name++) {
        struct chart c;
        snprintf(path, sizeof path, "%s/%s.gp", plots, *name);
        if (chart_load(&c, path, &e) != ST_OK || chart_draw(&c, s, 1, path_of(out), &e) != ST_OK)
            fail_msg("%s", e.text);
        snprintf(file, sizeof file, "%s/%s.svg", out, *name);
        assert_file_has(path_of(file), c.title);
        if (empty)
            assert_says(path_of(file), empty);
        snprintf(file, sizeof file, "%s/%s.dat", out, *name);
        char *data = read_all(path_of(file));
        assert_true(empty ? !*data : *data == '#');
        free(data);
        snprintf(command, sizeof command, "cd %s/%s && gnuplot -d %s.gp >words 2>&1 && ! grep -v 'no valid points' words", folder, out, *name);
        if (system(command) != 0)
            fail_msg("%s: gnuplot complains", *name);
        chart_free(&c);
    }
    chart_names_free(names);
}

static void a_run_with_everything_fills_every_chart(void **state)
{
    struct store *s = make_store("full.db");
    need_gnuplot();
    results = 0;
    fill_models(true);
    fill_kernels();
    draw_every_chart(s, "full", NULL);
    assert_says(path_of("full/throughput.svg"), "2.50×");
    assert_says(path_of("full/throughput.svg"), "100m (random weights)");
    assert_says(path_of("full/throughput.svg"), "n = 12 samples a case.");
    assert_says(path_of("full/throughput.svg"), "! marks a case that is untrusted");
    assert_says(path_of("full/throughput.svg"), "commit 0123456789ab with changes");
    assert_file_has(path_of("full/gemv.dat"), "\t80\t");
    assert_file_has(path_of("full/energy.dat"), "\t12\t8\t60\t40\t");
    close_store(s);
}

static void an_empty_run_is_told_in_words(void **state)
{
    struct store *s = make_store("empty.db");
    need_gnuplot();
    draw_every_chart(s, "empty", "in this run; run `qbench run quick`.");
    close_store(s);
}

static void energy_that_was_not_measured_is_told_with_its_reason(void **state)
{
    struct store *s = make_store("dead.db");
    char path[1024];
    struct chart c;
    struct err e = {0};
    need_gnuplot();
    results = 0;
    fill_models(false);
    host_path(path, sizeof path, "plots/energy.gp");
    if (chart_load(&c, path, &e) != ST_OK || chart_draw(&c, s, 1, path_of("dead"), &e) != ST_OK)
        fail_msg("%s", e.text);
    assert_says(path_of("dead/energy.svg"), "package energy: not measured on this machine: rapl_perf:");
    assert_says(path_of("dead/energy.svg"), "`touch pwned`");
    chart_free(&c);
    close_store(s);
}

static int temporary_folder(void **state) { return mkdtemp(folder) ? 0 : -1; }

static int remove_folder(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_is_read),
        cmocka_unit_test(a_bad_header_is_refused),
        cmocka_unit_test(lines_are_wrapped),
        cmocka_unit_test(every_bit_width_has_its_own_look),
        cmocka_unit_test(gnuplot_reads_back_what_was_quoted),
        cmocka_unit_test(hostile_texts_are_only_drawn),
        cmocka_unit_test(datasets_become_blocks),
        cmocka_unit_test(pairs_are_subtracted_token_by_token),
        cmocka_unit_test(a_failure_leaves_nothing_behind),
        cmocka_unit_test(without_gnuplot_it_says_so),
        cmocka_unit_test(the_command_answers_with_codes),
        cmocka_unit_test(a_run_with_everything_fills_every_chart),
        cmocka_unit_test(an_empty_run_is_told_in_words),
        cmocka_unit_test(energy_that_was_not_measured_is_told_with_its_reason),
    };
    return cmocka_run_group_tests(tests, temporary_folder, remove_folder);
}
