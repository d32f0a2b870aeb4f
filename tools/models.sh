#!/usr/bin/env bash
# Runs the loom models of the log: every interleaving, within a bound on preemptions, of each pair
# of ends that synchronise. A model that explored nothing fails by its own checks; so does a run
# in which there was no model.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp)
trap 'rm -f "$out"' EXIT
RUSTFLAGS="--cfg loom" cargo test --locked --release --lib --target-dir target/loom models "$@" |
  tee "$out"
grep -Eq '^test result: ok\. [1-9][0-9]* passed' "$out" || {
  echo "no model ran" >&2
  exit 1
}
