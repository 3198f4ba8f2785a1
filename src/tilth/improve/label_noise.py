"""Wrong pseudo-labels on purpose, of the form of right ones: what the filter is worth is seen against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tilth.improve.pseudo_labels import PseudoLabel


def corrupted(labels: Sequence[PseudoLabel], share: float, rng: np.random.Generator) -> list[PseudoLabel]:
    """Gives a share of the labels, drawn by chance, the answer of another label of their list that differs from theirs.

    Where all answers are equal, nothing is there to exchange.
    """
    found = list(labels)
    for index in sorted(rng.permutation(len(labels))[: round(share * len(labels))].tolist()):
        own = labels[index]
        others = [label.rollout for label in labels if label.rollout.text != own.rollout.text]
        if others:
            donor = others[int(rng.integers(len(others)))]
            # No model wrote this answer to this problem: it has no log-probabilities.
            rollout = replace(donor, problem_id=own.problem.id, logprobs=(), reward=own.rollout.reward)
            found[index] = replace(own, rollout=rollout)
    return found
