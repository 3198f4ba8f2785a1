"""The controller: what the arm `controlled` spends on next, by measured gain per FLOP.

The score is label-free: the share of validation problems whose answers the labeller accepts, summed over difficulties
beyond the base data, so that its unit is difficulties solved. An action's gain is the rise of the score in the rounds
that took it, its price all FLOPs of those rounds. Every action is tried once where it is allowed; then the best one is
taken, until no allowed action gained more than `min_gain` or the budget is spent. All of it is a pure function of the
arm's records, so that a killed run decides the same again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tilth.improve.result import Decision

Action = Literal["train", "sample", "harder", "stop"]
ACTIONS: tuple[Action, ...] = ("harder", "sample", "train")
"""What can be spent on, in the order in which it is tried, and in which ties are broken."""
REMEMBERED = 2
"""Last uses of an action that its gain is estimated from: earlier ones are of a model that is long gone."""
PETA = 1e15


@dataclass(frozen=True, kw_only=True)
class Spend:
    """What one round took and gave."""

    action: Action
    gain: float
    """Rise of the score, in difficulties solved."""
    flops: float


def score(shares: Mapping[str, float]) -> float:
    """Returns the sum of the accepted shares."""
    return math.fsum(shares.values())


def allowed_actions(*, next_share: float, promote_at: float, beyond_base: bool, exhausted: bool) -> tuple[Action, ...]:
    """Returns what may be chosen.

    Harder problems need the gate's share of accepted answers (nan: there are no such problems); more labels of the same
    difficulty need one beyond the base data, whose labels still told the model something. Training may always go on.
    """
    allowed: dict[Action, bool] = {
        "train": True,
        "sample": beyond_base and not exhausted,
        "harder": next_share >= promote_at,
    }
    return tuple(action for action in ACTIONS if allowed[action])


def decide(
    number: int, spends: Sequence[Spend], allowed: Sequence[Action], *, max_flops: float | None, min_gain: float
) -> Decision:
    """Returns what to do in round `number`, given all earlier rounds."""
    spent = math.fsum(spend.flops for spend in spends)
    rates: dict[Action, float] = {action: _rate(spends, action) for action in allowed}
    gains: dict[Action, float] = {action: _gain(spends, action) for action in allowed}

    def decision(action: Action, why: str) -> Decision:
        return Decision(round=number, action=action, why=why, gain_per_pflop={**rates})

    if max_flops is not None and spent >= max_flops:
        return decision("stop", f"The budget is spent: {_pflops(spent)} of {_pflops(max_flops)}.")
    untried: list[Action] = [action for action in allowed if math.isnan(gains[action])]
    if untried:
        return decision(untried[0], f"`{untried[0]}` is allowed and was not tried yet{_known(gains, rates)}.")
    useful: list[Action] = [action for action in allowed if gains[action] > min_gain]
    if not useful:
        return decision("stop", f"No allowed action gained more than {min_gain:g} difficulties{_known(gains, rates)}.")
    best = max(useful, key=lambda action: rates[action])
    return decision(best, f"`{best}` gained most for its FLOPs{_known(gains, rates)}.")


def _last(spends: Sequence[Spend], action: Action) -> Sequence[Spend]:
    return [spend for spend in spends if spend.action == action][-REMEMBERED:]


def _gain(spends: Sequence[Spend], action: Action) -> float:
    last = _last(spends, action)
    return math.fsum(spend.gain for spend in last) / len(last) if last else math.nan


def _rate(spends: Sequence[Spend], action: Action) -> float:
    last = _last(spends, action)
    flops = math.fsum(spend.flops for spend in last)
    return math.fsum(spend.gain for spend in last) / flops * PETA if flops else math.nan


def _known(gains: Mapping[Action, float], rates: Mapping[Action, float]) -> str:
    parts = [
        f"{action} {gains[action]:+.2f} difficulties a round ({rates[action]:+.3g} per PFLOP)"
        for action in gains
        if not math.isnan(gains[action])
    ]
    return f": {', '.join(parts)}" if parts else ""


def _pflops(flops: float) -> str:
    return f"{flops / PETA:.3g} PFLOPs"
