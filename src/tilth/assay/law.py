"""Laws of loss with a quality term for each source of data, so that datasets compare by curve and not by one point.

Three forms, from few parameters to many: no term (`L = E + A/N^a + B/D^b`, all sources alike); the Q-law
(`B/(D^b Q^g)`, arXiv 2510.03313), in which a source changes what a token is worth; and an own coefficient and exponent
for each source, in which it also changes how fast more of it helps. What a law with free qualities can tell is `Q^g`
against a reference source, whose quality is set to 1: without measured qualities, Q and g appear only together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tilth.errors import DataError
from tilth.intervals import Interval, difference_interval
from tilth.scaling.fit import (
    Floats,
    TermFit,
    bootstrap_terms,
    check_points,
    fit_terms,
    percentile_interval,
    predict_terms,
    resample_weights,
)

LAW_RESULT = "law.json"
"""File name, in the folder of a measured law."""

Form = Literal["none", "quality", "measured_quality", "exponents"]
MEANING: dict[Form, str] = {
    "none": "all sources alike: L = E + A/N^a + B/D^b",
    "quality": "a quality for each source: L = E + A/N^a + B/(D^b Q^g), Q^g free",
    "measured_quality": "the Q-law with measured qualities: L = E + A/N^a + B/(D^b Q^g), g free",
    "exponents": "an own coefficient and exponent for each source: L = E + A/N^a + B_s/D^b_s",
}
_SIZES_FOR_AN_EXPONENT = 3


@dataclass(frozen=True, kw_only=True)
class LawPoint:
    """One training run."""

    source: str
    n_params: float
    tokens: float
    """Trained on, of this source."""
    loss: float
    """On held-out text that is the same for all; bits per byte or nats."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class SourceLaw:
    """What a law says of one source."""

    source: str
    quality: Interval
    """Q^g: the factor by which its data term is lower than the reference's; the reference has 1. nan for `exponents`,
    where it depends on the tokens."""
    tokens_worth: Interval
    """How many tokens of the reference one of its tokens is worth; for `exponents`, at the middle token count."""
    coefficient: float
    """B_s, with the quality in it."""
    exponent: Interval
    """b, or b_s."""


@dataclass(frozen=True, kw_only=True)
class FittedLaw:
    """One form, fitted."""

    form: Form
    meaning: str
    parameters: dict[str, Interval]
    """`E`, `A`, `alpha` (or one floor for each size) and, of `measured_quality`, `g`."""
    sources: tuple[SourceLaw, ...]
    n_parameters: int
    objective: float
    residual: float
    """Root mean square of the log residuals."""
    aic: float
    """Akaike's criterion with the correction for few points, of Gaussian log residuals; lower is better."""
    held_out_errors: dict[str, float] = field(default_factory=dict[str, float])
    """Token count that was left out -> mean absolute log error there; empty where too few are left to fit."""
    converged: bool = True

    @property
    def held_out_error(self) -> float:
        """Mean absolute log error over the token counts that were left out; nan without one."""
        return sum(self.held_out_errors.values()) / len(self.held_out_errors) if self.held_out_errors else math.nan


@dataclass(frozen=True, kw_only=True)
class QualityLaw:
    """The laws of several sources, and which of the forms the runs support."""

    reference: str
    """The source whose quality is 1."""
    points: tuple[LawPoint, ...]
    laws: tuple[FittedLaw, ...]
    supported: Form
    """The richest form whose error on left-out token counts is lower than that of the form before it, outside the
    interval."""
    verdict: str
    notes: tuple[str, ...] = ()
    """What the runs cannot tell."""

    def law(self, form: Form) -> FittedLaw:
        """Returns a form's fit. Raises: KeyError if it was not fitted."""
        return {law.form: law for law in self.laws}[form]


def fit_law(
    points: Sequence[LawPoint],
    *,
    reference: str | None = None,
    qualities: Mapping[str, float] | None = None,
    resamples: int = 300,
    seed: int = 0,
) -> QualityLaw:
    """Fits all forms to runs and says which they support; `reference` defaults to the first point's source.

    `qualities`: a measured quality of each source (positive), for the Q-law with a free g.
    Raises: DataError for fewer than two sources, or a source with fewer than three token counts.
    """
    reference = points[0].source if reference is None and points else reference or ""
    runs = _Runs(points, reference, qualities)
    forms: list[Form] = ["none", *(["measured_quality"] if qualities else []), "quality", "exponents"]
    laws = tuple(_fit_form(runs, form, resamples, seed) for form in forms)
    supported, verdict = _support(laws)
    return QualityLaw(
        reference=reference,
        points=tuple(points),
        laws=laws,
        supported=supported,
        verdict=verdict,
        notes=_notes(runs, laws),
    )


