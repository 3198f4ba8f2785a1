"""Long text files cut into documents, at headings and chapters where there are some, else between paragraphs.

A heading is a Markdown `# title`, a title that is underlined (reStructuredText, Markdown), a line such as `CHAPTER IV`
or `Kapitel 3`, or a numbered title or a Roman numeral alone between blank lines. Lines come as bytes, since a file is
decoded part by part; what is read ahead is bounded by `WHOLE_BYTES` and one part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

WHOLE_BYTES = 32_000
"""A file up to this size is one document."""
CHAPTER_BYTES = 2_000
"""Least size of a part that ends at a chapter or at a heading of the highest level."""
SECTION_BYTES = 8_000
"""Least size of a part that ends at any other heading."""
PARAGRAPH_BYTES = 48_000
"""From this size on a part ends at the next blank line; at twice the size, at the end of any line."""

_HEADING_BYTES = 120
_FENCE = re.compile(rb"\s{0,3}(```|~~~)")
_MARKDOWN = re.compile(rb"(#{1,6})\s+\S")
_UNDERLINE = re.compile(rb"([=\-~^\"'`#*+.:_])\1{2,}\s*$")
_WORDS = (
    "chapter|book|part|act|letter|section|kapitel|buch|teil|brief|akt|abschnitt|chapitre|livre|partie|acte|cap[ií]tulo"
    "|libro|parte|acto|capitolo|hoofdstuk|deel|boek|kapittel|kapitola|rozdzia[łl]|глава|часть|книга|fejezet|b[öo]l[üu]m"
    "|luku|capitolul|κεφάλαιο"
)
_NUMBER = r"(?:[ivxlcdm]+|\d+|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|first|the \w+)"
_CHAPTER = re.compile(
    rf"(?:(?:{_WORDS})\s+{_NUMBER}\b.{{0,80}}|(?:\w+|\d+)\.?\s+(?:kapitel|buch|fejezet|b[öo]l[üu]m|luku)\.?"
    r"|第\s*[\d一二三四五六七八九十百零〇]+\s*[章节節回卷部編编].{0,60})$",
    re.IGNORECASE,
)
_BARE = re.compile(rf"(?:{_WORDS})\s+(?:[ivxlcdm]+|\d+)\s*[.:—-]*$", re.IGNORECASE)
"""Counts as a heading also without a blank line above it."""
_NUMERAL = re.compile(r"(?:[IVXLC]+|\d{1,3})\.?$")
_NUMBERED = re.compile(r"\d{1,3}(?:\.\d{1,3})*\.?\s+[^\W\d_].{0,80}$")


def cut(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yields the parts of a text, given as lines without their ends; nothing of it is lost but blank parts."""
    lines = iter(lines)
    head: list[bytes] = []
    size = 0
    for line in lines:
        head.append(line)
        size += len(line) + 1
        if size > WHOLE_BYTES:
            break
    parts = _parts(chain(head, lines)) if size > WHOLE_BYTES else iter([b"\n".join(head)])
    waiting = b""
    for part in parts:
        # What is left at the end may be a line or two: it belongs to the part before.
        if waiting and len(part) < CHAPTER_BYTES:
            waiting += b"\n" + part
            continue
        if waiting.strip():
            yield waiting
        waiting = part
    if waiting.strip():
        yield waiting


def _parts(lines: Iterable[bytes]) -> Iterator[bytes]:
    part: list[bytes] = []
    size = 0
    fenced = False
    for line in lines:
        part.append(line)
        size += len(line) + 1
        if _FENCE.match(line):
            fenced = not fenced
        end = _end(part, size, fenced)
        if end:
            yield b"\n".join(part[:end])
            part = part[end:]
            size = _bytes(part)
    yield b"\n".join(part)


def _bytes(lines: Sequence[bytes]) -> int:
    return sum(map(len, lines)) + len(lines)


def _end(part: Sequence[bytes], size: int, fenced: bool) -> int:
    """Returns how many of the lines are a part by themselves; 0: none yet."""
    if size < CHAPTER_BYTES:
        return 0
    begin, is_chapter = (0, False) if fenced else _heading(part)
    if begin and size - _bytes(part[begin:]) >= (CHAPTER_BYTES if is_chapter else SECTION_BYTES):
        return begin
    if size >= 2 * PARAGRAPH_BYTES or (size >= PARAGRAPH_BYTES and not part[-1].strip()):
        return len(part)
    return 0


def _heading(part: Sequence[bytes]) -> tuple[int, bool]:
    """Returns the line that begins a heading which the last line makes known (0: none), and whether it is a chapter."""
    last, number = part[-1], len(part) - 1
    if match := _MARKDOWN.match(last):
        return number, len(match.group(1)) == 1
    if number and _UNDERLINE.match(last):
        return _underlined(part)
    if number and (_CHAPTER if not part[-2].strip() else _BARE).match(_line(last)):
        return number, True
    if number > 1 and not last.strip() and not part[-3].strip():
        title = _line(part[-2])
        if _NUMERAL.match(title):
            return number - 1, True
        if _NUMBERED.match(title):
            return number - 1, False
    return 0, False


def _underlined(part: Sequence[bytes]) -> tuple[int, bool]:
    title, line, number = part[-2].strip(), part[-1].strip(), len(part) - 1
    above = part[-3].strip() if number > 1 else b""
    if not title or len(title) > len(line) or _UNDERLINE.match(title):
        return 0, False
    if not above:
        return number - 1, line[:1] in b"=*#"
    if above == line:
        return number - 2, True
    return 0, False


def _line(line: bytes) -> str:
    """Returns a line that may be a title; empty if it is too long for one."""
    return line.decode("utf-8", "replace").strip() if len(line) <= _HEADING_BYTES else ""
