"""Finds the final answer in a text that a language model wrote: after a mark, in a box, or on the last line."""

from __future__ import annotations

import re

MAX_CHARS = 100_000
"""Only so much of a text's end is read."""
_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_MARK = re.compile(
    r"####|\*\*(?:final )?answer:?\*\*:?|\b(?:the )?(?:final |correct )?answer(?: is)?\s*:|\b(?:final )?answer is\b",
    re.IGNORECASE,
)
_THOUGHT = re.compile(r"<(/?)think>", re.IGNORECASE)


def marked_answer(text: str) -> str | None:
    r"""Returns what the last mark points at: `\boxed{}`, `<answer>`, `####`, `Answer:` or `the answer is`; else None.

    A box counts before a tag, and a tag before a mark. What stands before a `</think>` is passed over.
    """
    text = without_thoughts(text)
    box = _last_box(text)
    if box is not None:
        return box.strip()
    tagged = _last_tagged(text)
    if tagged is not None:
        return tagged.strip()
    marks = list(_MARK.finditer(text))
    if not marks:
        return None
    rest = text[marks[-1].end() :].lstrip(" \t\n:*")
    line = rest.split("\n", 1)[0].strip()
    return line.strip("*`").strip() or None


def final_answer(text: str) -> str | None:
    """Returns the marked answer, else the last line that is not empty; None where there is no text."""
    marked = marked_answer(text)
    if marked:
        return marked
    lines = [line.strip() for line in without_thoughts(text).split("\n")]
    return next((line for line in reversed(lines) if line), None)


def without_thoughts(text: str) -> str:
    """Returns the end of a text after its last `</think>`, and before a `<think>` that has no end."""
    text = text[-MAX_CHARS:]
    begin, end = 0, len(text)
    for match in _THOUGHT.finditer(text):
        begin, end = (match.end(), len(text)) if match[1] else (begin, min(end, match.start()))
    return text[begin:end]


def _last_tagged(text: str) -> str | None:
    """Returns what stands between the last pair of tags."""
    found, begin = None, None
    for match in _TAG.finditer(text):
        if not match[1]:
            begin = match.end()
        elif begin is not None:
            found, begin = text[begin : match.start()], None
    return found


def _last_box(text: str) -> str | None:
    for command in (r"\boxed", r"\fbox"):
        start = text.rfind(command)
        if start >= 0:
            inner = _braced(text, start + len(command))
            if inner is not None:
                return inner
    return None


def _braced(text: str, start: int) -> str | None:
    """Returns what stands in the braces that open at `start` (after blanks), nested ones included."""
    while start < len(text) and text[start].isspace():
        start += 1
    if start >= len(text) or text[start] != "{":
        return None
    depth = 0
    for index in range(start, len(text)):
        depth += (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            return text[start + 1 : index]
    return None
