"""The page of a frontier: what each way of making data costs and removes, and what a dearer one buys.

All of it is read from `frontier.json`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from tilth.assay.frontier import FRONTIER_RESULT, Answer, Frontier, FrontierPoint
from tilth.intervals import Interval
from tilth.report import charts, figures
from tilth.report.forest import ForestRow, forest, with_interval
from tilth.report.page import write_page
from tilth.report.views.header import Header
from tilth.results import read_result

PAGE = "frontier.html"
_HALF_WIDTH = 0.012
"""Half the width of the bar of an interval, in decades of FLOPs."""


@dataclass(frozen=True)
class GroupView:
    """Points that compare with each other."""

    takeaway: str
    about: str
    figures: tuple[Markup, ...]
    notes: tuple[str, ...] = ()
    pairs: tuple[object, ...] = ()


@dataclass(frozen=True)
class Section:
    """A section of the page, as `page.Section`."""

    key: str
    title: str
    view: GroupView
    template: str = "assay_part"


def render_frontier(path: Path, out: Path | None = None) -> Path:
    """Writes the page of a `frontier.json` (or the folder with it); returns its path: `out`, or one beside the file.

    Raises: DataError if the file is not readable.
    """
    file = path / FRONTIER_RESULT if path.is_dir() else path
    frontier = read_result(Frontier, file)
    sections = [
        Section(f"group-{index}", group, _group(frontier, group)) for index, group in enumerate(frontier.groups)
    ]
    head = Header(
        title="Frontier",
        takeaway=f"{figures.plural(len(frontier.points), 'way')} of making data or spending compute, by what they cost "
        "and what they bring.",
        finished="",
        key_figures=(),
        chat_command=None,
    )
    return write_page(head, sections, out or file.with_name(PAGE))


def _group(frontier: Frontier, group: str) -> GroupView:
    points = [point for point in frontier.points if point.group == group]
    answers = [answer for answer in frontier.answers if answer.group == group]
    best = [point.name for point in points if point.on_frontier]
    takeaway = f"On the frontier: {figures.join(best)}." if best else "No point has known FLOPs."
    return GroupView(
        takeaway=takeaway,
        about="A point is on the frontier if no other costs no more and brings as much. Intervals are 95%, over seeds.",
        figures=tuple(filter(None, [_scatter(points), _table(points), _answers(answers)])),
        notes=frontier.notes,
    )


def _scatter(points: list[FrontierPoint]) -> Markup:
    """FLOPs in decades against the gain; the frontier is a line, each point has the bar of its interval."""
    drawn = [point for point in points if point.flops > 0 and math.isfinite(point.flops)]
    tones = charts.tones(len(drawn))
    best = [(math.log10(point.flops), point.gain.mean) for point in drawn if point.on_frontier]
    lines = [charts.Line(label="frontier", points=best, tone="sand", faint=True)] if len(best) > 1 else []
    for point, tone in zip(drawn, tones, strict=True):
        x = math.log10(point.flops)
        low, high = point.gain.low, point.gain.high
        lines.append(
            charts.Line(
                label=point.name,
                # Two points at one place: a chart needs something to join.
                points=[(x, point.gain.mean), (x, point.gain.mean)],
                tone=tone,
                band=[(x - _HALF_WIDTH, low, high), (x + _HALF_WIDTH, low, high)],
            )
        )
    axes = charts.Axes(
        x_label="FLOPs of generation (an arm: of training and generation)",
        y_label="Gain",
        x_format=lambda x: figures.flops(10**x),
    )
    return charts.line_chart(lines, axes, note="held-out bits per byte removed, or the arm's measure", wide=True)


def _table(points: list[FrontierPoint]) -> Markup:
    rows = [
        (
            f"{point.name} ★" if point.on_frontier else point.name,
            point.teacher or figures.DASH,
            point.recipe or figures.DASH,
            point.samples_per_prompt or figures.DASH,
            point.verifier or figures.DASH,
            figures.flops(point.flops),
            with_interval(point.gain, _three),
            with_interval(point.gain_per_pflop, _short),
            with_interval(point.value, _two) if point.value is not None else figures.DASH,
        )
        for point in points
    ]
    columns = (
        "★ on the frontier", "teacher", "recipe", "samples", "verifier", "FLOPs", "gain", "gain per PFLOP", "value",
    )  # fmt: skip
    return charts.table(columns, rows)


def _answers(answers: list[Answer]) -> Markup:
    if not answers:
        return Markup("")
    asked = Markup("").join(
        Markup("<li><b>{}</b> {}</li>").format(answer.question, answer.verdict) for answer in answers
    )
    rows = [
        ForestRow(label=f"{answer.dearer} − {answer.cheaper}", tone="clay", interval=answer.more_in_all)
        for answer in answers
        if _drawn(answer.more_in_all)
    ]
    plot = (
        forest(rows, title="What the dearer one brings more", form=_signed, marks=((0.0, "no more than the cheaper"),))
        if rows
        else Markup("")
    )
    return Markup('<ul class="caveats">{}</ul>{}').format(asked, plot)


def _drawn(interval: Interval) -> bool:
    return math.isfinite(interval.mean)


def _two(value: float) -> str:
    return f"{value:.2f}"


def _three(value: float) -> str:
    return f"{value:.3f}"


def _short(value: float) -> str:
    return f"{value:.3g}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"
