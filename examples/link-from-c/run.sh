#!/usr/bin/env bash
# Compiles the bundled pair into an object, and links it with two programs in C: with the bundle's own main.c, whose text
# must be that of 'dustin run', and with tokens.c of this directory, which gives token ids and stops the run itself.
#
#   examples/link-from-c/run.sh                     needs cc and nothing else
#   examples/link-from-c/run.sh --preset dustin     options of 'dustin compile' that 'dustin run' has too
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
dustin=${DUSTIN:-.build/release/dustin}
models=(-m examples/models/target -md examples/models/draft)
prompt="The garden behind the house"
if [ ! -x "$dustin" ]; then
  echo "error: '$dustin' does not exist; build it with 'make build'" >&2
  exit 1
fi
runtime=()
if [ -n "${RUNTIME:-}" ]; then runtime=(--runner "$RUNTIME"); fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$dustin" compile "${models[@]}" --emit=bundle "${runtime[@]}" -o "$work/bundle" "$@"
expected=$("$dustin" run "${models[@]}" -p "$prompt" -n 64 -q "$@")

cd "$work/bundle"
ls -l
cc -O2 -Wall -o app main.c model.o -lm
text=$(./app "$prompt")
echo "$text"
if [ "$text" != "$expected" ]; then
  echo "error: 'dustin run' gives another text:" >&2
  echo "$expected" >&2
  exit 1
fi
cc -O2 -Wall -I. -o tokens "$here/tokens.c" model.o -lm
./tokens
