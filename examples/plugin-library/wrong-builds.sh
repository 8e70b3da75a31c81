#!/usr/bin/env bash
# Builds plug-ins that cannot work, each in its own way, and shows what the tool says of them.
#
#   examples/plugin-library/wrong-builds.sh [FOLDER]       DUSTIN names the tool, as for run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
dustin=$(realpath "${DUSTIN:-.build/release/dustin}")
work=${1:-.build/examples}/wrong-builds
rm -rf "$work"
mkdir -p "$work"
failed=0

# build NAME SOURCE [FLAGS…]
build() {
  local name=$1 source=$2
  shift 2
  printf '%s\n' "$source" > "$work/$name.swift"
  swiftc $("$dustin" plugin-flags) -Onone -module-name "$name" "$work/$name.swift" -o "$work/$name.so" "$@"
}

# expect NAME STATUS TEXT…: 'dustin opt -p PASS' with the library ends so and says each of the texts.
expect() {
  local name=$1 status=$2 found=0 text
  shift 2
  echo "== $name"
  "$dustin" opt -p rename --load "$work/$name.so" < "$work/module.dust" > "$work/out" 2> "$work/errors" || found=$?
  tail -n 3 "$work/errors"
  if [ "$found" != "$status" ]; then
    echo "FAILED: exit status $found, not $status"
    failed=1
  fi
  for text in "$@"; do
    if ! grep -qF -- "$text" "$work/errors"; then
      echo "FAILED: it does not say '$text'"
      failed=1
    fi
  done
}

cat > "$work/module.dust" <<'END'
dustin 1
stage tensor

dim T <= 8

func @f(%x: f32[T, 4]) -> (f32[T, 4]) {fidelity = exact} {
  return %x
}
END

pass='
import CDustin
import DustinIR

struct Rename: Pass {
  let name = "rename"
  let summary = "Gives the first argument another name."
  func run(on module: Module, context: PassContext) { BODY }
}

@_cdecl("dustin_plugin_1")
public func entry(_ plugin: UnsafeMutablePointer<dustin_plugin>) {
  plugin.pointee = dustin_plugin(
    compiler: dustin_compiler(), identity: PluginHost.identity, add: { PluginHost.register([Rename.init], at: $0) })
}'
rename='module.functions[0].arguments[0].name = "renamed"; context.noteChange()'

build Right "${pass/BODY/$rename}"
expect Right 0
grep -q '%renamed' "$work/out" || { echo "FAILED: the pass did nothing"; failed=1; }

build OtherVersion "$(sed s/dustin_plugin_1/dustin_plugin_7/ <<< "${pass/BODY/$rename}")"
expect OtherVersion 1 "is for version 7 of the interface for plug-ins, and this dustin has version 1" "dustin plugin-flags"

build NoEntry "$(sed s/dustin_plugin_1/my_plugin/ <<< "${pass/BODY/$rename}")"
expect NoEntry 1 "is no plug-in: it has no symbol 'dustin_plugin_1'"

# Linked with the objects of Dustin's own modules.
folder=$(dirname "$dustin")
build OwnCopy "${pass/BODY/$rename}" "$folder"/DustinIR.build/*.o "$folder"/DustinSupport.build/*.o
expect OwnCopy 1 "was linked with a copy of Dustin of its own" "link none of Dustin's libraries"

build MissingSymbol "@_silgen_name(\"dustin_of_tomorrow\") func tomorrow()
${pass/BODY/tomorrow()}"
expect MissingSymbol 1 "needs the symbol 'dustin_of_tomorrow', which this dustin has not" "dustin plugin-flags"

build OtherCompiler "${pass/BODY/$rename}"
sed -i 's/Clang [0-9]/Klang 9/g' "$work/OtherCompiler.so"
expect OtherCompiler 1 "was built by another compiler than this dustin: 'Klang 9"

build Crash "${pass/BODY/let none: [Int] = []; print(none[context.passName.count])}"
expect Crash 132 "the process crashed (SIGILL) in the pass 'rename' of the plug-in '$work/Crash.so'"

build Recursion "${pass/BODY/func deep(_ n: Int) -> Int { n == .max ? 0 : deep(n + 1) + n \}; print(deep(0))}"
expect Recursion 139 "the process crashed (SIGSEGV) in the pass 'rename' of the plug-in '$work/Recursion.so'"

echo "not a library" > "$work/Text.so"
expect Text 1 "the plug-in '$work/Text.so' cannot be loaded"
expect Nowhere 1 "the plug-in '$work/Nowhere.so' cannot be opened: No such file or directory"

exit $failed
