"""Columns of batches that come from different files, brought together: what one of them lacks is null."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from tilth.curation.read_result import GROUP, LINEAGE, Read
from tilth.errors import ConfigError
from tilth.types import DOCUMENT_SCHEMA

BASE_SCHEMA = DOCUMENT_SCHEMA.append(pa.field(LINEAGE, pa.string())).append(pa.field(GROUP, pa.string()))
"""Columns that every batch has."""
_HTML = pa.field("html", pa.large_binary())


def batch_of(reads: Sequence[Read]) -> pa.RecordBatch:
    """Returns the documents and pages as one batch.

    Raises: ConfigError if two of them have a column of one name and types that do not go together.
    """
    schema = BASE_SCHEMA
    if any("html" in read.row for read in reads):
        schema = schema.append(_HTML)
    added: dict[str, tuple[pa.DataType, str]] = {}
    for read in reads:
        for name, kind in read.types.items():
            if name not in added:
                added[name] = kind, str(read.row["source"])
            elif added[name][0] != kind:
                before, source = added[name]
                added[name] = join(name, (before, source), (kind, str(read.row["source"]))), source
    for name in sorted(added):
        schema = schema.append(pa.field(name, added[name][0]))
    try:
        return pa.RecordBatch.from_pylist([read.row for read in reads], schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        sources = f"{reads[0].row['source']} to {reads[-1].row['source']}"
        raise ConfigError(
            f"The columns of {sources} cannot be brought together: {error}.", fix="Give each column one type."
        ) from None


def unify(schemas: Iterable[tuple[pa.Schema, Mapping[str, str]]]) -> pa.Schema:
    """Returns the schema that holds all columns of all; each comes with the source of each column, for errors.

    Raises: ConfigError if a column has types that do not go together; it names the column and the sources.
    """
    joined: dict[str, tuple[pa.DataType, str]] = {}
    for schema, sources in schemas:
        for field in schema:
            now = field.type, sources.get(field.name, "?")
            before = joined.get(field.name)
            if before is None or pa.types.is_null(before[0]):
                joined[field.name] = now
            elif before[0] != now[0]:
                joined[field.name] = join(field.name, before, now), before[1]
    base = [field for field in BASE_SCHEMA if field.name != GROUP]
    names = {field.name for field in BASE_SCHEMA}
    # The group column is internal: the last, and dropped when the datasets are written.
    added = [pa.field(name, joined[name][0]) for name in sorted(joined) if name not in names]
    return pa.schema([*base, *added, BASE_SCHEMA.field(GROUP)])


def join(name: str, one: tuple[pa.DataType, str], other: tuple[pa.DataType, str]) -> pa.DataType:
    """Returns the type that both columns fit in: of a whole and a real number the real one, and the like.

    Raises: ConfigError naming the column and both sources.
    """
    schemas = [pa.schema([pa.field(name, kind)]) for kind, _ in (one, other)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise ConfigError(
            f"The column `{name}` is {one[0]} in {one[1]} and {other[0]} in {other[1]}.",
            fix="Give it one type, or another name in one of them.",
        ) from None


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Returns the table with the columns of a schema; those that it lacks are null."""
    columns: list[pa.ChunkedArray] = []
    for field in schema:
        if field.name in table.column_names:
            columns.append(table.column(field.name).cast(field.type))
        else:
            columns.append(pa.chunked_array([pa.nulls(table.num_rows, field.type)]))
    return pa.Table.from_arrays(columns, schema=schema)
