"""The frontier of datasets between what they cost to make and what they are worth (`frontier.json`).

Points are datasets, each by its card: (teacher, recipe, samples per prompt, verifier) -> generation FLOPs and held-out
bits removed. A point is on the frontier if no other costs no more and removes as much. Pairs answer what a dearer way
of making data buys: more bits in all, and more bits for each FLOP. Arms of an experiment on verified tasks make groups
of their own, since their measures are others. Only what was measured alike is compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from tilth.assay.cost import arm_of, share_read
from tilth.assay.experiment import EXPERIMENT_RESULT, Experiment
from tilth.assay.result import ASSAY_RESULT, AssayCard, LearnerValue
from tilth.errors import DataError
from tilth.intervals import Interval, difference_interval, mean_interval
from tilth.results import read_result

FRONTIER_RESULT = "frontier.json"
"""File name."""
PFLOP = 1e15
QUESTIONS = {
    "teacher": "Is the dearer teacher worth it?",
    "recipe": "Is the dearer recipe (a longer answer, reasoning) worth it?",
    "samples_per_prompt": "Are more samples for each prompt worth it?",
    "verifier": "Is the verifier worth it?",
}
_MOST_IN_FULL = 6
"""Points of a group up to which all pairs are answered; of more, those that differ in one thing or are neighbours."""


@dataclass(frozen=True, kw_only=True)
class FrontierPoint:
    """One dataset measured with one size of learner, or one arm of an experiment."""

    group: str
    """Points of one group compare."""
    name: str
    teacher: str = ""
    recipe: str = ""
    samples_per_prompt: str = ""
    verifier: str = ""
    flops: float = math.nan
    """A dataset: of making the tokens that the learner read, rejected samples included; 0 for what nobody generated. An
    arm: of its training and generation. nan: not known."""
    flops_per_token: float = math.nan
    """A dataset's generation FLOPs for each kept token."""
    gain: Interval
    """Held-out bits per byte removed (of an arm: its measure's change for the better), over seeds."""
    gain_per_pflop: Interval
    """The same for each 10^15 FLOPs; nan without FLOPs."""
    value: Interval | None = None
    """nu, where the card has it."""
    gains: tuple[float, ...] = ()
    """One for each of `seeds`."""
    seeds: tuple[int, ...] = ()
    on_frontier: bool = False
    beaten_by: tuple[str, ...] = ()
    """Points that cost no more and are worth more outside the interval of the difference."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a dearer way of making data buys."""

    group: str
    question: str
    cheaper: str
    dearer: str
    more_in_all: Interval
    """Gain of the dearer less that of the cheaper, paired by seed."""
    more_per_pflop: Interval
    """The same for each 10^15 FLOPs; nan where one of them took none, or it is not known."""
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """Points and answers, group by group."""

    groups: tuple[str, ...]
    points: tuple[FrontierPoint, ...]
    """By group, then by FLOPs."""
    answers: tuple[Answer, ...]
    notes: tuple[str, ...] = ()


def read_frontier(named: Sequence[tuple[str, Path]]) -> Frontier:
    """Reads cards and experiments, each (name or "", file or folder), and returns their frontier.

    A card without a name is called as its folder.

    Raises: DataError for a file that is neither, cards without a value, two points of one name, or cards that were not
    measured alike.
    """
    cards: list[tuple[str, AssayCard]] = []
    experiments: list[tuple[str, Experiment]] = []
    for name, path in named:
        found = _file(path)
        if found.name == EXPERIMENT_RESULT:
            experiments.append((name, read_result(Experiment, found)))
        else:
            card = read_result(AssayCard, found)
            cards.append((name or found.resolve().parent.name, card))
    return frontier(cards, experiments)


