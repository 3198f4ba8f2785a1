"""From a sample to the bytes that it was made of."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilth.errors import ConfigError
from tilth.execute import Context
from tilth.storage import Dataset, finish_dataset, write_dataset, write_table
from tilth.synthesis.config import SynthesisConfig
from tilth.synthesis.define import Draft, recipe
from tilth.synthesis.lineage import is_made, lines, origins, span_text
from tilth.synthesis.result import SYNTHESIS
from tilth.synthesis.run import synthesize
from tilth.types import DOCUMENT_SCHEMA, Document, extend_lineage
from toy_recipe import LongEnough, NoTeacher, ScriptedDoor, toy


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two documents with a lineage and columns of their own."""
    lineage = extend_lineage(None, stage="read", corpus="books", source="a.txt")
    rows: list[dict[str, Any]] = []
    for i in range(2):
        document = Document.make(f"Säule {i} of sandstone, and more of it beneath.", f"books/{i}.txt", url="http://x/")
        rows.append({**document.row(), "lineage": lineage, "score_quality": 2.5 + i, "tag": f"t{i}"})
    schema = pa.schema(
        [*DOCUMENT_SCHEMA, ("lineage", pa.string()), ("score_quality", pa.float64()), ("tag", pa.string())]
    )
    write_table(tmp_path / "source" / "a.parquet", pa.Table.from_pylist(rows, schema=schema))
    finish_dataset(tmp_path / "source", shards=["a.parquet"], made_by="test")
    return tmp_path / "source"


def run(source: Path, out: Path, of: Any = toy) -> list[dict[str, Any]]:
    door = ScriptedDoor(out.parent / "cache")
    context = Context(workers=1)
    synthesize(source, out, of, NoTeacher(), SynthesisConfig(), context, gates=[LongEnough(7)], open_asker=door)
    return [row for path in (out / "samples").glob("*.parquet") for row in pq.read_table(path).to_pylist()]


def test_a_sample_leads_to_prompt_teacher_gates_and_source_bytes(source: Path, tmp_path: Path) -> None:
    rows = run(source, tmp_path / "out")
    row = next(row for row in rows if row["part"] == "plain" and row["source"] == "toy/books/1.txt")
    read, made = json.loads(row["lineage"])
    assert read == {"stage": "read", "corpus": "books", "source": "a.txt"}
    assert made["stage"] == "synthesize" and made["dataset"] == Dataset.open(source).fingerprint
    assert made["cell"]["tone"] in ("dry", "warm") and made["span"] == [0, 20]
    (answer,) = made["answers"]
    assert answer["prompt"] == "toy/say" and answer["prompt_version"] == 1 and answer["teacher"] == "script"
    assert answer["params"] == {"max_tokens": 100, "temperature": 0.5, "seed": answer["params"]["seed"]}
    assert json.loads((tmp_path / "cache" / answer["key"]).read_text())["text"] in row["text"]
    assert made["gates"] == [{"gate": "length", "measure": len(row["text"]), "limit": 7}]
    assert row["url"] == "http://x/"
    assert json.loads(row["meta"])["seed"] == {"score_quality": 3.5, "tag": "t1"}
    (origin,) = origins(row["lineage"], [tmp_path / "cache", source])
    assert origin.text == "Säule 1 of sandston" and origin.folder == str(source)
    said = "\n".join(lines(origin))
    for wanted in ("toy/say, version 1", "teacher script", "length: passed", "bytes 0 to 20", "Säule 1", answer["key"]):
        assert wanted in said


def test_another_dataset_is_not_taken_for_the_source(source: Path, tmp_path: Path) -> None:
    row = run(source, tmp_path / "out")[0]
    write_dataset(tmp_path / "other", Dataset.open(source).documents(), made_by="test")
    (origin,) = origins(row["lineage"], [tmp_path / "other"])
    assert origin.text is None and "not at hand" in "\n".join(lines(origin))


def test_all_answers_of_a_sample_are_in_its_lineage(source: Path, tmp_path: Path) -> None:
    made = [json.loads(row["lineage"])[-1] for row in run(source, tmp_path / "out") if row["part"] == "titled"]
    assert made and all([one["prompt"] for one in entry["answers"]] == ["toy/say", "toy/title"] for entry in made)


