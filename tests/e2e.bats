# SPDX-License-Identifier: GPL-3.0-or-later
# The program as its users run it, with a home of its own: suites, cache and database live in a temporary folder.

setup_file() {
  export QBENCH_HOME=$BATS_FILE_TMPDIR/home
  mkdir -p "$QBENCH_HOME/cache" "$QBENCH_HOME/results"
  cp -r "$BATS_TEST_DIRNAME/../suites" "$BATS_TEST_DIRNAME/../plots" "$QBENCH_HOME/"
  ln -s "$(realpath "$BATS_TEST_DIRNAME/../cache/corpus")" "$QBENCH_HOME/cache/corpus"
  cat > "$QBENCH_HOME/suites/tiny.yaml" <<'YAML'
# Four products that take no time.
global: {samples: 6, sample_seconds: 0.001, warmup_seconds: 0.001, max_noise: 100, threads: 1, cache: hot, n: 64, k: 64}
sections:
  a: {work: gemm, format: [int8, int4], m: [1, 3]}
YAML
  cat > "$QBENCH_HOME/suites/model.yaml" <<'YAML'
# A model of two steps, and what is made of it.
global: {train_tokens: 8192, tune_tokens: 4096, samples: 6, sample_seconds: 0.001, warmup_seconds: 0.001, max_noise: 100, tokens: 1024, prompt: 16, generate: 4, calib_tokens: 512}
sections:
  q: {work: quality, format: [f32, int4], method: [rtn, qat_ste], gamma: [off, tensor], gamma_on: [weight, act]}
  c: {work: quality, format: int4, tune: float}
  s: {work: [decode, prefill], format: [f32, int4]}
YAML
}

setup() { cd "$BATS_TEST_TMPDIR" || return 1; db=$BATS_TEST_TMPDIR/t.db; }

one_line() { # the error is one line that begins with the program's name
  [ "${#lines[@]}" -eq 1 ]
  [[ ${lines[0]} == qbench:* ]]
}

rows() { "$QBENCH" show "$@" --cases --db "$db" --format jsonl | wc -l; }

@test "help and usage" {
  run "$QBENCH" --help
  [ "$status" -eq 0 ]
  [[ $output == *Examples:* ]]
  for c in doctor list run case show train eval plot; do
    run "$QBENCH" $c --help
    [ "$status" -eq 0 ]
    [[ $output == *xamples:* ]]
  done
  run "$QBENCH" rnu
  [ "$status" -eq 2 ]
  one_line
  [[ $output == *"'run'"* ]]
}

@test "a suite runs, is stored, and is shown in every form" {
  run "$QBENCH" run tiny --db "$db" --quiet
  [ "$status" -eq 0 ]
  [ "$(rows)" -eq 4 ]
  for form in text md csv json jsonl; do
    run "$QBENCH" show --db "$db" --format $form --output out.$form
    [ "$status" -eq 0 ]
    [ -s out.$form ]
  done
  run "$QBENCH" show --db "$db" --format nosuch
  [ "$status" -eq 2 ]
}

@test "any row is repeated by its key" {
  "$QBENCH" run tiny --db "$db" --quiet > /dev/null
  key=$("$QBENCH" show --cases --db "$db" --format jsonl | sed -n 's/.*"key": *"\([^"]*\)".*/\1/p' | head -n 1)
  [ -n "$key" ]
  run "$QBENCH" case "$key" --set samples=6 --set sample_seconds=0.001 --set max_noise=100 --db "$db" --quiet
  [ "$status" -eq 0 ]
  run "$QBENCH" case 'work=gemm m=x'
  [ "$status" -eq 2 ]
  one_line
}

@test "after kill -9, --resume does what is left and nothing twice" {
  "$QBENCH" run tiny --set sample_seconds=0.05 --set m='[1, 2, 3, 4, 5, 6, 7, 8, 9]' --db "$db" 2> log > /dev/null &
  pid=$!
  for _ in $(seq 600); do
    sleep 0.1
    if grep -q '^\[1/18 ' log; then break; fi
  done
  kill -9 $pid
  wait $pid || true
  before=$(rows)
  [ "$before" -ge 1 ]
  [ "$before" -lt 18 ]
  run "$QBENCH" run tiny --set sample_seconds=0.05 --set m='[1, 2, 3, 4, 5, 6, 7, 8, 9]' --db "$db" --resume
  [ "$status" -eq 0 ]
  [[ $output == *"$before of them done before"* ]]
  [ "$(rows)" -eq 18 ]
  [ "$("$QBENCH" show --runs --db "$db" --format jsonl | wc -l)" -eq 1 ]
}