def frontier(cards: Sequence[tuple[str, AssayCard]], experiments: Sequence[tuple[str, Experiment]] = ()) -> Frontier:
    """Returns the frontier of named cards and experiments. Raises: as `read_frontier`."""
    if len(cards) + len(experiments) == 0 or (len(cards) == 1 and not experiments):
        raise DataError("A frontier needs two cards, or an experiment.", fix="Name more `assay.json` files.")
    _check_alike(cards)
    points = [point for name, card in cards for point in _card_points(name, card)]
    points += [point for name, experiment in experiments for point in _arm_points(name, experiment)]
    groups = tuple(dict.fromkeys(point.group for point in points))
    placed: list[FrontierPoint] = []
    answers: list[Answer] = []
    for group in groups:
        members = sorted((p for p in points if p.group == group), key=lambda p: (math.isnan(p.flops), p.flops))
        names = [point.name for point in members]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise DataError(f"Two points are called `{twice[0]}`.", fix="Name them on the command line: `NAME=PATH`.")
        placed += [_placed(point, members) for point in members]
        answers += [_answer(cheaper, dearer) for cheaper, dearer in _pairs(members)]
    return Frontier(groups=groups, points=tuple(placed), answers=tuple(answers), notes=tuple(_notes(points, cards)))


def _file(path: Path) -> Path:
    """Returns the file that a path names: itself, or the card or experiment in it."""
    if path.is_dir():
        for name in (ASSAY_RESULT, EXPERIMENT_RESULT):
            if (path / name).is_file():
                return path / name
        raise DataError(
            f"{path} holds neither {ASSAY_RESULT} nor {EXPERIMENT_RESULT}.",
            fix="Name the folder of an assay (`tilth assay ... --value --out FOLDER`) or of an experiment.",
        )
    if not path.is_file():
        raise DataError(f"{path} does not exist.", fix="Name an `assay.json` or its folder.")
    return path


# Cards


def _check_alike(cards: Sequence[tuple[str, AssayCard]]) -> None:
    """Raises DataError, which names both cards and what differs, where a comparison would mean nothing."""
    if not cards:
        return
    for name, card in cards:
        if card.value is None:
            raise DataError(
                f"The card `{name}` has no value, so nothing is known of what its dataset is worth.",
                fix="Run its assay again with `--value`.",
            )
    first_name, first = cards[0]
    for name, card in cards[1:]:
        for what, one, other in zip(_CONDITIONS, _conditions(first), _conditions(card), strict=True):
            if one != other and (one and other):
                raise DataError(
                    f"The cards `{first_name}` and `{name}` were not measured alike: {what} differ "
                    f"({one} and {other}).",
                    fix="Measure both with the same source, held-out text, learners, tokens and seeds.",
                )


_CONDITIONS = (
    "sources",
    "held-out texts",
    "held-out sizes",
    "learners (layers, parameters)",
    "tokens of an arm",
    "seeds",
)


def _conditions(card: AssayCard) -> tuple[object, ...]:
    value = card.value
    if value is None:
        return ()
    return (
        card.source.fingerprint if card.source is not None else "",
        card.held_out.fingerprint,
        f"{value.held_out_documents} documents, {value.held_out_bytes} bytes",
        [(one.depth, one.n_params) for one in value.learners],
        [arm.tokens for one in value.learners for arm in one.arms if arm.arm == "dataset"],
        list(value.seeds),
    )


def _card_points(name: str, card: AssayCard) -> list[FrontierPoint]:
    value = card.value
    if value is None:
        return []
    points: list[FrontierPoint] = []
    cost = card.cost
    for learner in value.learners:
        arm = arm_of(learner, "dataset")
        if arm is None:
            raise DataError(f"The card `{name}` has no arm `dataset`.", fix="Run its assay again.")
        gains = _gains(value.seeds, learner, arm.losses)
        flops = math.nan if cost is None else cost.generation_flops * share_read(value, card.dataset.bytes)
        points.append(
            FrontierPoint(
                group=f"held-out bits per byte removed, learner of {learner.depth} layers",
                name=name,
                teacher="" if cost is None else " + ".join(cost.teachers),
                recipe="" if cost is None else cost.recipe,
                samples_per_prompt=(
                    "" if cost is None or cost.samples_per_prompt is None else f"{cost.samples_per_prompt:g}"
                ),
                verifier="" if cost is None else cost.verifier,
                flops=flops,
                flops_per_token=math.nan if cost is None else cost.flops_per_kept_token,
                gain=learner.bits_removed,
                gain_per_pflop=_scaled(learner.bits_removed, flops),
                value=learner.value,
                gains=tuple(gains.values()),
                seeds=tuple(gains),
            )
        )
    return points


