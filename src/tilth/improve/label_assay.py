"""What a round's pseudo-labels are worth to the model that made them, before it is trained on them.

A label that the model was sure of tells it nothing: -log2 p of its accepted answers is what it still can learn from
them. Where that goes to 0, the round is exhausted, however many labels there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tilth.improve.problem_pool import collate
from tilth.improve.pseudo_labels import PseudoLabel
from tilth.improve.text_rows import Example
from tilth.model import Transformer

SCORED = 256
"""Pseudo-labels in one forward pass."""


@dataclass(frozen=True, kw_only=True)
class LabelAssay:
    """Means over a round's pseudo-labels; nan without any."""

    bits_per_label: float = math.nan
    bits_per_token: float = math.nan
    distinct: float = math.nan
    """Different answers, as a share of the labels."""


def assay_labels(
    model: Transformer, labels: Sequence[PseudoLabel], examples: Sequence[Example], *, padding: int
) -> LabelAssay:
    """Scores pseudo-labels, which `examples` holds as tokens, under the model. Cost: a forward pass over them."""
    if not labels:
        return LabelAssay()
    bits = label_bits(model, examples, padding=padding)
    return LabelAssay(
        bits_per_label=sum(bits) / len(bits),
        bits_per_token=sum(bits) / sum(len(answer) for _, answer in examples),
        distinct=len({label.rollout.text for label in labels}) / len(labels),
    )


@torch.inference_mode()
def label_bits(model: Transformer, examples: Sequence[Example], *, padding: int) -> list[float]:
    """Returns -log2 p(answer | prompt) of each example, the answer's end included."""
    # By length, so that little is padded; a causal model does not see the padding behind.
    order = sorted(range(len(examples)), key=lambda index: len(examples[index][0]) + len(examples[index][1]))
    found: dict[int, float] = {}
    for start in range(0, len(order), SCORED):
        chosen = order[start : start + SCORED]
        batch = collate([examples[index] for index in chosen], padding=padding).to(model.device)
        nats = model.token_losses(batch.inputs, batch.targets).cpu().double().sum(dim=1)
        found |= dict(zip(chosen, (nats / math.log(2)).tolist(), strict=True))
    return [found[index] for index in range(len(examples))]
