"""Added tokens of all kinds, by the rules of `tokenizers`, for every scheme but plain byte-level BPE.

They are found first in the text as it is, then, those marked so, in the normalized text; some are found whether the
caller allows them or not, and some take white space away with them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tilth.tokenizer.scheme import Part, Scheme
from tilth.tokenizer.vocabulary import Vocabulary

# Unicode's White_Space, in UTF-8.
_SPACE = rb"(?:[\t-\r ]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)"
_SPACES = re.compile(_SPACE + rb"*")
_ONE_SPACE = re.compile(_SPACE)


@dataclass(frozen=True, kw_only=True)
class AddedToken:
    """A token that is found in the text before anything else is done to it."""

    text: str
    token_id: int
    special: bool = True
    """False: it belongs to ordinary text, and is always found."""
    normalized: bool = False
    """It is looked for in the normalized text."""
    lstrip: bool = False
    """White space in front of it goes away with it."""
    rstrip: bool = False
    """White space behind it goes away with it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentedVocabulary(Vocabulary):
    """A vocabulary with added tokens of all kinds; every special token is one of them."""

    added: tuple[AddedToken, ...] = ()


class SegmentedScheme(Scheme):
    """Finds added tokens as they ask to be found."""

    def __init__(self, vocabulary: SegmentedVocabulary) -> None:
        added = vocabulary.added
        super().__init__(vocabulary, {t.text: t.token_id for t in added} | vocabulary.special_tokens)
        self.always_found = frozenset(token.text for token in added if not token.special)
        self.found_normalized = frozenset(token.text for token in added if token.normalized)
        self.strips = any(token.lstrip or token.rstrip for token in added)
        self._added = {token.text: token for token in added}

    def normalize(self, text: bytes) -> bytes:
        """What becomes of a segment before it is encoded."""
        return text

    def parts(self, data: bytes, found: Collection[str]) -> Iterator[Part]:
        """The tokens `found` in `data` and the normalized segments between them.

        Within a segment that is cut at normalized tokens, starts and ends are those of the normalized text.
        """
        names = self.always_found | frozenset(found)
        for part, start, end in self.split(data, names - self.found_normalized):
            if isinstance(part, int):
                yield part, start, end
                continue
            normalized = self.normalize(part)
            if not names & self.found_normalized:
                yield normalized, start, end
                continue
            for inner, inner_start, inner_end in self.split(normalized, names & self.found_normalized):
                yield inner, start + inner_start, start + inner_end

    def find(self, data: bytes, names: frozenset[str]) -> Iterator[tuple[int, int, int]]:
        """Id, start and end of the tokens `names` in `data`, with the white space that they take away."""
        if not self.strips:
            yield from super().find(data, names)
            return
        matcher, at = self.matcher(names), 0
        while matcher is not None and (match := matcher.find(data, at)) is not None:
            start, end, token_id = match
            token = self._added.get(data[start:end].decode())
            start, end = (start, end) if token is None else _stripped(data, token, at, start, end)
            yield token_id, start, end
            at = end


def _stripped(data: bytes, token: AddedToken, least: int, start: int, end: int) -> tuple[int, int]:
    if token.rstrip and (spaces := _SPACES.match(data, end)) is not None:
        end = spaces.end()
    while token.lstrip and start > least:
        size = _space_before(data, least, start)
        if size == 0:
            break
        start -= size
    return start, end


def _space_before(data: bytes, least: int, end: int) -> int:
    """How long the white-space character is that ends at `end`; 0 if there is none."""
    for size in (1, 2, 3):
        if end - size >= least and _ONE_SPACE.fullmatch(data, end - size, end):
            return size
    return 0


def ends_with_space(data: bytes) -> bool:
    """Tells whether the last character is white space."""
    return _space_before(data, 0, len(data)) > 0
