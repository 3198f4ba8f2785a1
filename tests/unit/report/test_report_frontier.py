"""The page of a frontier: points with what they cost and bring, and answers."""

import math
from dataclasses import replace
from pathlib import Path

from tilth.assay.frontier import FRONTIER_RESULT, Answer, Frontier, FrontierPoint
from tilth.intervals import Interval
from tilth.report.frontier import render_frontier
from tilth.results import write_result

UNKNOWN = Interval(math.nan, math.nan, math.nan)


def point(name: str, flops: float, gain: float, *, best: bool) -> FrontierPoint:
    return FrontierPoint(
        group="bits removed",
        name=name,
        recipe="wrap",
        samples_per_prompt="4",
        flops=flops,
        gain=Interval(gain, gain - 0.02, gain + 0.02),
        gain_per_pflop=UNKNOWN,
        on_frontier=best,
    )


FRONTIER = Frontier(
    groups=("bits removed",),
    points=(point("one sample", 3e12, 0.1, best=True), point("<four>", 1.2e13, 0.15, best=True)),
    answers=(
        Answer(
            group="bits removed",
            question="Are more samples worth it?",
            cheaper="one sample",
            dearer="<four>",
            more_in_all=Interval(0.05, 0.01, 0.09),
            more_per_pflop=UNKNOWN,
            verdict="More in all.",
        ),
    ),
    notes=("One card has no cost.",),
)


def test_the_page_shows_points_answers_and_notes(tmp_path: Path) -> None:
    write_result(tmp_path / FRONTIER_RESULT, FRONTIER)
    page = render_frontier(tmp_path)
    text = page.read_text()
    for part in (
        "On the frontier: one sample and &lt;four&gt;.",
        "12.0 TFLOP",
        "0.150 (0.130 to 0.170)",
        "Are more samples worth it?",
        "More in all.",
        "+0.050 (+0.010 to +0.090)",
        "One card has no cost.",
    ):
        assert part in text, part
    assert "<four>" not in text


def test_points_without_known_flops_are_in_the_table_alone(tmp_path: Path) -> None:
    points = tuple(replace(one, flops=math.nan, on_frontier=False) for one in FRONTIER.points)
    write_result(tmp_path / "f.json", replace(FRONTIER, points=points, answers=()))
    text = render_frontier(tmp_path / "f.json", tmp_path / "f.html").read_text()
    assert "No point has known FLOPs." in text
    assert "one sample" in text
    assert 'class="chart' not in text
