"""Experiments with arms: what was asked, what the comparisons say, and each measure over rounds with its interval.

One view for all of them: an experiment brings its own question, arms, measures and comparisons. Sentences are computed
from the figures, so that a negative result reads as one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tilth.assay.experiment import Comparison, Example, Experiment, Measure
from tilth.intervals import Interval
from tilth.report import charts, figures

_ROLES = {"control": "control", "upper_bound": "upper bound"}


@dataclass(frozen=True)
class ArmRow:
    """One arm in the legend."""

    name: str
    tone: str
    meaning: str
    role: str


@dataclass(frozen=True)
class ExperimentView:
    """One experiment."""

    title: str
    question: str
    findings: tuple[str, ...]
    about: str
    main: Markup
    others: tuple[Markup, ...]
    arms: tuple[ArmRow, ...]
    table: Markup
    comparisons: Markup
    flops: Markup
    ended: tuple[str, ...]
    examples: tuple[Example, ...]
    settings: Markup


@dataclass(frozen=True)
class Experiments:
    """The section."""

    takeaway: str
    experiments: tuple[ExperimentView, ...]


def view(results: Sequence[Experiment]) -> Experiments | None:
    """Returns the section, or None where there was no experiment."""
    if not results:
        return None
    return Experiments(
        takeaway=" ".join(_takeaway(result) for result in results),
        experiments=tuple(_experiment(result) for result in results),
    )


def verdict(experiment: Experiment, comparison: Comparison) -> str:
    """Returns what a comparison came to, in one sentence: shown, the opposite, or not told apart."""
    difference = experiment.difference(comparison)
    measure = _measure(experiment, comparison.measure)
    arm, other = comparison.arm, comparison.other
    first, second = experiment.final(arm, measure.name).mean, experiment.final(other, measure.name).mean
    seeds = len(set(experiment.last(arm, measure.name)) & set(experiment.last(other, measure.name)))
    claim = comparison.claim.rstrip(".")
    if not math.isfinite(difference.mean):
        return f"Not measured: {claim} ({arm} and {other} have no seed in common at the end)."
    values = f"{_capital(measure.title)}: {arm} {number(first)}, {other} {number(second)}"
    by = f"difference {_signed(difference)}, {figures.plural(seeds, 'seed')}"
    if not math.isfinite(difference.low):
        return f"One seed cannot tell: {claim} ({values}; {by})."
    if not difference.excludes(0.0) or measure.better == "neither":
        if measure.better == "neither" and difference.excludes(0.0):
            return f"They differ: {claim} ({values}; {by})."
        return f"Not shown: {claim} ({values}; {by}: the interval holds 0)."
    better = (difference.mean < 0) == (measure.better == "lower")
    return f"{'Shown' if better else 'The opposite was found'}: {claim} ({values}; {by})."


def number(value: float) -> str:
    """Returns a value with three or more significant digits, as short as it can be: `1.536`, `0.041`, `1,250`."""
    if not math.isfinite(value):
        return figures.DASH
    if abs(value) >= 1000:
        return figures.count(value)
    if abs(value) >= 100 or value == round(value):
        return f"{value:.0f}"
    return f"{value:.3f}" if abs(value) >= 0.001 else f"{value:.1e}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _takeaway(result: Experiment) -> str:
    """The first comparison's verdict: it is the question that the experiment asks."""
    if result.comparisons:
        return verdict(result, result.comparisons[0])
    return result.findings[0] if result.findings else result.question


def _experiment(result: Experiment) -> ExperimentView:
    tones = dict(zip([arm.name for arm in result.arms], charts.tones(len(result.arms)), strict=True))
    main, *others = [_chart(result, measure, tones, wide=not index) for index, measure in enumerate(result.measures)]
    return ExperimentView(
        title=result.title,
        question=result.question,
        findings=result.findings,
        about=_about(result),
        main=main,
        others=tuple(filter(None, others)),
        arms=tuple(ArmRow(arm.name, tones[arm.name], arm.meaning, _ROLES.get(arm.role, "")) for arm in result.arms),
        table=_table(result, tones),
        comparisons=_comparisons(result),
        flops=_flops(result, tones),
        ended=tuple(f"{one.arm}, seed {one.seed}, at {result.x_title} {one.x:g}: {one.why}" for one in result.ended),
        examples=result.examples,
        settings=_settings(result),
    )


