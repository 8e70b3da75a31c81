#!/usr/bin/env python3
"""A pass in Python: verification reads first and recent positions only, more of them in low layers than in high ones.

A filter for `dustin --pass-exec`: a module's text comes in, a module's text goes out. It rewrites @verify where there is
one and passes everything else on as it came.

    pyramid.py [BUDGET]     positions a layer reads on average; 512
"""
import re
import sys

SINK = 4
budget = int(sys.argv[1]) if len(sys.argv) > 1 else 512
text = sys.stdin.read()

function = re.search(r"^func @verify\((?P<arguments>.*)\) -> (?P<results>.*\)) \{(?P<facts>.*)\} \{\n(?P<body>(?:  .*\n)*)\}\n",
                     text, re.MULTILINE)
if function is None:  # the draft's module
    sys.stdout.write(text)
    sys.exit()
if "approximate" in function["facts"]:
    sys.exit("pyramid.py: @verify is sparse already")

attend = re.compile(r"^  (%\S+) = attend (%\S+), cache\((%\S+), (%\S+)\) \{(.*)\} : (.*)\n", re.MULTILINE)
layers = list(attend.finditer(function["body"]))
caches = re.findall(r"%\S+: \w+\[[^\]]*\] \{role = cache\}", function["arguments"])
keys = re.match(r"(%\S+): (\w+)\[L, (.*)\]", caches[0])

# From one and a half times the budget in the lowest layer down to half of it in the highest one.
steps = max(1, len(layers) - 1)
sizes = [max(SINK + 1, budget * 3 // 2 - budget * index // steps) for index in range(len(layers))]

body, dims, sets, choices = function["body"], "", "", ""
for index, (layer, size) in enumerate(zip(layers, sizes)):
    result, query, kc, vc, attributes, kind = layer.groups()
    view = f"{keys[2]}[W{index}, {keys[3]}]"
    body = body.replace(layer[0], (
        f"  %ks.{index}, %vs.{index} = gather %set.{index}, cache({kc}, {vc}) : {view}, {view}\n"
        f"  {result} = attend {query}, cache(%ks.{index}, %vs.{index}), tail({kc}, {vc}), after(%set.{index})"
        f" {{{attributes}}} : {kind}\n"))
    dims += f"dim W{index} = min({size}, L)\n"
    sets += f", %set.{index}: i32[W{index}] {{role = round}}"
    choices += (f"  %set.{index} = select cache({keys[1]}) {{budget = {size}, sink = {SINK}, recent = {size - SINK}}}"
                f" : i32[W{index}]\n")

facts = function["facts"].replace("fidelity = exact", 'fidelity = approximate("pyramid")')
verify = f"func @verify({function['arguments']}{sets}) -> {function['results']} {{{facts}}} {{\n{body}}}\n"
names = ", ".join(f"%set.{index}" for index in range(len(layers)))
results = ", ".join(f"i32[W{index}] {{role = round}}" for index in range(len(layers)))
select = f"\nfunc @select({', '.join(caches)}) -> ({results}) {{{function['facts']}}} {{\n{choices}  return {names}\n}}\n"
dense = "\n" + function[0].replace("@verify", "@dense", 1)  # what corrections and --exact run

head, tail = text[:function.start()], text[function.end():]
head = re.sub(r"^dim L .*\n", lambda dim: dim[0] + dims, head, count=1, flags=re.MULTILINE)
sys.stdout.write(head + verify + tail + select + dense)
