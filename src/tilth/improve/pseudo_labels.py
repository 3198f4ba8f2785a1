"""Which of its own answers a model may learn from: all of them, those it votes for, or those that are right.

The vote needs no right answers: a problem is asked again under augmentations, and an answer is kept if enough of them
agree on it. It takes `augmentations` times the generation, and it cannot see mistakes that do not depend on the
augmentation. The exact verifier knows the answer, so what it reaches is an upper bound, not something a loop without
labels can have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tilth.improve.answering import parsed, which_right
from tilth.improve.family import end_token
from tilth.synthesis.verify.task_family import Augmentation, ProblemSource, TaskFamily
from tilth.types import Problem, Rollout

Answer = Callable[[Sequence[Problem], int], list[Rollout]]
"""Answers problems of one difficulty, a rollout each."""
Labeller = Callable[[Answer, Sequence[Problem], int], "list[PseudoLabel]"]
"""Has problems of one difficulty answered; returns the accepted answers, in the order of the problems."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PseudoLabel:
    """A problem with an answer of the model's own that a labeller accepted."""

    problem: Problem
    """Its `answer` is None, whatever the source gave."""
    rollout: Rollout
    """What is trained on: its tokens end with the end of text."""


def label_everything(source: ProblemSource) -> Labeller:
    """Accepts every rollout that ends and gives an answer."""

    def label(answer: Answer, problems: Sequence[Problem], difficulty: int) -> list[PseudoLabel]:
        pairs = zip(problems, answer(problems, difficulty), strict=True)
        return [labelled(problem, rollout) for problem, rollout in pairs if parsed(source, rollout) is not None]

    return label


def label_verified(family: TaskFamily) -> Labeller:
    """Accepts the right answers."""

    def label(answer: Answer, problems: Sequence[Problem], difficulty: int) -> list[PseudoLabel]:
        pairs = list(zip(problems, answer(problems, difficulty), strict=True))
        return [
            labelled(problem, replace(rollout, reward=1.0))
            for (problem, rollout), right in zip(pairs, which_right(family, pairs), strict=True)
            if right
        ]

    return label


def label_by_vote(source: ProblemSource, draw: Callable[[], Sequence[Augmentation]], min_agreement: int) -> Labeller:
    """Accepts an answer that at least `min_agreement` augmentations give, once each is inverted.

    `draw` gives the augmentations anew for each batch of problems. `min_agreement` must be a majority of them, so that
    no two answers can win.
    """

    def label(answer: Answer, problems: Sequence[Problem], difficulty: int) -> list[PseudoLabel]:
        augmentations = draw()
        asked = [replace(p, prompt=augmentation.apply(p.prompt)) for augmentation in augmentations for p in problems]
        rollouts = answer(asked, difficulty)
        found: list[PseudoLabel] = []
        for index, problem in enumerate(problems):
            own = rollouts[index :: len(problems)]
            winner = majority(source, augmentations, own, min_agreement)
            if winner is not None:
                found.append(labelled(problem, _as_rollout(source, problem, *winner, own, augmentations)))
        return found

    return label


def majority(
    source: ProblemSource, augmentations: Sequence[Augmentation], rollouts: Sequence[Rollout], min_agreement: int
) -> tuple[str, int] | None:
    """Returns the answer that at least `min_agreement` rollouts give, one for each augmentation, and its votes."""
    votes = Counter(
        answer for answer in map(_inverted, [source] * len(rollouts), augmentations, rollouts) if answer is not None
    )
    if not votes:
        return None
    answer, count = votes.most_common(1)[0]
    return (answer, count) if count >= min_agreement else None


def _inverted(source: ProblemSource, augmentation: Augmentation, rollout: Rollout) -> str | None:
    answer = parsed(source, rollout)
    return None if answer is None else augmentation.invert(answer)


def _as_rollout(
    source: ProblemSource,
    problem: Problem,
    answer: str,
    votes: int,
    rollouts: Sequence[Rollout],
    augmentations: Sequence[Augmentation],
) -> Rollout:
    """The rollout to the problem itself where it won; else the winning answer alone, written by no model."""
    reward = votes / len(rollouts)
    if _inverted(source, augmentations[0], rollouts[0]) == answer:
        return replace(rollouts[0], reward=reward)
    tokens = (*source.tokenizer.encode_ordinary(answer), end_token(source.tokenizer))
    return Rollout(problem_id=problem.id, text=answer, tokens=tokens, reward=reward)


def labelled(problem: Problem, rollout: Rollout) -> PseudoLabel:
    """Returns an accepted answer without what the source says is right."""
    return PseudoLabel(problem=replace(problem, answer=None), rollout=rollout)
