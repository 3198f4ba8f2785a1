"""The law of Hoffmann et al. 2022, `L = E + A/N^alpha + B/D^beta`, and how to spend a compute budget under it.

Checked against the reproduction of Besiroglu et al. 2024 (their method on public points), and of Muennighoff et al.
2023 with equal exponents.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tilth.errors import ConfigError, DataError
from tilth.intervals import Interval
from tilth.scaling.fit import (
    HUBER_DELTA,
    Floats,
    bootstrap_terms,
    check_points,
    fit_terms,
    percentile_interval,
    resample_weights,
)

FLOPS_PER_PARAMETER_AND_TOKEN = 6.0
NAMES = ("E", "A", "B", "alpha", "beta")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to spend a compute budget: the size and the tokens of least loss under the law."""

    flops: float
    n_params: Interval
    n_tokens: Interval
    loss: Interval


@dataclass(frozen=True, kw_only=True)
class ChinchillaFit:
    """A fitted law. The intervals are 95% percentiles of a bootstrap over runs."""

    E: float
    """Nats or bits that no size and no data removes."""
    A: float
    B: float
    alpha: float
    beta: float
    intervals: dict[str, Interval]
    objective: float
    """Sum of Huber losses of the log residuals."""
    n_points: int
    converged: bool
    resampled: tuple[tuple[float, ...], ...] = ()
    """(E, A, B, alpha, beta) of each resample: what the intervals of `plan` come from."""

    def loss(self, n_params: float, n_tokens: float) -> float:
        """Returns the loss that the law predicts."""
        return self.E + self.A / n_params**self.alpha + self.B / n_tokens**self.beta

    def plan(self, flops: float) -> Plan:
        """Returns the best size and tokens for a training budget of `6 N D` FLOPs.

        Raises: ConfigError for a budget that is not positive; DataError where the fit has an exponent of 0 or less,
        and so no best size.
        """
        if not flops > 0:
            raise ConfigError(f"The budget is {flops} FLOPs.", fix="Give a positive number.")
        if not (self.alpha > 0 and self.beta > 0):
            raise DataError(
                f"The fit has alpha {self.alpha:.3g} and beta {self.beta:.3g}: under it there is no best size.",
                fix="Fit more runs, over a wider range of sizes and token counts.",
            )
        best = _split(np.array([[self.E, self.A, self.B, self.alpha, self.beta]]), flops)[0]
        resampled = np.array(self.resampled, dtype=np.float64).reshape(-1, len(NAMES))
        spread = _split(resampled[(resampled[:, 3:] > 0).all(axis=1)], flops)
        values = [percentile_interval(float(best[column]), spread[:, column]) for column in range(3)]
        return Plan(flops=flops, n_params=values[0], n_tokens=values[1], loss=values[2])


def fit_chinchilla(
    n_params: Sequence[float],
    n_tokens: Sequence[float],
    loss: Sequence[float],
    *,
    equal_exponents: bool = False,
    resamples: int = 200,
    seed: int = 0,
    delta: float = HUBER_DELTA,
) -> ChinchillaFit:
    """Fits the law to runs; `equal_exponents` sets alpha = beta (Muennighoff et al. 2023).

    Raises: DataError for runs of fewer than two sizes or token counts, or with a loss that is not finite.
    """
    sizes, tokens, losses = (np.asarray(values, dtype=np.float64) for values in (n_params, n_tokens, loss))
    for name, values in (("sizes", sizes), ("token counts", tokens)):
        if not (values > 0).all() or len(np.unique(values)) < 3:
            raise DataError(
                f"The runs have {len(np.unique(values))} different {name}, or one that is not positive.",
                fix="Give runs of at least three sizes and three token counts: fewer fix no exponent.",
            )
    design = _design(sizes, tokens, equal_exponents)
    check_points(design, losses)
    fitted = fit_terms(design, losses, _starts(sizes, tokens, losses, equal_exponents), delta=delta)
    weights = resample_weights(len(losses), resamples=resamples, seed=seed)
    spread = bootstrap_terms(design, losses, fitted, weights, delta=delta)
    best = _as_law(np.array([fitted.parameters]))[0]
    resampled = _as_law(spread)
    return ChinchillaFit(
        **{name: float(value) for name, value in zip(NAMES, best, strict=True)},
        intervals={
            name: percentile_interval(float(value), resampled[:, column])
            for column, (name, value) in enumerate(zip(NAMES, best, strict=True))
        },
        objective=fitted.objective,
        n_points=len(losses),
        converged=fitted.converged,
        resampled=tuple(tuple(map(float, row)) for row in resampled),
    )


def _design(sizes: Floats, tokens: Floats, equal_exponents: bool) -> Floats:
    """Returns the design for (log E, log A, log B, alpha, beta), or with one exponent at the end."""
    design = np.zeros((len(sizes), 3, 4 if equal_exponents else 5))
    design[:, [0, 1, 2], [0, 1, 2]] = 1
    design[:, 1, 3] = -np.log(sizes)
    design[:, 2, -1] = -np.log(tokens)
    return design


def _starts(sizes: Floats, tokens: Floats, losses: Floats, equal_exponents: bool) -> Floats:
    """Returns a grid: exponents, the irreducible share of the least loss, and how the rest splits at the middle."""
    exponents = (0.1, 0.3, 0.5, 1.0)
    pairs = [(x, x) for x in exponents] if equal_exponents else list(itertools.product(exponents, repeat=2))
    middle_size, middle_tokens = np.log(sizes).mean(), np.log(tokens).mean()
    found: list[list[float]] = []
    for (alpha, beta), floor, split in itertools.product(pairs, (0.3, 0.6, 0.9), (0.2, 0.5, 0.8)):
        e = floor * losses.min()
        rest = max(float(np.median(losses)) - e, 0.02 * e)
        a = np.log(split * rest) + alpha * middle_size
        b = np.log((1 - split) * rest) + beta * middle_tokens
        found.append([np.log(e), a, b, alpha] if equal_exponents else [np.log(e), a, b, alpha, beta])
    return np.array(found)


def _as_law(theta: Floats) -> Floats:
    """Returns (E, A, B, alpha, beta) of solver parameters, a row each."""
    return np.concatenate([np.exp(np.minimum(theta[:, :3], 700.0)), theta[:, 3:4], theta[:, -1:]], axis=1)


def _split(laws: Floats, flops: float) -> Floats:
    """Returns (sizes, tokens, losses) of least loss at `flops = 6 N D`, a row for each law."""
    E, A, B, alpha, beta = laws.T
    product = flops / FLOPS_PER_PARAMETER_AND_TOKEN
    log_size = (np.log(alpha * A) - np.log(beta * B) + beta * np.log(product)) / (alpha + beta)
    log_tokens = np.log(product) - log_size
    loss = E + np.exp(np.log(A) - alpha * log_size) + np.exp(np.log(B) - beta * log_tokens)
    return np.stack([np.exp(log_size), np.exp(log_tokens), loss], axis=1)
