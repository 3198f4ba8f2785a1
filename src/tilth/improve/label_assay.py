"""What a round's pseudo-labels are worth to the model that made them, before it is trained on them.

A label that the model was sure of tells it nothing: -log2 p of its accepted answers is what it still can learn from
them. Where that goes to 0, the round is exhausted, however many labels there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tilth.improve.answering import answer_bits
from tilth.improve.pseudo_labels import PseudoLabel
from tilth.model import Transformer
from tilth.synthesis.verify.task_family import ProblemSource


@dataclass(frozen=True, kw_only=True)
class LabelAssay:
    """Means over a round's pseudo-labels; nan without any."""

    bits_per_label: float = math.nan
    bits_per_token: float = math.nan
    distinct: float = math.nan
    """Different answers, as a share of the labels."""


def assay_labels(model: Transformer, source: ProblemSource, labels: Sequence[PseudoLabel]) -> LabelAssay:
    """Scores pseudo-labels under the model. Cost: a forward pass over them."""
    if not labels:
        return LabelAssay()
    bits = answer_bits(model, source, [(label.problem, label.rollout) for label in labels])
    return LabelAssay(
        bits_per_label=sum(bits) / len(bits),
        bits_per_token=sum(bits) / sum(len(label.rollout.tokens) for label in labels),
        distinct=len({label.rollout.text for label in labels}) / len(labels),
    )
