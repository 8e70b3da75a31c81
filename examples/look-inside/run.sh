#!/usr/bin/env bash
# Follows the bundled draft from its config.json to the kernel plan, one readable file a step, into the folder given.
#
#   examples/look-inside/run.sh OUT
set -euo pipefail
cd "$(dirname "$0")/../.."
dustin=${DUSTIN:-.build/release/dustin}
out=${1:?usage: examples/look-inside/run.sh OUT}
mkdir -p "$out"
"$dustin" import -m examples/models/draft -o "$out/1-tensor.dust"
"$dustin" opt "$out/1-tensor.dust" -p 'draft,numerics{mode=fast}' -o "$out/2-rounded.dust"
"$dustin" opt "$out/2-rounded.dust" -p kernels -o "$out/3-planned.dust"
"$dustin" opt "$out/3-planned.dust" --emit=plan -o "$out/4-plan.txt"
wc -l "$out"/*
