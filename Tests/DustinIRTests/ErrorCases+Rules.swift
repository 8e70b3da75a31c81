extension ErrorCases {
  /// Texts that can be read but break a rule of the verifier.
  static let rules: [(title: String, text: String)] = [
    (
      "declaration",
      prelude + """
        func @f(%x: f32[T, 64], %ids: i32[T]) -> () {
          %a = add %x : f32[T, 64] // error 8 operand-count: add: needs 2 operands, not 1
          %b = embed %ids : f32[T, 64] // error 8 operand-count: embed: needs 1 operand in 'weight', not 0
          %c = linear %x, weight(@w, @w, @w, @w) : f32[T, 256] // error 8 operand-count: linear: needs 1 to 3 operands in 'weight', not 4
          %d = rmsnorm %x, weight(@g) : f32[T, 64] // error 8 missing-attribute: rmsnorm: needs the attribute 'eps': added to the mean square
          return
        }
        """
    ),
    (
      "types",
      prelude + """
        func @f(%x: f32[T, 64], %ids: i32[T], %q: f32[T, 4, 15], %kc: f32[L, 2, 15] {role = cache}, %vc: f32[L, 2, 15] {role = cache}) -> () {
          %a = silu %ids : i32[T] // error 8 type-rule: silu: operands must be f32, not i32[T]
          %b = silu %x : f32[T, 32] // error 8 result-type: silu: '%b' is f32[T, 64], not f32[T, 32]
          %c = slice %x {begin = 9223372036854775807, count = 1} : f32[T, 1] // error 8 type-rule: slice: 1 columns from 9223372036854775807 are not inside f32[T, 64]
          %d = rope %q, positions(%ids), freqs(@freqs) : f32[T, 4, 15] // error 8 type-rule: rope: the head dim 15 must be even
          %e = reshape %x : f32[T, 63] // error 8 type-rule: reshape: f32[T, 63] holds 63 values a row, f32[T, 64] holds 64
          %f = attend %q, cache(%kc, %vc) {scale = 0} : f32[T, 4, 15] // error 8 type-rule: attend: the scale 0.0 must be positive
          %h = attend %q, cache(%kc, %vc) {scale = -0.25} : f32[T, 4, 15] // error 8 type-rule: attend: the scale -0.25 must be positive
          return
        }
        func @g(%x: f32[]) -> () {
          %a = silu %x : f32[]
          %b = reshape %x : f32[] // error 8 type-rule: reshape: reshape keeps the first extent of f32[]
          %c = last_row %x : f32[1, 64] // error 8 type-rule: last_row: x must be [T, N], not f32[]
          return
        }
        """
    ),
    (
      "stages",
      """
      dustin 1
      stage tensor
      dim T <= 8
      dim L <= 64
      weight @w : bf16[64, 64]
      weight @g : bf16[64]
      constant @freqs : f32[8] = [1, 1, 1, 1, 1, 1, 1, 1]
      func @f(%x: f32[T, 64], %r: f32[T, 128], %pos: i32[T], %kc: f32[L, 2, 16] {role = cache}) -> () {
        %a = linear %x, norm(@g), weight(@w) {eps = 0.1} : f32[T, 64] // error 8 stage: linear: takes no operands in 'norm' in stage tensor, not 1 // error 8 stage: linear: 'eps' may not stand in stage tensor
        %b = linear %x, weight(@w, @w) : f32[T, 128] // error 8 stage: linear: takes 1 operand in 'weight' in stage tensor, not 2
        %c = linear %x, weight(@w), residual(%x) : f32[T, 64] // error 8 stage: linear: takes no operands in 'residual' in stage tensor, not 1
        %q, %kc1, %vc1 = rope_append %r, cache(%kc, %kc), positions(%pos), freqs(@freqs) : f32[T, 4, 16], f32[L, 2, 16], f32[L, 2, 16] // error 20 stage: rope_append: stands in stage kernel or planned, not tensor
        return
      }
      """
    ),
    (
      "caches",
      prelude + """
        func @f(%q: f32[T, 4, 16], %k: f32[T, 2, 16], %kc: f32[L, 2, 16] {role = cache}, %vc: f32[L, 2, 16] {role = cache}, %p: f32[L, 2, 16]) -> (f32[L, 2, 16] {role = cache}) { // error 6 cache-order: in '@f': '%kc' is returned although 'append' has written its next version
          %a0 = attend %q, cache(%kc, %vc) {scale = 1} : f32[T, 4, 16]
          %kc1, %vc1 = append %k, %k, cache(%kc, %vc) : f32[L, 2, 16], f32[L, 2, 16]
          %a1 = attend %q, cache(%kc1, %vc1) {scale = 1} : f32[T, 4, 16]
          %a2 = attend %q, cache(%kc1, %vc1) {scale = 1} : f32[T, 4, 16]
          %a3 = attend %q, cache(%kc, %vc1) {scale = 1} : f32[T, 4, 16] // error 9 cache-order: attend: '%kc' is read although 'append' has written its next version
          %kc2, %vc2 = append %k, %k, cache(%kc1, %vc) : f32[L, 2, 16], f32[L, 2, 16] // error 16 cache-order: append: '%vc' is appended to although 'append' has written its next version
          %kc3, %vc3 = append %k, %k, cache(%kc2, %kc2) : f32[L, 2, 16], f32[L, 2, 16] // error 16 cache-order: append: '%kc2' is appended to although 'append' has written its next version
          %kc4, %vc4 = append %k, %k, cache(%kc3, %p) : f32[L, 2, 16], f32[L, 2, 16] // error 16 cache-role: append: '%p' must be an argument with role cache or a later version of one
          %s = add %kc4, %kc4 : f32[L, 2, 16] // error 8 cache-role: add: the cache '%kc4' may stand in the group 'cache' only // error 8 cache-role: add: the cache '%kc4' may stand in the group 'cache' only
          return %kc
        }
        """
    ),
    (
      "places",
      """
      dustin 1
      stage planned
      dim T <= 8
      weight @w : f32[64, 64]
      weight @g : bf16[64]
      func @f(%x: f32[T, 64]) -> () {
        %w1 = cast @w : bf16[64, 64]
        %w2 = cast @w {at = [0]} : bf16[64, 64] // error 9 arena-place: cast: 'at' must give one offset for each of the 0 results that are rows, not 1
        %a = silu %x : f32[T, 64] // error 8 arena-place: silu: 'at' must give one offset for each of the 1 results that are rows, not none
        %b = silu %x {at = [0, 64]} : f32[T, 64] // error 8 arena-place: silu: 'at' must give one offset for each of the 1 results that are rows, not 2
        %c = silu %x {at = [32]} : f32[T, 64] // error 8 arena-place: silu: 'at' must hold multiples of 64 from 0, not 32
        %d = silu %x {at = [-64]} : f32[T, 64] // error 8 arena-place: silu: 'at' must hold multiples of 64 from 0, not -64
        %e = silu %x {at = [72057594037927936]} : f32[T, 64] // error 8 arena-place: silu: no machine has the memory for a place at 72057594037927936 in 'at'
        %f = silu %x {at = [9223372036854775744]} : f32[T, 64] // error 8 arena-place: silu: no machine has the memory for a place at 9223372036854775744 in 'at'
        %g = silu %x {at = [0], scratch = 0} : f32[T, 64] // error 8 arena-place: silu: 'scratch' is for operations that need scratch rows
        %h = linear %x, norm(@g), weight(@w) {eps = 0.1, at = [0]} : f32[T, 64] // error 8 arena-place: linear: 'scratch' must be the offset of f32[T, 64], a multiple of 64, not none
        %i = linear %x, norm(@g), weight(@w) {eps = 0.1, at = [0], scratch = 8} : f32[T, 64] // error 8 arena-place: linear: 'scratch' must be the offset of f32[T, 64], a multiple of 64, not 8
        return
      }
      """
    ),
    (
      "places that share bytes",
      """
      dustin 1
      stage planned
      dim T <= 8
      weight @w : f32[64, 64]
      weight @g : bf16[64]
      func @f(%x: f32[T, 64]) -> (f32[T, 64]) {
        %a = silu %x {at = [2048]} : f32[T, 64]
        %b = silu %x {at = [1984]} : f32[T, 64] // error 8 arena-overlap: silu: '%b' and '%x' share bytes of the arena, and both are needed here
        %c = silu %b {at = [6144]} : f32[T, 64]
        %d = silu %a {at = [4096]} : f32[T, 64]
        %e = silu %c {at = [2048]} : f32[T, 64]
        %f = silu %e {at = [4032]} : f32[T, 64] // error 8 arena-overlap: silu: '%f' and '%d' share bytes of the arena, and both are needed here
        %g = silu %f {at = [4096]} : f32[T, 64] // error 8 arena-overlap: silu: '%g' and '%d' share bytes of the arena, and both are needed here
        return %d
      }
      func @scratch(%x: f32[T, 64]) -> (f32[T, 64]) {
        %a = linear %x, norm(@g), weight(@w) {eps = 0.1, at = [2048], scratch = 4096} : f32[T, 64]
        %b = linear %a, norm(@g), weight(@w) {eps = 0.1, at = [4096], scratch = 2048} : f32[T, 64] // error 8 arena-overlap: linear: the scratch rows and '%a' share bytes of the arena, and both are needed here
        %c = linear %b, norm(@g), weight(@w) {eps = 0.1, at = [2048], scratch = 2048} : f32[T, 64] // error 8 arena-overlap: linear: '%c' and the scratch rows share bytes of the arena, and both are needed here
        return %c
      }
      func @reshapes(%x: f32[T, 64]) -> (f32[T, 64]) {
        %a = silu %x {at = [2048]} : f32[T, 64]
        %b = reshape %a {at = [2048]} : f32[T, 4, 16]
        %c = reshape %a {at = [4096]} : f32[T, 4, 16] // error 8 arena-place: reshape: '%c' is '%a' under another shape and lies at 2048, not at 4096
        %d = reshape %b {at = [2048]} : f32[T, 64]
        %e = silu %x {at = [2048]} : f32[T, 64] // error 8 arena-overlap: silu: '%e' and '%d' share bytes of the arena, and both are needed here
        return %d
      }
      func @in_place(%x: f32[T, 64]) -> (f32[T, 64]) {
        %a = silu %x {at = [2048]} : f32[T, 64]
        %b = silu %x {at = [4096]} : f32[T, 64]
        %c = linear %a, weight(@w), residual(%b) {at = [4096]} : f32[T, 64]
        %d = linear %a, weight(@w), residual(%x) {at = [0]} : f32[T, 64] // error 8 arena-overlap: linear: '%d' and '%x' share bytes of the arena, and both are needed here
        %e = linear %a, weight(@w), residual(%c) {at = [4096]} : f32[T, 64] // error 8 arena-overlap: linear: '%e' and '%c' share bytes of the arena, and both are needed here
        %f = linear %c, weight(@w), residual(%c) {at = [4096]} : f32[T, 64] // error 8 arena-overlap: linear: '%f' and '%c' share bytes of the arena, and both are needed here
        %g = silu %x {at = [6144]} : f32[T, 64]
        %h = reshape %g {at = [6144]} : f32[T, 64]
        %i = linear %g, weight(@w), residual(%h) {at = [6144]} : f32[T, 64] // error 8 arena-overlap: linear: '%i' and '%g' share bytes of the arena, and both are needed here
        return %i
      }
      """
    ),
    (
      "kinds in stage planned",
      """
      dustin 1
      stage planned
      dim T <= 8
      func @f(%x: f32[T, 64]) -> () {
        %a = silu %x {at = [a]} : f32[T, 64] // error 22 attribute-kind: 'at' must be an array of whole numbers, not [a]
        %b = silu %x {at = [0], scratch = 1.5} : f32[T, 64] // error 37 attribute-kind: 'scratch' must be a whole number, not 1.5
        return
      }
      """
    ),
    (
      "a broken function does not hide the errors of another",
      prelude + """
        func @f(%x: f32[T, 64]) -> () {
          %a = sillu %x : f32[T, 64] // error 8 unknown-op: there is no op 'sillu'
          %b = silu %x : f32[T, 32]
          return
        }
        func @g(%x: f32[T, 64]) -> () {
          %b = silu %x : f32[T, 32] // error 8 result-type: silu: '%b' is f32[T, 64], not f32[T, 32]
          return
        }
        """
    ),
  ]
}
