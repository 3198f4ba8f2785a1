"""A small model's own texts: how they are written, gated, valued, decided on and compared."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tilth.assay.experiment import EXPERIMENT_RESULT, Experiment
from tilth.assay.result import ArmLoss, LearnerValue, Value
from tilth.errors import ConfigError, DataError
from tilth.execute import Context
from tilth.improve.text import language
from tilth.improve.text.language import judge, study_language
from tilth.improve.text.language_config import LanguageConfig
from tilth.improve.text.own_texts import Gates, Written, first_half
from tilth.intervals import Interval
from tilth.results import read_result
from tilth.storage import Dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.types import Document

CONTEXT = Context(workers=1)
SENTENCE = "the loop reads a line of text and writes it to the file where the next one is found by its name"
WORDS = SENTENCE.split()


def documents(n: int, seed: int) -> Iterator[Document]:
    rng = np.random.default_rng(seed)
    for index in range(n):
        topic = f"topic{index % 5}"
        lines = [
            " ".join([topic, *(WORDS[i] for i in rng.integers(0, len(WORDS), 9)), str(rng.integers(1000))])
            for _ in range(30)
        ]
        yield Document.make("\n".join(lines), f"made-up/{seed}-{index}", corpus="made-up")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset, Path]:
    folder = tmp_path_factory.mktemp("corpus")
    train = write_dataset(folder / "train", documents(40, 1), made_by="test")
    held_out = write_dataset(folder / "held_out", documents(6, 2), made_by="test")
    Tokenizer.train((d.text for d in train.documents()), vocab_size=300).save(folder / "tokenizer")
    return train, held_out, folder / "tokenizer"


def tiny(seeds: tuple[int, ...] = (0, 1)) -> LanguageConfig:
    config = LanguageConfig.from_effort(0.01, seeds=seeds)
    value = replace(config.value, depths=(1,), context_length=32, batch_tokens=256, arm_tokens=1000, bootstrap=100)
    return replace(config, depth=1, context_length=64, passage_characters=200, prompts=20, base_tokens=6000,
                   value=value)  # fmt: skip


def run(corpus: tuple[Dataset, Dataset, Path], out: Path, config: LanguageConfig) -> Experiment:
    return study_language(config, out, *corpus, CONTEXT)


@pytest.fixture(scope="module")
def finished(
    corpus: tuple[Dataset, Dataset, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Experiment]:
    out = tmp_path_factory.mktemp("language")
    return out, run(corpus, out, tiny())


@pytest.mark.slow
def test_arms_read_equal_tokens_and_start_from_one_model(finished: tuple[Path, Experiment]) -> None:
    _, found = finished
    last = {(p.arm, p.seed): p for p in found.points}
    equal = ("repeat", "bootstrapped", "continuations", "fresh")
    for seed in (0, 1):
        assert len({last[arm, seed].x for arm in equal}) == 1
        assert last["repeat_longer", seed].x > last["repeat", seed].x
        dearest = max(last[arm, seed].flops for arm in ("bootstrapped", "continuations"))
        assert last["repeat_longer", seed].flops == pytest.approx(dearest, rel=0.2)
        before = {p.values["bits_per_byte"] for p in found.points if p.seed == seed and p.x == 0}
        assert len(before) == 1
        assert math.isfinite(before.pop())


@pytest.mark.slow
def test_the_decision_is_in_the_findings_beside_what_mixing_in_did(finished: tuple[Path, Experiment]) -> None:
    _, found = finished
    for kind in ("bootstrapped", "continuations"):
        assert any(line.startswith(f"{kind} are ") and "seeds" in line for line in found.findings)
        assert any(line.startswith(f"With {kind} mixed in all the same") for line in found.findings)


@pytest.mark.slow
def test_organic_fresh_validation_and_test_texts_are_of_different_documents(finished: tuple[Path, Experiment]) -> None:
    out, _ = finished
    sources = {
        part: {document.source.split("#")[0] for document in Dataset.open(out / "data" / part).documents()}
        for part in ("organic", "fresh", "validation", "test")
    }
    assert all(sources.values())
    assert sum(map(len, sources.values())) == len(set().union(*sources.values()))


@pytest.mark.slow
def test_texts_name_the_passage_that_they_were_written_from(finished: tuple[Path, Experiment]) -> None:
    import pyarrow.parquet as pq

    out, _ = finished
    ids = {document.id for document in Dataset.open(out / "data" / "organic").documents()}
    for kind in ("bootstrapped", "continuations"):
        rows = pq.read_table(next((out / "seed-0" / kind / "texts").glob("*.parquet"))).to_pylist()
        assert rows
        assert {json.loads(row["lineage"])[0]["source_id"] for row in rows} <= ids


@pytest.mark.slow
def test_a_run_that_was_killed_ends_with_the_same_bytes(
    finished: tuple[Path, Experiment], corpus: tuple[Dataset, Dataset, Path], tmp_path: Path
) -> None:
    whole, _ = finished
    out = tmp_path / "again"
    shutil.copytree(whole, out)
    # As if it had been killed in the second seed: its texts, values and arms are gone, the first seed's are there.
    for name in (EXPERIMENT_RESULT, "seed-1/bootstrapped", "seed-1/continuations/value.json", "seed-1/arms"):
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run(corpus, out, tiny())

    def content(folder: Path) -> dict[str, object]:
        read: dict[str, object] = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix in (".parquet", ".safetensors"):
                read[str(path.relative_to(folder))] = path.read_bytes()
            elif path.name in (EXPERIMENT_RESULT, "arm.json", "written.json", "value.json"):
                found = json.loads(path.read_text())
                found.pop("seconds", None)
                read[str(path.relative_to(folder))] = found
        return read

    assert content(out) == content(whole)


@pytest.mark.slow
def test_texts_that_are_all_dropped_end_their_arm_in_words_and_the_others_go_on(
    corpus: tuple[Dataset, Dataset, Path], tmp_path: Path
) -> None:
    found = run(corpus, tmp_path, replace(tiny((0,)), min_words=10_000))
    ended = {one.arm: one.why for one in found.ended}
    assert ended.keys() == {"bootstrapped", "continuations"}
    assert all("too_short" in why for why in ended.values())
    assert math.isfinite(found.last("fresh", "bits_per_byte")[0])
    assert all("left out" in line for line in found.findings[:2])


def test_fresh_text_is_new_and_not_of_another_kind(
    corpus: tuple[Dataset, Dataset, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dataset in the order of its paths: first one folder, then the other. Both parts hold documents of both."""

    def folder(name: str, seed: int) -> Iterator[Document]:
        return (Document.make(d.text, f"{name}/{d.source}", corpus=name) for d in documents(20, seed))

    train = write_dataset(tmp_path / "train", [*folder("a", 3), *folder("b", 4)], made_by="test")
    monkeypatch.setattr(language, "train_writer", stop)
    with pytest.raises(KeyboardInterrupt):
        study_language(tiny((0,)), tmp_path / "out", train, corpus[1], corpus[2], CONTEXT)
    for part in ("organic", "fresh"):
        sources = [d.source.split("/")[0] for d in Dataset.open(tmp_path / "out" / "data" / part).documents()]
        assert 0.2 < sources.count("a") / len(sources) < 0.8


