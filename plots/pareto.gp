# Quality against speed of the trained models
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Which quantized model is worth having: perplexity on held-out text against decoding speed, the area of a point showing the bytes of its file.
# A model that another one beats in both is dominated and drawn grey; the others are numbered and listed at the side.
#
#note Perplexity is of the held-out part of the text; speed is the median of decoding. Bars are its 95 % intervals.
#note Areas are in proportion to the bytes of the file; colours and shapes tell f32, int8 and int4 apart, grey points are dominated.
#note Drawn are cases with zero_point, act, head, kv, batch and depth at their defaults.
#empty No trained model has both a perplexity and a decoding speed in this run; run `qbench run quick`.
#
#data:model
#sql WITH speed AS (
#sql   SELECT *, coalesce("group", 0) AS grp, row_number() OVER (PARTITION BY model, coalesce(tune, ''), coalesce(method, ''), format,
#sql     coalesce("group", 0), coalesce(gamma, 'off'), coalesce(gamma_on, '') ORDER BY threads DESC, isa <> 'native', result_id) AS choice
#sql   FROM rate WHERE run_id = CAST(?1 AS INTEGER) AND work = 'decode' AND plain),
#sql quality AS (
#sql   SELECT a.*, coalesce("group", 0) AS grp, p.value AS perplexity, b.value AS file_bytes, n.value AS scored
#sql   FROM result_axes a JOIN value p ON p.result_id = a.result_id AND p.name = 'perplexity'
#sql   LEFT JOIN value b ON b.result_id = a.result_id AND b.name = 'size_bytes' LEFT JOIN value n ON n.result_id = a.result_id AND n.name = 'scored_tokens'
#sql   WHERE run_id = CAST(?1 AS INTEGER) AND work = 'quality' AND plain AND outcome IN ('ok', 'untrusted') AND p.value IS NOT NULL),
#sql main_text AS (SELECT text FROM quality GROUP BY text ORDER BY count(*) DESC, text LIMIT 1),
#sql both AS (
#sql   SELECT q.model_name, q.format, q.grp, q.method, q.gamma, q.gamma_on, q.text, s.rate, s.lo, s.hi, q.perplexity, q.file_bytes, q.scored,
#sql     s.threads, s.result_id AS speed_id, q.key
#sql   FROM quality q JOIN speed s ON s.choice = 1 AND s.model = q.model AND s.format = q.format AND s.grp = q.grp AND s.method IS q.method
#sql     AND s.tune IS q.tune AND s.tune_tokens IS q.tune_tokens AND s.gamma IS q.gamma AND s.gamma_on IS q.gamma_on
#sql   WHERE q.text IN main_text),
#sql judged AS (
#sql   SELECT *, EXISTS (SELECT 1 FROM both b WHERE b.rate >= a.rate AND b.perplexity <= a.perplexity AND (b.rate > a.rate OR b.perplexity < a.perplexity)) AS dominated
#sql   FROM both a),
#sql numbered AS (
#sql   SELECT *, row_number() OVER (PARTITION BY dominated ORDER BY rate) AS place, 0.03 * max(rate) OVER () AS gap,
#sql     min(perplexity) OVER () - 0.14 * max(0.02, max(perplexity) OVER () - min(perplexity) OVER ()) AS foot FROM judged)
#sql SELECT CASE WHEN NOT dominated THEN place END AS number, dominated, format,
#sql   model_name || ' ' || format || CASE WHEN format = 'f32' THEN '' WHEN grp > 0 THEN ' g' || grp ELSE ' row' END
#sql     || CASE WHEN format = 'f32' THEN '' ELSE ' ' || method END || CASE WHEN coalesce(gamma, 'off') = 'off' THEN '' ELSE ', γ ' || gamma_on || ' ' || gamma END AS name,
#sql   rate, lo, hi, perplexity, file_bytes AS bytes, 3.2 * sqrt(file_bytes / max(file_bytes) OVER ()) AS size,
#sql   place * gap + max(rate - place * gap) OVER (PARTITION BY dominated ORDER BY rate ROWS UNBOUNDED PRECEDING) AS label_x, foot,
#sql   printf('%,d tokens/s, perplexity %.4g, %.3g MB', round(rate), perplexity, file_bytes / 1e6) AS figures,
#sql   text, threads, (SELECT count(*) FROM sample x WHERE x.result_id = speed_id) AS samples, scored AS tokens, key
#sql FROM numbered ORDER BY dominated DESC, rate

page_top = 0.875
eval legend_begin
plot [0:1] [0:1] -1 notitle, for [f in formats] keyentry with points pointtype point(f) linecolor rgb colour(f) title f, \
     keyentry with points pointtype 7 linecolor rgb "#bbbbbb" title "dominated"
eval legend_end
set rmargin at screen 0.66
set lmargin at screen 0.085
set tmargin at screen page_top - 0.02
set bmargin at screen page_bottom + 0.1
set grid xtics ytics linecolor rgb "#dddddd" linetype 1
set xtics scale 0.5
set format x "%.0f"
set xlabel "decoding, tokens / s"
set ylabel "perplexity"
set xrange [0:*]
set offsets 0, graph 0.06, graph 0.08, graph 0.06
# Numbers stand in a row below the points, far enough apart to be read, each with a line to its point.
plot for [f in formats] data index block("model") using (strcol("format") eq f && column("dominated") == 1 ? column("rate") : NaN):"perplexity":"size" \
         with points pointtype point(f) pointsize variable linecolor rgb "#bbbbbb", \
     data index block("model") using (column("dominated") == 0 ? column("label_x") : NaN):"foot":(column("rate") - column("label_x")):(column("perplexity") - column("foot")) \
         with vectors nohead linecolor rgb "#888888", \
     data index block("model") using (column("dominated") == 0 ? column("lo") : NaN):"perplexity":(column("hi") - column("lo")):(0) with vectors arrowstyle 1, \
     for [f in formats] data index block("model") using (strcol("format") eq f && column("dominated") == 0 ? column("rate") : NaN):"perplexity":"size" \
         with points pointtype point(f) pointsize variable linecolor rgb colour(f), \
     data index block("model") using (column("dominated") == 0 ? column("label_x") : NaN):"foot":(sprintf("%d", column("number"))) \
         with labels offset 0, -0.7 font ",10"

# The list at the side, one model below the other.
set lmargin at screen 0.68
set rmargin at screen 0.99
unset border; unset xtics; unset ytics; unset grid; unset xlabel; unset ylabel; unset key
set offsets 0, 0, 0, 0
stats data index block("model") using "number" nooutput
plot [0:1] [-(STATS_max > 12 ? STATS_max + 0.5 : 12):0] data index block("model") using (column("dominated") == 0 ? 0 : NaN):(0.44 - column("number")):(sprintf("%d  ", column("number")).strcol("name")) \
         with labels left font ",9", \
     data index block("model") using (column("dominated") == 0 ? 0.065 : NaN):(0.02 - column("number")):"figures" with labels left font ",8" textcolor rgb "#555555"
