"""The items of evaluation sets: what a model is asked there and what it should answer, from whatever file holds them.

Read are JSON lines and JSON, CSV, Parquet and text (each also packed), folders of them, and tilth's datasets. Of a
record, the fields that are commonly used for questions and answers count (`PROMPTS`, `ANSWERS`); a passage beside a
question does not, because it is published text which training data may well hold. In a text file each paragraph is an
item.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from tilth.curation.broken_input import describe, is_broken_input
from tilth.curation.code_languages import PACKED
from tilth.curation.conversation import LISTS, turns_of
from tilth.curation.decoding import open_unpacked
from tilth.errors import DataError
from tilth.files import InputFile, list_files, open_binary
from tilth.paths import is_url
from tilth.storage import MANIFEST, Dataset

PROMPTS = (
    *("question", "query", "prompt", "problem", "instruction", "goal", "ctx", "stem"),
    *("premise", "hypothesis", "sentence", "sentence1", "sentence2"),
)
"""Fields with what is asked."""
TEXTS = ("context", "context_options", "text", "content", "body")
"""Fields that are looked at where a record has none of `PROMPTS`."""
ANSWERS = (
    *("answer", "answers", "solution", "chain_of_thought", "rationale", "explanation", "continuation", "completion"),
    *("response", "output", "chosen", "canonical_solution", "choices", "options", "endings"),
)
"""Fields with what is answered."""
_NAMES = ("id", "task_id", "question_id", "uid", "idx")
_PARAGRAPHS = re.compile(r"\n\s*\n")


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A question of an evaluation set."""

    name: str
    """`<folder>/<file>#<id or number of the record>`."""
    prompts: tuple[str, ...]
    answers: tuple[str, ...] = ()


def read_items(path: str) -> Iterator[Item]:
    """Yields the items of a file, a folder of files, or a dataset, in order.

    Raises: DataError if there are no files, or naming a file or record that cannot be read or holds no item.
    """
    folder = Path(path)
    if not is_url(path) and (folder / MANIFEST).is_file():
        yield from _items(folder.resolve().name, _rows_of_dataset(Dataset.open(folder)), path)
        return
    files = [file for file in list_files(path) if not file.skipped and _suffix(file.name)]
    if not files:
        raise DataError(
            f"There is no evaluation set at {path}.",
            fix="Give a file of JSON lines, JSON, CSV, Parquet or text, a folder of such files, or a dataset.",
        )
    prefix = "" if is_url(path) else f"{(folder if folder.is_dir() else folder.absolute().parent).resolve().name}/"
    for file in files:
        name = f"{prefix}{file.name}"
        if _suffix(file.name) == ".txt":
            yield from _paragraphs(name, file)
        else:
            yield from _items(name, _records(file), file.path)


def _suffix(name: str) -> str:
    """Returns the suffix under the packing, of files that are read; else nothing."""
    path = PurePosixPath(name.lower())
    suffix = path.with_suffix("").suffix if path.suffix in PACKED else path.suffix
    return suffix if suffix in (".jsonl", ".ndjson", ".json", ".csv", ".parquet", ".txt") else ""


def _items(name: str, records: Iterable[Mapping[str, object]], path: str) -> Iterator[Item]:
    found = number = 0
    for number, record in enumerate(records, 1):
        prompts, answers = _fields(record)
        if prompts:
            found += 1
            label = next((record[key] for key in _NAMES if isinstance(record.get(key), str | int)), number)
            yield Item(name=f"{name}#{label}", prompts=tuple(prompts), answers=tuple(answers))
    if number and not found:
        raise DataError(
            f"No record of {path} has a question.", fix=f"Name the field one of {', '.join([*PROMPTS, *TEXTS])}."
        )


