import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tilth.curation import dedup, near_duplicates
from tilth.curation.config import CurationConfig
from tilth.curation.near_duplicates import NearDuplicateIndex
from tilth.curation.pipeline import curate
from tilth.errors import ConfigError, DataError
from tilth.execute import Context
from tilth.files import list_files
from tilth.storage import Dataset, write_dataset
from tilth.types import Document

VOCABULARY = [f"word{n}" for n in range(5000)]


def text(seed: int, n: int = 200) -> list[str]:
    rng = random.Random(seed)
    return [rng.choice(VOCABULARY) for _ in range(n)]


def changed(words: list[str], n_changes: int, seed: int = 99) -> list[str]:
    rng = random.Random(seed)
    words = list(words)
    for position in rng.sample(range(len(words)), n_changes):
        words[position] = f"changed{rng.randrange(10**9)}"
    return words


def filled(n: int, threshold: float | None = 0.8) -> NearDuplicateIndex:
    index = NearDuplicateIndex(threshold)
    for seed in range(n):
        index.add(f"d{seed}", " ".join(text(seed)))
    return index


def test_copies_near_duplicates_and_others_are_told_apart() -> None:
    index = filled(20)
    copy = index.find("  ".join(text(7)))
    assert copy is not None
    assert (copy.id, copy.similarity, copy.is_copy) == ("d7", 1.0, True)
    near = " ".join(changed(text(7), 2))
    match = index.find(near)
    assert match is not None
    assert match.id == "d7"
    assert not match.is_copy
    assert match.similarity == dedup.jaccard(dedup.shingles(" ".join(text(7))), dedup.shingles(near))
    assert 0.8 <= match.similarity < 1
    assert index.find(" ".join(changed(text(7), 20))) is None
    assert index.find(" ".join(text(100))) is None


def test_the_limit_is_exact_and_below_it_the_nearest_is_still_told() -> None:
    near = " ".join(changed(text(3), 2))
    similarity = dedup.jaccard(dedup.shingles(" ".join(text(3))), dedup.shingles(near))
    assert filled(5, similarity).find(near) is not None
    index = filled(5, similarity + 1e-9)
    assert index.find(near) is None
    nearest = index.nearest(near)
    assert nearest is not None
    assert nearest.similarity == similarity


def test_the_most_similar_is_named_whatever_came_first() -> None:
    texts = {"far": changed(text(1), 6), "near": changed(text(1), 1), "near too": [*changed(text(1), 1), "..."]}
    for names in (("far", "near"), ("near", "far"), ("far", "near", "near too")):
        index = NearDuplicateIndex(0.5)
        for name in names:
            index.add(name, " ".join(texts[name]))
        match = index.find(" ".join(text(1)))
        assert match is not None
        assert match.id == "near"


def test_without_a_threshold_only_copies_are_found() -> None:
    index = filled(5, None)
    assert index.find(" ".join(text(2))) is not None
    assert index.find(" ".join(changed(text(2), 1))) is None


@pytest.mark.parametrize("threshold", [0.8, None])
def test_texts_without_words_are_alike_only_where_they_are_copies(threshold: float | None) -> None:
    index = NearDuplicateIndex(threshold)
    index.add("a", "... !")
    index.add("b", "")
    index.add("c", "\ud800 ?")
    assert index.find("...  ?") is None
    assert len(set(index.sketch("?").keys.tolist())) == 1  # no bucket that all texts without words would share
    for id, same in (("a", "...   !"), ("b", " \n"), ("c", "\ud800 ?")):
        match = index.find(same)
        assert match is not None
        assert match.id == id


def test_many_more_than_the_dict_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_RECENT", 8)
    index = filled(100)
    assert len(index) == 100
    for seed in range(100):
        match = index.find(" ".join(changed(text(seed), 1)))
        assert match is not None
        assert match.id == f"d{seed}"


def answers(index: NearDuplicateIndex) -> list[object]:
    asked = [" ".join(changed(text(seed), n)) for seed in range(32) for n in (0, 1, 4)]
    return [(len(index), index.nearest(one)) for one in asked]


