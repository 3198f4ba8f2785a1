"""SentencePiece's `tokenizer.model` in: BPE, with or without byte fallback.

The file is a protocol buffer, of which a few fields matter: pieces are read in the native core, settings here, so that
nothing needs to be installed.
What would change ids and is not implemented here (a character map, Unigram, unused pieces) is refused by name.
Field numbers: sentencepiece_model.proto of google/sentencepiece.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from tilth import native
from tilth.errors import DataError
from tilth.tokenizer.sentencepiece import NOT_MERGED, SentencePieceVocabulary

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_MODEL_TYPES = {1: "Unigram", 2: "BPE", 3: "Word", 4: "Char"}
_UNKNOWN_SURFACE = " \u2047 "

_Value = int | bytes


@dataclass
class _Model:
    """The fields that matter, with the defaults of the format."""

    pieces: list[bytes]
    spaced: list[bytes]
    """The pieces with spaces for U+2581."""
    scores: NDArray[np.float32]
    kinds: NDArray[np.uint8]
    model_type: int = 1
    byte_fallback: bool = False
    whitespace_as_suffix: bool = False
    unknown_surface: bytes = _UNKNOWN_SURFACE.encode()
    normalizer: str = ""
    has_character_map: bool = False
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True


def is_model(content: bytes) -> bool:
    """Whether `content` begins with a piece, as a SentencePiece model does."""
    return content[:1] == b"\x0a" and len(content) > 2


def read_model(path: Path, content: bytes) -> SentencePieceVocabulary:
    """The vocabulary of a SentencePiece model, whose `content` was read from `path`.

    Raises: DataError naming the file and the piece or setting that is broken or not supported.
    """
    try:
        model = _parse(content)
    except ValueError as error:
        raise DataError(f"{path} is not a whole SentencePiece model: {error}.") from None
    _check(path, model)
    texts = _texts(path, model.pieces)
    unknown = _of_kind(model, _UNKNOWN)
    if len(unknown) != 1:
        raise DataError(f"{path} has {len(unknown)} pieces for unknown text instead of one.")
    if len(set(texts)) != len(texts):
        seen: dict[str, int] = {}
        for i, text in enumerate(texts):
            if seen.setdefault(text, i) != i:
                raise DataError(f"{path}: the pieces {seen[text]} and {i} are the same, {text!r}.")
    byte_ids = _byte_ids(path, model)
    pieces, tokens = list(texts), model.spaced
    for i in _of_kind(model, _UNKNOWN, _CONTROL, _BYTE):
        pieces[i] = ""
    for byte, token_id in enumerate(byte_ids):
        tokens[token_id] = bytes([byte])
    tokens[unknown[0]] = model.unknown_surface
    return SentencePieceVocabulary(
        tokens=tuple(tokens),
        merges=None,
        pattern="",
        special_tokens={texts[i]: i for i in _of_kind(model, _UNKNOWN, _CONTROL)},
        pieces=tuple(pieces),
        ranks=_ranks(model, pieces),
        byte_ids=byte_ids,
        unknown_id=unknown[0],
        user_defined=tuple(_of_kind(model, _USER_DEFINED)),
        prefix="always" if model.add_dummy_prefix else "never",
    )


def _of_kind(model: _Model, *kinds: int) -> list[int]:
    return np.flatnonzero(np.isin(model.kinds, kinds)).tolist()


def _check(path: Path, model: _Model) -> None:
    def refuse(what: str) -> NoReturn:
        raise DataError(
            f"{path}: {what} is not supported.",
            fix="SentencePiece BPE without a character map is what can be read; `tokenizer.json` of other kinds is "
            "read through the `tokenizers` library.",
        )

    if model.model_type != 2:
        refuse(f"a model of type {_MODEL_TYPES.get(model.model_type, model.model_type)}")
    if model.has_character_map:
        refuse(f"the normalizer {model.normalizer!r}")
    if model.remove_extra_whitespaces:
        refuse("remove_extra_whitespaces")
    if not model.escape_whitespaces:
        refuse("escape_whitespaces = false")
    if model.whitespace_as_suffix:
        refuse("treat_whitespace_as_suffix")
    if b"" in model.pieces:
        raise DataError(f"{path}: the piece {model.pieces.index(b'')} is empty.")
    for i in np.flatnonzero(np.isnan(model.scores)).tolist():
        raise DataError(f"{path}: the piece {i}, {model.pieces[i]!r}, has no number as its score.")
    for i in np.flatnonzero((model.kinds < _NORMAL) | (model.kinds > _BYTE) | (model.kinds == _UNUSED)).tolist():
        refuse(f"the type {model.kinds[i]} of the piece {i}, {model.pieces[i]!r},")


def _texts(path: Path, pieces: list[bytes]) -> list[str]:
    try:
        return [piece.decode() for piece in pieces]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the piece {pieces.index(error.object)}, {error.object!r}, is not UTF-8.") from None


def _byte_ids(path: Path, model: _Model) -> tuple[int, ...]:
    """Ids of the 256 byte pieces; none without byte fallback."""
    found = {model.pieces[i]: i for i in _of_kind(model, _BYTE)}
    if not model.byte_fallback:
        if found:
            raise DataError(f"{path} has pieces for bytes, but byte_fallback is off.")
        return ()
    names = [f"<0x{byte:02X}>".encode() for byte in range(256)]
    for name in names:
        if name not in found:
            raise DataError(f"{path} has byte_fallback, but no piece {name.decode()}.")
    if len(found) != 256:
        raise DataError(f"{path} has {len(found)} pieces for bytes instead of 256.")
    return tuple([found[name] for name in names])


def _ranks(model: _Model, pieces: list[str]) -> NDArray[np.uint32]:
    """Ranks by id: the highest score merges first, equal scores have equal ranks."""
    ranks = np.full(len(pieces), NOT_MERGED, dtype=np.uint32)
    merged = np.flatnonzero(np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces)) > 1)
    if len(merged):
        ranks[merged] = np.unique(-model.scores[merged], return_inverse=True)[1].astype(np.uint32)
    return ranks


# Protocol buffers


def _fields(data: bytes) -> Iterator[tuple[int, _Value]]:
    """Number and value of each field; fixed-size values as bytes."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at, end)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at, end)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(data, at, end)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"byte {at}: there is no field of kind {kind}")
        if at + size > end:
            raise ValueError(f"byte {at}: a field of {size} bytes runs over the end")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError(f"byte {at}: a number is cut off")


