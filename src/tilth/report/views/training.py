"""How the model learned, and how it stands beside simple predictors on the same held-out text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from tilth.report import charts, figures
from tilth.report.artefacts import Baselines, Metrics, RunData, TrainingSummary

_MODEL, _BEFORE = "model", "model before"
_LEVEL_TONES = ("ochre", "slate", "plum", "moss")


@dataclass(frozen=True)
class Training:
    """The training section."""

    takeaway: str
    facts: str
    curves: tuple[Markup, ...]
    small_curves: tuple[Markup, ...]
    baselines: Markup | None
    baseline_text: str


def view(data: RunData) -> Training | None:
    """Returns the training section, or None where there is neither metrics, summary nor baselines."""
    metrics, summary, baselines = data.metrics, data.training, data.baselines
    if metrics is None and summary is None and baselines is None:
        return None
    peers = _peers(baselines)
    return Training(
        takeaway=takeaway(data),
        facts=_facts(summary),
        curves=tuple(filter(None, [_loss_curve(metrics), _held_out_curve(metrics, peers)])) if metrics else (),
        small_curves=tuple(filter(None, _small_curves(metrics))) if metrics else (),
        baselines=_baseline_bars(baselines) if baselines else None,
        baseline_text=_baseline_text(baselines) if baselines else "",
    )


def takeaway(data: RunData) -> str:
    """Returns one sentence on how many bits per byte the model needs, and who needs fewer."""
    after, before = _bits_after(data), _bits_before(data)
    if after is None:
        return "Training has no result on held-out text yet."
    if not math.isfinite(after):
        return "Training diverged: the loss on held-out text is not a number."
    sentences = [f"The model needs {figures.bits(after)} bits per byte on text it never saw{_beside(data, after)}."]
    if before is not None and math.isfinite(before):
        untrained = f"Before training it needed {figures.bits(before)}"
        sentences.append(f"{untrained}{'' if after < before else ', so training did not help'}.")
    return " ".join(sentences)


def _beside(data: RunData, after: float) -> str:
    peers = {name: bits for name, bits in _peers(data.baselines).items() if math.isfinite(bits)}
    if not peers:
        return ""
    listed = figures.join([f"{_with_article(name)} needs {figures.bits(bits)}" for name, bits in peers.items()])
    # Judged on the figures as printed, so that the sentence never calls two equal numbers different.
    ahead = [name for name, bits in peers.items() if float(figures.bits(bits)) < float(figures.bits(after))]
    even = [name for name, bits in peers.items() if figures.bits(bits) == figures.bits(after)]
    if ahead:
        verdict = f"the model is still behind {figures.join([_with_article(name) for name in ahead])}"
    elif even:
        verdict = f"the model is level with {figures.join([_with_article(name) for name in even])}"
    else:
        verdict = "the model predicts this text better" if len(peers) == 1 else "the model predicts this text best"
    return f"; {listed}: {verdict}"


def _with_article(name: str) -> str:
    return f"a {name} model" if name.endswith("-gram") else name


def _peers(baselines: Baselines | None) -> dict[str, float]:
    bits = baselines.bits_per_byte if baselines else {}
    return {name: value for name, value in bits.items() if name not in (_MODEL, _BEFORE)}


def _bits_after(data: RunData) -> float | None:
    if data.baselines is not None and _MODEL in data.baselines.bits_per_byte:
        return data.baselines.bits_per_byte[_MODEL]
    if data.training is not None:
        return data.training.bits_per_byte_after
    held_out = data.metrics.held_out if data.metrics else ()
    return held_out[-1].held_out_bits_per_byte if held_out else None


def _bits_before(data: RunData) -> float | None:
    if data.baselines is not None and _BEFORE in data.baselines.bits_per_byte:
        return data.baselines.bits_per_byte[_BEFORE]
    return data.training.bits_per_byte_before if data.training else None


def _facts(summary: TrainingSummary | None) -> str:
    if summary is None:
        return ""
    parts = [f"{figures.short(summary.n_params)} parameters", f"{figures.short(summary.tokens)} tokens"]
    if summary.steps is not None:
        parts.append(figures.plural(summary.steps, "step"))
    if summary.seconds is not None:
        parts.append(figures.duration(summary.seconds))
    if summary.tokens_per_second is not None:
        parts.append(f"{figures.count(summary.tokens_per_second)} tokens per second")
    if summary.flops is not None:
        parts.append(figures.flops(summary.flops))
    return " · ".join(parts)


def _loss_curve(metrics: Metrics) -> Markup:
    points = [(point.tokens, point.loss) for point in metrics.train]
    held_out = [
        (point.tokens, point.held_out_nats_per_token)
        for point in metrics.held_out
        if point.held_out_nats_per_token is not None
    ]
    lines = [
        charts.Line(label="each step", points=averaged(points, 500), tone="clay", faint=True),
        charts.Line(label="training", points=averaged(points, 80), tone="clay"),
        charts.Line(label="held out", points=held_out, tone="slate"),
    ]
    axes = charts.Axes(x_label="tokens", y_label="Loss", x_format=figures.axis, y_format=figures.bits)
    return charts.line_chart([line for line in lines if line.points], axes, note="nats per token")


def _held_out_curve(metrics: Metrics, peers: dict[str, float]) -> Markup:
    points = [(point.tokens, point.held_out_bits_per_byte) for point in metrics.held_out]
    levels = [
        charts.Level(label=name, value=value, tone=_LEVEL_TONES[i % len(_LEVEL_TONES)])
        for i, (name, value) in enumerate(peers.items())
    ]
    axes = charts.Axes(x_label="tokens", y_label="Held-out text", y_format=figures.bits)
    return charts.line_chart(
        [charts.Line(label="model", points=points, tone="clay")], axes, levels=levels, note="bits per byte"
    )


def _small_curves(metrics: Metrics) -> list[Markup]:
    rates = [(p.tokens, p.learning_rate) for p in metrics.train if p.learning_rate is not None]
    norms = [(p.tokens, p.grad_norm) for p in metrics.train if p.grad_norm is not None]
    return [
        charts.line_chart(
            [charts.Line(label="learning rate", points=thinned(rates, 200), tone="ochre")],
            charts.Axes(x_label="tokens", y_label="Learning rate"),
        ),
        charts.line_chart(
            [
                charts.Line(label="each step", points=averaged(norms, 500), tone="moss", faint=True),
                charts.Line(label="gradient norm", points=averaged(norms, 80), tone="moss"),
            ],
            charts.Axes(x_label="tokens", y_label="Gradient norm", y_format=_three_digits, log_y=True),
            note="before clipping, log scale",
        ),
    ]


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


def _baseline_bars(baselines: Baselines) -> Markup:
    ordered = sorted(baselines.bits_per_byte.items(), key=lambda item: (not math.isfinite(item[1]), item[1]))
    return charts.bars(
        [
            charts.Bar(
                label=name,
                text=figures.bits(value),
                parts=[
                    charts.Part(
                        value=value,
                        tone="clay" if name == _MODEL else ("sand" if name == _BEFORE else "slate"),
                        tip=f"{name}: {figures.bits(value)} bits per byte",
                    )
                ],
                strong=name == _MODEL,
                note=baselines.notes.get(name, ""),
            )
            for name, value in ordered
        ]
    )


def _baseline_text(baselines: Baselines) -> str:
    parts = []
    if baselines.held_out_bytes is not None:
        parts.append(figures.size(baselines.held_out_bytes))
    if baselines.held_out_documents is not None:
        parts.append(figures.plural(baselines.held_out_documents, "document"))
    where = f" All were measured on the same held-out text: {', '.join(parts)}." if parts else ""
    return f"Bits per byte, shorter is better.{where}"