def test_saved_and_loaded_it_answers_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_RECENT", 7)
    whole, saved = NearDuplicateIndex(), NearDuplicateIndex()
    for seed in range(30):
        for index in (whole, saved):
            index.add(f"d{seed}", " ".join(text(seed)))
        if seed % 10 == 4:
            saved.save(tmp_path / "index")
    saved.save(tmp_path / "index")
    assert saved.n_parts == 4
    assert answers(saved) == answers(whole)
    assert answers(NearDuplicateIndex.load(tmp_path / "index")) == answers(whole)


def test_a_killed_run_goes_on_after_the_parts_that_count(tmp_path: Path) -> None:
    index = NearDuplicateIndex()
    for seed in range(10):
        index.add(f"d{seed}", " ".join(text(seed)))
        if seed in (4, 9):
            index.save(tmp_path)
    resumed = NearDuplicateIndex.load(tmp_path, parts=1)
    assert len(resumed) == 5
    assert resumed.find(" ".join(text(7))) is None
    resumed.add("other", " ".join(text(50)))
    resumed.save(tmp_path)
    again = NearDuplicateIndex.load(tmp_path)
    assert len(again) == 6
    assert again.find(" ".join(text(7))) is None
    match = again.find(" ".join(text(50)))
    assert match is not None
    assert match.id == "other"
    with pytest.raises(DataError, match=r"part-00002\.arrow is missing"):
        NearDuplicateIndex.load(tmp_path, parts=6)


def test_an_empty_part_and_an_empty_index(tmp_path: Path) -> None:
    index = NearDuplicateIndex()
    index.save(tmp_path)
    index.add("a", "one two three four five six")
    index.save(tmp_path)
    loaded = NearDuplicateIndex.load(tmp_path)
    assert (len(loaded), loaded.n_parts) == (1, 2)
    assert loaded.find("one two three four five six") is not None
    assert NearDuplicateIndex().find("x") is None


def test_a_damaged_part_and_other_settings_are_told(tmp_path: Path) -> None:
    filled(3).save(tmp_path)
    with pytest.raises(ConfigError, match="other settings"):
        filled(3, 0.7).save(tmp_path)
    part = tmp_path / "part-00000.arrow"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(DataError, match="part-00000"):
        NearDuplicateIndex.load(tmp_path)
    with pytest.raises(DataError, match="no index"):
        NearDuplicateIndex.load(tmp_path / "none")
    for wrong in ({"threshold": 0.0}, {"threshold": 1.5}, {"shingle_words": 0}):
        with pytest.raises(ConfigError):
            NearDuplicateIndex(**wrong)


def test_of_a_crowded_key_the_earliest_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "BUCKET_LEADERS", 5)
    monkeypatch.setattr(near_duplicates, "_RECENT", 4)
    keys = near_duplicates._Keys()
    for number in range(31):
        keys.add(number, np.array([7, number + 100], np.uint64))
        assert keys.find(np.array([7], np.uint64)) == list(range(min(number + 1, 5)))
    assert keys.find(np.array([7, 110, 130, 999], np.uint64)) == [0, 1, 2, 3, 4, 10, 30]


def test_a_crowded_bucket_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "BUCKET_LEADERS", 4)
    monkeypatch.setattr(near_duplicates, "_RECENT", 16)
    index = NearDuplicateIndex(0.8)
    base = text(1)
    for n in range(100):
        index.add(f"d{n}", " ".join([*base, f"ending{n}"]))
    compared: list[int] = []
    entry = index._entry
    monkeypatch.setattr(index, "_entry", lambda number: compared.append(number) or entry(number))
    assert index.find(" ".join([*base, "other"])) is not None
    n_bands, _ = dedup.bands(128, 0.8)
    assert len(compared) <= 4 * (n_bands + 1)


# As an operator of curation


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    documents = [Document.make(" ".join(text(seed)), f"a/{seed}") for seed in range(10)]
    write_dataset(tmp_path / "earlier", documents, made_by="test")
    return tmp_path / "earlier"


