/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "suite_file.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "host.h"
#include "words.h"

enum { SECTIONS_MAX = 1000, EXCLUDES_MAX = 200, SECTION_NAME_MAX = sizeof ((struct section *)0)->name };

int suite_axes(void)
{
    int n = 0;
    while (axes[n].name)
        n++;
    return n;
}

const char *suite_key_name(int key) { return key < suite_axes() ? axes[key].name : setting_infos[key - suite_axes()].name; }

int suite_key_index(const char *name)
{
    int axis = axis_index(name), setting = setting_index(name);
    return axis >= 0 ? axis : setting >= 0 ? suite_axes() + setting : -1;
}

enum status suite_complain(struct suite_file *f, struct place at, const char *fmt, ...)
{
    char text[768];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (!at.line)
        return fail(f->e, ST_EUSAGE, "%s: %s", at.file, text);
    return fail(f->e, ST_EFORMAT, "%s:%zu:%zu: %s", at.file, at.line, at.column, text);
}

static struct place place_of(const struct suite_file *f, const yaml_node_t *node)
{
    return (struct place){f->name, node->start_mark.line + 1, node->start_mark.column + 1};
}

static yaml_node_t *node_at(struct suite_file *f, int id) { return yaml_document_get_node(f->doc, id); }

static const char *kind_of(const yaml_node_t *n)
{
    return n->type == YAML_MAPPING_NODE ? "a mapping" : n->type == YAML_SEQUENCE_NODE ? "a list" : "a single value";
}

static enum status scalar(struct suite_file *f, const yaml_node_t *n, const char *what, const char **text)
{
    if (n->type != YAML_SCALAR_NODE)
        return suite_complain(f, place_of(f, n), "%s must be a word or a number, not %s", what, kind_of(n));
    *text = (const char *)n->data.scalar.value;
    if (strlen(*text) != n->data.scalar.length)
        return suite_complain(f, place_of(f, n), "%s has a zero byte in it", what);
    if (!**text)
        return suite_complain(f, place_of(f, n), "%s has no value", what);
    return ST_OK;
}

/* Values */

void suite_values_free(struct values *v)
{
    free(v->word);
    memset(v, 0, sizeof *v);
}

static enum status values_add(struct suite_file *f, struct values *v, const char *word, struct place at)
{
    if (v->n >= SUITE_CASES_MAX)
        return suite_complain(f, at, "more than %d values", SUITE_CASES_MAX);
    if ((v->n & (v->n - 1)) == 0) {
        void *p = realloc(v->word, (v->n ? v->n * 2 : 1) * sizeof *v->word);
        if (!p)
            return fail(f->e, ST_ENOMEM, "no memory for the suite");
        v->word = p;
    }
    snprintf(v->word[v->n++], CASE_VALUE_MAX, "%s", word);
    return ST_OK;
}

/* "1..4", "1..64*2", "0..100+25"; threads also "1..all" and "1..all*2" */
static enum status add_range(struct suite_file *f, struct values *v, const char *name, const char *text, struct place at)
{
    long from, to = host_cpus(), step = 1;
    char op = '+', number[32];
    int used = 0, more = 0;
    bool all = !strcmp(name, "threads") && sscanf(text, "%18ld..all%n", &from, &used) == 1 && used > 0;
    if ((!all && sscanf(text, "%18ld..%18ld%n", &from, &to, &used) != 2) || from < 0)
        return suite_complain(f, at, "%s: '%s' is not a range; write 1..4, 1..64*2 or 0..100+25", name, text);
    if (text[used] && (sscanf(text + used, "%c%18ld%n", &op, &step, &more) != 2 || text[used + more] || !strchr("+*", op)))
        return suite_complain(f, at, "%s: '%s' is not a range; write 1..4, 1..64*2 or 0..100+25", name, text);
    if (to < from)
        return suite_complain(f, at, "%s: the range %s ends before it begins", name, text);
    if (op == '*' ? step < 2 || from < 1 : step < 1)
        return suite_complain(f, at, "%s: the range %s never ends", name, text);
    for (long x = from;; ) {
        snprintf(number, sizeof number, "%ld", x);
        if (values_add(f, v, number, at) != ST_OK)
            return ST_EFORMAT;
        if (op == '*' ? x > to / step : x > to - step)
            return ST_OK;
        x = op == '*' ? x * step : x + step;
    }
}

static enum status add_glob(struct suite_file *f, struct values *v, int axis, const char *glob, struct place at)
{
    size_t before = v->n;
    const char *word;
    char list[512] = "";
    for (int i = 0; (word = axis_value(axis, NULL, i)); i++) {
        words_append(list, sizeof list, word);
        if (fnmatch(glob, word, 0) == 0 && values_add(f, v, word, at) != ST_OK)
            return ST_EFORMAT;
    }
    if (v->n > before)
        return ST_OK;
    return suite_complain(f, at, "%s: '%s' matches nothing; it takes %s", axes[axis].name, glob, list);
}

