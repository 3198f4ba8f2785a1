"""Where a text is cut so that its end has about so many bytes: at a paragraph, line, sentence or word."""

from __future__ import annotations

import re

_BORDERS = tuple(re.compile(pattern) for pattern in (r"\n\s*\n", r"\n", r"[.!?]['\")\]]*\s+|[。！？]", r"\s+"))


def tail_position(text: str, n_bytes: float) -> int:
    """Returns the character at which the end of about `n_bytes` (UTF-8) begins; at least half, at most 1.5 times that.

    The best kind of border within these bounds counts, and of that kind the one that is closest.
    """
    encoded = text.encode()
    latest, wanted, earliest = (
        len(encoded[: max(round(len(encoded) - factor * n_bytes), 0)].decode("utf-8", "ignore"))
        for factor in (0.5, 1.0, 1.5)
    )
    latest = min(latest, len(text) - 1)
    for border in _BORDERS:
        ends = [match.end() for match in border.finditer(text, earliest) if match.end() <= latest]
        if ends:
            return min(ends, key=lambda end: abs(end - wanted)) or 1
    return max(wanted, 1)
