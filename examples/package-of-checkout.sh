#!/usr/bin/env bash
# Makes a package repository of this checkout's last commit, with a version, and prints its URL: what the examples of
# packages depend on, in the place of a published Dustin.
#
#   examples/package-of-checkout.sh FOLDER
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:?usage: examples/package-of-checkout.sh FOLDER}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
rm -rf "$folder/dustin"
git clone --quiet --bare "$root" "$folder/dustin"
# A version means one commit for ever, and the package manager remembers which: the time of the commit stands in it.
git -C "$folder/dustin" tag "0.1.$(git -C "$root" log -1 --format=%ct)" HEAD
echo "file://$folder/dustin"
