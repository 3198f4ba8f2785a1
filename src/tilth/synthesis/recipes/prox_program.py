"""ProX programs: what a model may ask to have done to a document, read by a whitelist and done by this module.

A program is a list of calls with literal arguments. It is parsed into a syntax tree, each node of which must be one of
those allowed; it is never compiled, evaluated or executed. An edit is three values (begin, end, replacement) in bytes
of UTF-8 of the original document, so that what was done to a document can be replayed exactly from its `meta`.
"""

from __future__ import annotations

import ast
import re
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from tilth.synthesis.define import ParseError
from tilth.synthesis.parse import without_thoughts

LONGEST_PROGRAM = 20_000
"""Characters; a program of 256 tokens has about 1,000."""
_FENCE = re.compile(r"\A(?:[^\n`]{1,100}:\n{1,2})?```[a-z]*[ \t]*\n(.*?)\n?```\Z", re.DOTALL)
_INLINE = re.compile(r"(`|\*\*)([^`*\n]+)\1")
_REMOVE = re.compile(
    r"^[ \t]*remove_lines\([ \t]*line_start[ \t]*=[ \t]*\[?0*(\d{1,9})\]?[ \t]*,[ \t]*line_end[ \t]*=[ \t]*"
    r"\[?0*(\d{1,9})\]?[ \t]*\)",
    re.MULTILINE,
)
"""A call with line numbers as the prompt shows them (`[007]`), which are no numbers of Python."""
_LINES = {"line_start": int, "line_end": int}
_STRINGS = {"source_str": str, "target_str": str}
DOCUMENT_CALLS: Mapping[str, Mapping[str, type]] = {"keep_doc": {}, "drop_doc": {}}
CHUNK_CALLS: Mapping[str, Mapping[str, type]] = {"keep_chunk": {}, "remove_lines": _LINES, "normalize": _STRINGS}

Edit = tuple[int, int, str]
"""Begin and end in bytes of the original, and what takes their place."""


