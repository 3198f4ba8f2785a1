"""Rows of CSV and TSV files as documents: a header, then a record in each row; a quoted field may hold line ends."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import IO, cast

from tilth.curation.decoding import EXCERPT_BYTES, HEAD_BYTES, is_binary, is_utf16, lines, open_unpacked
from tilth.curation.read_result import FileReading, Read, ReadResult
from tilth.curation.records import no_text_field, record, text_fields
from tilth.errors import DataError

LONGEST_NAME = 100
"""Characters of the name of a column, at most: a longer one in the first row is text."""

_DELIMITERS = ",;\t|"
_ROWS_LOOKED_AT = 200
_QUOTED = re.compile(r'"[^"]*"')


def read_csv(reading: FileReading) -> Iterator[ReadResult]:
    """Yields the rows of a CSV or TSV file; rows count from 1, below the header.

    The text is in `CurationConfig.text_field`, else in a column of a known name, else in the column with the longest
    text, which the note of the first document says. Of columns with one name the later ones get a number; where a first
    row holds no names but text, columns are called by their numbers. A row with more fields than the header is a dead
    letter, and so is the rest of a file from a quote on that is never closed.
    Rejects: `no_text_field`, `empty_record`, `binary_file`, `line_too_long`, `document_too_long`.
    """
    with open_unpacked(reading.file.path) as stream:
        head = stream.read(HEAD_BYTES)
    if is_binary(head):
        yield reading.reject("binary_file", PurePosixPath(reading.name).suffix, size=reading.file.bytes)
        return
    try:
        yield from _records(reading, _encoding(head))
    except csv.Error as error:
        raise DataError(f"malformed CSV: {error}") from None


def _records(reading: FileReading, encoding: str) -> Iterator[ReadResult]:
    rejects: list[ReadResult] = []
    rows = _rows(reading, encoding, rejects)
    top = next(rows, [])
    header = [name.strip().lstrip("\ufeff") for name in top]
    if not any(header):
        yield from rejects
        return
    header = _distinct(header)
    names = text_fields(header, reading.config)
    if not names and reading.config.text_field is None and max(map(len, header)) > LONGEST_NAME:
        rows, header = chain([top], rows), [str(number) for number in range(1, len(top) + 1)]
    first: list[list[str]] = []
    note = ""
    if not names and reading.config.text_field is None:
        first = list(islice(rows, _ROWS_LOOKED_AT))
        names = (longest := _longest_column(header, first),)
        note = (
            f"{reading.source()}: the text is taken from `{longest}`, the column with the longest text; "
            f"`--text-field NAME` chooses another of {', '.join(header)}."
        )
    if not names:
        yield no_text_field(reading, header, size=reading.file.bytes)
        return
    for number, row in enumerate(chain(first, rows), 1):
        yield from rejects
        rejects.clear()
        if len(row) > len(header):
            error = f"the row has {len(row)} fields, the header {len(header)}"
            yield reading.dead_letter(error, record=number, size=sum(map(len, row)))
            continue
        fields = dict(zip(header, row + [""] * (len(header) - len(row)), strict=True))
        result = record(reading, number, fields, text_names=names)
        if note and isinstance(result, Read):
            result, note = replace(result, note=note), ""
        yield result
    yield from rejects


def _encoding(head: bytes) -> str:
    """Returns the encoding of a file by its beginning, which may end within a character."""
    if is_utf16(head):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _rows(reading: FileReading, encoding: str, rejects: list[ReadResult]) -> Iterator[list[str]]:
    """Yields the rows that are not empty; lines above the limit go to `rejects`."""
    csv.field_size_limit(max(reading.limit, 1))
    with open_unpacked(reading.file.path) as stream:
        numbered = lines(cast("IO[bytes]", _Recoded(stream)) if encoding == "utf-16" else stream, reading.limit)
        texts = _lines(reading, numbered, "utf-8" if encoding == "utf-16" else encoding, rejects)
        first = next(texts, "")
        delimiter = max(_DELIMITERS, key=_QUOTED.sub("", first).count)
        suffixes = PurePosixPath(reading.name.lower()).suffixes
        if ".tsv" in suffixes[-2:]:
            delimiter = "\t"
        ended = False

        def until_end() -> Iterator[str]:
            nonlocal ended
            every = chain([first], texts)
            yield from _with_closed_quotes(every) if delimiter == "\t" else every
            ended = True

        reader, line = csv.reader(until_end(), delimiter=delimiter), 1
        for row in reader:
            if ended:  # a whole row needs no line after it
                size = sum(len(field.encode("utf-8", "replace")) for field in row)
                error = f"a quote that opens in the row of line {line} is never closed: the file is not read from there"
                rejects.append(reading.dead_letter(error, size=size, head=" ".join(row)[:EXCERPT_BYTES].encode()))
                return
            if any(field.strip() for field in row):
                yield row
            line = reader.line_num + 1


class _Recoded(io.RawIOBase):
    """A stream of UTF-16 as one of UTF-8."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.reader = codecs.getreader("utf-16")(stream, "replace")

    def read(self, size: int = -1) -> bytes:
        return self.reader.read(size).encode("utf-8", "replace")


def _distinct(header: list[str]) -> list[str]:
    """Returns names of columns of which no two are equal: the first keeps a name, one without is `column_n`."""
    names: list[str] = []
    for number, name in enumerate(header, 1):
        names.append(name if name and name not in names else f"{name or 'column'}_{number}")
    return names


def _with_closed_quotes(texts: Iterator[str]) -> Iterator[str]:
    """Yields lines with values between tabs, in which a quotation mark that no other closes is a part of the text.

    Such marks are usual there, and each would swallow the rows up to the next. Two lines in a row with as many tabs as
    the header show that no value goes on from the one to the other.
    """
    before = next(texts, "")
    n_tabs = before.count("\t")
    for text in chain(texts, [""]):
        is_row = n_tabs and before.count("\t") == n_tabs and (not text or text.count("\t") == n_tabs)
        yield "\t".join(map(_closed, before.removesuffix("\n").split("\t"))) + "\n" if is_row else before
        before = text


def _closed(value: str) -> str:
    is_open = value.startswith('"') and (len(value) == 1 or not value.endswith('"'))
    return '"' + value.replace('"', '""') + '"' if is_open else value


def _lines(
    reading: FileReading, numbered: Iterator[tuple[bytes, int]], encoding: str, rejects: list[ReadResult]
) -> Iterator[str]:
    for number, (line, size) in enumerate(numbered, 1):
        if size > reading.limit:
            detail = f"line {number}: {size:,} bytes > {reading.limit:,}"
            rejects.append(reading.reject("line_too_long", detail, size=size, head=line, limit=reading.limit))
        else:
            yield line.decode(encoding, "replace").rstrip("\r").replace("\0", "") + "\n"


def _longest_column(header: list[str], rows: list[list[str]]) -> str:
    lengths = [0] * len(header)
    for row in rows:
        for index, field in enumerate(row[: len(header)]):
            lengths[index] += len(field)
    return header[lengths.index(max(lengths))]
