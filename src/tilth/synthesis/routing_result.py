"""What was learned about several teachers: wins, rewards, costs, and whether the bigger one was worth it
(`router.json`)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev

ROUTER = "router.json"
"""File name, in the folder of a run."""


@dataclass(frozen=True, kw_only=True, order=True)
class Observation:
    """One answer of one teacher, with what it cost and what it was worth."""

    index: int
    """Of the document."""
    prompt_key: str
    """Of the request: tells a document's requests apart."""
    sample: int
    teacher: str
    bucket: str
    """Language and topic of the document."""
    reward: float
    """NaN: it could not be judged."""
    won: bool
    """It is the answer that was used."""
    tokens: int
    """Prompt and completion."""
    money: float
    flops: float
    """0 where the teacher's parameters are not known."""
    prompt: str = ""
    """The beginning of the request, where a classifier is trained on it."""


@dataclass(frozen=True, kw_only=True)
class TeacherRow:
    """How one teacher did. Rates are NaN where there is nothing to divide by."""

    teacher: str
    answers: int
    rated: int
    """Answers that have a reward."""
    wins: int
    """Answers that were used."""
    mean_reward: float
    standard_error: float
    tokens: int
    money: float
    flops: float
    reward_per_flop: float
    """Sum of rewards / FLOPs of the rated answers."""
    reward_per_money: float


@dataclass(frozen=True, kw_only=True)
class Worth:
    """A dearer teacher beside a cheaper one, on requests that both answered."""

    dearer: str
    cheaper: str
    pairs: int
    gain: float
    """Mean reward of the dearer one's answers minus that of the cheaper one's to the same requests."""
    low: float
    """95% interval of `gain` (normal approximation)."""
    high: float
    cost_ratio: float
    """Cost of the dearer one's answers / of the cheaper one's, in `cost_unit`."""
    wins: float
    """Share of pairs in which the dearer one's reward is higher; a tie counts half."""


@dataclass(frozen=True, kw_only=True)
class RouterResult:
    """A router's run."""

    kind: str
    reward: str
    """What judged the answers; empty: nothing did."""
    cost_unit: str
    """`flops`, `money` or `tokens`: the first that is known for all teachers."""
    teachers: tuple[TeacherRow, ...]
    buckets: dict[str, tuple[TeacherRow, ...]]
    """Language and topic -> the same table."""
    worth: tuple[Worth, ...]
    trained_on: int = 0
    """Requests that the learned router was trained on."""
    agreement: float = math.nan
    """Share of held-out requests for which the learned router names the teacher that won."""
    always_best: float = math.nan
    """The same for naming the most frequent winner always."""


def cost_of(observation: Observation, unit: str) -> float:
    """Returns what an answer cost, in `flops`, `money` or `tokens`."""
    if unit == "flops":
        return observation.flops
    return observation.money if unit == "money" else float(observation.tokens)


def summarise(
    observations: Iterable[Observation], teachers: Sequence[str], *, kind: str, reward: str, cost_unit: str
) -> RouterResult:
    """Returns the tables of a run; equal observations give equal tables, in whatever order they come."""
    ordered = sorted(observations, key=lambda o: (o.index, o.prompt_key, o.sample, o.teacher))
    by_bucket: dict[str, list[Observation]] = defaultdict(list)
    for one in ordered:
        by_bucket[one.bucket].append(one)
    return RouterResult(
        kind=kind,
        reward=reward,
        cost_unit=cost_unit,
        teachers=_rows(ordered, teachers),
        buckets={bucket: _rows(by_bucket[bucket], teachers) for bucket in sorted(by_bucket)},
        worth=_worth(ordered, teachers, cost_unit),
    )


def _rows(observations: Sequence[Observation], teachers: Sequence[str]) -> tuple[TeacherRow, ...]:
    return tuple(_row(teacher, [o for o in observations if o.teacher == teacher]) for teacher in teachers)


def _row(teacher: str, own: Sequence[Observation]) -> TeacherRow:
    rated = [o for o in own if not math.isnan(o.reward)]
    rewards = [o.reward for o in rated]
    return TeacherRow(
        teacher=teacher,
        answers=len(own),
        rated=len(rated),
        wins=sum(o.won for o in own),
        mean_reward=fmean(rewards) if rewards else math.nan,
        standard_error=stdev(rewards) / math.sqrt(len(rewards)) if len(rewards) > 1 else math.nan,
        tokens=sum(o.tokens for o in own),
        money=math.fsum(o.money for o in own),
        flops=math.fsum(o.flops for o in own),
        reward_per_flop=_rate(math.fsum(rewards), math.fsum(o.flops for o in rated)),
        reward_per_money=_rate(math.fsum(rewards), math.fsum(o.money for o in rated)),
    )


def _rate(value: float, cost: float) -> float:
    return value / cost if cost > 0 else math.nan


def _worth(observations: Sequence[Observation], teachers: Sequence[str], unit: str) -> tuple[Worth, ...]:
    answered: dict[tuple[int, str, int], dict[str, Observation]] = defaultdict(dict)
    for one in observations:
        if not math.isnan(one.reward):
            answered[one.index, one.prompt_key, one.sample][one.teacher] = one
    found: list[Worth] = []
    for first, second in combinations(teachers, 2):
        pairs = [(by[first], by[second]) for by in answered.values() if first in by and second in by]
        if pairs:
            found.append(_pair(pairs, unit))
    return tuple(found)


def _pair(pairs: Sequence[tuple[Observation, Observation]], unit: str) -> Worth:
    costs = [math.fsum(cost_of(pair[side], unit) for pair in pairs) for side in (0, 1)]
    dearer = 0 if costs[0] > costs[1] else 1
    gains = [pair[dearer].reward - pair[1 - dearer].reward for pair in pairs]
    error = stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan
    gain = fmean(gains)
    return Worth(
        dearer=pairs[0][dearer].teacher,
        cheaper=pairs[0][1 - dearer].teacher,
        pairs=len(pairs),
        gain=gain,
        low=gain - 1.96 * error,
        high=gain + 1.96 * error,
        cost_ratio=_rate(costs[dearer], costs[1 - dearer]),
        wins=fmean(1.0 if value > 0 else 0.5 if value == 0 else 0.0 for value in gains),
    )


def row_of(observation: Observation) -> Mapping[str, object]:
    """Returns an observation as a line of the log; what could not be judged has no reward."""
    row = dict(vars(observation))
    if math.isnan(observation.reward):
        row["reward"] = None
    return row
