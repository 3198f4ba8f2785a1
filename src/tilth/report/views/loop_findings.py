"""What the loop's figures say, in sentences: which difficulties it solves that nothing else does, and what to doubt.

"Solved" means at least 90% of the test problems right, on average over seeds. A difficulty counts for an arm only where
neither the base model nor a control solves it. An arm or control whose 95% interval holds the threshold is named as too
close to call. Where nothing is solved anew, the accuracy beyond the base data is given instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from tilth.improve.arms import PLANS
from tilth.improve.result import LoopResult
from tilth.intervals import Interval, accuracy_interval
from tilth.report import figures

SOLVED = 0.9
"""Accuracy from which a difficulty counts as solved."""
_SOLVED_MEANS = f"solved: at least {figures.percent(SOLVED)} of the test problems right"

CONTROLS = tuple(str(arm) for arm, plan in PLANS.items() if plan.labels == "none")
"""Arms that see no pseudo-label; the base model is the first."""


def pooled(results: Sequence[LoopResult]) -> list[LoopResult]:
    """Returns one result for all that differ by their seeds alone, and the others as they are."""
    found: list[LoopResult] = []
    for result in results:
        seeds = {seed.seed for seed in result.seeds}
        for index, other in enumerate(found):
            if _same_settings(result, other) and not seeds & {seed.seed for seed in other.seeds}:
                found[index] = replace(other, seeds=(*other.seeds, *result.seeds))
                break
        else:
            found.append(result)
    return found


def _same_settings(one: LoopResult, other: LoopResult) -> bool:
    # Results of other difficulties cannot even hold each other's seeds.
    return one.difficulties == other.difficulties and replace(one, seeds=other.seeds) == other


def means(rows: Sequence[Sequence[float]]) -> list[float]:
    """Returns the mean of each column over the rows that have a number there; nan where none has."""
    columns = zip(*rows, strict=False)
    return [fmean(known) if (known := [v for v in column if math.isfinite(v)]) else math.nan for column in columns]


def mean_rows(result: LoopResult, arm: str) -> list[list[float]]:
    """Returns an arm's accuracy, a row for each round and a column for each difficulty, as means over seeds."""
    return [means(rows) for rows in zip(*(one.accuracy for one in result.of_arm(arm)), strict=False)]


def mean_accuracy(result: LoopResult, arm: str) -> list[float]:
    """Returns an arm's accuracy after the last round for each difficulty, as means over seeds."""
    return means(result.final_accuracy(arm))


def accuracies(result: LoopResult, arm: str) -> list[Interval]:
    """Returns an arm's accuracy after the last round for each difficulty, with 95% intervals."""
    problems = result.test_problems or (0,) * len(result.difficulties)
    columns = zip(*result.final_accuracy(arm), strict=True)
    return [accuracy_interval(shares, n) for shares, n in zip(columns, problems, strict=False)]


def percent_with_interval(interval: Interval) -> str:
    """`98 (95–99)`, in percent."""
    if not math.isfinite(interval.mean):
        return figures.DASH
    return f"{100 * interval.mean:.0f} ({100 * interval.low:.0f}–{100 * interval.high:.0f})"


def takeaway(result: LoopResult) -> str:
    """Returns which difficulties an arm of the loop solves that neither the base model nor a control does."""
    solved = {arm: new for arm in _learners(result) if (new := _newly_solved(result, arm))}
    after = f"After {figures.plural(result.rounds, 'round')}"
    controls = [f"the {arm} arm" for arm in CONTROLS[1:] if arm in result.arms]
    if not solved:
        anyone = figures.join(["the base model", *controls], "or")
        nothing_new = f"no arm of the loop solves a difficulty that {anyone} does not solve as well"
        return f"{after}, {nothing_new} ({_SOLVED_MEANS}).{_beyond(result)}"
    one = len({d for new in solved.values() for d in new}) == 1
    nobody = f"neither the base model nor {figures.join(controls, 'nor')} solves" if controls else ""
    nobody = nobody or "the base model does not solve"
    sentence = f"{after}, {figures.join(_clauses(solved))}; {nobody} {'it' if one else 'any of these'}"
    sentence += f" ({_SOLVED_MEANS})."
    nothing = [arm for arm in _learners(result) if arm not in solved]
    if nothing:
        sentence += f" The {figures.join(nothing)} arm{' adds' if len(nothing) == 1 else 's add'} none."
    return sentence


def caveats(result: LoopResult) -> list[str]:
    """Returns what limits the conclusions, as far as the figures themselves show it."""
    n = len(result.seeds)
    if n == 1:
        found = [
            "One seed: the intervals (95%, Wilson) are those of the test problems alone. Another seed may order close "
            "arms differently."
        ]
    else:
        found = [f"Means over {n} seeds; the intervals (95%, Student's t) are those of the mean over seeds."]
    if "oracle" in result.arms:
        evidence = "; the vote is the evidence without labels" if "vote" in result.arms else ""
        found.append(f"The oracle's verifier knows the right answer, so its arm is an upper bound{evidence}.")
    return found + _ended(result) + _close_calls(result) + _forgotten(result) + _unequal_flops(result)


