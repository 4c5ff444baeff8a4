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
  for verb in info export list prune; do
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
