import DustinSupport
import DustinText
import XCTest

/// What is wrong with a file, and where.
final class TokenizerErrorTests: XCTestCase {
  /// Replaces the first `old` of a golden file by `new`; expects the message, and the error to point at `place`.
  private func check(
    in name: String = "gpt2", _ old: String, _ new: String, at place: String, _ message: String,
    file: StaticString = #filePath, line: UInt = #line
  ) throws {
    var source = String(decoding: try Golden.source(name), as: UTF8.self)
    guard let found = source.firstRange(of: old) else { return XCTFail("no \(old)", file: file, line: line) }
    source.replaceSubrange(found, with: new)
    do {
      _ = try Tokenizer(SourceBuffer(name: "tokenizer.json", text: source))
      XCTFail("no error", file: file, line: line)
    } catch let error as DiagnosticError {
      XCTAssertEqual(error.diagnostics.first?.message, message, file: file, line: line)
      let range = try XCTUnwrap(error.diagnostics.first?.range, file: file, line: line)
      let text = String(decoding: range.buffer.utf8[range.start..<range.end], as: UTF8.self)
      XCTAssertTrue(text.hasPrefix(place), "points at \(text.prefix(80))", file: file, line: line)
      XCTAssertGreaterThan(range.end, range.start, file: file, line: line)
    }
  }

  private let sentencePiece = "belongs to SentencePiece-style tokenizers, which are not supported yet"

