"""The recipes from documents to texts on real documents, through gateway and gates, in process and over HTTP."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from real_data import FOLDER, manuals
from tilth.execute import Context
from tilth.storage import finish_dataset, shard_name, write_table
from tilth.synthesis.config import GateConfig, SynthesisConfig
from tilth.synthesis.define import load_recipe
from tilth.synthesis.recipes.nemotron_cc import HIGH
from tilth.synthesis.run import synthesize
from tilth.teacher.http import HttpTeacher
from tilth.teacher.loopback import LoopbackServer
from tilth.teacher.scripted import ScriptedTeacher
from tilth.types import Document, documents_table
from unit.synthesis.recipes.text_answers import plausible

PARTS = {
    "active-reading": {""},
    "agentinstruct": None,
    "cosmopedia": None,
    "extract-json": {"terms"},
    "finephrase": {"table", "faq", "math", "tutorial"},
    "html-page": {""},
    "nemotron-cc": {"wikipedia", *HIGH},
    "wrap": {"easy", "medium", "hard", "qa"},
}
"""Recipe -> what its samples are called; None: chosen at random."""


def real_documents() -> list[Document]:
    """Chapters of textbooks and pages of the web; where these are not at hand, manuals of Python."""
    found: list[Document] = []
    if not FOLDER.is_dir():
        return [Document.make(text[:6000], f"python/{n}") for n, text in enumerate(manuals(6))]
    for name in ("textbooks_openstax/openstax_ccby", "web_domain_samples/redpajama-cc-2023-06-refined"):
        with pa.CompressedInputStream(str(FOLDER / f"{name}.jsonl.zst"), "zstd") as stream:
            lines = stream.read().split(b"\n")[:3]
        found += [Document.make(json.loads(line)["text"][:6000], f"{name}/{n}") for n, line in enumerate(lines)]
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with a column of quality: every other document is of low quality."""
    folder = tmp_path_factory.mktemp("documents")
    table = documents_table(real_documents())
    scores = pa.array([15.0 if n % 2 else 5.0 for n in range(table.num_rows)])
    write_table(folder / shard_name(0), table.append_column("score_bucket", scores))
    finish_dataset(folder, shards=[shard_name(0)], made_by="test")
    return folder


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize("name", sorted(PARTS))
def test_a_recipe_end_to_end(name: str, source: Path, tmp_path: Path) -> None:
    """The same samples in process and over HTTP, with their prompts and spans in their lineage."""
    # The scripted answers are much alike, and the same whatever the language.
    config = SynthesisConfig(gates=GateConfig(near_duplicate_threshold=None, languages=()))
    scripted = ScriptedTeacher(plausible)
    result = synthesize(source, tmp_path / "a", name, scripted, config, Context(cache=tmp_path / "cache"))
    made = rows(tmp_path / "a" / "samples")
    assert result.samples_kept == len(made) > 0
    assert PARTS[name] in (None, {row["part"] or "" for row in made})
    texts = {document.id: document.text.encode() for document in real_documents()}
    for row in made:
        entry = json.loads(row["lineage"])[-1]
        begin, end = entry["span"]
        assert texts[entry["source_id"]][begin:end].decode().strip()
        assert entry["recipe"] == name
        assert {answer["prompt"].partition("/")[0] for answer in entry["answers"]} == {name}
        assert bool(row.get("messages")) == (load_recipe(name).shape == "chat")
    with LoopbackServer(plausible) as server:
        teacher = HttpTeacher(server.url, "scripted")
        synthesize(source, tmp_path / "b", name, teacher, config, Context(cache=tmp_path / "other"))
    assert [row["text"] for row in rows(tmp_path / "b" / "samples")] == [row["text"] for row in made]
