"""Unigram, WordPiece and WordLevel vocabularies through the `tokenizers` library, behind the class `Tokenizer`.

Their ids and their speed are the library's. It is an optional dependency: nothing else needs it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilth.errors import ConfigError, DataError, DependencyError
from tilth.tokenizer.scheme import Ids, Where
from tilth.tokenizer.segmented import AddedToken, SegmentedScheme, SegmentedVocabulary
from tilth.tokenizer.stream import StreamDecoder
from tilth.tokenizer.vocabulary import MAX_ID, tokens_by_id

LIBRARY_MODELS = ("Unigram", "WordPiece", "WordLevel")


@dataclass(frozen=True, kw_only=True, eq=False)
class LibraryVocabulary(SegmentedVocabulary):
    """A `tokenizer.json` as it is; `tokens` hold the texts of the file, not what decoding gives."""

    content: str
    """The file."""

    def fingerprint(self, merges: NDArray[np.uint32]) -> str:
        """SHA-256 (hex) of the file's content, without its layout."""
        import hashlib

        return hashlib.sha256(json.dumps(json.loads(self.content), sort_keys=True).encode()).hexdigest()


def read_library(file: Path) -> LibraryVocabulary:
    """Reads a `tokenizer.json` of a kind that the library encodes.

    Raises: DependencyError if the library is not installed; DataError if it cannot read the file.
    """
    text = file.read_text(encoding="utf-8")
    loaded = _load(str(file), text)
    added = [
        AddedToken(text=token.content, token_id=token_id, special=token.special)
        for token_id, token in loaded.get_added_tokens_decoder().items()
    ]
    special = {token.text: token.token_id for token in added if token.special}
    vocab: dict[str, int] = loaded.get_vocab(with_added_tokens=True)
    ordinary = {token.encode("utf-8", "replace"): i for token, i in vocab.items() if token not in special}
    if max(vocab.values(), default=0) > MAX_ID:
        raise DataError(f"{file}: the id {max(vocab.values())} is not between 0 and {MAX_ID}.")
    ordinary.pop(b"", None)
    return LibraryVocabulary(
        tokens=tokens_by_id(str(file), ordinary, special),
        merges=None,
        pattern="",
        special_tokens=special,
        added=tuple(added),
        content=text,
    )


def _load(source: str, text: str) -> Any:
    try:
        library = import_module("tokenizers")
    except ImportError:
        raise DependencyError(
            f"{source} is read through the `tokenizers` library, which is not installed.",
            fix="`pip install tokenizers`",
        ) from None
    try:
        loaded = library.Tokenizer.from_str(text)
    except BaseException as error:  # the library's own panics are no Exceptions
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise DataError(f"{source}: the `tokenizers` library cannot read it: {error}.") from None
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


class LibraryScheme(SegmentedScheme):
    """What the `tokenizers` library does between special tokens. No position is known where its text may be cut."""

    vocabulary: LibraryVocabulary

    def __init__(self, vocabulary: LibraryVocabulary) -> None:
        """Raises: DependencyError if the library is not installed."""
        super().__init__(vocabulary)
        self._library = _load("This vocabulary", vocabulary.content)
        # Special tokens in the text are found by the rules of `Tokenizer.encode`, not by the library's.
        self._library.encode_special_tokens = True

    def encode_segment(self, text: bytes, where: Where) -> Ids:
        """Ids of text in which no token is looked for."""
        ids = self._library.encode(text.decode("utf-8", "replace"), add_special_tokens=False).ids
        return np.array(ids, dtype=np.uint32)

    def encode_segment_with_dropout(self, text: bytes, where: Where, dropout: float, seed: int) -> Ids:
        """Raises: ConfigError, always."""
        raise ConfigError("BPE-dropout needs a BPE vocabulary.", fix="Leave `dropout` at 0.")

    def segment_offsets(self, text: bytes, where: Where) -> NDArray[np.int64]:
        """Start and end in `text` of each id.

        Raises: DataError if `text` is not UTF-8.
        """
        characters = text.decode("utf-8", "replace")
        if characters.encode() != text:
            raise DataError("A text that is not UTF-8 has no offsets with this vocabulary.", fix="Mend the text first.")
        positions = np.cumsum([0, *(len(character.encode()) for character in characters)], dtype=np.int64)
        offsets = self._library.encode(characters, add_special_tokens=False).offsets
        return positions[np.array(offsets, dtype=np.int64).reshape(-1, 2)]

    def decode(self, ids: NDArray[np.uint32]) -> bytes:
        """The text that the library makes of ids."""
        super().decode(ids)  # which tells the ids that are not in use
        return self._library.decode(ids.tolist(), skip_special_tokens=False).encode()

    def stream_decoder(self, token_bytes: Callable[[int], bytes]) -> StreamDecoder:
        """A decoder that takes ids one at a time."""
        return _LibraryStreamDecoder(self._library)


class _LibraryStreamDecoder(StreamDecoder):
    def __init__(self, library: Any) -> None:
        self._library = library
        self._ids: list[int] = []
        self._given = ""

    def push(self, token_id: int) -> str:
        self._ids.append(token_id)
        text: str = self._library.decode(self._ids, skip_special_tokens=False)
        if text.endswith("\ufffd") or not text.startswith(self._given):
            return ""
        fresh, self._given = text[len(self._given) :], text
        return fresh

    def finish(self) -> str:
        text: str = self._library.decode(self._ids, skip_special_tokens=False)
        rest = text[len(self._given) :]
        self._ids, self._given = [], ""
        return rest