def test_the_source_is_found_from_another_working_directory(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(Path(source.name), tmp_path / "out")
    assert json.loads((tmp_path / "out" / SYNTHESIS).read_text())["dataset"] == str(source)


def test_an_example_shows_the_bytes_of_its_span(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "out")
    shown = json.loads((tmp_path / "out" / SYNTHESIS).read_text())["kept_examples"]
    assert {one["source_excerpt"] for one in shown if one["part"] == "plain"} == {
        f"Säule {i} of sandstone"[:19] for i in range(2)
    }


def test_documents_that_nobody_made_have_no_origin() -> None:
    lineage = extend_lineage(None, stage="read", corpus="books")
    assert not is_made(lineage) and not is_made(None) and origins(lineage, []) == []


def test_annotated_documents_keep_id_columns_and_lineage(source: Path, tmp_path: Path) -> None:
    @recipe("judge", version=1, shape="annotation")
    async def judge(document: Document, ask: Any) -> list[Draft]:
        """Scores a document."""
        return [Draft(text=document.text, keeps_id=True, scores={"depth": len(document.text)}, meta={"why": "long"})]

    rows = run(source, tmp_path / "out", judge)
    before = [row for path in source.glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    for row, old in zip(rows, before, strict=True):
        assert {name: row[name] for name in ("id", "text", "source", "score_quality", "tag")} == {
            name: old[name] for name in ("id", "text", "source", "score_quality", "tag")
        }
        assert row["score_depth"] == len(row["text"]) and json.loads(row["meta"]) == {"why": "long"}
        assert [entry["stage"] for entry in json.loads(row["lineage"])] == ["read", "synthesize"]
        assert "gates" not in json.loads(row["lineage"])[-1]  # the gates are about new text


async def annotated(document: Document, ask: Any) -> list[Draft]:
    """Gives the document back."""
    return [Draft(text=document.text, keeps_id=True)]


async def twice(document: Document, ask: Any) -> list[Draft]:
    """Gives the document back, twice."""
    return [Draft(text=document.text, keeps_id=True), Draft(text=document.text[:9], keeps_id=True)]


def test_an_annotated_document_keeps_its_column_part(source: Path, tmp_path: Path) -> None:
    """As samples of an earlier run have one."""
    (path,) = source.glob("*.parquet")
    table = pq.read_table(path).append_column("part", pa.array(["plain", "titled"]))
    write_table(tmp_path / "parts" / "a.parquet", table)
    finish_dataset(tmp_path / "parts", shards=["a.parquet"], made_by="test")
    rows = run(tmp_path / "parts", tmp_path / "out", recipe("judge", version=1, shape="annotation")(annotated))
    assert [row["part"] for row in rows] == ["plain", "titled"]


async def without_first(document: Document, ask: Any) -> list[Draft]:
    """Gives back all documents but the first."""
    return [] if document.text.startswith("Säule 0") else [Draft(text=document.text, keeps_id=True)]


def test_columns_stay_with_their_document_where_others_are_dropped(source: Path, tmp_path: Path) -> None:
    (row,) = run(source, tmp_path / "out", recipe("judge", version=1, shape="annotation")(without_first))
    assert row["text"].startswith("Säule 1") and (row["tag"], row["score_quality"]) == ("t1", 3.5)


def test_no_document_is_there_twice_under_its_id(source: Path, tmp_path: Path) -> None:
    judge = recipe("judge", version=1, shape="annotation")
    with pytest.raises(ConfigError, match="2 samples") as error:
        synthesize(source, tmp_path / "a", judge(annotated), NoTeacher(), SynthesisConfig(samples=2))
    assert "--samples" in str(error.value)
    with pytest.raises(ConfigError, match="more than once"):
        run(source, tmp_path / "b", judge(twice))
    with pytest.raises(ConfigError, match="shape `text`"):
        run(source, tmp_path / "c", recipe("judge", version=1, shape="text")(annotated))


@given(st.text(alphabet=st.characters(codec="utf-8")), st.data())
def test_a_span_is_counted_in_bytes(text: str, data: Any) -> None:
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, len(text)))
    span = len(text[:begin].encode()), len(text[:end].encode())
    assert span_text(text, span) == text[begin:end]