def _bytes(value: _Value) -> bytes:
    if isinstance(value, int):
        raise ValueError("expected bytes, found a number")
    return value


def _int(value: _Value) -> int:
    if not isinstance(value, int):
        raise ValueError("expected a number, found bytes")
    return value


def _parse(content: bytes) -> _Model:
    pieces, spaced, scores, kinds, others = native.read_sentencepiece_model(content)
    model = _Model(pieces, spaced, scores, kinds)
    for number, value in others:
        if number == 2:
            _parse_trainer(model, value)
        elif number == 3:
            _parse_normalizer(model, value)
        elif number == 5:
            model.has_character_map |= any(inner == 2 and charsmap for inner, charsmap in _fields(value))
    return model


def _parse_trainer(model: _Model, data: bytes) -> None:
    for number, value in _fields(data):
        if number == 3:
            model.model_type = _int(value)
        elif number == 24:
            model.whitespace_as_suffix = bool(_int(value))
        elif number == 35:
            model.byte_fallback = bool(_int(value))
        elif number == 44:
            model.unknown_surface = _bytes(value)


def _parse_normalizer(model: _Model, data: bytes) -> None:
    for number, value in _fields(data):
        if number == 1:
            model.normalizer = _bytes(value).decode("utf-8", "replace")
        elif number == 2:
            model.has_character_map |= bool(_bytes(value))
        elif number == 3:
            model.add_dummy_prefix = bool(_int(value))
        elif number == 4:
            model.remove_extra_whitespaces = bool(_int(value))
        elif number == 5:
            model.escape_whitespaces = bool(_int(value))
