import DustinIR
import DustinSupport

/// Texts with errors; `// error COLUMN id: message` stands on the line of each error, more than one if need be.
enum ErrorCases {
  /// Ten lines.
  static let prelude = """
    dustin 1
    stage kernel
    dim T <= 8
    dim L <= 64
    weight @w : bf16[64, 64]
    weight @g : bf16[64]
    weight @table : bf16[256, 64]
    constant @freqs : f32[8] = [1, 1, 1, 1, 1, 1, 1, 1]
    // Comments are dropped.

    """ + "\n"

  /// The errors of reading and verifying.
  static func diagnostics(_ text: String) -> [Diagnostic] {
    do {
      _ = try ModuleParser.parseVerified(SourceBuffer(name: "case.dust", text: text))
      return []
    } catch {
      return (error as? DiagnosticError)?.diagnostics ?? []
    }
  }

  static func show(_ diagnostic: Diagnostic) -> String {
    let place = diagnostic.range.map { $0.buffer.position(of: $0.start) }
    return "\(place?.line ?? 0):\(place?.column ?? 0) \(diagnostic.id): \(diagnostic.message)"
  }

  static func expected(_ text: String) -> [String] {
    var expected: [String] = []
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      for part in line.split(separator: "// error ", omittingEmptySubsequences: false).dropFirst() {
        let fields = part.split(separator: " ", maxSplits: 1)
        guard fields.count == 2 else { continue }
        var message = String(fields[1])
        while message.last == " " { message.removeLast() }
        expected.append("\(index + 1):\(fields[0]) \(message)")
      }
    }
    return expected
  }

  static var all: [(title: String, text: String)] { header + declarations + functions + operations + rules + sparsity }

  /// A note that must appear in a case.
  static let notes: [(title: String, note: String)] = [
    ("misspelt names", "did you mean 'silu'?"),
    ("misspelt names", "did you mean 'weight'?"),
    ("misspelt names", "did you mean '%hidden'?"),
    ("misspelt names", "did you mean '@table'?"),
    ("misspelt names", "did you mean 'eps'?"),
    ("misspelt names", "did you mean 'T'?"),
    ("misspelt names", "did you mean 'f32'?"),
    ("words", "did you mean 'verify'?"),
    ("function attributes", "did you mean 'fidelity'?"),
    ("function attributes", "did you mean 'approximate'?"),
    ("roles", "did you mean 'cache'?"),
    ("stray lines", "did you mean 'func'?"),
    ("header", "did you mean 'kernel'?"),
    ("attributes of stage planned", "'at' belongs to stage planned"),
  ]

  private static let header: [(title: String, text: String)] = [
    (
      "header",
      """
      dustin 2 // error 8 version: this program reads version 1 of the language, not 2
      stage kernl // error 7 unknown-word: 'kernl' is not a stage; it must be one of tensor, kernel, planned
      """
    ),
    (
      "no header",
      """
      dim T <= 8 // error 1 version: the first line must be 'dustin 1' // error 1 stage: the second line must be 'stage' and one of tensor, kernel, planned
      func @f(%x: f32[T, 64]) -> () {
        return
      }
      """
    ),
    (
      "lexical",
      """
      dustin 1
      stage tensor
      dim T <= 8 & 9 // error 12 syntax: unexpected '&'
      dim L <= 12x // error 10 syntax: '12x' is not a number
      weight @"open : f32[2] // error 8 syntax: the string has no closing quote
      weight @"a\\q" : f32[2] // error 11 syntax: a string knows the escapes \\" \\\\ \\n \\t \\r and \\u{…}
      weight @"a\\u{zz}" : f32[2] // error 11 syntax: '\\u' needs a Unicode scalar as in '\\u{1f}'
      weight @ : f32[2] // error 8 syntax: a global or function needs a name behind '@'
      weight é : f32[2] // error 8 syntax: unexpected 'é'
      func @f(% : f32[2]) -> () { // error 9 syntax: a value needs a name behind '%'
        return
      }
      """
    ),
    (
      "stray lines",
      """
      dustin 1
      stage tensor
      fucn @f() -> () { // error 1 syntax: expected 'dim', 'weight', 'constant' or 'func', found 'fucn'
        %x = nonsense : f32[2]
        return
      }
      } // error 1 syntax: expected 'dim', 'weight', 'constant' or 'func', found '}'
      } 
      func f() -> () { // error 6 syntax: expected the function's name '@name', found 'f'
        %x = nonsense : f32[2]
        return
      }
      dims T <= 8 // error 1 syntax: expected 'dim', 'weight', 'constant' or 'func', found 'dims'
      """
    ),
  ]

  private static let declarations: [(title: String, text: String)] = [
    (
      "dims",
      """
      dustin 1
      stage tensor
      dim A <= 0 // error 10 dim-bound: a bound must be from 1 to 2147483648, not 0
      dim B <= 2147483649 // error 10 dim-bound: a bound must be from 1 to 2147483648, not 2147483649
      dim C <= 99999999999999999999 // error 10 number-range: a bound must be a whole number of at most 63 bits, not '99999999999999999999'
      dim D <= 1.5 // error 10 number-range: a bound must be a whole number of at most 63 bits, not '1.5'
      dim A <= 3 // error 5 duplicate-name: the dim 'A' is declared twice
      dim E = min(4, F) // error 16 unknown-dim: the dim 'F' is not declared
      dim G = min(4, H) // error 16 dim-cycle: the dim 'G' is defined by itself: dim G = min(4, H)
      dim H = min(4, G) // error 16 dim-cycle: the dim 'H' is defined by itself: dim H = min(4, G)
      dim I = min(4, G)
      dim J = max(4, I) // error 9 syntax: expected 'min(number, dim)', found 'max'
      dim K // error 6 syntax: expected '<= bound' or '= min(number, dim)', found the end of the line
      dim M = min(4, Later)
      dim Later <= 4 4 // error 16 syntax: expected the end of the line, found '4'
      """
    ),
    (
      "a dim without a name",
      """
      dustin 1
      stage tensor
      dim = 4 // error 5 syntax: expected the name of the dim, found '='
      dim S = min(4, NoErrorSinceThatMayBeTheName)
      """
    ),
    (
      "globals",
      """
      dustin 1
      stage tensor
      dim T <= 8
      weight @a : f32[4]
      weight @a : f32[4] // error 8 duplicate-name: the global '@a' is declared twice
      weight @b : f32[T, 4] // error 13 global-type: the extents of a global must be numbers, not f32[T, 4]
      weight @c : f33[4] // error 13 unknown-type: 'f33' is not an element type; it must be one of f32, bf16, f16, i32
      weight @d : f32[0] // error 17 extent: an extent must be from 1 to 2147483648, not 0
      weight @e : f32[2147483648, 2147483648] // error 13 type-size: f32[2147483648, 2147483648] may hold more than 281474976710656 elements
      weight @f : f32[S] // error 17 unknown-dim: the dim 'S' is not declared
      constant @g : bf16[2] = [1, 2] // error 15 global-type: a constant must be f32, not bf16[2]
      constant @h : f32[2] = [1, 2, 3] // error 24 constant-count: f32[2] holds 2 values, not 3
      constant @i : f32[2] = [1, 1e60] // error 28 number-range: '1e60' is outside the range of f32
      constant @j : f32[2] // error 21 syntax: expected '=', found the end of the line
      constant @k : f32[2] = [1, x] // error 28 syntax: expected a number, found 'x'
      func @f(%x: f32[4, 4]) -> () {
        %y = linear %x, weight(@b) : f32[4, 4]
        return
      }
      """
    ),
  ]

  private static let functions: [(title: String, text: String)] = [
    (
      "signatures",
      prelude + """
        func @f(%x: f32[T, 64], %x: f32[T, 64]) -> () { // error 25 duplicate-name: the value '%x' is defined twice
          %y = silu %unknownBecauseOfTheSignature : f32[T, 64]
          return
        }
        func @f() -> () { // error 6 duplicate-name: the function '@f' is defined twice
          return
        }
        func @g() () { // error 11 syntax: expected '->', found '('
          return
        }
        func @h(
          %x: f32[T, 64], // lists may be broken behind commas and parentheses
        ) -> () { // error 1 syntax: expected an argument '%name: type', found ')'
          return
        }
        func @i() -> () // error 16 syntax: expected '{' and the function's body, found the end of the line
          return
        }
        """
    ),
    (
      "function attributes",
      prelude + """
        func @a() -> () {fidelty = exact} { // error 18 unknown-attribute: 'fidelty' is not an attribute of a function
          return
        }
        func @b() -> () {fidelity = aproximate("x")} { // error 29 unknown-word: 'aproximate' is not a fidelity; it must be exact or approximate("pass")
          return
        }
        func @c() -> () {numerics = f33} { // error 29 unknown-word: 'f33' is not a numerics; it must be one of abstract, f32, fast
          return
        }
        func @d() -> () {numerics = f32, numerics = f32} { // error 34 duplicate-attribute: the attribute 'numerics' is given twice
          return
        }
        func @e() -> () {fidelity = approximate(x)} { // error 41 syntax: expected the name of the pass as a string, found 'x'
          return
        }
        """
    ),
    (
      "roles",
      prelude + """
        func @a(%x: f32[T, 64] {role = cahce}) -> () { // error 32 unknown-word: 'cahce' is not a role; it must be one of plain, cache, row, rows, round, running, static
          return
        }
        func @b(%x: f32[T, 64] {rule = cache}) -> () { // error 25 unknown-attribute: 'rule' is not an attribute of an argument or result
          return
        }
        func @c(%x: f32[T, 64] {role = cache}) -> () { // error 6 argument-role: in '@c': the cache '%x' must be a float [L, KV, D] with a dim L, not f32[T, 64]
          return
        }
        func @d(%x: f32[L, 2, 16]) -> (f32[L, 2, 16] {role = cache}) { // error 6 return-role: in '@d': '%x' is returned with role cache but is no cache
          return %x
        }
        func @e(%x: f32[L, 2, 16] {role = cache}) -> (f32[L, 2, 16]) { // error 6 return-role: in '@e': the cache '%x' must be returned with role cache
          return %x
        }
        """
    ),
    (
      "bodies",
      prelude
        + """
        func @a(%x: f32[T, 64]) -> (f32[T, 64]) {
          return // error 3 return-count: the signature has 1 results, 'return' has 0
        }
        func @b(%x: f32[T, 64]) -> (f32[T, 32]) {
          return %x // error 10 return-type: '%x' is f32[T, 64], the signature says f32[T, 32]
        }
        func @c(%x: f32[T, 64]) -> () {
          return
          %y = silu %x : f32[T, 64] // error 3 syntax: expected '}' behind 'return', found '%y'
        }
        func @d(%x: f32[T, 64]) -> () {
        } // error 1 syntax: expected 'return', found '}'
        func @e(%x: f32[T, 64]) -> () { // error 6 syntax: the body of '@e' has no closing brace
          return
        func @f() -> () {
          return %nothing // error 3 return-count: the signature has 0 results, 'return' has 1 // error 10 unknown-value: there is no value '%nothing'
        } } // error 3 syntax: expected the end of the line, found '}'
        """
    ),
  ]

  private static let operations: [(title: String, text: String)] = [
    (
      "misspelt names",
      prelude + """
        func @f(%hidden: f32[T, 64], %ids: i32[T]) -> () {
          %a = sillu %hidden : f32[T, 64] // error 8 unknown-op: there is no op 'sillu'
          %b = linear %hidden, wieght(@w) : f32[T, 64] // error 24 unknown-group: 'linear' has no operand group 'wieght'
          %c = silu %hiden : f32[T, 64] // error 13 unknown-value: there is no value '%hiden'
          %d = embed %ids, weight(@tabel) : f32[T, 64] // error 27 unknown-global: there is no global '@tabel'
          %e = rmsnorm %hidden, weight(@g) {ep = 0.1} : f32[T, 64] // error 37 unknown-attribute: 'ep' is not an attribute of 'rmsnorm'
          %h = silu %hidden : f32[t, 64] // error 27 unknown-dim: the dim 't' is not declared
          %i = silu %hidden : f3[T, 64] // error 23 unknown-type: 'f3' is not an element type; it must be one of f32, bf16, f16, i32
          %j = add %a, %b : f32[T, 64]
          %k = sillu %hiddn, weight(@taple) : f32[T, 64] // error 8 unknown-op: there is no op 'sillu' // error 14 unknown-value: there is no value '%hiddn' // error 29 unknown-global: there is no global '@taple'
          return
        }
        """
    ),
    (
      "values",
      prelude + """
        func @f(%x: f32[T, 64]) -> () {
          %a = silu %b : f32[T, 64] // error 13 use-before-definition: '%b' is used before its definition
          %b = silu %x : f32[T, 64]
          %b = silu %x : f32[T, 64] // error 3 duplicate-name: the value '%b' is defined twice
          %c = silu %c : f32[T, 64] // error 13 use-before-definition: '%c' is used before its definition
          %d = silu %a : f32[T, 64]
          %e, %e1 = silu %x : f32[T, 64] // error 3 result-count: 'silu' has 1 results, the line names 2
          %g = silu %x : f32[T, 64], f32[T, 64] // error 16 result-count: 'silu' has 1 results, the line states 2 types
          silu %x : f32[T, 64] // error 3 result-count: 'silu' has 1 results, the line names 0
          return
        }
        """
    ),
    (
      "operation syntax",
      prelude + """
        func @f(%x: f32[T, 64]) -> () {
          %a = silu %x // error 15 syntax: expected ':' and the type of the result, found the end of the line
          %b silu %x : f32[T, 64] // error 6 syntax: expected '=', found 'silu'
          %c = linear weight(@w), %x : f32[T, 64] // error 27 syntax: unlabelled operands come before the groups
          %d = linear %x, weight(@w), weight(@w) : f32[T, 64] // error 31 duplicate-group: the operand group 'weight' is given twice
          %e = linear %x, weight() : f32[T, 64] // error 26 syntax: expected an operand '%name' or '@name', found ')'
          %g = linear %x, weight @w : f32[T, 64] // error 19 syntax: expected an operand '%name', '@name' or 'group(…)', found 'weight'
          %h = silu %x : f32[T, 64 // error 27 syntax: expected ',' or ']', found the end of the line
          %i = silu %x, : f32[T, 64] // error 17 syntax: expected an operand '%name' or '@name', found ':'
          %j = silu 4 : f32[T, 64] // error 13 syntax: expected ':' and the type of the result, found '4'
          %k = : f32[T, 64] // error 8 syntax: expected 'return', '}' or an operation '%name = op …', found ':'
          %l = silu %x : f32[T, -1] // error 25 extent: an extent must be from 1 to 2147483648, not -1
          ) // error 3 syntax: expected 'return', '}' or an operation '%name = op …', found ')'
          return
        }
        """
    ),
    (
      "attributes",
      prelude
        + """
        func @f(%x: f32[T, 64]) -> () {
          %a = slice %x {begin = 0.0, count = 1} : f32[T, 1] // error 26 attribute-kind: 'begin' must be a whole number, not 0.0
          %b = slice %x {begin = 0, begin = 1} : f32[T, 1] // error 29 duplicate-attribute: the attribute 'begin' is given twice
          %c = slice %x {begin = 99999999999999999999} : f32[T, 1] // error 26 number-range: '99999999999999999999' does not fit into 64 bits
          %d = rmsnorm %x, weight(@g) {eps = 1e999} : f32[T, 64] // error 38 number-range: '1e999' is outside the range of 64-bit floats
          %e = rmsnorm %x, weight(@g) {eps = inf} : f32[T, 64] // error 38 attribute-kind: 'eps' must be finite, not inf
          %g = silu %x {} : f32[T, 64] // error 17 syntax: expected the name of an attribute, found '}'
          %h = silu %x {a 1} : f32[T, 64] // error 19 syntax: expected '=', found '1'
          %i = silu %x {a = } : f32[T, 64] // error 21 syntax: expected a number, word, string or array, found '}'
          %j = silu %x {a = [[[[[[[[[1]]]]]]]]]} : f32[T, 64] // error 29 syntax: arrays may be nested at most 8 deep
          return
        }
        """
    ),
    (
      "words",
      prelude + """
        func @f(%q: f32[T, 4, 16], %kc: f32[L, 2, 16] {role = cache}) -> () {
          %a = attend %q, cache(%kc, %kc) {role = verfy, scale = 1} : f32[T, 4, 16] // error 43 unknown-word: 'role' must be prefill or draft or verify, not 'verfy'
          %b = attend %q, cache(%kc, %kc) {role = 3, scale = 1} : f32[T, 4, 16] // error 43 attribute-kind: 'role' must be prefill or draft or verify, not 3
          return
        }
        """
    ),
    (
      "attributes of stage planned",
      prelude + """
        func @f(%x: f32[T, 64]) -> () {
          %a = silu %x {at = [0]} : f32[T, 64] // error 17 unknown-attribute: 'at' is not an attribute of 'silu'
          return
        }
        """
    ),
  ]
}
