#!/usr/bin/env bash
# Builds the passes of examples/tool-of-your-own as a dynamic library and gives it to the tool.
#
#   examples/plugin-library/run.sh [FOLDER]       the library goes to FOLDER; default .build/examples
# DUSTIN names the tool, which must stand in its build folder; default .build/release/dustin, of 'make build'.
set -euo pipefail
cd "$(dirname "$0")/../.."
dustin=${DUSTIN:-.build/release/dustin}
work=${1:-.build/examples}
mkdir -p "$work"
library=$work/librecent.so

swiftc $("$dustin" plugin-flags) -module-name Recent -o "$library" \
  examples/plugin-library/Entry.swift examples/tool-of-your-own/Sources/mytool/RecentShare.swift

"$dustin" passes recent-share --load "$library"
"$dustin" presets 'steady-dustin{budget=256}' --load "$library"
"$dustin" run -m examples/models/target -md examples/models/draft -f examples/books/emma.txt \
  --prompt-limit "${TOKENS:-2000}" -n "${NEW:-32}" --load "$library" --preset 'steady-dustin{budget=256}'
