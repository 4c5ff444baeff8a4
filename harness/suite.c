/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "suite.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "host.h"
#include "kernel.h"
#include "suite_file.h"
#include "words.h"
#include "work.h"

enum { FILE_MAX = 1 << 20 }; /* bytes */

struct loader {
    struct suite_file file;
    const struct suite_options *options;
    struct suite *out;
    size_t combinations;
    uint32_t *slots; /* owned: hash table of 1 + index into out->cases */
    size_t n_slots, capacity;
};

/* Inheritance */

static enum status link_section(struct loader *l, struct section *s)
{
    if (s->state == 2)
        return ST_OK;
    if (s->state == 1)
        return suite_complain(&l->file, s->parent_at, "section '%s' inherits from itself", s->name);
    s->state = 1;
    const struct section *from = &l->file.global;
    if (s->parent_name[0]) {
        struct section *parent = suite_section(&l->file, s->parent_name);
        if (!parent) {
            struct nearest near = nearest_to(s->parent_name);
            char hint[128];
            for (size_t i = 0; i < l->file.n_sections; i++)
                nearest_offer(&near, l->file.sections[i].name);
            return suite_complain(&l->file, s->parent_at, "no section is named '%s'%s", s->parent_name, nearest_hint(&near, hint, sizeof hint));
        }
        if (link_section(l, parent) != ST_OK)
            return ST_EFORMAT;
        from = parent;
    }
    for (int k = 0; k < SUITE_KEYS_MAX; k++)
        s->use[k] = s->key[k].n ? &s->key[k] : from == &l->file.global ? (l->file.global.key[k].n ? &l->file.global.key[k] : NULL) : from->use[k];
    s->excluder = s->has_excludes ? s : from == &l->file.global ? &l->file.global : from->excluder;
    s->state = 2;
    return ST_OK;
}

static bool section_reads(const struct section *s, int axis)
{
    const struct values *w = s->use[0];
    for (size_t i = 0; w && i < w->n; i++)
        if (work_reads(work_find(w->word[i]), axis))
            return true;
    return false;
}

static enum status check_section(struct loader *l, const struct section *s)
{
    char readers[256];
    if (!s->use[0])
        return suite_complain(&l->file, s->at, "section '%s' has no work", s->name);
    for (int i = 0; axes[i].name; i++)
        if (s->key[i].n && !section_reads(s, i)) {
            axis_readers(i, readers, sizeof readers);
            return suite_complain(&l->file, s->key[i].at, "work %s does not read '%s'; these do: %s", s->use[0]->word[0], axes[i].name, readers);
        }
    return ST_OK;
}

/* --set: replaces the key wherever it has meaning. */

struct override {
    int key;
    struct values values; /* words owned */
    char file[160];       /* what stands in a message for the file: "--set m=[1, 2]" */
};

static enum status apply_set(struct loader *l, const char *set, bool general, struct override *o)
{
    char name[64];
    const char *eq = strchr(set, '=');
    if (!eq || eq == set || (size_t)(eq - set) >= sizeof name)
        return fail(l->file.e, ST_EUSAGE, "--set %s: write key=value", set);
    snprintf(name, sizeof name, "%.*s", (int)(eq - set), set);
    snprintf(o->file, sizeof o->file, "--set %.120s", set);
    o->key = suite_key_index(name);
    if (o->key < 0)
        return suite_unknown_key(&l->file, name, (struct place){o->file, 0, 0});
    if (!eq[1])
        return fail(l->file.e, ST_EUSAGE, "--set %s: the value is missing", set);
    enum status s = suite_value_read(&l->file, o->file, &o->values, o->key, eq + 1);
    bool used = false;
    for (size_t i = 0; s == ST_OK && i < l->file.n_sections; i++) {
        bool reads = o->key >= suite_axes() || section_reads(&l->file.sections[i], o->key);
        used = used || reads;
        if (reads)
            l->file.sections[i].use[o->key] = &o->values;
    }
    if (s == ST_OK && !used && !general)
        s = fail(l->file.e, ST_EUSAGE, "--set %s: no section of this suite reads '%s'", set, name);
    if (s == ST_EFORMAT)
        s = ST_EUSAGE;
    return s;
}

