"""Writes `ranges.inc`: the Unicode character classes that the split patterns ask for.

The version is 16.0 on purpose: tiktoken 0.14 and tokenizers 0.23 carry that one, and a tokenizer that
disagrees with them about one letter gives other ids. Python's own `unicodedata` is a different version in
every Python, so the tables are written once, by `pip install unicodedata2==16.0.0 && python
native/unicode/make_ranges.py`, and committed. Price: a new Unicode version needs this script to be run again.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import unicodedata2 as unicodedata

VERSION = "16.0.0"
NEWLINES = {0x0A, 0x0D}
CONTROL_SPACES = {0x09, 0x0B, 0x0C, 0x85}  # White_Space that is not of category Z
RANGES_PER_LINE = 5


def character_class(code: int) -> str:
    """The name of `code`'s class in `CharClass` (character_class.h)."""
    if code in NEWLINES:
        return "kNewline"
    category = unicodedata.category(chr(code))
    if category[0] == "Z" or code in CONTROL_SPACES:
        return "kSpace"
    if category in ("Lu", "Lt"):
        return "kUpper"
    if category == "Ll":
        return "kLower"
    return {"L": "kLetter", "M": "kMark", "N": "kNumber"}.get(category[0], "kOther")


def ranges() -> list[tuple[int, int, str]]:
    """Every (first, last, class) in order; what is between is `kOther`."""
    found: list[tuple[int, int, str]] = []
    for name, run in groupby(range(0x110000), key=character_class):
        codes = list(run)
        if name != "kOther":
            found.append((codes[0], codes[-1], name))
    return found


def main() -> None:
    """Writes the file beside this script."""
    if unicodedata.unidata_version != VERSION:
        raise SystemExit(f"unicodedata2 has Unicode {unicodedata.unidata_version}, {VERSION} is wanted")
    entries = [f"{{0x{first:X}, 0x{last:X}, {name}}}," for first, last, name in ranges()]
    lines = [f"// Unicode {VERSION}. Written by make_ranges.py; not to be edited."]
    for start in range(0, len(entries), RANGES_PER_LINE):
        lines.append(" ".join(entries[start : start + RANGES_PER_LINE]))
    (Path(__file__).parent / "ranges.inc").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
