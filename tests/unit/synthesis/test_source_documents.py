"""Datasets of others, whose columns hold what nobody expects."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tilth.errors import DataError
from tilth.execute import Context
from tilth.storage import Dataset, finish_dataset, shard_name, write_table
from tilth.synthesis.run import synthesize
from tilth.synthesis.source_documents import SourceDocuments
from toy_recipe import LongEnough, NoTeacher, ScriptedDoor, toy


def dataset(folder: Path, **columns: list[Any]) -> Path:
    text = "Document 1 says things about soil and stones."
    row = {"id": ["one"], "text": [text], "source": ["a.txt"], "url": [None], "language": [None], "meta": ["{}"]}
    write_table(folder / shard_name(0), pa.table(row | columns))
    finish_dataset(folder, shards=[shard_name(0)], made_by="test")
    return folder


def run(source: Path, out: Path) -> Path:
    door = ScriptedDoor(out.parent / "cache")
    synthesize(source, out, toy, NoTeacher(), None, Context(workers=1), gates=[LongEnough()], open_asker=door)
    return out


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("lineage", "from a crawl"),
        ("lineage", '{"stage": "read"}'),
        ("lineage", "[1, 2]"),
        ("lineage", "[" * 100_000),
        ("lineage", [{"stage": "read"}]),
        ("meta", "from a crawl"),
        ("meta", "[1]"),
    ],
)
def test_a_column_that_is_called_as_one_of_ours_is_named(column: str, value: Any, tmp_path: Path) -> None:
    source = dataset(tmp_path / "source", **{column: [value]})
    with pytest.raises(DataError, match=f"`{column}` of the document one is not"):
        list(SourceDocuments.choose(Dataset.open(source), None, toy))


def test_what_travels_along_is_json_and_utf8(tmp_path: Path) -> None:
    lineage = json.dumps([{"stage": "read", "corpus": "\ud800"}])
    odd = {"lineage": [lineage], "score_x": [float("nan")], "score_y": [float("-inf")], "n": [3], "list": [[1]]}
    out = run(dataset(tmp_path / "source", **odd), tmp_path / "out")
    (shard,) = (out / "samples").glob("*.parquet")
    for row in pq.read_table(shard).to_pylist():
        assert json.loads(row["meta"], parse_constant=pytest.fail)["seed"] == {"n": 3}
        assert json.loads(row["lineage"])[0] == {"stage": "read", "corpus": "?"}
