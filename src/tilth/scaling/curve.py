"""One curve of loss against tokens, `L = E + B/D^b`: where it would end with more of the same data.

Few token counts fix the end of a curve poorly; the intervals say how poorly.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tilth.errors import DataError
from tilth.intervals import Interval
from tilth.scaling.fit import Floats, bootstrap_terms, check_points, fit_terms, percentile_interval, resample_weights


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A fitted curve. The intervals are 95% percentiles of a bootstrap over runs."""

    asymptote: Interval
    """E: the loss that no number of tokens removes."""
    coefficient: float
    """B"""
    exponent: Interval
    """b"""
    objective: float
    n_points: int
    resampled: tuple[tuple[float, float, float], ...] = ()
    """(E, B, b) of each resample: equal seeds of the bootstrap draw equal runs, so that curves can be paired."""

    def loss(self, tokens: float) -> float:
        """Returns the loss that the curve predicts."""
        return self.asymptote.mean + self.coefficient / tokens**self.exponent.mean


def fit_curve(
    tokens: Sequence[float],
    loss: Sequence[float],
    *,
    runs: Sequence[object] | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> Curve:
    """Fits the curve; `runs`: one value a point, points of one run are drawn together.

    Raises: DataError for fewer than three token counts, or a loss that is not finite.
    """
    counts, losses = np.asarray(tokens, dtype=np.float64), np.asarray(loss, dtype=np.float64)
    if not (counts > 0).all() or len(np.unique(counts)) < 3:
        raise DataError(
            f"A curve has {len(np.unique(counts))} different token counts, or one that is not positive.",
            fix="Measure at three token counts or more: fewer say nothing of where a curve ends.",
        )
    design = np.zeros((len(counts), 2, 3))
    design[:, [0, 1], [0, 1]] = 1
    design[:, 1, 2] = -np.log(counts)
    check_points(design, losses)
    middle = np.log(counts).mean()
    starts = [
        [
            np.log(floor * losses.min()),
            np.log(max(float(np.median(losses)) - floor * losses.min(), 1e-6)) + b * middle,
            b,
        ]
        for floor, b in itertools.product((0.3, 0.6, 0.9, 0.98), (0.1, 0.3, 0.6, 1.0, 2.0))
    ]
    fitted = fit_terms(design, losses, np.array(starts))
    weights = resample_weights(len(losses), groups=runs, resamples=resamples, seed=seed)
    laws = _as_law(bootstrap_terms(design, losses, fitted, weights))
    (E, B, b) = _as_law(np.array([fitted.parameters]))[0]
    return Curve(
        asymptote=percentile_interval(float(E), laws[:, 0]),
        coefficient=float(B),
        exponent=percentile_interval(float(b), laws[:, 2]),
        objective=fitted.objective,
        n_points=len(losses),
        resampled=tuple((float(x), float(y), float(z)) for x, y, z in laws),
    )


def asymptote_difference(curve: Curve, other: Curve) -> Interval:
    """Returns the difference of two curves' ends, paired by resample: both fitted with equal runs and seed."""
    ends, others = (np.array([law[0] for law in one.resampled]) for one in (curve, other))
    return percentile_interval(curve.asymptote.mean - other.asymptote.mean, ends - others)


def _as_law(theta: Floats) -> Floats:
    return np.stack([np.exp(theta[:, 0]), np.exp(np.minimum(theta[:, 1], 700.0)), theta[:, 2]], axis=1)