/* Expansion */

static bool excluded(const struct bench_case *c, const struct section *s)
{
    for (size_t i = 0; i < s->excluder->n_excludes; i++) {
        const struct exclude *x = &s->excluder->excludes[i];
        bool all = true;
        for (int a = 0; all && axes[a].name; a++) {
            bool any = x->axis[a].n == 0;
            for (size_t k = 0; !any && k < x->axis[a].n; k++)
                any = case_matches(c, a, x->axis[a].word[k]);
            all = any;
        }
        if (all)
            return true;
    }
    return false;
}

/* "axis=glob,axis=glob": every part names something before its '='. */
static bool filter_by_axes(const char *filter)
{
    for (const char *p = filter; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
        size_t name = strspn(p, "abcdefghijklmnopqrstuvwxyz_"), part = strcspn(p, ",");
        if (!name || p[name] != '=' || memchr(p, ' ', part))
            return false;
    }
    return true;
}

static enum status check_filter(const char *filter, struct err *e)
{
    char name[64], hint[128];
    if (!filter || !filter_by_axes(filter))
        return ST_OK;
    for (const char *p = filter; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(p, "="), p);
        if (!strcmp(name, "shape"))
            return fail(e, ST_EUSAGE, "--filter: shape is short for n and k, and cases have only those; use --set shape=…, or filter by n and k");
        if (axis_index(name) >= 0)
            continue;
        struct nearest near = nearest_to(name);
        for (int i = 0; axes[i].name; i++)
            nearest_offer(&near, axes[i].name);
        return fail(e, ST_EUSAGE, "--filter: unknown axis '%s'%s", name, nearest_hint(&near, hint, sizeof hint));
    }
    return ST_OK;
}

static bool kept(const struct bench_case *c, const char *filter)
{
    char name[64], glob[CASE_KEY_MAX];
    if (!filter)
        return true;
    if (!filter_by_axes(filter))
        return fnmatch(filter, c->key, 0) == 0;
    for (const char *p = filter; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
        int n = (int)strcspn(p, "="), m = (int)strcspn(p + n + 1, ",");
        snprintf(name, sizeof name, "%.*s", n, p);
        snprintf(glob, sizeof glob, "%.*s", m, p + n + 1);
        if (!case_matches(c, axis_index(name), glob))
            return false;
    }
    return true;
}

static bool section_asked(const struct section *s, const struct suite_options *o)
{
    for (int i = 0; i < o->n_sections; i++)
        if (fnmatch(o->sections[i], s->name, 0) == 0)
            return true;
    return !o->n_sections;
}

/* Each must name something: a misspelled section would be missing silently. */
static enum status check_sections(struct loader *l)
{
    const struct suite_options *o = l->options;
    for (int i = 0; i < o->n_sections; i++) {
        char list[512] = "";
        size_t k = 0;
        for (; k < l->file.n_sections && fnmatch(o->sections[i], l->file.sections[k].name, 0) != 0; k++)
            words_append(list, sizeof list, l->file.sections[k].name);
        if (k == l->file.n_sections)
            return fail(l->file.e, ST_EUSAGE, "--section %s: %s has no such section; it has %s", o->sections[i], l->file.name, list);
    }
    return ST_OK;
}

static size_t slot_of(const struct loader *l, const char *key)
{
    size_t i = XXH64(key, strlen(key), 0) & (l->n_slots - 1);
    while (l->slots[i] && strcmp(l->out->cases[l->slots[i] - 1].key, key) != 0)
        i = (i + 1) & (l->n_slots - 1);
    return i;
}