class _Runs:
    """The points as arrays."""

    def __init__(self, points: Sequence[LawPoint], reference: str, qualities: Mapping[str, float] | None) -> None:
        self.points = points
        names = dict.fromkeys(point.source for point in points)
        if reference not in names:
            raise DataError(
                f"No run is of the reference source `{reference}`.", fix=f"Name one of: {', '.join(names) or 'none'}."
            )
        self.sources = [reference, *(name for name in names if name != reference)]
        if len(self.sources) < 2:
            raise DataError("All runs are of one source.", fix="Give runs of two sources or more.")
        for name in self.sources:
            budgets = {point.tokens for point in points if point.source == name}
            if len(budgets) < 3:
                raise DataError(
                    f"The source `{name}` has runs at {len(budgets)} token counts.",
                    fix="Give three or more: fewer say nothing of how fast more of it helps.",
                )
        if qualities is not None and any(not qualities.get(name, 0) > 0 for name in self.sources):
            raise DataError(
                "A measured quality is missing or not positive.",
                fix=f"Give one for each of: {', '.join(self.sources)}.",
            )
        self.qualities = qualities
        self.loss = np.array([point.loss for point in points], dtype=np.float64)
        self.tokens = np.array([point.tokens for point in points], dtype=np.float64)
        self.sizes = np.array([point.n_params for point in points], dtype=np.float64)
        self.source = np.array([self.sources.index(point.source) for point in points])
        self.all_sizes = [float(size) for size in np.unique(self.sizes)]

    @property
    def has_size_exponent(self) -> bool:
        """Whether there are sizes enough to fit E, A and alpha; else each size has a floor of its own."""
        return len(self.all_sizes) >= _SIZES_FOR_AN_EXPONENT

    @property
    def budgets(self) -> list[float]:
        return [float(value) for value in np.unique(self.tokens)]

    @property
    def size_names(self) -> list[str]:
        if self.has_size_exponent:
            return ["E", "A", "alpha"]
        return [f"floor at {size:,.0f} parameters" for size in self.all_sizes]

    def design(self, form: Form) -> Floats:
        """Returns the design of a form: the columns of the sizes, then those of the data term."""
        first = len(self.size_names)
        n_sources = len(self.sources)
        n_data = {"none": 2, "quality": 1 + n_sources, "measured_quality": 3, "exponents": 2 * n_sources}[form]
        rows = np.arange(len(self.loss))
        n_terms = 3 if self.has_size_exponent else 2
        design = np.zeros((len(self.loss), n_terms, first + n_data))
        if self.has_size_exponent:
            design[:, 0, 0] = design[:, 1, 1] = 1
            design[:, 1, 2] = -np.log(self.sizes)
        else:
            design[rows, 0, np.searchsorted(self.all_sizes, self.sizes)] = 1
        data = design[:, -1, first:]
        if form == "exponents":
            data[rows, self.source] = 1
            data[rows, n_sources + self.source] = -np.log(self.tokens)
            return design
        data[:, 0] = 1
        data[:, 1] = -np.log(self.tokens)
        if form == "quality":
            others = rows[self.source > 0]
            data[others, 1 + self.source[others]] = -1  # minus log Q^g
        elif form == "measured_quality" and self.qualities is not None:
            against = [math.log(self.qualities[name] / self.qualities[self.sources[0]]) for name in self.sources]
            data[:, 2] = -np.array(against)[self.source]
        return design

    def starts(self, form: Form) -> Floats:
        """Returns a grid: exponents, the irreducible share of the least loss, and how the rest splits."""
        n_sources = len(self.sources)
        middle, size_middle = np.log(self.tokens).mean(), np.log(self.sizes).mean()
        low = float(self.loss.min())
        found: list[list[float]] = []
        for beta, floor in itertools.product((0.15, 0.3, 0.5, 0.8), (0.3, 0.6, 0.9)):
            rest = max(float(np.median(self.loss)) - floor * low, 0.02 * low)
            for alpha, split in itertools.product((0.15, 0.3, 0.6), (0.3, 0.7)) if self.has_size_exponent else [(0, 0)]:
                sizes = (
                    [math.log(floor * low), math.log(split * rest) + alpha * size_middle, alpha]
                    if self.has_size_exponent
                    else [math.log(floor * low)] * len(self.all_sizes)
                )
                b = math.log((1 - split) * rest) + beta * middle
                if form == "exponents":
                    found.append([*sizes, *[b] * n_sources, *[beta] * n_sources])
                else:
                    more = {"none": 0, "quality": n_sources - 1, "measured_quality": 1}[form]
                    found.append([*sizes, b, beta, *[0.0] * more])
        return np.array(found)


