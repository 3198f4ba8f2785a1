"""Maps from data to drawing units, round numbers for ticks, and labels that do not overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A linear or logarithmic map from data to drawing units."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        value = min(max(value, self.low), self.high)  # what is off the scale is drawn at its end
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def ticks(low: float, high: float, most: int = 6, whole: bool = False) -> list[float]:
    """Returns at most `most` round numbers (steps of 1, 2 or 5 times a power of ten) within `low..high`."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span / most)) if span > 0 else 1.0
    power = max(power, 1.0) if whole else power
    step = next(s for factor in (1, 2, 5, 10, 20, 50, 100) if span / (s := power * factor) <= most - 1)
    slack = 1e-9 * span / step
    first = math.ceil(low / step - slack)
    return [round(step * i, 12) for i in range(first, math.floor(high / step + slack) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Returns powers of ten within `low..high`; where there are fewer than two, also their 2- and 5-fold."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        found = [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]
        if len(found) >= 2:
            return found
    return [low, high]


def trimmed(labels: list[str]) -> list[str]:
    """Returns the labels without the decimals that are zero in all of them: `2.00, 4.00` -> `2, 4`."""
    while labels and all("." in label and label[-1] in "0." for label in labels):
        labels = [label[:-1] for label in labels]
    return labels


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Returns positions at least `gap` apart within `low..high`, with the least squared distance from the wanted ones.

    Where `high - low` is too small for all of them, they begin at `low` and end after `high`. Less `gap` times its
    rank, each position must be no smaller than the one before: an isotonic regression (pool adjacent violators).
    """
    order = sorted(range(len(wanted)), key=lambda index: (wanted[index], index))
    pools: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        pools.append((wanted[index] - rank * gap, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, n), (b, m) = pools[-2:]
            pools[-2:] = [((a * n + b * m) / (n + m), n + m)]
    most = max(low, high - (len(wanted) - 1) * gap)
    flat = [min(max(value, low), most) for value, count in pools for _ in range(count)]
    positions = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        positions[index] = flat[rank] + rank * gap
    return positions
