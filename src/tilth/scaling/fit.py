"""A robust fit of laws whose loss is a sum of powers: Huber loss of log residuals, from many starts.

A law `L = E + A/N^a + B/D^b` is `log L = logsumexp_k(x_k . theta)` with `theta = (log E, log A, a, log B, b)` and
known `x_k`. So one solver serves all laws of that kind: a design of shape (points, terms, parameters) says which
parameters enter which term. The objective is the SUM of Huber losses: with the mean, solvers that stop at a small
gradient stop too early (Besiroglu et al. 2024 on Hoffmann et al. 2022). It is minimised by a damped Newton
method with the exact gradient and Hessian, from all starts at a time; scipy is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tilth.errors import DataError
from tilth.intervals import Interval

Floats = npt.NDArray[np.float64]

HUBER_DELTA = 1e-3
"""Log residual up to which the loss is quadratic (Hoffmann et al. 2022, approach 3)."""
_SCREENING_STEPS, _STEPS = 40, 600
_KEPT_STARTS = 8
_DECREASE = 1e-13
"""Share of the objective: a Newton step that promises less ends the search."""
_LARGEST_BATCH = 4_000_000
"""Numbers in the largest array: starts or resamples go through the solver in batches of that size."""


@dataclass(frozen=True, kw_only=True)
class TermFit:
    """The best of the minima that were found."""

    parameters: tuple[float, ...]
    """In the order of the design's last axis."""
    objective: float
    """Sum of Huber losses of the log residuals."""
    converged: bool
    """Whether the search ended because no step promised any more, not because it ran out of steps."""
    agreeing_starts: int
    """Of the best starts, those that ended at this objective: 1 of several is a warning."""


def fit_terms(design: Floats, loss: Floats, starts: Floats, *, delta: float = HUBER_DELTA) -> TermFit:
    """Fits `log loss = logsumexp_k(design[:, k] @ theta)`.

    Shapes: design (points, terms, parameters), loss (points,), starts (starts, parameters).
    Raises: DataError for a loss that is not positive and finite, or for fewer points than parameters.
    """
    check_points(design, loss)
    log_loss = np.log(loss)
    ones = np.ones((len(starts), len(loss)))
    screened = _minimise(design, log_loss, starts, ones, delta, _SCREENING_STEPS)
    best = np.argsort(screened.objectives, kind="stable")[:_KEPT_STARTS]
    ended = _minimise(design, log_loss, screened.parameters[best], ones[: len(best)], delta, _STEPS)
    index = int(np.argmin(ended.objectives))
    objective = float(ended.objectives[index])
    return TermFit(
        parameters=tuple(float(value) for value in ended.parameters[index]),
        objective=objective,
        converged=bool(ended.converged[index]),
        agreeing_starts=int((ended.objectives <= objective * (1 + 1e-6) + 1e-15).sum()),
    )


