# SPDX-License-Identifier: GPL-3.0-or-later
# `qbench model` as its users run it, with a cache of its own.

setup() {
  cd "$BATS_TEST_TMPDIR" || return 1
  export QBENCH_HOME=$BATS_TEST_TMPDIR/home
  mkdir -p "$QBENCH_HOME/cache/models" "$QBENCH_HOME/results" "$QBENCH_HOME/suites"
}

one_line() { # the error is one line that begins with the program's name
  [ "${#lines[@]}" -eq 1 ]
  [[ ${lines[0]} == qbench* ]]
}

@test "verbs and their help" {
  run "$QBENCH" model --help
  [ "$status" -eq 0 ]
  verbs=$output
  for verb in info import export list prune; do
    [[ $verbs == *"$verb"* ]]
    run "$QBENCH" model $verb --help
    [ "$status" -eq 0 ]
  done
  run "$QBENCH" model exprot
  [ "$status" -eq 2 ]
  one_line
  [[ $output == *"did you mean 'export'"* ]]
}

@test "export writes what info reads" {
  for type in f32 f16 bf16 q8_0 q4_0; do
    run "$QBENCH" model export random:1m --type $type --output m-$type.gguf
    [ "$status" -eq 0 ]
    [ -z "$output" ]
    run "$QBENCH" model info m-$type.gguf --format csv
    [ "$status" -eq 0 ]
    [[ $output == *"architecture,llama"* ]]
    [[ $output == *"parameters,1049728"* ]]
    [[ $output == *"qbench reads it,yes"* ]]
    [[ $output == *$'\n'"${type^^},"* ]]
  done
  [ "$(ls | grep -c tmp)" -eq 0 ]
}

@test "the same model makes the same file, another seed another" {
  "$QBENCH" model export random:1m --type q4_0 --output a.gguf
  "$QBENCH" model export random:1m --type q4_0 --threads 1 --output b.gguf
  "$QBENCH" model export random:1m --type q4_0 --seed 2 --output c.gguf
  cmp a.gguf b.gguf
  ! cmp -s a.gguf c.gguf
}

@test "export in place, to a full disk, and nowhere" {
  "$QBENCH" model export random:1m --output file.gguf
  "$QBENCH" model export random:1m --output /dev/stdout | cmp - file.gguf
  run "$QBENCH" model export random:1m --output /dev/full
  [ "$status" -eq 3 ]
  one_line
  [[ $output == *"No space left"* ]]
  run "$QBENCH" model export random:1m --output absent/file.gguf
  [ "$status" -eq 3 ]
  one_line
  run "$QBENCH" model export random:1m
  [ "$status" -eq 2 ]
  [[ $output == *"--output"* ]]
}

@test "export refuses what it cannot do" {
  run "$QBENCH" model export random:1m --type q3_k --output x.gguf
  [ "$status" -eq 2 ]
  run "$QBENCH" model export random:1m --format onnx --output x.gguf
  [ "$status" -eq 2 ]
  run "$QBENCH" model export random:9m --output x.gguf
  [ "$status" -eq 2 ]
  one_line
  run "$QBENCH" model export nonsense --output x.gguf
  [ "$status" -eq 2 ]
  one_line
  [ ! -e x.gguf ]
}

@test "info refuses a damaged file in one line" {
  "$QBENCH" model export random:1m --output m.gguf
  head -c 100000 m.gguf > cut.gguf
  run "$QBENCH" model info cut.gguf
  [ "$status" -eq 2 ]
  one_line
  [[ $output == *cut.gguf* && $output == *tensor* ]]
  run "$QBENCH" model info absent.gguf
  [ "$status" -eq 2 ]
  one_line
  [[ $output == *"No such file"* ]]
}

@test "list and prune" {
  run "$QBENCH" model list --format csv
  [ "$status" -eq 0 ]
  echo broken > "$QBENCH_HOME/cache/models/1m-0123456789abcdef.safetensors"
  run "$QBENCH" model list
  [ "$status" -eq 0 ]
  [[ $output == *unreadable* ]]
  run "$QBENCH" model prune 0123456789abcdef --yes
  [ "$status" -eq 2 ]
  [ -e "$QBENCH_HOME/cache/models/1m-0123456789abcdef.safetensors" ]
}

