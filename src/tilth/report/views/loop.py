"""The self-improving loop: accuracy by length and round for every arm, what it kept, and what it cost.

One arm has one colour through the whole section. `loop_findings` holds the sentences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tilth.improve.result import ArmResult as Arm
from tilth.improve.result import LoopResult
from tilth.report import charts, figures
from tilth.report.views.loop_findings import SOLVED, Improve, caveats, first_seed, ordered, takeaway

_TONES = {"frozen": "sand", "control": "slate", "unfiltered": "ochre", "vote": "moss", "checker": "clay"}
_MEANING = {
    "frozen": "the base model, left as it is",
    "control": "trained as many steps, on the base data only",
    "unfiltered": "trained on its own answers, right or wrong",
    "vote": "trained on its own answers on which its views of a prompt agree; no right answers needed",
    "checker": "trained on its own answers that an exact checker accepts",
}


@dataclass(frozen=True)
class ArmMeaning:
    """One arm in the legend of the section."""

    name: str
    tone: str
    meaning: str


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
class Loop:
    """The loop section."""

    takeaway: str
    task: str
    arms: tuple[ArmMeaning, ...]
    heat_maps: tuple[Markup, ...]
    last_round: Markup
    curves: tuple[Markup, ...]
    costs: Markup
    seconds: Markup
    examples: tuple[Example, ...]
    caveats: tuple[str, ...]


def view(results: Sequence[LoopResult]) -> Loop | None:
    """Returns the loop section, or None where there was no loop."""
    improve = first_seed(results[0]) if results else None
    if improve is None or not improve.arms:
        return None
    arms = ordered(improve)
    return Loop(
        takeaway=takeaway(improve),
        task=_task(improve),
        arms=tuple(ArmMeaning(name, _tone(name), _MEANING.get(name, "")) for name in arms),
        heat_maps=tuple(_heat_map(improve, name, arm) for name, arm in arms.items() if _learns(arm) or len(arms) == 1),
        last_round=_last_round(improve, arms),
        curves=tuple(filter(None, [_label_curve(arms), _kept_curve(arms)])),
        costs=_cost_bars(arms),
        seconds=_second_bars(arms),
        examples=tuple(_example(example.prompt, example.answer, example.outputs, arms) for example in improve.examples),
        caveats=tuple(caveats(improve)),
    )


def _tone(name: str) -> str:
    return _TONES.get(name, "plum")


def _learns(arm: Arm) -> bool:
    return any(row != arm.accuracy[0] for row in arm.accuracy[1:])


def _task(improve: Improve) -> str:
    low, high = improve.base_lengths[0], improve.base_lengths[-1]
    model = f" of {figures.short(improve.n_params)} parameters" if improve.n_params else ""
    return (
        f"The task is “{improve.task}”. A model{model} learns it on lengths {low}–{high}, then works its "
        "way to longer ones: in each round it answers new prompts, some of its answers become training "
        f"data, and it trains on. Tested on lengths {improve.lengths[0]}–{improve.lengths[-1]}, "
        f"{improve.prompts_per_length} prompts each."
    )


def _trained_columns(improve: Improve) -> int:
    return sum(n <= improve.base_lengths[-1] for n in improve.lengths)


def _heat_map(improve: Improve, name: str, arm: Arm) -> Markup:
    return charts.heat_map(
        [(str(index), row) for index, row in enumerate(arm.accuracy)],
        [str(n) for n in improve.lengths],
        corner="round",
        caption=name,
        mark_after=_trained_columns(improve) or None,
    )


def _last_round(improve: Improve, arms: dict[str, Arm]) -> Markup:
    low, high = improve.base_lengths[0], improve.base_lengths[-1]
    return charts.line_chart(
        [
            charts.Line(label=name, points=list(zip(improve.lengths, arm.accuracy[-1], strict=True)), tone=_tone(name))
            for name, arm in arms.items()
        ],
        charts.Axes(
            x_label="length",
            y_label="Accuracy after the last round",
            y_format=figures.percent,
            y_range=(0.0, 1.0),
            shaded=(low, high, "lengths of the base data"),
            whole_x=True,
        ),
        levels=[charts.Level(label="solved from", value=SOLVED, tone="sand")],
    )


def _rounds(values: tuple[float, ...]) -> list[charts.Point]:
    return [(float(index), value) for index, value in enumerate(values, 1)]


def _label_curve(arms: dict[str, Arm]) -> Markup:
    return charts.line_chart(
        [
            charts.Line(label=name, points=_rounds(arm.label_accuracy), tone=_tone(name))
            for name, arm in arms.items()
            if any(arm.kept)
        ],
        _share_axes("Kept answers that are right"),
    )


def _kept_curve(arms: dict[str, Arm]) -> Markup:
    lines: list[charts.Line] = []
    for name, arm in arms.items():
        pairs = zip(arm.kept, arm.generated, strict=False)
        shares = tuple(kept / generated if generated else math.nan for kept, generated in pairs)
        if any(arm.generated):
            lines.append(charts.Line(label=name, points=_rounds(shares), tone=_tone(name)))
    return charts.line_chart(lines, _share_axes("Answers kept"))


def _share_axes(y_label: str) -> charts.Axes:
    return charts.Axes(x_label="round", y_label=y_label, y_format=figures.percent, y_range=(0.0, 1.0), whole_x=True)


def _cost_bars(arms: dict[str, Arm]) -> Markup:
    return charts.bars([_cost_bar(name, arm) for name, arm in arms.items()])


def _cost_bar(name: str, arm: Arm) -> charts.Bar:
    training = f"training {figures.flops(arm.train_flops)}"
    generation = f"generation {figures.flops(arm.generation_flops)}"
    return charts.Bar(
        label=name,
        text=figures.flops(arm.train_flops + arm.generation_flops),
        parts=[
            charts.Part(value=arm.train_flops, tone=_tone(name), tip=training),
            charts.Part(value=arm.generation_flops, tone=f"{_tone(name)} light", tip=generation),
        ],
        note=f"{training}, {generation}" if arm.generation_flops else "",
    )


def _second_bars(arms: dict[str, Arm]) -> Markup:
    return charts.bars(
        [
            charts.Bar(
                label=name,
                text=figures.duration(arm.seconds),
                parts=[charts.Part(value=arm.seconds, tone=_tone(name), tip=figures.duration(arm.seconds))],
            )
            for name, arm in arms.items()
        ]
    )


def _example(prompt: str, answer: str, outputs: dict[str, str], arms: dict[str, Arm]) -> Example:
    names = [name for name in arms if name in outputs] + sorted(set(outputs) - set(arms))
    return Example(
        prompt,
        answer,
        tuple(Answer(name, outputs[name], outputs[name].strip() == answer.strip()) for name in names),
    )
