"""Cross-entropy of a linear output layer that never keeps all logits.

Logits of a few hundred tokens at a time are turned into their own gradient in place, and the two matrix
products of the backward pass follow at once (the idea of Liger Kernel's fused linear cross-entropy). On a CPU
with a vocabulary of 4,096 it saves most of the time and memory of a small model's loss. The
trade-off: gradients are computed in the forward pass, so the function is for training; without gradients it is
the plain formula, a chunk at a time.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd.function import once_differentiable

IGNORE_INDEX = -100
"""Target of positions that do not count in the loss."""
CHUNK_LOGITS = 1 << 20
"""Logits held at a time: 4 MB of float32, about what a core's cache holds."""


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns the sum over counted targets of their weight times -log softmax(hidden @ weight.T)[target].

    Without weights it is the mean: each of n counted targets weighs 1/n.
    Shapes: hidden `(tokens, d_model)`, weight `(vocab_size, d_model)`, targets and weights `(tokens,)` with
    IGNORE_INDEX where a target does not count; a scalar comes out (0 where nothing counts). Units: nats.
    """
    counted = targets != IGNORE_INDEX
    if weights is None:
        shares = counted / counted.sum().clamp(min=1)
    else:
        shares = torch.where(counted, weights, 0)
    return cast(Tensor, _LinearCrossEntropy.apply(hidden, weight, targets, shares))


def token_losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Returns the cross-entropy of each token in nats, `(tokens,)`, 0 where the target is IGNORE_INDEX; no
    gradients.

    Shapes: as for `linear_cross_entropy`.
    """
    chunks = zip(hidden.split(_rows(weight)), targets.split(_rows(weight)), strict=True)
    losses = [
        F.cross_entropy(F.linear(h, weight).float(), t, ignore_index=IGNORE_INDEX, reduction="none") for h, t in chunks
    ]
    return torch.cat(losses)


def _rows(weight: Tensor) -> int:
    return max(64, CHUNK_LOGITS // weight.shape[0])


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, shares: Tensor) -> Tensor:
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight)
        wide = torch.promote_types(hidden.dtype, torch.float32)
        total = hidden.new_zeros((), dtype=wide)
        for start in range(0, hidden.shape[0], _rows(weight)):
            rows = slice(start, start + _rows(weight))
            share = shares[rows, None].to(wide)
            index = targets[rows, None].clamp(min=0)
            logits = F.linear(hidden[rows], weight).to(wide)
            largest = logits.amax(dim=-1, keepdim=True)
            target_logits = logits.gather(1, index)
            gradient = torch.softmax(logits, dim=-1)
            # The largest probability is 1 / sum(exp(logits - largest)).
            log_sum = largest - gradient.amax(dim=-1, keepdim=True).log_()
            total += ((log_sum - target_logits) * share).sum()
            gradient = gradient.mul_(share).scatter_add_(1, index, -share).to(weight.dtype)
            grad_hidden[rows] = gradient @ weight
            grad_weight.addmm_(gradient.T, hidden[rows])
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    @once_differentiable  # what is saved are numbers, through which no second gradient goes
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None]:  # pyright: ignore
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grad_outputs[0], grad_weight * grad_outputs[0], None, None
