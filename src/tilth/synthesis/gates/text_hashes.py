"""Hashes of samples, made once for all that compares them: the gates `copy` and `near_duplicate`, and the meter."""

from __future__ import annotations

from tilth.curation.dedup import TextHashes

LENGTHS = (4, 5, 8, 12)
"""Words of the sequences of the meter, of near duplicates, and of the gate `copy` (twice)."""
HELD_CHARACTERS = 2_000_000
"""Most characters of the texts whose hashes are held: the meter gets a sample after the gates, perhaps much later."""

_held: dict[str, TextHashes] = {}
_held_characters = 0


def hashes_of(text: str) -> TextHashes:
    """Returns the hashes of a text; those of the latest texts are held. Of one thread."""
    global _held_characters
    found = _held.get(text)
    if found is None:
        found = TextHashes(text, LENGTHS)
        if len(text) <= HELD_CHARACTERS:
            _held[text] = found
            _held_characters += len(text)
            while _held_characters > HELD_CHARACTERS:
                oldest = next(iter(_held))
                _held_characters -= len(oldest)
                del _held[oldest]
    return found
