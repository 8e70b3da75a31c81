#!/usr/bin/env bash
# Generates with a pass that is a Python program: verification reads more recent positions in low layers than in high ones.
#
#   examples/filter-in-python/run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
dustin=${DUSTIN:-.build/release/dustin}
"$dustin" run -m examples/models/target -md examples/models/draft -f examples/books/emma.txt \
  --prompt-limit "${TOKENS:-2000}" -n "${NEW:-32}" \
  --pass-exec 'pyramid=examples/filter-in-python/pyramid.py 256' --preset pyramid
