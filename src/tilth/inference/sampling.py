"""From logits to tokens: temperature, top-k, nucleus, and draws that do not depend on the batch.

Each prompt has its own stream of uniform numbers (Philox keyed on seed and the prompt's index), and a token
is chosen by inverting the cumulative distribution: what is drawn for a prompt is the same alone or among a
thousand others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tilth.inference.config import SamplingParams


def stream_key(seed: int, index: int, seeds: Sequence[int] | None) -> tuple[int, int]:
    """Returns the seed and index that decide the numbers of prompt `index`: its own place in the list, unless it has a
    seed of its own, with which it draws what it would draw alone."""
    return (seed, index) if seeds is None else (seeds[index], 0)


def uniforms(seed: int, index: int, n: int) -> Tensor:
    """Returns the `n` first numbers in [0, 1) of the stream of prompt `index`, `(n,)` in float64."""
    return torch.from_numpy(np.random.Generator(np.random.Philox(key=[seed, index])).random(n))


def truncated_probabilities(logits: Tensor, params: SamplingParams) -> Tensor:
    """Returns what is sampled from, `(batch, vocab_size)`: temperature, then top-k, then top-p of what is
    left.

    The order and the treatment of ties (all kept by top-k) are those of Hugging Face's `generate`.
    Source: Holtzman et al. 2020 (nucleus sampling).
    """
    scaled = logits.float() / params.temperature
    if params.top_k is not None and params.top_k < scaled.shape[-1]:
        smallest = scaled.topk(params.top_k).values[:, -1:]
        scaled = scaled.masked_fill(scaled < smallest, -torch.inf)
    probabilities = scaled.softmax(dim=-1)
    if params.top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
        beyond = ordered.cumsum(dim=-1) - ordered >= params.top_p
        probabilities = probabilities.scatter(1, order, ordered.masked_fill(beyond, 0.0))
    return probabilities / probabilities.sum(dim=-1, keepdim=True)


def penalized(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Returns logits in which tokens that were seen are less likely: divided by the penalty, or multiplied if negative.

    Shapes: `(batch, vocab_size)`, seen bool. As Hugging Face's `generate` does. Source: Keskar et al. 2019 (CTRL).
    """
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def draw(
    logits: Tensor,
    params: SamplingParams,
    uniform: Tensor,
    *,
    n_tokens: int | None = None,
    seen: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Picks one token a row, among the first `n_tokens` where they are given.

    Shapes: logits `(batch, vocab_size)`, uniform `(batch,)`, seen `(batch, vocab_size)`: tokens to which the repetition
    penalty applies; returns ids and log-probabilities, both
    `(batch,)`.
    Units: nats under the model itself, that is at temperature 1 and without truncation.
    """
    weighed = logits if seen is None else penalized(logits.float(), seen, params.repetition_penalty)
    allowed = weighed[:, :n_tokens]
    if params.temperature == 0:
        ids = allowed.argmax(dim=-1)
    else:
        cumulative = truncated_probabilities(allowed, params).double().cumsum(dim=-1)
        # Scaled by the last entry, so that rounding can't push a draw past the end.
        ids = torch.searchsorted(cumulative, (uniform * cumulative[:, -1])[:, None], right=True)[:, 0]
        ids = ids.clamp(max=allowed.shape[-1] - 1)
    logprobs = logits.float().log_softmax(dim=-1).gather(1, ids[:, None])[:, 0]
    return ids, logprobs
