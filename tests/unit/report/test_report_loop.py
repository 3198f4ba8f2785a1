"""The section on the self-improving loop: sentences, intervals and drawings follow the results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import tilth.report
from tilth.errors import DataError
from tilth.improve.result import ArmResult, Decision, LoopExample, LoopResult, MonitorReading, SeedResult
from tilth.report import figures
from tilth.report.views import loop, loop_findings
from tilth.results import read_result, write_result

DIFFICULTIES = (6, 7, 8, 9)
BASE = (1.0, 0.4, 0.1, 0.0)


def arm(last: Sequence[float], **fields: object) -> ArmResult:
    return ArmResult(accuracy=(BASE, tuple(last)), **fields)  # pyright: ignore[reportArgumentType]


def seed_result(last: Mapping[str, Sequence[float]], seed: int = 0) -> SeedResult:
    outputs = {name: "cba" if name == "oracle" else "ccc" for name in last}
    return SeedResult(
        seed=seed,
        arms={name: arm(row) for name, row in last.items()},
        examples=(LoopExample(prompt="abc=", answer="cba", outputs=outputs),),
    )


def result(last: Mapping[str, Sequence[float]], *others: Mapping[str, Sequence[float]]) -> LoopResult:
    return LoopResult(
        task="reverse",
        base_difficulty=6,
        difficulties=DIFFICULTIES,
        rounds=1,
        test_problems=(200,) * 4,
        seeds=tuple(seed_result(row, seed) for seed, row in enumerate((last, *others))),
    )


def page(results: Sequence[LoopResult]) -> str:
    folder = Path(tilth.report.__file__).parent / "templates"
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("loop.html.j2").render(view=loop.view(results))


def test_a_loop_that_works_names_its_difficulties() -> None:
    arms = {
        "baseline": BASE,
        "control": (1.0, 0.89, 0.1, 0.0),
        "flop_matched": (1.0, 0.45, 0.1, 0.0),
        "unfiltered": (1.0, 0.3, 0.1, 0.0),
        "vote": (1.0, 0.95, 0.9, 0.5),
        "oracle": (1.0, 1.0, 0.95, 0.9),
    }
    assert loop_findings.takeaway(result(arms)) == (
        "After 1 round, the vote arm solves difficulties 7–8 and the oracle arm solves difficulties 7–9; neither the "
        "base model nor the control arm nor the flop_matched arm solves any of these (solved: at least 90% of the test "
        "problems right). The unfiltered arm adds none."
    )


def test_the_page_says_how_far_each_seed_solves() -> None:
    arms = {"control": (1.0, 0.2, 0.1, 0.0), "vote": (1.0, 0.95, 0.9, 0.95)}
    shown = page([result(arms, arms, arms)])
    assert "How far it solves" in shown and "vote solves up to 9.0 (9.0-9.0) letters" in shown
    assert "the hardest that is measured" in shown
    assert "How far it solves" not in page([result({"control": BASE})])


def test_arms_that_solve_the_same_share_a_clause() -> None:
    row = (1.0, 0.9, 0.2, 0.0)
    sentence = loop_findings.takeaway(result({"control": (1.0, 0.2, 0.1, 0.0), "vote": row, "oracle": row}))
    assert sentence.startswith("After 1 round, the vote and oracle arms solve difficulty 7; neither")


@pytest.mark.parametrize("control", ["control", "flop_matched"])
def test_a_difficulty_that_a_control_solves_does_not_count(control: str) -> None:
    arms = {control: (1.0, 0.9, 0.1, 0.0), "vote": (1.0, 0.95, 0.85, 0.0)}
    assert loop_findings.takeaway(result(arms)) == (
        f"After 1 round, no arm of the loop solves a difficulty that the base model or the {control} arm does not "
        "solve as well (solved: at least 90% of the test problems right). Over difficulties 7–9 the vote arm answers "
        f"60% right on average, the {control} arm 33%."
    )


def test_half_right_is_not_solved() -> None:
    sentence = loop_findings.takeaway(result({"control": BASE, "vote": (1.0, 0.89, 0.5, 0.5)}))
    assert sentence.startswith("After 1 round, no arm of the loop solves")


def test_without_a_control_only_the_base_model_is_compared() -> None:
    assert loop_findings.takeaway(result({"oracle": (1.0, 0.9, 0.2, 0.0)})) == (
        "After 1 round, the oracle arm solves difficulty 7; the base model does not solve it (solved: at least 90% of "
        "the test problems right)."
    )


def test_one_seed_shows_the_intervals_of_its_problems() -> None:
    html = page([result({"control": (1.0, 0.88, 0.1, 0.0), "vote": (1.0, 0.9, 0.2, 0.0)})])
    assert "90 (85–93)" in html
    assert "One seed: the intervals" in html
    assert "Too close to 90% to call (the interval holds it): control at difficulty 7 and vote at difficulty 7." in html


def test_several_seeds_show_means_with_intervals() -> None:
    rows = [{"vote": (1.0, 0.5, 0.2, 0.0)}, {"vote": (1.0, 0.6, 0.2, 0.0)}, {"vote": (1.0, 0.7, 0.2, 0.0)}]
    html = page([result(*rows)])
    assert "60 (35–85)" in html  # 4.303 * 0.1 / sqrt(3)
    assert "Means over 3 seeds" in html and "One seed" not in html
    assert "Too close" not in html


def test_results_that_differ_by_seed_are_one_experiment() -> None:
    first, second = result({"vote": (1.0, 0.7, 0.2, 0.0)}), result({"vote": (1.0, 0.9, 0.2, 0.0)})
    second = replace(second, seeds=(replace(second.seeds[0], seed=1),))
    (pooled,) = loop_findings.pooled([first, second])
    assert loop_findings.mean_accuracy(pooled, "vote") == pytest.approx([1.0, 0.8, 0.2, 0.0])
    assert len(loop_findings.pooled([first, replace(second, settings="other")])) == 2
    assert len(loop_findings.pooled([first, first])) == 2  # one seed is not two
    view = loop.view([first, replace(second, settings="other")])
    assert view is not None and len(view.experiments) == 2


def test_loops_over_other_difficulties_are_experiments_of_their_own() -> None:
    """Tasks whose base data ends elsewhere stand side by side in one report."""
    longer = result({"vote": (1.0, 0.7, 0.2, 0.0)})
    row = (1.0, 0.7, 0.2)
    seed = SeedResult(seed=1, arms={"vote": ArmResult(accuracy=(row, row))})
    shorter = replace(longer, task="copy", difficulties=longer.difficulties[:3], seeds=(seed,))
    assert loop_findings.pooled([longer, shorter]) == [longer, shorter]
    assert loop_findings.pooled([shorter, longer]) == [shorter, longer]


def test_limitations_follow_the_data() -> None:
    arms = {
        "control": arm(BASE, train_flops=1e12),
        "vote": arm((0.4, 0.9, 0.9, 0.9), train_flops=1.5e12, generation_flops=0.2e12),
        "oracle": arm((1.0, 0.9, 0.9, 0.9), train_flops=1.5e12),
    }
    whole = replace(result({"vote": BASE}), seeds=(SeedResult(seed=0, arms=arms),))
    text = " ".join(loop_findings.caveats(whole))
    assert "upper bound; the vote is the evidence without labels" in text
    assert "vote 1.7×" in text and "oracle 1.5×" in text
    assert "Accuracy on the difficulties of the base data fell in vote (100% to 40%)." in text
    del arms["oracle"]
    assert "upper bound" not in " ".join(loop_findings.caveats(whole))


def test_examples_say_which_answers_are_right() -> None:
    html = page([result({"vote": BASE, "oracle": BASE})])
    assert html.count("✓ right") == 1 and html.count("✗ wrong") == 1


def test_names_of_arms_and_answers_are_escaped() -> None:
    evil = "\"><img src=x onerror='alert(1)'>"
    one = result({evil: BASE, "vote": BASE})
    html = page([replace(one, task=evil)])
    assert "<img" not in html and "onerror='" not in html


def test_what_was_not_measured_is_a_dash() -> None:
    html = page([result({"vote": (1.0, math.nan, 0.2, 0.0), "oracle": (1.0, 0.9, 0.2, 0.0)})])
    assert f"<td>{figures.DASH}</td>" in html and ">nan" not in html


def test_no_loop_no_section() -> None:
    assert loop.view([]) is None


def test_a_row_of_the_wrong_length_is_named(tmp_path: Path) -> None:
    path = tmp_path / "improve.json"
    write_result(path, result({"vote": BASE}))
    assert read_result(LoopResult, path) == result({"vote": BASE})
    path.write_text(path.read_text().replace("0.4,", "", 1))
    with pytest.raises(DataError, match=r"improve\.json.*seeds\[0\]\.arms\.vote\.accuracy.*4 difficulties"):
        read_result(LoopResult, path)


def with_fields(found: LoopResult, name: str, **fields: object) -> LoopResult:
    """The result, with fields of one arm changed in every seed."""
    seeds = [
        replace(seed, arms={**seed.arms, name: replace(seed.arms[name], **fields)})  # pyright: ignore[reportArgumentType]
        for seed in found.seeds
    ]
    return replace(found, seeds=tuple(seeds))


def test_decisions_rejected_rounds_and_ended_arms_are_shown() -> None:
    found = with_fields(
        result({"control": BASE, "controlled": (1.0, 0.95, 0.9, 0.5)}),
        "controlled",
        decisions=(Decision(round=1, action="harder", why="the <score> rose by .2", flops=1e9),),
        monitor=(
            MonitorReading(round=1, values={}, verdict="ok", why="nothing to tell"),
            MonitorReading(round=2, values={}, verdict="fall_back", why="half the answers are gone"),
        ),
        ended="every answer was rejected.",
    )
    text = page([found])
    assert "controlled, seed 0, round 1" in text
    assert "the &lt;score&gt; rose by .2" in text
    assert "half the answers are gone" in text
    assert "nothing to tell" not in text
    assert "The controlled arm of seed 0 ended early: every answer was rejected." in text
    plain = page([result({"control": BASE})])
    assert "Decisions of the controller" not in plain
    assert "collapse monitor" not in plain


def test_bits_of_labels_and_of_real_text_are_drawn() -> None:
    found = with_fields(
        result({"control": BASE, "vote": (1.0, 0.95, 0.9, 0.5)}),
        "vote",
        bits_per_label=(2.0, 1.0),
        held_out_bits_per_byte=(1.5, 1.6, 1.7),
    )
    text = page([found])
    assert "Bits that a pseudo-label tells" in text
    assert "Held-out real text" in text
    assert "Held-out real text" not in page([result({"control": BASE})])
