"""SentencePiece-style BPE: Llama-2, Mistral, Phi-3. A vocabulary of characters, with bytes or "unknown" for the rest.

Text is as SentencePiece sees it: spaces are characters (written U+2581 in files), and one is put in front of the text.
Bytes that are not UTF-8 become byte tokens, so that they come back, where SentencePiece has U+FFFD for each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tilth import native
from tilth.errors import DataError
from tilth.tokenizer.scheme import Ids, Where, offsets_of
from tilth.tokenizer.segmented import SegmentedScheme, SegmentedVocabulary, ends_with_space
from tilth.tokenizer.stream import StreamDecoder

SPACE_MARK = "\u2581"
NOT_MERGED = 0xFFFFFFFF
"""The rank of a piece that merging never makes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SentencePieceVocabulary(SegmentedVocabulary):
    """Pieces, and the order in which they merge: by `ranks`, or by `merges` where a file lists pairs."""

    pieces: tuple[str, ...]
    """By id, with U+2581 for a space; "" for what text never gives by merging: control, unknown and byte tokens."""
    ranks: NDArray[np.uint32] | None
    """By id: any two neighbours whose join is a piece merge, the least rank first; None: `merges` says which."""
    byte_ids: tuple[int, ...] = ()
    """Ids of the 256 bytes, or none."""
    unknown_id: int | None = None
    """What text in no piece becomes, without byte fallback."""
    user_defined: tuple[int, ...] = ()
    """Pieces that are always taken whole."""
    prefix: Literal["always", "first", "never"] = "always"
    """Which segments get a space in front: each one between special tokens, the first only, or none."""
    prefix_unless_space: bool = False
    """No space is added in front of one."""
    split_at_spaces: bool = False
    """Nothing merges across the boundary before a space."""

    def fingerprint(self, merges: NDArray[np.uint32]) -> str:
        """SHA-256 (hex) of all that decides which ids a text gets."""
        sha = hashlib.sha256(super().fingerprint(merges if self.merges is None else self.merges).encode())
        sha.update(repr((self.pieces, self.byte_ids, self.unknown_id, self.user_defined, self.prefix)).encode())
        sha.update(repr((self.prefix_unless_space, self.split_at_spaces, self.added)).encode())
        sha.update(b"" if self.ranks is None else np.ascontiguousarray(self.ranks, dtype="<u4").tobytes())
        return sha.hexdigest()