static enum status grow(struct loader *l)
{
    struct suite *s = l->out;
    if (s->count < l->capacity)
        return ST_OK;
    size_t capacity = l->capacity ? l->capacity * 2 : 64;
    struct bench_case *cases = realloc(s->cases, capacity * sizeof *cases);
    if (cases)
        s->cases = cases;
    uint32_t *slots = calloc(capacity * 2, sizeof *slots);
    if (!cases || !slots) {
        free(slots);
        return fail(l->file.e, ST_ENOMEM, "no memory for %zu cases", capacity);
    }
    free(l->slots);
    l->slots = slots;
    l->n_slots = capacity * 2;
    l->capacity = capacity;
    for (size_t i = 0; i < s->count; i++)
        l->slots[slot_of(l, s->cases[i].key)] = (uint32_t)i + 1;
    return ST_OK;
}

/* The first of equal keys stays: with it its settings and its place in the order. */
static enum status keep_case(struct loader *l, const struct bench_case *c)
{
    enum status s = grow(l);
    if (s != ST_OK)
        return s;
    size_t slot = slot_of(l, c->key);
    if (!l->slots[slot]) {
        l->out->cases[l->out->count++] = *c;
        l->slots[slot] = (uint32_t)l->out->count;
    }
    return ST_OK;
}

/* A glob of ops reaches over the works that have ops; only those of the case's own work make a case. */
static bool op_belongs(const struct bench_case *c, int axis, const char *value)
{
    const char *word;
    if (strcmp(axes[axis].name, "op") != 0)
        return true;
    for (int i = 0; (word = axis_value(axis, c->work, i)); i++)
        if (!strcmp(word, value))
            return true;
    return false;
}

/* A list or a glob of kernels against a list of formats: pairs that contradict each other are not cases. */
static bool disagrees(const struct bench_case *c)
{
    int kernel = axis_index("kernel"), format = axis_index("format");
    const struct kernel *k = c->has[kernel] ? kernel_find(c->value[kernel]) : NULL;
    return k && c->has[format] && work_reads(c->work, format) && strcmp(formats[k->format].name, c->value[format]) != 0;
}

static enum status one_case(struct loader *l, const struct section *s, struct bench_case *c)
{
    struct err why = {0};
    struct bench_case spelled = *c;
    enum status st = case_resolve(c, &why);
    if (st != ST_OK && excluded(&spelled, s))
        return ST_OK;
    if (st == ST_EUSAGE || st == ST_EFORMAT || st == ST_ENOENT)
        return suite_complain(&l->file, s->at, "section '%s': %s", s->name, why.text);
    if (st != ST_OK)
        return fail(l->file.e, st, "%s", why.text);
    return excluded(c, s) || !kept(c, l->options->filter) ? ST_OK : keep_case(l, c);
}

static enum status set_up(struct loader *l, const struct section *s, const size_t *digit, const int *wheel, int wheels, struct bench_case *c,
                          bool *fits)
{
    *fits = true;
    memset(c, 0, sizeof *c);
    settings_default(&c->settings);
    snprintf(c->section, sizeof c->section, "%s", s->name);
    struct err why = {0};
    for (int i = suite_axes(); i < SUITE_KEYS_MAX; i++)
        if (s->use[i])
            settings_set(&c->settings, suite_key_name(i), s->use[i]->word[0], NULL);
    for (int i = 0; i < wheels; i++) {
        const struct values *v = s->use[wheel[i]];
        if (wheel[i] && !work_reads(c->work, wheel[i]))
            continue;
        if (wheel[i] && !op_belongs(c, wheel[i], v->word[digit[i]]))
            *fits = false;
        else if (case_set(c, axes[wheel[i]].name, v->word[digit[i]], &why) != ST_OK)
            return suite_complain(&l->file, v->at, "section '%s': %s", s->name, why.text);
    }
    *fits = *fits && !disagrees(c);
    return ST_OK;
}

static enum status count_combinations(struct loader *l, const struct section *s, const int *wheel, int wheels)
{
    size_t product = 1;
    for (int i = 0; i < wheels; i++)
        if (__builtin_mul_overflow(product, s->use[wheel[i]]->n, &product))
            product = SIZE_MAX / 2;
    l->combinations += product;
    if (l->combinations > SUITE_CASES_MAX)
        return suite_complain(&l->file, s->at, "section '%s' multiplies to %zu cases; a suite may have %d, so shorten its lists", s->name, product, SUITE_CASES_MAX);
    return ST_OK;
}

