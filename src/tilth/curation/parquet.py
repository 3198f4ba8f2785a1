"""Rows of Parquet files as documents, with lengths looked at before values are made.

A few hundred bytes of Parquet can stand for gigabytes: one dictionary value that all rows repeat, or a page that
unpacks to any size. So the sizes of all pages are read from their headers first, text is read as dictionary indices,
and a row's values are made when the sum of their lengths is known. A row group that cannot be read is a dead letter,
and the next is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tilth.curation.broken_input import describe
from tilth.curation.read_result import FileReading, ReadResult
from tilth.curation.records import no_text_field, record, text_fields, too_long
from tilth.errors import DataError
from tilth.files import open_binary

PAGE_BYTES = 128 << 20
"""Largest page that is unpacked; writers make pages of about 1 MB."""
VALUES = 100_000_000
"""Most values of a nested column in a row group."""

_ROWS = 256
_BATCH_BYTES = 32 << 20
_REPEATED_BYTES = 100_000
_HEADER_BYTES = (1 << 10, 1 << 16, 1 << 24)


def read_parquet(reading: FileReading) -> Iterator[ReadResult]:
    """Yields the rows of a Parquet file, also of a dataset that tilth wrote, a few at a time.

    Rejects: `no_text_field` for the file, with the columns it has; `empty_record`, `document_too_long`, and
    `repeated_value` (a long text that the row group holds once and refers to again) for rows.
    """
    path = reading.file.path
    with open_binary(path) as stream, open_binary(path) as pages, _open(stream) as parquet:
        names = list(parquet.schema_arrow.names)
        if not text_fields(names, reading.config):
            yield no_text_field(reading, names, size=reading.file.bytes)
            return
        if len(set(names)) < len(names):
            raise DataError("two of its columns have one name")
        first = 1
        for group in range(parquet.metadata.num_row_groups):
            yield from _row_group(reading, parquet, pages, group, first)
            first += parquet.metadata.row_group(group).num_rows


def _open(stream: IO[bytes]) -> pq.ParquetFile:
    """Opens a file so that all text is read as dictionary indices.

    Raises: DataError if its metadata cannot be parsed.
    """
    try:
        metadata = pq.read_metadata(cast(Any, stream))
        leaves = [metadata.schema.column(index) for index in range(metadata.num_columns)]
        texts = [
            leaf.path
            for index, leaf in enumerate(leaves)
            # Arrow does not make indices of delta-encoded text: of that, few rows are read at a time.
            if leaf.physical_type == "BYTE_ARRAY" and not _has_delta(metadata, index)
        ]
        return pq.ParquetFile(
            cast(Any, stream), metadata=metadata, read_dictionary=texts, buffer_size=1 << 20, pre_buffer=False
        )
    except pa.ArrowException as error:
        if isinstance(error, MemoryError):
            raise
        raise DataError(describe(error)) from None


def _has_delta(metadata: pq.FileMetaData, column: int) -> bool:
    groups = range(metadata.num_row_groups)
    return any(_is_delta(metadata.row_group(group).column(column)) for group in groups)


def _is_delta(column: Any) -> bool:
    return any(str(encoding).startswith("DELTA_") for encoding in column.encodings)


def _row_group(
    reading: FileReading, parquet: pq.ParquetFile, pages: IO[bytes], group: int, first: int
) -> Iterator[ReadResult]:
    number = first
    repeated = _Repeated()
    try:
        rows = _check_pages(pages, parquet.metadata.row_group(group))
        for batch in parquet.iter_batches(batch_size=rows, row_groups=[group], use_threads=False):
            yield from _batch(reading, _in_microseconds(batch), number, repeated)
            number += batch.num_rows
    except (pa.ArrowException, OSError, DataError, UnicodeError, OverflowError) as error:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        last = first + parquet.metadata.row_group(group).num_rows - 1
        yield reading.dead_letter(f"rows {number:,} to {last:,}: {describe(error)}", record=number)


def _in_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns the batch with its times in microseconds: Python has no values for nanoseconds."""
    for index, field in enumerate(batch.schema):
        kind: Any = field.type
        if getattr(kind, "unit", "") != "ns":
            continue
        if pa.types.is_timestamp(kind):
            kind = pa.timestamp("us", kind.tz)
        else:
            kind = pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us")
        batch = batch.set_column(index, field.name, batch.column(index).cast(kind, safe=False))
    return batch


class _Repeated:
    """Remembers which long values of a dictionary were read already."""

    def __init__(self) -> None:
        self.dictionary: Any = None
        self.rows: dict[int, int] = {}

    def begin(self, column: Any) -> None:
        """Takes the text column of the next batch; most often it has the dictionary of the one before."""
        if self.dictionary is None or not column.dictionary.equals(self.dictionary):
            self.dictionary, self.rows = column.dictionary, {}

    def row_of(self, value: int | None, number: int) -> int | None:
        """Returns the row that held the same value (an index of the dictionary) before, if there is one."""
        if value is None or value not in self.rows:
            if value is not None:
                self.rows[value] = number
            return None
        return self.rows[value]


