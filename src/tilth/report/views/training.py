"""Training curves, and bits per byte beside simple predictors on the same held-out text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from tilth.evaluation.result import Baselines
from tilth.report import charts, figures
from tilth.report.run import Entry, RunResults
from tilth.report.views.training_sentences import BEFORE, COLUMNS, MODEL, row, takeaway
from tilth.training.result import Metrics, TrainingSummary, TrainPoint

_TOKENS = "tokens trained on"


@dataclass(frozen=True)
class Training:
    """The training section."""

    takeaway: str
    facts: str
    """Of the only training; several are in `table`."""
    table: Markup | None
    curves: tuple[Markup, ...]
    small_curves: tuple[Markup, ...]
    baselines: Markup | None
    baseline_text: str


def view(run: RunResults) -> Training | None:
    """Returns the training section, or None where there is neither a training nor a comparison of predictors."""
    if not run.trainings and not run.baselines:
        return None
    several = len(run.trainings) > 1
    tones = charts.tones(len(run.trainings))
    summary = run.trainings[0].result.summary if len(run.trainings) == 1 else None
    logs = [
        _Log(entry.label, entry.result.metrics, tone)
        for entry, tone in zip(run.trainings, tones, strict=True)
        if entry.result.metrics is not None
    ]
    return Training(
        takeaway=takeaway(run),
        facts=_facts(summary),
        table=charts.table(COLUMNS, [row(run, entry) for entry in run.trainings], tones) if several else None,
        curves=tuple(
            filter(None, [_loss_curve(logs, several), _held_out_curve(logs, several, run.baselines, moments(summary))])
        ),
        small_curves=tuple(filter(None, [_rate_curve(logs, several), _norm_curve(logs, several)])),
        baselines=_baseline_bars(run.baselines) if run.baselines else None,
        baseline_text=_baseline_text(run.baselines) if run.baselines else "",
    )


@dataclass(frozen=True)
class _Log:
    label: str
    metrics: Metrics
    tone: str

    def points(self, value: Callable[[TrainPoint], float]) -> list[charts.Point]:
        return [(point.tokens, value(point)) for point in self.metrics.train]


def _facts(summary: TrainingSummary | None) -> str:
    if summary is None:
        return ""
    parts = [
        f"{figures.short(summary.n_params)} parameters",
        f"{figures.short(summary.tokens)} tokens",
        *([f"{passes:.3g} passes over the text"] if (passes := summary.epochs) is not None else []),
        figures.plural(summary.steps, "step"),
        figures.duration(summary.seconds),
        f"{figures.count(summary.tokens_per_second)} tokens per second",
        figures.flops(summary.flops),
    ]
    return " · ".join(parts)


def moments(summary: TrainingSummary | None) -> tuple[charts.Moment, ...]:
    """Returns where the weights that are kept were reached, if not at the end, and where training stopped early."""
    if summary is None:
        return ()
    marks: list[charts.Moment] = []
    if summary.best_tokens is not None and summary.best_tokens < summary.tokens:
        marks.append(charts.Moment(label="weights kept", x=summary.best_tokens))
    if summary.stopped_early:
        marks.append(charts.Moment(label="stopped early", x=summary.tokens))
    return tuple(marks)


def _loss_curve(logs: Sequence[_Log], several: bool) -> Markup:
    lines: list[charts.Line] = []
    for log in logs:
        points = log.points(lambda point: point.loss)
        if several:
            lines.append(charts.Line(label=log.label, points=averaged(points, 80), tone=log.tone))
            continue
        held_out = [(point.tokens, point.held_out_nats_per_token) for point in log.metrics.held_out]
        lines += [
            charts.Line(label="each step", points=averaged(points, 500), tone="clay", faint=True),
            charts.Line(label="training", points=averaged(points, 80), tone="clay"),
            charts.Line(label="held out", points=held_out, tone="slate"),
        ]
    axes = charts.Axes(
        x_label=_TOKENS, y_label="Training loss" if several else "Loss", x_format=figures.axis, y_format=figures.bits
    )
    return charts.line_chart([line for line in lines if line.points], axes, note="nats per token")


def _held_out_curve(
    logs: Sequence[_Log], several: bool, baselines: Sequence[Entry[Baselines]], moments: Sequence[charts.Moment]
) -> Markup:
    lines = [
        charts.Line(
            label=log.label if several else "model",
            points=[(point.tokens, point.held_out_bits_per_byte) for point in log.metrics.held_out],
            tone=log.tone,
            values=True,
        )
        for log in logs
    ]
    # The curve is measured on the beginning of the text that the table is about: levels beside it are of the same.
    on_curve = {name: value for entry in baselines for name, value in entry.result.curve_bits_per_byte.items()}
    compared = [
        (label, on_curve.get(name, value))
        for label, name, value, _ in _merged(baselines)
        if name not in (MODEL, BEFORE)
    ]
    tones = charts.tones(len(lines) + len(compared))[len(lines) :]
    levels = [
        charts.Level(label=label, value=value, tone=tone.split()[0])  # levels have a dash of their own
        for (label, value), tone in zip(compared, tones, strict=True)
    ]
    axes = charts.Axes(x_label=_TOKENS, y_label="Held-out text", y_format=figures.bits, moments=moments)
    return charts.line_chart(lines, axes, levels=levels, note="bits per byte")


def _rate_curve(logs: Sequence[_Log], several: bool) -> Markup:
    lines = [
        charts.Line(
            label=log.label if several else "learning rate",
            points=thinned(log.points(lambda point: point.learning_rate), 200),
            tone=log.tone if several else "ochre",
        )
        for log in logs
    ]
    axes = charts.Axes(x_label=_TOKENS, y_label="Learning rate")
    return charts.line_chart(lines, axes, note="step size, no unit")


def _norm_curve(logs: Sequence[_Log], several: bool) -> Markup:
    lines: list[charts.Line] = []
    for log in logs:
        points = log.points(lambda point: point.grad_norm)
        if not several:
            lines.append(charts.Line(label="each step", points=averaged(points, 500), tone="moss", faint=True))
        label, tone = (log.label, log.tone) if several else ("gradient norm", "moss")
        lines.append(charts.Line(label=label, points=averaged(points, 80), tone=tone))
    axes = charts.Axes(x_label=_TOKENS, y_label="Gradient norm", y_format=_three_digits, log_y=True)
    return charts.line_chart(lines, axes, note="length of the gradient before clipping, log scale")


def _three_digits(value: float) -> str:
    return f"{value:.3g}"


def averaged(points: Sequence[charts.Point], most: int) -> list[charts.Point]:
    """Returns at most `most` points, each the mean of a run of neighbours; what is not finite is left out."""
    points = [point for point in points if math.isfinite(point[1])]
    if len(points) <= most:
        return list(points)
    edges = [round(i * len(points) / most) for i in range(most + 1)]
    runs = [points[a:b] for a, b in pairwise(edges)]
    return [(sum(x for x, _ in run) / len(run), sum(y for _, y in run) / len(run)) for run in runs]


def thinned(points: Sequence[charts.Point], most: int) -> list[charts.Point]:
    """Returns about `most` of the points, the first and last among them (a schedule must not be averaged)."""
    every = max(1, math.ceil(len(points) / most))
    return [*points[:-1:every], points[-1]] if points else []


def _merged(baselines: Sequence[Entry[Baselines]]) -> list[tuple[str, str, float, str]]:
    """Returns (label, predictor, bits per byte, note) of all comparisons; equal figures of a predictor are one."""
    merged: list[tuple[str, str, float, str]] = []
    for name in dict.fromkeys(name for entry in baselines for name in entry.result.bits_per_byte):
        entries = [entry for entry in baselines if name in entry.result.bits_per_byte]
        values = [entry.result.bits_per_byte[name] for entry in entries]
        equal = len({figures.bits(value) for value in values}) == 1
        if equal and (len(baselines) == 1 or name not in (MODEL, BEFORE)):
            merged.append((name, name, values[0], entries[0].result.notes.get(name, "")))
            continue
        for entry, value in zip(entries, values, strict=True):
            merged.append((f"{name}, {entry.label}", name, value, entry.result.notes.get(name, "")))
    return merged


def _baseline_bars(baselines: Sequence[Entry[Baselines]]) -> Markup:
    ordered = sorted(_merged(baselines), key=lambda entry: (not math.isfinite(entry[2]), entry[2]))
    several = len(baselines) > 1
    return charts.bars(
        [
            charts.Bar(
                label=label,
                text=figures.bits(value),
                parts=[
                    charts.Part(
                        value=value,
                        tone="clay" if name == MODEL else ("sand" if name == BEFORE else "slate"),
                        tip=f"{label}: {figures.bits(value)} bits per byte",
                    )
                ],
                strong=name == MODEL,
                note="" if several and name in (MODEL, BEFORE) else note,
            )
            for label, name, value, note in ordered
        ],
        width="bits per byte of held-out text, from 0",
        full=figures.bits(max((value for _, _, value, _ in ordered if math.isfinite(value)), default=math.nan)),
        columns=("bits per byte",),
    )


def _baseline_text(baselines: Sequence[Entry[Baselines]]) -> str:
    measured = {(entry.result.held_out_bytes, entry.result.held_out_documents) for entry in baselines}
    if len(measured) > 1:
        return "Bits per byte, less is better. These were not all measured on the same held-out text."
    n_bytes, documents = measured.pop()
    text = f"{figures.size(n_bytes)}, {figures.plural(documents, 'document')}"
    return f"Bits per byte, less is better. All were measured on the same held-out text: {text}."
