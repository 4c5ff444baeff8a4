/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant.h"
#include "show.h"
#include "show_ratio.h"
#include "stats.h"

/* What quantization cost and what it bought: the results that share every axis of the model side, joined into one row. */

enum { NO_ROW = -1, TEXTS_MAX = 16, RESAMPLES = 2000 };
static const uint64_t bootstrap_seed = 1;

static const char *const model_axes[] = {"model", "tune", "tune_tokens", "method", "format", "group", "zero_point", "act", "gamma", "gamma_on", "seed"};
enum { MODEL_AXES_COUNT = sizeof model_axes / sizeof *model_axes };

/* What a case that does not read them has at its default: quality knows no batch, and its row is that of a single sequence. */
static const char *const session_axes[] = {"head", "kv", "batch", "depth"};
enum { SESSION_AXES_COUNT = sizeof session_axes / sizeof *session_axes };

static bool same_axis(const struct book *b, size_t x, size_t y, const char *axis)
{
    return book_int(b, x, axis) == book_int(b, y, axis) && book_is(b, x, axis, book_text(b, y, axis));
}

static bool same_or_default(const struct book *b, size_t x, size_t y, const char *axis)
{
    const char *fallback = axes[axis_index(axis)].fallback, *tx = book_text(b, x, axis), *ty = book_text(b, y, axis);
    long long least = strtoll(fallback, NULL, 10), nx = book_int(b, x, axis), ny = book_int(b, y, axis);
    return (nx ? nx : least) == (ny ? ny : least) && !strcmp(*tx ? tx : fallback, *ty ? ty : fallback);
}

static bool same_model(const struct book *b, size_t x, size_t y)
{
    for (int i = 0; i < SESSION_AXES_COUNT; i++)
        if (!same_or_default(b, x, y, session_axes[i]))
            return false;
    for (int i = 0; i < MODEL_AXES_COUNT; i++)
        if (!same_axis(b, x, y, model_axes[i]))
            return false;
    return true;
}

struct entry {
    size_t first;            /* row that shows its axes */
    size_t model_first;      /* first row of its model: models stay together */
    long place[4];           /* within its model: format, group, how it was trained, method */
    long quality[TEXTS_MAX]; /* by text */
    int home;                /* the text that it was trained on; -1: not evaluated on it */
    long decode, prefill;
};

struct models {
    struct book book;
    struct ratios ratios;
    struct entry *entries;   /* owned */
    size_t n;
    char texts[TEXTS_MAX][CASE_VALUE_MAX]; /* with their content hashes: two files of one name are two texts */
    int n_texts;
    bool away[TEXTS_MAX];    /* some model was not trained on this text */
    bool several;            /* a speed was measured with several kernels or thread counts */
};

static void models_close(struct models *m)
{
    book_close(&m->book);
    ratios_close(&m->ratios);
    free(m->entries);
}

static bool is_random(const struct book *b, size_t row) { return !strncmp(book_text(b, row, "model"), "random:", 7); }

static int text_index(struct models *m, const char *text)
{
    for (int i = 0; i < m->n_texts; i++)
        if (!strcmp(m->texts[i], text))
            return i;
    if (m->n_texts == TEXTS_MAX)
        return -1;
    snprintf(m->texts[m->n_texts], sizeof m->texts[0], "%s", text);
    return m->n_texts++;
}

/* A reader looks for a width first, then compares: the base, its float-tuned control, quantization-aware training. */
static void set_place(struct entry *x, const struct book *b)
{
    const struct format_info *format = format_find(book_text(b, x->first, "format"));
    const struct quantizer *method = quantizer_find(book_text(b, x->first, "method"));
    x->place[0] = format ? format - formats : FORMAT_COUNT;
    x->place[1] = (long)book_int(b, x->first, "group");
    x->place[2] = method && method->family == FAMILY_QAT ? 2 : book_is(b, x->first, "tune", "float");
    for (x->place[3] = 0; quantizers[x->place[3]] && quantizers[x->place[3]] != method; x->place[3]++)
        ;
}

static struct entry *entry_of(struct models *m, size_t row)
{
    size_t model_first = row;
    for (size_t i = 0; i < m->n; i++) {
        if (same_model(&m->book, m->entries[i].first, row))
            return &m->entries[i];
        if (same_axis(&m->book, m->entries[i].first, row, "model"))
            model_first = m->entries[i].model_first;
    }
    struct entry *x = &m->entries[m->n++];
    *x = (struct entry){.first = row, .model_first = model_first, .decode = NO_ROW, .prefill = NO_ROW};
    for (int i = 0; i < TEXTS_MAX; i++)
        x->quality[i] = NO_ROW;
    set_place(x, &m->book);
    return x;
}