@test "a trained model: listed, exported by hash, pruned" {
  ln -s "$(realpath "$BATS_TEST_DIRNAME/../cache/corpus")" "$QBENCH_HOME/cache/corpus"
  "$QBENCH" train 1m --tokens 8192 --quiet > /dev/null
  run "$QBENCH" model list --format csv
  [ "$status" -eq 0 ]
  [[ ${lines[1]} == 1m,*,trained,1049728,8192,* ]]
  hash=$(cut -d, -f2 <<< "${lines[1]}")
  run "$QBENCH" model info "$hash" --format csv
  [ "$status" -eq 0 ]
  [[ $output == *"tokenizer,byte pairs"* ]]
  "$QBENCH" model export "1m@$hash" --output t.gguf
  run "$QBENCH" model info t.gguf --format csv
  [[ $output == *"tokenizer,gpt2"* && $output == *"tokens,2048"* ]]
  run "$QBENCH" model export 1m --output u.gguf
  [ "$status" -eq 2 ]
  [[ $output == *"qbench train 1m"* ]]
  run "$QBENCH" model prune --kind trained
  [[ $output == *"$hash"* ]]
  [ -e "$QBENCH_HOME/cache/models/1m-$hash.safetensors" ]
  run "$QBENCH" model prune --kind trained --yes
  [ "$status" -eq 0 ]
  [ ! -e "$QBENCH_HOME/cache/models/1m-$hash.safetensors" ]
}

# A model that other programs read, without a meaning: export writes it, import must take it back.
@test "import: GGUF into the cache, by content, and from there" {
  "$QBENCH" model export random:1m --output m.gguf
  run "$QBENCH" model import m.gguf
  [ "$status" -eq 0 ]
  [[ $output =~ ^m@[0-9a-f]{16}$ ]]
  named=$output
  [ -e "$QBENCH_HOME/cache/models/m-${named#m@}.safetensors" ]
  run "$QBENCH" model import m.gguf --name other
  [ "$output" = "other@${named#m@}" ] # the name is no part of the content
  run "$QBENCH" model import "$QBENCH_HOME/cache/models/m-${named#m@}.safetensors" --name again
  [ "$output" = "again@${named#m@}" ]
  run "$QBENCH" model list --format csv
  [[ $output == *"m,${named#m@},imported,1049728,"* ]]
  run "$QBENCH" model info "$named" --format csv
  [[ $output == *"tokenizer,SentencePiece-style"* ]]
  "$QBENCH" model export "$named" --output back.gguf
  run "$QBENCH" model import back.gguf
  [ "${output#back@}" = "${named#m@}" ]
}

@test "import refuses in one line" {
  echo "no model at all, only words" > words.bin
  mkdir folder
  echo '{"architectures":["GPTNeoXForCausalLM"]}' > folder/config.json
  for path in words.bin absent.bin folder .; do
    run "$QBENCH" model import $path
    [ "$status" -ne 0 ]
    one_line
  done
  run "$QBENCH" model import folder
  [[ $output == *GPTNeoXForCausalLM* ]]
  "$QBENCH" model export random:1m --output m.gguf
  run "$QBENCH" model import m.gguf --tokenizer words.bin
  [ "$status" -ne 0 ]
  one_line
  run "$QBENCH" model import m.gguf --name 'a b'
  [ "$status" -eq 2 ]
  [ -z "$(ls "$QBENCH_HOME/cache/models")" ]
}

