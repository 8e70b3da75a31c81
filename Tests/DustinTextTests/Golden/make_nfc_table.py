#!/usr/bin/env python3
"""Writes Sources/DustinText/CanonicalDecompositions.swift from Python's Unicode data.

    python3 Tests/DustinTextTests/Golden/make_nfc_table.py

The decompositions and composition exclusions of assigned characters never change (Unicode stability policy), so a newer
Python only adds characters.
"""
import pathlib
import sys
import unicodedata

rows = []
for code in range(sys.maxunicode + 1):
    if 0xAC00 <= code < 0xD7A4:  # Hangul syllables are arithmetic
        continue
    mapping = unicodedata.decomposition(chr(code))
    if not mapping or mapping.startswith("<"):
        continue
    parts = [int(part, 16) for part in mapping.split()]
    composes = len(parts) == 2 and unicodedata.normalize("NFC", "".join(map(chr, parts))) == chr(code)
    rows.append((code, parts[0], parts[1] if len(parts) == 2 else 0, composes))

rows.sort(key=lambda row: (not row[3], row[0]))
composing = sum(row[3] for row in rows)
lines = [
    "// Written by Tests/DustinTextTests/Golden/make_nfc_table.py from Unicode " + unicodedata.unidata_version + ".",
    "",
    "/// The canonical decompositions of Unicode without the Hangul syllables: composed, first, second (0 if there is none).",
    "enum CanonicalDecompositions {",
    "  /// Rows that compose again under NFC; those after them do not.",
    f"  static let composingRows = {composing}",
    "",
    "  static let table: [UInt32] = [",
]
text = [", ".join(f"0x{value:04X}" for value in row[:3]) + "," for row in rows]
line = "   "
for entry in text:
    if len(line) + 1 + len(entry) > 120:
        lines.append(line)
        line = "   "
    line += " " + entry
lines += [line, "  ]", "}", ""]
target = pathlib.Path(__file__).resolve().parents[3] / "Sources/DustinText/CanonicalDecompositions.swift"
target.write_text("\n".join(lines))
