#!/usr/bin/env bash
# Measures presets against dense verification: questions about long texts, perplexity, attention recovery and drift.
#
#   examples/eval/run.sh                           a few minutes: two presets, three budgets, 4,096 tokens
#   PRESETS='dustin quest' BUDGETS=512 LENGTHS=8k COUNT=200 WINDOWS=40 examples/eval/run.sh
#   examples/eval/run.sh --prompts examples/eval/prompts.jsonl
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
dustin=${DUSTIN:-.build/release/dustin}
if [ ! -x "$dustin" ]; then
  echo "error: '$dustin' does not exist; build it with 'make build'" >&2
  exit 1
fi
presets=()
for preset in ${PRESETS:-dustin streaming-llm}; do presets+=(--preset "$preset"); done
exec "$dustin" eval -m examples/models/target -md examples/models/draft "${presets[@]}" \
  --budget "${BUDGETS:-128,256,512}" --lengths "${LENGTHS:-4k}" --count "${COUNT:-8}" --windows "${WINDOWS:-2}" \
  --task retrieval --task perplexity --task arr --task drift --drift-tokens "${DRIFT:-256}" --tokens "${TOKENS:-128}" \
  --report "${REPORT:-report.html}" "$@"