def stop(_: object) -> None:
    """The text is divided; nothing is trained."""
    raise KeyboardInterrupt


def test_too_little_text_is_said(tmp_path: Path, corpus: tuple[Dataset, Dataset, Path]) -> None:
    _, held_out, tokenizer = corpus
    one = write_dataset(tmp_path / "one", documents(1, 3), made_by="test")
    with pytest.raises(DataError, match="fresh"):
        study_language(tiny(), tmp_path / "out", one, held_out, tokenizer, CONTEXT)


def gates(organic: str, **limits: float) -> tuple[Gates, Document]:
    passage = Document.make(organic, "made-up/0")
    return Gates(replace(LanguageConfig(), **limits), [passage]), passage


def test_gates_drop_copies_repetitions_and_texts_written_before() -> None:
    organic = "a model that reads a text for the first time learns what follows which word and how often it does so"
    new = "another sentence about something else that nobody wrote before in this small collection of made up texts"
    found, passage = gates(organic)
    assert found.passes(new, passage)
    assert not found.passes(new, passage)
    assert not found.passes(organic, passage)
    assert not found.passes("again and again " * 20, passage)
    assert not found.passes("too short", passage)
    assert sum(found.dropped.values()) == 4
    assert {"repetition", "too_short"} <= found.dropped.keys()


