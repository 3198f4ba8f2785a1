"""What a plateau experiment found, in sentences with figures: ends, the last doubling, and fitted curves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tilth.assay.experiment import Experiment
from tilth.assay.plateau_config import PlateauConfig
from tilth.assay.plateau_samples import FRESH, PLAIN, REPEAT, VERIFIED, Selected
from tilth.intervals import Interval, difference_interval
from tilth.scaling.curve import Curve, asymptote_difference, fit_curve

NAMES = {FRESH: "new real text", VERIFIED: "verified samples", PLAIN: "plain samples", REPEAT: "the same text again"}
_DIGITS = 4


def findings(experiment: Experiment, selected: Sequence[Selected], config: PlateauConfig) -> tuple[str, ...]:
    """Returns the sentences beside the comparisons, which speak for themselves."""
    measure = experiment.measures[0].name
    before, last = config.token_counts[-2:]
    found = [_change(experiment, arm.name, measure, 0, last) for arm in experiment.arms]
    found += [_change(experiment, arm.name, measure, before, last) for arm in experiment.arms]
    found += _curves(experiment, measure, config)
    found += [_samples(selected), _cost(experiment, measure)]
    found.append(
        "For text no verifier is exact: this one knows other real text, and can add at most what it knows of that. "
        "What it was trained on is in no arm, but was real text all the same."
    )
    return tuple(sentence for sentence in found if sentence)


def _change(experiment: Experiment, arm: str, measure: str, before: int, last: int) -> str:
    """Says whether an arm's loss fell between two token counts: since the start, 0, or at the end, which a plateau
    denies."""
    values = {
        x: {p.seed: p.values[measure] for p in experiment.points if p.arm == arm and p.x == x} for x in (before, last)
    }
    early = {one.seed for one in experiment.ended if one.arm == arm}
    seeds = [seed for seed in values[last] if seed in values[before] and seed not in early]
    if not seeds:
        return ""
    change = difference_interval([values[last][seed] for seed in seeds], [values[before][seed] for seed in seeds])
    fell = "still fell" if before else "fell"
    word = fell if change.high < 0 else "rose" if change.low > 0 else "did not change outside the interval"
    if math.isnan(change.low):
        word = "changed, by an amount that one seed cannot tell from chance,"
    return (
        f"With {NAMES[arm]} the loss {word} from {f'{before:,}' if before else 'the start'} to {last:,} tokens: "
        f"{interval(change)} bits per byte, "
        f"{len(seeds)} seeds."
    )


def _curves(experiment: Experiment, measure: str, config: PlateauConfig) -> list[str]:
    """Says where the curves end that fall, and whether the samples' end differs from that of new real text."""
    early = {one.seed for one in experiment.ended}
    training = config.training
    curves: dict[str, Curve] = {}
    flat: list[str] = []
    unknown: list[str] = []
    if len(set(experiment.seeds) - early) < 2:
        return []
    for arm in experiment.arms:
        points = [p for p in experiment.points if p.arm == arm.name and p.x > 0 and p.seed not in early]
        if len({p.x for p in points}) < 3:
            continue
        ends = [
            [p.values[measure] for p in points if p.x == x] for x in (config.token_counts[-1], min(p.x for p in points))
        ]
        if not difference_interval(*ends).high < 0:
            flat.append(NAMES[arm.name])
            continue
        curve = fit_curve(
            [training.before_tokens + (1 - training.replay) * p.x for p in points],
            [p.values[measure] for p in points],
            runs=[p.seed for p in points],
        )
        end, lowest = curve.asymptote, min(p.values[measure] for p in points)
        if end.low <= end.mean <= end.high and end.low > lowest / 2:
            curves[arm.name] = curve
        else:
            unknown.append(NAMES[arm.name])
    found: list[str] = []
    if curves:
        ends = ", ".join(f"{NAMES[arm]} {level(curve.asymptote)}" for arm, curve in curves.items())
        found.append(
            f"Curves E + B/D^b of D different tokens, over {len(config.token_counts)} token counts, end at E = {ends} "
            "bits per byte (95% by bootstrap over seeds; so few counts fix an end poorly)."
        )
    if flat:
        found.append(
            f"From the first to the last token count the loss does not fall outside the interval over seeds with "
            f"{', '.join(flat)}: no curve was fitted."
        )
    if unknown:
        found.append(
            f"Where the curve of {', '.join(unknown)} would end, these token counts do not tell: fits with very "
            "different ends are as good."
        )
    for arm in (PLAIN, VERIFIED):
        if arm in curves and FRESH in curves:
            difference = asymptote_difference(curves[arm], curves[FRESH])
            word = "differs" if difference.excludes(0) else "does not differ outside the interval"
            found.append(
                f"The end of the curve of {NAMES[arm]} {word} from that of new real text: {interval(difference)} bits."
            )
    return found


def _samples(selected: Sequence[Selected]) -> str:
    drawn, kept = sum(one.drawn for one in selected), sum(one.kept for one in selected)
    if not kept:
        return f"Of {drawn:,} samples none was kept."
    names = ("plain_verifier", "guided_verifier", "held_out_verifier", "plain", "guided")
    bits = [_mean([getattr(one, f"{name}_bits_per_token") for one in selected if one.kept]) for name in names]
    return (
        f"Of {drawn:,} guided samples {kept:,} were kept and used; {sum(one.copies for one in selected):,} were copies "
        f"of text read before, {sum(one.near_duplicates for one in selected):,} near duplicates. Under the verifier "
        f"plain samples take {bits[0]:.2f} bits per token, guided ones {bits[1]:.2f}, held-out text {bits[2]:.2f}; "
        f"under the model itself {bits[3]:.2f} and {bits[4]:.2f}."
    )


def _cost(experiment: Experiment, measure: str) -> str:
    """Says how many FLOPs the samples took against plain training on: no arm here is matched in FLOPs."""
    spent: dict[str, float] = {}
    for arm in (REPEAT, PLAIN, VERIFIED):
        seeds = experiment.last(arm, measure)
        own = [sorted(p.flops for p in experiment.points if p.arm == arm and p.seed == seed) for seed in seeds]
        if own:
            spent[arm] = _mean([flops[-1] - flops[0] for flops in own])
    if len(spent) < 3:
        return ""
    return (
        f"The arms have equal steps, not equal FLOPs: training on plain samples and generating them took "
        f"{spent[PLAIN] / spent[REPEAT]:.2f} times the FLOPs of training alone, verified ones "
        f"{spent[VERIFIED] / spent[REPEAT]:.2f} times."
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def interval(value: Interval) -> str:
    """Returns an interval as text."""
    if math.isnan(value.low):
        return f"{value.mean:+.{_DIGITS}f} (one seed, no interval)"
    return f"{value.mean:+.{_DIGITS}f} [{value.low:+.{_DIGITS}f}, {value.high:+.{_DIGITS}f}]"


def level(value: Interval) -> str:
    """Returns the interval of a level, which has no sign, as text."""
    return f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]"
