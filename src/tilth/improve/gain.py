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
_OTHERS = {
    "control": "as many steps on base data",
    "flop_matched": "as many FLOPs on base data",
    "unfiltered": "its unfiltered answers",
}
"""Arms that the treated one is put beside in one sentence, in words."""


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


def one_sentence(result: LoopResult) -> str:
    """Returns what the first treated arm gained beyond the base data, beside its controls, for what FLOPs.

    Shares are means over difficulties and seeds. With real text, the bits per byte of held-out text before
    and after are named. Empty for a loop without a treated arm.
    """
    arm = next((name for name in ARMS if name in result.arms and PLANS[name].role == "treatment"), None)
    columns = _columns(result)
    if arm is None or not columns:
        return ""
    before, after = _mean_share(result, arm, 0), _mean_share(result, arm, -1)
    generation = fmean(one.generation_flops for one in result.of_arm(arm)) / 1e12
    others = [
        f"{100 * _mean_share(result, name, -1):.0f}% with {words}"
        for name, words in _OTHERS.items()
        if name in result.arms
    ]
    parts = [
        f"With {_tera(result, arm)} after its base training ({generation:.2g} of it for answers of its own), the {arm} "
        f"arm came from {100 * before:.0f}% to {100 * after:.0f}% right on problems of difficulty "
        f"{result.difficulties[columns[0]]} to {result.difficulties[columns[-1]]}, which no right answers came with",
        ", ".join(others),
        _text(result.of_arm(arm)),
    ]
    return "; ".join(part for part in parts if part) + "."


def _mean_share(result: LoopResult, arm: str, row: int) -> float:
    return fmean(_beyond(result, one.accuracy[row]) for one in result.of_arm(arm))


def _text(runs: Sequence[ArmResult]) -> str:
    measured = [run.held_out_bits_per_byte for run in runs if run.held_out_bits_per_byte]
    if not measured:
        return ""
    first, last = fmean(bits[0] for bits in measured), fmean(bits[-1] for bits in measured)
    return f"held-out text takes {last:.3f} bits per byte, {first:.3f} before"


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
