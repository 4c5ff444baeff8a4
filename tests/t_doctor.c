/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "cpu.h"
#include "doctor.h"
#include "fixture.h" /* before cmocka.h, whose macro is called fail too */

#include <cmocka.h>

static struct fixture root;
static struct meter_env env;

static int denied(void *attr, int pid, int cpu, int group, unsigned long flags) { return -EACCES; }

static int setup(void **state)
{
    int bad = fixture_open(&root);
    meter_env_real(&env, root.root);
    return bad;
}

static int teardown(void **state)
{
    cpu_set_mask(UINT32_MAX);
    return fixture_remove(&root, "");
}

static void examine(struct doctor *d, const char *db)
{
    char path[128], corpora[128];
    snprintf(path, sizeof path, "%s/%s", root.root, db);
    snprintf(corpora, sizeof corpora, "%s/corpus", root.root);
    doctor_examine(d, &(struct doctor_env){.meters = &env, .db = path, .corpora = corpora});
}

static const struct doctor_row *row(const struct doctor *d, const char *what)
{
    for (int i = 0; i < d->n; i++)
        if (!strcmp(d->row[i].what, what))
            return &d->row[i];
    fail_msg("no row '%s'", what);
    return NULL;
}

static int characters(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

/* A terminal of 24 x 110: title, header, rule, a note, and rows no wider than the columns before the last (24) and it. */
static void fits_a_screen(const struct doctor *d)
{
    struct table *t = doctor_table(d, true);
    assert_non_null(t);
    assert_in_range(t->n_rows + 4, 5, 24);
    for (size_t r = 0; r < t->n_rows; r++) {
        const struct cell *c = t->cells + r * (size_t)t->n_columns;
        assert_true(strlen(c[0].text) <= 13 && strlen(c[1].text) <= 7);
        assert_true(characters(c[2].text) <= 86);
        assert_true(d->row[r].advice[0] == 0 || strstr(c[2].text, d->row[r].advice));
    }
    table_free(t);
    t = doctor_table(d, false);
    assert_non_null(t);
    for (size_t r = 0; r < t->n_rows; r++)
        assert_string_equal(t->cells[r * (size_t)t->n_columns + 2].text, d->row[r].detail);
    table_free(t);
}

static void every_row_is_whole(const struct doctor *d)
{
    for (int i = 0; i < d->n; i++) {
        assert_true(d->row[i].detail[0]);
        assert_true((d->row[i].state == DOCTOR_WORKS) == !d->row[i].advice[0]);
    }
}

static void a_bare_root_is_told_row_by_row(void **state)
{
    struct doctor d;
    env.perf_open = denied;
    examine(&d, "qbench.db");
    every_row_is_whole(&d);
    fits_a_screen(&d);
    assert_int_equal(row(&d, "perf software")->state, DOCTOR_MISSING);
    assert_non_null(strstr(row(&d, "perf software")->detail, "permission denied"));
    assert_int_equal(row(&d, "rapl powercap")->state, DOCTOR_MISSING);
    assert_int_equal(row(&d, "corpora")->state, DOCTOR_MISSING);
    assert_string_equal(row(&d, "corpora")->advice, "make corpus");
    assert_int_equal(row(&d, "database")->state, DOCTOR_WORKS);
    assert_int_equal(row(&d, "kernels")->state, DOCTOR_WORKS);
}

static void what_is_there_is_found(void **state)
{
    struct doctor d;
    assert_int_equal(fixture_write(&root, "/proc/meminfo", "MemTotal: 33554432 kB\nMemAvailable: 16777216 kB\n"), 0);
    assert_int_equal(fixture_write(&root, "/corpus/kjv.info", "x\n"), 0);
    examine(&d, "qbench.db");
    assert_string_equal(row(&d, "memory")->detail, "16.0 GiB available");
    assert_int_equal(row(&d, "corpora")->state, DOCTOR_PARTLY);
    assert_non_null(strstr(row(&d, "corpora")->detail, "kjv in "));
    bool blas = row(&d, "openblas")->state != DOCTOR_MISSING;
    assert_int_equal(doctor_ready(&d), blas);
}

static void a_database_that_cannot_be_is_not_ready(void **state)
{
    struct doctor d;
    examine(&d, "nowhere/qbench.db");
    assert_int_equal(row(&d, "database")->state, DOCTOR_MISSING);
    assert_non_null(strstr(row(&d, "database")->detail, "nowhere: No such file"));
    assert_false(doctor_ready(&d));
    every_row_is_whole(&d);
}

static void a_masked_isa_is_told(void **state)
{
    struct doctor d;
    if (!cpu_isa_detected())
        skip();
    cpu_set_mask(0);
    examine(&d, "qbench.db");
    assert_int_equal(row(&d, "isa")->state, DOCTOR_PARTLY);
    assert_non_null(strstr(row(&d, "isa")->detail, "scalar; masked: avx2"));
    fits_a_screen(&d);
}

static void long_texts_are_cut_between_characters(void **state)
{
    struct doctor d = {.n = 1};
    d.row[0] = (struct doctor_row){.what = "x", .state = DOCTOR_MISSING};
    for (int i = 0; i < 100; i++)
        strcat(d.row[0].detail, "é");
    strcpy(d.row[0].advice, "do");
    fits_a_screen(&d);
    struct table *t = doctor_table(&d, true);
    assert_int_equal(characters(t->cells[2].text), 86);
    assert_non_null(strstr(t->cells[2].text, "é… → do"));
    table_free(t);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_bare_root_is_told_row_by_row), TEST(what_is_there_is_found), TEST(a_database_that_cannot_be_is_not_ready),
        TEST(a_masked_isa_is_told),           TEST(long_texts_are_cut_between_characters),
    };
    return cmocka_run_group_tests_name("doctor", tests, NULL, NULL);
}
