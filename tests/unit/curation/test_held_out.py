"""How much is held out, of corpora with few or large documents."""

import json
import random
from pathlib import Path

import pytest

from tilth.curation.config import CurationConfig
from tilth.curation.dedup import shingles
from tilth.curation.pipeline import curate
from tilth.curation.result import Ledger
from tilth.curation.tails import tail_position
from tilth.execute import Context
from tilth.files import list_files
from tilth.storage import Dataset
from tilth.types import Document


def paragraphs(seed: int, n: int) -> str:
    """Different text for each seed, in paragraphs of some 250 bytes."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijkl", k=rng.randrange(2, 9))) for _ in range(40 * n)]
    return "\n\n".join(" ".join(words[40 * k : 40 * k + 40]) + "." for k in range(n))


def split(folder: Path, out: Path, **fields: object) -> tuple[Ledger, list[Document], list[Document]]:
    config = CurationConfig(operators=("extract",), **fields)  # type: ignore[arg-type]
    ledger = curate(list_files(str(folder)), out, config, Context(workers=1))
    train, held_out = (list(Dataset.open(out / side).documents()) for side in ("train", "held_out"))
    return ledger, train, held_out


def written(folder: Path, *texts: str) -> Path:
    folder.mkdir()
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("sizes", "fraction"), [((1600,), 0.02), ((80, 60, 100), 0.05), ((4000,), 0.01), ((40, 900, 30, 50), 0.1)]
)
def test_of_few_or_large_files_about_the_fraction_is_held_out(
    tmp_path: Path, sizes: tuple[int, ...], fraction: float
) -> None:
    texts = [paragraphs(seed, n) for seed, n in enumerate(sizes)]
    folder = written(tmp_path / "in", *texts)
    ledger, train, held_out = split(folder, tmp_path / "out", held_out_fraction=fraction)
    total = sum(map(len, texts))
    assert fraction / 2 <= ledger.held_out.bytes / total <= 2 * fraction
    assert ledger.split is not None
    assert "Held out: " in ledger.split.line
    kept = sorted(word for document in (*train, *held_out) for word in document.text.split())
    assert kept == sorted(word for text in texts for word in text.split())
    assert (ledger.train.documents, ledger.held_out.documents) == (len(train), len(held_out))


def test_an_end_is_cut_between_paragraphs_and_its_lineage_says_where(tmp_path: Path) -> None:
    text = paragraphs(1, 100)
    folder = written(tmp_path / "in", text)
    ledger, (head,), (tail,) = split(folder, tmp_path / "out")
    assert f"{head.text}\n\n{tail.text}" == text
    assert ledger.split is not None
    assert ledger.split.tails == 1
    assert head.id != tail.id
    assert head.source == tail.source == "0.txt"
    rows = {
        side: json.loads(
            next(str(batch["lineage"][0].as_py()) for batch in Dataset.open(tmp_path / "out" / side).batches(0))
        )[-1]
        for side in ("train", "held_out")
    }
    assert rows["held_out"]["part_of"] == rows["train"]["part_of"]
    begin, end = rows["held_out"]["bytes"]
    assert text.encode()[begin:end].decode() == tail.text
    assert rows["train"]["bytes"] == [0, begin]


def test_an_end_that_is_in_the_training_text_is_not_taken(tmp_path: Path) -> None:
    shared = "\n\n" + paragraphs(7, 60)
    texts = [paragraphs(1, 1600) + shared, paragraphs(2, 600) + shared + "\n\n" + paragraphs(4, 600)]
    folder = written(tmp_path / "in", *texts)
    _, train, held_out = split(folder, tmp_path / "out", held_out_fraction=0.004)
    assert held_out
    in_train = set().union(*(shingles(document.text).tolist() for document in train))
    for document in held_out:
        assert not in_train & set(shingles(document.text).tolist())


def rows(folder: Path, *texts: str) -> Path:
    folder.mkdir()
    (folder / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return folder


def test_a_short_document_in_place_of_a_repetitive_one_is_left_half_to_train_on(tmp_path: Path) -> None:
    long = paragraphs(1, 600)
    folder = rows(tmp_path / "in", f"{long}\n\n{long[: len(long) // 3]}", paragraphs(2, 4), paragraphs(3, 4))
    ledger, train, held_out = split(folder, tmp_path / "out", min_words=1)
    assert 700 < ledger.held_out.bytes < 1300
    assert min(len(document.text) for document in train) > 250
    assert ledger.split is not None
    assert "occurs" not in ledger.split.line
    assert not any(document.text in long for document in held_out)


def test_an_end_that_is_in_the_training_text_for_want_of_another_is_told(tmp_path: Path) -> None:
    long = paragraphs(1, 300)
    for number, others in enumerate(((), ("Two words.",))):
        folder = rows(tmp_path / f"in-{number}", f"{long}\n\n{long[: len(long) // 3]}", *others)
        ledger, train, _ = split(folder, tmp_path / f"out-{number}", min_words=1)
        assert ledger.split is not None
        assert "Most of it occurs in the text that is trained on as well" in ledger.split.line
        assert ledger.held_out.bytes > 1000
        assert min(len(document.text) for document in train) > 9


def test_beside_one_huge_document_the_small_ones_are_not_all_held_out(tmp_path: Path) -> None:
    folder = rows(tmp_path / "in", paragraphs(0, 1600), *(paragraphs(seed, 1) for seed in range(1, 41)))
    for seed in range(6):
        ledger, train, _ = split(folder, tmp_path / f"out-{seed}", min_words=1, seed=seed)
        assert ledger.held_out.documents <= 10
        assert len(train) > 30


def test_of_many_documents_the_plain_rule_decides_and_says_nothing(tmp_path: Path) -> None:
    folder = written(tmp_path / "in", *(paragraphs(seed, 2) for seed in range(200)))
    ledger, _, held_out = split(folder, tmp_path / "out", held_out_fraction=0.1)
    assert ledger.split is not None
    assert (ledger.split.threshold, ledger.split.tails, ledger.split.line) == (0.1, 0, "")
    before = {document.source for document in held_out}
    for seed in range(200, 260):
        (folder / f"{seed}.txt").write_text(paragraphs(seed, 2))
    _, _, grown = split(folder, tmp_path / "grown", held_out_fraction=0.1)
    assert before <= {document.source for document in grown}


def test_of_too_little_text_nothing_is_held_out_and_it_is_said(tmp_path: Path) -> None:
    ledger, train, held_out = split(written(tmp_path / "in", "Three words only."), tmp_path / "out")
    assert len(train) == 1
    assert not held_out
    assert ledger.split is not None
    assert "Nothing is held out: 17 bytes" in ledger.split.line
    ledger, _, held_out = split(written(tmp_path / "more", paragraphs(1, 4)), tmp_path / "some")
    assert 50 <= sum(len(document.text) for document in held_out) <= 300


def test_whole_files_are_never_cut_when_asked_for(tmp_path: Path) -> None:
    folder = written(tmp_path / "in", *(paragraphs(seed, 40) for seed in range(3)))
    ledger, _, held_out = split(folder, tmp_path / "out", held_out_by="file")
    assert len(held_out) == 1
    assert ledger.split is not None
    assert ledger.split.tails == 0
    one = split(written(tmp_path / "one", paragraphs(1, 40)), tmp_path / "single", held_out_by="file")
    assert not one[2]
    assert one[0].split is not None
    assert "--held-out-by document" in one[0].split.line


@pytest.mark.parametrize(
    ("text", "n_bytes", "tail"),
    [
        ("one two\n\nthree four\nfive six", 16, "three four\nfive six"),
        ("one two three\nfour five six", 15, "four five six"),
        ("One two three. Four five six.", 14, "Four five six."),
        ("one two three four", 6, "four"),
        ("天地玄黃宇宙洪荒。日月盈昃。", 15, "日月盈昃。"),
        ("abcdefghij", 4, "ghij"),
        ("天" * 10, 6, "天" * 2),
    ],
)
def test_a_border_of_the_best_kind_is_taken(text: str, n_bytes: int, tail: str) -> None:
    assert text[tail_position(text, n_bytes) :] == tail
