"""The collapse monitor: what it measures, when it acts, and that it leaves a healthy loop alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tilth.execute import Context
from tilth.improve import LoopConfig, Start, TextMix, improve
from tilth.improve.monitor import Limits, judge, written_values
from tilth.improve.rounds import has_model, read_pseudo_labels, read_record
from unit.improve.families import Last
from unit.improve.text_data import datasets, model_of_text, tokenizer_of

CONFIG = LoopConfig(
    rounds=5, base_difficulty=3, base_steps=150, round_steps=25, samples=40, test_problems=20, validation_problems=30,
    d_model=16, n_layers=1, n_heads=2, d_ff=32, batch_size=16, promote_at=0.0, learning_rate=1e-2,
    newest_share=1.0, min_diversity=0.5, arms=("baseline", "control", "vote", "unfiltered"),
)  # fmt: skip
CONTEXT = Context(workers=1)
LIMITS = Limits(max_text_loss_rise=0.1, min_diversity=0.5, max_fall_backs=2)
GOOD = {"held_out_bits_per_byte": 2.0, "distinct_answers": 0.8, "tail_mass": 0.2, "distinct_4": 0.9, "answered": 1.0}


def verdict(
    values: dict[str, float], references: Sequence[dict[str, float]] = (GOOD, GOOD), before: int = 0
) -> tuple[str, str]:
    reading = judge(1, values, references, LIMITS, thrown_away_before=before, acts=True)
    return reading.verdict, reading.why


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"held_out_bits_per_byte": 2.21}, "held-out real text after 2.000"),
        ({"held_out_bits_per_byte": math.nan}, "held-out real text"),
        ({"held_out_bits_per_byte": math.inf}, "held-out real text"),
        ({"distinct_answers": 0.39}, "different answers"),
        ({"tail_mass": 0.09}, "rare words"),
        ({"distinct_4": 0.4}, "four words"),
    ],
)
def test_each_measure_can_throw_a_round_away(change: dict[str, float], word: str) -> None:
    found, why = verdict(GOOD | change)
    assert found == "fall_back" and word in why
    assert verdict(GOOD | change, before=1)[0] == "stop"


def test_what_is_within_the_limits_is_ok() -> None:
    for change in ({"held_out_bits_per_byte": 2.19}, {"distinct_answers": 0.41}, {"held_out_bits_per_byte": 0.5}):
        assert verdict(GOOD | change) == ("ok", "")
    assert verdict({"answered": 0.0, "distinct_answers": math.nan}) == ("ok", "")


def test_the_last_good_round_counts_as_well_as_the_base_model() -> None:
    better = GOOD | {"held_out_bits_per_byte": 1.0}
    assert verdict(GOOD, (GOOD, better))[0] == "fall_back"
    assert verdict(GOOD, (better, GOOD))[0] == "fall_back"
    # A slow decline is one from where it began.
    fewer = GOOD | {"distinct_answers": 0.5}
    assert verdict(GOOD | {"distinct_answers": 0.39}, (GOOD, fewer))[0] == "fall_back"


class AlwaysA(Last):
    """A family whose augmentations turn every answer into `a`: the vote accepts one constant answer."""

    class ToA:
        def apply(self, prompt: str) -> str:
            return prompt

        def invert(self, answer: str) -> str:
            return "a"

    def augmentations(self, n: int, rng: object) -> list[ToA]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return [self.ToA()] * n


@pytest.fixture(scope="module")
def collapsing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("collapsing")
    improve(replace(CONFIG, augmentations=4), out, CONTEXT, AlwaysA())
    return out


def test_a_collapsing_loop_is_stopped_and_keeps_its_last_good_model(collapsing: Path) -> None:
    from tilth.improve.result import LOOP_RESULT, LoopResult
    from tilth.results import read_result

    result = read_result(LoopResult, collapsing / LOOP_RESULT)
    arm = result.seeds[0].arms["vote"]
    assert [reading.verdict for reading in arm.monitor] == ["fall_back", "stop"]
    assert "threw away 2 rounds" in arm.ended and "different answers" in arm.ended
    # The figures are those of the base model, which is the last good one ...
    assert arm.accuracy[-1] == arm.accuracy[0] == result.seeds[0].arms["baseline"].accuracy[0]
    assert arm.validation_accuracy == pytest.approx(result.seeds[0].arms["baseline"].validation_accuracy, nan_ok=True)
    # ... and what was thrown away is still there to look at.
    for number in (1, 2):
        folder = collapsing / "seed-0" / "vote" / f"round-{number:02d}"
        record = read_record(folder)
        assert record is not None and not record.good and record.rejected_accuracy != record.accuracy
        assert has_model(folder) and len(read_pseudo_labels(folder)) == record.kept > 0
    # Nothing of the first round went into the second: it began at the same difficulty.
    assert arm.difficulty == (3, 3)
    # The others went on.
    assert len(result.seeds[0].arms["unfiltered"].accuracy) == CONFIG.rounds + 1
    assert not result.seeds[0].arms["unfiltered"].ended


def test_without_the_monitor_the_same_loop_collapses(tmp_path: Path) -> None:
    config = replace(CONFIG, monitor=False, rounds=2, arms=("baseline", "vote"))
    arm = improve(config, tmp_path, CONTEXT, AlwaysA()).seeds[0].arms["vote"]
    assert [reading.verdict for reading in arm.monitor] == ["fall_back", "fall_back"]
    assert not any(reading.acted for reading in arm.monitor) and not arm.ended
    assert sum(arm.accuracy[-1][:3]) < sum(arm.accuracy[0][:3])


def test_a_healthy_loop_is_left_alone(tmp_path: Path) -> None:
    arms = improve(CONFIG, tmp_path, CONTEXT, Last()).seeds[0].arms
    assert all(reading.verdict == "ok" for reading in arms["vote"].monitor) and not arms["vote"].ended
    assert len(arms["vote"].monitor) == CONFIG.rounds
    assert not has_model(tmp_path / "seed-0" / "vote" / "round-01") and has_model(
        tmp_path / "seed-0" / "vote" / "round-05"
    )


def test_forgetting_real_text_throws_a_round_away(tmp_path: Path) -> None:
    """Problems alone, at a high learning rate, after a base that learned text: with replay it keeps what it knew."""
    train, held_out = datasets(tmp_path)
    tokenizer = tokenizer_of(train)
    start = Start(model=model_of_text(tmp_path / "model", tokenizer.vocab_size), tokenizer=tokenizer)
    text = TextMix(train=train, held_out=held_out)
    config = replace(
        CONFIG, rounds=1, base_steps=60, text_row_tokens=24, held_out_bytes=1000, sampled_texts=8, max_draws=8,
        arms=("baseline", "oracle"), text_share=0.5,
    )  # fmt: skip
    with_text = improve(config, tmp_path / "base", CONTEXT, Last(), start=start, text=text).seeds[0].arms["oracle"]
    assert [reading.verdict for reading in with_text.monitor] == ["ok"]
    assert {"tail_mass", "distinct_4", "opening_share"} < set(with_text.monitor[0].values)
    base = replace(start, model=tmp_path / "base" / "seed-0" / "base" / "model")
    forgets = replace(config, base_steps=0, text_share=0.0, learning_rate=0.05, round_steps=40)
    without = improve(forgets, tmp_path / "forgets", CONTEXT, Last(), start=base, text=text).seeds[0].arms["oracle"]
    assert [reading.verdict for reading in without.monitor] == ["fall_back"]
    assert "held-out real text" in without.monitor[0].why
    assert without.held_out_bits_per_byte[1] == without.held_out_bits_per_byte[0]  # of the model that it still has


def test_repeated_texts_have_less_of_everything() -> None:
    varied = [f"{a} {b} sees the {b} {a} once more today" for a in ("cat", "dog", "fox") for b in ("owl", "hen", "bee")]
    reference = [*varied, "rare words hide here", *varied]
    good, bad = written_values(varied, reference), written_values(varied[:1] * 9, reference)
    assert bad["distinct_4"] < good["distinct_4"] / 2 and bad["opening_share"] == 1 > good["opening_share"]
