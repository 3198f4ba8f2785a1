"""What a loop gained for what compute, in sentences; terminal and report say the same.

The measure is the mean accuracy over the measured difficulties beyond the base data, less that of the base model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from tilth.improve.arms import ARMS, PLANS
from tilth.improve.result import ArmResult, LoopResult
from tilth.intervals import Interval, difference_interval

_Z_975 = 1.959964


def gain(result: LoopResult, arm: str) -> Interval:
    """Returns an arm's gain in accuracy over the base model, in -1..1, paired by seed.

    The interval is over seeds; of a single seed over its test problems, which says nothing about another run.
    """
    seeds = result.of_arm(arm)
    after = [_beyond(result, one.accuracy[-1]) for one in seeds]
    before = [_beyond(result, one.accuracy[0]) for one in seeds]
    found = difference_interval(after, before)
    if len(seeds) > 1:
        return found
    n = sum(result.test_problems[index] for index in _columns(result)) if result.test_problems else 0
    if not n:
        return found
    half = _Z_975 * math.sqrt(sum(p * (1 - p) for p in (after[0], before[0])) / n)
    return Interval(found.mean, found.mean - half, found.mean + half)


def gain_sentences(result: LoopResult) -> list[str]:
    """Returns a sentence for each treated arm, with its controls, and one for each arm that ended early."""
    treated = [arm for arm in ARMS if arm in result.arms and PLANS[arm].role == "treatment"]
    return [_treated(result, arm) for arm in treated] + _ended(result)


def _treated(result: LoopResult, arm: str) -> str:
    seeds = f"{len(result.seeds)} seeds" if len(result.seeds) > 1 else "the test problems of one seed"
    beyond = [result.difficulties[index] for index in _columns(result)]
    where = f"difficulties {beyond[0]} to {beyond[-1]}" if beyond else "no difficulty"
    sentence = (
        f"{arm}: {_points(gain(result, arm))} of right answers on {where}, beyond the base data (95% interval over "
        f"{seeds}), for {_tera(result, arm)} of training and generation"
    )
    controls = [c for c in ("control", "flop_matched", "noise", "oracle") if c in result.arms]
    others = "; ".join(f"{c} {_points(gain(result, c))} for {_tera(result, c)}" for c in controls)
    return f"{sentence}. Beside it: {others}." if others else f"{sentence}."


def _ended(result: LoopResult) -> list[str]:
    return [
        f"{arm}, seed {seed.seed}: ended early. {one.ended}"
        for seed in result.seeds
        for arm, one in seed.arms.items()
        if one.ended
    ]


def _columns(result: LoopResult) -> list[int]:
    known = result.test_problems or (1,) * len(result.difficulties)
    return [i for i, d in enumerate(result.difficulties) if d > result.base_difficulty and known[i]]


def _beyond(result: LoopResult, accuracy: Sequence[float]) -> float:
    values = [accuracy[index] for index in _columns(result) if math.isfinite(accuracy[index])]
    return fmean(values) if values else math.nan


def _points(interval: Interval) -> str:
    if not math.isfinite(interval.mean):
        return "nothing measured"
    ends = f" ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})" if math.isfinite(interval.low) else ""
    return f"{100 * interval.mean:+.1f} points{ends}"


def _tera(result: LoopResult, arm: str) -> str:
    arms: Sequence[ArmResult] = result.of_arm(arm)
    return f"{fmean(one.flops for one in arms) / 1e12:.3g} TFLOPs"
