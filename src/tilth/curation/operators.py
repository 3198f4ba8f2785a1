"""Operators: what curation does to documents, one after another, as a list in its config.

An operator has a name and `apply(batch) -> Outcome`. Its batch holds the columns of `DOCUMENT_SCHEMA`, `html` where
there are pages, and any others (`score_*`, `lineage`, what an input or an earlier operator brought along): it returns
all of them for the rows that it keeps, and may add some. Each document comes back once, kept or dropped, with its id
and source. A filter of one's own judges one document at a time:

    def long_enough(row):
        return None if len(row["text"]) > 1000 else Drop("too_short", f"{len(row['text'])} characters")

    def factory(config):
        return judge("length", long_enough)

and is named `path/to/file.py:factory` or `package.module:factory` in `CurationConfig.operators`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import pyarrow as pa

from tilth.curation.broken_input import describe, is_broken_input
from tilth.curation.config import CurationConfig
from tilth.errors import ConfigError
from tilth.types import DEAD_LETTER_SCHEMA, DOCUMENT_SCHEMA, REJECT_SCHEMA, document_id
from tilth.user_code import load_object

EXCERPT_CHARACTERS = 400
"""How much of a dropped document is kept for a person to judge the drop by."""
RESERVED = ("read", "languages", "dedup")
"""Names of the stages before and after the operators."""

REJECTS = pa.schema(
    [
        *REJECT_SCHEMA,
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("corpus", pa.string()),
        pa.field("measure", pa.float64()),
        pa.field("limit", pa.float64()),
    ]
)
"""`tilth.types.REJECT_SCHEMA`, the size of what was dropped, its corpus, and the measure that broke the limit."""
DEAD_LETTERS = DEAD_LETTER_SCHEMA.append(pa.field("bytes", pa.int64(), nullable=False))
"""`tilth.types.DEAD_LETTER_SCHEMA` and the size of what was lost, where it is known."""

Row = Mapping[str, object]
"""A document as its columns; `meta` and `lineage` are JSON strings, `html` (bytes) is set for pages."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A judgement: the document is dropped, for a reason that a person can look up."""

    reason: str
    """A short name, the same for all documents that are dropped for it (`too_few_words`)."""
    detail: str = ""
    """What was measured in this one, beside the limit (`31 words < 50`)."""
    measure: float | None = None
    """The measured number, in the unit of `limit` (shares in 0..1)."""
    limit: float | None = None
    """The limit that it broke."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an operator made of a batch."""

    kept: pa.RecordBatch
    rejects: pa.Table
    """Rows of `REJECTS`."""
    dead_letters: pa.Table
    """Rows of `DEAD_LETTERS`."""


@runtime_checkable
class Operator(Protocol):
    """A stage of curation.

    What it raises ends the run, because a bug must not pass for a bad document; only errors of decoding and parsing
    (`broken_input.is_broken_input`) make the document a dead letter.
    """

    name: str
    """The stage's name in the ledger, in rejects and in dead letters."""

    def apply(self, batch: pa.RecordBatch) -> Outcome:
        """Returns what becomes of the documents of a batch."""
        ...


Judge = Callable[[Row], "Drop | Row | None"]
"""Keeps a document (None), drops it, or returns it with changed or added columns."""


def no_clock() -> None:
    """Does nothing: outside the guarded process no time is measured."""


@dataclass
class _Judged:
    name: str
    judge: Judge
    begin: Callable[[], None] = no_clock

    def apply(self, batch: pa.RecordBatch) -> Outcome:
        rows = cast("list[dict[str, object]]", batch.to_pylist())
        kept: list[int] = []
        changed: dict[int, Row] = {}
        rejects: list[Row] = []
        dead_letters: list[Row] = []
        for index, row in enumerate(rows):
            self.begin()
            try:
                verdict = self.judge(dict(row))  # a copy, so that what it changes in place is seen
            except BaseException as error:
                if not is_broken_input(error):
                    raise
                dead_letters.append(dead_letter_row(row, self.name, describe(error)))
                continue
            if isinstance(verdict, Drop):
                rejects.append(reject_row(row, self.name, verdict))
                continue
            if not isinstance(verdict, Mapping | None):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigError(
                    f"The operator `{self.name}` judged a document to be {verdict!r:.100}.",
                    fix="Return None to keep it, `Drop(reason)`, or a changed row.",
                )
            kept.append(index)
            if verdict is not None:
                changed[index] = verdict
        return Outcome(
            kept=_with_changes(batch, rows, kept, changed),
            rejects=pa.Table.from_pylist(rejects, schema=REJECTS),
            dead_letters=pa.Table.from_pylist(dead_letters, schema=DEAD_LETTERS),
        )