def test_a_near_copy_of_another_passage_of_the_corpus_is_dropped() -> None:
    organic = " ".join(f"word{index}" for index in range(60))
    found, _ = gates(organic)
    other = Document.make("something else that was the prompt", "made-up/1")
    assert not found.passes(organic.replace("word59", "change"), other)
    assert not found.dropped["copies_source"]


def test_the_first_half_of_a_passage_leaves_room_for_the_rest(corpus: tuple[Dataset, Dataset, Path]) -> None:
    tokenizer = Tokenizer.load(corpus[2])
    text = next(iter(corpus[0].documents())).text
    ids = first_half(text, tokenizer, 32)
    assert ids[0] == tokenizer.end_of_text
    assert len(ids) == 16
    short = first_half("two words", tokenizer, 32)
    assert 1 < len(short) <= 1 + len(tokenizer.encode_ordinary("two words")) // 2 + 1


def value(nu: float, noise: float, small: float = 5.0) -> Value:
    def learner(depth: int, mean: float) -> LearnerValue:
        interval = Interval(mean, math.nan, math.nan)
        return LearnerValue(
            depth=depth, n_params=1000 * depth, before=(1.0,), arms=(ArmLoss(
                arm="dataset", losses=(1.0,), tokens=1, unique_tokens=1, flops=1.0),),
            value=interval, noise_value=Interval(noise, math.nan, math.nan), bits_removed=interval,
            longer_bits_removed=interval,
        )  # fmt: skip

    return Value(learners=(learner(1, small), learner(2, nu)), seeds=(0,), held_out_documents=1, held_out_bytes=1,
                 flips=False, verdict="")  # fmt: skip


@pytest.mark.parametrize(
    ("nus", "noises", "pays"),
    [
        ((0.5, 0.52, 0.48), (0.0, 0.0, 0.0), True),
        ((0.5, 0.52, 0.48), (0.49, 0.55, 0.47), False),
        ((-0.5, -0.52, -0.48), (-2.0, -2.0, -2.0), False),
        ((1.5, -0.5, 0.5), (0.0, 0.0, 0.0), False),
    ],
)
def test_texts_are_mixed_in_only_above_zero_and_above_noise(
    nus: tuple[float, ...], noises: tuple[float, ...], pays: bool
) -> None:
    found = judge("bootstrapped", [value(nu, noise) for nu, noise in zip(nus, noises, strict=True)])
    assert found.mixed_in is pays
    assert ("mixed in" if pays else "left out") in found.why


def test_a_value_of_one_seed_decides_nothing() -> None:
    assert not judge("bootstrapped", [value(0.9, 0.0), None, None]).mixed_in


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="prompts"):
        LanguageConfig(prompts=0)
    with pytest.raises(ConfigError, match="seeds"):
        LanguageConfig(seeds=())
    with pytest.raises(ConfigError, match="max_copied"):
        LanguageConfig(max_copied=1.5)


@pytest.mark.slow
def test_an_arm_that_diverges_ends_with_a_word(
    finished: tuple[Path, Experiment], corpus: tuple[Dataset, Dataset, Path], tmp_path: Path
) -> None:
    found = run(corpus, tmp_path, replace(tiny((0,)), learning_rate=1e9))
    ended = {one.arm for one in found.ended}
    assert "fresh" in ended
    assert all(one.why for one in found.ended)
    assert math.isfinite(found.last("stop", "bits_per_byte")[0])


@pytest.mark.slow
def test_what_was_written_is_counted(finished: tuple[Path, Experiment]) -> None:
    out, found = finished
    for kind in language.KINDS:
        written = read_result(Written, out / "seed-0" / kind / "written.json")
        assert written.generated == 40
        assert written.kept + sum(written.dropped.values()) == written.generated
        assert written.generation_flops > 0
        assert (written.training_flops > 0) == (kind == "bootstrapped")
    assert "bootstrapped: dropped" in found.settings