/* One word of an axis. In an exclude, a glob over an axis without a table stays a glob. */
static enum status add_axis_word(struct suite_file *f, struct values *v, int axis, const char *text, struct place at, bool excluding)
{
    struct bench_case probe = {0};
    struct err why = {0};
    if (axes[axis].type == AXIS_INT && strstr(text, ".."))
        return add_range(f, v, axes[axis].name, text, at);
    if (axes[axis].type == AXIS_WORD && strpbrk(text, "*?[")) {
        if (axis_value(axis, NULL, 0))
            return add_glob(f, v, axis, text, at);
        if (!excluding)
            return suite_complain(f, at, "%s: '%s' is a glob, and this axis has no table to match", axes[axis].name, text);
    }
    if (case_set(&probe, axes[axis].name, text, &why) != ST_OK)
        return suite_complain(f, at, "%s", why.text);
    return values_add(f, v, probe.value[axis], at);
}

static enum status add_word(struct suite_file *f, struct values *v, int key, const char *text, struct place at, bool excluding)
{
    if (key < suite_axes())
        return add_axis_word(f, v, key, text, at, excluding);
    struct settings probe = {0};
    struct err why = {0};
    if (settings_set(&probe, suite_key_name(key), text, &why) != ST_OK)
        return suite_complain(f, at, "%s", why.text);
    if (strlen(text) >= CASE_VALUE_MAX)
        return suite_complain(f, at, "%s: longer than %d characters", suite_key_name(key), CASE_VALUE_MAX - 1);
    return values_add(f, v, text, at);
}

static enum status read_values(struct suite_file *f, struct values *v, int key, const yaml_node_t *n, bool excluding)
{
    const char *text;
    v->at = place_of(f, n);
    if (n->type != YAML_SEQUENCE_NODE)
        return scalar(f, n, suite_key_name(key), &text) == ST_OK ? add_word(f, v, key, text, v->at, excluding) : ST_EFORMAT;
    if (key >= suite_axes())
        return suite_complain(f, v->at, "%s is a setting and takes one value, not a list", suite_key_name(key));
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
        const yaml_node_t *item = node_at(f, *i);
        if (scalar(f, item, suite_key_name(key), &text) != ST_OK || add_word(f, v, key, text, place_of(f, item), excluding) != ST_OK)
            return ST_EFORMAT;
    }
    return v->n ? ST_OK : suite_complain(f, v->at, "%s: the list is empty", suite_key_name(key));
}

/* Sections */

enum status suite_unknown_key(struct suite_file *f, const char *name, struct place at)
{
    struct nearest near = nearest_to(name);
    char hint[128];
    for (int i = 0; axes[i].name; i++)
        nearest_offer(&near, axes[i].name);
    for (int i = 0; setting_infos[i].name; i++)
        nearest_offer(&near, setting_infos[i].name);
    nearest_offer(&near, "inherit");
    nearest_offer(&near, "exclude");
    if (!strcmp(name, "<<"))
        return suite_complain(f, at, "merge keys (<<) are not supported; use inherit");
    return suite_complain(f, at, "unknown key '%s'%s", name, nearest_hint(&near, hint, sizeof hint));
}

static enum status read_exclude(struct suite_file *f, struct exclude *x, const yaml_node_t *n)
{
    const char *name;
    if (n->type != YAML_MAPPING_NODE || n->data.mapping.pairs.start == n->data.mapping.pairs.top)
        return suite_complain(f, place_of(f, n), "an entry of exclude must be a mapping of axes, as {kernel: int8_scalar, threads: 2}");
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = node_at(f, p->key);
        if (scalar(f, k, "a key", &name) != ST_OK)
            return ST_EFORMAT;
        int axis = axis_index(name);
        if (axis < 0 && setting_index(name) >= 0)
            return suite_complain(f, place_of(f, k), "exclude: %s is a setting; only axes tell cases apart", name);
        if (axis < 0)
            return suite_unknown_key(f, name, place_of(f, k));
        if (!strcmp(name, "shape"))
            return suite_complain(f, place_of(f, k), "exclude: shape is short for n and k, and cases have only those; exclude by n and k");
        if (x->axis[axis].n)
            return suite_complain(f, place_of(f, k), "the key '%s' stands twice", name);
        if (read_values(f, &x->axis[axis], axis, node_at(f, p->value), true) != ST_OK)
            return ST_EFORMAT;
    }
    return ST_OK;
}