@test "a suite takes a path, and keys name its content" {
  "$QBENCH" model export random:1m --output m.gguf
  cat > one.yaml <<'YAML'
sections:
  decode:
    work: decode
    model: random:1m
    format: f32
    generate: 4
    prompt: 8
    threads: 1
    samples: 3
YAML
  run "$QBENCH" run ./one.yaml --set model=./m.gguf --set sample_seconds=0.001 --set warmup_seconds=0 --quiet
  [ "$status" -eq 0 ]
  key=$("$QBENCH" show latest --cases --format csv | grep -o 'work=decode [^,"]*' | head -n 1)
  [[ $key == *"model=m@"* ]]
  run "$QBENCH" case "$key" --set sample_seconds=0.001 --set warmup_seconds=0 --quiet # found where the database saw it
  [ "$status" -eq 0 ]
}

@test "generate: the same seed, the same text; ids; refusals" {
  "$QBENCH" model export random:1m --output m.gguf
  "$QBENCH" generate m.gguf --tokens 12 --ids > a
  "$QBENCH" generate m.gguf --tokens 12 --ids --threads 1 > b
  [ "$(wc -l < a)" -le 12 ]
  cmp a b
  "$QBENCH" generate m.gguf --tokens 12 --ids --temperature 1 --seed 3 > c
  "$QBENCH" generate m.gguf --tokens 12 --ids --temperature 1 --seed 3 > d
  "$QBENCH" generate m.gguf --tokens 12 --ids --temperature 1 --seed 4 > f
  cmp c d
  ! cmp -s c f
  run "$QBENCH" generate m.gguf --prompt words --tokens 3 --weights int4 --group 32
  [ "$status" -eq 0 ]
  [[ $output == words* ]]
  for wrong in "--temperature -1" "--top-p 2" "--tokens 0" "--weights int9" "--weights int4 --method qat_ste"; do
    run "$QBENCH" generate m.gguf $wrong
    [ "$status" -eq 2 ]
  done
  run "$QBENCH" generate random:1m
  [ "$status" -eq 2 ]
  [[ $output == *"no tokenizer"* ]]
}

@test "eval by a protocol" {
  "$QBENCH" model export random:1m --output m.gguf
  for i in $(seq 400); do echo "line $i of a text that nobody wrote"; done > text.txt
  for protocol in gptq llama.cpp doc strided; do
    run "$QBENCH" eval m.gguf --text text.txt --protocol $protocol --context 128 --format csv
    [ "$status" -eq 0 ]
    [[ $output == *"protocol,$protocol,"* && $output == *"nll,"* && $output == *"bits_per_byte,"* ]]
  done
  run "$QBENCH" eval m.gguf --text text.txt --protocol lama.cpp
  [ "$status" -eq 2 ]
  one_line
  run "$QBENCH" eval m.gguf --text absent.txt --protocol doc
  [ "$status" -eq 2 ]
  one_line
  run "$QBENCH" eval m.gguf --text text.txt --protocol gptq --context 9999
  [ "$status" -eq 2 ]
  run "$QBENCH" eval m.gguf --protocol doc
  [ "$status" -eq 2 ]
}

@test "known answers of a trained model" {
  data=${QBENCH_TEST_DATA:-}
  [ -e "$data/stories260K.bin" ] || skip "needs stories260K.bin in the folder that QBENCH_TEST_DATA names"
  named=$("$QBENCH" model import "$data/stories260K.bin" --tokenizer "$data/tok512.bin")
  "$QBENCH" model export "$named" --output s.gguf
  for model in "$named" s.gguf; do
    run "$QBENCH" eval "$model" --text "$data/stories100.txt" --protocol doc --doc-separator '<|endoftext|>' --format csv
    [ "$status" -eq 0 ]
    [[ $output == *"targets,39439,"* ]]
    nll=$(grep '^nll,' <<< "$output" | cut -d, -f2)
    awk "BEGIN { exit !($nll > 1.527852 && $nll < 1.528052) }"
    ids="403 407 261 378 432 383 286 261 376 298 315 421 395 317 426 338 401 396 267 337 410 408 419 292 411 322 265 282 295 433 426 385 328 432 358 394 261 370 432 352"
    [ "$("$QBENCH" generate "$model" --tokens 40 --ids | tr '\n' ' ')" = "$ids " ]
  done
}
