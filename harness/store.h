/* store.h — the SQLite database of runs, cases, results and samples. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_STORE_H
#define QBENCH_STORE_H

#include "case.h"
#include "host.h"
#include "result.h"
#include "table.h"

/*
 * results/schema.sql is embedded in the program; PRAGMA user_version names it. WAL, foreign keys, STRICT tables. Every result is one
 * transaction, so that kill -9 loses at most the case in flight. Two runs may write one database at once (busy timeout, short transactions).
 */
struct store;

enum store_mode { STORE_READ, STORE_WRITE }; /* WRITE creates the file */
/* ST_EFORMAT: not a database, corrupted, or of another version (says which); ST_EIO: read-only folder, disk full, locked. */
enum status store_open(struct store **s, const char *path, enum store_mode mode, struct err *e);
void store_close(struct store *s);
const char *store_path(const struct store *s);

struct run_info {
    const char *suite, *suite_text, *suite_hash; /* hash: of text, overrides and filter: what --resume must find again */
    const char *label, *argv;
    const struct machine *machine;
    const struct build *build;
    json_t *conditions; /* at the start */
    long cases;
};
enum status store_run_begin(struct store *s, const struct run_info *r, int64_t *run_id, struct err *e);
/* The latest unfinished run of the same suite_hash, machine and build, which is this process's from now on; 0 when there is none. ST_EUSAGE when another process
 * is at work on it. */
enum status store_run_unfinished(struct store *s, const struct run_info *r, int64_t *run_id, struct err *e);
enum status store_run_end(struct store *s, int64_t run_id, json_t *conditions, const char *warnings, struct err *e);
/* How many rows of each outcome the run has by now. */
enum status store_outcomes(struct store *s, int64_t run_id, size_t outcomes[OUTCOME_COUNT], struct err *e);
enum status store_has(struct store *s, int64_t run_id, const char *key, bool *has, struct err *e);

/* One transaction: the case (by key, with its axes), its result, samples, readings, values and blobs. */
enum status store_result(struct store *s, int64_t run_id, const struct bench_case *c, const struct result *r, struct err *e);

/* A model by its hash: provenance, path where it was last seen. Idempotent. */
enum status store_model(struct store *s, const char *hash, const char *name, const char *kind, const json_t *provenance, const char *path, struct err *e);
enum status store_model_path(struct store *s, const char *hash, char *path, size_t n, struct err *e);

/* Any SELECT into a table, columns named by the query ("name [unit]" splits off a unit). NULLs are empty cells. Parameters bind ?1, ?2 … as text. */
enum status store_query(struct store *s, const char *sql, const char *const *params, int n_params, struct table **out, struct err *e);
enum status store_blob(struct store *s, int64_t result_id, const char *name, void **data, size_t *bytes, struct err *e); /* caller frees with free() */

#endif
