"""Documents in files as ids: Parquet, JSONL and plain text, compressed or not, with bounded memory.

A text file is one document, and may be longer than memory: its ids come in parts. `ends_document` says where a document
is whole, so that the reader can put its separator there.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tilth.errors import DataError
from tilth.files import open_binary, open_stream
from tilth.tokenizer.streaming import encode_stream

if TYPE_CHECKING:
    from tilth.tokenizer.tokenizer import Special, Tokenizer

_BLOCK_BYTES = 1 << 20
_PACKED = (".gz", ".zst", ".bz2", ".xz")


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedPart:
    """Ids of a document, or of a part of it."""

    source: str
    """The file, with `#n` for the row or line n (from 1)."""
    ids: NDArray[Any]
    """Shape (tokens,), uint16 or uint32."""
    ends_document: bool = True


def encode_files(
    tokenizer: Tokenizer, paths: Iterable[str | Path], column: str, allowed_special: Special
) -> Iterator[EncodedPart]:
    """The documents of all files in order; see `Tokenizer.encode_files`."""
    for path in map(str, paths):
        try:
            texts = _records(path, column)
            if texts is None:
                yield from _text_file(tokenizer, path, allowed_special)
                continue
            for source, text in texts:
                yield EncodedPart(
                    source=source,
                    ids=tokenizer.encode_to_numpy(text, allowed_special=allowed_special, disallowed_special=()),
                )
        except FileNotFoundError:
            raise DataError(f"{path} does not exist.") from None
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} cannot be read: {error}.") from None


def texts_of_files(paths: Iterable[str | Path], column: str = "text") -> Iterator[tuple[str, str | bytes]]:
    """Source and text of every document; a text file is read whole."""
    for path in map(str, paths):
        texts = _records(path, column)
        if texts is not None:
            yield from texts
        else:
            with open_stream(path) as stream:
                yield path, stream.read()


def _records(path: str, column: str) -> Iterator[tuple[str, str | bytes]] | None:
    """The records of a file that holds several; None for a text file."""
    name = path
    for suffix in _PACKED:
        name = name.removesuffix(suffix)
    if name.endswith(".parquet"):
        return _parquet_texts(path, column)
    return _json_texts(path, column) if name.endswith((".jsonl", ".ndjson")) else None


def _parquet_texts(path: str, column: str) -> Iterator[tuple[str, bytes]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tilth.storage import ROW_GROUP_ROWS

    row = 0
    with open_binary(path) as raw:
        try:
            file = pq.ParquetFile(raw)
            if column not in file.schema_arrow.names:
                raise DataError(
                    f"{path} has no column {column!r}.", fix=f"It has {', '.join(file.schema_arrow.names)}."
                )
            for batch in file.iter_batches(batch_size=ROW_GROUP_ROWS, columns=[column]):
                for text in batch.column(0).cast(pa.large_binary()).to_pylist():
                    row += 1
                    if text is None:
                        raise DataError(f"{path}: row {row} has no text.")
                    yield f"{path}#{row}", text
        except pa.ArrowInvalid as error:
            raise DataError(f"{path} is no Parquet file with text in {column!r}: {error}.") from None


def _json_texts(path: str, column: str) -> Iterator[tuple[str, str]]:
    with open_stream(path) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row: Any = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}: line {number} is not JSON: {error}.") from None
            text = row.get(column) if isinstance(row, dict) else None
            if not isinstance(text, str):
                raise DataError(f"{path}: line {number} has no text in {column!r}.", fix="Name the field: `column=`.")
            yield f"{path}#{number}", text


def _text_file(tokenizer: Tokenizer, path: str, allowed_special: Special) -> Iterator[EncodedPart]:
    waiting: NDArray[Any] | None = None
    with open_stream(path) as stream:
        for ids in encode_stream(tokenizer, _blocks(stream), allowed_special, (), _BLOCK_BYTES):
            if waiting is not None:
                yield EncodedPart(source=path, ids=waiting, ends_document=False)
            waiting = ids
    empty = np.zeros(0, dtype=tokenizer.dtype)
    yield EncodedPart(source=path, ids=empty if waiting is None else waiting)


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    while block := stream.read(_BLOCK_BYTES):
        yield block
