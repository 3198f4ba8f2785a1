"""The result of an experiment with arms: measures over rounds, for each arm and seed (`experiment.json`).

The experiments on collapse, curricula, languages, search and laws share it, so that one page shows any of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from tilth.errors import DataError
from tilth.intervals import Interval, difference_interval, mean_interval

EXPERIMENT_RESULT = "experiment.json"
"""File name, in the folder of an experiment."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One treatment."""

    name: str
    meaning: str
    """What it does, in one sentence."""
    role: Literal["treatment", "control", "upper_bound"] = "treatment"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One quantity that is measured of every arm."""

    name: str
    """Key in `Point.values`."""
    title: str
    """What axes and tables call it, with its unit."""
    better: Literal["lower", "higher", "neither"]


@dataclass(frozen=True, kw_only=True)
class Point:
    """What was measured of one arm with one seed at one place."""

    arm: str
    seed: int
    x: float
    """Round, generation or tokens: `Experiment.x_title` says what."""
    values: dict[str, float]
    """Measure -> value; nan where there is none."""
    flops: float = 0.0
    """Training and generation up to here, measuring left out."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """An arm that ended early."""

    arm: str
    seed: int
    x: float
    why: str
    """In words: the loss is not finite, every sample was rejected, ..."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two arms at the end: the question that the experiment asks."""

    measure: str
    arm: str
    other: str
    claim: str
    """What a difference in the better direction means, in one sentence."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """Something to look at."""

    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment's question, arms and figures."""

    name: str
    title: str
    question: str
    """What was asked, in one or two sentences for a person who has read no paper."""
    x_title: str
    arms: tuple[Arm, ...]
    measures: tuple[Measure, ...]
    """The first is the main one."""
    points: tuple[Point, ...]
    comparisons: tuple[Comparison, ...]
    n: str
    """On how much each value is measured, in words: `200 problems a difficulty`, `180 documents, 200 kB`."""
    settings: dict[str, object] = field(default_factory=dict[str, object])
    """What was set, for the table at the end of the page."""
    ended: tuple[Ended, ...] = ()
    findings: tuple[str, ...] = ()
    """Sentences with figures, positive or negative."""
    examples: tuple[Example, ...] = ()
    seconds: float = 0.0
    """Of all arms and seeds, one after the other."""

    def __post_init__(self) -> None:
        names = {arm.name for arm in self.arms}
        unknown = {point.arm for point in self.points} - names
        if not self.arms or not self.measures or unknown:
            raise DataError(f"The experiment `{self.name}` has points of unknown arms: {sorted(unknown)}.")

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds, in order."""
        return tuple(sorted({point.seed for point in self.points}))

    def last(self, arm: str, measure: str) -> dict[int, float]:
        """Returns an arm's value at its last x for each seed; a seed that ended early, or has none, is left out."""
        early = {(one.arm, one.seed) for one in self.ended}
        found: dict[int, tuple[float, float]] = {}
        for point in self.points:
            value = point.values.get(measure, math.nan)
            if (
                point.arm == arm
                and (arm, point.seed) not in early
                and point.x >= found.get(point.seed, (-math.inf,))[0]
            ):
                found[point.seed] = (point.x, value)
        return {seed: value for seed, (_, value) in sorted(found.items()) if math.isfinite(value)}

    def final(self, arm: str, measure: str) -> Interval:
        """Returns an arm's mean over seeds at its last x, with the interval over seeds."""
        return mean_interval(list(self.last(arm, measure).values()))

    def difference(self, comparison: Comparison) -> Interval:
        """Returns `arm` less `other` at the end, paired by seed; nan without a seed that both have."""
        values, others = self.last(comparison.arm, comparison.measure), self.last(comparison.other, comparison.measure)
        common = [seed for seed in values if seed in others]
        return difference_interval([values[s] for s in common], [others[s] for s in common])

    def series(self, arm: str, measure: str) -> list[tuple[float, Interval]]:
        """Returns (x, mean over the seeds there) in the order of x."""
        at: dict[float, list[float]] = {}
        for point in self.points:
            value = point.values.get(measure, math.nan)
            if point.arm == arm and math.isfinite(value):
                at.setdefault(point.x, []).append(value)
        return [(x, mean_interval(values)) for x, values in sorted(at.items())]

    def flops(self, arms: Iterable[str] | None = None) -> float:
        """Returns the FLOPs of the named arms (default: all), over all seeds."""
        wanted = set(arms) if arms is not None else {arm.name for arm in self.arms}
        most: dict[tuple[str, int], float] = {}
        for point in self.points:
            if point.arm in wanted:
                most[point.arm, point.seed] = max(most.get((point.arm, point.seed), 0.0), point.flops)
        return sum(most.values())
