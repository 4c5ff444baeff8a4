/* store_views.h — the views of the database: results with their axes as columns, whatever axes this build has. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_STORE_VIEWS_H
#define QBENCH_STORE_VIEWS_H

#include <sqlite3.h>
#include <stdbool.h>

/*
 *     result_axes   a result with its axes as columns; NULL where the case has no such axis. model is "name@hash", model_name and
 *                   model_hash its parts; plain is 1 where zero_point, act, head, kv, batch and depth are at their defaults; text is a text's name, text_id the name with its content hash
 *     value_axes    every named value beside the axes of its case
 *     rate          speed: median and 95 % interval in units of the work per second
 *     run_outcomes  how each run went
 *
 * They hold no data and follow axes.def, so a database of an older build gets this build's when it is opened: in the file when it
 * is written to (so that other programs see them), for this connection alone (temp) when it is only read. Views that stand as they
 * should are left alone. Returns SQLite's code.
 */
int store_views(sqlite3 *db, bool temp);

#endif
