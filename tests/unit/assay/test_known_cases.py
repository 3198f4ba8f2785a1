"""Known cases on real text: new real text is worth more than the source again, which is worth as much as copies of it
and no less than its words in random order; random characters are worth nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

import real_data
from tilth.assay.config import ValueConfig
from tilth.assay.result import LearnerValue, Value
from tilth.assay.value import measure_value
from tilth.execute import Context
from unit.assay.texts import dataset, docstrings

CONFIG = ValueConfig(
    seeds=(0, 1),
    depths=(1,),
    vocab_size=512,
    context_length=64,
    before_tokens=40_000,
    arm_tokens=24_000,
    batch_tokens=1024,
    held_out_bytes=40_000,
)
TEXTBOOKS = real_data.FOLDER / "textbooks_openstax" / "openstax_ccby.jsonl.zst"
GENESIS = real_data.FOLDER / "genesis_parallel" / "genesis.jsonl.zst"


def value_of(
    folder: Path,
    of: Sequence[str],
    source: Sequence[str],
    fresh: Sequence[str],
    held_out: Sequence[str],
    config: ValueConfig,
) -> Value:
    return measure_value(
        dataset(folder / "dataset", of),
        folder / "out",
        source=dataset(folder / "source", source),
        held_out=dataset(folder / "held_out", held_out),
        fresh=dataset(folder / "fresh", fresh),
        config=config,
        context=Context(workers=1),
    )


def means(learner: LearnerValue) -> dict[str, float]:
    return {arm.arm: sum(arm.losses) / len(arm.losses) for arm in learner.arms}


def test_new_docstrings_are_worth_more_than_old_ones(tmp_path: Path) -> None:
    texts = docstrings()
    source, fresh, held_out = texts[::3], texts[1::3], texts[2::9]
    value = value_of(tmp_path, source[: len(source) // 2], source, fresh, held_out, CONFIG)
    (learner,) = value.learners
    loss = means(learner)
    assert loss["fresh"] < min(loss["word_salad"], loss["repeat"], loss["dataset"])
    assert loss["noise"] > max(loss["word_salad"], loss["repeat"], loss["dataset"])
    # A part of the source is caught as nothing new, and random characters as nothing at all.
    assert abs(loss["dataset"] - loss["repeat"]) < (loss["repeat"] - loss["fresh"]) / 3
    assert learner.value.high < 0.5
    assert learner.noise_value.high < 0
    # So small a learner still gains from word frequencies: the control says so.
    assert learner.word_salad_value.high < 0.8
    assert value.verdict.startswith(("Harmful", "No gain shown"))


@pytest.mark.slow
@pytest.mark.skipif(not GENESIS.exists(), reason=real_data.MISSING)
def test_a_translation_is_worth_less_than_new_text_and_more_than_the_same_again(tmp_path: Path) -> None:
    lines = pa.CompressedInputStream(pa.OSFile(str(GENESIS)), "zstd").read().decode().splitlines()
    both = {row["id"]: row["text"] for row in map(json.loads, lines)}
    king_james, world_english = both["genesis/english-kjv.txt"], both["genesis/english-web.txt"]

    def between(text: str, first: float, end: float) -> list[str]:
        cut = text[round(first * len(text)) : round(end * len(text))]
        return [cut[start : start + 2000] for start in range(0, len(cut), 2000)]

    value = value_of(
        tmp_path,
        between(world_english, 0, 0.48),
        between(king_james, 0, 0.5),
        between(king_james, 0.52, 0.8),
        between(king_james, 0.82, 1),
        replace(CONFIG, seeds=(0, 1, 2), depths=(1,), context_length=128),
    )
    (learner,) = value.learners
    loss = means(learner)
    assert loss["fresh"] < loss["dataset"] < loss["repeat"]
    assert loss["dataset"] < loss["noise"]
    assert learner.value.high < 1


@pytest.mark.slow
@pytest.mark.skipif(not TEXTBOOKS.exists(), reason=real_data.MISSING)
def test_known_cases_on_textbooks_rank_as_they_should(tmp_path: Path) -> None:
    lines = pa.CompressedInputStream(pa.OSFile(str(TEXTBOOKS)), "zstd").read().decode().splitlines()
    pages = [json.loads(line)["text"] for line in lines]
    source, fresh, held_out = pages[::2], pages[1::4], pages[3::4]
    config = ValueConfig(seeds=(0, 1), depths=(1,), arm_tokens=100_000, held_out_bytes=50_000)
    value = value_of(tmp_path, source, source, fresh, held_out, config)
    (learner,) = value.learners
    loss = means(learner)
    assert loss["fresh"] < loss["repeat"] == loss["dataset"] < loss["word_salad"] < loss["noise"]
    assert learner.value.high <= 0 and learner.word_salad_value.high < 0 and learner.noise_value.high < 0
