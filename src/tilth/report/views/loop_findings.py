"""What the loop's figures say, in sentences: which lengths it solves that nothing else does, and what to
doubt.

"Solved" means at least half of the test prompts right. A length counts for an arm only where neither the base
model nor the control solves it, and a result within two standard errors of the threshold is named as too
close to call. The errors are those of the test prompts alone: a run has one seed, and says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

from tilth.improve.result import ArmResult as Arm
from tilth.improve.result import LoopExample, LoopResult
from tilth.report import figures


@dataclass(frozen=True)
class Improve:
    """The first seed of a loop, as this section shows it."""

    task: str
    base_lengths: tuple[int, ...]
    lengths: tuple[int, ...]
    rounds: int
    prompts_per_length: int
    arms: dict[str, Arm]
    n_params: int | None
    examples: tuple[LoopExample, ...]


def first_seed(result: LoopResult) -> Improve:
    """Returns what the first seed of a loop came to."""
    seed = result.seeds[0]
    return Improve(
        task=result.task,
        base_lengths=(1, result.base_difficulty),
        lengths=result.difficulties,
        rounds=result.rounds,
        prompts_per_length=min(result.test_problems, default=1),
        arms=seed.arms,
        n_params=result.n_params,
        examples=seed.examples,
    )


SOLVED = 0.5
"""Accuracy from which a length counts as solved."""

ORDER = ("frozen", "control", "unfiltered", "vote", "checker")
"""Arms in the order in which they are shown; others follow by name."""

_YARDSTICKS = ("frozen", "control")


def ordered(improve: Improve) -> dict[str, Arm]:
    """Returns the arms in the order in which they are shown."""
    known = [name for name in ORDER if name in improve.arms]
    return {name: improve.arms[name] for name in [*known, *sorted(set(improve.arms) - set(known))]}


def takeaway(improve: Improve) -> str:
    """Returns which lengths an arm of the loop solves that neither the base model nor the control does."""
    learners = _learners(improve)
    gains = {name: gained for name, arm in learners.items() if (gained := _gained(improve, arm))}
    after = f"After {figures.plural(improve.rounds, 'round')}"
    with_control = "control" in improve.arms
    if not gains:
        others = "the base model or the control" if with_control else "the base model"
        return f"{after}, no arm of the loop solves a length that {others} does not solve as well."
    solved = figures.join(_solved(gains))
    one = len({n for gained in gains.values() for n in gained}) == 1
    others = "neither the base model nor the control solves" if with_control else "the base model does not solve"
    sentence = f"{after}, {solved}; {others} {'it' if one else 'any of these'}."
    none = [name for name in learners if name not in gains]
    if none:
        sentence += f" The {figures.join(none)} arm{' adds' if len(none) == 1 else 's add'} none."
    return sentence


def caveats(improve: Improve) -> list[str]:
    """Returns what a reader should bear in mind, as far as the figures themselves show it."""
    found = [
        f"Each accuracy comes from {figures.plural(improve.prompts_per_length, 'prompt')}: "
        f"its standard error is up to {100 * _error(improve):.1f} points.",
        "This is one seed. Another seed may order close arms differently.",
    ]
    if "checker" in improve.arms:
        evidence = "; the vote is the label-free evidence" if "vote" in improve.arms else ""
        found.append(f"The checker knows the right answer, so its arm is an upper bound{evidence}.")
    return found + _close_calls(improve) + _forgotten(improve) + _unequal_cost(improve)


def _learners(improve: Improve) -> dict[str, Arm]:
    return {name: arm for name, arm in ordered(improve).items() if name not in _YARDSTICKS}


def _gained(improve: Improve, arm: Arm) -> list[int]:
    columns = zip(improve.lengths, arm.accuracy[-1], _yardstick(improve), strict=True)
    return [length for length, accuracy, yardstick in columns if accuracy >= SOLVED > yardstick]


def _yardstick(improve: Improve) -> list[float]:
    """The better of base model and control at each length; any arm's round 0 is the base model."""
    rows = [improve.arms[name].accuracy[-1] for name in _YARDSTICKS if name in improve.arms]
    rows.append(next(iter(improve.arms.values())).accuracy[0])
    return [max((v for v in column if math.isfinite(v)), default=0.0) for column in zip(*rows, strict=True)]


def _solved(gains: dict[str, list[int]]) -> list[str]:
    """One clause for all arms that solve the same lengths."""
    alike: dict[str, list[str]] = {}
    for name, gained in gains.items():
        alike.setdefault(_lengths(gained), []).append(name)
    return [
        f"the {figures.join(names)} arm{' solves' if len(names) == 1 else 's solve'} {lengths}"
        for lengths, names in alike.items()
    ]


def _lengths(numbers: list[int]) -> str:
    return f"length{'' if len(numbers) == 1 else 's'} {figures.ranges(numbers)}"


def _error(improve: Improve) -> float:
    """The largest standard error that an accuracy can have: that of one half."""
    return 0.5 / math.sqrt(max(improve.prompts_per_length, 1))


def _close_calls(improve: Improve) -> list[str]:
    reach = 2 * _error(improve)
    close: list[str] = []
    for name, arm in _learners(improve).items():
        columns = zip(improve.lengths, arm.accuracy[-1], strict=True)
        lengths = [length for length, accuracy in columns if abs(accuracy - SOLVED) < reach]
        if lengths:
            close.append(f"{name} at {_lengths(lengths)}")
    return [f"Too close to 50% to call (within two standard errors): {figures.join(close)}."] if close else []


def _forgotten(improve: Improve) -> list[str]:
    """Names the arms that lost more than two standard errors on the lengths of the base data."""
    columns = [i for i, n in enumerate(improve.lengths) if n <= improve.base_lengths[-1]]
    if not columns:
        return []
    lost: list[str] = []
    for name, arm in ordered(improve).items():
        first, last = (fmean(row[i] for i in columns) for row in (arm.accuracy[0], arm.accuracy[-1]))
        if first - last > 2 * _error(improve) / math.sqrt(len(columns)):
            lost.append(f"{name} ({figures.percent(first)} to {figures.percent(last)})")
    return [f"Accuracy on the lengths of the base data fell in {figures.join(lost)}."] if lost else []


def _unequal_cost(improve: Improve) -> list[str]:
    control, learners = improve.arms.get("control"), _learners(improve)
    base = control.train_flops + control.generation_flops if control else 0.0
    if base <= 0 or not learners:
        return []
    ratios = [f"{name} {(arm.train_flops + arm.generation_flops) / base:.1f}×" for name, arm in learners.items()]
    return [f"Equal steps are not equal compute. Against the control's FLOPs: {figures.join(ratios)}."]
