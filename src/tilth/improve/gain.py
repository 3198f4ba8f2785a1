"""What a loop gained for what compute, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from tilth.improve.result import ArmResult, LoopResult

TREATED = ("vote", "verified")
_OTHERS = {
    "control": "as many steps on base data",
    "flop_matched": "as many FLOPs on base data",
    "unfiltered": "its unfiltered answers",
}
"""Arms that the treated one is put beside, in words."""


def gain(result: LoopResult) -> str:
    """Returns what the treated arm gained on problems beyond the base data, beside its controls, and for what FLOPs.

    Shares are means over these difficulties and over seeds. Where real text was mixed in, the bits per byte on held-out
    text before and after are named. Empty for a loop without a treated arm.
    """
    arm = next((name for name in TREATED if name in result.arms), None)
    beyond = [index for index, d in enumerate(result.difficulties) if d > result.base_difficulty]
    if arm is None or not beyond:
        return ""
    runs = result.of_arm(arm)
    before, after = _share(runs, 0, beyond), _share(runs, -1, beyond)
    others = [
        f"{100 * _share(result.of_arm(name), -1, beyond):.0f}% with {words}"
        for name, words in _OTHERS.items()
        if name in result.arms
    ]
    training, generation = (fmean(getattr(run, f"{kind}_flops") for run in runs) for kind in ("train", "generation"))
    first, last = result.difficulties[beyond[0]], result.difficulties[beyond[-1]]
    sentence = (
        f"With {_teraflops(training + generation)} after its base training ({_teraflops(generation)} of it for answers "
        f"of its own), the {arm} arm came from {100 * before:.0f}% to {100 * after:.0f}% right on problems of "
        f"difficulty {first} to {last}, which no right answers came with"
    )
    if others:
        sentence += f"; {', '.join(others)}"
    text = _text(runs)
    return f"{sentence}{'; ' + text if text else ''}."


def _share(runs: Sequence[ArmResult], row: int, columns: Sequence[int]) -> float:
    values = [run.accuracy[row][column] for run in runs for column in columns]
    known = [value for value in values if math.isfinite(value)]
    return fmean(known) if known else math.nan


def _text(runs: Sequence[ArmResult]) -> str:
    measured = [run.held_out_bits_per_byte for run in runs if run.held_out_bits_per_byte]
    if not measured:
        return ""
    first, last = fmean(bits[0] for bits in measured), fmean(bits[-1] for bits in measured)
    return f"held-out text takes {last:.3f} bits per byte, {first:.3f} before"


def _teraflops(flops: float) -> str:
    return f"{flops / 1e12:.2g} TFLOPs"