def _batch(reading: FileReading, batch: pa.RecordBatch, first: int, repeated: _Repeated) -> Iterator[ReadResult]:
    types = {name: _decoded_type(batch.schema.field(name).type) for name in batch.schema.names}
    if expanded_bytes(batch) <= _BATCH_BYTES:
        for number, row in enumerate(batch.to_pylist(), first):
            yield record(reading, number, row, types)
        return
    text: Any = batch.column(text_fields(batch.schema.names, reading.config)[0])
    indices: list[int | None] = [None] * batch.num_rows
    if isinstance(text, pa.DictionaryArray):
        repeated.begin(text)
        indices = cast("list[int | None]", text.indices.to_pylist())
    for index in range(batch.num_rows):
        number, row = first + index, batch.slice(index, 1)
        size = expanded_bytes(row)
        if size > reading.limit:
            yield too_long(reading, number, size)
            continue
        earlier = repeated.row_of(indices[index], number) if size > _REPEATED_BYTES else None
        if earlier is not None:
            yield reading.reject("repeated_value", f"the text of row {earlier:,}", record=number, size=size)
        else:
            yield record(reading, number, row.to_pylist()[0], types)


def expanded_bytes(data: Any) -> int:
    """Returns the bytes of all values of a batch or array, counting what a dictionary repeats each time."""
    if isinstance(data, pa.RecordBatch):
        return sum(expanded_bytes(column) for column in data.columns)
    if isinstance(data, pa.DictionaryArray):
        dictionary: Any = data.dictionary
        if not _is_text(dictionary.type):
            return 16 * len(data)
        lengths = pc.call_function("binary_length", [dictionary]).cast(pa.int64())
        return int(pc.call_function("sum", [lengths.take(data.indices)]).as_py() or 0)
    if isinstance(data, pa.MapArray):
        entries = pa.StructArray.from_arrays([data.keys, data.items], ["key", "value"])
        return expanded_bytes(pa.ListArray.from_arrays(data.offsets, entries))
    if isinstance(data, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        return 8 * len(data) + expanded_bytes(data.flatten())
    if isinstance(data, pa.StructArray):
        return sum(expanded_bytes(child) for child in data.flatten())
    if not _is_text(data.type):
        return 16 * len(data)
    lengths = pc.call_function("binary_length", [data]).cast(pa.int64())
    return int(pc.call_function("sum", [lengths]).as_py() or 0)


def _is_text(kind: pa.DataType) -> bool:
    tests = pa.types
    return any(test(kind) for test in (tests.is_string, tests.is_large_string, tests.is_binary, tests.is_large_binary))


def _decoded_type(kind: Any) -> pa.DataType:
    """Returns the type without the dictionaries that reading put in."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_list(kind):
        return pa.list_(_decoded_type(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_decoded_type(kind.value_type))
    if pa.types.is_map(kind):
        return pa.map_(_decoded_type(kind.key_type), _decoded_type(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _decoded_type(field.type)) for field in kind])
    return kind


# Pages


def _check_pages(stream: IO[bytes], group: Any) -> int:
    """Returns how many rows of a row group may be read at a time.

    Raises: DataError if a page unpacks to more than `PAGE_BYTES`, or if a nested column has more than `VALUES`.
    """
    rows = _ROWS
    for index in range(group.num_columns):
        column = group.column(index)
        if column.num_values > max(VALUES, group.num_rows):
            raise DataError(f"`{column.path_in_schema}` has {column.num_values:,} values")
        total = 0
        for size in page_sizes(stream, column):
            total += size
            if size > PAGE_BYTES:
                raise DataError(f"a page of `{column.path_in_schema}` unpacks to {size:,} bytes")
        if _is_delta(column) and column.physical_type == "BYTE_ARRAY":  # each value may repeat all that came before it
            rows = min(rows, max(1, 2 * _BATCH_BYTES // max(total, 1)))
    return rows


def page_sizes(stream: IO[bytes], column: Any) -> Iterator[int]:
    """Yields what each page of a column chunk unpacks to, by the pages' own headers.

    Raises: DataError if a header cannot be read.
    """
    position = column.data_page_offset
    if column.dictionary_page_offset is not None:
        position = min(position, column.dictionary_page_offset)
    end = position + column.total_compressed_size
    while position < end:
        header: Mapping[int, int] = {}
        length = 0
        for window in _HEADER_BYTES:
            stream.seek(position)
            content = stream.read(window)
            try:
                header, length = _struct(content, 0, 0)
                break
            except IndexError:
                if len(content) < window or window == _HEADER_BYTES[-1]:
                    raise DataError("a page header is cut") from None
        unpacked, packed = header.get(2, -1), header.get(3, -1)
        if unpacked < 0 or packed < 0:
            raise DataError("a page header is corrupt")
        yield unpacked
        position += length + packed


def _struct(data: bytes, position: int, depth: int) -> tuple[dict[int, int], int]:
    """Parses a struct of Thrift's compact protocol: its integer fields by number, and where it ends."""
    if depth > 8:
        raise DataError("a page header is nested too deep")
    fields: dict[int, int] = {}
    number = 0
    while True:
        head = data[position]
        position += 1
        if head == 0:
            return fields, position
        kind = head & 15
        if head >> 4:
            number += head >> 4
        else:
            raw, position = _varint(data, position)
            number = (raw >> 1) ^ -(raw & 1)
        if kind in (4, 5, 6):
            raw, position = _varint(data, position)
            fields[number] = (raw >> 1) ^ -(raw & 1)
        else:
            position = _skip(data, position, kind, depth)


def _skip(data: bytes, position: int, kind: int, depth: int) -> int:
    if kind in (1, 2):  # a truth value is in the field's type
        return position
    if kind == 3:
        position += 1
    elif kind == 7:
        position += 8
    elif kind == 8:
        length, position = _varint(data, position)
        position += length
    elif kind == 12:
        _, position = _struct(data, position, depth + 1)
    else:
        raise DataError("a page header is corrupt")
    if position > len(data):
        raise IndexError
    return position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
        if shift > 63:
            raise DataError("a page header is corrupt")