/* The axes that turn, the slowest first: the work, on which the reading of the others depends, and last what is compared. */
static int choose_wheels(const struct section *s, int *wheel)
{
    int setting = suite_key_index("compare"), wheels = 0;
    const char *compared = s->use[setting] ? s->use[setting]->word[0] : "";
    for (int fast = 0; fast < 2; fast++)
        for (int i = 0; axes[i].name; i++)
            if (s->use[i] && section_reads(s, i) && (i > 0 && words_has(compared, axes[i].name)) == (fast > 0))
                wheel[wheels++] = i;
    return wheels;
}

/* An odometer: the first axis turns slowest, so that cases come in the order in which a reader expands the lists. */
static enum status expand_section(struct loader *l, const struct section *s)
{
    int wheel[CASE_AXES_MAX], wheels = choose_wheels(s, wheel);
    size_t digit[CASE_AXES_MAX] = {0};
    struct bench_case c;
    bool fits, any = false;
    enum status st = count_combinations(l, s, wheel, wheels);
    for (int i = 0; st == ST_OK && i >= 0;) {
        st = set_up(l, s, digit, wheel, wheels, &c, &fits);
        if (st == ST_OK && fits)
            st = one_case(l, s, &c);
        any = any || fits;
        for (i = wheels - 1; i >= 0 && ++digit[i] == s->use[wheel[i]]->n; i--)
            digit[i] = 0;
    }
    if (st == ST_OK && !any)
        return suite_complain(&l->file, s->at, "section '%s' has no case: no kernel of it takes its format, or no op belongs to its work", s->name);
    return st;
}

static enum status build_cases(struct loader *l)
{
    const struct suite_options *o = l->options;
    struct override *overrides = calloc((size_t)o->n_sets + 1, sizeof *overrides);
    enum status s = overrides ? check_sections(l) : fail(l->file.e, ST_ENOMEM, "no memory for the suite");
    for (size_t i = 0; s == ST_OK && i < l->file.n_sections; i++)
        s = link_section(l, &l->file.sections[i]);
    for (size_t i = 0; s == ST_OK && i < l->file.n_sections; i++)
        s = check_section(l, &l->file.sections[i]);
    /* works first: which sections read the other keys depends on them */
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; s == ST_OK && i < o->n_sets; i++)
            if ((strncmp(o->sets[i], "work=", 5) == 0) == (pass == 0))
                s = apply_set(l, o->sets[i], i < o->n_general, &overrides[i]);
    for (size_t i = 0; s == ST_OK && i < l->file.n_sections; i++)
        if (section_asked(&l->file.sections[i], o))
            s = expand_section(l, &l->file.sections[i]);
    for (int i = 0; overrides && i < o->n_sets; i++)
        suite_values_free(&overrides[i].values);
    free(overrides);
    return s;
}

/* Files */

static enum status not_found(const char *name, struct err *e)
{
    char dir[1024], list[512] = "", word[64], best[64] = "", hint[128];
    int distance = 1 << 20;
    host_path(dir, sizeof dir, "suites");
    DIR *d = opendir(dir);
    for (struct dirent *f; d && (f = readdir(d));) {
        size_t n = strlen(f->d_name);
        if (n <= 5 || n >= sizeof word || strcmp(f->d_name + n - 5, ".yaml") != 0)
            continue;
        snprintf(word, sizeof word, "%.*s", (int)(n - 5), f->d_name);
        words_append(list, sizeof list, word);
        struct nearest near = nearest_to(name);
        nearest_offer(&near, word);
        if (near.distance < distance && nearest_hint(&near, hint, sizeof hint)[0]) {
            distance = near.distance;
            strcpy(best, word);
        }
    }
    if (d)
        closedir(d);
    if (best[0])
        return fail(e, ST_ENOENT, "no suite is named '%s', did you mean '%s'?", name, best);
    return fail(e, ST_ENOENT, "no suite is named '%s'; in %s there are: %s", name, dir, list[0] ? list : "none");
}

