"""Which of its own answers a model may learn from: all of them, those it votes for, or those that are right.

The vote needs no answer key: a problem is asked again under relabellings of its symbols, and an answer counts if
enough of the views agree on it. It costs `views` times the generation, and it is blind to mistakes that do not
depend on the symbols: an answer that is always empty wins every vote, so the base model must be past that. The
checker knows the answer, so what it reaches is an upper bound, not something a loop without an answer key can have.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tilth.errors import ConfigError
from tilth.improve.config import Arm, LoopConfig
from tilth.improve.task import END, Ints, Task

Answerer = Callable[[Ints], Ints]
"""Answers `(n, prompt length)` prompts with `(n, any length)` tokens; a row without END is no answer."""
Verifier = Callable[[Answerer, Ints], tuple[Ints, Ints]]
"""Has prompts answered; returns the places of the accepted ones and their answers, a row each."""


def verifier(arm: Arm, task: Task, config: LoopConfig, rng: np.random.Generator) -> Verifier:
    """Returns what decides for an arm.

    Raises: ConfigError for an arm that does not learn from its own answers.
    """
    if arm == "unfiltered":
        return everything
    if arm == "vote":
        return lambda answer, prompts: vote(answer, prompts, task, config.views, config.agree, rng)
    if arm == "checker":
        return lambda answer, prompts: exact(answer, prompts, task)
    raise ConfigError(f"The arm {arm} does not learn from its own answers.", fix="Use unfiltered, vote or checker.")


def everything(answer: Answerer, prompts: Ints) -> tuple[Ints, Ints]:
    """Accepts every answer that comes to an end."""
    answers = answer(prompts)
    accepted = np.flatnonzero((answers == END).any(axis=1))
    return accepted, answers[accepted]


def exact(answer: Answerer, prompts: Ints, task: Task) -> tuple[Ints, Ints]:
    """Accepts the right answers."""
    answers = answer(prompts)
    accepted = np.flatnonzero(is_right(answers, prompts, task))
    return accepted, answers[accepted]


def vote(
    answer: Answerer, prompts: Ints, task: Task, views: int, agree: int, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Accepts an answer that at least `agree` of `views` views give, once each is translated back.

    The first view is the problem as it stands; `agree` must be a majority, so that no two answers can win.
    """
    relabellings = [np.arange(task.vocab_size)] + [task.relabelling(rng) for _ in range(views - 1)]
    asked = answer(np.concatenate([relabelling[prompts] for relabelling in relabellings]))
    ballots = asked.reshape(views, len(prompts), -1)
    ballots = np.stack([np.argsort(r)[ballot] for r, ballot in zip(relabellings, ballots, strict=True)])
    ended = (ballots == END).any(axis=2)
    support = np.stack([((ballots == ballot).all(axis=2) & ended).sum(axis=0) for ballot in ballots])
    winners = support.argmax(axis=0)
    accepted = np.flatnonzero(support.max(axis=0) >= agree)
    return accepted, ballots[winners[accepted], accepted]


def is_right(answers: Ints, prompts: Ints, task: Task) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Returns which answers equal the right one up to and including END, `(n,)`."""
    right = task.answers(prompts)
    if answers.shape[1] < right.shape[1]:
        return np.zeros(len(answers), dtype=np.bool_)
    return (answers[:, : right.shape[1]] == right).all(axis=1)