/* Where a speed was measured in several ways the fastest is shown; what has numbers goes before what has none. */
static void keep_fastest(struct models *m, long *slot, size_t row)
{
    const struct book *b = &m->book;
    if (*slot == NO_ROW) {
        *slot = (long)row;
        return;
    }
    double now = book_value(b, row, "rate").value, before = book_value(b, (size_t)*slot, "rate").value;
    m->several = m->several || (!isnan(now) && !isnan(before));
    if (isnan(before) || now > before)
        *slot = (long)row;
}

static int by_model(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    if (a->model_first != b->model_first)
        return a->model_first < b->model_first ? -1 : 1;
    for (size_t i = 0; i < sizeof a->place / sizeof *a->place; i++)
        if (a->place[i] != b->place[i])
            return a->place[i] < b->place[i] ? -1 : 1;
    return a->first < b->first ? -1 : a->first > b->first;
}

/* The text that a model was trained on, as the database knows it: quality on it is the row's own, other texts are out of domain. */
static void home_text(struct store *s, const char *hash, char *buf, size_t n)
{
    const char *params[] = {hash};
    struct table *t;
    snprintf(buf, n, "%s", axes[axis_index("text")].fallback);
    if (store_query(s, "SELECT json_extract(provenance, '$.text') || coalesce('@' || json_extract(provenance, '$.text_hash'), '') FROM model WHERE hash = ?1", params, 1, &t, NULL) != ST_OK)
        return;
    const struct cell *c = table_cell(t, 0, 0);
    if (c && c->type == CELL_TEXT)
        snprintf(buf, n, "%s", c->text);
    table_free(t);
}

static void find_homes(struct models *m, struct store *s)
{
    char home[CASE_VALUE_MAX];
    for (size_t i = 0; i < m->n; i++) {
        struct entry *x = &m->entries[i];
        home_text(s, book_text(&m->book, x->first, "model_hash"), home, sizeof home);
        x->home = -1;
        for (int t = 0; t < m->n_texts; t++) {
            if (!strcmp(m->texts[t], home))
                x->home = t;
            else
                m->away[t] = m->away[t] || x->quality[t] != NO_ROW;
        }
    }
}

static enum status models_open(struct models *m, struct store *s, int64_t run, bool random, struct err *e)
{
    *m = (struct models){0};
    enum status st = book_open(&m->book, s, run, "'quality', 'decode', 'prefill'", e);
    if (st != ST_OK)
        return st;
    m->entries = calloc(book_size(&m->book) + 1, sizeof *m->entries);
    st = m->entries ? ratios_open(&m->ratios, s, run, e) : fail(e, ST_ENOMEM, "no memory for a table of %zu results", book_size(&m->book));
    if (st != ST_OK) {
        models_close(m);
        return st;
    }
    for (size_t i = 0; i < book_size(&m->book); i++) {
        if (is_random(&m->book, i) != random || (random && book_is(&m->book, i, "work", "quality")))
            continue;
        struct entry *x = entry_of(m, i);
        int text = book_is(&m->book, i, "work", "quality") ? text_index(m, book_text(&m->book, i, "text_id")) : -1;
        if (text >= 0)
            x->quality[text] = (long)i;
        else if (book_is(&m->book, i, "work", "decode"))
            keep_fastest(m, &x->decode, i);
        else if (book_is(&m->book, i, "work", "prefill"))
            keep_fastest(m, &x->prefill, i);
    }
    qsort(m->entries, m->n, sizeof *m->entries, by_model);
    find_homes(m, s);
    return ST_OK;
}

/* Columns are added as rows will be filled: the same walk does both, so that they cannot disagree. */
struct walk {
    struct table *t;
    struct ratios *ratios;
    int column;
    bool header;
};

static void axis_column(struct walk *w, const char *axis, const char *name, const struct book *b, size_t row)
{
    if (w->header)
        table_column(w->t, name, "", 0);
    else
        book_put_axis(b, row, axis, w->t, w->column++);
}

