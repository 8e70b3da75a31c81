extension ErrorCases {
  /// Texts that break a rule of signals, sets and the readers through them.
  static let sparsity: [(title: String, text: String)] = [
    (
      "module attributes",
      """
      dustin 1
      stage tensor {kv_layout = rows, refresh = 0, dense_every = -1, observe = 513, preset = dustin, free = rows} // error 27 module-attribute: 'kv_layout' must be packed or both, not 'rows' // error 43 module-attribute: 'refresh' must be 1 … 1048576, not 0 // error 60 module-attribute: 'dense_every' must be 0 … 1048576, not -1 // error 74 module-attribute: 'observe' must be 1 … 512, not 513 // error 88 module-attribute: 'preset' must be a string, not dustin
      """
    ),
    (
      "kinds of module attributes",
      """
      dustin 1
      stage tensor {kv_layout = 1, refresh = "2", dense_every = 1.5, observe = [1]} // error 27 module-attribute: 'kv_layout' must be packed or both, not 1 // error 40 module-attribute: 'refresh' must be a whole number, not "2" // error 59 module-attribute: 'dense_every' must be a whole number, not 1.5 // error 74 module-attribute: 'observe' must be a whole number, not [1]
      """
    ),
    (
      "roles of signals and sets",
      sparse + """
        func @a(%s: f32[L], %i: i32[S] {role = row}, %ids: i32[L] {role = rows}) -> () { // error 6 argument-role: in '@a': the argument '%s' is a signal, f32[L]: its role must be round, running or static, not plain // error 6 argument-role: in '@a': the argument '%i' is a set, i32[S]: its role must be round or static, not row // error 6 argument-role: in '@a': the argument '%ids' is a set, i32[L]: its role must be round or static, not rows
          return
        }
        func @b(%a: bf16[L], %b: f32[T, L] {role = round}, %c: f32[2, 2, L] {role = static}) -> () { // error 6 sequence-type: in '@b': the argument '%a' is bf16[L], which is neither rows nor a signal, f32[L] or f32[KV, L], nor a set, i32[S] or i32[KV, S] // error 6 sequence-type: in '@b': the argument '%b' is f32[T, L], which is neither rows nor a signal, f32[L] or f32[KV, L], nor a set, i32[S] or i32[KV, S] // error 6 sequence-type: in '@b': the argument '%c' is f32[2, 2, L], which is neither rows nor a signal, f32[L] or f32[KV, L], nor a set, i32[S] or i32[KV, S]
          return
        }
        func @c(%x: f32[2, L] {role = round}, %y: i32[2, S] {role = static}, %z: i32[T] {role = round}) -> () {
          return
        }
        func @d(%q: f32[T, 4, 16], %kc: f32[L, 2, 16] {role = cache}) -> (f32[L], i32[S] {role = rows}) { // error 6 return-role: in '@d': '%s' is a signal, f32[L]: its role must be round, running or static, not plain // error 6 return-role: in '@d': '%j' is a set, i32[S]: its role must be round or static, not rows
          %s = score %q, cache(%kc) {scale = 1} : f32[L]
          %j = select %s {budget = 32} : i32[S]
          return %s, %j
        }
        func @e() -> (bf16[64, 64] {role = rows}) { // error 6 return-role: in '@e': '@w' has role rows but is no rows
          return @w
        }
        """
    ),
    (
      "values that functions pass on",
      sparse + """
        func @a(%s: f32[L] {role = round}, %q: f32[T, 4, 16] {role = rows}, %x: f32[T, 4]) -> () {
          return
        }
        func @b(%s: f32[2, L] {role = round}, %q: f32[T, 4, 16] {role = row}, %x: f32[T, 8]) -> () { // error 6 passed-value: in '@b': '%s' is f32[2, L] {role = round} here, but f32[L] {role = round} in '@a': values are passed on by name // error 6 passed-value: in '@b': '%q' is f32[T, 4, 16] {role = row} here, but f32[T, 4, 16] {role = rows} in '@a': values are passed on by name
          return
        }
        func @c(%s: f32[L] {role = static}) -> () { // error 6 passed-value: in '@c': '%s' is f32[L] {role = static} here, but f32[L] {role = round} in '@a': values are passed on by name
          return
        }
        """
    ),
    (
      "ops for rows",
      sparse + """
        func @f(%s: f32[L] {role = round}, %i: i32[S] {role = round}, %x: f32[T, 64]) -> () {
          %a = silu %s : f32[L] // error 8 sequence-value: silu: '%s' is f32[L], which lies with the sequence: the op works on rows
          %b = embed %i, weight(@w) : f32[S, 64] // error 8 sequence-value: embed: '%i' is i32[S], which lies with the sequence: the op works on rows
          %c = cast %s : bf16[L] // error 8 sequence-value: cast: '%s' is f32[L], which lies with the sequence: the op works on rows
          return
        }
        """
    ),
    (
      "scores",
      sparse + """
        func @f(%q: f32[T, 4, 16], %kc: f32[L, 2, 16] {role = cache}, %p: f32[L, 2, 16], %o: f32[2, L] {role = round}) -> () {
          %a = score %q, cache(%kc) {heads = [1, 1], scale = 1} : f32[L] // error 8 type-rule: score: 'heads' must ascend
          %b = score %q, cache(%kc) {heads = [4], scale = 1} : f32[L] // error 8 type-rule: score: there is no query head 4, only 0 … 3
          %c = score %q, cache(%kc) {heads = [], scale = 1} : f32[L] // error 8 type-rule: score: 'heads' names no head
          %d = score %q, cache(%kc) {heads = [1], scale = 1} : f32[2, L] // error 8 type-rule: score: a signal per KV head needs query heads of each of the 2 KV heads
          %e = score %q, cache(%kc) {scale = 1, pool = 4} : f32[L] // error 8 type-rule: score: the width 4 of 'pool' must be odd, 1 … 255
          %g = score %q, cache(%kc) {scale = 1, bound = 0} : f32[L] // error 8 type-rule: score: the block size 0 of 'bound' must be 1 … 1024
          %h = score %q, cache(%kc) {scale = -1} : f32[L] // error 8 type-rule: score: the scale -1.0 must be positive
          %i = score %q, cache(%kc), onto(%o) {scale = 1} : f32[L] // error 8 type-rule: score: 'onto' is f32[2, L], the signal f32[L]
          %k = score %q, cache(%p) {scale = 1} : f32[L] // error 8 cache-role: score: '%p' must be an argument with role cache or a later version of one
          %l = score %q, cache(%kc) {scale = 1} : f32[T, L] // error 8 result-type: score: '%l' is f32[2, L], not f32[T, L]
          %m = score %q, cache(%kc) {scale = 1} : f32[S] // error 8 result-type: score: '%m' is f32[L], not f32[S]
          return
        }
        func @words(%q: f32[T, 4, 16], %kc: f32[L, 2, 16] {role = cache}) -> () {
          %j = score %q, cache(%kc) {scale = 1, take = first} : f32[L] // error 48 unknown-word: 'take' must be all or last or ends, not 'first'
          return
        }
        """
    ),
    (
      "scores beside attention",
      sparse + """
        func @f(%q: f32[T, 4, 16], %p: f32[T, 4, 16], %kc: f32[L, 2, 16] {role = cache}, %vc: f32[L, 2, 16] {role = cache}, %o: f32[C] {role = running}, %r: f32[C] {role = round}, %i: i32[S] {role = round}) -> (f32[C] {role = running}) {
          %y = attend %q, cache(%kc, %vc) {scale = 1} : f32[T, 4, 16]
          %g, %h = gather %i, cache(%kc, %vc) : f32[S, 2, 16], f32[S, 2, 16]
          %z = attend %q, cache(%g, %h), tail(%kc, %vc), after(%i) {scale = 1} : f32[T, 4, 16]
          %a = score %q, cache(%kc), onto(%o), beside(%q) {scale = 1, take = last} : f32[C] // error 8 type-rule: score: 'beside' must be what an attend made
          %b = score %p, cache(%kc), onto(%o), beside(%y) {scale = 1, take = last} : f32[C] // error 8 type-rule: score: 'beside' must be attention of the same q over the same keys
          %c = score %q, cache(%kc), onto(%o), beside(%z) {scale = 1, take = last} : f32[C] // error 8 type-rule: score: 'beside' must be attention of the same q over the same keys
          %d = score %q, cache(%kc), onto(%o), beside(%y) {scale = 1} : f32[C] // error 8 type-rule: score: beside attention only the last row counts: take = last
          %e = score %q, cache(%kc), onto(%o), beside(%y) {scale = 1, take = last, bound = 16} : f32[C] // error 8 type-rule: score: beside attention there are scores, no bounds
          %j = score %q, cache(%kc), onto(%o), beside(%y) {scale = 1, take = last, pool = 5} : f32[C] // error 8 type-rule: score: beside attention nothing is pooled: the sum is not complete
          %k = score %q, cache(%kc), beside(%y) {scale = 1, take = last} : f32[L] // error 8 type-rule: score: beside attention 'onto' must be the signal that the rows add to
          %l = score %q, cache(%kc), onto(%o) {scale = 1, take = last} : f32[L] // error 8 type-rule: score: 'onto' is f32[C], the signal f32[L]
          %m = score %q, cache(%kc), onto(%o), beside(%y) {scale = 1, take = last} : f32[L] // error 8 result-type: score: '%m' is f32[C], not f32[L]
          %n = score %q, cache(%kc), onto(%r), beside(%y) {scale = 1, take = last} : f32[C] // error 8 running-role: score: '%r' must be an argument with role running or a later version of one
          %other = score %q, cache(%kc), onto(%o), beside(%y) {scale = 2, take = last} : f32[C] // error 12 type-rule: score: 'beside' must be attention of the same scale
          %s = score %q, cache(%kc), onto(%o), beside(%y) {scale = 1, take = last} : f32[C]
          %t = pool %o {width = 3} : f32[C] // error 8 running-order: pool: '%o' is read although 'score' has written its next version
          %u = score %q, cache(%kc), onto(%s), beside(%y) {scale = 1, take = last} : f32[C]
          %v = pool %u {width = 4} : f32[C] // error 8 type-rule: pool: the width 4 must be odd, 1 … 255
          %w = pool %u {width = 3} : f32[C]
          %x = pool %q : f32[T, 4, 16] // error 8 type-rule: pool: s must be a signal, f32[L] or f32[KV, L], not f32[T, 4, 16]
          return %u
        }
        """
    ),
    (
      "running signals",
      sparse + """
        func @a(%s: f32[C] {role = running}, %t: f32[C] {role = running}, %i: i32[S] {role = running}, %x: f32[T] {role = running}) -> () { // error 6 argument-role: in '@a': the argument '%i' is a set, i32[S]: its role must be round or static, not running // error 6 argument-role: in '@a': the argument '%x' has role running but is no signal
          return
        }
        func @b(%q: f32[T, 4, 16], %kc: f32[L, 2, 16] {role = cache}, %vc: f32[L, 2, 16] {role = cache}, %s: f32[C] {role = running}) -> (f32[C] {role = running}) { // error 6 running-order: in '@b': '%s' is returned although 'score' has written its next version
          %y = attend %q, cache(%kc, %vc) {scale = 1} : f32[T, 4, 16]
          %n = score %q, cache(%kc), onto(%s), beside(%y) {scale = 1, take = last} : f32[C]
          return %s
        }
        func @c(%q: f32[T, 4, 16], %kc: f32[L, 2, 16] {role = cache}, %vc: f32[L, 2, 16] {role = cache}, %s: f32[C] {role = running}) -> () { // error 6 return-role: in '@c': the results with role running must be the arguments with that role, or what they became, in order
          %y = attend %q, cache(%kc, %vc) {scale = 1} : f32[T, 4, 16]
          %n = score %q, cache(%kc), onto(%s), beside(%y) {scale = 1, take = last} : f32[C]
          return
        }
        func @d(%s: f32[C] {role = running}, %t: f32[C] {role = running}) -> (f32[C] {role = running}, f32[C] {role = running}) { // error 6 return-role: in '@d': the results with role running must be the arguments with that role, or what they became, in order
          return %t, %s
        }
        func @e(%s: f32[C] {role = running}) -> (f32[C] {role = round}) { // error 6 return-role: in '@e': '%s' is a running signal and must be returned with role running // error 6 passed-value: in '@e': '%s' is f32[C] {role = round} here, but f32[C] {role = running} in '@a': values are passed on by name
          return %s
        }
        func @f(%w: f32[C] {role = round}) -> (f32[C] {role = running}) { // error 6 return-role: in '@f': the results with role running must be the arguments with that role, or what they became, in order // error 6 passed-value: in '@f': '%w' is f32[C] {role = running} here, but f32[C] {role = round} in '@f': values are passed on by name
          return %w
        }
        """
    ),
    (
      "selections",
      sparse + """
        func @f(%s: f32[L] {role = round}, %p: f32[2, L] {role = round}, %x: f32[T], %kc: f32[L, 2, 16] {role = cache}, %mc: f32[M, 2, 16] {role = cache}) -> () {
          %a = select %s {budget = 0} : i32[S] // error 8 type-rule: select: the budget 0 does not hold 4 first and 16 recent positions
          %b = select %s {budget = 100, granularity = 16} : i32[B] // error 8 type-rule: select: the budget 100 must be a multiple of the granularity 16
          %c = select %s {budget = 32, recent = 0} : i32[S] // error 8 type-rule: select: 'recent' must be 1 … 1048576, not 0
          %d = select %s, %s {budget = 32, quotas = [13]} : i32[S] // error 8 type-rule: select: the quotas exceed the budget 32
          %e = select %s, %s {budget = 32, quotas = []} : i32[S] // error 8 type-rule: select: 'quotas' must list one number for every signal but the last
          %g = select %s {budget = 32, cover = 0} : i32[B] // error 8 type-rule: select: 'cover' must be above 0 and at most 1, not 0.0
          %h = select {budget = 32} : i32[S] // error 8 type-rule: select: without signals a cache must say which positions are meant
          %i = select %s, %p {budget = 32} : i32[S] // error 8 type-rule: select: the signals differ: f32[L] and f32[2, L]
          %j = select %x {budget = 32} : i32[S] // error 8 type-rule: select: a signal must be f32[L] or f32[KV, L], not f32[T]
          %k = select %s {budget = 32} : i32[T] // error 8 type-rule: select: the set must be i32[S] with a dim S, or i32[KV, S]
          %l = select %s {budget = 32} : i32[L] // error 8 type-rule: select: the set needs a dim of its own, not L of the positions
          %m = select %s {budget = 32} : i32[2, S] // error 8 type-rule: select: a set of f32[L] cannot be i32[2, S]
          %n = select %p {budget = 32} : i32[S] // error 8 type-rule: select: a set of f32[2, L] cannot be i32[S]
          %o = select %s, cache(%mc) {budget = 32} : i32[S] // error 8 type-rule: select: the signals have L positions, the cache M
          %q = select %s {budget = 32, granularity = 4} : i32[S] // error 8 type-rule: select: the granularity 4 must be 1 or 16
          return
        }
        """
    ),
    (
      "dims of sets",
      sparse + """
        func @f(%s: f32[L] {role = round}, %kc: f32[L, 2, 16] {role = cache}, %mc: f32[M, 2, 16] {role = cache}) -> () {
          %a = select %s {budget = 64} : i32[S] // error 8 set-bound: select: the set has min(64, L) positions, but 'dim S = min(32, L)'
          %b = select %s {budget = 64} : i32[B] // error 8 set-bound: select: the set has up to 64 positions, but 'dim B <= 48'
          %c = select %s {budget = 32, cover = 0.5} : i32[S] // error 8 set-bound: select: how many positions the set has is open with a cover or blocks: declare 'dim S <= 32'
          %d = select %s {budget = 48, sink = 0, recent = 1, granularity = 16} : i32[B]
          %e = select cache(%kc) {budget = 64} : i32[S] // error 8 set-bound: select: the set has min(20, L) positions, but 'dim S = min(32, L)'
          %g = select cache(%kc) {budget = 64, recent = 28} : i32[S]
          %h = select cache(%mc) {budget = 32, recent = 28} : i32[S] // error 8 set-bound: select: the set has min(32, M) positions, but 'dim S = min(32, L)'
          %i = select cache(%mc) {budget = 512} : i32[B]
          return
        }
        """
    ),
    (
      "readers through sets",
      sparse + """
        func @f(%q: f32[T, 4, 16], %k: f32[T, 2, 16], %i: i32[S] {role = round}, %j: i32[S] {role = round}, %h: i32[4, S] {role = round}, %ids: i32[T], %n: i32[L] {role = round}, %kc: f32[L, 2, 16] {role = cache}, %vc: f32[L, 2, 16] {role = cache}) -> (f32[S, 2, 16] {role = cache}) { // error 6 return-role: in '@f': '%ks' is a view of '%kc': only attention can read it
          %ks, %vs = gather %i, cache(%kc, %vc) : f32[S, 2, 16], f32[S, 2, 16]
          %a = attend %q, cache(%ks, %vs) {scale = 1} : f32[T, 4, 16] // error 8 type-rule: attend: gathered positions need tail(kc, vc) and after(set)
          %b = attend %q, cache(%ks, %vs), tail(%kc, %vc), after(%j) {scale = 1} : f32[T, 4, 16] // error 8 type-rule: attend: 'after' must be the set that was gathered
          %c = attend %q, cache(%ks, %vs), tail(%vc, %kc), after(%i) {scale = 1} : f32[T, 4, 16] // error 8 type-rule: attend: the tail must be what was gathered from
          %d = attend %q, cache(%vs, %ks), tail(%kc, %vc), after(%i) {scale = 1} : f32[T, 4, 16] // error 8 type-rule: attend: keys and values must be gathered together
          %e = attend %q, cache(%kc, %vc), tail(%kc, %vc), after(%i) {scale = 1} : f32[T, 4, 16] // error 8 type-rule: attend: a tail belongs behind gathered positions; these caches are whole
          %g = score %q, cache(%ks) {scale = 1} : f32[S] // error 8 cache-role: score: '%ks' is a view of '%kc': only attention can read it
          %k2, %v2 = append %k, %k, cache(%ks, %vs) : f32[S, 2, 16], f32[S, 2, 16] // error 14 cache-role: append: '%ks' is a view of '%kc': only attention can read it // error 14 cache-role: append: '%vs' is a view of '%vc': only attention can read it
          %kg, %vg = gather %i, cache(%ks, %vs) : f32[S, 2, 16], f32[S, 2, 16] // error 14 type-rule: gather: the set needs a dim of its own, not S of the positions // error 14 cache-role: gather: '%ks' is a view of '%kc': only attention can read it // error 14 cache-role: gather: '%vs' is a view of '%vc': only attention can read it
          %kh, %vh = gather %h, cache(%kc, %vc) : f32[S, 2, 16], f32[S, 2, 16] // error 14 type-rule: gather: a set of 4 KV heads does not fit f32[L, 2, 16]
          %kt, %vt = gather %ids, cache(%kc, %vc) : f32[T, 2, 16], f32[T, 2, 16] // error 14 type-rule: gather: the set must be i32[S] or i32[KV, S] with a dim S, not i32[T]
          %kl, %vl = gather %n, cache(%kc, %vc) : f32[L, 2, 16], f32[L, 2, 16] // error 14 type-rule: gather: the set needs a dim of its own, not L of the positions
          %r = reshape %ks : f32[S, 32] // error 8 cache-role: reshape: the cache '%ks' may stand in the group 'cache' only
          return %ks
        }
        func @stale(%q: f32[T, 4, 16], %k: f32[T, 2, 16], %i: i32[S] {role = round}, %kc: f32[L, 2, 16] {role = cache}, %vc: f32[L, 2, 16] {role = cache}) -> () {
          %ks, %vs = gather %i, cache(%kc, %vc) : f32[S, 2, 16], f32[S, 2, 16]
          %a = attend %q, cache(%ks, %vs), tail(%kc, %vc), after(%i) {scale = 1} : f32[T, 4, 16]
          %kc1, %vc1 = append %k, %k, cache(%kc, %vc) : f32[L, 2, 16], f32[L, 2, 16]
          %b = attend %q, cache(%ks, %vs), tail(%kc, %vc), after(%i) {scale = 1} : f32[T, 4, 16] // error 8 cache-order: attend: '%ks' is read although 'append' has written the next version of '%kc' // error 8 cache-order: attend: '%vs' is read although 'append' has written the next version of '%vc'
          %kt, %vt = gather %i, cache(%kc, %vc) : f32[S, 2, 16], f32[S, 2, 16] // error 14 cache-order: gather: '%kc' is read although 'append' has written its next version // error 14 cache-order: gather: '%vc' is read although 'append' has written its next version
          return
        }
        """
    ),
  ]

  private static let sparse = """
    dustin 1
    stage tensor
    dim T <= 8
    dim L <= 4096
    dim M <= 20
    dim S = min(32, L)
    dim B <= 48
    dim C <= 4096
    weight @w : bf16[64, 64]

    """ + "\n"
}
