/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "chart.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "words.h"

static char *trimmed(const char *text, size_t n)
{
    while (n && isspace((unsigned char)*text)) {
        text++;
        n--;
    }
    while (n && isspace((unsigned char)text[n - 1]))
        n--;
    return strndup(text, n);
}

/* Adds text to *to, after a separator where something stands there already. */
static bool append(char **to, const char *separator, const char *text)
{
    char *joined = NULL;
    if (asprintf(&joined, "%s%s%s", *to ? *to : "", *to && **to ? separator : "", text) < 0)
        return false;
    free(*to);
    *to = joined;
    return true;
}

/* Reading a chart */

static const struct directive {
    const char *word;
    enum chart_kind kind;
} directives[] = {{"sql", CHART_DATA}, {"data", CHART_DATA}, {"paired", CHART_PAIRED}, {"list", CHART_LIST}};

struct reader {
    struct chart *chart;
    const char *path;
    int line;
    bool in_header;
};

/* Variables of the prelude, which a query of that name would overwrite. */
static const char reserved[] = "name title machine build run notes words formats form data caption lines across down left right above below";

static bool is_name(const char *text, size_t n)
{
    bool ok = n > 0 && n < 32 && isalpha((unsigned char)*text);
    for (size_t i = 0; ok && i < n; i++)
        ok = isalnum((unsigned char)text[i]) || text[i] == '_';
    return ok;
}

static enum status no_memory(const char *path, struct err *e) { return fail(e, ST_ENOMEM, "no memory for the chart %s", path); }

static enum status add_query(struct reader *r, enum chart_kind kind, const char *name, size_t n, struct err *e)
{
    struct chart *c = r->chart;
    char word[32];
    if (!is_name(name, n))
        return fail(e, ST_EFORMAT, "%s:%d: '%.*s' is no name for a query; letters, digits and _", r->path, r->line, (int)n, name);
    snprintf(word, sizeof word, "%.*s", (int)n, name);
    if (kind == CHART_LIST && words_has(reserved, word))
        return fail(e, ST_EFORMAT, "%s:%d: the name '%s' is taken by the page itself; choose another", r->path, r->line, word);
    for (int i = 0; i < c->n_queries; i++)
        if (strlen(c->queries[i].name) == n && !strncmp(c->queries[i].name, name, n))
            return fail(e, ST_EFORMAT, "%s:%d: a second query is named '%.*s'", r->path, r->line, (int)n, name);
    struct chart_query *q = realloc(c->queries, (size_t)(c->n_queries + 1) * sizeof *q);
    if (!q)
        return no_memory(r->path, e);
    c->queries = q;
    q[c->n_queries] = (struct chart_query){kind, strndup(name, n), strdup("")};
    if (!q[c->n_queries].name || !q[c->n_queries].sql) {
        free(q[c->n_queries].name);
        free(q[c->n_queries].sql);
        return no_memory(r->path, e);
    }
    c->n_queries++;
    return ST_OK;
}

/* word[:name] rest; without a name it goes on with the query above, or begins the dataset "data". */
static enum status read_query(struct reader *r, const struct directive *d, const char *after, struct err *e)
{
    enum status st = ST_OK;
    size_t n = 0;
    if (*after == ':') {
        n = strcspn(++after, " \t");
        st = add_query(r, d->kind, after, n, e);
    } else if (!r->chart->n_queries) {
        st = add_query(r, d->kind, "data", 4, e);
    }
    if (st != ST_OK)
        return st;
    char *sql = trimmed(after + n, strlen(after + n));
    bool ok = sql && append(&r->chart->queries[r->chart->n_queries - 1].sql, "\n", sql);
    free(sql);
    return ok ? ST_OK : no_memory(r->path, e);
}

static bool begins_with(const char *text, const char *word, const char **after)
{
    size_t n = strlen(word);
    *after = text + n;
    return !strncmp(text, word, n) && (!text[n] || text[n] == ' ' || text[n] == '\t' || text[n] == ':');
}

/* A comment line of the header, after its '#'. A directive follows the '#' at once; prose stands behind a blank. */
static enum status read_comment(struct reader *r, const char *text, struct err *e)
{
    const char *after;
    bool prose = !*text || isspace((unsigned char)*text), ok = true;
    for (size_t i = 0; !prose && i < sizeof directives / sizeof *directives; i++)
        if (begins_with(text, directives[i].word, &after))
            return read_query(r, &directives[i], after, e);
    char *rest = NULL, **to = NULL;
    if (prose && !r->chart->title && !strstr(text, "SPDX-License-Identifier")) {
        after = text;
        to = &r->chart->title;
    } else if (!prose) {
        to = begins_with(text, "note", &after) ? &r->chart->note : begins_with(text, "empty", &after) ? &r->chart->empty : NULL;
        if (!to)
            return fail(e, ST_EFORMAT, "%s:%d: unknown directive '#%.*s'; there are #sql, #data, #paired, #list, #note, #empty", r->path, r->line,
                        (int)strcspn(text, " \t:"), text);
    }
    if (to) {
        rest = trimmed(after, strlen(after));
        ok = rest && (!*rest || append(to, " ", rest));
        free(rest);
    }
    return ok ? ST_OK : no_memory(r->path, e);
}

