"""The self-improving loop: accuracy by difficulty and round for every arm, the pseudo-labels it kept, and its FLOPs.

One arm has one colour through the whole section. Loops that differ by seed alone are one experiment, shown as means
with intervals; others are shown one after the other. `loop_findings` holds the sentences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from markupsafe import Markup

from tilth.improve.arms import ARMS, PLANS
from tilth.improve.gain import one_sentence
from tilth.improve.result import LoopExample, LoopResult
from tilth.improve.solvable import verdict
from tilth.report import charts, figures
from tilth.report.views.loop_findings import (
    SOLVED,
    accuracies,
    caveats,
    mean_accuracy,
    mean_rows,
    means,
    percent_with_interval,
    pooled,
    takeaway,
)

_TONES = {
    "baseline": "sand",
    "control": "slate",
    "flop_matched": "slate long-dashes",
    "unfiltered": "ochre",
    "gated_unfiltered": "ochre long-dashes",
    "noise": "ochre short-dashes",
    "vote": "moss",
    "verified": "moss",
    "controlled": "moss long-dashes",
    "self_play": "moss short-dashes",
    "oracle": "clay",
}


@dataclass(frozen=True)
class ArmMeaning:
    """One arm in the legend of the section."""

    name: str
    tone: str
    meaning: str


@dataclass(frozen=True)
class ArmRow:
    """One arm in the table of final accuracies."""

    name: str
    tone: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What one arm's last model answered to an example prompt."""

    arm: str
    output: str
    right: bool


@dataclass(frozen=True)
class Example:
    """One example prompt with every arm's answer."""

    prompt: str
    answer: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Experiment:
    """One loop with all its arms and seeds."""

    task: str
    arms: tuple[ArmMeaning, ...]
    columns: tuple[str, ...]
    table: tuple[ArmRow, ...]
    solved: str
    """How far the treated arm solves problems, and whether that is more than its controls; empty without one."""
    heat_maps: tuple[Markup, ...]
    last_round: Markup
    curves: tuple[Markup, ...]
    decisions: Markup
    """What the controller chose, and why; empty where no arm has one."""
    monitor: Markup
    """The rounds that the collapse monitor threw away, or would have; empty where there are none."""
    flops: Markup
    seconds: Markup
    examples: tuple[Example, ...]
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class Loop:
    """The loop section."""

    takeaway: str
    experiments: tuple[Experiment, ...]


def view(results: Sequence[LoopResult]) -> Loop | None:
    """Returns the loop section, or None where there was no loop."""
    experiments = [result for result in pooled(results) if result.arms]
    if not experiments:
        return None
    return Loop(
        takeaway=" ".join(line for result in experiments for line in (takeaway(result), one_sentence(result)) if line),
        experiments=tuple(_experiment(result) for result in experiments),
    )


def _experiment(result: LoopResult) -> Experiment:
    arms = result.arms
    # Difficulties with right answers are solved by all arms: the table is about what comes after them.
    shown = [i for i, d in enumerate(result.difficulties) if d >= result.base_difficulty] or [0]
    return Experiment(
        task=_task(result),
        arms=tuple(ArmMeaning(arm, _tone(arm), _meaning(arm)) for arm in arms),
        columns=tuple(str(result.difficulties[i]) for i in shown),
        table=tuple(_row(result, arm, shown) for arm in arms),
        solved=verdict(result) if any(PLANS[arm].role == "treatment" for arm in ARMS if arm in arms) else "",
        heat_maps=tuple(_heat_map(result, arm) for arm in arms if _learns(result, arm) or len(arms) == 1),
        last_round=_last_round(result, arms),
        curves=tuple(
            filter(
                None,
                [
                    _label_curve(result, arms),
                    _kept_curve(result, arms),
                    _bits_curve(result, arms),
                    _text_curve(result, arms),
                ],
            )
        ),
        decisions=_decisions(result, arms),
        monitor=_monitor(result, arms),
        flops=_flops_bars(result, arms),
        seconds=_second_bars(result, arms),
        examples=tuple(_example(example, arms) for example in result.seeds[0].examples),
        caveats=tuple(caveats(result)),
    )