def bootstrap_terms(
    design: Floats,
    loss: Floats,
    fit: TermFit,
    weights: Floats,
    *,
    delta: float = HUBER_DELTA,
) -> Floats:
    """Returns the parameters of fits to resampled runs (`resample_weights`): shape (resamples, parameters).

    Each fit starts from the best fit to all points.
    """
    starts = np.tile(np.array(fit.parameters), (len(weights), 1))
    return _minimise(design, np.log(loss), starts, weights, delta, _STEPS // 4).parameters


def resample_weights(
    n: int,
    *,
    groups: Sequence[object] | None = None,
    strata: Sequence[object] | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> Floats:
    """Returns how often each of `n` points is drawn in each resample: shape (resamples, n).

    `groups`: one value a point; points of one group are one run and are drawn together (default: each alone).
    `strata`: one value a point; each stratum keeps its number of groups, so that no size or source gets lost.
    """
    groups = list(range(n)) if groups is None else groups
    strata = [0] * n if strata is None else strata
    rng = np.random.default_rng(seed)
    weights = np.zeros((resamples, n))
    for stratum in dict.fromkeys(strata):
        places = [place for place in range(n) if strata[place] == stratum]
        order = {group: index for index, group in enumerate(dict.fromkeys(groups[place] for place in places))}
        counts = rng.multinomial(len(order), np.full(len(order), 1 / len(order)), size=resamples)
        weights[:, places] = counts[:, [order[groups[place]] for place in places]]
    return weights


def predict_terms(design: Floats, parameters: Floats) -> Floats:
    """Returns the law's loss; shape (points,) for one set of parameters, (sets, points) for several."""
    z = np.tensordot(np.atleast_2d(parameters), design, axes=(1, 2))
    predicted = np.exp(np.logaddexp.reduce(z, axis=-1))
    return predicted if parameters.ndim == 2 else predicted[0]


def percentile_interval(estimate: float, resampled: Floats) -> Interval:
    """Returns an estimate with the 2.5% and 97.5% percentiles of what resamples gave (those that are finite)."""
    finite = resampled[np.isfinite(resampled)]
    if len(finite) < 2:
        return Interval(estimate, float("nan"), float("nan"))
    low, high = np.percentile(finite, [2.5, 97.5])
    return Interval(estimate, float(low), float(high))


def check_points(design: Floats, loss: Floats) -> None:
    """Raises DataError for a loss that is not positive and finite, or for fewer points than parameters."""
    wrong = np.flatnonzero(~(np.isfinite(loss) & (loss > 0)))
    if len(wrong):
        raise DataError(
            f"Point {int(wrong[0])} has the loss {float(loss[wrong[0]])}.",
            fix="Leave out runs that diverged: a law needs losses that are positive and finite.",
        )
    if not np.isfinite(design).all():
        raise DataError("A point has no finite size or token count.", fix="Give positive sizes and token counts.")
    if len(loss) < design.shape[2]:
        raise DataError(
            f"{len(loss)} points cannot fix the {design.shape[2]} parameters of the law.",
            fix="Measure more sizes or token counts.",
        )


@dataclass(frozen=True)
class _Minima:
    parameters: Floats
    objectives: Floats
    converged: npt.NDArray[np.bool_]


def _minimise(design: Floats, log_loss: Floats, starts: Floats, weights: Floats, delta: float, steps: int) -> _Minima:
    """Minimises from each start with its own weights `(starts, points)`; in batches that fit into memory."""
    n_points, n_terms, n_parameters = design.shape
    size = max(1, _LARGEST_BATCH // (n_points * max(n_terms, n_parameters)))
    problem = _Problem(design, log_loss, delta)
    parts = [
        _descend(problem, starts[at : at + size], weights[at : at + size], steps) for at in range(0, len(starts), size)
    ]
    return _Minima(
        np.concatenate([part.parameters for part in parts]),
        np.concatenate([part.objectives for part in parts]),
        np.concatenate([part.converged for part in parts]),
    )


class _Problem:
    """The objective with its derivatives, for many sets of parameters at a time."""

    def __init__(self, design: Floats, log_loss: Floats, delta: float) -> None:
        self.design, self.log_loss, self.delta = design, log_loss, delta
        n_points, n_terms, n_parameters = design.shape
        self.flat = design.reshape(n_points * n_terms, n_parameters)
        self.outer = (self.flat[:, :, None] * self.flat[:, None, :]).reshape(n_points * n_terms, -1)

    def residuals(self, theta: Floats) -> tuple[Floats, Floats]:
        """Returns log residuals `(sets, points)` and the terms' shares of the prediction `(sets, points, terms)`."""
        z = (theta @ self.flat.T).reshape(len(theta), *self.design.shape[:2])
        top = z.max(axis=-1, keepdims=True)
        shares = np.exp(z - top)
        total = shares.sum(axis=-1, keepdims=True)
        return (top + np.log(total))[..., 0] - self.log_loss, shares / total

    def objective(self, theta: Floats, weights: Floats) -> Floats:
        residuals, _ = self.residuals(theta)
        size = np.abs(residuals)
        huber = np.where(size <= self.delta, 0.5 * residuals**2, self.delta * (size - 0.5 * self.delta))
        return (weights * huber).sum(axis=-1)

    def derivatives(self, theta: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Returns gradient `(sets, parameters)`, Hessian, and the diagonal of a matrix above it, for damping."""
        residuals, shares = self.residuals(theta)
        jacobian = np.matmul(shares.transpose(1, 0, 2), self.design).transpose(1, 0, 2)
        slope = weights * np.clip(residuals, -self.delta, self.delta)
        gradient = np.einsum("sn,snp->sp", slope, jacobian)
        # Of logsumexp, the second derivative is the covariance of the terms' rows under their shares.
        bend = ((slope[..., None] * shares).reshape(len(theta), -1) @ self.outer).reshape(
            len(theta), theta.shape[1], theta.shape[1]
        )
        curvature = weights * (np.abs(residuals) <= self.delta) - slope
        transposed = jacobian.transpose(0, 2, 1)
        hessian = np.matmul(transposed * curvature[:, None, :], jacobian) + bend
        share = np.minimum(1.0, self.delta / np.maximum(np.abs(residuals), 1e-300))
        above = np.einsum("sn,snp->sp", weights * share, jacobian**2)
        return gradient, hessian, above


def _descend(problem: _Problem, starts: Floats, weights: Floats, steps: int) -> _Minima:
    """Damped Newton: a step that does not lower the objective is taken back and the damping raised."""
    theta = starts.astype(np.float64).copy()
    value = problem.objective(theta, weights)
    damping = np.full(len(theta), 1e-2)
    converged = np.zeros(len(theta), dtype=np.bool_)
    active = np.flatnonzero(np.isfinite(value))
    for _ in range(steps):
        if len(active) == 0:
            break
        gradient, hessian, above = problem.derivatives(theta[active], weights[active])
        ridge = damping[active, None] * (above + 1e-9 * above.max(axis=-1, keepdims=True) + 1e-300)
        step, promise = _step(gradient, hessian, ridge)
        tried = theta[active] + step
        reached = problem.objective(tried, weights[active])
        better = (promise > 0) & (reached < value[active])
        small = (promise >= 0) & (promise <= _DECREASE * value[active])
        stuck = ~better & (damping[active] > 1e10)
        theta[active[better]] = tried[better]
        value[active[better]] = reached[better]
        damping[active] = np.where(better, np.maximum(damping[active] / 5, 1e-12), damping[active] * 4)
        converged[active] = small | stuck
        active = active[~(small | stuck)]
    return _Minima(theta, np.where(np.isfinite(value), value, np.inf), converged)


def _step(gradient: Floats, hessian: Floats, ridge: Floats) -> tuple[Floats, Floats]:
    """Returns Newton steps of the damped Hessian, and how much each promises to lower the objective."""
    matrix = hessian + np.eye(gradient.shape[1]) * ridge[:, None, :]
    scale = np.sqrt(np.maximum(np.abs(np.einsum("spp->sp", matrix)), 1e-300))
    scaled = matrix / (scale[:, :, None] * scale[:, None, :])
    values, vectors = np.linalg.eigh(scaled)
    # Directions of negative curvature are followed downhill instead: |eigenvalue| in their place.
    values = np.maximum(np.abs(values), 1e-12)
    along = np.einsum("spk,sp->sk", vectors, gradient / scale)
    step = -np.einsum("spk,sk->sp", vectors, along / values) / scale
    limit = np.maximum(1.0, np.abs(step).max(axis=-1, keepdims=True) / 3.0)
    step = step / limit
    return step, -0.5 * np.einsum("sp,sp->s", gradient, step)
