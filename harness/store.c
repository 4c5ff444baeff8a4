/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "owner.h"
#include "store.h"
#include "store_views.h"

#include <errno.h>
#include <math.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern const char schema_sql[]; /* schema.S */

enum { APPLICATION_ID = 0x71626e63, SCHEMA_VERSION = 1, BUSY_MILLISECONDS = 10000 };

struct store {
    sqlite3 *db;
    char path[1024];
};

const char *store_path(const struct store *s) { return s->path; }

/* Errors: what SQLite said, and what to do about it. */

static const struct advice {
    int code;
    enum status status;
    const char *text;
} advices[] = {
    {SQLITE_NOTADB, ST_EFORMAT, "is not a qbench database"},
    {SQLITE_CORRUPT, ST_EFORMAT, "is corrupted; try `sqlite3 FILE .recover`, or write to another file with --db"},
    {SQLITE_FULL, ST_EIO, "cannot be written: the disk is full"},
    {SQLITE_READONLY, ST_EIO, "cannot be written: the file or its folder is read-only; choose another with --db"},
    {SQLITE_BUSY, ST_EIO, "is locked by another program; wait for it, or choose another file with --db"},
    {SQLITE_LOCKED, ST_EIO, "is locked by another program; wait for it, or choose another file with --db"},
    {SQLITE_IOERR, ST_EIO, "cannot be read or written (input/output error); is the disk full or broken?"},
    {SQLITE_NOMEM, ST_ENOMEM, "no memory"},
};

static enum status db_failed(struct store *s, struct err *e)
{
    int code = sqlite3_errcode(s->db) & 0xff, error = sqlite3_system_errno(s->db);
    for (size_t i = 0; i < sizeof advices / sizeof *advices; i++)
        if (advices[i].code == code && !(code == SQLITE_IOERR && error == ENOSPC))
            return fail(e, advices[i].status, "%s %s", s->path, advices[i].text);
    if (code == SQLITE_CANTOPEN)
        return fail(e, ST_EIO, "cannot open %s: %s; --db names another file", s->path, error ? strerror(error) : "no permission, or its folder does not exist");
    if (error == ENOSPC)
        return fail(e, ST_EIO, "%s cannot be written: the disk is full", s->path);
    return fail(e, ST_EIO, "%s: %s", s->path, sqlite3_errmsg(s->db));
}

static enum status exec(struct store *s, const char *sql, struct err *e)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? ST_OK : db_failed(s, e);
}

