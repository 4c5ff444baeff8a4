# Share of the memory bandwidth that a matrix-vector product uses
# SPDX-License-Identifier: GPL-3.0-or-later
#
# How good the kernels are where decoding lives: one token times one weight matrix, with weights that come from memory, is done when they have been
# read. 100 % is the read bandwidth measured in this very run with as many threads: what is missing to it is the kernel's, not quantization's.
#
#note Bytes are those of the packed weights with scales, activations and outputs. Bars are medians with 95 % intervals; above each stands GB/s.
#note row: one scale for each output row; g32, g128: one for every so many weights.
#empty No cold matrix-vector product (gemm, m = 1) beside a read-bandwidth case in this run; run `qbench run quick`.
#
#data:share
#sql WITH roof AS (
#sql   SELECT threads, value AS roof, row_number() OVER (PARTITION BY threads ORDER BY bytes DESC, result_id) AS choice
#sql   FROM value_axes WHERE run_id = CAST(?1 AS INTEGER) AND work = 'bandwidth' AND op = 'read' AND name = 'bytes_per_second' AND outcome IN ('ok', 'untrusted')),
#sql done AS (
#sql   SELECT a.*, coalesce("group", 0) AS grp, row_number() OVER (PARTITION BY kernel, coalesce("group", 0), n, k, threads ORDER BY acts = 'ready', isa <> 'native', result_id) AS choice
#sql   FROM value_axes a WHERE run_id = CAST(?1 AS INTEGER) AND work = 'gemm' AND m = 1 AND cache = 'cold' AND name = 'bytes_per_second' AND outcome IN ('ok', 'untrusted')),
#sql placed AS (
#sql   SELECT *, dense_rank() OVER (ORDER BY threads, n * k, n) AS panel,
#sql     row_number() OVER (PARTITION BY threads, n, k ORDER BY format <> 'f32', format = 'int4', format, kernel, grp)
#sql     + 0.7 * (dense_rank() OVER (PARTITION BY threads, n, k ORDER BY format <> 'f32', format = 'int4', format, kernel) - 1) AS x
#sql   FROM done JOIN roof USING (threads) WHERE done.choice = 1 AND roof.choice = 1)
#sql SELECT panel, printf('%d × %d, %d %s, roof %.3g GB/s', n, k, threads, CASE threads WHEN 1 THEN 'thread' ELSE 'threads' END, roof / 1e9) AS title,
#sql   x, avg(x) OVER (PARTITION BY panel, kernel) AS centre,
#sql   CASE row_number() OVER (PARTITION BY panel, kernel ORDER BY grp) WHEN 1 THEN kernel ELSE ' ' END AS cluster,
#sql   dense_rank() OVER (PARTITION BY panel ORDER BY format <> 'f32', format = 'int4', format, kernel) % 2 AS turn,
#sql   kernel, format, CASE WHEN format = 'f32' THEN ' ' WHEN grp > 0 THEN 'g' || grp ELSE 'row' END AS grouping,
#sql   100 * value / roof AS percent, 100 * lo / roof AS lo, 100 * hi / roof AS hi, 100 * coalesce(hi, value) / roof AS top, value / 1e9 AS gigabytes_per_second,
#sql   printf('%.3g', value / 1e9) || CASE outcome WHEN 'ok' THEN '' ELSE ' !' END AS said,
#sql   (SELECT count(*) FROM sample s WHERE s.result_id = placed.result_id) AS samples, outcome, key
#sql FROM placed ORDER BY panel, x
#
#list:note
#sql SELECT '! marks a case that is untrusted: its noise exceeds the suite''s bound.' FROM rate
#sql WHERE run_id = CAST(?1 AS INTEGER) AND work = 'gemm' AND m = 1 AND cache = 'cold' AND outcome = 'untrusted' LIMIT 1

across = share_panels < 2 ? 1 : 2
down = (share_panels + across - 1) / across
set boxwidth 0.8
set offsets 0.4, 0.4, graph 0.1, 0
below = 0.14
do for [p = 1:share_panels] {
    eval place(p)
    set title share_title[p] font ",10" offset 0, -0.6
    set ylabel ((p - 1) % across == 0 ? "% of read bandwidth" : "") offset 1
    set yrange [0:*]
    this = block(sprintf("share/%d", p))
    plot 100 with lines dashtype 2 linewidth 1.5 linecolor rgb "#000000", \
         for [f in formats] data index this using "x":(strcol("format") eq f ? column("percent") : NaN) with boxes linecolor rgb colour(f) fillstyle pattern pattern(f), \
         data index this using "x":"lo":(0):(column("hi") - column("lo")) with vectors arrowstyle 1, \
         data index this using "x":"top":"said" with labels offset 0, 0.6 font ",8", \
         for [turn = 0:1] data index this using "centre":(column("turn") == turn ? 0 : NaN):"cluster" with labels offset 0, -2.1 - turn font ",9", \
         data index this using "x":(0):xtic(strcol("grouping")) with points pointtype -2
}
