#!/usr/bin/env bash
# Continues several prompts together: they share every reading of the weights, and each gets the text that it would get
# alone. One JSON object a line comes out, in order.
#
#   examples/batch-of-prompts/run.sh             the three prompts of this folder
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
dustin=${DUSTIN:-.build/release/dustin}
exec "$dustin" run -m examples/models/target -md examples/models/draft --prompts "$here/prompts.jsonl" --json "$@"
