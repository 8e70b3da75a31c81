#!/usr/bin/env bash
# Builds a command line of one's own, with two passes, over Dustin as a package by version; then runs it.
#
#   examples/tool-of-your-own/run.sh [FOLDER]       what is built stays in FOLDER; default .build/examples
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${1:-$root/.build/examples}
mkdir -p "$work"
work=$(cd "$work" && pwd)

# A package repository with a version: what a URL of a published Dustin would be.
rm -rf "$work/dustin"
git clone --quiet --bare "$root" "$work/dustin"
git -C "$work/dustin" tag --force 0.1.0 HEAD >/dev/null
export DUSTIN_URL="file://$work/dustin"

mkdir -p "$work/mytool"
cp -R "$here/Package.swift" "$here/Sources" "$work/mytool/"
swift build --package-path "$work/mytool" --product mytool "${BUILD[@]:---quiet}"
mytool=$work/mytool/.build/debug/mytool

"$mytool" passes recent-share
"$mytool" presets steady-dustin
"$mytool" run -m "$root/examples/models/target" -md "$root/examples/models/draft" \
  -f "$root/examples/books/emma.txt" --prompt-limit 2000 -n 32 --preset 'steady-dustin{budget=256}'
