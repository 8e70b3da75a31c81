#!/usr/bin/env python3
"""Writes the golden files beside this script with the reference implementation, Hugging Face's `tokenizers`.

    python3 -m venv /tmp/tok && /tmp/tok/bin/pip install tokenizers
    /tmp/tok/bin/python Tests/DustinTextTests/Golden/make_golden.py

Written with tokenizers 0.23.3 and Python 3.11. The lines come from a fixed seed and from the books in `examples/books`.

Only characters that Unicode 3.2 knew (and emoji of Unicode 9) are used: Swift's tables, the tables of the regular-expression
engine inside `tokenizers` and those of its normaliser are of different Unicode versions, and a character that one of them
does not know yet is a letter here and nothing there.

Files, all numbers little-endian:
  lines.bin     u32 number of lines; per line u16 number of bytes, bytes (not always valid UTF-8)
  NAME.words    u32 number of lines (from the first on); per line u16 number of words, u16 bytes of each word
  NAME.ids      u32 number of lines (from the first on); per line u16 number of ids, u16 ids
  NAME.json     the tokenizers that this script trains
"""
import json
import pathlib
import random
import struct
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
LINES = 10_000
rng = random.Random(20240531)

# ---------------------------------------------------------------- characters

old = unicodedata.ucd_3_2_0


def assigned(first, last):
    return [chr(c) for c in range(first, last + 1) if old.category(chr(c)) not in ("Cn", "Cs", "Co")]


ASCII_LETTERS = [chr(c) for c in range(0x61, 0x7B)] + [chr(c) for c in range(0x41, 0x5B)]
LATIN = assigned(0xC0, 0x24F) + assigned(0x1E00, 0x1EFF)
MARKS = assigned(0x300, 0x34E) + assigned(0x360, 0x36F)
GREEK = assigned(0x370, 0x3FF) + assigned(0x1F00, 0x1FFF)
CYRILLIC = assigned(0x400, 0x4FF)
HEBREW = assigned(0x591, 0x5F4) + assigned(0xFB1D, 0xFB4F)
ARABIC = assigned(0x600, 0x6FF) + assigned(0xFB50, 0xFBFF) + assigned(0xFE70, 0xFEFC)
DEVANAGARI = assigned(0x900, 0x97F)
INDIC = DEVANAGARI * 3 + assigned(0x980, 0xD7F)
THAI = assigned(0xE00, 0xEFF) + assigned(0xF00, 0xFBC)
JAMO = assigned(0x1100, 0x11F9)
SYLLABLES = [chr(0xAC00 + 28 * i + j) for i in range(0, 399, 7) for j in (0, 0, 1, 5, 27)]
KANA = assigned(0x3040, 0x30FF) + assigned(0xFF01, 0xFF9F)
HAN = [chr(c) for c in range(0x4E00, 0x4E00 + 3000)] + assigned(0xF900, 0xFA2D) + [chr(0x2F800), chr(0x2F801), chr(0x20000)]
NUMBERS = list("0123456789") * 4 + list("²³¹¼½¾٠١٢٣٤٥०१२३๐๑๒ⅠⅡⅣⅫ①②③㉑一二三０１２") + [chr(0x1D7CE + i) for i in range(10)]
SPACES = list("     \t\n\r\n\x0b\x0c\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000")
NO_SPACES = list("\u200b\u200c\u200d\u2060\ufeff\u180e\x1c\x1d\x1e\x1f\u00ad")
CONTROLS = [chr(c) for c in range(0x20)] + [chr(c) for c in range(0x7F, 0xA0)]
PUNCTUATION = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»“”‘’–—…·¿¡§¶†‡‰€£¥₹") + assigned(0x3001, 0x3020) + assigned(0x2190, 0x22FF)
EMOJI = list("😀😂🤣😍🤔🙏👍🔥✨🎉❤☀✈☎♻⚽🚀🐍🌍") + [chr(c) for c in range(0x1F300, 0x1F580)]
EMOJI_PARTS = ["\u200d", "\ufe0f", "\ufe0e"] + [chr(0x1F3FB + i) for i in range(5)] + [chr(0x1F1E6 + i) for i in range(26)]
EMOJI_WORDS = ["👩‍👩‍👧‍👦", "👨‍💻", "🏳️‍🌈", "👍🏽", "🇩🇪", "🇯🇵🇫🇷", "1️⃣", "❤️‍🔥", "🧑‍🚀", "🤷🏿‍♀️"]
# What normalisation form C has most to do with.
COMPOSING = [
    chr(c) for c in range(0x2FA1E)
    if old.decomposition(chr(c)) and not old.decomposition(chr(c)).startswith("<") and not 0xAC00 <= c < 0xD7A4
]
ALL_MARKS = [chr(c) for c in range(0x1E000) if old.combining(chr(c))]
EVERYTHING = [chr(c) for c in range(0x30000) if old.category(chr(c)) not in ("Cn", "Cs", "Co")]
SPECIALS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>", "<|reserved_0|>", "<|begin_of_text|>", "<|end_of_text|>",
    "<|eot_id|>", "<|im_start|", "<|", "|>", "<", "<mask>", "<sep>", "Dustin", "été", "e\u0301te\u0301", "....", "<|im_end|>\n",
    "noël", "noe\u0308l",
]
CONTRACTIONS = ["'s", "'S", "'t", "'T", "'re", "'RE", "'rE", "'ve", "'Ve", "'m", "'M", "'ll", "'LL", "'lL", "'d", "'D", "'ſ", "'l", "'r", "'", "''s", "'x", "’s"]
CODE = [
    "def f(x):\n    return x+1\n", "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\n", "let x = y?.z ?? [:]", "#include <stdio.h>\r\n",
    "SELECT * FROM t WHERE a>=10 AND b='it''s';", "<div class=\"a\">&nbsp;</div>\n\n\n", "if err != nil {\n\t\treturn err\n\t}\n", "x^2+3*y_{10}=z",
    "        ", "\t\t\t", "// ----------\n", "/* ***** */", "0xDEADBEEF", "1e-10", "a.b.c()->d", "$HOME/.config", "https://example.org/?q=1&r=%20", "\\n\\t", "{{}}", "===", "!==", "fn main() -> Result<(), E> {",
]