@test "a case that hangs is one row, and the suite goes on" {
  run "$QBENCH" run tiny --set m='[1, 2]' --set sample_seconds=3 --set timeout_seconds=1 --filter 'format=int8' --db "$db"
  [ "$status" -eq 3 ]
  [[ $output == *"no sign of life for timeout_seconds"* ]]
  [ "$(rows)" -eq 2 ]
}

@test "a case that runs out of memory is one row, and the suite goes on" {
  run "$QBENCH" run tiny --set memory_mb=400 --set n='[64, 65536]' --set k='[64, 16384]' --set m=1 --filter 'format=int8' --db "$db"
  [ "$status" -eq 3 ]
  [ "$(rows)" -eq 4 ]
  [[ $output == *"memory"* ]]
  [[ $output == *" ok"* ]]
}

@test "two runs on one database at once both finish" {
  "$QBENCH" run tiny --db "$db" --quiet --label one > /dev/null &
  first=$!
  run "$QBENCH" run tiny --db "$db" --quiet --label two
  [ "$status" -eq 0 ]
  wait $first
  [ "$(rows one)" -eq 4 ]
  [ "$(rows two)" -eq 4 ]
}

@test "a model is trained once, tuned, evaluated and timed" {
  run "$QBENCH" run model --db "$db"
  [ "$status" -eq 0 ]
  [[ $output == *"training 1m"* ]]
  [[ $output != *"nan"* ]]
  [ "$(rows)" -eq 12 ]
  run "$QBENCH" run model --db "$db"
  [ "$status" -eq 0 ]
  [[ $output != *"training 1m"* ]]
  # Same model, same text: the same NLL to the last digit.
  [ "$("$QBENCH" show 1 --all --db "$db" --format jsonl | grep '"nll"' | sed 's/"table[^,]*,//' | sort | uniq | md5sum)" = \
    "$("$QBENCH" show 2 --all --db "$db" --format jsonl | grep '"nll"' | sed 's/"table[^,]*,//' | sort | uniq | md5sum)" ]
}

@test "quality of random weights is never reported" {
  run "$QBENCH" case work=quality model=random:1m format=int4 --db "$db"
  [ "$status" -eq 3 ]
  [[ $output == *"never reported"* ]]
}

@test "a suite's mistakes are told with file, line and column" {
  printf '# why\nsections:\n  a: {work: gemm, formt: int8}\n' > bad.yaml
  run "$QBENCH" run bad.yaml --dry-run
  [ "$status" -eq 2 ]
  one_line
  [[ $output == *"bad.yaml:3:"* ]]
  [[ $output == *"'format'"* ]]
  printf '# why\nsections:\n  a: {work: gemm, kernel: "int9*"}\n' > bad.yaml
  run "$QBENCH" run bad.yaml --dry-run
  [ "$status" -eq 2 ]
  one_line
  [[ $output == *"bad.yaml:3:"* ]]
  run "$QBENCH" run nosuch
  [ "$status" -eq 2 ]
  one_line
}

@test "bad databases are refused and left alone" {
  echo "not a database, but long enough to be mistaken for something else than an empty file" > bad.db
  cp bad.db copy.db
  for c in "run tiny" show; do
    run "$QBENCH" $c --db bad.db
    [ "$status" -ne 0 ]
    one_line
  done
  cmp bad.db copy.db
  run "$QBENCH" run tiny --db /proc/nosuch/t.db
  [ "$status" -ne 0 ]
  one_line
  run "$QBENCH" show --db nosuch.db
  [ "$status" -ne 0 ]
  one_line
  [ ! -e nosuch.db ]
}

@test "damaged models are refused in one line" {
  "$QBENCH" run model --db "$db" --quiet --filter 'work=decode' > /dev/null
  model=$(ls "$QBENCH_HOME"/cache/models/1m-*.safetensors | head -n 1)
  head -c 100000 "$model" > short.safetensors
  run "$QBENCH" eval ./short.safetensors --db "$db"
  [ "$status" -ne 0 ]
  one_line
  [[ $output == *short.safetensors* ]]
  cp "$model" flipped.safetensors
  printf '\x42' | dd of=flipped.safetensors bs=1 seek=500000 conv=notrunc status=none
  run "$QBENCH" eval ./flipped.safetensors --db "$db" --quiet
  [ "$status" -ne 0 ]
  [[ $output == *flipped.safetensors* ]]
}

@test "texts that cannot be used are refused in one line" {
  : > empty.txt
  printf 'tiny' > tiny.txt
  head -c 200000 /dev/urandom > noise.txt
  for t in empty tiny noise nosuch; do
    run "$QBENCH" train 1m --text ./$t.txt --tokens 4096 --db "$db"
    [ "$status" -ne 0 ]
    one_line
    [[ $output == *$t.txt* ]]
  done
}

@test "without OpenBLAS the integer kernels run and the rest says why not" {
  export QBENCH_OPENBLAS=libnosuch.so
  run "$QBENCH" run tiny --db "$db" --quiet
  [ "$status" -eq 0 ]
  run "$QBENCH" case work=gemm kernel=f32_blas --db "$db" --quiet
  [ "$status" -eq 3 ]
  [[ $output == *libnosuch.so* ]]
  run "$QBENCH" doctor
  [ "$status" -eq 3 ]
  [[ $output == *libnosuch.so* ]]
}

@test "instruction sets can be masked, and those that are missing are refused" {
  run "$QBENCH" run tiny --isa scalar --db "$db" --quiet
  [ "$status" -eq 0 ]
  [ "$("$QBENCH" show --cases --db "$db" --format jsonl | grep -c int._scalar)" -eq 4 ]
  run "$QBENCH" run tiny --isa nosuch --db "$db"
  [ "$status" -eq 2 ]
  if "$QBENCH" run tiny --isa amx --dry-run > /dev/null 2>&1; then skip "this machine has every instruction set"; fi
  run "$QBENCH" run tiny --isa amx --db "$db"
  [ "$status" -eq 2 ]
  [[ $output == *amx* ]]
}

@test "an output that cannot be written is an error" {
  run "$QBENCH" list kernels --output /dev/full
  [ "$status" -ne 0 ]
  run "$QBENCH" list kernels --output /proc/nosuch/out.txt
  [ "$status" -ne 0 ]
  run bash -c "'$QBENCH' list kernels > /dev/full"
  [ "$status" -ne 0 ]
}

@test "training that is interrupted goes on to the same bits" {
  rm -rf "$QBENCH_HOME/cache/models" # as on a fresh machine: nobody has made the folder yet
  "$QBENCH" train 1m --tokens 32768 --seed 5 --db "$db" --quiet --format jsonl > straight
  hash=$(sed -n 's/.*"value": *"\([0-9a-f]\{16\}\)".*/\1/p' straight | head -n 1)
  [ -n "$hash" ]
  rm -r "$QBENCH_HOME/cache/models"
  "$QBENCH" train 1m --tokens 32768 --seed 5 --db "$db" --quiet > out 2>&1 &
  pid=$!
  sleep 0.7
  kill -INT $pid
  code=0
  wait $pid || code=$?
  [ "$code" -eq 130 ] || [ "$code" -eq 0 ] # 0: it was faster than the signal
  "$QBENCH" train 1m --tokens 32768 --seed 5 --db "$db" --quiet --format jsonl > again
  grep -q "$hash" again
}

@test "doctor names what is there, what is missing and what to do" {
  run "$QBENCH" doctor
  [ "$status" -eq 0 ]
  [[ $output == *OpenBLAS* ]]
  run "$QBENCH" doctor --format json
  [ "$status" -eq 0 ]
}

@test "a run that another process is at work on is not taken over" {
  "$QBENCH" run tiny --set sample_seconds=0.3 --db "$db" --quiet > /dev/null 2>&1 &
  pid=$!
  for _ in $(seq 100); do
    sleep 0.1
    if [ -s "$db" ] && [ "$("$QBENCH" show --runs --db "$db" --format jsonl 2> /dev/null | wc -l)" -eq 1 ]; then break; fi
  done
  run "$QBENCH" run tiny --set sample_seconds=0.3 --db "$db" --resume
  [ "$status" -eq 2 ]
  one_line
  [[ $output == *"process $pid"* ]]
  kill "$pid"
  wait "$pid" || true
  run "$QBENCH" run tiny --set sample_seconds=0.3 --db "$db" --resume
  [ "$status" -eq 0 ]
}

@test "inputs are checked before anything is trained or run" {
  run "$QBENCH" eval 1m --text ./nosuch.txt --db "$db"
  [ "$status" -eq 2 ]
  one_line
  [[ $output == *nosuch.txt* ]]
  run "$QBENCH" run model --db "$db" --output /nosuch/out.txt
  [ "$status" -eq 2 ]
  one_line
  run "$QBENCH" run tiny --db "$db" --label 12
  [ "$status" -eq 2 ]
  run "$QBENCH" show --db "$db"
  [ "$status" -eq 2 ]
}