def _ended(result: LoopResult) -> list[str]:
    return [
        f"The {arm} arm of seed {seed.seed} ended early: {seed.arms[arm].ended}"
        for arm in result.arms
        for seed in result.seeds
        if seed.arms[arm].ended
    ]


def _learners(result: LoopResult) -> list[str]:
    return [arm for arm in result.arms if arm not in CONTROLS]


def _newly_solved(result: LoopResult, arm: str) -> list[int]:
    columns = zip(result.difficulties, mean_accuracy(result, arm), _best_control(result), strict=True)
    return [difficulty for difficulty, accuracy, control in columns if accuracy >= SOLVED > control]


def _beyond(result: LoopResult) -> str:
    """The accuracy of the best arm and of the best control over the difficulties that no right answers came with."""
    columns = [i for i, d in enumerate(result.difficulties) if d > result.base_difficulty]
    known = [
        (fmean(values), arm)
        for arm in result.arms
        if (row := mean_accuracy(result, arm)) and (values := [row[i] for i in columns if math.isfinite(row[i])])
    ]
    learners = [pair for pair in known if pair[1] not in CONTROLS]
    controls = [pair for pair in known if pair[1] in CONTROLS]
    if not learners:
        return ""
    (best, arm), (other, control) = max(learners), max(controls, default=(math.nan, ""))
    than = f", the {control} arm {figures.percent(other)}" if control else ""
    return (
        f" Over {_difficulties([result.difficulties[i] for i in columns])} the {arm} arm answers "
        f"{figures.percent(best)} right on average{than}."
    )


def _best_control(result: LoopResult) -> list[float]:
    """The best of base model and controls at each difficulty; any arm's round 0 is the base model."""
    rows = [mean_accuracy(result, arm) for arm in CONTROLS if arm in result.arms]
    rows.append(mean_rows(result, result.arms[0])[0])
    return [max((v for v in column if math.isfinite(v)), default=0.0) for column in zip(*rows, strict=True)]


def _clauses(solved: dict[str, list[int]]) -> list[str]:
    """One clause for all arms that solve the same difficulties."""
    alike: dict[str, list[str]] = {}
    for arm, difficulties in solved.items():
        alike.setdefault(_difficulties(difficulties), []).append(arm)
    return [
        f"the {figures.join(arms)} arm{' solves' if len(arms) == 1 else 's solve'} {difficulties}"
        for difficulties, arms in alike.items()
    ]


def _difficulties(numbers: list[int]) -> str:
    return f"{'difficulty' if len(numbers) == 1 else 'difficulties'} {figures.ranges(numbers)}"


def _close_calls(result: LoopResult) -> list[str]:
    close: list[str] = []
    for arm in result.arms:
        columns = zip(result.difficulties, accuracies(result, arm), strict=False)
        near = [difficulty for difficulty, interval in columns if interval.low < SOLVED < interval.high]
        if near:
            close.append(f"{arm} at {_difficulties(near)}")
    return (
        [f"Too close to {figures.percent(SOLVED)} to call (the interval holds it): {figures.join(close)}."]
        if close
        else []
    )


def _forgotten(result: LoopResult) -> list[str]:
    """Names the arms that lost more than two standard errors on the difficulties of the base data."""
    columns = [i for i, d in enumerate(result.difficulties) if d <= result.base_difficulty]
    problems = sum(result.test_problems[i] for i in columns if i < len(result.test_problems)) * len(result.seeds)
    if not columns or not problems:
        return []
    lost: list[str] = []
    for arm in result.arms:
        rows = mean_rows(result, arm)
        first, last = (fmean(row[i] for i in columns) for row in (rows[0], rows[-1]))
        # The largest standard error that a share can have is that of one half.
        if first - last > 2 * 0.5 / math.sqrt(problems):
            lost.append(f"{arm} ({figures.percent(first)} to {figures.percent(last)})")
    return [f"Accuracy on the difficulties of the base data fell in {figures.join(lost)}."] if lost else []


def _unequal_flops(result: LoopResult) -> list[str]:
    flops = {arm: fmean(one.flops for one in result.of_arm(arm)) for arm in result.arms}
    base, others = flops.get("control", 0.0), [arm for arm in result.arms if arm not in CONTROLS[:2]]
    if base <= 0 or not others:
        return []
    ratios = [f"{arm} {flops[arm] / base:.1f}×" for arm in others]
    return [f"Equal steps are not equal compute. Against the control's FLOPs: {figures.join(ratios)}."]
