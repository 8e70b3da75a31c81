#!/usr/bin/env bash
# Builds a program that uses Dustin as a library, and continues a book with it.
#
#   examples/embed-in-swift/run.sh [FOLDER]       what is built stays in FOLDER; default .build/examples
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${1:-$root/.build/examples}
DUSTIN_URL=$("$root/examples/package-of-checkout.sh" "$work")
export DUSTIN_URL

mkdir -p "$work/continue-a-book"
rm -f "$work/continue-a-book/Package.resolved"
cp -R "$here/Package.swift" "$here/Sources" "$work/continue-a-book/"
# The same build folder as the other example of a package: Dustin itself is compiled once.
swift build --quiet --package-path "$work/continue-a-book" --scratch-path "$work/build" --product continue-a-book
"$work/build/debug/continue-a-book" "$root/examples/models/target" "$root/examples/models/draft" \
  "$root/examples/books/emma.txt"
