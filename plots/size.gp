# Bytes of the model file by format
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What quantization buys in size, in real serialized bytes: codes with their scales, the tensors that stay float (embedding, norms, head) and the
# file's header. A small model keeps much of itself in float, which is why its file shrinks by less than the bits of its codes suggest.
#
#note Above each bar: its size, and this in percent of the same model in FP32 (first) and in FP16 (second).
#note row: one scale for each output row; g32: one for every 32 weights.
#note Drawn are cases with zero_point, act, head, kv, batch and depth at their defaults.
#empty No result with a model's size in this run; run `qbench run quick`.
#
#data:size
#sql WITH parts AS (
#sql   SELECT model_name, format, coalesce("group", 0) AS "group",
#sql     max(CASE name WHEN 'size_bytes' THEN value END) AS bytes, max(CASE name WHEN 'vs_fp32' THEN value END) AS vs_fp32,
#sql     max(CASE name WHEN 'vs_fp16' THEN value END) AS vs_fp16, max(CASE name WHEN 'bits_per_weight' THEN value END) AS bits_per_weight,
#sql     max(CASE name WHEN 'quantized_share' THEN value END) AS quantized_share, max(CASE name WHEN 'parameters' THEN value END) AS parameters
#sql   FROM value_axes WHERE run_id = CAST(?1 AS INTEGER) AND model IS NOT NULL AND plain AND coalesce(method, 'rtn') = 'rtn'
#sql     AND coalesce(gamma, 'off') = 'off' AND coalesce(tune, 'none') = 'none'
#sql   GROUP BY model_name, format, coalesce("group", 0))
#sql SELECT dense_rank() OVER (ORDER BY parameters, model_name) AS panel,
#sql   CASE WHEN model_name LIKE 'random:%' THEN substr(model_name, 8) || ' (random weights)' ELSE model_name || ' (trained)' END
#sql     || printf(', %.3g M parameters', parameters / 1e6) AS title,
#sql   model_name AS model, format, CASE WHEN format = 'f32' THEN ' ' WHEN "group" > 0 THEN 'g' || "group" ELSE 'row' END AS grouping,
#sql   bytes / 1e6 AS megabytes, CASE WHEN quantized_share > 0 THEN parameters * quantized_share * bits_per_weight / 8e6 ELSE 0 END AS quantized_megabytes,
#sql   printf('%.3g MB', bytes / 1e6) AS said, printf('%.1f %%', 100 * vs_fp32) AS of_fp32, printf('%.1f %%', 100 * vs_fp16) AS of_fp16,
#sql   vs_fp32, vs_fp16, bits_per_weight, quantized_share, parameters
#sql FROM parts WHERE bytes IS NOT NULL ORDER BY panel, format <> 'f32', format = 'int4', format, "group"
#
#list:drawn
#sql SELECT format FROM result_axes WHERE run_id = CAST(?1 AS INTEGER) AND model IS NOT NULL AND plain GROUP BY format ORDER BY format <> 'f32', format = 'int4', format

across = size_panels < 3 ? size_panels : 3
down = (size_panels + across - 1) / across
page_top = 0.875
set offsets 0.3, 0.3, graph (down > 1 ? 0.45 : 0.1), 0
eval legend_begin
plot [0:1] [0:1] -1 notitle, \
     for [i = 1:drawn_count] keyentry with boxes linecolor rgb colour(drawn[i]) fillstyle pattern pattern(drawn[i]) \
         title (drawn[i] eq "f32" ? "kept in f32" : drawn[i]." codes and scales")
eval legend_end
do for [p = 1:size_panels] {
    eval place(p)
    set title size_title[p] font ",10" offset 0, -0.6
    set ylabel ((p - 1) % across == 0 ? "MB (10⁶ bytes)" : "") offset 1
    set yrange [0:*]
    this = block(sprintf("size/%d", p))
    plot data index this using "row":"megabytes":(column("row") - 0.35):(column("row") + 0.35):"quantized_megabytes":"megabytes" \
             with boxxyerror linecolor rgb colour_f32 fillstyle pattern pattern_f32, \
         for [f in formats] data index this using (strcol("format") eq f && f ne "f32" ? column("row") : NaN):"quantized_megabytes": \
             (column("row") - 0.35):(column("row") + 0.35):(0):"quantized_megabytes" with boxxyerror linecolor rgb colour(f) fillstyle pattern pattern(f), \
         data index this using "row":(strcol("format") eq "f32" ? column("megabytes") : NaN):"said" with labels offset 0, 0.6 font ",8", \
         data index this using "row":(strcol("format") ne "f32" ? column("megabytes") : NaN):(strcol("said")."\n".strcol("of_fp32")."\n".strcol("of_fp16")) \
             with labels offset 0, 2.5 font ",8", \
         data index this using "row":(0):xtic(strcol("format")."\n".strcol("grouping")) with points pointtype -2
}