class SentencePieceBpe(SegmentedScheme):
    """BPE as SentencePiece does it."""

    vocabulary: SentencePieceVocabulary

    def __init__(self, vocabulary: SentencePieceVocabulary) -> None:
        """Raises: DataError naming the token or merge that cannot work."""
        super().__init__(vocabulary)
        always, unless_space = vocabulary.prefix == "always", vocabulary.prefix_unless_space
        self._prefix_spaces: dict[Where, tuple[bool, bool, bool]] = {
            "first": (vocabulary.prefix != "never", always, unless_space),
            "later": (always, always, unless_space),
            "continued": (False, always, unless_space),
        }
        no_ranks = np.full(len(vocabulary.pieces), NOT_MERGED, dtype=np.uint32)
        try:
            self._native = native.SentencePieceEncoder(
                list(vocabulary.pieces),
                no_ranks if vocabulary.ranks is None else vocabulary.ranks,
                vocabulary.merges,
                list(vocabulary.byte_ids),
                vocabulary.unknown_id,
                list(vocabulary.user_defined),
                vocabulary.split_at_spaces,
            )
        except (ValueError, UnicodeEncodeError) as error:
            raise DataError(f"The vocabulary cannot work: {error}.") from None

    def encode(self, text: str | bytes, found: frozenset[str], *, continued: bool = False, threads: int = 1) -> Ids:
        """Ids of a text, or of its rest behind a `safe_cut` (`continued`)."""
        if self.strips:
            return super().encode(text, found, continued=continued)
        spaces = self._spaces("continued" if continued else "first")
        return self._native.encode(text, self.matcher(found | self.always_found), *spaces, threads)

    def encode_to_list(self, text: str | bytes, found: frozenset[str]) -> list[int]:
        """`encode` as a list."""
        return self.encode_batch([text], found, 1)[0]

    def encode_batch(self, texts: list[str | bytes], found: frozenset[str], threads: int) -> list[list[int]]:
        """`encode` of every text as lists, on `threads` threads."""
        if self.strips:
            return [self.encode(text, found).tolist() for text in texts]
        matcher = self.matcher(found | self.always_found)
        return self._native.encode_batch(texts, matcher, *self._spaces("first"), threads)

    def encode_batch_to_numpy(
        self, texts: list[str | bytes], found: frozenset[str], threads: int
    ) -> tuple[Ids, NDArray[np.int64]]:
        """The ids of all texts, and where those of each begin and end, shape (texts + 1,)."""
        if self.strips:
            return super().encode_batch_to_numpy(texts, found, threads)
        matcher = self.matcher(found | self.always_found)
        return self._native.encode_batch_to_numpy(texts, matcher, *self._spaces("first"), threads)

    def encode_segment(self, text: bytes, where: Where) -> Ids:
        """Ids of text in which no token is looked for."""
        return self._native.encode(text, None, *self._spaces(where), 1)

    def encode_segment_with_dropout(self, text: bytes, where: Where, dropout: float, seed: int) -> Ids:
        """Ids of such text with merges left out at random."""
        return self._native.encode_with_dropout(text, self._needs_space(text, where), dropout, seed)

    def decode(self, ids: NDArray[np.uint32]) -> bytes:
        """The bytes of ids, without the space that encoding puts in front."""
        data = super().decode(ids)
        return data[1:] if self._drops_space(int(ids[0])) else data

    def stream_decoder(self, token_bytes: Callable[[int], bytes]) -> StreamDecoder:
        """A decoder that takes ids one at a time."""
        return _SpacedStreamDecoder(token_bytes, self._drops_space)

    def safe_cut(self, data: bytes) -> int:
        """The last byte of `data` where it can be cut so that the parts have the ids of the whole; 0: nowhere."""
        cut = self._native.last_cut(data)
        while self.strips and cut and ends_with_space(data[:cut]):  # a token may come that takes the space away
            cut = self._native.last_cut(data[:cut])
        return cut

    def segment_offsets(self, text: bytes, where: Where) -> NDArray[np.int64]:
        """Start and end in `text` of each id; a space that is put in front has no width."""
        add_space = self._needs_space(text, where)
        ids, unknown = self._native.encode_with_unknown(text, add_space)
        lengths = self.token_lengths[ids]
        for index, n_bytes in unknown:
            lengths[index] = n_bytes
        offsets = np.maximum(offsets_of(lengths) - add_space, 0)
        if (mark := SPACE_MARK.encode()) not in text:
            return offsets
        return _marks_widened(text, mark)[offsets]

    def _spaces(self, where: Where) -> tuple[bool, bool, bool]:
        """Whether the segment at the start of a text (which begins `where`) and those behind a token get a space in
        front, and whether that is left out in front of a space."""
        return self._prefix_spaces[where]

    def _needs_space(self, text: bytes, where: Where) -> bool:
        wanted, _, unless_space = self._spaces(where)
        return wanted and not (unless_space and text.startswith((b" ", SPACE_MARK.encode())))

    def _drops_space(self, first_id: int) -> bool:
        """Whether decoding drops a space at the beginning, where encoding put it."""
        v = self.vocabulary
        is_ordinary = bool(v.pieces[first_id])
        return v.prefix != "never" and is_ordinary and v.tokens[first_id].startswith(b" ")


def _marks_widened(text: bytes, mark: bytes) -> NDArray[np.int64]:
    """For `text` with one byte for each mark: the position in `text` of each byte, and of the end."""
    is_kept = np.ones(len(text) + 1, dtype=bool)
    at = text.find(mark)
    while at >= 0:
        is_kept[at + 1 : at + len(mark)] = False
        at = text.find(mark, at + len(mark))
    return np.flatnonzero(is_kept).astype(np.int64)


class _SpacedStreamDecoder(StreamDecoder):
    def __init__(self, token_bytes: Callable[[int], bytes], drops_space: Callable[[int], bool]) -> None:
        super().__init__(token_bytes)
        self._drops_space = drops_space
        self._is_first = True

    def push(self, token_id: int) -> str:
        text = super().push(token_id)
        dropped = self._is_first and self._drops_space(token_id)
        self._is_first = False
        return text[1:] if dropped else text

    def finish(self) -> str:
        self._is_first = True
        return super().finish()
