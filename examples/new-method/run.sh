#!/usr/bin/env bash
# Evaluates a sparsity method of one's own beside presets. Docs/Dustin.docc/WriteASparsityPass.md tells how it came about.
#
#   examples/new-method/run.sh [FOLDER]       the library and report.html go to FOLDER; default .build/examples
# DUSTIN names the tool, which must stand in its build folder; default .build/release/dustin, of 'make build'.
set -euo pipefail
cd "$(dirname "$0")/../.."
dustin=${DUSTIN:-.build/release/dustin}
work=${1:-.build/examples}
mkdir -p "$work"
swiftc $("$dustin" plugin-flags) -module-name MinoritySeats examples/new-method/MinoritySeats.swift -o "$work/libseats.so"
"$dustin" eval -m examples/models/target -md examples/models/draft --load "$work/libseats.so" \
  --preset dustin --preset minority-seats --preset streaming-llm --budget "${BUDGETS:-128,512}" --lengths "${LENGTHS:-4k}" \
  --windows "${WINDOWS:-6}" --count "${COUNT:-16}" --tokens "${TOKENS:-128}" --report "$work/report.html"
