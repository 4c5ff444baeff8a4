/* suite_file.h — a suite's YAML as sections of keys, before they multiply into cases. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_SUITE_FILE_H
#define QBENCH_SUITE_FILE_H

#include "case.h"

enum {
    SUITE_CASES_MAX = 100000,  /* values of a key, and combinations of a suite before duplicates are removed */
    SUITE_KEYS_MAX = 64,       /* axes, then settings */
};
_Static_assert(SUITE_KEYS_MAX >= CASE_AXES_MAX + 32, "room for every axis and setting");

/* Where something stands; line 0: the whole of it. */
struct place {
    const char *file;
    size_t line, column;
};

/* The values of one key, spelled out: ranges and globs are already expanded. n == 0: the key is absent. */
struct values {
    char (*word)[CASE_VALUE_MAX]; /* owned */
    size_t n;
    struct place at;
};

struct exclude {
    struct values axis[CASE_AXES_MAX];
};

struct section {
    char name[64];
    struct place at;
    struct values key[SUITE_KEYS_MAX];    /* its own; words owned */
    const struct values *use[SUITE_KEYS_MAX]; /* own, else inherited, else global's; NULL: nowhere */
    struct exclude *excludes;       /* owned */
    size_t n_excludes;
    bool has_excludes;
    const struct section *excluder; /* whose excludes hold here */
    char parent_name[CASE_VALUE_MAX];
    struct place parent_at;
    int state;                      /* of the walk over parents: 0 new, 1 on the way, 2 done */
};

/* A file, or the value of one --set, as it was read. */
struct suite_file {
    const char *name;         /* borrowed: stands in every message */
    struct section global;
    struct section *sections; /* owned */
    size_t n_sections;
    struct yaml_document_s *doc; /* libyaml's, while it is being read */
    struct err *e;
};

/* Key indices: axes first, then settings. */
int suite_axes(void);
const char *suite_key_name(int key);
int suite_key_index(const char *name); /* -1: unknown */

/* "name:line:column: …" into f->e; ST_EFORMAT, or ST_EUSAGE where there is no line. */
enum status suite_complain(struct suite_file *f, struct place at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
enum status suite_unknown_key(struct suite_file *f, const char *name, struct place at);

struct section *suite_section(struct suite_file *f, const char *name); /* NULL: none */

/* Fills global and sections; parents are not yet linked. On failure what was read still has to be freed. */
enum status suite_file_read(struct suite_file *f, const char *text, size_t bytes);
/* text: the value of one key as YAML; name stands for the file in messages. */
enum status suite_value_read(struct suite_file *f, const char *name, struct values *v, int key, const char *text);
void suite_values_free(struct values *v);
void suite_file_free(struct suite_file *f);

#endif
