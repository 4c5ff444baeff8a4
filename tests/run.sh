#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs the program's tests: run.sh QBENCH T_PROGRAM… — every cmocka program, then the end-to-end tests (bats) on QBENCH ('': none).
# EMULATOR: a command that the programs are run by.
# Prints what failed and, last, how many tests passed, failed and were skipped. Exit 0 only when some ran and none failed.
set -u
here=$(cd "$(dirname "$0")" && pwd)
program=$1
shift
passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Both kinds of test speak TAP; one that dies before it can say so counts as a failure.
run() { # name, command…
  local name=$1 code ok bad skip
  shift
  CMOCKA_MESSAGE_OUTPUT=tap timeout "${TEST_TIMEOUT:-300}" "$@" > "$log" 2>&1
  code=$?
  skip=$(grep -Eci '^(not )?ok .*# skip' "$log") # cmocka writes "not ok 2 # SKIP name"
  bad=$(grep -Ei '^not ok ' "$log" | grep -vci '# skip') ok=$(grep -E '^ok ' "$log" | grep -vci '# skip')
  [ "$code" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
  printf '  %-6s %-20s %3d passed' "$([ "$bad" -eq 0 ] && echo ok || echo FAILED)" "$name" "$ok"
  [ "$bad" -eq 0 ] || printf ', %d failed (exit %d)' "$bad" "$code"
  [ "$skip" -eq 0 ] || printf ', %d skipped' "$skip"
  echo
  grep -i '^skipped: ' "$log" | sort -u | sed 's/^/           /'
  [ "$bad" -eq 0 ] || tail -n 80 "$log" | sed 's/^/    | /'
  passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
}

for t in "$@"; do
  run "$(basename "$t")" ${EMULATOR:-} "$t"
done
for t in "$here"/*.bats; do
  [ -z "$program" ] || [ ! -e "$t" ] || QBENCH=$(realpath "$program") run "$(basename "$t")" bats --tap "$t"
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