static enum status read_line(struct reader *r, char *line, struct err *e)
{
    char *end = line + strlen(line);
    while (end > line && (end[-1] == '\n' || end[-1] == '\r'))
        *--end = 0;
    r->line++;
    r->in_header = r->in_header && line[0] == '#';
    if (r->in_header)
        return read_comment(r, line + 1, e);
    return append(&r->chart->body, "\n", line) ? ST_OK : no_memory(r->path, e);
}

static enum status check_chart(const struct reader *r, struct err *e)
{
    bool dataset = false;
    if (!r->chart->title)
        return fail(e, ST_EFORMAT, "%s: its first line must be a comment with the title", r->path);
    for (int i = 0; i < r->chart->n_queries; i++) {
        dataset |= r->chart->queries[i].kind != CHART_LIST;
        if (!*r->chart->queries[i].sql)
            return fail(e, ST_EFORMAT, "%s: the query '%s' is empty", r->path, r->chart->queries[i].name);
    }
    if (!dataset)
        return fail(e, ST_EFORMAT, "%s: its header has no query; a line '#sql SELECT …' is one", r->path);
    return r->chart->body ? ST_OK : fail(e, ST_EFORMAT, "%s: nothing follows its header", r->path);
}

static char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path, *dot = strrchr(file, '.');
    return strndup(file, dot ? (size_t)(dot - file) : strlen(file));
}

enum status chart_load(struct chart *c, const char *path, struct err *e)
{
    struct reader r = {.chart = c, .path = path, .in_header = true};
    char *line = NULL;
    size_t size = 0;
    *c = (struct chart){.name = name_of(path)};
    FILE *f = fopen(path, "r");
    enum status st = c->name ? ST_OK : no_memory(path, e);
    if (!f)
        st = fail(e, errno == ENOENT ? ST_ENOENT : ST_EIO, "cannot read %s: %s", path, strerror(errno));
    while (st == ST_OK && getline(&line, &size, f) >= 0)
        st = read_line(&r, line, e);
    if (st == ST_OK && ferror(f))
        st = fail(e, ST_EIO, "cannot read %s: %s", path, strerror(errno));
    if (st == ST_OK)
        st = check_chart(&r, e);
    if (f)
        fclose(f);
    free(line);
    if (st != ST_OK)
        chart_free(c);
    return st;
}

void chart_free(struct chart *c)
{
    for (int i = 0; i < c->n_queries; i++) {
        free(c->queries[i].name);
        free(c->queries[i].sql);
    }
    free(c->queries);
    free(c->name);
    free(c->title);
    free(c->note);
    free(c->empty);
    free(c->body);
    *c = (struct chart){0};
}

static int is_chart(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return d->d_name[0] != '.' && n > 3 && !strcmp(d->d_name + n - 3, ".gp");
}

enum status chart_names(char ***names, const char *folder, struct err *e)
{
    struct dirent **found;
    int n = scandir(folder, &found, is_chart, alphasort);
    *names = NULL;
    if (n < 0)
        return fail(e, errno == ENOENT ? ST_ENOENT : ST_EIO, "cannot read the folder %s: %s", folder, strerror(errno));
    char **list = calloc((size_t)n + 1, sizeof *list);
    bool ok = list != NULL;
    for (int i = 0; i < n; i++) {
        if (ok)
            ok = (list[i] = name_of(found[i]->d_name)) != NULL;
        free(found[i]);
    }
    free(found);
    if (!ok) {
        chart_names_free(list);
        return no_memory(folder, e);
    }
    *names = list;
    return ST_OK;
}

void chart_names_free(char **names)
{
    for (char **p = names; p && *p; p++)
        free(*p);
    free(names);
}

char *chart_wrap(const char *text, int width)
{
    char *out = strdup(text), *blank = NULL;
    int used = 0;
    for (char *p = out; p && *p; p++) {
        if (*p == '\n') {
            used = 0;
            blank = NULL;
            continue;
        }
        used += ((unsigned char)*p & 0xc0) != 0x80; /* a character, not a byte, of UTF-8 */
        if (*p == ' ')
            blank = p;
        if (used > width && blank) {
            *blank = '\n';
            p = blank;
            used = 0;
            blank = NULL;
        }
    }
    return out;
}
