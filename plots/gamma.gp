# What the scaling factor γ does to quality
# SPDX-License-Identifier: GPL-3.0-or-later
#
# γ is meant to repair the second moment that quantization shrinks. Each mark is one quantized model with γ against the very same model without,
# token by token: the pairing takes away all noise that the two have in common, so that an effect far below either model's own interval shows.
#
#note Mean difference in NLL per token, γ on minus γ off, with 95 % intervals by bootstrap over blocks of text; below 0, γ helps.
#note row: one scale for each output row; g32: one for every 32 weights. The scales of the panels differ.
#note Drawn are cases with zero_point, act, head, kv, batch and depth at their defaults.
#empty No quantized model was scored with γ on and off in this run; run `qbench run quick`.
#
#paired:gain
#sql WITH scored AS (
#sql   SELECT *, coalesce("group", 0) AS grp FROM result_axes a
#sql   WHERE run_id = CAST(?1 AS INTEGER) AND work = 'quality' AND plain AND outcome IN ('ok', 'untrusted') AND format <> 'f32'
#sql     AND EXISTS (SELECT 1 FROM blob b WHERE b.result_id = a.result_id AND b.name = 'nll')),
#sql main_text AS (SELECT text FROM scored WHERE gamma <> 'off' GROUP BY text ORDER BY count(*) DESC, text LIMIT 1)
#sql SELECT dense_rank() OVER (ORDER BY g.model_name, g.format = 'int4', g.format, g.grp) AS panel,
#sql   g.model_name || ': ' || g.format || ', ' || CASE g.grp WHEN 0 THEN 'row' ELSE 'g' || g.grp END || ', text ' || g.text AS title, g.format,
#sql   CASE g.tune WHEN 'float' THEN 'control' ELSE g.method END AS word, CASE g.tune WHEN 'float' THEN '+ ' || g.method ELSE ' ' END AS word2,
#sql   dense_rank() OVER (PARTITION BY g.model_name, g.format, g.grp ORDER BY g.tune IS NULL, g.tune = 'float', g.method <> 'rtn', g.method) AS x,
#sql   g.gamma_on || ' ' || g.gamma AS gamma,
#sql   g.result_id, o.result_id AS base_id, (SELECT value FROM value v WHERE v.result_id = g.result_id AND v.name = 'scored_tokens') AS tokens, g.key
#sql FROM scored g JOIN scored o ON o.gamma = 'off' AND g.gamma <> 'off' AND o.model = g.model AND o.text = g.text AND o.tokens = g.tokens
#sql   AND o.format = g.format AND o.grp = g.grp AND o.method = g.method AND o.tune IS g.tune AND o.tune_tokens IS g.tune_tokens
#sql   AND o.kernel = g.kernel AND o.isa = g.isa AND o.seed = g.seed AND o.threads = g.threads
#sql WHERE g.text IN main_text AND (coalesce(g.tune, 'none') = 'none' OR g.method = 'rtn')
#sql ORDER BY panel, x, g.gamma_on = 'act', g.gamma = 'channel'
#
#list:gamma
#sql SELECT gamma_on || ' ' || gamma AS word FROM result_axes
#sql WHERE run_id = CAST(?1 AS INTEGER) AND work = 'quality' AND plain AND gamma <> 'off' GROUP BY word ORDER BY gamma_on = 'act', gamma = 'channel', word

array shape[7] = [8, 5, 12, 10, 4, 14, 1]
shift(g) = (g - (gamma_count + 1) / 2.0) * 0.66 / gamma_count
across = gain_panels < 3 ? gain_panels : 3
down = (gain_panels + across - 1) / across
page_top = 0.875
left = 0.1
eval legend_begin
plot [0:1] [0:1] -1 notitle, \
     for [g = 1:gamma_count] keyentry with points pointtype shape[(g - 1) % 7 + 1] linecolor rgb "#000000" title "γ on ".gamma[g]
eval legend_end
set xzeroaxis linetype 1 linecolor rgb "#000000"
set xtics font ",8"
do for [p = 1:gain_panels] {
    eval place(p)
    set title gain_title[p] font ",10" offset 0, -0.6
    set ylabel ((p - 1) % across == 0 ? "NLL with γ − without, nat / token" : "")
    set offsets 0.5, 0.5, graph 0.05, graph 0.05
    this = block(sprintf("gain/%d", p))
    plot for [f in formats] for [g = 1:gamma_count] data index this \
             using (column("x") + shift(g)):(strcol("format") eq f && strcol("gamma") eq gamma[g] ? column("difference") : NaN):"lo":"hi" \
             with yerrorbars pointtype shape[(g - 1) % 7 + 1] pointsize 0.9 linewidth 1.2 linecolor rgb colour(f), \
         data index this using "x":(0):xtic(strcol("word")."\n".strcol("word2")) with points pointtype -2
}
