# Decoding and prefill speed by format
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What quantization buys in speed, for every model of the run: decoding reads all weights for each token and lives on memory bandwidth;
# prefill multiplies many tokens by the same weights and lives on arithmetic. They are two figures and are never averaged. γ is off.
# Models differ in speed by orders of magnitude, so each has a panel and a scale of its own; bars begin at 0.
#
#note Bars are medians with 95 % intervals; above each stands its speed-up over f32 (above f32: tokens per second).
#note row: one scale for each output row; g32: one for every 32 weights.
#note Drawn are cases with zero_point, act, head, kv, batch and depth at their defaults.
#empty No decode or prefill case has a speed in this run; run `qbench run quick`.
#
#data:speed
#sql WITH found AS (
#sql   SELECT *, row_number() OVER (PARTITION BY work, model_name, format, coalesce("group", 0)
#sql                                ORDER BY threads DESC, prompt DESC, generate DESC, isa <> 'native', result_id) AS choice
#sql   FROM rate WHERE run_id = CAST(?1 AS INTEGER) AND work IN ('decode', 'prefill') AND plain
#sql     AND coalesce(method, 'rtn') = 'rtn' AND coalesce(gamma, 'off') = 'off' AND coalesce(tune, 'none') = 'none'),
#sql one AS (
#sql   SELECT found.*, v.value AS parameters,
#sql     first_value(CASE format WHEN 'f32' THEN rate END) OVER (PARTITION BY work, model_name, threads ORDER BY format <> 'f32') AS base,
#sql     first_value(CASE format WHEN 'f32' THEN outcome END) OVER (PARTITION BY work, model_name, threads ORDER BY format <> 'f32') AS base_outcome
#sql   FROM found LEFT JOIN value v ON v.result_id = found.result_id AND v.name = 'parameters' WHERE choice = 1)
#sql SELECT dense_rank() OVER (ORDER BY work, parameters, model_name) AS panel,
#sql   work || ', ' || CASE WHEN model_name LIKE 'random:%' THEN substr(model_name, 8) || ' (random weights)' ELSE model_name || ' (trained)' END
#sql     || ', ' || threads || CASE threads WHEN 1 THEN ' thread' ELSE ' threads' END AS title,
#sql   model_name AS model, format, CASE WHEN format = 'f32' THEN ' ' WHEN "group" > 0 THEN 'g' || "group" ELSE 'row' END AS grouping,
#sql   rate, lo, hi, coalesce(hi, rate) AS top, rate / base AS speedup,
#sql   CASE WHEN format = 'f32' THEN printf(CASE WHEN rate < 100 THEN '%.3g/s' ELSE '%,d/s' END, round(rate)) WHEN base > 0 THEN printf('%.2f×', rate / base) ELSE printf('%.4g/s', rate) END
#sql     || CASE WHEN outcome = 'ok' AND coalesce(base_outcome, 'ok') = 'ok' THEN '' ELSE ' !' END AS said,
#sql   (SELECT count(*) FROM sample s WHERE s.result_id = one.result_id) AS samples, outcome, key
#sql FROM one ORDER BY panel, format <> 'f32', format = 'int4', format, "group"
#
#list:model
#sql SELECT DISTINCT model_name FROM rate WHERE run_id = CAST(?1 AS INTEGER) AND work IN ('decode', 'prefill')
#
#list:note
#sql SELECT '! marks a case that is untrusted, or whose f32 is: its noise exceeds the suite''s bound.' FROM rate
#sql WHERE run_id = CAST(?1 AS INTEGER) AND work IN ('decode', 'prefill') AND outcome = 'untrusted' LIMIT 1

across = model_count < 4 ? model_count : 4
down = (speed_panels + across - 1) / across
left = 0.108
set boxwidth 0.7
set offsets 0.3, 0.3, graph 0.16, 0
do for [p = 1:speed_panels] {
    eval place(p)
    set title speed_title[p] font ",10" offset 0, -0.6
    set ylabel ((p - 1) % across == 0 ? "tokens / s" : "") offset -0.5
    set yrange [0:*]
    this = block(sprintf("speed/%d", p))
    plot for [f in formats] data index this using "row":(strcol("format") eq f ? column("rate") : NaN) with boxes linecolor rgb colour(f) fillstyle pattern pattern(f), \
         data index this using "row":"lo":(0):(column("hi") - column("lo")) with vectors arrowstyle 1, \
         data index this using "row":"top":"said" with labels offset 0, 0.6 font ",8", \
         data index this using "row":(0):xtic(strcol("format")."\n".strcol("grouping")) with points pointtype -2
}