  func testNormalizers() throws {
    let old = #"{"type":"NFC"}"#
    let new = #"{"type":"NFKC"}"#
    try check(old, new, at: new, "the normalizer 'NFKC' is not supported; known are NFC and Sequence")
    let prepend = #"{"type":"Prepend","prepend":"▁"}"#
    try check(old, prepend, at: prepend, "the normalizer 'Prepend' \(sentencePiece)")
    try check(old, "7", at: "7", "the normalizer must be an object")
    try check(old, "{}", at: "{}", "the normalizer lacks a 'type'")
    try check(old, #"{"type":[]}"#, at: "[]", "the type of the normalizer must be a string")
    try check(
      #""normalizers":["#, #""others":["#, at: #"{"type":"Sequence""#, "the normalizer lacks 'normalizers'")
    try check(#""normalizers":[{"type":"NFC"}]"#, #""normalizers":1"#, at: "1", "'normalizers' must be an array")
  }

  func testPreTokenizers() throws {
    let old = #"{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}"#
    let metaspace = #"{"type":"Metaspace","replacement":"▁"}"#
    try check(old, metaspace, at: metaspace, "the pre-tokenizer 'Metaspace' \(sentencePiece)")
    let whitespace = #"{"type":"Whitespace"}"#
    try check(
      old, whitespace, at: whitespace,
      "the pre-tokenizer 'Whitespace' is not supported; known are Split, Digits, ByteLevel, Sequence")
    try check(old, "null", at: "null", "the file has no pre-tokenizer; byte-level tokenizers have 'ByteLevel'")
    let digits = #"{"type":"Digits","individual_digits":true}"#
    try check(old, digits, at: digits, "the pre-tokenizer lacks 'ByteLevel'; only byte-level tokenizers work")
    try check(
      old, #"{"type":"Sequence","pretokenizers":[{"type":"ByteLevel","add_prefix_space":false},{"type":"Digits"}]}"#,
      at: #"{"type":"Digits"}"#, "the pre-tokenizer 'Digits' behind 'ByteLevel' is not supported")
    try check(
      #""use_regex":true"#, #""use_regex":false"#, at: #"{"type":"ByteLevel""#,
      "'add_prefix_space' is supported only where 'ByteLevel' is alone and uses its expression")
    try check(#""use_regex":true"#, #""use_regex":"yes""#, at: #""yes""#, "'use_regex' must be true or false")
  }

  func testSplits() throws {
    try check(
      in: "llama3", #"\\p{N}{1,3}"#, #"\\p{N}{1,2}"#, at: #"{"Regex":"(?i:'s"#,
      "the regular expression of 'Split' is not supported; known are those of GPT-2, Qwen 2 and Llama 3")
    try check(
      in: "llama3", #""Isolated""#, #""Removed""#, at: #""Removed""#,
      "'Split' is supported only with the behavior 'Isolated'")
    try check(in: "llama3", #""invert":false"#, #""invert":true"#, at: "true", "'Split' with 'invert' is not supported")
    try check(
      in: "llama3", #"{"Regex":"#, #"{"String":"#, at: #"{"String":"#,
      "'Split' is supported only with a 'Regex' pattern")
    try check(
      in: "llama3", #""pattern":"#, #""pat":"#, at: #"{"type":"Split""#, "the pre-tokenizer 'Split' lacks 'pattern'")
  }

  func testModels() throws {
    let old = #""model":{"type":"BPE""#
    try check(old, #""model":{"type":"Unigram""#, at: #""Unigram""#, "the model 'Unigram' \(sentencePiece)")
    try check(
      old, #""model":{"type":"WordPiece""#, at: #""WordPiece""#, "the model 'WordPiece' is not supported; known is BPE")
    try check(old, #""other":{"type":"BPE""#, at: "{", "the file lacks a 'model'")
    try check(
      #""byte_fallback":false"#, #""byte_fallback":true"#, at: "true", "'byte_fallback' \(sentencePiece)")
    try check(
      #""dropout":null"#, #""dropout":0.1"#, at: "0.1", "'dropout' is for training; with it a text has no fixed tokens")
    try check(
      #""end_of_word_suffix":null"#, #""end_of_word_suffix":"</w>""#, at: #""</w>""#,
      "'end_of_word_suffix' is not supported in a byte-level model")
    try check(
      #"{"!":0,"#, "{", at: #"{"\"":1"#,
      "the vocabulary has no token for the byte 33, spelt '!'; texts would lose it or need an unknown token")
    try check(#""!":0"#, #""!":1"#, at: "1", "two tokens have the id 1")
    try check(#""!":0"#, #""!":-1"#, at: "-1", "the token id -1 is not in 0..<4194304")
    try check(#""!":0"#, #""!":4194304"#, at: "4194304", "the token id 4194304 is not in 0..<4194304")
    try check(#""!":0"#, #""!":0.5"#, at: "0.5", "a token id must be an integer")
    try check(#""!":0"#, #""!":0,"!":0"#, at: #""!""#, "duplicate key '!'")
  }

  func testMerges() throws {
    let shape = "a merge must be two tokens, in an array or in a string with one space between them"
    try check(#"["Ġ","t"]"#, #"["Ġ","t","h"]"#, at: #"["Ġ","t","h"]"#, shape)
    try check(#"["Ġ","t"]"#, "5", at: "5", shape)
    try check(in: "llama3", #""h e""#, #""h e e""#, at: #""h e e""#, shape)
    try check(in: "llama3", #""h e""#, #""he""#, at: #""he""#, shape)
    try check(
      in: "llama3", #""h e""#, #""h zzz""#, at: #""h zzz""#, "the merge names 'zzz', which is not in the vocabulary")
    try check(
      #"["h","e"]"#, #"["Q","Q"]"#, at: #"["Q","Q"]"#, "the merge names 'QQ', which is not in the vocabulary")
    try check(#""merges":"#, #""merged":"#, at: #"{"type":"BPE""#, "the model lacks 'merges'")
  }

  func testAddedTokens() throws {
    let token = #"{"id":600,"content":"<|endoftext|>""#
    try check(#"{"id":600,"#, "{", at: #"{"content""#, "the added token lacks an 'id'")
    try check(token, #"{"id":600"#, at: #"{"id":600"#, "the added token lacks its 'content'")
    try check(token, #"{"id":600,"content":"""#, at: #"{"id":600"#, "the content of an added token is empty")
    try check(
      token, #"{"id":601,"content":"<|endoftext|>""#, at: #"{"id":601,"content":"<mask>""#,
      "the added token '<mask>' has the id 601 of another token")
    try check(
      token, #"{"id":0,"content":"<|endoftext|>""#, at: #"{"id":0"#,
      "the added token '<|endoftext|>' has the id 0 of another token")
    try check(
      token, #"{"id":600,"content":"!""#, at: #"{"id":600"#,
      "the added token '!' has the id 600 but 0 in the vocabulary")
    try check(
      "<mask>", "<|endoftext|>", at: #"{"id":601"#,
      "the added token '<|endoftext|>' has the id 601 but 600 in the vocabulary")
    try check(#""lstrip":false"#, #""lstrip":0"#, at: "0", "'lstrip' must be true or false")
  }

  func testTemplatesAndDecoders() throws {
    try check(
      in: "llama3", #""ids":[1108]"#, #""ids":[4000]"#, at: "4000",
      "the template's token id 4000 is not in the vocabulary")
    try check(
      in: "llama3", #""special_tokens":{"<|begin"#, #""special_tokens":{"<|start"#, at: #"{"id":"<|begin"#,
      "the template's special token '<|begin_of_text|>' is not listed in 'special_tokens'")
    try check(
      in: "llama3",
      #","single":[{"SpecialToken":{"id":"<|begin_of_text|>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}]"#,
      #","single":[]"#, at: "[]", "the template for one text does not name the text")
    try check(
      in: "llama3", #"{"type":"TemplateProcessing""#, #"{"type":"BertProcessing""#, at: #"{"type":"BertProcessing""#,
      "the post-processor 'BertProcessing' is not supported; known are ByteLevel, TemplateProcessing, Sequence")
    try check(
      #""decoder":{"type":"ByteLevel""#, #""decoder":{"type":"WordPiece""#, at: #"{"type":"WordPiece""#,
      "the decoder 'WordPiece' is not supported; known is ByteLevel")
    try check(
      #""decoder":{"type":"ByteLevel""#, #""decoder":{"type":"Metaspace""#, at: #"{"type":"Metaspace""#,
      "the decoder 'Metaspace' \(sentencePiece)")
  }

  func testTheWholeMessage() {
    let text = "{\n  \"added_tokens\": [],\n  \"normalizer\": {\"type\": \"Lowercase\"}\n}"
    do {
      _ = try Tokenizer(SourceBuffer(name: "tokenizer.json", text: text))
      XCTFail("no error")
    } catch {
      XCTAssertEqual(
        String(describing: error),
        """
        tokenizer.json:3:17: error: the normalizer 'Lowercase' is not supported; known are NFC and Sequence
            "normalizer": {"type": "Lowercase"}
                          ^~~~~~~~~~~~~~~~~~~~~
        """)
    }
    let unigram = "{\"pre_tokenizer\": {\"type\": \"Metaspace\"}}"
    do {
      _ = try Tokenizer(SourceBuffer(name: "tokenizer.json", text: unigram))
      XCTFail("no error")
    } catch {
      XCTAssertTrue(String(describing: error).hasSuffix("note: give token ids with --prompt-ids instead of text"))
    }
  }

  func testTextsThatAreNoTokenizer() {
    func message(_ text: String) -> String? {
      diagnostic { _ = try Tokenizer(SourceBuffer(name: "tokenizer.json", text: text)) }?.message
    }
    XCTAssertEqual(message(""), "the JSON text ends where a value is expected")
    XCTAssertEqual(message("[]"), "a tokenizer file must be an object, this is an array")
    XCTAssertEqual(message("{}"), "the file has no pre-tokenizer; byte-level tokenizers have 'ByteLevel'")
    XCTAssertEqual(
      message(
        #"{"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"model":{"vocab":[["a",0]],"merges":[]}}"#),
      "a vocabulary in a list \(sentencePiece)")
  }
}
