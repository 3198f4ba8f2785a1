"""The ledger of a curation at work: what ended tasks dropped so far, and no trace of it in the outcome."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tilth.curation import live_ledger, pipeline
from tilth.curation.config import CurationConfig
from tilth.curation.result import LEDGER, Ledger
from tilth.execute import Context
from tilth.files import list_files
from tilth.results import read_result
from unit.curation.test_pipeline import essay

CONFIG = CurationConfig(held_out_fraction=0.2, shard_bytes=20_000)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for index in range(60):
        (folder / f"{index:02d}.txt").write_text("too short" if index % 5 == 0 else essay(index))
    return folder


def content(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_ledger_grows_with_the_tasks_and_ends_at_the_final_counts(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_MIN_TASK_BYTES", 20_000)
    monkeypatch.setattr(live_ledger, "SHARE", 1e9)
    monkeypatch.setattr(live_ledger, "LEAST_SECONDS", 0.0)
    read: list[int] = []
    wrote = live_ledger.write_result

    def noted(path: Path, ledger: Ledger) -> None:
        read.append(ledger.stages[0].documents_in)
        wrote(path, ledger)

    monkeypatch.setattr(live_ledger, "write_result", noted)
    live = tmp_path / "live"
    final = pipeline.curate(list_files(str(corpus)), tmp_path / "out", CONFIG, Context(workers=1, live=live))
    assert len(read) > 3 and read == sorted(read) and read[0] < read[-1] == 60
    last = read_result(Ledger, live / LEDGER)
    assert last.stages == final.stages[:-1], "all but the search for duplicates"
    (dropped,) = last.rejects
    (same,) = [reject for reject in final.rejects if reject.stage == dropped.stage]
    assert (dropped.reason, dropped.documents, dropped.bytes) == (same.reason, same.documents, same.bytes)
    assert len(dropped.examples) == 3
    assert last.train.documents == last.stages[-1].documents_out == 48


def test_looking_changes_no_byte_of_the_outcome(corpus: Path, tmp_path: Path) -> None:
    for name, live in (("seen", tmp_path / "live"), ("unseen", None)):
        pipeline.curate(list_files(str(corpus)), tmp_path / name, CONFIG, Context(workers=1, live=live))
    assert content(tmp_path / "seen") == content(tmp_path / "unseen")


def test_a_disk_that_takes_no_ledger_ends_nothing(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "live").write_text("a file, where a folder should be")
    live = tmp_path / "live" / "curate"
    ledger = pipeline.curate(list_files(str(corpus)), tmp_path / "out", CONFIG, Context(workers=1, live=live))
    assert ledger.train.documents > 0
