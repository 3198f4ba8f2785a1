from pathlib import Path

import pytest

from tilth.errors import DataError
from tilth.sources import Source


def test_content_is_hashed_once_and_again_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, runs = tmp_path / "corpus", tmp_path / "runs"
    corpus.mkdir()
    (corpus / "a.txt").write_text("one")
    first = Source(str(corpus)).fingerprint(runs)
    hashed: list[str] = []
    original = __import__("tilth.sources", fromlist=["x"])._hash_file
    monkeypatch.setattr("tilth.sources._hash_file", lambda f: hashed.append(f.name) or original(f))
    assert Source(str(corpus)).fingerprint(runs) == first
    assert hashed == []
    (corpus / "a.txt").write_text("other")
    assert Source(str(corpus)).fingerprint(runs) != first
    assert hashed == ["a.txt"]


def test_names_count_and_places_do_not(tmp_path: Path) -> None:
    for folder, name in (("x", "a.txt"), ("y", "a.txt"), ("z", "b.txt")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("same")
    x, y, z = (Source(str(tmp_path / f)).fingerprint(tmp_path / "runs") for f in "xyz")
    assert x == y != z


def test_a_file_that_cannot_be_read_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "broken").symlink_to(tmp_path / "gone")
    (tmp_path / "c" / "a.txt").write_text("x")
    assert len(Source(str(tmp_path / "c")).fingerprint(tmp_path / "runs")) == 16


def test_a_missing_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        Source(str(tmp_path / "nowhere")).fingerprint(tmp_path)
