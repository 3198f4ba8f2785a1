"""The section on experiments: sentences follow the figures, whichever way they point."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from tilth.assay.experiment import (
    EXPERIMENT_RESULT,
    Arm,
    Comparison,
    Ended,
    Example,
    Experiment,
    Measure,
    Point,
)
from tilth.errors import DataError
from tilth.report import collect, render
from tilth.report.views.experiments import number, verdict, view
from tilth.results import read_result, write_result

CLAIM = Comparison(measure="loss", arm="cure", other="replace", claim="The cure stops the collapse.")


def experiment(cure: float, *, better: str = "lower", seeds: tuple[int, ...] = (0, 1, 2)) -> Experiment:
    """Arms that start at 2.0; `replace` ends at 3.0 and `cure` where asked, with small differences between seeds."""
    ends = {"replace": 3.0, "cure": cure}
    points = [
        Point(arm=arm, seed=seed, x=x, values={"loss": 2.0 + (end - 2.0) * x + 0.01 * seed * (arm == "cure")}, flops=x)
        for arm, end in ends.items()
        for seed in seeds
        for x in (0.0, 1.0)
    ]
    return Experiment(
        name="toy",
        title="A toy",
        question="Does it collapse?",
        x_title="generation",
        arms=(Arm(name="replace", meaning="only samples", role="control"), Arm(name="cure", meaning="and real text")),
        measures=(Measure(name="loss", title="Loss", better=better),),  # type: ignore[arg-type]
        points=tuple(points),
        comparisons=(CLAIM,),
        n="10 documents",
    )


@pytest.mark.parametrize(
    ("cure", "better", "word"),
    [
        (2.0, "lower", "Shown"),
        (4.0, "lower", "The opposite was found"),
        (4.0, "higher", "Shown"),
        (2.99, "lower", "Not shown"),
        (2.0, "neither", "They differ"),
    ],
)
def test_a_verdict_follows_sign_and_interval(cure: float, better: str, word: str) -> None:
    sentence = verdict(experiment(cure, better=better), CLAIM)
    assert sentence.startswith(f"{word}: ")
    assert "3 seeds" in sentence


def test_one_seed_shows_nothing() -> None:
    assert verdict(experiment(2.0, seeds=(0,)), CLAIM).startswith("One seed cannot tell")


def test_a_seed_that_ended_early_is_in_no_comparison() -> None:
    result = experiment(2.0)
    early = replace(result, ended=(Ended(arm="cure", seed=2, x=0.0, why="the loss is not finite"),))
    assert list(early.last("cure", "loss")) == [0, 1]
    assert "2 seeds" in verdict(early, CLAIM)
    everything = replace(result, ended=tuple(Ended(arm="cure", seed=s, x=0.0, why="empty") for s in (0, 1, 2)))
    assert verdict(everything, CLAIM).startswith("Not measured")


def test_the_interval_is_paired_by_seed() -> None:
    """Both arms move with the seed; only the pairing sees that the difference is always the same."""
    result = experiment(2.0)
    moved = [replace(p, values={"loss": p.values["loss"] + p.seed}) for p in result.points if p.x == 1.0]
    difference = replace(result, points=tuple(moved)).difference(CLAIM)
    assert difference.mean == pytest.approx(-0.99)
    assert difference.high - difference.low < 0.1


def test_flops_are_those_of_the_last_place_of_each_seed() -> None:
    assert experiment(2.0).flops(["cure"]) == 3.0


def test_points_of_unknown_arms_are_refused() -> None:
    result = experiment(2.0)
    with pytest.raises(DataError, match="unknown arms"):
        replace(result, arms=result.arms[:1])


def test_the_page_holds_question_verdict_and_escaped_examples(tmp_path: Path) -> None:
    ended = (Ended(arm="cure", seed=2, x=1.0, why="every sample was empty"),)
    result = replace(experiment(2.0), examples=(Example(title="last", text="<b>bold</b>"),), ended=ended)
    write_result(tmp_path / EXPERIMENT_RESULT, result)
    assert read_result(Experiment, tmp_path / EXPERIMENT_RESULT) == result
    text = render(collect([tmp_path], name="toy"), tmp_path).read_text()
    for part in ("Does it collapse?", "Shown: The cure stops the collapse", "every sample was empty", "&lt;b&gt;bold"):
        assert part in text
    assert 'class="band clay"' in text


def test_without_experiments_there_is_no_section() -> None:
    assert view([]) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.53649, "1.536"), (0.0, "0"), (2e-5, "2.0e-05"), (1234.5, "1,234"), (math.nan, "–"), (3.0, "3")],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text
