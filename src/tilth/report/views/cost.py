"""Seconds and FLOPs of every step."""

from __future__ import annotations

from dataclasses import dataclass

from tilth.report import figures
from tilth.report.artefacts import RunArtefacts, RunData, StepRecord


@dataclass(frozen=True)
class CostRow:
    """One step of the cost table; widths are shares of the largest, in percent."""

    name: str
    seconds: str
    seconds_width: float
    flops: str
    flops_width: float
    cached: bool | None


@dataclass(frozen=True)
class Cost:
    """The cost section."""

    takeaway: str
    rows: tuple[CostRow, ...]
    total_seconds: str
    total_flops: str
    knows_cached: bool


def view(run: RunArtefacts, data: RunData) -> Cost | None:
    """Returns the cost section, or None where no step left a record."""
    steps = data.steps
    if not steps:
        return None
    longest = max(step.seconds for step in steps) or 1.0
    counted = [step.flops for step in steps if step.flops is not None]
    most = max(counted, default=0.0) or 1.0
    return Cost(
        takeaway=_takeaway(run, steps),
        rows=tuple(
            CostRow(
                name=step.name,
                seconds=figures.duration(step.seconds),
                seconds_width=round(100 * step.seconds / longest, 2),
                flops=figures.flops(step.flops),
                flops_width=round(100 * (step.flops or 0.0) / most, 2),
                cached=None if run.cached is None else step.name in run.cached,
            )
            for step in steps
        ),
        total_seconds=figures.duration(sum(step.seconds for step in steps)),
        total_flops=figures.flops(sum(counted) if counted else None),
        knows_cached=run.cached is not None,
    )


def _takeaway(run: RunArtefacts, steps: tuple[StepRecord, ...]) -> str:
    total = sum(step.seconds for step in steps)
    longest = max(steps, key=lambda step: step.seconds)
    share = f" ({figures.percent(longest.seconds / total)})" if total > 0 else ""
    sentence = (
        f"{figures.plural(len(steps), 'step')} took {figures.duration(total)} in all; "
        f"{longest.name} took the most, {figures.duration(longest.seconds)}{share}."
    )
    cached = [step for step in steps if run.cached is not None and step.name in run.cached]
    if len(cached) == len(steps):
        return f"{sentence} All were taken from the cache, so this run cost next to nothing."
    if cached:
        saved = figures.duration(sum(step.seconds for step in cached))
        return f"{sentence} {len(cached)} of them came from the cache, which saved {saved}."
    return sentence