static void value_column(struct walk *w, const char *name, const char *unit, int digits, const struct book *b, long row, const char *value, double scale)
{
    if (w->header)
        table_column(w->t, name, unit, digits);
    else if (row != NO_ROW)
        book_put(b, (size_t)row, value, scale, w->t, w->column++);
    else
        w->column++;
}

/* Stored as shares; a unit of % says that the scale is there already. */
static void percent_column(struct walk *w, const char *name, int digits, const struct book *b, long row, const char *value)
{
    bool done = row != NO_ROW && !strcmp(book_value(b, (size_t)row, value).unit, "%");
    value_column(w, name, "%", digits, b, row, value, done ? 1 : 100);
}

static void bytes_column(struct walk *w, const struct book *b, long row)
{
    if (w->header) {
        table_column(w->t, "size", "B", 0);
        return;
    }
    struct named n = row != NO_ROW ? book_value(b, (size_t)row, "size_bytes") : (struct named){.value = NAN};
    if (!n.reason && !isnan(n.value))
        table_int(w->t, w->column, (long long)n.value);
    else
        table_absent(w->t, w->column, n.reason);
    w->column++;
}

static void axis_columns(struct walk *w, const struct models *m, const struct entry *x, bool random)
{
    const struct book *b = &m->book;
    size_t row = x ? x->first : 0;
    axis_column(w, random ? "model" : "model_name", "model", b, row);
    axis_column(w, "format", "format", b, row);
    axis_column(w, "group", "group", b, row);
    if (book_varies(b, "zero_point"))
        axis_column(w, "zero_point", "zero point", b, row);
    if (book_varies(b, "act"))
        axis_column(w, "act", "acts", b, row);
    axis_column(w, "method", "method", b, row);
    axis_column(w, "tune", "tune", b, row);
    if (book_varies(b, "tune_tokens"))
        axis_column(w, "tune_tokens", "tune tokens", b, row);
    if (book_varies(b, "seed"))
        axis_column(w, "seed", "seed", b, row);
    axis_column(w, "gamma", "γ", b, row);
    axis_column(w, "gamma_on", "γ on", b, row);
    for (int i = 0; i < SESSION_AXES_COUNT; i++)
        if (book_varies(b, session_axes[i]))
            axis_column(w, session_axes[i], session_axes[i], b, row);
}

static void quality_columns(struct walk *w, const struct models *m, const struct entry *x)
{
    const struct book *b = &m->book;
    long row = x && x->home >= 0 ? x->quality[x->home] : NO_ROW;
    value_column(w, "perplexity", "", 5, b, row, "perplexity", 1);
    value_column(w, "NLL", "nat/token", -4, b, row, "nll", 1);
    value_column(w, "ΔNLL", "nat/token", -4, b, row, "delta_nll", 1);
    value_column(w, "KL", "nat/token", -5, b, row, "kl", 1);
    percent_column(w, "top-1", -2, b, row, "top1");
    for (int i = 0; i < m->n_texts; i++) {
        char name[128];
        snprintf(name, sizeof name, "ΔNLL %.*s", (int)strcspn(m->texts[i], "@"), m->texts[i]);
        if (m->away[i])
            value_column(w, name, "nat/token", -4, b, x && i != x->home ? x->quality[i] : NO_ROW, "delta_nll", 1);
    }
}

/* The same work on the float model that the others come from, on as many threads; the fastest where there are several. */
static long float_row(const struct book *b, long row)
{
    static const char *const same[] = {"work", "model", "prompt", "generate", "isa", "threads", "seed"};
    long best = NO_ROW;
    for (size_t i = 0; row != NO_ROW && i < book_size(b); i++) {
        bool fits = book_is(b, i, "format", "f32") && !book_is(b, i, "tune", "float") && book_measured(b, i);
        for (size_t k = 0; fits && k < sizeof same / sizeof *same; k++)
            fits = same_axis(b, i, (size_t)row, same[k]);
        if (fits && (best == NO_ROW || book_value(b, i, "rate").value > book_value(b, (size_t)best, "rate").value))
            best = (long)i;
    }
    return best;
}

static void rate_columns(struct walk *w, const char *name, const char *ratio, const struct book *b, long row)
{
    value_column(w, name, "token/s", 4, b, row, "rate", 1);
    if (w->header)
        table_column(w->t, ratio, "×", 3);
    else if (row != NO_ROW)
        ratios_put(w->ratios, b, (size_t)row, float_row(b, row), w->t, w->column++);
    else
        w->column++;
}

