"""95% intervals: over seeds where there are several, else over the test problems or documents of the one run.

They answer two questions. Over seeds: what would another run give? Over problems: what would this model give on other
problems? The second is narrower, and says nothing about another run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

_T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t at 97.5% for 1 to 10 degrees of freedom."""
_Z_975 = 1.959964


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% interval; `low` and `high` are nan where there is too little to tell."""

    mean: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside of the interval; an interval that is not known excludes nothing."""
        return value < self.low or value > self.high


def mean_interval(values: Sequence[float]) -> Interval:
    """Returns the mean over seeds with Student's t interval; nan ends for fewer than two values, nan for none."""
    if not values:
        return Interval(math.nan, math.nan, math.nan)
    mean = fmean(values)
    if len(values) == 1 or not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan)
    half = student_t(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def difference_interval(values: Sequence[float], others: Sequence[float]) -> Interval:
    """Returns the interval of `values[i] - others[i]`, paired by seed: narrower than two intervals side by side.

    Raises: ValueError if there are not as many of both.
    """
    return mean_interval([a - b for a, b in zip(values, others, strict=True)])


def ratio_interval(amounts: Sequence[float], sizes: Sequence[float]) -> Interval:
    """Returns the interval of sum(amounts) / sum(sizes) over documents of different sizes, such as bits per byte.

    By linearisation (Cochran 1977, section 6.4) with Student's t; nan ends for fewer than two documents.
    Raises: ValueError if there are not as many of both.
    """
    pairs = list(zip(amounts, sizes, strict=True))
    total = math.fsum(sizes)
    if not total:
        return Interval(math.nan, math.nan, math.nan)
    mean = math.fsum(amounts) / total
    if len(pairs) == 1 or not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan)
    n = len(pairs)
    spread = math.sqrt(n / (n - 1) * math.fsum((amount - mean * size) ** 2 for amount, size in pairs)) / total
    half = student_t(n - 1) * spread
    return Interval(mean, mean - half, mean + half)


def accuracy_interval(shares: Sequence[float], n_problems: int) -> Interval:
    """Returns the interval of an accuracy measured once for each seed on `n_problems` problems.

    Several seeds: Student's t of their mean, cut to 0..1. One seed: the Wilson interval of a share (Wilson 1927).
    """
    mean = fmean(shares)
    if not math.isfinite(mean):
        return Interval(math.nan, math.nan, math.nan)
    if len(shares) == 1:
        return _wilson(mean, n_problems)
    half = student_t(len(shares) - 1) * stdev(shares) / math.sqrt(len(shares))
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))


def student_t(freedom: int) -> float:
    """Returns the 97.5% quantile of Student's t.

    Beyond 10 degrees by the expansion of Cornish and Fisher, within 0.003 there.
    """
    if freedom <= len(_T_975):
        return _T_975[freedom - 1]
    z = _Z_975
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def _wilson(share: float, n: int) -> Interval:
    if n < 1:
        return Interval(share, 0.0, 1.0)
    n = min(n, 10**12)  # more say the same, and a damaged file may hold what no float can
    shrunk = 1 + _Z_975**2 / n
    centre = (share + _Z_975**2 / (2 * n)) / shrunk
    half = _Z_975 * math.sqrt(share * (1 - share) / n + _Z_975**2 / (4 * n * n)) / shrunk
    # At the ends rounding could leave the share outside of its own interval.
    return Interval(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))