def _gains(seeds: Sequence[int], learner: LearnerValue, losses: Sequence[float]) -> dict[int, float]:
    """Returns bits removed for each seed in which neither training ended early."""
    pairs = zip(seeds, learner.before, losses, strict=False)
    return {seed: b - after for seed, b, after in pairs if math.isfinite(b - after)}


# Experiments


def _arm_points(name: str, experiment: Experiment) -> list[FrontierPoint]:
    """Returns a point for each arm and measured end: by how much its main measure got better, for which FLOPs."""
    measure = experiment.measures[0]
    if measure.better == "neither":
        raise DataError(f"`{measure.name}` of `{experiment.name}` has no better end.", fix="Leave it out.")
    sign = 1.0 if measure.better == "higher" else -1.0
    points: list[FrontierPoint] = []
    for arm in experiment.arms:
        last = experiment.last(arm.name, measure.name)
        gains: dict[int, float] = {}
        spent: list[float] = []
        for seed, value in last.items():
            own = sorted((p for p in experiment.points if p.arm == arm.name and p.seed == seed), key=lambda p: p.x)
            start = own[0].values.get(measure.name, math.nan)
            if math.isfinite(start):
                gains[seed] = sign * (value - start)
                spent.append(own[-1].flops - own[0].flops)
        flops = sum(spent) / len(spent) if spent else math.nan
        gain = mean_interval(list(gains.values()))
        points.append(
            FrontierPoint(
                group=f"{name or experiment.name}: {measure.title}, change for the better",
                name=arm.name,
                flops=flops,
                gain=gain,
                gain_per_pflop=_scaled(gain, flops),
                gains=tuple(gains.values()),
                seeds=tuple(gains),
            )
        )
    return points


# Comparison


def _scaled(value: Interval, flops: float) -> Interval:
    """Returns a gain for each 10^15 FLOPs; nan where there are none."""
    if not flops > 0:
        return Interval(math.nan, math.nan, math.nan)
    scale = PFLOP / flops
    return Interval(value.mean * scale, value.low * scale, value.high * scale)


def _placed(point: FrontierPoint, members: Sequence[FrontierPoint]) -> FrontierPoint:
    """Returns a point with where it lies among those of its group."""
    others = [one for one in members if one.name != point.name and one.flops <= point.flops]
    dominated = [
        one
        for one in others
        if one.gain.mean >= point.gain.mean and (one.gain.mean > point.gain.mean or one.flops < point.flops)
    ]
    on_frontier = math.isfinite(point.flops) and math.isfinite(point.gain.mean) and not dominated
    beaten = tuple(one.name for one in others if _difference(one, point, per_flop=False).low > 0)
    return replace(point, on_frontier=on_frontier, beaten_by=beaten)


def _difference(one: FrontierPoint, other: FrontierPoint, *, per_flop: bool) -> Interval:
    """Returns the gain of one less that of the other, paired by the seeds that both have."""
    if per_flop and not (one.flops > 0 and other.flops > 0):
        return Interval(math.nan, math.nan, math.nan)
    gains, others = dict(zip(one.seeds, one.gains, strict=True)), dict(zip(other.seeds, other.gains, strict=True))
    common = [seed for seed in gains if seed in others]
    scale, other_scale = (PFLOP / one.flops, PFLOP / other.flops) if per_flop else (1.0, 1.0)
    return difference_interval([scale * gains[s] for s in common], [other_scale * others[s] for s in common])


def _pairs(members: Sequence[FrontierPoint]) -> Iterable[tuple[FrontierPoint, FrontierPoint]]:
    """Yields (cheaper, dearer); points whose FLOPs are not known are in no pair."""
    known = [point for point in members if math.isfinite(point.flops)]
    for (at, cheaper), (place, dearer) in combinations(enumerate(known), 2):
        if len(known) <= _MOST_IN_FULL or place == at + 1 or len(_differs(cheaper, dearer)) == 1:
            yield cheaper, dearer


