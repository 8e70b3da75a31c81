#!/usr/bin/env bash
# Reads a book and goes on writing it, then writes as much again without the draft: the table shows both.
#
#   examples/run-a-book/run.sh                     32,000 tokens of The Sea Wolf, 200 new ones
#   TOKENS=4000 NEW=100 BOOK=emma.txt examples/run-a-book/run.sh
#   TEMP=0 examples/run-a-book/run.sh              the most probable tokens: both ways then give the same text
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
dustin=${DUSTIN:-.build/release/dustin}
book=${BOOK:-the-sea-wolf.txt}
if [ ! -x "$dustin" ]; then
  echo "error: '$dustin' does not exist; build it with 'make build', or run 'make demo'" >&2
  exit 1
fi
exec "$dustin" run -m examples/models/target -md examples/models/draft -f "examples/books/$book" \
  --prompt-limit "${TOKENS:-32000}" -n "${NEW:-200}" --compare plain \
  --temp "${TEMP:-0.8}" --top-p 0.9 --seed "${SEED:-7}" "$@"