static enum status read_excludes(struct suite_file *f, struct section *s, const yaml_node_t *n)
{
    if (n->type != YAML_SEQUENCE_NODE)
        return suite_complain(f, place_of(f, n), "exclude must be a list of mappings, not %s", kind_of(n));
    size_t count = (size_t)(n->data.sequence.items.top - n->data.sequence.items.start);
    if (count > EXCLUDES_MAX)
        return suite_complain(f, place_of(f, n), "exclude has %zu entries, the most is %d", count, EXCLUDES_MAX);
    s->has_excludes = true;
    s->excludes = calloc(count ? count : 1, sizeof *s->excludes);
    if (!s->excludes)
        return fail(f->e, ST_ENOMEM, "no memory for the suite");
    for (size_t i = 0; i < count; i++) {
        s->n_excludes = i + 1;
        if (read_exclude(f, &s->excludes[i], node_at(f, n->data.sequence.items.start[i])) != ST_OK)
            return ST_EFORMAT;
    }
    return ST_OK;
}

static enum status read_inherit(struct suite_file *f, struct section *s, const yaml_node_t *n)
{
    const char *text;
    if (s == &f->global)
        return suite_complain(f, place_of(f, n), "global cannot inherit; sections do, and all of them start from global");
    if (scalar(f, n, "inherit", &text) != ST_OK)
        return ST_EFORMAT;
    if (s->parent_name[0])
        return suite_complain(f, place_of(f, n), "the key 'inherit' stands twice");
    snprintf(s->parent_name, sizeof s->parent_name, "%s", text);
    s->parent_at = place_of(f, n);
    return ST_OK;
}

static enum status read_section(struct suite_file *f, struct section *s, const yaml_node_t *n)
{
    const char *name;
    if (n->type != YAML_MAPPING_NODE)
        return suite_complain(f, place_of(f, n), "%s must be a mapping of keys to values, not %s", s->name, kind_of(n));
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = node_at(f, p->key), *v = node_at(f, p->value);
        enum status st;
        if (scalar(f, k, "a key", &name) != ST_OK)
            return ST_EFORMAT;
        int key = suite_key_index(name);
        if ((key >= 0 && s->key[key].n) || (!strcmp(name, "exclude") && s->has_excludes))
            return suite_complain(f, place_of(f, k), "the key '%s' stands twice", name);
        if (!strcmp(name, "inherit"))
            st = read_inherit(f, s, v);
        else if (!strcmp(name, "exclude"))
            st = read_excludes(f, s, v);
        else if (key >= 0)
            st = read_values(f, &s->key[key], key, v, false);
        else
            st = suite_unknown_key(f, name, place_of(f, k));
        if (st != ST_OK)
            return st;
        if (key >= 0)
            s->key[key].at = place_of(f, k);
    }
    return ST_OK;
}

struct section *suite_section(struct suite_file *f, const char *name)
{
    for (size_t i = 0; i < f->n_sections; i++)
        if (!strcmp(f->sections[i].name, name))
            return &f->sections[i];
    return NULL;
}

static enum status read_sections(struct suite_file *f, const yaml_node_t *n)
{
    const char *name;
    if (n->type != YAML_MAPPING_NODE)
        return suite_complain(f, place_of(f, n), "sections must be a mapping of names to sections, not %s", kind_of(n));
    size_t count = (size_t)(n->data.mapping.pairs.top - n->data.mapping.pairs.start);
    if (count > SECTIONS_MAX)
        return suite_complain(f, place_of(f, n), "%zu sections, the most is %d", count, SECTIONS_MAX);
    f->sections = calloc(count ? count : 1, sizeof *f->sections);
    if (!f->sections)
        return fail(f->e, ST_ENOMEM, "no memory for the suite");
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = node_at(f, p->key);
        if (scalar(f, k, "a section's name", &name) != ST_OK)
            return ST_EFORMAT;
        if (strlen(name) >= SECTION_NAME_MAX || !strcmp(name, "global"))
            return suite_complain(f, place_of(f, k), "'%.80s' cannot be a section's name: it must be shorter than %d characters and not global", name, SECTION_NAME_MAX);
        if (suite_section(f, name))
            return suite_complain(f, place_of(f, k), "the section '%s' stands twice", name);
        struct section *s = &f->sections[f->n_sections++];
        strcpy(s->name, name);
        s->at = place_of(f, k);
        if (read_section(f, s, node_at(f, p->value)) != ST_OK)
            return ST_EFORMAT;
    }
    return ST_OK;
}

