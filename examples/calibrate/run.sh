#!/usr/bin/env bash
# Finds by what preset dustin chooses positions for the bundled pair, and explains it; then a run that uses what was found.
#
#   examples/calibrate/run.sh OUT                  the file is OUT/sparsity.json; the bundled one stays as it is
#   QUICK=1 examples/calibrate/run.sh OUT          fewer texts: a look at how it goes, not a calibration
set -euo pipefail
cd "$(dirname "$0")/../.."
dustin=${DUSTIN:-.build/release/dustin}
out=${1:?usage: examples/calibrate/run.sh OUT}
mkdir -p "$out"
quick=()
if [ -n "${QUICK:-}" ]; then
  quick=(--lengths 4k --windows 1 --tokens 96 --prompt-lengths 2k --prompts 4)
fi
models=(-m examples/models/target -md examples/models/draft)
"$dustin" calibrate "${models[@]}" -o "$out/sparsity.json" "${quick[@]}"
"$dustin" run "${models[@]}" -f examples/books/the-sea-wolf.txt --prompt-limit 8000 -n 60 \
  --preset dustin --sparsity "$out/sparsity.json"
