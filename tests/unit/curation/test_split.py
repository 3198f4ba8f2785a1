"""What is held out, and that growth never moves a document across."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tilth.curation.config import CurationConfig
from tilth.curation.groups import group_of, share
from tilth.curation.pipeline import curate
from tilth.curation.read_result import GROUP
from tilth.curation.result import Ledger, Split
from tilth.curation.sections import PARAGRAPH_BYTES
from tilth.curation.split import is_held_out
from tilth.execute import Context
from tilth.files import list_files
from tilth.progress import PlainProgress
from tilth.storage import Dataset
from tilth.types import document_id


def run(folder: Path, out: Path, **fields: object) -> tuple[Ledger, dict[str, set[str]]]:
    """Curates without rules; returns the ledger and the sources on each side."""
    config = CurationConfig(operators=("extract",), **fields)  # type: ignore[arg-type]
    ledger = curate(list_files(str(folder)), out, config, Context(workers=1, progress=PlainProgress()))
    sides = ("train", "held_out")
    return ledger, {side: {d.source for d in Dataset.open(out / side).documents()} for side in sides}


def records(path: Path, first: int, last: int, **fields: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"text": f"record {n}", **fields} for n in range(first, last)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_records_are_held_out_by_their_own_hash_and_the_threshold_is_stored(tmp_path: Path) -> None:
    records(tmp_path / "in" / "a.jsonl", 0, 1000)
    ledger, sides = run(tmp_path / "in", tmp_path / "out", held_out_fraction=0.1)
    assert ledger.split == Split(by="document", threshold=0.1, seed=0)
    assert 70 < len(sides["held_out"]) < 130
    for side, expected in (("train", False), ("held_out", True)):
        for document in Dataset.open(tmp_path / "out" / side).documents():
            assert (share(document.id, 0) < 0.1) == expected


def test_all_parts_of_a_text_file_are_on_one_side(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for book in range(12):
        chapters = [f"Book {book}, chapter {n}.\n" + f"word{book} " * (PARAGRAPH_BYTES // 6) for n in range(3)]
        (tmp_path / "in" / f"{book}.txt").write_text("\n\n".join(chapters))
    _, sides = run(tmp_path / "in", tmp_path / "out", held_out_fraction=0.5, near_duplicate_threshold=None)
    books = {side: {source.split("#")[0] for source in sources} for side, sources in sides.items()}
    assert not books["train"] & books["held_out"]
    assert sum(map(len, books.values())) == 12
    assert all(books.values())
    assert len(sides["train"]) > len(books["train"])
    # Read again from the datasets, where they are rows of their own, the parts stay together.
    (tmp_path / "both").mkdir()
    for side in sides:
        for path in (tmp_path / "out" / side).glob("*.parquet"):
            (tmp_path / "both" / f"{side}-{path.name}").write_bytes(path.read_bytes())
    _, again = run(tmp_path / "both", tmp_path / "again", held_out_fraction=0.5, near_duplicate_threshold=None)
    assert again == sides


@pytest.mark.parametrize(("by", "key"), [("file", lambda s: s.split("#")[0]), ("site", lambda s: s.split(".")[0])])
def test_files_and_sites_are_held_out_as_a_whole(tmp_path: Path, by: str, key: object) -> None:
    for n in range(20):
        records(tmp_path / "in" / f"{n}.jsonl", 10 * n, 10 * n + 5, url=f"http://site{n % 10}.org/{n}")
    _, sides = run(tmp_path / "in", tmp_path / "out", held_out_fraction=0.4, held_out_by=by)
    groups = {
        side: {s.split("#")[0] if by == "file" else int(s.split(".")[0]) % 10 for s in sources}
        for side, sources in sides.items()
    }
    assert not groups["train"] & groups["held_out"]
    assert len(groups["train"] | groups["held_out"]) == (20 if by == "file" else 10)
    assert all(sides.values())
    assert sum(map(len, sides.values())) == 100


def test_groups() -> None:
    row: Mapping[str, object] = {GROUP: "g", "url": "https://User@Example.ORG:80/x"}
    assert group_of(row, "site") == "example.org"
    assert group_of(row, "document") == "g"
    assert group_of({GROUP: "g", "url": None}, "site") == group_of({GROUP: "g", "url": "http://[x"}, "site") == "g"
    assert is_held_out(row, Split(by="site", threshold=1.0, seed=1))
    assert not is_held_out(row, Split(by="site", threshold=0.0, seed=1))


def test_where_the_plain_threshold_is_far_off_the_closest_hash_counts_and_the_user_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records(tmp_path / "in" / "a.jsonl", 0, 100)
    groups = [document_id("", f"record {n}") for n in range(100)]
    seed = next(seed for seed in range(100) if min(share(group, seed) for group in groups) > 0.01)
    ledger, sides = run(tmp_path / "in", tmp_path / "out", held_out_fraction=0.01, seed=seed)
    assert len(sides["held_out"]) == 1
    assert ledger.split is not None
    documents = Dataset.open(tmp_path / "out" / "held_out").documents()
    assert all(share(document.id, seed) < ledger.split.threshold for document in documents)
    assert "Held out: 1.0% of the text" in capsys.readouterr().err
