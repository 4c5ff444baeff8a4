-- The database of qbench: what was run, on which machine, by which build, and every raw sample of it.
-- An absent number is NULL, with its reason beside it. SI units without prefix; times of day are UTC, ISO 8601.
-- The program embeds this file; user_version names it, application_id ("qbnc") tells it from other SQLite files.

PRAGMA application_id = 0x71626e63;
PRAGMA user_version = 1;

-- What must match for two runs to be compared.
CREATE TABLE machine (
    id TEXT PRIMARY KEY,                        -- hash of json
    json TEXT NOT NULL CHECK (json_valid(json)),
    first_seen TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What is compared: commit, compiler, flags, libraries.
CREATE TABLE build (
    id TEXT PRIMARY KEY,                        -- hash of json
    json TEXT NOT NULL CHECK (json_valid(json)),
    first_seen TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,                  -- stays the same when databases are merged
    label TEXT,
    suite TEXT NOT NULL,
    suite_hash TEXT NOT NULL,                   -- of text, overrides and filter: what --resume must find again
    suite_text TEXT NOT NULL,
    argv TEXT NOT NULL,
    machine_id TEXT NOT NULL REFERENCES machine (id),
    build_id TEXT NOT NULL REFERENCES build (id),
    started TEXT NOT NULL,
    finished TEXT,                              -- NULL: running or interrupted
    complete INTEGER NOT NULL DEFAULT 0 CHECK (complete IN (0, 1)),
    cases INTEGER NOT NULL,                     -- that the suite asked for
    owner TEXT NOT NULL,                        -- the process at work on it: boot id, pid, start time
    conditions_before TEXT CHECK (conditions_before IS NULL OR json_valid(conditions_before)),
    conditions_after TEXT CHECK (conditions_after IS NULL OR json_valid(conditions_after)),
    warnings TEXT NOT NULL DEFAULT ''           -- a line each
) STRICT;
CREATE INDEX run_by_suite ON run (suite_hash, machine_id, build_id);

-- Models by content; path is only where that content was last seen.
CREATE TABLE model (
    hash TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,                         -- trained, tuned, random
    provenance TEXT NOT NULL CHECK (json_valid(provenance)),
    path TEXT,
    last_seen TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What was asked, once for all runs. The key is the identity.
CREATE TABLE bench_case (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    axes TEXT NOT NULL CHECK (json_valid(axes)) -- {"work": "gemm", "m": 1, …}: what the key says, typed
) STRICT;

CREATE TABLE result (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    case_id INTEGER NOT NULL REFERENCES bench_case (id),
    section TEXT NOT NULL,                      -- of the suite
    outcome TEXT NOT NULL CHECK (outcome IN ('ok', 'skipped', 'untrusted', 'wrong', 'failed', 'timeout')),
    reason TEXT NOT NULL,                       -- '' only for ok
    wall_seconds REAL,                          -- with opening, checking and warming up
    finished TEXT NOT NULL,
    UNIQUE (run_id, case_id),
    CHECK (outcome = 'ok' OR reason <> '')
) STRICT;
CREATE INDEX result_by_case ON result (case_id);

CREATE TABLE sample (
    result_id INTEGER NOT NULL REFERENCES result (id) ON DELETE CASCADE,
    n INTEGER NOT NULL,
    seconds REAL NOT NULL,
    units REAL NOT NULL,                        -- of the work, done in those seconds
    position INTEGER NOT NULL,                  -- among all samples of the group: shows the interleaving
    PRIMARY KEY (result_id, n)
) STRICT, WITHOUT ROWID;

-- What meters read around a sample, or (sample NULL) around the block of all samples.
CREATE TABLE reading (
    id INTEGER PRIMARY KEY,
    result_id INTEGER NOT NULL REFERENCES result (id) ON DELETE CASCADE,
    sample INTEGER,
    meter TEXT NOT NULL,
    metric TEXT NOT NULL,
    unit TEXT NOT NULL,
    source TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('measured', 'estimated', 'unavailable', 'invalid')),
    value REAL,
    reason TEXT NOT NULL,
    window_seconds REAL,
    enabled_seconds REAL,                       -- perf multiplexing
    running_seconds REAL,
    idle_watts REAL,
    net_value REAL,                             -- value - idle_watts * window_seconds
    CHECK (status IN ('measured', 'estimated') OR value IS NULL)
) STRICT;
CREATE INDEX reading_by_result ON reading (result_id, metric);

-- Named results: rate with its interval, perplexity, bytes, …
CREATE TABLE value (
    result_id INTEGER NOT NULL REFERENCES result (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    value REAL,
    lo REAL,                                    -- 95 % interval
    hi REAL,
    text TEXT NOT NULL,                         -- a text value, or why value is NULL
    PRIMARY KEY (result_id, name)
) STRICT, WITHOUT ROWID;

-- Arrays: NLL by token, the block of each token, …
CREATE TABLE blob (
    id INTEGER PRIMARY KEY,
    result_id INTEGER NOT NULL REFERENCES result (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    type TEXT NOT NULL,                         -- f32 or i32, little-endian
    data BLOB NOT NULL,
    UNIQUE (result_id, name)
) STRICT;

-- The views (result_axes, value_axes, rate, run_outcomes) follow the axes: harness/store_views.h makes them.