def _meaning(name: str) -> str:
    plan = {str(arm): plan for arm, plan in PLANS.items()}.get(name)
    return plan.meaning if plan is not None else ""


def _tone(name: str) -> str:
    return _TONES.get(name, "plum")


def _row(result: LoopResult, arm: str, shown: Sequence[int]) -> ArmRow:
    intervals = accuracies(result, arm)
    return ArmRow(arm, _tone(arm), tuple(percent_with_interval(intervals[i]) for i in shown))


def _learns(result: LoopResult, arm: str) -> bool:
    return any(row != one.accuracy[0] for one in result.of_arm(arm) for row in one.accuracy[1:])


def _task(result: LoopResult) -> str:
    model = f" of {figures.short(result.n_params)} parameters" if result.n_params else ""
    most = max(result.test_problems, default=0)
    each = f", up to {figures.plural(most, 'problem')} each" if most else ""
    seeds = f" {len(result.seeds)} seeds, each with its own base model and problems." if len(result.seeds) > 1 else ""
    return (
        f"The task is “{result.task}”. A model{model} is trained on right answers to problems of difficulty 1 to "
        f"{result.base_difficulty}. In each round it answers harder problems, some of its answers become "
        "pseudo-labels, and it is fine-tuned on them and the base data. Accuracy is measured on difficulties "
        f"{result.difficulties[0]} to {result.difficulties[-1]}{each}; these test problems are in no training data "
        f"and decide nothing.{seeds}"
    )


def _heat_map(result: LoopResult, arm: str) -> Markup:
    return charts.heat_map(
        [(str(index), row) for index, row in enumerate(mean_rows(result, arm))],
        [str(d) for d in result.difficulties],
        corner="round",
        caption=arm,
        note="% right",
        mark_after=sum(d <= result.base_difficulty for d in result.difficulties) or None,
    )


def _last_round(result: LoopResult, arms: Sequence[str]) -> Markup:
    lines = [
        charts.Line(
            label=arm, points=list(zip(result.difficulties, mean_accuracy(result, arm), strict=True)), tone=_tone(arm)
        )
        for arm in arms
    ]
    axes = charts.Axes(
        x_label="difficulty",
        y_label="Accuracy after the last round",
        y_format=figures.percent,
        y_range=(0.0, 1.0),
        shaded=(min(1, *result.difficulties), result.base_difficulty, "base data"),
        whole_x=True,
    )
    level = charts.Level(label="solved from", value=SOLVED, tone="sand")
    return charts.line_chart(lines, axes, levels=[level], note="% of the test problems right", wide=True)


def _rounds(values: Sequence[float]) -> list[charts.Point]:
    return [(float(index), value) for index, value in enumerate(values, 1)]


def _label_curve(result: LoopResult, arms: Sequence[str]) -> Markup:
    lines = [
        charts.Line(
            label=arm, points=_rounds(means([one.label_accuracy for one in result.of_arm(arm)])), tone=_tone(arm)
        )
        for arm in arms
        if any(any(one.kept) for one in result.of_arm(arm))
    ]
    return charts.line_chart(lines, _share_axes("Pseudo-labels that are right"), note="% of those kept in the round")


def _kept_curve(result: LoopResult, arms: Sequence[str]) -> Markup:
    lines: list[charts.Line] = []
    for arm in arms:
        shares = [
            [
                kept / generated if generated else math.nan
                for kept, generated in zip(one.kept, one.generated, strict=False)
            ]
            for one in result.of_arm(arm)
        ]
        if any(any(one.generated) for one in result.of_arm(arm)):
            lines.append(charts.Line(label=arm, points=_rounds(means(shares)), tone=_tone(arm)))
    return charts.line_chart(lines, _share_axes("Answers kept as pseudo-labels"), note="% of the answers of the round")


