#!/usr/bin/env bash
# Builds a command line of one's own, with two passes, over Dustin as a package by version; then runs it.
#
#   examples/tool-of-your-own/run.sh [FOLDER]       what is built stays in FOLDER; default .build/examples
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${1:-$root/.build/examples}
DUSTIN_URL=$("$root/examples/package-of-checkout.sh" "$work")
export DUSTIN_URL

mkdir -p "$work/mytool"
rm -f "$work/mytool/Package.resolved"
cp -R "$here/Package.swift" "$here/Sources" "$work/mytool/"
swift build --quiet --package-path "$work/mytool" --scratch-path "$work/build" --product mytool
mytool=$work/build/debug/mytool

"$mytool" passes recent-share
"$mytool" presets steady-dustin
"$mytool" run -m "$root/examples/models/target" -md "$root/examples/models/draft" \
  -f "$root/examples/books/emma.txt" --prompt-limit "${TOKENS:-2000}" -n "${NEW:-32}" --preset 'steady-dustin{budget=256}'