@dataclass(frozen=True)
class Call:
    """One call of a program."""

    name: str
    arguments: Mapping[str, int | str] = field(default_factory=dict[str, "int | str"])


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Whole lines of a document, which a program refers to by their numbers from 0."""

    lines: tuple[tuple[int, int], ...]
    """Begin and end of each line in bytes of the document, its line break included."""

    @property
    def begin(self) -> int:
        return self.lines[0][0]

    @property
    def end(self) -> int:
        return self.lines[-1][1]

    def numbered(self, text: bytes) -> str:
        """Returns the chunk as a prompt shows it: `[000]` and the line."""
        shown = (text[begin:end].decode("utf-8", "surrogatepass").rstrip("\n") for begin, end in self.lines)
        return "\n".join(f"[{number:03d}]{line}" for number, line in enumerate(shown))


@dataclass(frozen=True, kw_only=True)
class Edits:
    """What a program asks for, as far as it can be done."""

    edits: tuple[Edit, ...]
    """In order of their beginning, none over another."""
    counts: Mapping[str, int]
    """Calls that did less than they say, or nothing: `clipped`, `out_of_range`, `not_found`, `overlap`."""


def parse_document_program(answer: str) -> bool:
    """Returns whether to keep the document. Raises: ParseError unless it is `keep_doc()` or `drop_doc()` alone."""
    calls = _parse(answer, DOCUMENT_CALLS)
    if len(calls) != 1:
        raise ParseError("contradiction", f"{len(calls)} calls, and one is asked for")
    return calls[0].name == "keep_doc"


def parse_chunk_program(answer: str) -> tuple[Call, ...]:
    """Returns the calls; none for `keep_chunk()`. Raises: ParseError."""
    calls = _parse(answer, CHUNK_CALLS)
    if any(call.name == "keep_chunk" for call in calls):
        if len(calls) > 1:
            raise ParseError("contradiction", "keep_chunk() beside other calls")
        return ()
    return calls


def _parse(answer: str, allowed: Mapping[str, Mapping[str, type]]) -> tuple[Call, ...]:
    program = without_thoughts(answer.strip())
    fenced, inline = _FENCE.match(program), _INLINE.fullmatch(program)
    program = fenced[1] if fenced else inline[2] if inline else program
    program = _REMOVE.sub(r"remove_lines(line_start=\1, line_end=\2)", program).strip()
    if len(program) > LONGEST_PROGRAM:
        raise ParseError("too_long", f"{len(program)} characters")
    try:
        with warnings.catch_warnings():  # a string such as "\d" is no mistake here
            warnings.simplefilter("ignore")
            tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ParseError("not_a_program", str(error)) from None
    if not tree.body:
        raise ParseError("not_a_program", "no call")
    return tuple(_call(statement, program, allowed) for statement in tree.body)


def _call(statement: ast.stmt, program: str, allowed: Mapping[str, Mapping[str, type]]) -> Call:
    def wrong(reason: str) -> ParseError:
        return ParseError(reason, (ast.get_source_segment(program, statement) or "")[:200])

    call = statement.value if isinstance(statement, ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id not in allowed:
        raise wrong("not_allowed")
    types = allowed[call.func.id]
    arguments: dict[str, int | str] = {}
    for keyword in call.keywords:
        name, value = keyword.arg or "**", keyword.value
        # `type(...) is`: True is an int, and no line number.
        if name not in types or not isinstance(value, ast.Constant) or type(value.value) is not types[name]:
            raise wrong("not_allowed")
        arguments[name] = cast("int | str", value.value)
    if call.args or len(arguments) != len(types) or len(call.keywords) != len(types):
        raise wrong("wrong_arguments")
    for name, text in arguments.items():
        # Half a surrogate pair is in no file; control characters may be taken out of a document, not put into it.
        unwanted = ("Cs",) if name == "source_str" else ("Cc", "Cs")
        if any(unicodedata.category(char) in unwanted and char not in "\t\n" for char in str(text)):
            raise wrong("not_text")
    return Call(call.func.id, arguments)


def split_chunks(text: bytes, max_bytes: int) -> tuple[list[Chunk], int]:
    """Cuts a document into chunks of whole lines, and returns the number of lines that are too long for one.

    Those lines are in no chunk: no program can change them.
    """
    chunks: list[Chunk] = []
    lines: list[tuple[int, int]] = []
    size = too_long = begin = 0

    def close() -> None:
        nonlocal size
        if lines:
            chunks.append(Chunk(lines=tuple(lines)))
        lines.clear()
        size = 0

    while begin < len(text):
        found = text.find(b"\n", begin)
        end = len(text) if found < 0 else found + 1
        shown = end - begin + len("[000]")
        if size + shown > max_bytes:
            close()
        if shown > max_bytes:
            too_long += 1
        else:
            lines.append((begin, end))
            size += shown
        begin = end
    close()
    return chunks, too_long


def edits_of(text: bytes, chunk: Chunk, calls: Sequence[Call]) -> Edits:
    """Returns the edits of a program: strings are replaced first, then lines are removed.

    All refer to the original: a string that an earlier call replaced is not found again, and what would be replaced in
    a line that is removed is removed with it.
    """
    counts: dict[str, int] = {}
    replaced: dict[tuple[int, int], Edit] = {}
    taken = bytearray(chunk.end - chunk.begin)
    removed: set[int] = set()
    for call in calls:
        if call.name == "normalize":
            outcome = _replace(text, chunk, call, replaced, taken)
        else:
            outcome = _remove(chunk, call, removed)
        if outcome:
            counts[outcome] = counts.get(outcome, 0) + 1
    removals = _joined([chunk.lines[number] for number in sorted(removed)])
    gone = bytearray(len(taken))
    for begin, end, _ in removals:
        gone[begin - chunk.begin : end - chunk.begin] = b"\1" * (end - begin)
    edits = {(begin, end): (begin, end, "") for begin, end, _ in removals}
    for (begin, end), edit in replaced.items():
        if not any(gone[begin - chunk.begin : end - chunk.begin]):
            edits[begin, end] = edit
    # By what was found, not by what is left of it: two insertions can be at the same byte.
    return Edits(edits=tuple(edits[span] for span in sorted(edits)), counts=counts)


def _replace(text: bytes, chunk: Chunk, call: Call, replaced: dict[tuple[int, int], Edit], taken: bytearray) -> str:
    """Adds the edits of one `normalize` by where its string was found, and returns what is to be counted."""
    source, target = str(call.arguments["source_str"]), str(call.arguments["target_str"])
    before = _common(source, target)
    after = _common(source[before:][::-1], target[before:][::-1])
    encoded, head, tail = source.encode(), source[:before].encode(), source[len(source) - after :].encode()
    at = text.find(encoded, chunk.begin, chunk.end) if encoded else -1
    if at < 0:
        return "not_found"
    outcome = ""
    while at >= 0:
        end = at + len(encoded)
        inside = slice(at - chunk.begin, end - chunk.begin)
        if any(taken[inside]):
            outcome = "overlap"
        elif source != target:
            replaced[at, end] = (at + len(head), end - len(tail), target[before : len(target) - after])
            taken[inside] = b"\1" * len(encoded)
        at = text.find(encoded, end, chunk.end)
    return outcome


def _common(left: str, right: str) -> int:
    """Returns the number of characters with which both begin."""
    return next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


def _remove(chunk: Chunk, call: Call, removed: set[int]) -> str:
    """Adds the lines of one `remove_lines`, the last one included, and returns what is to be counted."""
    first, last = int(call.arguments["line_start"]), int(call.arguments["line_end"])
    inside = range(max(first, 0), min(last + 1, len(chunk.lines)))
    if not inside:
        return "out_of_range"
    removed.update(inside)
    return "" if len(inside) == last - first + 1 else "clipped"


def _joined(spans: Sequence[tuple[int, int]]) -> list[Edit]:
    joined: list[Edit] = []
    for begin, end in spans:
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end, "")
        else:
            joined.append((begin, end, ""))
    return joined


def apply_edits(text: str, edits: Sequence[Edit]) -> str:
    """Returns the edited text. Raises: ValueError if the edits are not in order within the text."""
    original, parts, at = text.encode("utf-8", "surrogatepass"), list[bytes](), 0
    for begin, end, replacement in edits:
        if not at <= begin <= end <= len(original):
            raise ValueError(f"The edit of bytes {begin} to {end} is out of order, or outside of the text.")
        parts += [original[at:begin], replacement.encode()]
        at = end
    return b"".join([*parts, original[at:]]).decode("utf-8", "surrogatepass")


def kept_spans(text: str, edits: Sequence[Edit]) -> list[tuple[int, int, int]]:
    """Returns what an edited text has of its original: (begin in the edited text, begin and end in the original)."""
    length, spans, at, shift = len(text.encode("utf-8", "surrogatepass")), list[tuple[int, int, int]](), 0, 0
    for begin, end, replacement in (*edits, (length, length, "")):
        if begin > at:
            spans.append((at + shift, at, begin))
        shift += len(replacement.encode()) - (end - begin)
        at = end
    return spans
