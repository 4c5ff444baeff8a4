/* case.h — one case: a work and a value for each axis that it reads, with one canonical key. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_CASE_H
#define QBENCH_CASE_H

#include "base.h"

/*
 * A key is "work=gemm format=int4 group=32 kernel=int4_vnni m=1 n=4096 k=4096 cache=cold isa=native threads=2": axes in
 * the order of axes.def, blanks between, no blanks within. It is the identity of a row in the database, and
 * `qbench case 'KEY'` runs it again. Settings say how to measure and are no part of it.
 */
enum axis_type { AXIS_WORD, AXIS_INT, AXIS_REAL };
struct axis {
    const char *name;
    enum axis_type type;
    const char *fallback; /* default */
    const char *doc;
};
extern const struct axis axes[];   /* name == NULL ends it */
int axis_index(const char *name);  /* -1: unknown */

struct work;

/* The i-th word that a closed axis takes besides its default; NULL past the last, and for an open axis (model, text, numbers). w narrows op. */
const char *axis_value(int axis, const struct work *w, int i);
bool work_reads(const struct work *w, int axis);
void axis_readers(int axis, char *buf, size_t n); /* "gemm, decode": the works that read it */

enum { CASE_AXES_MAX = 32, CASE_VALUE_MAX = 256, CASE_KEY_MAX = 1024 };

struct settings {
#define SETTING(field, type, fallback, doc) SETTING_##type(field)
#define SETTING_INT(field) long field;
#define SETTING_REAL(field) double field;
#define SETTING_WORD(field) char field[128];
#include "settings.def"
#undef SETTING
#undef SETTING_INT
#undef SETTING_REAL
#undef SETTING_WORD
    /* Where the content that the key names was found: filled in by resolving, never by a suite. */
    char model_path[1024], tuned_path[1024], text_path[1024];
};
struct setting_info {
    const char *name;
    enum axis_type type;
    const char *fallback, *doc;
    size_t offset;
};
extern const struct setting_info setting_infos[]; /* name == NULL ends it */
void settings_default(struct settings *s);
int setting_index(const char *name); /* -1: unknown */
enum status settings_set(struct settings *s, const char *name, const char *value, struct err *e);

struct bench_case {
    const struct work *work;
    bool has[CASE_AXES_MAX];
    char value[CASE_AXES_MAX][CASE_VALUE_MAX];
    char key[CASE_KEY_MAX];  /* made by case_make_key */
    char section[64];        /* of the suite; "" otherwise */
    struct settings settings;
    char skip[256];          /* why this case cannot run here; "" when it can */
};

const char *case_text(const struct bench_case *c, const char *axis); /* its value, or the axis's default; asserts that the axis exists */
long case_int(const struct bench_case *c, const char *axis);
bool case_is(const struct bench_case *c, const char *axis, const char *value);
/* Type-checked: ST_EUSAGE "m: 'x' is not a whole number". */
enum status case_set(struct bench_case *c, const char *axis, const char *value, struct err *e);
/* The axis's value (a model or text also by its name before '@') against a glob; false where the case has no such axis. */
bool case_matches(const struct bench_case *c, int axis, const char *glob);
void case_drop(struct bench_case *c, const char *axis); /* the axis has no meaning here: it leaves the key */

/*
 * Resolves a case that a suite or a key spelled out: fills defaults of the axes that its work reads, drops those that it does not or
 * that have no meaning (group of f32, gamma_on without gamma), turns auto and 0 into what they stand for, calls work->resolve, and
 * makes the key. A case that cannot run on this machine gets its reason in c->skip and is ST_OK; nonsense is ST_EUSAGE.
 */
enum status case_resolve(struct bench_case *c, struct err *e);
void case_make_key(struct bench_case *c);
enum status case_parse(struct bench_case *c, const char *key, struct err *e); /* a key, as printed; not yet resolved */

#endif
