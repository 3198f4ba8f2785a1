"""Seconds and FLOPs of every step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tilth.report import figures
from tilth.report.run import Entry, RunResults
from tilth.report.views import header
from tilth.step_record import StepRecord


@dataclass(frozen=True)
class CostRow:
    """One step of the cost table; widths are shares of the largest, in percent."""

    label: str
    seconds: str
    seconds_width: float
    flops: str
    flops_width: float


@dataclass(frozen=True)
class Cost:
    """The cost section."""

    takeaway: str
    rows: tuple[CostRow, ...]
    total_seconds: str
    total_flops: str


def view(run: RunResults) -> Cost | None:
    """Returns the cost section, or None where no step left a record."""
    steps = [entry.result for entry in run.steps]
    if not steps:
        return None
    longest = max(step.seconds for step in steps)
    most = max((step.flops or 0.0 for step in steps), default=0.0)
    return Cost(
        takeaway=_takeaway(run.steps),
        rows=tuple(
            CostRow(
                label=entry.label,
                seconds=figures.duration(entry.result.seconds),
                seconds_width=_width(entry.result.seconds, longest),
                flops=figures.flops(entry.result.flops),
                flops_width=_width(entry.result.flops or 0.0, most),
            )
            for entry in run.steps
        ),
        total_seconds=figures.duration(sum(step.seconds for step in steps)),
        total_flops=figures.flops(header.total_flops(run)),
    )


def _width(value: float, largest: float) -> float:
    share = value / largest if largest > 0 else 0.0
    return round(100 * min(max(share, 0.0), 1.0), 2) if math.isfinite(share) else 0.0


def _takeaway(steps: tuple[Entry[StepRecord], ...]) -> str:
    total = sum(step.result.seconds for step in steps)
    longest = max(steps, key=lambda step: step.result.seconds)
    share = f" ({figures.percent(longest.result.seconds / total)})" if total > 0 else ""
    return (
        f"{figures.plural(len(steps), 'step')} took {figures.duration(total)} in all; "
        f"{longest.label} took the most, {figures.duration(longest.result.seconds)}{share}."
    )
