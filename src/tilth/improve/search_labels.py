"""Labellers that spend compute before they accept an answer: samples, votes, best of n, beam and tree search.

They keep the protocol of `pseudo_labels.py`, by name in `search_labeller`, so that a loop takes any of them as an arm.
`SearchParams` says how much each problem may take. Sampling with a checker mostly returns what the model knows already;
`keep_by_bits` keeps the accepted answers that tell it most, and `with_noise` spoils a stated share of them, which shows
what a checker's errors would do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np

from tilth.errors import ConfigError
from tilth.improve.answering import Answerer, Searchable, parsed, sample_seed, which_right
from tilth.improve.family import end_token
from tilth.improve.pseudo_labels import Answer, Labeller, PseudoLabel, label_everything, labelled
from tilth.synthesis.verify.task_family import ProblemSource, TaskFamily
from tilth.types import Problem, Rollout

SearchLabels = Literal["everything", "vote", "best_of_n", "samples", "bits", "beam", "tree", "noise"]
"""everything: one greedy answer, unchecked. vote: the commonest of the samples, unchecked. best_of_n: the likeliest of
the samples, unchecked. samples, beam, tree: what the checker accepts of samples, a beam or a tree search. bits: of the
accepted samples those that tell most. noise: accepted samples, a share of them spoiled.
"""
SEARCH_LABELS: tuple[SearchLabels, ...] = get_args(SearchLabels)
MAX_SPOILINGS = 100
"""Tries to spoil an answer before it is left as it is."""


@dataclass(frozen=True, kw_only=True)
class SearchParams:
    """How much is spent on a problem, and what is kept."""

    samples: int = 16
    """Answers sampled for each problem."""
    temperature: float = 1.0
    """Of the samples."""
    n_beams: int = 16
    """Width of the beam search."""
    tree_tokens: int = 80
    """Tokens of a tree search for each problem, its prompt included."""
    tree_width: int | None = 16
    """Likeliest next tokens that a tree search looks at behind each beginning; None: all."""
    per_problem: int = 4
    """Most different accepted answers that are kept of a problem."""
    min_agreement: float = 0.5
    """Share of the samples that must give the same answer for a vote to count."""
    bits_share: float = 0.5
    """Share of the accepted answers that a selection by bits keeps."""
    noise_share: float = 0.2
    """Share of the accepted answers that label noise spoils."""

    def __post_init__(self) -> None:
        for name in ("samples", "n_beams", "tree_tokens", "per_problem"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give 1 or more.")
        for name in ("min_agreement", "bits_share", "noise_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give a share between 0 and 1.")
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"temperature is {self.temperature}.", fix="Give a positive number.")


def search_labeller(name: SearchLabels, family: TaskFamily, params: SearchParams, seed: int) -> Labeller:
    """Returns a labeller by its name; `seed` fixes its samples and its noise.

    Raises: ConfigError for an unknown name, or a tree search in a family without a checker.
    """
    if name == "everything":
        return label_everything(family)
    if name == "vote":
        return label_by_sample_vote(family, params, seed)
    if name == "best_of_n":
        return label_best_of_n(family, params, seed)
    if name == "samples":
        return label_samples(family, params, seed)
    if name == "bits":
        return keep_by_bits(label_samples(family, params, seed), params.bits_share)
    if name == "noise":
        return with_noise(label_samples(family, params, seed), family, params.noise_share, seed)
    if name == "beam":
        return label_beam(family, params)
    if name == "tree":
        return label_tree(family, params)
    raise ConfigError(f"There is no labeller {name!r}.", fix=f"Choose among {', '.join(SEARCH_LABELS)}.")


def label_samples(family: TaskFamily, params: SearchParams, seed: int) -> Labeller:
    """Accepts the different right answers among samples, in the order in which they were drawn."""

    def label(answer: Answer, problems: Sequence[Problem], difficulty: int) -> list[PseudoLabel]:
        drawn = _searcher(answer).sample(
            problems, difficulty, params.samples, temperature=params.temperature, seed=seed
        )
        return _accepted(family, problems, drawn, params.per_problem)

    return label


def label_beam(family: TaskFamily, params: SearchParams) -> Labeller:
    """Accepts the right answers that a beam search ends with."""

    def label(answer: Answer, problems: Sequence[Problem], difficulty: int) -> list[PseudoLabel]:
        found = _searcher(answer).beam(problems, difficulty, params.n_beams)
        return _accepted(family, problems, found, params.per_problem)

    return label


@runtime_checkable
class SearchableFamily(TaskFamily, Searchable, Protocol):
    """Problems whose partial answers can be checked."""


def check_searchable(family: TaskFamily) -> SearchableFamily:
    """Returns the family. Raises: ConfigError if it has no checker of partial answers, which a tree search asks."""
    if not isinstance(family, SearchableFamily):
        raise ConfigError(
            f"The family {family.name} cannot check partial answers, which a tree search needs.",
            fix="Take `--label-with samples` or `beam`, the task `countdown_postfix`, or give your family a method "
            "`checker(problem)`.",
        )
    return family


def label_tree(family: TaskFamily, params: SearchParams) -> Labeller:
    """Accepts what a tree search with the family's checker finds.

    Raises: ConfigError if the family has no checker.
    """
    family = check_searchable(family)

    def label(answer: Answer, problems: Sequence[Problem], difficulty: int) -> list[PseudoLabel]:
        checkers = [family.checker(problem) for problem in problems]
        found = _searcher(answer).tree(
            problems,
            difficulty,
            checkers,
            budget=params.tree_tokens,
            max_solutions=params.per_problem,
            width=params.tree_width,
        )
        return [labelled(p, rollout) for p, rollouts in zip(problems, found, strict=True) for rollout in rollouts]

    return label


def label_by_sample_vote(source: ProblemSource, params: SearchParams, seed: int) -> Labeller:
    """Accepts the commonest answer of the samples where it has the share of votes; no checker is asked."""

    def label(answer: Answer, problems: Sequence[Problem], difficulty: int) -> list[PseudoLabel]:
        drawn = _searcher(answer).sample(
            problems, difficulty, params.samples, temperature=params.temperature, seed=seed
        )
        found: list[PseudoLabel] = []
        for problem, rollouts in zip(problems, drawn, strict=True):
            votes = Counter(text for rollout in rollouts if (text := parsed(source, rollout)) is not None)
            if not votes:
                continue
            winner, count = votes.most_common(1)[0]
            if count >= params.min_agreement * len(rollouts):
                first = next(rollout for rollout in rollouts if parsed(source, rollout) == winner)
                found.append(labelled(problem, replace(first, reward=count / len(rollouts))))
        return found

    return label


def label_best_of_n(
    source: ProblemSource,
    params: SearchParams,
    seed: int,
    score: Callable[[Problem, Rollout], float] | None = None,
) -> Labeller:
    """Accepts the sample with the highest score, by default its log-probability; ties go to the one drawn first."""

    def label(answer: Answer, problems: Sequence[Problem], difficulty: int) -> list[PseudoLabel]:
        drawn = _searcher(answer).sample(
            problems, difficulty, params.samples, temperature=params.temperature, seed=seed
        )
        found: list[PseudoLabel] = []
        for problem, rollouts in zip(problems, drawn, strict=True):
            answered = [rollout for rollout in rollouts if parsed(source, rollout) is not None]
            if answered:
                scores = [sum(r.logprobs) if score is None else score(problem, r) for r in answered]
                best = max(range(len(answered)), key=scores.__getitem__)
                found.append(labelled(problem, replace(answered[best], reward=scores[best])))
        return found

    return label


def keep_by_bits(label_all: Labeller, share: float) -> Labeller:
    """Keeps that share of the accepted answers: those with the most bits under the model that gave them.

    At least one is kept where any was accepted; order and ties are those of the labeller.
    """

    def label(answer: Answer, problems: Sequence[Problem], difficulty: int) -> list[PseudoLabel]:
        labels = label_all(answer, problems, difficulty)
        bits = _searcher(answer).bits([(one.problem, one.rollout) for one in labels], difficulty)
        best = sorted(range(len(labels)), key=lambda index: -bits[index])[: math.ceil(share * len(labels))]
        return [labels[index] for index in sorted(best)]

    return label


def with_noise(label_all: Labeller, family: TaskFamily, share: float, seed: int) -> Labeller:
    """Spoils that share of the accepted answers: one token becomes another that occurs in accepted answers.

    Which ones, and how, follows from the seed and the problem. A spoiled answer is wrong: one that the family still
    accepts is spoiled again.
    """

    def label(answer: Answer, problems: Sequence[Problem], difficulty: int) -> list[PseudoLabel]:
        labels = label_all(answer, problems, difficulty)
        end = end_token(family.tokenizer)
        alphabet = sorted({token for one in labels for token in one.rollout.tokens} - {end})
        number: Counter[str] = Counter()
        found: list[PseudoLabel] = []
        for one in labels:
            rng = np.random.default_rng([seed, sample_seed(seed, one.problem.id, -1 - number[one.problem.id])])
            number[one.problem.id] += 1
            found.append(_spoiled(one, family, alphabet, rng) if rng.random() < share else one)
        return found

    return label


def _spoiled(one: PseudoLabel, family: TaskFamily, alphabet: Sequence[int], rng: np.random.Generator) -> PseudoLabel:
    tokens = one.rollout.tokens
    places = [index for index, token in enumerate(tokens) if token in alphabet]
    for _ in range(MAX_SPOILINGS if places and len(alphabet) > 1 else 0):
        place = int(rng.choice(places))
        other = int(rng.choice([token for token in alphabet if token != tokens[place]]))
        changed = (*tokens[:place], other, *tokens[place + 1 :])
        text = family.tokenizer.decode(changed[:-1])
        answer = family.parse(text)
        if answer is not None and not family.verify(one.problem, answer):
            rollout = replace(one.rollout, text=text, tokens=changed, logprobs=(), reward=None)
            return PseudoLabel(problem=one.problem, rollout=rollout)
    return one


def _accepted(
    family: TaskFamily, problems: Sequence[Problem], drawn: Sequence[Sequence[Rollout]], most: int
) -> list[PseudoLabel]:
    """Returns the different right answers of each problem, at most so many."""
    pairs = [(problem, rollout) for problem, rollouts in zip(problems, drawn, strict=True) for rollout in rollouts]
    kept: dict[str, set[str]] = {}
    found: list[PseudoLabel] = []
    for (problem, rollout), right in zip(pairs, which_right(family, pairs), strict=True):
        seen = kept.setdefault(problem.id, set())
        if right and len(seen) < most and rollout.text not in seen:
            seen.add(rollout.text)
            found.append(labelled(problem, replace(rollout, reward=1.0)))
    return found


def _searcher(answer: Answer) -> Answerer:
    if not isinstance(answer, Answerer):
        raise ConfigError(
            "This labeller asks for several answers, and was given a function that returns one.",
            fix="Give it an `Answerer`.",
        )
    return answer
