"""What a curriculum experiment found: records of phases, points, comparisons and sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tilth.assay.experiment import Arm, Comparison, Ended, Experiment, Measure, Point
from tilth.improve.text.config import CURRICULUM_ARMS, CurriculumArm, CurriculumConfig
from tilth.intervals import Interval
from tilth.types import Document

MEASURES = (
    Measure(name="second", title="held-out bits per byte, narrow text", better="lower"),
    Measure(name="first", title="held-out bits per byte, broad text", better="lower"),
    Measure(name="mean", title="held-out bits per byte, mean of both", better="lower"),
    Measure(name="forgetting", title="change on the broad text since the first phase ended", better="lower"),
)
ARMS: dict[CurriculumArm, Arm] = {
    "no_replay": Arm(name="no_replay", meaning="Broad text, then narrow text alone."),
    "replay_10": Arm(name="replay_10", meaning="Broad text, then narrow text with 10% of the broad text again."),
    "replay_30": Arm(name="replay_30", meaning="Broad text, then narrow text with 30% of the broad text again."),
    "one_phase": Arm(
        name="one_phase", meaning="The text of no_replay, both parts mixed from the start.", role="control"
    ),
    "first_only": Arm(
        name="first_only",
        meaning="Broad text, then as much new broad text: what the second schedule alone does.",
        role="control",
    ),
}
COMPARISONS = (
    Comparison(
        measure="second", arm="no_replay", other="one_phase", claim="Narrow text last is worth more than mixed in."
    ),
    Comparison(
        measure="second",
        arm="replay_10",
        other="one_phase",
        claim="Narrow text last is worth more than mixed in, even with 10% of replay.",
    ),
    Comparison(
        measure="second", arm="no_replay", other="replay_30", claim="30% of replay costs something on the narrow text."
    ),
    Comparison(
        measure="first",
        arm="first_only",
        other="no_replay",
        claim="Narrow text alone costs the broad text, beside new broad text in its place.",
    ),
    Comparison(
        measure="first",
        arm="first_only",
        other="replay_30",
        claim="Even with 30% of replay it costs the broad text something.",
    ),
    Comparison(measure="first", arm="replay_10", other="no_replay", claim="10% of replay lessens forgetting."),
    Comparison(measure="first", arm="replay_30", other="replay_10", claim="30% of replay lessens it further."),
    Comparison(
        measure="first",
        arm="one_phase",
        other="replay_30",
        claim="Mixing is better for the broad text than 30% of replay.",
    ),
    Comparison(
        measure="mean", arm="replay_10", other="one_phase", claim="10% of replay is better than mixing, over both."
    ),
    Comparison(
        measure="mean", arm="replay_30", other="one_phase", claim="30% of replay is better than mixing, over both."
    ),
)


@dataclass(frozen=True, kw_only=True)
class PhasePoint:
    """Held-out bits per byte in the middle of a phase."""

    tokens: float
    """Of this phase."""
    first: float
    second: float


@dataclass(frozen=True, kw_only=True)
class PhaseRecord:
    """What one phase came to."""

    points: tuple[PhasePoint, ...] = ()
    """From its start to its end."""
    flops: float = 0.0
    passages: dict[str, int] = field(default_factory=dict[str, int])
    """Of each of the two texts, in what was trained on."""
    ended: str = ""
    """Why the arm ends here; empty: it does not."""
    seconds: float = 0.0


def curriculum_experiment(
    config: CurriculumConfig,
    records: Mapping[tuple[int, CurriculumArm], Sequence[PhaseRecord]],
    *,
    held_out: Mapping[str, Sequence[Document]],
    n_params: int,
) -> Experiment:
    """Returns the experiment's result from the phases of each (seed, arm)."""
    points: list[Point] = []
    ended: list[Ended] = []
    for (seed, arm), phases in records.items():
        points += _points(arm, seed, phases)
        ended += [
            Ended(arm=arm, seed=seed, x=float(number * config.first_tokens), why=phase.ended)
            for number, phase in enumerate(phases)
            if phase.ended
        ]
    sizes = {
        name: sum(len(document.text.encode("utf-8", "surrogatepass")) for document in documents)
        for name, documents in held_out.items()
    }
    result = Experiment(
        name="curriculum",
        title="A curriculum of two phases",
        question="Is narrow text worth more when it comes last than when it is mixed in from the start? How much of "
        "the broad text is forgotten, and how much replay prevents that?",
        x_title="training tokens",
        arms=tuple(ARMS[arm] for arm in CURRICULUM_ARMS),
        measures=MEASURES,
        points=tuple(points),
        comparisons=COMPARISONS,
        n=", ".join(f"{len(held_out[name]):,} passages ({size / 1000:,.0f} kB) of the {name} text"
                    for name, size in sizes.items()),
        settings={
            "broad text": "code" if config.split == "kind" else "`--corpus`",
            "narrow text": "prose" if config.split == "kind" else "`--second`",
            "tokens of the first phase": config.first_tokens,
            "tokens of the second phase": config.second_tokens,
            "model": f"{n_params:,} parameters, {config.n_layers} layers of {config.d_model}",
            "context, tokens": config.context_length,
            "learning rate": "flat in the first phase, falling to 0 in the second, for every arm",
        },
        ended=tuple(ended),
        seconds=_seconds(records),
    )  # fmt: skip
    return replace(result, findings=tuple(_findings(result)))


def _points(arm: CurriculumArm, seed: int, phases: Sequence[PhaseRecord]) -> list[Point]:
    found: list[Point] = []
    tokens = flops = 0.0
    before = math.nan
    for number, phase in enumerate(phases):
        end = phase.points[-1].tokens if phase.points else 0.0
        for point in phase.points[1 if number else 0 :]:  # a phase starts where the one before ended
            values = {
                "second": point.second,
                "first": point.first,
                "mean": (point.first + point.second) / 2,
                "forgetting": point.first - before if number else math.nan,
            }
            spent = flops + phase.flops * (point.tokens / end if end else 0.0)
            found.append(Point(arm=arm, seed=seed, x=tokens + point.tokens, values=values, flops=spent))
        tokens, flops = tokens + end, flops + phase.flops
        before = phase.points[-1].first if phase.points else math.nan
    return found


def _seconds(records: Mapping[tuple[int, CurriculumArm], Sequence[PhaseRecord]]) -> float:
    """Returns the seconds of all phases, a shared first phase once."""
    total = 0.0
    for (_, arm), phases in records.items():
        shared = 1 if arm not in ("no_replay", "one_phase") else 0
        total += sum(phase.seconds for phase in phases[shared:])
    return total


def _findings(result: Experiment) -> list[str]:
    sentences: list[str] = []
    for arm in CURRICULUM_ARMS:
        lost = result.final(arm, "forgetting")
        if math.isfinite(lost.mean):
            sentences.append(
                f"{arm}: {lost.mean:+.3f}{_within(lost)} bits per byte on the broad text in the second phase, "
                f"{result.final(arm, 'first').mean:.3f} at its end; {result.final(arm, 'second').mean:.3f} on the "
                f"narrow text (n = {len(result.last(arm, 'forgetting'))} seeds)."
            )
    return sentences


def _within(interval: Interval) -> str:
    if not math.isfinite(interval.low):
        return ""
    return f" (95% interval {interval.low:+.4f} to {interval.high:+.4f})"
