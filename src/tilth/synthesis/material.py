"""How a document is put into a prompt: between two lines of marks that it cannot close.

Prompt files write `{{ document | material }}`; the environment that renders them registers `FILTERS`. The marks hold a
key, a hash of the text that is not in the text, so that no document can have the closing mark in it, whatever it says.
Equal texts have equal marks: a prompt is the same in every run, and its answer is found in the cache.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

MARKS = re.compile(r"^[ \t]*(?:<<<[0-9a-f]{8}|[0-9a-f]{8}>>>)[ \t]*$", re.MULTILINE)
"""Lines of marks, as they stand in an answer that repeats its prompt."""


def material_key(text: str) -> str:
    """Returns eight hexadecimal digits that are not in the text: of its SHA-256, hashed again while they are."""
    return absent_key(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), text)


def absent_key(digest: str, text: str) -> str:
    """Returns the first eight digits of a digest, or of its own digest and so on, that are not in the text."""
    lowered = text.lower()
    while digest[:8] in lowered:
        digest = hashlib.sha256(digest.encode()).hexdigest()
    return digest[:8]


def material(text: object) -> str:
    """Returns the text between its marks, each on a line of its own."""
    text = str(text).strip("\r\n")
    key = material_key(text)
    return f"<<<{key}\n{text}\n{key}>>>"


FILTERS: dict[str, Callable[[object], str]] = {"material": material}
"""Filters of prompt files."""