static enum status read_file(struct suite *s, const char *name, size_t *bytes, struct err *e)
{
    bool is_path = strchr(name, '/') || (strlen(name) > 5 && !strcmp(name + strlen(name) - 5, ".yaml"));
    char relative[sizeof s->path];
    snprintf(relative, sizeof relative, "suites/%.400s.yaml", name);
    if (is_path)
        snprintf(s->path, sizeof s->path, "%s", name);
    else
        host_path(s->path, sizeof s->path, relative);
    const char *base = strrchr(s->path, '/') ? strrchr(s->path, '/') + 1 : s->path;
    snprintf(s->name, sizeof s->name, "%.*s", (int)strcspn(base, "."), base);
    FILE *f = fopen(s->path, "rb");
    if (!f && errno == ENOENT && !is_path)
        return not_found(name, e);
    if (!f)
        return fail(e, errno == ENOENT ? ST_ENOENT : ST_EIO, "cannot read %s: %s", s->path, strerror(errno));
    s->text = calloc(1, FILE_MAX + 1);
    *bytes = s->text ? fread(s->text, 1, FILE_MAX + 1, f) : 0;
    int broken = ferror(f), error = errno;
    fclose(f);
    if (!s->text)
        return fail(e, ST_ENOMEM, "no memory to read %s", s->path);
    if (broken)
        return fail(e, ST_EIO, "cannot read %s: %s", s->path, strerror(error));
    if (*bytes > FILE_MAX)
        return fail(e, ST_EFORMAT, "%s: larger than %d bytes; that is no suite", s->path, FILE_MAX);
    s->text = realloc(s->text, *bytes + 1);
    s->text[*bytes] = 0;
    return ST_OK;
}

static void make_hash(struct suite *s, size_t bytes, const struct suite_options *o)
{
    XXH64_state_t *h = XXH64_createState();
    XXH64_reset(h, 0);
    XXH64_update(h, s->text, bytes);
    for (int i = 0; i < o->n_sets; i++) {
        XXH64_update(h, "\0set", 4);
        XXH64_update(h, o->sets[i], strlen(o->sets[i]));
    }
    for (int i = 0; i < o->n_sections; i++) {
        XXH64_update(h, "\0section", 8);
        XXH64_update(h, o->sections[i], strlen(o->sections[i]));
    }
    if (o->filter) {
        XXH64_update(h, "\0filter", 7);
        XXH64_update(h, o->filter, strlen(o->filter));
    }
    snprintf(s->hash, sizeof s->hash, "%016llx", (unsigned long long)XXH64_digest(h));
    XXH64_freeState(h);
}

enum status suite_load(struct suite *s, const char *name, const struct suite_options *options, struct err *e)
{
    static const struct suite_options none;
    struct loader l = {.options = options ? options : &none, .out = s, .file = {.name = s->path, .e = e}};
    size_t bytes = 0;
    memset(s, 0, sizeof *s);
    enum status st = read_file(s, name, &bytes, e);
    if (st == ST_OK)
        st = check_filter(l.options->filter, e);
    if (st == ST_OK)
        st = suite_file_read(&l.file, s->text, bytes);
    if (st == ST_OK) {
        make_hash(s, bytes, l.options);
        st = build_cases(&l);
    }
    if (st == ST_OK && !s->count && l.options->filter)
        st = fail(e, ST_EUSAGE, "%s: no case matches --filter '%s'", s->path, l.options->filter);
    else if (st == ST_OK && !s->count)
        st = fail(e, ST_EUSAGE, "%s: the suite has no case; its sections are empty or everything is excluded", s->path);
    suite_file_free(&l.file);
    free(l.slots);
    if (st != ST_OK)
        suite_close(s);
    return st;
}

void suite_close(struct suite *s)
{
    free(s->text);
    free(s->cases);
    memset(s, 0, sizeof *s);
}
