#!/usr/bin/env bash
# Continues a book with verification that reads a few hundred positions of the context, and says what that saved; then once
# more so that the text is the dense model's own.
#
#   examples/sparse-verification/run.sh                          32,000 tokens of The Sea Wolf, 128 new ones
#   PRESET='dustin{budget=128}' TOKENS=8000 examples/sparse-verification/run.sh
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
dustin=${DUSTIN:-.build/release/dustin}
book=${BOOK:-the-sea-wolf.txt}
if [ ! -x "$dustin" ]; then
  echo "error: '$dustin' does not exist; build it with 'make build'" >&2
  exit 1
fi
run=("$dustin" run -m examples/models/target -md examples/models/draft -f "examples/books/$book"
  --prompt-limit "${TOKENS:-32000}" -n "${NEW:-128}" --preset "${PRESET:-dustin}")
echo "== ${PRESET:-dustin}"
"${run[@]}" "$@"
echo
echo "== ${PRESET:-dustin}, exact"
"${run[@]}" --exact "$@"
