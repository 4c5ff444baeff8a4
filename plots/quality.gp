# What quantization costs, against the float model of the same training
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What quantization costs: the mean difference in NLL per token between a quantized model and the float model with the very same training, paired
# token by token, for every method and with γ off and on. For rtn and mse that is the base model. QAT trains further, and so does its control, in
# float on the same tokens: qat_ste and rtn of the control ("control + rtn") are measured against that control, or further training would be
# taken for a gift of quantization.
#
#note Mean difference in NLL to the float model of the same training (rtn, mse: the base; control + rtn, QAT: the float control), paired per token,
#note with 95 % intervals by bootstrap over blocks of text; 0: quantization costs nothing.
#note row: one scale for each output row; g32: one for every 32 weights. The scales of the panels differ.
#note Drawn are cases with zero_point, act, head, kv, batch and depth at their defaults.
#empty No quantized model was scored on a text in this run; run `qbench run quick`.
#
#paired:quality
#sql WITH scored AS (
#sql   SELECT *, coalesce("group", 0) AS grp FROM result_axes a WHERE run_id = CAST(?1 AS INTEGER) AND work = 'quality' AND plain AND outcome IN ('ok', 'untrusted')
#sql     AND EXISTS (SELECT 1 FROM blob b WHERE b.result_id = a.result_id AND b.name = 'nll')),
#sql main_text AS (SELECT text FROM scored WHERE format <> 'f32' GROUP BY text ORDER BY count(*) DESC, text LIMIT 1),
#sql float AS (SELECT * FROM scored WHERE format = 'f32'),
#sql chosen AS (
#sql   SELECT q.*,
#sql     (SELECT f.result_id FROM float f WHERE f.model = q.model AND f.text = q.text AND f.tokens = q.tokens AND f.seed = q.seed
#sql        AND f.tune = coalesce(q.tune, 'float') AND f.tune_tokens IS q.tune_tokens ORDER BY f.result_id LIMIT 1) AS twin_id,
#sql     (SELECT f.result_id FROM float f WHERE f.model = q.model AND f.text = q.text AND f.tokens = q.tokens AND f.tune = 'none'
#sql        ORDER BY f.result_id LIMIT 1) AS float_id
#sql   FROM scored q WHERE text IN main_text AND format <> 'f32' AND (coalesce(tune, 'none') = 'none' OR method = 'rtn'))
#sql SELECT dense_rank() OVER (ORDER BY model_name, format = 'int4', format, grp) AS panel,
#sql   model_name || ': ' || format || ', ' || CASE grp WHEN 0 THEN 'row' ELSE 'g' || grp END || ', text ' || text AS title, format,
#sql   CASE tune WHEN 'float' THEN 'control' ELSE method END AS word,
#sql   CASE WHEN tune = 'float' THEN '+ ' || method ELSE ' ' END || CASE WHEN twin_id IS NULL THEN ' (to base)' ELSE '' END AS word2,
#sql   dense_rank() OVER (PARTITION BY model_name, format, grp ORDER BY tune IS NULL, tune = 'float', method <> 'rtn', method) AS x,
#sql   CASE WHEN gamma = 'off' THEN 'off' ELSE gamma_on || ' ' || gamma END AS gamma, result_id, coalesce(twin_id, float_id) AS base_id,
#sql   (SELECT v.value FROM value v WHERE v.result_id = chosen.result_id AND v.name = 'delta_nll') AS difference_to_base,
#sql   (SELECT v.value FROM value v WHERE v.result_id = chosen.result_id AND v.name = 'scored_tokens') AS tokens, outcome, key
#sql FROM chosen WHERE coalesce(twin_id, float_id) IS NOT NULL ORDER BY panel, x, gamma <> 'off', gamma_on = 'act', gamma = 'channel'
#
#list:gamma
#sql SELECT CASE WHEN gamma = 'off' THEN 'off' ELSE gamma_on || ' ' || gamma END AS word FROM result_axes
#sql WHERE run_id = CAST(?1 AS INTEGER) AND work = 'quality' AND plain AND gamma IS NOT NULL GROUP BY word ORDER BY word <> 'off', gamma_on = 'act', gamma = 'channel', word

across = quality_panels < 3 ? quality_panels : 3
down = (quality_panels + across - 1) / across
page_top = 0.875
left = 0.1
array shape[8] = [7, 8, 5, 12, 10, 4, 14, 1]
shift(g) = (g - (gamma_count + 1) / 2.0) * 0.72 / gamma_count
eval legend_begin
plot [0:1] [0:1] -1 notitle, \
     for [g = 1:gamma_count] keyentry with points pointtype shape[(g - 1) % 8 + 1] linecolor rgb "#000000" title "γ ".gamma[g]
eval legend_end
set xzeroaxis linetype 1 linecolor rgb "#000000"
set xtics font ",8"
do for [p = 1:quality_panels] {
    eval place(p)
    set title quality_title[p] font ",10" offset 0, -0.6
    set ylabel ((p - 1) % across == 0 ? "Δ NLL, nat / token" : "")
    set offsets 0.5, 0.5, graph 0.05, graph 0.05
    this = block(sprintf("quality/%d", p))
    plot for [f in formats] for [g = 1:gamma_count] data index this \
             using (column("x") + shift(g)):(strcol("format") eq f && strcol("gamma") eq gamma[g] ? column("difference") : NaN):"lo":"hi" \
             with yerrorbars pointtype shape[(g - 1) % 8 + 1] pointsize 0.9 linewidth 1.2 linecolor rgb colour(f), \
         data index this using "x":(0):xtic(strcol("word")."\n".strcol("word2")) with points pointtype -2
}