static void rollback(struct store *s)
{
    if (!sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
}

/*
 * Statements. A format letter binds each argument: t text (NULL: NULL), i int64_t, d double (NaN: NULL), j json_t *.
 * The statement is left in *st, ready to step; the first failure leaves it NULL.
 */
static enum status prepare(struct store *s, sqlite3_stmt **st, const char *sql, struct err *e)
{
    return sqlite3_prepare_v2(s->db, sql, -1, st, NULL) == SQLITE_OK ? ST_OK : db_failed(s, e);
}

static int bind_json(sqlite3_stmt *st, int i, const json_t *json)
{
    char *text = json ? json_dumps(json, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    return sqlite3_bind_text(st, i, text, -1, free);
}

static int bind_all(sqlite3_stmt *st, const char *types, va_list ap)
{
    int rc = SQLITE_OK;
    for (int i = 1; *types && rc == SQLITE_OK; types++, i++)
        switch (*types) {
        case 't': rc = sqlite3_bind_text(st, i, va_arg(ap, const char *), -1, SQLITE_TRANSIENT); break;
        case 'i': rc = sqlite3_bind_int64(st, i, va_arg(ap, int64_t)); break;
        case 'd': rc = sqlite3_bind_double(st, i, va_arg(ap, double)); break;
        default: rc = bind_json(st, i, va_arg(ap, const json_t *));
        }
    return rc;
}

/* For statements run again and again: binds, steps to the end, resets. */
static enum status step_all(struct store *s, sqlite3_stmt *st, struct err *e, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    int rc = bind_all(st, types, ap);
    va_end(ap);
    while (rc == SQLITE_OK || rc == SQLITE_ROW)
        rc = sqlite3_step(st);
    enum status status = rc == SQLITE_DONE ? ST_OK : db_failed(s, e);
    sqlite3_reset(st);
    return status;
}

/* Runs one statement; the first column of its first row goes to *out (unchanged without a row; NULL: not wanted). */
static enum status run_sql(struct store *s, int64_t *out, struct err *e, const char *sql, const char *types, ...)
{
    sqlite3_stmt *st;
    enum status status = prepare(s, &st, sql, e);
    if (status != ST_OK)
        return status;
    va_list ap;
    va_start(ap, types);
    int rc = bind_all(st, types, ap);
    va_end(ap);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    if (rc == SQLITE_ROW && out)
        *out = sqlite3_column_int64(st, 0);
    while (rc == SQLITE_ROW)
        rc = sqlite3_step(st);
    status = rc == SQLITE_DONE ? ST_OK : db_failed(s, e);
    sqlite3_finalize(st);
    return status;
}

static const char *utc_now(char buf[32])
{
    time_t t = time(NULL);
    struct tm tm;
    strftime(buf, 32, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
    return buf;
}

/* Opening */

/* Under a write lock: of two processes that create at once, the second finds the tables of the first. */
static enum status create_schema(struct store *s, struct err *e)
{
    int64_t version = 0, application = 0, objects = 0;
    enum status st = exec(s, "BEGIN IMMEDIATE", e);
    if (st == ST_OK)
        st = run_sql(s, &version, e, "PRAGMA user_version", "");
    if (st == ST_OK)
        st = run_sql(s, &application, e, "PRAGMA application_id", "");
    if (st == ST_OK)
        st = run_sql(s, &objects, e, "SELECT count(*) FROM sqlite_schema", "");
    if (st == ST_OK && !version && !application && !objects)
        st = exec(s, schema_sql, e);
    if (st == ST_OK)
        st = exec(s, "COMMIT", e);
    rollback(s);
    return st;
}

static enum status check_version(struct store *s, struct err *e)
{
    int64_t application = 0, version = 0;
    enum status st = run_sql(s, &application, e, "PRAGMA application_id", "");
    if (st == ST_OK)
        st = run_sql(s, &version, e, "PRAGMA user_version", "");
    if (st != ST_OK)
        return st;
    if (application != APPLICATION_ID)
        return fail(e, ST_EFORMAT, "%s is not a qbench database", s->path);
    if (version != SCHEMA_VERSION)
        return fail(e, ST_EFORMAT, "%s has schema version %lld, this qbench reads %d; %s", s->path, (long long)version, SCHEMA_VERSION,
                    version > SCHEMA_VERSION ? "use the newer qbench that wrote it" : "keep it with the older qbench, and write to another file with --db");
    return ST_OK;
}

static enum status open_file(struct store *s, const char *path, int flags, struct err *e)
{
    sqlite3_close(s->db);
    s->db = NULL;
    if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK)
        return s->db ? db_failed(s, e) : fail(e, ST_ENOMEM, "no memory to open %s", s->path);
    sqlite3_busy_timeout(s->db, BUSY_MILLISECONDS);
    return exec(s, "PRAGMA foreign_keys = ON", e);
}

/* Changing the journal needs the file alone for a moment, and SQLite's busy handler is not asked then. */
static enum status set_wal(struct store *s, struct err *e)
{
    int rc;
    for (int waited = 0; (rc = sqlite3_exec(s->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL)) == SQLITE_BUSY && waited < BUSY_MILLISECONDS; waited += 20)
        sqlite3_sleep(20);
    return rc == SQLITE_OK ? exec(s, "PRAGMA synchronous = NORMAL", e) : db_failed(s, e);
}

static enum status make_views(struct store *s, bool temp, struct err *e)
{
    return store_views(s->db, temp) == SQLITE_OK ? ST_OK : db_failed(s, e);
}

/* In one transaction: nobody sees the database between the old views and the new. */
static enum status update_views(struct store *s, struct err *e)
{
    enum status st = exec(s, "BEGIN IMMEDIATE", e);
    if (st == ST_OK)
        st = make_views(s, false, e);
    if (st == ST_OK)
        st = exec(s, "COMMIT", e);
    rollback(s);
    return st;
}

static enum status open_write(struct store *s, struct err *e)
{
    enum status st = open_file(s, s->path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, e);
    if (st == ST_OK)
        st = create_schema(s, e);
    if (st == ST_OK)
        st = check_version(s, e);
    /* Only now: a foreign file must stay as it was. */
    if (st == ST_OK)
        st = update_views(s, e);
    return st == ST_OK ? set_wal(s, e) : st;
}

/* A WAL database in a folder that cannot be written (an archive, a CD) has no place for its shared memory; nobody writes it then. */
static enum status open_immutable(struct store *s, struct err *e)
{
    char uri[3 * sizeof s->path + 32], *out = uri + snprintf(uri, sizeof uri, "file:");
    for (const char *p = s->path; *p; p++)
        out += sprintf(out, strchr("%?#", *p) ? "%%%02x" : "%c", (unsigned char)*p);
    strcpy(out, "?immutable=1");
    enum status st = open_file(s, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, e);
    if (st == ST_OK)
        st = check_version(s, e);
    return st == ST_OK ? make_views(s, true, e) : st;
}

static enum status open_read(struct store *s, struct err *e)
{
    char wal[sizeof s->path + 8];
    struct err first = {0};
    if (access(s->path, F_OK) != 0)
        return fail(e, errno == ENOENT ? ST_ENOENT : ST_EIO, "cannot open %s: %s; `qbench run` creates a database, --db names another", s->path, strerror(errno));
    enum status st = open_file(s, s->path, SQLITE_OPEN_READONLY, &first);
    if (st == ST_OK)
        st = check_version(s, &first);
    if (st == ST_OK)
        st = make_views(s, true, &first);
    snprintf(wal, sizeof wal, "%s-wal", s->path);
    int code = sqlite3_errcode(s->db) & 0xff;
    if (st != ST_OK && (code == SQLITE_CANTOPEN || code == SQLITE_READONLY) && access(s->path, R_OK) == 0 && access(wal, F_OK) != 0)
        return open_immutable(s, e);
    return st == ST_OK ? st : fail(e, st, "%s", first.text);
}

enum status store_open(struct store **out, const char *path, enum store_mode mode, struct err *e)
{
    *out = NULL;
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return fail(e, ST_ENOMEM, "no memory to open %s", path);
    enum status st = (size_t)snprintf(s->path, sizeof s->path, "%s", path) < sizeof s->path
                         ? ST_OK : fail(e, ST_EUSAGE, "--db: the path is too long");
    if (st == ST_OK)
        st = mode == STORE_WRITE ? open_write(s, e) : open_read(s, e);
    if (st == ST_OK)
        *out = s;
    else
        store_close(s);
    return st;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    sqlite3_close(s->db);
    free(s);
}

/* Runs */

/* Version 4 (RFC 9562) from SQLite's own generator, which is seeded by the system. */
static void make_uuid(char buf[37])
{
    unsigned char b[16];
    sqlite3_randomness(sizeof b, b);
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    snprintf(buf, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3], b[4], b[5], b[6],
             b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

static enum status insert_run(struct store *s, const struct run_info *r, int64_t *run_id, struct err *e)
{
    char now[32], uuid[37], owner[160];
    utc_now(now);
    make_uuid(uuid);
    owner_write(owner, sizeof owner);
    enum status st = run_sql(s, NULL, e, "INSERT INTO machine VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING", "tjt", r->machine->id, r->machine->json, now);
    if (st == ST_OK)
        st = run_sql(s, NULL, e, "INSERT INTO build VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING", "tjt", r->build->id, r->build->json, now);
    if (st == ST_OK)
        st = run_sql(s, NULL, e,
                     "INSERT INTO run (uuid, label, suite, suite_hash, suite_text, argv, machine_id, build_id, started, cases, conditions_before, owner)"
                     " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                     "tttttttttijt", uuid, r->label, r->suite, r->suite_hash, r->suite_text, r->argv ? r->argv : "", r->machine->id,
                     r->build->id, now, (int64_t)r->cases, r->conditions, owner);
    *run_id = sqlite3_last_insert_rowid(s->db);
    return st;
}

/* Ends the transaction that st went through. */
static enum status commit(struct store *s, enum status st, struct err *e)
{
    if (st == ST_OK)
        st = exec(s, "COMMIT", e);
    rollback(s);
    return st;
}

enum status store_run_begin(struct store *s, const struct run_info *r, int64_t *run_id, struct err *e)
{
    enum status st = exec(s, "BEGIN IMMEDIATE", e);
    return st == ST_OK ? commit(s, insert_run(s, r, run_id, e), e) : st;
}

/* A run has one process at work on it: two would disturb each other's figures. */
static enum status take_over(struct store *s, int64_t run_id, struct err *e)
{
    char id[32], mine[160];
    const char *params[] = {id};
    struct table *t;
    snprintf(id, sizeof id, "%lld", (long long)run_id);
    owner_write(mine, sizeof mine);
    enum status st = store_query(s, "SELECT owner FROM run WHERE id = CAST(?1 AS INTEGER)", params, 1, &t, e);
    if (st != ST_OK)
        return st;
    const struct cell *c = table_cell(t, 0, 0);
    long pid = c && c->type == CELL_TEXT ? owner_alive(c->text) : 0;
    table_free(t);
    if (pid)
        return fail(e, ST_EUSAGE, "run %lld is being run by process %ld; wait for it, or run without --resume", (long long)run_id, pid);
    return run_sql(s, NULL, e, "UPDATE run SET owner = ?1 WHERE id = ?2", "ti", mine, run_id);
}

enum status store_run_unfinished(struct store *s, const struct run_info *r, int64_t *run_id, struct err *e)
{
    *run_id = 0;
    enum status st = run_sql(s, run_id, e,
                   "SELECT id FROM run WHERE NOT complete AND suite_hash = ?1 AND machine_id = ?2 AND build_id = ?3 ORDER BY id DESC LIMIT 1",
                   "ttt", r->suite_hash, r->machine->id, r->build->id);
    return st == ST_OK && *run_id ? take_over(s, *run_id, e) : st;
}

enum status store_run_end(struct store *s, int64_t run_id, json_t *conditions, const char *warnings, struct err *e)
{
    char now[32];
    return run_sql(s, NULL, e, "UPDATE run SET finished = ?1, complete = 1, conditions_after = ?2, warnings = ?3 WHERE id = ?4", "tjti",
                   utc_now(now), conditions, warnings ? warnings : "", run_id);
}

enum status store_outcomes(struct store *s, int64_t run_id, size_t outcomes[OUTCOME_COUNT], struct err *e)
{
    enum status st = ST_OK;
    for (int i = 0; st == ST_OK && i < OUTCOME_COUNT; i++) {
        int64_t count = 0;
        st = run_sql(s, &count, e, "SELECT count(*) FROM result WHERE run_id = ?1 AND outcome = ?2", "it", run_id, outcome_names[i]);
        outcomes[i] = (size_t)count;
    }
    return st;
}

enum status store_has(struct store *s, int64_t run_id, const char *key, bool *has, struct err *e)
{
    int64_t count = 0;
    enum status st = run_sql(s, &count, e, "SELECT count(*) FROM result r JOIN bench_case c ON c.id = r.case_id WHERE r.run_id = ?1 AND c.key = ?2",
                             "it", run_id, key);
    *has = count > 0;
    return st;
}

/* Results */

static json_t *axes_json(const struct bench_case *c)
{
    json_t *o = json_object();
    for (int i = 0; axes[i].name; i++)
        if (c->has[i])
            json_object_set_new(o, axes[i].name,
                                axes[i].type == AXIS_INT ? json_integer(strtoll(c->value[i], NULL, 10)) : json_string(c->value[i]));
    return o;
}

static enum status insert_case(struct store *s, const struct bench_case *c, int64_t *case_id, struct err *e)
{
    json_t *json = axes_json(c);
    enum status st = run_sql(s, NULL, e, "INSERT INTO bench_case (key, axes) VALUES (?1, ?2) ON CONFLICT DO NOTHING", "tj", c->key, json);
    json_decref(json);
    return st == ST_OK ? run_sql(s, case_id, e, "SELECT id FROM bench_case WHERE key = ?1", "t", c->key) : st;
}

static enum status insert_samples(struct store *s, int64_t id, const struct result *r, struct err *e)
{
    sqlite3_stmt *st;
    enum status status = prepare(s, &st, "INSERT INTO sample VALUES (?1, ?2, ?3, ?4, ?5)", e);
    for (size_t i = 0; status == ST_OK && i < r->n_samples; i++)
        status = step_all(s, st, e, "iiddi", id, (int64_t)i, r->samples[i].seconds, r->samples[i].units, (int64_t)r->samples[i].order);
    sqlite3_finalize(st);
    return status;
}

static enum status insert_readings(struct store *s, int64_t id, const struct result *r, struct err *e)
{
    sqlite3_stmt *st;
    enum status status = prepare(s, &st,
                                 "INSERT INTO reading (result_id, sample, meter, metric, unit, source, status, value, reason, window_seconds,"
                                 " enabled_seconds, running_seconds, idle_watts, net_value)"
                                 " VALUES (?1, nullif(?2, -1), ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)", e);
    for (size_t i = 0; status == ST_OK && i < r->n_readings; i++) {
        const struct reading *x = &r->readings[i];
        bool known = x->status == READING_MEASURED || x->status == READING_ESTIMATED;
        status = step_all(s, st, e, "iitttttdtddddd", id, (int64_t)x->sample, x->meter, x->metric, x->unit, x->source,
                          reading_status_names[x->status], known ? x->value : NAN, x->reason, x->window_seconds, x->enabled_seconds,
                          x->running_seconds, x->idle_watts, x->net_value);
    }
    sqlite3_finalize(st);
    return status;
}

static enum status insert_values(struct store *s, int64_t id, const struct result *r, struct err *e)
{
    sqlite3_stmt *st;
    enum status status = prepare(s, &st, "INSERT OR REPLACE INTO value VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", e);
    for (size_t i = 0; status == ST_OK && i < r->n_values; i++) {
        const struct value *v = &r->values[i];
        status = step_all(s, st, e, "ittdddt", id, v->name, v->unit, v->value, v->lo, v->hi, v->text);
    }
    sqlite3_finalize(st);
    return status;
}

static enum status insert_blobs(struct store *s, int64_t id, const struct result *r, struct err *e)
{
    sqlite3_stmt *st;
    enum status status = prepare(s, &st, "INSERT OR REPLACE INTO blob (result_id, name, type, data) VALUES (?1, ?2, ?3, ?4)", e);
    for (size_t i = 0; status == ST_OK && i < r->n_blobs; i++) {
        const struct blob *b = &r->blobs[i];
        if (sqlite3_bind_blob64(st, 4, b->bytes ? b->data : "", b->bytes, SQLITE_STATIC) != SQLITE_OK)
            status = db_failed(s, e);
        else
            status = step_all(s, st, e, "itt", id, b->name, b->type);
    }
    sqlite3_finalize(st);
    return status;
}

static enum status insert_result(struct store *s, int64_t run_id, const struct bench_case *c, const struct result *r, struct err *e)
{
    char now[32];
    int64_t case_id = 0, id = 0;
    enum status st = insert_case(s, c, &case_id, e);
    /* A case that is measured again within a run (--resume after a failure) replaces what it left; parts go with it. */
    if (st == ST_OK)
        st = run_sql(s, NULL, e, "DELETE FROM result WHERE run_id = ?1 AND case_id = ?2", "ii", run_id, case_id);
    if (st == ST_OK)
        st = run_sql(s, NULL, e, "INSERT INTO result (run_id, case_id, section, outcome, reason, wall_seconds, finished) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                     "iitttdt", run_id, case_id, c->section, outcome_names[r->outcome], r->reason, r->wall_seconds, utc_now(now));
    id = sqlite3_last_insert_rowid(s->db);
    if (st == ST_OK)
        st = insert_samples(s, id, r, e);
    if (st == ST_OK)
        st = insert_readings(s, id, r, e);
    if (st == ST_OK)
        st = insert_values(s, id, r, e);
    return st == ST_OK ? insert_blobs(s, id, r, e) : st;
}

enum status store_result(struct store *s, int64_t run_id, const struct bench_case *c, const struct result *r, struct err *e)
{
    enum status st = exec(s, "BEGIN IMMEDIATE", e);
    return st == ST_OK ? commit(s, insert_result(s, run_id, c, r, e), e) : st;
}

/* Models */

enum status store_model(struct store *s, const char *hash, const char *name, const char *kind, const json_t *provenance, const char *path, struct err *e)
{
    char now[32];
    return run_sql(s, NULL, e,
                   "INSERT INTO model VALUES (?1, ?2, ?3, coalesce(?4, '{}'), ?5, ?6) ON CONFLICT (hash) DO UPDATE SET path = coalesce(?5, path), last_seen = ?6",
                   "tttjtt", hash, name, kind, provenance, path && *path ? path : NULL, utc_now(now));
}

enum status store_model_path(struct store *s, const char *hash, char *path, size_t n, struct err *e)
{
    sqlite3_stmt *st;
    enum status status = prepare(s, &st, "SELECT path FROM model WHERE hash = ?1 AND path IS NOT NULL", e);
    if (status != ST_OK)
        return status;
    sqlite3_bind_text(st, 1, hash, -1, SQLITE_STATIC);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        snprintf(path, n, "%s", (const char *)sqlite3_column_text(st, 0));
    else if (rc == SQLITE_DONE)
        status = fail(e, ST_ENOENT, "no path is known for the model %s", hash);
    else
        status = db_failed(s, e);
    sqlite3_finalize(st);
    return status;
}

/* Queries */

/* "rate [GB/s]" → name and unit */
static void add_column(struct table *t, const char *label)
{
    const char *open = strstr(label, " ["), *close = open ? strrchr(open, ']') : NULL;
    char name[128], unit[64] = "";
    snprintf(name, sizeof name, "%s", label);
    if (close && !close[1]) {
        snprintf(name, sizeof name, "%.*s", (int)(open - label), label);
        snprintf(unit, sizeof unit, "%.*s", (int)(close - open - 2), open + 2);
    }
    table_column(t, name, unit, 0);
}

static void add_row(struct table *t, sqlite3_stmt *st)
{
    char text[64];
    table_row(t);
    for (int i = 0; i < t->n_columns; i++)
        switch (sqlite3_column_type(st, i)) {
        case SQLITE_INTEGER: table_int(t, i, sqlite3_column_int64(st, i)); break;
        case SQLITE_FLOAT: table_real(t, i, sqlite3_column_double(st, i)); break;
        case SQLITE_TEXT: table_text(t, i, (const char *)sqlite3_column_text(st, i)); break;
        case SQLITE_BLOB:
            snprintf(text, sizeof text, "<%d bytes>", sqlite3_column_bytes(st, i));
            table_text(t, i, text);
            break;
        default: break;
        }
}

enum status store_query(struct store *s, const char *sql, const char *const *params, int n_params, struct table **out, struct err *e)
{
    sqlite3_stmt *st;
    *out = NULL;
    if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK) {
        int code = sqlite3_errcode(s->db) & 0xff;
        return code == SQLITE_ERROR ? fail(e, ST_EUSAGE, "query: %s", sqlite3_errmsg(s->db)) : db_failed(s, e);
    }
    if (!st || !sqlite3_stmt_readonly(st)) {
        sqlite3_finalize(st);
        return fail(e, ST_EUSAGE, "query: only a SELECT is run");
    }
    int wanted = sqlite3_bind_parameter_count(st), rc = SQLITE_OK;
    for (int i = 0; i < n_params && i < wanted; i++)
        sqlite3_bind_text(st, i + 1, params[i], -1, SQLITE_STATIC);
    struct table *t = table_new(NULL);
    for (int i = 0; i < sqlite3_column_count(st); i++)
        add_column(t, sqlite3_column_name(st, i));
    while ((rc = sqlite3_step(st)) == SQLITE_ROW)
        add_row(t, st);
    enum status status = rc == SQLITE_DONE ? ST_OK : db_failed(s, e);
    sqlite3_finalize(st);
    if (status == ST_OK)
        *out = t;
    else
        table_free(t);
    return status;
}

enum status store_blob(struct store *s, int64_t result_id, const char *name, void **data, size_t *bytes, struct err *e)
{
    sqlite3_stmt *st;
    *data = NULL;
    enum status status = prepare(s, &st, "SELECT data FROM blob WHERE result_id = ?1 AND name = ?2", e);
    if (status != ST_OK)
        return status;
    sqlite3_bind_int64(st, 1, result_id);
    sqlite3_bind_text(st, 2, name, -1, SQLITE_STATIC);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        *bytes = (size_t)sqlite3_column_bytes(st, 0);
        *data = malloc(*bytes ? *bytes : 1);
        if (*data && *bytes)
            memcpy(*data, sqlite3_column_blob(st, 0), *bytes);
        if (!*data)
            status = fail(e, ST_ENOMEM, "no memory for the blob '%s'", name);
    } else {
        status = rc == SQLITE_DONE ? fail(e, ST_ENOENT, "result %lld has no '%s'", (long long)result_id, name) : db_failed(s, e);
    }
    sqlite3_finalize(st);
    return status;
}