def judge(name: str, fn: Judge) -> Operator:
    """Returns an operator that judges one document at a time.

    `fn(row)` returns None (keep), `Drop(reason, detail)`, or a new row with changed or added columns.
    """
    return _Judged(name, fn)


def build_operators(config: CurationConfig, begin: Callable[[], None] = no_clock) -> list[Operator]:
    """Returns the operators that a config names, in order; `begin` is called before each document that is judged.

    Raises: ConfigError if a factory cannot be loaded or gives no operator, or if two have one name.
    """
    operators: list[Operator] = []
    for spec in config.all_operators:
        operator = _built_in(spec, config) if ":" not in spec else _own(spec, config)
        if operator.name in (*RESERVED, *(other.name for other in operators)):
            raise ConfigError(
                f"The operator `{spec}` is called `{operator.name}`, as another stage is.",
                fix="Give each operator a name of its own.",
            )
        if isinstance(operator, _Judged):
            operator = _Judged(operator.name, operator.judge, begin)
        operators.append(operator)
    return operators


def _built_in(name: str, config: CurationConfig) -> Operator:
    if name == "extract":
        from tilth.curation import extraction as module
    elif name == "language":
        from tilth.curation import language as module
    elif name == "decontaminate":
        from tilth.curation import decontamination as module
    elif name == "against":
        from tilth.curation import near_duplicates as module
    elif name == "quality":
        from tilth.curation import quality as module
    else:
        from tilth.curation import rules as module
    return module.operator(config)


def _own(spec: str, config: CurationConfig) -> Operator:
    factory = load_object(spec)
    if not callable(factory):
        raise ConfigError(f"`{spec}` is no function.", fix="Name a function that takes a CurationConfig.")
    operator = factory(config)
    if not isinstance(operator, Operator):
        raise ConfigError(
            f"`{spec}` returned {type(operator).__name__}, which is no operator.",
            fix="Return `judge(name, fn)`, or an object with `name` and `apply(batch)`.",
        )
    return operator


def check_outcome(batch: pa.RecordBatch, outcome: object, name: str) -> None:
    """Checks what the operator `name` returned: tables of the right columns, with each document of its batch once.

    Raises: ConfigError naming what is wrong, or a document that was lost or doubled, or has another id or source.
    """
    if not isinstance(outcome, Outcome) or not isinstance(cast(object, outcome.kept), pa.RecordBatch):
        made = outcome.kept if isinstance(outcome, Outcome) else outcome
        raise ConfigError(
            f"The operator `{name}` returned {type(made).__name__}.",
            fix="Return an Outcome, with the kept documents as a RecordBatch.",
        )
    kept = outcome.kept
    for field in batch.schema:
        now = kept.schema.field(field.name) if field.name in kept.schema.names else None
        if now is None and field.name != "html":
            raise ConfigError(
                f"The operator `{name}` lost the column `{field.name}`.", fix="Return all columns that came in."
            )
        if now is not None and now.type != field.type and field.name in DOCUMENT_SCHEMA.names:
            raise ConfigError(
                f"The operator `{name}` made the column `{field.name}` {now.type}.", fix=f"Leave it {field.type}."
            )
    for table, expected in ((outcome.rejects, REJECTS), (outcome.dead_letters, DEAD_LETTERS)):
        if not isinstance(cast(object, table), pa.Table) or not table.schema.equals(expected):
            raise ConfigError(
                f"The operator `{name}` returned rejects or dead letters with other columns than "
                f"{', '.join(expected.names)}.",
                fix="Make them with `pa.Table.from_pylist(rows, schema=REJECTS)`, or `schema=DEAD_LETTERS`.",
            )
    before = _documents(batch)
    after = _documents(kept) + _documents(outcome.rejects) + _documents(outcome.dead_letters)
    if before != after:
        ((identifier, source), _) = ((before - after) or (after - before)).most_common(1)[0]
        raise ConfigError(
            f"The operator `{name}` was given {before.total():,} documents and returned {after.total():,}, kept and "
            f"dropped: {source} (id {identifier}) {'is not among them' if before - after else 'is too many'}.",
            fix="Return each document once, kept or with a reason in `rejects`, and leave its `id` and `source`.",
        )