def _fields(record: Mapping[str, object]) -> tuple[list[str], list[str]]:
    for field in LISTS:
        turns = turns_of(record.get(field))
        if isinstance(turns, list) and turns:
            return _of_chat(cast("list[object]", turns))
    prompts = [text for field in PROMPTS for text in _texts(record.get(field))]
    if record.get("instruction"):
        prompts += _texts(record.get("input"))
    if not prompts:
        prompts = [text for field in TEXTS for text in _texts(record.get(field))]
    return prompts, [text for field in ANSWERS for text in _texts(record.get(field))]


def _of_chat(turns: list[object]) -> tuple[list[str], list[str]]:
    prompts: list[str] = []
    answers: list[str] = []
    for turn in turns:
        if isinstance(turn, Mapping):
            fields = cast("Mapping[str, object]", turn)
            role = fields.get("role", fields.get("from"))
            side = answers if role in ("assistant", "gpt", "model", "bot") else prompts
            side += _texts(fields.get("content", fields.get("value")))
    return prompts, answers


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value] if value.strip() else []
    if isinstance(value, Mapping):
        return _texts(cast("Mapping[str, object]", value).get("text"))
    if isinstance(value, list | tuple):
        return [text for part in cast("list[object]", value) for text in _texts(part)]
    return []


# Files


def _paragraphs(name: str, file: InputFile) -> Iterator[Item]:
    with open_unpacked(file.path) as stream:
        text = stream.read().decode("utf-8-sig", "replace")
    paragraphs = [part for part in _PARAGRAPHS.split(text) if part.strip()]
    for number, part in enumerate(paragraphs, 1):
        yield Item(name=f"{name}#{number}", prompts=(part,))


def _records(file: InputFile) -> Iterator[Mapping[str, object]]:
    read = {".csv": _csv, ".parquet": _parquet, ".json": _json}.get(_suffix(file.name), _json_lines)
    try:
        yield from read(file.path)
    except (ValueError, OSError) as error:
        if isinstance(error, DataError) or not is_broken_input(error):
            raise
        raise DataError(f"Cannot read the evaluation set {file.path}: {describe(error)}.") from None


def _json_lines(path: str) -> Iterator[Mapping[str, object]]:
    with open_unpacked(path) as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield _object(line, f"{path}, line {number}")


def _json(path: str) -> Iterator[Mapping[str, object]]:
    """A list of records, an object that holds one, or JSON lines under this name."""
    with open_unpacked(path) as stream:
        content = stream.read()
    try:
        value: object = json.loads(content)
    except ValueError:
        yield from _json_lines(path)
        return
    if isinstance(value, dict):
        lists = [part for part in cast("dict[str, object]", value).values() if isinstance(part, list)]
        value = lists[0] if len(lists) == 1 and lists[0] and isinstance(lists[0][0], dict) else [value]
    for number, record in enumerate(cast("list[object]", value) if isinstance(value, list) else [value], 1):
        yield _mapping(record, f"{path}, record {number}")


def _object(line: bytes, where: str) -> Mapping[str, object]:
    try:
        return _mapping(json.loads(line), where)
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where} is no JSON: {error}.") from None


def _mapping(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise DataError(f"{where} is no object.", fix="Each record of an evaluation set is a JSON object.")
    return cast("Mapping[str, object]", value)


def _csv(path: str) -> Iterator[Mapping[str, object]]:
    with open_unpacked(path) as stream:
        rows = csv.DictReader(io.TextIOWrapper(stream, "utf-8-sig", "replace", newline=""))
        yield from cast("Iterator[Mapping[str, object]]", rows)


def _parquet(path: str) -> Iterator[Mapping[str, object]]:
    try:
        with open_binary(path) as stream, pq.ParquetFile(stream) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from _rows(batch)
    except pa.ArrowInvalid as error:
        raise DataError(f"Cannot read the evaluation set {path}: {error}.") from None


def _rows_of_dataset(dataset: Dataset) -> Iterator[Mapping[str, object]]:
    for shard in range(len(dataset.shards)):
        for batch in dataset.batches(shard):
            yield from _rows(batch)


def _rows(batch: pa.RecordBatch) -> list[dict[str, object]]:
    return cast("list[dict[str, object]]", batch.to_pylist())