def _fit_form(runs: _Runs, form: Form, resamples: int, seed: int) -> FittedLaw:
    design = runs.design(form)
    check_points(design, runs.loss)
    fitted = fit_terms(design, runs.loss, runs.starts(form))
    strata = [(point.source, point.n_params) for point in runs.points]
    seeds = len({point.seed for point in runs.points})
    groups = [(point.source, point.n_params, point.seed) for point in runs.points] if seeds >= 3 else None
    weights = resample_weights(len(runs.loss), groups=groups, strata=strata, resamples=resamples, seed=seed)
    spread = bootstrap_terms(design, runs.loss, fitted, weights)
    best = np.array([fitted.parameters])
    residuals = np.log(predict_terms(design, best[0])) - np.log(runs.loss)
    n, k = len(runs.loss), design.shape[2] + 1  # the spread of the residuals is a parameter, too
    mean_square = float((residuals**2).mean())
    return FittedLaw(
        form=form,
        meaning=MEANING[form],
        parameters=_parameters(runs, form, best, spread),
        sources=tuple(_source_law(runs, form, index, best, spread) for index in range(len(runs.sources))),
        n_parameters=design.shape[2],
        objective=fitted.objective,
        residual=math.sqrt(mean_square),
        aic=n * math.log(max(mean_square, 1e-300)) + 2 * k + (2 * k * (k + 1) / (n - k - 1) if n > k + 1 else math.inf),
        held_out_errors=_leave_one_budget_out(runs, form, design, fitted),
        converged=fitted.converged,
    )


def _parameters(runs: _Runs, form: Form, best: Floats, spread: Floats) -> dict[str, Interval]:
    found: dict[str, Interval] = {}
    for column, name in enumerate(runs.size_names):
        value, values = best[0, column], spread[:, column]
        if name != "alpha":
            value, values = np.exp(value), np.exp(np.minimum(values, 700.0))
        found[name] = percentile_interval(float(value), values)
    if form == "measured_quality":
        found["g"] = percentile_interval(float(best[0, -1]), spread[:, -1])
    return found