# ---------------------------------------------------------------- lines

books = [path.read_text("utf-8") for path in sorted((ROOT / "examples/books").glob("*.txt"))]
book_lines = [line for book in books for line in book.split("\n") if line.strip()]


def some(pool, low, high):
    return [rng.choice(pool) for _ in range(rng.randint(low, high))]


def words(pool, low=1, high=8):
    return " ".join("".join(some(pool, 1, 7)) for _ in range(rng.randint(low, high)))


def sprinkled(parts, extras, rate):
    out = []
    for part in parts:
        out.append(part)
        while rng.random() < rate:
            out.append(rng.choice(extras))
    return "".join(out)


def book():
    line = rng.choice(book_lines)
    start = rng.randrange(len(line))
    return line[start:start + rng.randint(10, 90)]


def latin():
    return sprinkled(words(ASCII_LETTERS * 3 + LATIN), MARKS, 0.25)


def greek():
    return sprinkled(words(GREEK + CYRILLIC), MARKS, 0.15)


def han():
    return sprinkled(some(HAN + KANA, 2, 25), PUNCTUATION + [" ", "\u3099", "\u309a"], 0.15)


def semitic():
    pool = rng.choice([ARABIC, HEBREW])
    return sprinkled(words(pool), [mark for mark in pool if old.combining(mark)], 0.2)


def indic():
    return words(INDIC, 1, 5)


def thai():
    return sprinkled(some(THAI, 3, 25), [" ", "\n"], 0.05)


def hangul():
    return sprinkled(some(JAMO * 2 + SYLLABLES, 3, 25), JAMO + MARKS + [" "], 0.1)


def emoji():
    return sprinkled(some(EMOJI + EMOJI_WORDS, 1, 10), EMOJI_PARTS + ["a", " ", "\n"], 0.3)


def code():
    return "".join(some(CODE + [" ", "\n", "x", "42"], 2, 5))[:200]


def numbers():
    return sprinkled(some(NUMBERS, 2, 20), list(" .,-+/x:%\n") + ["  "], 0.25)


def spaces():
    return sprinkled(some(SPACES + NO_SPACES + ["a", "Bc", "1", "!", "é"], 2, 18), [" ", "\n", "\r\n", "\t"], 0.2)


def controls():
    return sprinkled(some(CONTROLS + ["a", " ", "\0"], 2, 18), ["x", "7", "\n"], 0.2)


def specials():
    return sprinkled(some(SPECIALS, 1, 6), [" ", "  ", "\n", "a", "word ", "é", "\u0301", "_", "."], 0.5)


