"""How hard the problems are that a model solves, before and after a loop, and what that says about its arms.

A difficulty is solved where at least 90% of its test problems are answered right, and so is every easier one that is
measured. The hardest such difficulty (for strings: the longest length) is one number for each arm and seed, which
means the same for all base models; its interval is over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tilth.improve.arms import ARMS, PLANS
from tilth.improve.result import LoopResult
from tilth.intervals import Interval, mean_interval

SOLVED_AT = 0.9
"""Share of right answers from which on a difficulty counts as solved."""
UNITS = {
    "reverse": "letters",
    "reverse_text": "letters",
    "copy": "letters",
    "copy_text": "letters",
    "reverse_addition": "digits",
    "reverse_addition_text": "digits",
}
"""Family -> what its difficulty counts."""


def solvable_difficulty(accuracy: Sequence[float], difficulties: Sequence[int], at: float = SOLVED_AT) -> int:
    """Returns the hardest difficulty up to which every one has an accuracy of at least `at`; 0 if the first has not.

    `accuracy` has a value for each of the rising `difficulties`; those that are not measured (nan) are passed over.
    """
    solved = 0
    for difficulty, share in zip(difficulties, accuracy, strict=True):
        if math.isnan(share):
            continue
        if share < at:
            break
        solved = difficulty
    return solved


@dataclass(frozen=True, kw_only=True)
class Solvable:
    """What an arm solves at the end, for each seed."""

    arm: str
    base: tuple[int, ...]
    """Hardest solved difficulty of each seed's base model."""
    reached: tuple[int, ...]
    """The same after the last round."""

    @property
    def interval(self) -> Interval:
        """The mean of `reached` over seeds."""
        return mean_interval(self.reached)

    @property
    def ratios(self) -> tuple[float, ...]:
        """`reached` by `base` for each seed; nan where the base model solves nothing."""
        return tuple(
            after / before if before else math.nan for before, after in zip(self.base, self.reached, strict=True)
        )

    @property
    def ratio(self) -> Interval:
        """The mean of the ratios over seeds."""
        return mean_interval(self.ratios)

    def doubles(self) -> bool:
        """Whether every seed solves at least twice the difficulty of its base model."""
        return all(ratio >= 2 for ratio in self.ratios)

    def is_above(self, other: Solvable) -> bool:
        """Whether this arm's interval lies above the other's without touching it; False for a single seed."""
        return self.interval.low > other.interval.high


def solvable(result: LoopResult, arm: str, at: float = SOLVED_AT) -> Solvable:
    """Returns what an arm solves.

    Raises: KeyError if a seed has no such arm.
    """
    rows = [one.accuracy for one in result.of_arm(arm)]
    return Solvable(
        arm=arm,
        base=tuple(solvable_difficulty(row[0], result.difficulties, at) for row in rows),
        reached=tuple(solvable_difficulty(row[-1], result.difficulties, at) for row in rows),
    )


def verdict(result: LoopResult, at: float = SOLVED_AT) -> str:
    """Says in a few sentences what the first treated arm solves, and whether that is more than its controls.

    Other treated arms and the oracle are no controls of it.
    """
    roles: dict[str, str] = {name: PLANS[name].role for name in ARMS}
    arm = next((name for name in result.arms if roles.get(name) == "treatment"), None)
    if arm is None:
        return "There is no treated arm to judge."
    one, unit = solvable(result, arm, at), UNITS.get(result.task, "steps of difficulty")
    controls = [n for n in result.arms if n != "baseline" and roles.get(n, "control") == "control"]
    others = [solvable(result, n, at) for n in controls]
    percent = f"{at:.0%}"
    first = (
        f"With at least {percent} right, {arm} solves up to {_shown(one.reached)} {unit}; its base model "
        f"{_shown(one.base)}: {_times(one)}."
    )
    return " ".join((first, *_capped(one, result), _compared(one, others), *_upper_bound(result, at, unit)))


def _capped(one: Solvable, result: LoopResult) -> tuple[str, ...]:
    """Says where more could not have been seen."""
    capped = sum(reached == result.difficulties[-1] for reached in one.reached)
    if not capped:
        return ()
    return (f"With {capped} of {len(one.reached)} seeds that is the hardest that is measured: it may solve more.",)


def _times(one: Solvable) -> str:
    known = [ratio for ratio in one.ratios if not math.isnan(ratio)]
    if len(known) < len(one.ratios):
        return "a base model that solves nothing has no ratio"
    if len(known) == 1:
        return f"{known[0]:.2g} times as many"
    twice = "at least twice with every seed" if one.doubles() else "not twice with every seed"
    return f"{one.ratio.mean:.2f} times as many ({min(known):.2f} to {max(known):.2f} over seeds), {twice}"


def _compared(one: Solvable, others: Sequence[Solvable]) -> str:
    if not others:
        return "It has no control arm beside it."
    listed = [f"{other.arm} {_shown(other.reached)}" for other in others]
    if len(one.reached) == 1:
        return f"Beside it: {', '.join(listed)}; one seed has no interval."
    below = [other for other in others if one.is_above(other)]
    text = ", ".join(listed)
    if len(below) == len(others):
        return f"That is above all controls, outside of their intervals: {text}."
    rest = ", ".join(other.arm for other in others if other not in below)
    return f"That is not above all controls outside of their intervals ({text}): it does not stand out from {rest}."


def _upper_bound(result: LoopResult, at: float, unit: str) -> tuple[str, ...]:
    if "oracle" not in result.arms:
        return ()
    return (f"With right answers (oracle) it would be {_shown(solvable(result, 'oracle', at).reached)} {unit}.",)


def _shown(reached: Sequence[int]) -> str:
    """Shows a mean with its interval, which several seeds have."""
    interval = mean_interval(reached)
    if len(reached) == 1:
        return str(reached[0])
    return f"{interval.mean:.1f} ({max(0.0, interval.low):.1f}-{interval.high:.1f})"