static long any_row(const struct models *m, const struct entry *x)
{
    for (int i = 0; i < m->n_texts; i++)
        if (x->quality[i] != NO_ROW && book_measured(&m->book, (size_t)x->quality[i]))
            return x->quality[i];
    if (x->decode != NO_ROW && book_measured(&m->book, (size_t)x->decode))
        return x->decode;
    return x->prefill != NO_ROW ? x->prefill : x->decode != NO_ROW ? x->decode : (long)x->first;
}

static void speed_columns(struct walk *w, const struct models *m, const struct entry *x)
{
    const struct book *b = &m->book;
    long row = x ? any_row(m, x) : NO_ROW;
    bytes_column(w, b, row);
    value_column(w, "weights", "bit", 3, b, row, "bits_per_weight", 1);
    percent_column(w, "vs FP32", 3, b, row, "vs_fp32");
    percent_column(w, "vs FP16", 3, b, row, "vs_fp16");
    rate_columns(w, "decode", "decode vs f32", b, x ? x->decode : NO_ROW);
    rate_columns(w, "prefill", "prefill vs f32", b, x ? x->prefill : NO_ROW);
}

static void untrusted_column(struct walk *w, const struct models *m, const struct entry *x)
{
    char text[64] = "";
    if (w->header) {
        table_column(w->t, "untrusted", "", 0);
        return;
    }
    if (x->decode != NO_ROW && book_is(&m->book, (size_t)x->decode, "outcome", "untrusted"))
        strcat(text, "decode");
    if (x->prefill != NO_ROW && book_is(&m->book, (size_t)x->prefill, "outcome", "untrusted"))
        strcat(text, *text ? ", prefill" : "prefill");
    if (*text)
        table_text(w->t, w->column, text);
    w->column++;
}

static void walk_row(struct walk *w, const struct models *m, const struct entry *x, bool random)
{
    axis_columns(w, m, x, random);
    if (!random)
        quality_columns(w, m, x);
    speed_columns(w, m, x);
    untrusted_column(w, m, x);
}

static void add_notes(const struct models *m, struct table *t, bool random)
{
    if (!random) {
        table_note(t, "NLL, perplexity and KL are on held-out text of the training corpus; ΔNLL is paired by token with the float model, its interval by block bootstrap.");
        table_note(t, "ΔNLL followed by a text's name: on a text that the model was not trained on.");
    }
    table_note(t, "Sizes are of the whole serialized model, as a percentage of the same model in FP32 and FP16; bits are per quantized weight, scales included.");
    if (m->several)
        table_note(t, "Where a speed was measured with several kernels or thread counts, the fastest is shown; --cases shows each.");
}

static enum status build(struct store *s, int64_t run, bool random, struct table **out, struct err *e)
{
    struct models m;
    *out = NULL;
    enum status st = models_open(&m, s, run, random, e);
    if (st != ST_OK)
        return st;
    struct walk w = {.t = table_new(random ? "Random weights (speed and size only)" : "Models"), .ratios = &m.ratios, .header = true};
    if (m.n)
        walk_row(&w, &m, NULL, random);
    w.header = false;
    for (size_t i = 0; i < m.n; i++) {
        w.column = 0;
        table_row(w.t);
        walk_row(&w, &m, &m.entries[i], random);
    }
    for (int c = w.t->n_columns; c-- > 0;) /* a run without decoding needs no column for it */
        table_drop_empty(w.t, c);
    add_notes(&m, w.t, random);
    if (table_find(w.t, "decode vs f32") >= 0 || table_find(w.t, "prefill vs f32") >= 0)
        ratios_note(&m.ratios, w.t);
    if (m.n)
        *out = w.t;
    else
        table_free(w.t);
    models_close(&m);
    return ST_OK;
}

enum status show_models(struct store *s, int64_t run, struct table **out, struct err *e) { return build(s, run, false, out, e); }
enum status show_random(struct store *s, int64_t run, struct table **out, struct err *e) { return build(s, run, true, out, e); }

/* QAT against the control that saw the same tokens in float: what is left is quantization-aware training's own. */

