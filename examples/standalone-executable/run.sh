#!/usr/bin/env bash
# Compiles the bundled pair into one executable, moves it into an empty root directory with a book, and compares the
# tokens with those of 'dustin run'. Prints size, times and memory.
#
#   examples/standalone-executable/run.sh                     4,000 tokens of Treasure Island, 64 new ones
#   TOKENS=32000 NEW=200 BOOK=emma.txt examples/standalone-executable/run.sh
#   STRICT=1 examples/standalone-executable/run.sh            fails when compiling takes 5 s or --info 20 ms
#   examples/standalone-executable/run.sh --preset dustin     options of 'dustin compile' that 'dustin run' has too
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
dustin=${DUSTIN:-.build/release/dustin}
book=${BOOK:-treasure-island.txt}
models=(-m examples/models/target -md examples/models/draft)
run=(--prompt-limit "${TOKENS:-4000}" -n "${NEW:-64}" --json)
if [ ! -x "$dustin" ]; then
  echo "error: '$dustin' does not exist; build it with 'make build'" >&2
  exit 1
fi
runner=()
if [ -n "${RUNNER:-}" ]; then runner=(--runner "$RUNNER"); fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number() { sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p" "$2"; }
tokens() { sed -n 's/.*"tokens":\(\[[0-9,]*\]\).*/\1/p' "$1"; }
milliseconds() { echo $(((${2/./} - ${1/./}) / 1000)); }

"$dustin" compile "${models[@]}" "${runner[@]}" -o "$work/app" --json "$@" >"$work/compile.json"
"$dustin" run "${models[@]}" -f "examples/books/$book" "${run[@]}" "$@" >"$work/tool.json"

# Nothing but the executable and the book: no libraries, no /proc, no /dev.
mkdir "$work/root"
mv "$work/app" "$work/root/app"
cp "examples/books/$book" "$work/root/book.txt"
if [ "$(id -u)" -eq 0 ] && chroot "$work/root" /app --version >/dev/null 2>&1; then
  inside=(chroot "$work/root" /app) book=/book.txt where="an empty chroot"
elif unshare -r chroot "$work/root" /app --version >/dev/null 2>&1; then
  inside=(unshare -r chroot "$work/root" /app) book=/book.txt where="an empty chroot of a user namespace"
else
  inside=(env -i "$work/root/app") book=$work/root/book.txt where="an empty environment (this user may not chroot)"
  echo "warning: NO CHROOT: this user may make none, so that nothing shows that the executable needs no other file" >&2
fi

"${inside[@]}" -f "$book" "${run[@]}" >"$work/app.json" &
child=$!
peak=0
while kill -0 "$child" 2>/dev/null; do
  now=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$child/status" 2>/dev/null) || true
  if [ "${now:-0}" -gt "$peak" ]; then peak=$now; fi
  sleep 0.02
done
wait "$child"

# Ways of starting, the fastest of five each: what the machine does besides is not the executable's.
fastest() {
  local best=
  for _ in 1 2 3 4 5; do
    local before=$EPOCHREALTIME
    "$@" >/dev/null
    local took=$(milliseconds "$before" "$EPOCHREALTIME")
    if [ -z "$best" ] || [ "$took" -lt "$best" ]; then best=$took; fi
  done
  echo "$best"
}
info=$(fastest "${inside[@]}" --info)
one=$(fastest "${inside[@]}" -p "Once upon a time" -n 1 -q)
"${inside[@]}" --info --json >"$work/info.json"

if [ "$(tokens "$work/app.json")" != "$(tokens "$work/tool.json")" ] || [ -z "$(tokens "$work/app.json")" ]; then
  echo "error: the executable and 'dustin run' gave different tokens" >&2
  exit 1
fi
positions=$(($(number prompt_tokens "$work/app.json") + ${NEW:-64}))
kv=0
for bytes in $(grep -o '"bytes_per_position":[0-9]*' "$work/info.json"); do kv=$((kv + ${bytes#*:})); done
weights=$(number weights "$work/compile.json")
allowed=$(((weights + kv * positions) / 1024 + 32 * 1024))
echo "where            $where: the same $(tokens "$work/app.json" | tr ',' '\n' | wc -l) tokens as 'dustin run'"
echo "size             $(number bytes "$work/compile.json") bytes, of it weights $weights and the runner $(number runner "$work/compile.json")"
echo "compiling        $(number compile_s "$work/compile.json") s, and written after $(number total_s "$work/compile.json") s"
echo "starting         $info ms for --info, $one ms for a prompt of four words and one token"
echo "memory           $peak KiB at most; packed weights, keys and values of $positions positions and 32 MiB are $allowed KiB"
if [ "$peak" -gt "$allowed" ]; then
  echo "error: more memory than that" >&2
  exit 1
fi
# Times of a machine that does other work besides say little: they are judged only when asked for.
if [ "${STRICT:-0}" = 1 ]; then
  if ! awk -v s="$(number compile_s "$work/compile.json")" 'BEGIN { exit !(s < 5) }'; then
    echo "error: compiling took 5 s or more" >&2
    exit 1
  fi
  if [ "$info" -ge 20 ]; then
    echo "error: --info took 20 ms or more" >&2
    exit 1
  fi
fi