def _bits_curve(result: LoopResult, arms: Sequence[str]) -> Markup:
    lines = [
        charts.Line(label=arm, points=_rounds(means(rows)), tone=_tone(arm))
        for arm in arms
        if any(rows := [one.bits_per_label for one in result.of_arm(arm)])
    ]
    axes = charts.Axes(x_label="round", y_label="Bits that a pseudo-label tells", whole_x=True)
    return charts.line_chart(lines, axes, note="-log2 of its probability before the round: at 0 the loop is exhausted")


def _text_curve(result: LoopResult, arms: Sequence[str]) -> Markup:
    """Held-out real text: the base model is round 0."""
    lines: list[charts.Line] = []
    for arm in arms:
        values = means([one.held_out_bits_per_byte for one in result.of_arm(arm)])
        if len(values) > 1:
            lines.append(charts.Line(label=arm, points=list(enumerate(values)), tone=_tone(arm)))
    axes = charts.Axes(x_label="round", y_label="Held-out real text", y_format=figures.bits, whole_x=True)
    return charts.line_chart(lines, axes, note="bits per byte; a rise is forgetting")


def _decisions(result: LoopResult, arms: Sequence[str]) -> Markup:
    rows = [
        (f"{arm}, seed {seed.seed}, round {one.round}", one.action, figures.flops(one.flops), one.why)
        for arm in arms
        for seed in result.seeds
        for one in seed.arms[arm].decisions
    ]
    return charts.table(("round", "decision", "compute", "why"), rows) if rows else Markup("")


def _monitor(result: LoopResult, arms: Sequence[str]) -> Markup:
    rows = [
        (
            f"{arm}, seed {seed.seed}, round {one.round}",
            one.verdict.replace("_", " ") if one.acted else f"none (read only: {one.verdict.replace('_', ' ')})",
            one.why,
        )
        for arm in arms
        for seed in result.seeds
        for one in seed.arms[arm].monitor
        if one.verdict != "ok"
    ]
    return charts.table(("round", "done", "why"), rows) if rows else Markup("")


def _share_axes(y_label: str) -> charts.Axes:
    return charts.Axes(x_label="round", y_label=y_label, y_format=figures.percent, y_range=(0.0, 1.0), whole_x=True)


def _flops_bars(result: LoopResult, arms: Sequence[str]) -> Markup:
    rows = [_flops_bar(result, arm) for arm in arms]
    longest = max(sum(part.value for part in row.parts) for row in rows)
    return charts.bars(
        rows,
        width="FLOPs, mean over seeds; the hatched part is generation",
        full=figures.flops(longest),
        columns=("training FLOPs", "generation FLOPs"),
    )


def _flops_bar(result: LoopResult, arm: str) -> charts.Bar:
    train = fmean(one.train_flops for one in result.of_arm(arm))
    generate = fmean(one.generation_flops for one in result.of_arm(arm))
    training, generation = f"training {figures.flops(train)}", f"generation {figures.flops(generate)}"
    return charts.Bar(
        label=arm,
        text=figures.flops(train + generate),
        parts=[
            charts.Part(value=train, tone=_tone(arm), tip=training),
            charts.Part(value=generate, tone=f"{_tone(arm)} light", tip=generation),
        ],
        note=f"{training}, {generation}" if generate else "",
    )


def _second_bars(result: LoopResult, arms: Sequence[str]) -> Markup:
    seconds = {arm: fmean(one.seconds for one in result.of_arm(arm)) for arm in arms}
    return charts.bars(
        [
            charts.Bar(
                label=arm,
                text=figures.duration(value),
                parts=[charts.Part(value=value, tone=_tone(arm), tip=figures.duration(value))],
            )
            for arm, value in seconds.items()
        ],
        width="time, mean over seeds",
        full=figures.duration(max(seconds.values())),
        columns=("seconds",),
    )


def _example(example: LoopExample, arms: Sequence[str]) -> Example:
    outputs = example.outputs
    names = [name for name in arms if name in outputs] + sorted(set(outputs) - set(arms))
    return Example(
        example.prompt,
        example.answer,
        tuple(Answer(name, outputs[name], outputs[name].strip() == example.answer.strip()) for name in names),
    )
