# Energy and power of decoding and prefill by format
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What quantization buys in energy: joules per token, and the power that was drawn meanwhile, side by side: a format that is faster at the same power
# saves energy by finishing sooner. Only what a counter measured is drawn, never an estimate; without a counter the picture says why there is none.
#
#note Bars are gross: all that the counter saw in a block of at least one second. Diamonds are net of the idle power around it.
#note row: one scale for each output row; g32: one for every 32 weights.
#note Drawn are cases with zero_point, act, head, kv, batch and depth at their defaults.
#empty No decode or prefill case read an energy counter in this run; run `qbench run quick`.
#
#data:energy
#sql WITH block AS (
#sql   SELECT a.*, coalesce("group", 0) AS grp, j.value AS joules, j.net_value AS net_joules, j.window_seconds AS seconds, j.meter, j.metric, j.source,
#sql     (SELECT v.value FROM value v WHERE v.result_id = a.result_id AND v.name = j.metric || '_per_unit') AS joules_per_token,
#sql     (SELECT v.value FROM value v WHERE v.result_id = a.result_id AND v.name = 'parameters') AS parameters,
#sql     row_number() OVER (PARTITION BY work, model_name, format, coalesce("group", 0)
#sql                        ORDER BY j.metric <> 'total_joules', j.meter <> 'rapl_perf', threads DESC, isa <> 'native', a.result_id) AS choice
#sql   FROM result_axes a JOIN reading j ON j.result_id = a.result_id AND j.sample IS NULL AND j.status = 'measured' AND a.plain
#sql     AND j.metric IN ('total_joules', 'package_joules') AND j.value > 0
#sql   WHERE run_id = CAST(?1 AS INTEGER) AND work IN ('decode', 'prefill') AND outcome IN ('ok', 'untrusted')
#sql     AND coalesce(method, 'rtn') = 'rtn' AND coalesce(gamma, 'off') = 'off' AND coalesce(tune, 'none') = 'none')
#sql SELECT dense_rank() OVER (ORDER BY work, parameters, model_name) AS panel,
#sql   work || ', ' || CASE WHEN model_name LIKE 'random:%' THEN substr(model_name, 8) || ' (random)' ELSE model_name || ' (trained)' END AS title,
#sql   format, CASE WHEN format = 'f32' THEN ' ' WHEN grp > 0 THEN 'g' || grp ELSE 'row' END AS grouping,
#sql   1000 * joules_per_token AS millijoules_per_token, 1000 * joules_per_token * net_joules / joules AS net_millijoules_per_token,
#sql   joules / seconds AS watts, net_joules / seconds AS net_watts, printf('%.3g', 1000 * joules_per_token) AS said, printf('%.3g', joules / seconds) AS said_watts,
#sql   metric, source, key
#sql FROM block WHERE choice = 1 AND joules_per_token IS NOT NULL ORDER BY panel, format <> 'f32', format = 'int4', format, grp
#
#list:absent
#sql SELECT DISTINCT 'package energy: not measured on this machine: ' || r.meter || ': ' || r.reason FROM reading r JOIN result_axes a USING (result_id)
#sql WHERE a.run_id = CAST(?1 AS INTEGER) AND a.work IN ('decode', 'prefill') AND r.metric IN ('package_joules', 'total_joules') AND r.status IN ('unavailable', 'invalid')
#
#list:note
#sql SELECT DISTINCT 'Counter: ' || source || '.' FROM reading r JOIN result_axes a USING (result_id)
#sql WHERE a.run_id = CAST(?1 AS INTEGER) AND a.work IN ('decode', 'prefill') AND r.metric IN ('package_joules', 'total_joules') AND r.status = 'measured'

across = energy_panels
down = 2
left = 0.062
set boxwidth 0.7
set offsets 0.3, 0.3, graph 0.16, 0
array column_name[2] = ["millijoules_per_token", "watts"]
array said_name[2] = ["said", "said_watts"]
array axis[2] = ["mJ / token", "W"]
do for [r = 1:2] {
    do for [p = 1:energy_panels] {
        eval place((r - 1) * across + p)
        set title energy_title[p] font ",10" offset 0, -0.6
        set ylabel (p == 1 ? axis[r] : "") offset 1.2
        set yrange [0:*]
        this = block(sprintf("energy/%d", p))
        plot for [f in formats] data index this using "row":(strcol("format") eq f ? column(column_name[r]) : NaN) with boxes linecolor rgb colour(f) fillstyle pattern pattern(f), \
             data index this using "row":"net_".column_name[r] with points pointtype 13 linecolor rgb "#000000", \
             data index this using "row":(column(column_name[r])):(strcol(said_name[r])) with labels offset 0, 0.6 font ",8", \
             data index this using "row":(0):xtic(strcol("format")."\n".strcol("grouping")) with points pointtype -2
    }
}