def curated(
    tmp_path: Path, name: str, write: Callable[[Path], object], config: CurationConfig, workers: int = 1
) -> Path:
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    write(folder)
    curate(list_files(str(folder)), tmp_path / f"{name}-out", config, Context(workers=workers))
    return tmp_path / f"{name}-out"


def config_against(*datasets: Path) -> CurationConfig:
    return CurationConfig(operators=(), against=tuple(map(str, datasets)), held_out_fraction=0.0)


def write_texts(folder: Path) -> None:
    (folder / "copy.txt").write_text(" ".join(text(3)))
    (folder / "near.txt").write_text(" ".join(changed(text(4), 1)))
    (folder / "new.txt").write_text(" ".join(text(77)))


def test_documents_of_earlier_datasets_are_dropped_with_their_names(tmp_path: Path, earlier: Path) -> None:
    out = curated(tmp_path, "texts", write_texts, config_against(earlier))
    assert [document.source for document in Dataset.open(out / "train")] == ["new.txt"]
    rejects = pq.read_table(out / "rejects").to_pylist()
    assert [(row["source"], row["stage"], row["reason"]) for row in rejects] == [
        ("copy.txt", "against", "exact_duplicate"),
        ("near.txt", "against", "near_duplicate"),
    ]
    (near,) = (row for row in rejects if row["reason"] == "near_duplicate")
    ids = {document.id for document in Dataset.open(earlier)}
    assert near["detail"].split("#")[1].split(",")[0] in ids
    assert near["measure"] >= near["limit"] == 0.8


@pytest.mark.slow
def test_the_outcome_is_the_same_for_any_number_of_workers(tmp_path: Path, earlier: Path) -> None:
    def write(folder: Path) -> None:
        for n in range(12):
            (folder / f"{n:02d}.txt").write_text(" ".join(changed(text(n), n % 3)) + "\n" * 200_000)

    # So many bytes are several tasks.
    whole = curated(tmp_path, "texts", write, config_against(earlier))
    (tmp_path / "texts-out").rename(tmp_path / "one")
    curated(tmp_path, "texts", write, config_against(earlier), workers=2)
    files = [path.relative_to(whole) for path in sorted(whole.rglob("*.parquet"))]
    assert sum(file.parts[0] == "rejects" for file in files) > 1
    for file in files:
        assert (whole / file).read_bytes() == (tmp_path / "one" / file).read_bytes()


def test_an_index_of_earlier_datasets_is_kept_in_parts(
    tmp_path: Path, earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "_PART_DOCUMENTS", 4)
    folder = near_duplicates.keep_earlier_index([str(earlier)], tmp_path / "work", threshold=0.8)
    assert len(list(Path(folder).glob("*.arrow"))) == 3
    index = near_duplicates.earlier_index([folder])
    assert len(index) == 10
    assert [index.find(" ".join(text(seed))) is not None for seed in (0, 5, 9, 10)] == [True, True, True, False]
    assert near_duplicates.keep_earlier_index([str(earlier)], tmp_path / "work", threshold=0.8) == folder
    assert near_duplicates.keep_earlier_index([str(earlier)], tmp_path / "work", threshold=0.7) != folder
    assert not list((tmp_path / "work").glob("*.partial"))


def test_a_dataset_with_other_content_is_other_work(tmp_path: Path, earlier: Path) -> None:
    curated(tmp_path, "texts", write_texts, config_against(earlier))
    other = tmp_path / "other"
    write_dataset(other, [Document.make("some other text", "b/1")], made_by="test")
    earlier.rename(tmp_path / "gone")
    other.rename(earlier)
    with pytest.raises(ConfigError, match="against"):
        curated(tmp_path, "texts", lambda _: None, config_against(earlier))


def test_what_is_no_dataset_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no dataset"):
        curated(tmp_path, "texts", write_texts, config_against(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="runs last by itself"):
        CurationConfig(operators=("against",))