def _differs(one: FrontierPoint, other: FrontierPoint) -> list[str]:
    return [name for name in QUESTIONS if getattr(one, name) != getattr(other, name)]


def _answer(cheaper: FrontierPoint, dearer: FrontierPoint) -> Answer:
    differs = _differs(cheaper, dearer)
    question = QUESTIONS[differs[0]] if len(differs) == 1 else f"Is `{dearer.name}` worth more than `{cheaper.name}`?"
    in_all = _difference(dearer, cheaper, per_flop=False)
    per_flop = _difference(dearer, cheaper, per_flop=True)
    return Answer(
        group=cheaper.group,
        question=question,
        cheaper=cheaper.name,
        dearer=dearer.name,
        more_in_all=in_all,
        more_per_pflop=per_flop,
        verdict=_verdict(cheaper, dearer, in_all, per_flop),
    )


def _verdict(cheaper: FrontierPoint, dearer: FrontierPoint, in_all: Interval, per_flop: Interval) -> str:
    times = f", for {dearer.flops / cheaper.flops:.3g} times the FLOPs" if cheaper.flops > 0 else ""
    seeds = len(set(cheaper.seeds) & set(dearer.seeds))
    more = _said(in_all, "more in all", "less in all", "no clear difference in all")
    if math.isnan(per_flop.mean):
        rest = f"`{cheaper.name}` took no FLOPs to make, so bits per FLOP do not compare"
    else:
        rest = _said(per_flop, "more for each FLOP", "less for each FLOP", "no clear difference for each FLOP")
    # Where the gain is not above 0, "more for each FLOP" may only mean: harm that cost more.
    harm = "" if dearer.gain.mean > 0 or cheaper.gain.mean > 0 else "; neither of them gains anything"
    return (
        f"`{dearer.name}` against `{cheaper.name}`: {more} ({_figures(in_all)}{times}); {rest}{harm} "
        f"({seeds} seed{'s' * (seeds != 1)})."
    )


def _said(interval: Interval, above: str, below: str, neither: str) -> str:
    if math.isnan(interval.low):
        return f"{neither} that so few seeds can tell"
    if interval.low > 0:
        return above
    if interval.high < 0:
        return below
    return neither


def _figures(interval: Interval) -> str:
    if math.isnan(interval.low):
        return f"{interval.mean:+.4f}, no interval"
    return f"{interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def _notes(points: Sequence[FrontierPoint], cards: Sequence[tuple[str, AssayCard]]) -> Iterable[str]:
    unknown = list(dict.fromkeys(point.name for point in points if math.isnan(point.flops)))
    if unknown:
        yield (
            f"What it took to make {', '.join(f'`{name}`' for name in unknown)} is not known: not on the frontier, and "
            "in no pair."
        )
    if any(not card.held_out.fingerprint for _, card in cards):
        yield "A card does not say which held-out text it was measured on: that it is the same was told by sizes alone."
    if cards:
        yield (
            "FLOPs of a dataset are those of the part of it that the learners read, by bytes: that part of all that "
            "was generated for it, rejected samples and judges included."
        )


def as_rows(frontier: Frontier, group: str) -> list[Mapping[str, str]]:
    """Returns a group's points as text, a row each, for tables."""
    return [
        {
            "": "*" if point.on_frontier else "",
            "point": point.name,
            "teacher": point.teacher,
            "recipe": point.recipe,
            "samples": point.samples_per_prompt,
            "verifier": point.verifier,
            "FLOPs/token": _number(point.flops_per_token),
            "FLOPs": _number(point.flops),
            "gain": _interval(point.gain, 4),
            "per 10^15 FLOPs": _interval(point.gain_per_pflop, 3),
            "value": "" if point.value is None else _interval(point.value, 2),
        }
        for point in frontier.points
        if point.group == group
    ]


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"


def _interval(value: Interval, digits: int) -> str:
    if math.isnan(value.mean):
        return ""
    if math.isnan(value.low):
        return f"{value.mean:.{digits}f}"
    return f"{value.mean:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]"