def _documents(table: pa.RecordBatch | pa.Table) -> Counter[tuple[object, object]]:
    return Counter(zip(table.column("id").to_pylist(), table.column("source").to_pylist(), strict=True))


def kind(row: Row) -> str:
    """Returns what the reader took a document for: `code` or `prose`."""
    meta = row.get("meta")
    return str(json.loads(str(meta)).get("kind") or "prose") if meta else "prose"


# Tables


def row_bytes(row: Row) -> int:
    """Returns the size of a row: bytes of its HTML, or of its text in UTF-8."""
    html = row.get("html")
    return len(html) if isinstance(html, bytes) else len(str(row["text"]).encode())


def reject_row(row: Row, stage: str, drop: Drop) -> Row:
    """Returns the row of `REJECTS` for a document."""
    return _note(row, stage) | _verdict(drop) | {"corpus": corpus_of(row)}


def dead_letter_row(row: Row, stage: str, error: str) -> Row:
    """Returns the row of `DEAD_LETTERS` for a document."""
    return _note(row, stage) | {"error": error}


def file_reject(source: str, drop: Drop, *, corpus: str = "", size: int = 0, excerpt: str = "") -> Row:
    """Returns the row of `REJECTS` for a file or record that never became a document."""
    return _file_note(source, size, excerpt) | _verdict(drop) | {"corpus": corpus}


def file_dead_letter(source: str, error: str, *, size: int = 0, excerpt: str = "") -> Row:
    """Returns the row of `DEAD_LETTERS` for a file or record that could not be read."""
    return _file_note(source, size, excerpt) | {"error": error}


def corpus_of(row: Row) -> str:
    """Returns the name of the corpus that a document was last read from, as its lineage says."""
    entries = json.loads(str(row.get("lineage") or "[]"))
    return next((str(entry["corpus"]) for entry in reversed(entries) if entry.get("stage") == "read"), "")


def _verdict(drop: Drop) -> dict[str, object]:
    return {"reason": drop.reason, "detail": drop.detail, "measure": drop.measure, "limit": drop.limit}


def _file_note(source: str, size: int, excerpt: str) -> dict[str, object]:
    return {
        "id": document_id(source, ""),
        "stage": "read",
        "source": source,
        "excerpt": excerpt[:EXCERPT_CHARACTERS],
        "bytes": size,
    }


def _note(row: Row, stage: str) -> dict[str, object]:
    html = row.get("html")
    if isinstance(html, bytes):
        excerpt = html[:EXCERPT_CHARACTERS].decode("utf-8", "replace")
    else:
        excerpt = str(row["text"])[:EXCERPT_CHARACTERS]
    return {
        "id": row["id"],
        "stage": stage,
        "source": row["source"],
        "excerpt": excerpt,
        "bytes": row_bytes(row),
    }


def _with_changes(
    batch: pa.RecordBatch, rows: Sequence[Row], kept: Sequence[int], changed: Mapping[int, Row]
) -> pa.RecordBatch:
    """Returns the kept rows of a batch; of the columns, only those that a judge changed are built again."""
    if len(kept) < batch.num_rows:
        batch = batch.take(pa.array(kept, pa.int64()))
    if not changed:
        return batch
    touched = dict.fromkeys(
        name
        for index, row in changed.items()
        for name, value in row.items()
        if name not in rows[index] or value is not rows[index][name]
    )
    for name in touched:
        field = _field(batch.schema, name)
        values = [changed.get(index, rows[index]).get(name) for index in kept]
        column = cast("pa.Array[Any]", pa.array(values, field.type if field else None))
        position = batch.schema.get_field_index(name)
        if position < 0:
            batch = batch.append_column(name if field is None else field, column)
        elif field is not None:
            batch = batch.set_column(position, field, column)
    return batch


def _field(schema: pa.Schema, name: str) -> pa.Field[Any] | None:
    if name in schema.names:
        return schema.field(name)
    if name in DOCUMENT_SCHEMA.names:
        return DOCUMENT_SCHEMA.field(name)
    return pa.field(name, pa.float64()) if name.startswith("score_") else None
