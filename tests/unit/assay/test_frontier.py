"""The frontier of datasets: which points are on it, what a dearer way of making data buys, what does not compare."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from tilth.assay.experiment import Arm, Ended, Experiment, Measure, Point
from tilth.assay.frontier import Frontier, as_rows, frontier, read_frontier
from tilth.assay.result import ArmLoss, AssayCard, Cost, Density, Diversity, LearnerValue, Structure, TextSize, Value
from tilth.cli import main
from tilth.errors import DataError
from tilth.intervals import Interval, mean_interval
from tilth.results import read_result, write_result

BEFORE = (2.0, 2.1, 2.05)


def card(
    removed: tuple[float, ...],
    flops_per_token: float | None,
    *,
    name: str = "set",
    teacher: str = "small",
    recipe: str = "wrap",
    samples: float | None = 1,
    verifier: str = "",
    fingerprint: str = "h",
    source: str = "s",
    tokens: int = 100_000,
    unique: int | None = None,
) -> AssayCard:
    after = tuple(b - r for b, r in zip(BEFORE, removed, strict=True))
    size = TextSize(name=name, documents=10, bytes=400_000, measured_documents=10, measured_bytes=400_000)
    learner = LearnerValue(
        depth=2,
        n_params=100,
        before=BEFORE,
        arms=(
            ArmLoss(
                arm="dataset",
                losses=after,
                tokens=tokens,
                unique_tokens=unique or tokens,
                flops=1e9,
                bytes=4 * (unique or tokens),
            ),
        ),
        value=Interval(0.5, 0.4, 0.6),
        noise_value=Interval(0, -0.1, 0.1),
        bits_removed=mean_interval(removed),
        longer_bits_removed=Interval(math.nan, math.nan, math.nan),
    )
    cost = None
    if flops_per_token is not None:
        cost = Cost(
            generation_flops=flops_per_token * 100_000, kept_tokens=100_000, flops_per_kept_token=flops_per_token,
            samples_made=20, samples_kept=10, teachers={teacher: 1.0}, recipe=recipe, samples_per_prompt=samples,
            verifier=verifier,
        )  # fmt: skip
    return AssayCard(
        dataset=size,
        source=dataclasses.replace(size, name="source", fingerprint=source),
        held_out=dataclasses.replace(size, name="held_out", fingerprint=fingerprint),
        contaminated_documents=0,
        density=Density(bits_per_byte={}, source_bits_per_byte={}, compressed=2.0),
        structure=Structure(
            learner="", flops=1, tokens=1, entropy=1, epiplexity=1, epiplexity_per_byte=1, prequential=1
        ),
        diversity=Diversity(
            near_duplicates=0, semantic_duplicates=0, vendi=1, sampled_documents=1, opening_share=0, closing_share=0,
            distinct={}, tail_mass=0,
        ),
        value=Value(
            learners=(learner,), seeds=(0, 1, 2), held_out_documents=5, held_out_bytes=100, flips=False, verdict=""
        ),
        cost=cost,
    )  # fmt: skip


GOOD, BETTER, BAD = (0.050, 0.051, 0.049), (0.060, 0.0605, 0.0595), (0.01, 0.0105, 0.0095)


def test_points_that_cost_more_and_remove_less_are_not_on_the_frontier() -> None:
    found = frontier([("cheap", card(GOOD, 1e9)), ("dear", card(BETTER, 1e10)), ("waste", card(BAD, 1e11))])
    assert [(p.name, p.on_frontier) for p in found.points] == [("cheap", True), ("dear", True), ("waste", False)]
    assert found.points[2].beaten_by == ("cheap", "dear")
    assert found.points[0].flops == 1e9 * 100_000
    assert found.points[0].gain_per_pflop.mean == pytest.approx(0.05 / 0.1)


def test_of_two_that_cost_the_same_the_better_is_on_the_frontier() -> None:
    found = frontier([("worse", card(GOOD, 1e9)), ("better", card(BETTER, 1e9))])
    assert {p.name: (p.on_frontier, p.beaten_by) for p in found.points} == {
        "worse": (False, ("better",)),
        "better": (True, ()),
    }


def test_text_that_was_read_again_was_paid_for_once() -> None:
    found = frontier([("once", card(GOOD, 1e9)), ("again", card(GOOD, 1e9, unique=10_000))])
    assert {point.name: point.flops for point in found.points} == {"once": 1e14, "again": 1e13}


@pytest.mark.parametrize(
    ("change", "question"),
    [
        ({"teacher": "big"}, "teacher"),
        ({"recipe": "reasoned"}, "longer answer"),
        ({"samples": 2}, "more samples"),
        ({"verifier": "checker"}, "verifier"),
        ({"teacher": "big", "samples": 2}, "Is `dear` worth more than `cheap`?"),
    ],
)
def test_pairs_that_differ_in_one_thing_answer_its_question(change: dict[str, object], question: str) -> None:
    found = frontier([("cheap", card(GOOD, 1e9)), ("dear", card(BETTER, 4e9, **change))])  # pyright: ignore
    (answer,) = found.answers
    assert question in answer.question
    assert (answer.cheaper, answer.dearer) == ("cheap", "dear")
    assert answer.more_in_all.mean == pytest.approx(0.01) and answer.more_in_all.low > 0
    assert answer.more_per_pflop.high < 0
    assert "more in all" in answer.verdict and "less for each FLOP" in answer.verdict
    assert "4 times the FLOPs" in answer.verdict and "3 seeds" in answer.verdict


def test_what_lies_in_the_intervals_is_no_answer() -> None:
    noisy = (0.02, 0.09, 0.05)
    (answer,) = frontier([("cheap", card(GOOD, 1e9)), ("dear", card(noisy, 1.001e9, teacher="big"))]).answers
    assert "no clear difference in all" in answer.verdict and "no clear difference for each FLOP" in answer.verdict


def test_text_that_nobody_generated_costs_nothing_and_unknown_costs_are_left_out() -> None:
    found = frontier([("real", card(GOOD, 0.0)), ("made", card(BETTER, 1e9)), ("found", card(BETTER, None))])
    assert {p.name: p.on_frontier for p in found.points} == {"real": True, "made": True, "found": False}
    (answer,) = found.answers
    assert math.isnan(answer.more_per_pflop.mean) and "took no FLOPs" in answer.verdict
    assert any("`found`" in note for note in found.notes)


def test_one_seed_tells_no_difference() -> None:
    found = frontier([("a", card((0.05, math.nan, math.nan), 1e9)), ("b", card(BETTER, 2e9))])
    verdict = found.answers[0].verdict
    assert "that so few seeds can tell" in verdict and "no interval" in verdict and "(1 seed)" in verdict
    assert "nan" not in verdict


def test_a_seed_that_ended_early_is_left_out_of_both() -> None:
    found = frontier([("a", card((0.05, math.nan, 0.049), 1e9)), ("b", card(BETTER, 2e9))])
    assert "2 seeds" in found.answers[0].verdict
    assert found.points[0].seeds == (0, 2)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (card(GOOD, 1e9, fingerprint="another"), "held-out texts"),
        (card(GOOD, 1e9, source="another"), "sources"),
        (card(GOOD, 1e9, tokens=50_000), "tokens of an arm"),
    ],
)
def test_cards_that_were_not_measured_alike_are_refused(other: AssayCard, named: str) -> None:
    with pytest.raises(DataError, match=named) as caught:
        frontier([("a", card(GOOD, 1e9)), ("b", other)])
    assert "`a` and `b`" in caught.value.message


def test_learners_held_out_sizes_and_seeds_must_agree() -> None:
    first, second = card(GOOD, 1e9), card(GOOD, 1e9)
    assert second.value is not None
    learner = dataclasses.replace(second.value.learners[0], n_params=200)
    for change, named in (
        ({"learners": (learner,)}, "learners"),
        ({"held_out_bytes": 99}, "held-out sizes"),
        ({"seeds": (3, 4, 5)}, "seeds"),
    ):
        other = dataclasses.replace(second, value=dataclasses.replace(second.value, **change))  # pyright: ignore
        with pytest.raises(DataError, match=named):
            frontier([("a", first), ("b", other)])


def test_a_card_without_a_value_says_what_to_do() -> None:
    bare = dataclasses.replace(card(GOOD, 1e9), value=None)
    with pytest.raises(DataError, match="`b` has no value") as caught:
        frontier([("a", card(GOOD, 1e9)), ("b", bare)])
    assert "--value" in str(caught.value.fix)


def experiment() -> Experiment:
    points = [
        Point(arm=arm, seed=seed, x=x, values={"accuracy": start + gain * x + 0.001 * seed}, flops=1e12 + cost * x)
        for arm, gain, cost, start in (("verified", 0.3, 4e12, 0.2), ("control", 0.05, 1e12, 0.2))
        for seed in (0, 1, 2)
        for x in (0, 1)
    ]
    return Experiment(
        name="countdown",
        title="",
        question="",
        x_title="round",
        arms=(Arm(name="verified", meaning=""), Arm(name="control", meaning="", role="control")),
        measures=(Measure(name="accuracy", title="accuracy", better="higher"),),
        points=tuple(points),
        comparisons=(),
        n="",
        ended=(Ended(arm="control", seed=2, x=1, why="The loss is not finite."),),
    )


def test_arms_of_an_experiment_are_a_group_of_their_own() -> None:
    found = frontier([("a", card(GOOD, 1e9)), ("b", card(BETTER, 2e9))], [("", experiment())])
    arms = [point for point in found.points if point.group.startswith("countdown")]
    assert [(p.name, p.flops) for p in arms] == [("control", 1e12), ("verified", 4e12)]
    assert arms[1].gain.mean == pytest.approx(0.3) and arms[0].seeds == (0, 1)
    assert len(found.answers) == 2 and len(found.groups) == 2
    assert "more in all" in found.answers[1].verdict


def test_the_verb_reads_folders_and_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, one in (("a", card(GOOD, 1e9)), ("b", card(BETTER, 2e9, teacher="big"))):
        write_result(tmp_path / name / "assay.json", one)
    words = ["frontier", f"cheap={tmp_path / 'a'}", f"dear={tmp_path / 'b' / 'assay.json'}"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--out", str(tmp_path / "frontier.json")])
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and "Is the dearer teacher worth it?" in shown and "cheap" in shown
    again = read_result(Frontier, tmp_path / "frontier.json")
    assert [point.name for point in again.points] == ["cheap", "dear"]
    found = read_frontier([("", tmp_path / "a"), ("", tmp_path / "b" / "assay.json")])
    assert [point.name for point in found.points] == ["a", "b"]  # each is called as its folder
    with pytest.raises(SystemExit):
        main([*words, "--json"])
    assert json.loads(capsys.readouterr().out)["answers"][0]["dearer"] == "dear"


@pytest.mark.parametrize("words", [["nowhere"], ["empty", "empty"], ["a"], ["a", "a"]])
def test_mistakes_are_shown_in_a_box(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_result(tmp_path / "a" / "assay.json", card(GOOD, 1e9))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as ended:
        main(["frontier", *(str(tmp_path / word) for word in words)])
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_rows_are_text(tmp_path: Path) -> None:
    found = frontier([("a", card(GOOD, 1e9)), ("b", card(BETTER, 2e9))])
    rows = as_rows(found, found.groups[0])
    assert rows[0]["point"] == "a" and rows[0][""] == "*" and rows[0]["gain"].startswith("0.0500 [")
    write_result(tmp_path / "a.json", card(GOOD, 1e9))
    with pytest.raises(DataError, match="two cards"):
        read_frontier([("", tmp_path / "a.json")])