def contractions():
    return sprinkled(some(CONTRACTIONS, 1, 7), ASCII_LETTERS + [" ", "I", "we", "\n", "1", "é"], 0.6)


def punctuation():
    return sprinkled(some(PUNCTUATION, 1, 15), [" ", "\n", "\r\n\n", "a", "1"], 0.3)


def normalisation():
    return sprinkled(some(COMPOSING * 2 + ALL_MARKS + ASCII_LETTERS, 2, 14), ALL_MARKS + [" "], 0.3)


def everything():
    return "".join(some(EVERYTHING, 2, 18))


def mixture():
    return "".join(rng.choice(TEXTS)()[:25] for _ in range(rng.randint(2, 4)))


TEXTS = [
    book, latin, greek, han, semitic, indic, thai, hangul, emoji, code, numbers, spaces, controls, specials, contractions,
    punctuation, normalisation, everything,
]
BROKEN = [
    b"\xff", b"\xfe", b"\x80", b"\xbf\xbf", b"\xc0\xaf", b"\xc1", b"\xc3", b"\xe2\x82", b"\xe2", b"\xf0\x9f\x98", b"\xf0\x9f", b"\xf0", b"\xed\xa0\x80",
    b"\xed\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xef\xbf\xbd", b"\xef\xbb\xbf",
]


def broken():
    text = bytearray(rng.choice(TEXTS)().encode("utf-8"))[:80]
    for _ in range(rng.randint(1, 5)):
        place = rng.randint(0, len(text))
        what = rng.random()
        if what < 0.4:
            text[place:place] = rng.choice(BROKEN)
        elif what < 0.6:
            text[place:place] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 4)))
        elif what < 0.8:
            del text[place:place + rng.randint(1, 2)]
        elif place < len(text):
            text[place] = rng.randrange(128, 256)
    # Chance must not make a character that Unicode 3.2 did not know.
    known = set(EVERYTHING) | set(EMOJI) | set(EMOJI_PARTS) | {"\ufffd"} | set("".join(EMOJI_WORDS))
    decoded = bytes(text).decode("utf-8", errors="replace")
    return bytes(text) if all(char in known for char in decoded) else broken()


counts = {
    book: 1500, latin: 900, greek: 350, han: 700, semitic: 450, indic: 500, thai: 350, hangul: 650, emoji: 450, code: 350, numbers: 450,
    spaces: 650, controls: 250, specials: 500, contractions: 350, punctuation: 300, normalisation: 500, everything: 300, mixture: 300,
}
lines = [make().encode("utf-8") for make, count in counts.items() for _ in range(count)]
fixed = [b"", b" ", b"\n", b"  ", b"a", b"'", b"\xe2", " \u0301".encode(), b"a" * 300, b" " * 257, b"\n" * 100, b"1" * 100, b"ab" * 200]
lines += fixed + [broken() for _ in range(LINES - len(lines) - len(fixed))]
rng.shuffle(lines)
assert len(lines) == LINES
texts = [line.decode("utf-8", errors="replace") for line in lines]

# ---------------------------------------------------------------- tokenizers

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# No merges lead to these: only `ignore_merges` finds them.
WHOLE_WORDS = ["Ġwhale", "Ġinternational", "Havisham", "ĠĠĠĠĠ", "123", "!!!", "ĠDustin", "é", "Ġthereupon", "ing"]


def train(pre_tokenizer, vocabulary):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(book_lines[:20000] + texts[:2000], trainer)
    return json.loads(tokenizer.to_str())


def finish(state, name, whole_words, old_merges):
    """Saves compactly, with whole words and, on demand, merges in the older form; returns what the library reads back."""
    vocabulary = state["model"]["vocab"]
    for word in whole_words:
        if word not in vocabulary:
            vocabulary[word] = len(vocabulary)
    merges = state["model"]["merges"]
    if old_merges:
        state["model"]["merges"] = [" ".join(merge) for merge in merges]
    state["model"]["ignore_merges"] = bool(whole_words)
    # Ids of added tokens follow the vocabulary.
    for offset, token in enumerate(state["added_tokens"]):
        token["id"] = len(vocabulary) + offset
    text = json.dumps(state, ensure_ascii=False, separators=(",", ":"))
    (HERE / f"{name}.json").write_text(text + "\n", "utf-8")
    return Tokenizer.from_str(text)