static bool is_control(const struct book *b, size_t control, size_t qat)
{
    static const char *const same[] = {"model", "tune_tokens", "format", "group", "zero_point", "act", "gamma", "gamma_on", "seed", "text_id", "tokens"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (!same_axis(b, control, qat, same[i]))
            return false;
    return book_is(b, control, "tune", "float") && book_is(b, control, "method", "rtn") && book_measured(b, control);
}

struct scores {
    float *nll;
    int32_t *block;
    size_t n;
};

static void scores_free(struct scores *x)
{
    free(x->nll);
    free(x->block);
}

static enum status scores_read(struct scores *x, struct store *s, long long result, struct err *e)
{
    void *nll = NULL, *block = NULL;
    size_t nll_bytes = 0, block_bytes = 0;
    enum status st = store_blob(s, result, "nll", &nll, &nll_bytes, e);
    if (st == ST_OK)
        st = store_blob(s, result, "block", &block, &block_bytes, e);
    *x = (struct scores){nll, block, nll_bytes / sizeof *x->nll};
    if (st == ST_OK && (!x->n || block_bytes != nll_bytes))
        st = fail(e, ST_EFORMAT, "its tokens and blocks do not match");
    return st;
}

static enum status pair(struct interval *out, const struct scores *q, const struct scores *c, struct err *e)
{
    if (q->n != c->n || memcmp(q->block, c->block, q->n * sizeof *q->block) != 0)
        return fail(e, ST_EFORMAT, "the control scored other tokens");
    double *d = malloc(q->n * sizeof *d);
    if (!d)
        return fail(e, ST_ENOMEM, "no memory to pair %zu tokens", q->n);
    for (size_t i = 0; i < q->n; i++)
        d[i] = (double)q->nll[i] - (double)c->nll[i];
    *out = stats_block_bootstrap(d, q->block, q->n, RESAMPLES, bootstrap_seed);
    free(d);
    return ST_OK;
}

static void put_pair(struct store *s, const struct book *b, size_t qat, size_t control, struct table *t, int column)
{
    struct scores q = {0}, c = {0};
    struct interval d;
    struct err why = {0};
    enum status st = scores_read(&q, s, book_int(b, qat, "result_id"), &why);
    if (st == ST_OK)
        st = scores_read(&c, s, book_int(b, control, "result_id"), &why);
    if (st == ST_OK)
        st = pair(&d, &q, &c, &why);
    if (st == ST_OK)
        table_interval(t, column, d.value, d.lo, d.hi);
    else
        table_absent(t, column, why.text);
    scores_free(&q);
    scores_free(&c);
}

static void paired_row(struct store *s, const struct book *b, size_t qat, struct table *t)
{
    static const char *const shown[] = {"model_name", "method", "format", "group", "gamma", "gamma_on", "text"};
    long control = NO_ROW;
    int c = 0;
    for (size_t i = 0; i < book_size(b) && control == NO_ROW; i++)
        if (is_control(b, i, qat))
            control = (long)i;
    table_row(t);
    for (; c < (int)(sizeof shown / sizeof *shown); c++)
        book_put_axis(b, qat, shown[c], t, c);
    book_put(b, qat, "nll", 1, t, c);
    if (control == NO_ROW) {
        table_absent(t, c + 1, "no control (tune float, method rtn, else the same) in this run");
        table_absent(t, c + 2, "no control (tune float, method rtn, else the same) in this run");
        return;
    }
    book_put(b, (size_t)control, "nll", 1, t, c + 1);
    put_pair(s, b, qat, (size_t)control, t, c + 2);
}

enum status show_paired(struct store *s, int64_t run, struct table **out, struct err *e)
{
    static const char *const names[] = {"model", "method", "format", "group", "γ", "γ on", "text"};
    struct book b;
    *out = NULL;
    enum status st = book_open(&b, s, run, "'quality'", e);
    if (st != ST_OK)
        return st;
    struct table *t = table_new("QAT against its control");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        table_column(t, names[i], "", 0);
    table_column(t, "NLL QAT", "nat/token", -4);
    table_column(t, "NLL control", "nat/token", -4);
    table_column(t, "ΔNLL", "nat/token", -4);
    for (size_t i = 0; i < book_size(&b); i++) {
        const struct quantizer *q = quantizer_find(book_text(&b, i, "method"));
        if (q && q->family == FAMILY_QAT && book_measured(&b, i))
            paired_row(s, &b, i, t);
    }
    table_note(t, "Control: the float model trained further on the same tokens, then rounded to nearest. ΔNLL = QAT - control, paired by token; below 0 QAT is better.");
    if (t->n_rows)
        *out = t;
    else
        table_free(t);
    book_close(&b);
    return ST_OK;
}
