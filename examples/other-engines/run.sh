#!/usr/bin/env bash
# Plain and sparse speculative decoding of the bundled target beside what other engines do with the same weights, in one run.
#
#   LLAMA_BENCH=path/to/llama-bench examples/other-engines/run.sh
#   OPENVINO_MODEL=DIRECTORY examples/other-engines/run.sh           exported as openvino_decode.py says
#
# CONTEXT=32768 (tokens behind which is decoded), THREADS (all cores), PYTHON=python3 with the packages numpy and gguf, and
# openvino-genai for OpenVINO.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
dustin=${DUSTIN:-.build/release/dustin}
context=${CONTEXT:-32768}
threads=${THREADS:-$(nproc)}
python=${PYTHON:-python3}
if [ ! -x "$dustin" ]; then
  echo "error: '$dustin' does not exist; build it with 'make build'" >&2
  exit 1
fi
if [ -z "${LLAMA_BENCH:-}${OPENVINO_MODEL:-}" ]; then
  echo "error: name another engine: LLAMA_BENCH=path/to/llama-bench, or OPENVINO_MODEL=DIRECTORY" >&2
  exit 1
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

echo "== dustin"
"$dustin" bench -m examples/models/target -md examples/models/draft --preset "${PRESET:-dustin}" --lengths "$context" \
  --batches 1 --tokens 64 --runs 1 -t "$threads"
if [ -n "${LLAMA_BENCH:-}" ]; then
  echo
  echo "== llama.cpp: weights in bf16, keys and values in f16"
  "$python" examples/other-engines/to_gguf.py examples/models/target "$scratch/target.gguf"
  "$LLAMA_BENCH" -m "$scratch/target.gguf" -t "$threads" -p 0 -n 32 -d "$context" -fa 1 -ctk f16 -ctv f16 -r "${RUNS:-3}"
fi
if [ -n "${OPENVINO_MODEL:-}" ]; then
  echo
  echo "== OpenVINO GenAI"
  THREADS=$threads "$python" examples/other-engines/openvino_decode.py "$OPENVINO_MODEL" "$context"
fi