def _source_law(runs: _Runs, form: Form, index: int, best: Floats, spread: Floats) -> SourceLaw:
    first, n_sources = len(runs.size_names), len(runs.sources)
    middle = float(np.log(runs.tokens).mean())

    def facts(theta: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Returns log Q^g, log tokens worth, log coefficient and exponent, a value for each set of parameters."""
        data = theta[:, first:]
        if form == "exponents":
            b, beta = data[:, index], data[:, n_sources + index]
            # The reference tokens of equal loss: B_s / D^b_s = B_0 / D_0^b_0.
            worth = (data[:, 0] - b + beta * middle) / data[:, n_sources] - middle
            return np.full(len(theta), 0.0 if index == 0 else np.nan), worth, b, beta
        quality = np.zeros(len(theta))
        if form == "quality" and index > 0:
            quality = data[:, 1 + index]
        elif form == "measured_quality" and runs.qualities is not None:
            ratio = runs.qualities[runs.sources[index]] / runs.qualities[runs.sources[0]]
            quality = data[:, 2] * math.log(ratio)
        return quality, quality / data[:, 1], data[:, 0] - quality, data[:, 1]

    quality, worth, coefficient, exponent = facts(best)
    qualities, worths, _, exponents = facts(spread)

    def in_words(value: Floats, values: Floats) -> Interval:
        cut = 300.0
        return percentile_interval(float(np.exp(np.clip(value[0], -cut, cut))), np.exp(np.clip(values, -cut, cut)))

    return SourceLaw(
        source=runs.sources[index],
        quality=in_words(quality, qualities),
        tokens_worth=in_words(worth, worths),
        coefficient=float(np.exp(min(coefficient[0], 700.0))),
        exponent=percentile_interval(float(exponent[0]), exponents),
    )


def _leave_one_budget_out(runs: _Runs, form: Form, design: Floats, fitted: TermFit) -> dict[str, float]:
    """Returns the mean absolute log error at each token count, predicted from all others."""
    errors: dict[str, float] = {}
    if len(runs.budgets) < 4:
        return errors
    for budget in runs.budgets:
        rest, left_out = runs.tokens != budget, runs.tokens == budget
        known = {(source, size) for source, size in zip(runs.source[rest], runs.sizes[rest], strict=True)}
        asked = {(source, size) for source, size in zip(runs.source[left_out], runs.sizes[left_out], strict=True)}
        if not asked <= known or rest.sum() <= design.shape[2]:
            continue
        # The fit to all runs, and a few starts far from it: a search from the whole grid each time takes minutes.
        starts = np.concatenate([np.array([fitted.parameters]), runs.starts(form)[::9]])
        again = fit_terms(design[rest], runs.loss[rest], starts)
        predicted = predict_terms(design[left_out], np.array(again.parameters))
        errors[f"{budget:.0f}"] = float(np.abs(np.log(predicted) - np.log(runs.loss[left_out])).mean())
    return errors


def _support(laws: Sequence[FittedLaw]) -> tuple[Form, str]:
    """Returns the form that the runs support, and a sentence with the figures."""
    supported, clauses = laws[0], [f"`{laws[0].form}` errs by {laws[0].held_out_error:.2%}"]
    for law in laws[1:]:
        common = [budget for budget in law.held_out_errors if budget in supported.held_out_errors]
        # In logarithms: at the ends of the range all forms err by more than in the middle.
        ratio = difference_interval(
            [_log_error(law, budget) for budget in common], [_log_error(supported, budget) for budget in common]
        )
        clauses.append(
            f"`{law.form}` by {law.held_out_error:.2%} ({math.exp(ratio.mean):.2f} [{math.exp(ratio.low):.2f}, "
            f"{math.exp(ratio.high):.2f}] times that of `{supported.form}`, geometric mean)"
        )
        if ratio.high < 0:
            supported = law
    if not laws[0].held_out_errors:
        best = min(laws, key=lambda law: law.aic)
        return best.form, (
            f"Fewer than four token counts: no form could be tried on one that was left out. By AIC alone the runs "
            f"support `{best.form}` ({best.meaning})."
        )
    n = len(supported.held_out_errors)
    return supported.form, (
        f"The runs support `{supported.form}` ({supported.meaning}): on {n} token counts, each predicted from the "
        f"others, {', '.join(clauses)}. A richer form counts only if its error is lower outside the interval."
    )


def _log_error(law: FittedLaw, budget: str) -> float:
    return math.log(max(law.held_out_errors[budget], 1e-9))


def _notes(runs: _Runs, laws: Sequence[FittedLaw]) -> tuple[str, ...]:
    notes: list[str] = []
    if runs.qualities is None:
        notes.append(
            f"Q and g appear only as Q^g, against `{runs.sources[0]}` with Q = 1: these runs cannot tell them apart."
        )
    if not runs.has_size_exponent:
        notes.append(
            f"{len(runs.all_sizes)} size{'s' * (len(runs.all_sizes) != 1)} of learner cannot tell E, A and alpha "
            "apart: each size has a floor of its own instead."
        )
    if len({point.seed for point in runs.points}) < 3:
        notes.append("Fewer than three seeds: the intervals are over runs, whatever their seed.")
    span = float(runs.tokens.max() / runs.tokens.min())
    for law in laws:
        floors = [value.mean for name, value in law.parameters.items() if name == "E" or name.startswith("floor")]
        if min(floors) < 1e-3 * float(runs.loss.min()):
            notes.append(f"Under `{law.form}` a floor is 0: the runs do not tell what no number of tokens removes.")
        for one in law.sources:
            if not 1 / span <= one.tokens_worth.mean <= span:
                notes.append(
                    f"Under `{law.form}`, what a token of `{one.source}` is worth lies beyond the {span:.3g}-fold "
                    "range of token counts: an extrapolation."
                )
        if not law.converged:
            notes.append(f"The fit of `{law.form}` did not converge: read it as a description, not as a law.")
        notes += [
            f"Under `{law.form}`, the exponent of `{one.source}` is not distinguishable from 0."
            for one in law.sources
            if one.exponent.low <= 0 <= one.exponent.high
        ]
    return tuple(notes)