def _settings(result: Experiment) -> Markup:
    rows = [(name, _plain(value)) for name, value in result.settings.items()]
    return charts.table(("setting", "value"), rows) if rows else Markup("")


def _about(result: Experiment) -> str:
    seeds = result.seeds
    text = f"{figures.plural(len(seeds), 'seed')} ({', '.join(map(str, seeds))}); each value is measured on {result.n}."
    if any("bits per byte" in measure.title for measure in result.measures):
        text += (
            " Bits per byte: what the model needs, on average, to tell a byte of text that it has not seen; the fewer, "
            "the better it knows such text."
        )
    if len(seeds) > 1:
        return f"{text} Values are means over seeds; intervals are 95% (Student's t over seeds)."
    return f"{text} One seed has no interval: another one may order close arms differently."


def _measure(experiment: Experiment, name: str) -> Measure:
    return next(one for one in experiment.measures if one.name == name)


def _chart(result: Experiment, measure: Measure, tones: dict[str, str], *, wide: bool) -> Markup:
    lines: list[charts.Line] = []
    for arm in result.arms:
        series = result.series(arm.name, measure.name)
        lines.append(
            charts.Line(
                label=arm.name,
                points=[(x, interval.mean) for x, interval in series],
                tone=tones[arm.name],
                band=[(x, interval.low, interval.high) for x, interval in series],
            )
        )
    whole = all(float(point.x).is_integer() for point in result.points)
    axes = charts.Axes(x_label=result.x_title, y_label=_capital(measure.title), whole_x=whole)
    note = {"lower": "lower is better", "higher": "higher is better", "neither": ""}[measure.better]
    return charts.line_chart(lines, axes, note=note, wide=wide)


def _table(result: Experiment, tones: dict[str, str]) -> Markup:
    """What every arm came to at its end."""
    rows = [
        (arm.name, *(_with_interval(result.final(arm.name, measure.name)) for measure in result.measures))
        for arm in result.arms
    ]
    columns = ("arm", *(measure.title for measure in result.measures))
    return charts.table(columns, rows, [tones[arm.name] for arm in result.arms])


def _comparisons(result: Experiment) -> Markup:
    if not result.comparisons:
        return Markup("")
    return Markup('<ul class="caveats">{}</ul>').format(
        Markup("").join(Markup("<li>{}</li>").format(verdict(result, one)) for one in result.comparisons[1:])
    )


def _flops(result: Experiment, tones: dict[str, str]) -> Markup:
    seeds = max(len(result.seeds), 1)
    bars = [
        charts.Bar(
            label=arm.name,
            text=figures.flops(flops),
            parts=[charts.Part(value=flops, tone=tones[arm.name], tip=figures.flops(flops))],
        )
        for arm in result.arms
        if (flops := result.flops([arm.name]) / seeds)
    ]
    if not bars:
        return Markup("")
    most = max(bar.parts[0].value for bar in bars)
    return charts.bars(bars, width="FLOPs of training and generation, mean over seeds", full=figures.flops(most))


def _with_interval(interval: Interval) -> str:
    if not math.isfinite(interval.low):
        return number(interval.mean)
    return f"{number(interval.mean)} ({number(interval.low)} to {number(interval.high)})"


def _signed(interval: Interval) -> str:
    sign = "+" if interval.mean > 0 else ""
    if not math.isfinite(interval.low):
        return f"{sign}{number(interval.mean)}"
    return f"{sign}{number(interval.mean)} ({number(interval.low)} to {number(interval.high)})"


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