def added(content, **flags):
    token = dict(id=0, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False)
    token.update(flags)
    return token


def llama3():
    """Llama 3's shape: its expression, ignore_merges, a template that begins with <|begin_of_text|>."""
    isolated = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
    state = train(pre_tokenizers.Sequence([isolated, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), 1100)
    state["added_tokens"] = [
        added(text, special=True) for text in ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>")
    ]
    begin = len(set(state["model"]["vocab"]) | set(WHOLE_WORDS))
    state["decoder"] = json.loads(pre_tokenizers.ByteLevel(add_prefix_space=True).__getstate__())
    byte_level = dict(type="ByteLevel", add_prefix_space=True, trim_offsets=False, use_regex=True)
    template = dict(
        type="TemplateProcessing", single=[dict(SpecialToken=dict(id="<|begin_of_text|>", type_id=0)), dict(Sequence=dict(id="A", type_id=0))],
        pair=[dict(SpecialToken=dict(id="<|begin_of_text|>", type_id=0)), dict(Sequence=dict(id="A", type_id=0)),
              dict(SpecialToken=dict(id="<|begin_of_text|>", type_id=1)), dict(Sequence=dict(id="B", type_id=1))],
        special_tokens={"<|begin_of_text|>": dict(id="<|begin_of_text|>", ids=[begin], tokens=["<|begin_of_text|>"])})
    state["post_processor"] = dict(type="Sequence", processors=[byte_level, template])
    return finish(state, "llama3", WHOLE_WORDS, old_merges=True)


def gpt2():
    """GPT-2's shape, with NFC and an added token of every kind."""
    state = train(pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True), 600)
    state["normalizer"] = dict(type="Sequence", normalizers=[dict(type="NFC")])
    state["decoder"] = dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True)
    state["added_tokens"] = [
        added("<|endoftext|>", special=True), added("<mask>", special=True, lstrip=True), added("<sep>", lstrip=True, rstrip=True),
        added("Dustin", single_word=True, normalized=True), added("été", normalized=True), added("..", normalized=True, rstrip=True),
        added("....", normalized=True), added("noe\u0308l", normalized=True), added("<|im_start|"), added("<|", single_word=True),
    ]
    return finish(state, "gpt2", [], old_merges=False)


def digits():
    """The pre-tokenisers that small models like: digits one by one, then GPT-2's expression."""
    state = train(
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]), 400)
    state["decoder"] = dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True)
    return finish(state, "digits", [], old_merges=True)


# ---------------------------------------------------------------- files


def write_ids(name, tokenizer, count=LINES, encode_special=False):
    tokenizer.encode_special_tokens = encode_special
    out = bytearray(struct.pack("<I", count))
    for text in texts[:count]:
        ids = tokenizer.encode(text, add_special_tokens=True).ids
        out += struct.pack(f"<H{len(ids)}H", len(ids), *ids)
    (HERE / f"{name}.ids").write_bytes(out)
    tokenizer.encode_special_tokens = False


def write_words(name, pre_tokenizer, count=2500):
    """The words before the merges: ids of rare characters do not show where a word ends."""
    out = bytearray(struct.pack("<I", count))
    for text in texts[:count]:
        lengths = [len(word) for word, _ in pre_tokenizer.pre_tokenize_str(text)]
        assert sum(lengths) == len(text.encode("utf-8"))
        out += struct.pack(f"<H{len(lengths)}H", len(lengths), *lengths)
    (HERE / f"{name}.words").write_bytes(out)


def byte_level(expression):
    # After ByteLevel one character is one byte.
    split = pre_tokenizers.Split(Regex(expression), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


out = bytearray(struct.pack("<I", LINES))
for line in lines:
    out += struct.pack("<H", len(line)) + line
(HERE / "lines.bin").write_bytes(out)

write_ids("bundled", Tokenizer.from_file(str(ROOT / "examples/models/target/tokenizer.json")))
write_ids("llama3", llama3())
write_ids("llama3-plain", llama3(), 1500, encode_special=True)
write_ids("gpt2", gpt2(), 4000)
write_ids("gpt2-plain", gpt2(), 1500, encode_special=True)
write_ids("digits", digits(), 1500)
write_words("qwen2", byte_level(LLAMA3.replace("{1,3}", "")))
write_words("llama3", byte_level(LLAMA3))
write_words("gpt2", pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True))
for path in sorted(HERE.iterdir()):
    print(path.stat().st_size, path.name)