static enum status read_top(struct suite_file *f, const yaml_node_t *n)
{
    const char *name = NULL;
    const yaml_node_t *global = NULL, *sections = NULL;
    if (n->type != YAML_MAPPING_NODE)
        return suite_complain(f, place_of(f, n), "a suite is a mapping with 'sections' and perhaps 'global', not %s", kind_of(n));
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = node_at(f, p->key), **slot;
        char hint[128];
        if (scalar(f, k, "a key", &name) != ST_OK)
            return ST_EFORMAT;
        slot = !strcmp(name, "global") ? &global : !strcmp(name, "sections") ? &sections : NULL;
        if (!slot) {
            struct nearest near = nearest_to(name);
            nearest_offer(&near, "global");
            nearest_offer(&near, "sections");
            nearest_hint(&near, hint, sizeof hint);
            return suite_complain(f, place_of(f, k), "unknown key '%s'%s", name, hint[0] ? hint : "; at the top stand 'global' and 'sections'");
        }
        if (*slot)
            return suite_complain(f, place_of(f, k), "the key '%s' stands twice", name);
        *slot = node_at(f, p->value);
    }
    if (!sections)
        return suite_complain(f, place_of(f, n), "the suite has no 'sections'");
    strcpy(f->global.name, "global");
    if (global && read_section(f, &f->global, global) != ST_OK)
        return ST_EFORMAT;
    return read_sections(f, sections);
}

/* Parsing */

static enum status parser_failed(struct suite_file *f, const yaml_parser_t *p)
{
    const char *problem = p->problem ? p->problem : "not YAML";
    const char *hint = strstr(problem, "undefined alias") ? " (a glob that begins with '*' must be quoted)"
                       : strstr(problem, "cannot start any token") ? " (tabs do not indent; some characters need quotes)" : "";
    if (p->error == YAML_MEMORY_ERROR)
        return fail(f->e, ST_ENOMEM, "%s: no memory to read it", f->name);
    if (p->error == YAML_READER_ERROR)
        return fail(f->e, ST_EFORMAT, "%s: byte %zu: %s; a suite is a UTF-8 text file", f->name, p->problem_offset, problem);
    struct place at = {f->name, p->problem_mark.line + 1, p->problem_mark.column + 1};
    return suite_complain(f, at, "%s%s", problem, hint);
}

/* One document, whole: a second one would be ignored silently otherwise. use is called while the document lives. */
static enum status with_document(struct suite_file *f, const char *text, size_t bytes,
                                 enum status (*use)(struct suite_file *f, yaml_node_t *root, void *ctx), void *ctx)
{
    yaml_parser_t parser;
    yaml_document_t doc, rest;
    enum status s;
    if (!yaml_parser_initialize(&parser))
        return fail(f->e, ST_ENOMEM, "no memory for the suite");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    if (!yaml_parser_load(&parser, &doc)) {
        s = parser_failed(f, &parser);
        yaml_parser_delete(&parser);
        return s;
    }
    yaml_node_t *root = yaml_document_get_root_node(&doc);
    f->doc = &doc;
    if (!root)
        s = fail(f->e, ST_EFORMAT, "%s: it is empty", f->name);
    else if (!yaml_parser_load(&parser, &rest))
        s = parser_failed(f, &parser);
    else {
        yaml_node_t *second = yaml_document_get_root_node(&rest);
        s = second ? suite_complain(f, place_of(f, second), "a second document; a suite is one") : use(f, root, ctx);
        yaml_document_delete(&rest);
    }
    yaml_document_delete(&doc);
    yaml_parser_delete(&parser);
    f->doc = NULL;
    return s;
}

static enum status use_suite(struct suite_file *f, yaml_node_t *root, void *ctx) { return read_top(f, root); }

enum status suite_file_read(struct suite_file *f, const char *text, size_t bytes) { return with_document(f, text, bytes, use_suite, NULL); }

struct single {
    int key;
    struct values *values;
};

static enum status use_value(struct suite_file *f, yaml_node_t *root, void *ctx)
{
    struct single *x = ctx;
    return read_values(f, x->values, x->key, root, false);
}

enum status suite_value_read(struct suite_file *f, const char *name, struct values *v, int key, const char *text)
{
    const char *outer = f->name;
    struct single x = {key, v};
    f->name = name;
    enum status st = with_document(f, text, strlen(text), use_value, &x);
    f->name = outer;
    return st;
}

static void section_free(struct section *s)
{
    for (int k = 0; k < SUITE_KEYS_MAX; k++)
        suite_values_free(&s->key[k]);
    for (size_t i = 0; i < s->n_excludes; i++)
        for (int a = 0; a < CASE_AXES_MAX; a++)
            suite_values_free(&s->excludes[i].axis[a]);
    free(s->excludes);
}

void suite_file_free(struct suite_file *f)
{
    section_free(&f->global);
    for (size_t i = 0; i < f->n_sections; i++)
        section_free(&f->sections[i]);
    free(f->sections);
}
