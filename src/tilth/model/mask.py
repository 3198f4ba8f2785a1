"""Attention, and the one mask of rows that hold several documents.

A token attends to its own segment only, and to nothing after itself. The mask is made once for all layers, in the form
that the device is quick with: an additive matrix for scaled_dot_product_attention on a CPU, a block mask for
flex_attention on CUDA, which skips the blocks that are masked in whole. Rotary positions need no restart at a border:
only differences of positions enter attention.
Checked against: tests/parity/model/test_segments.py (each document alone, 1e-5).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

FLEX_HEAD_DIM = 16
"""Narrower heads have no flex kernel."""

EXPLICIT_ROW = 512
"""Longest rows whose attention weights are kept in training on a CPU."""
EXPLICIT_WEIGHTS = 1 << 25
"""Most weights that a layer keeps so: 128 MB of float32."""

Mask = Tensor | BlockMask
"""What positions may attend to; a tensor is boolean or additive, as scaled_dot_product_attention takes it."""


def segment_mask(segments: Tensor, dtype: torch.dtype, head_dim: int) -> Mask:
    """Returns the mask of rows whose documents are numbered by `segments`, `(rows, seq)`, in the device's form."""
    if segments.device.type == "cuda" and head_dim >= FLEX_HEAD_DIM:
        return block_segment_mask(segments)
    return dense_segment_mask(segments, dtype)


def dense_segment_mask(segments: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns the additive mask, `(rows, 1, seq, seq)`: 0 where a query attends to a key, else -inf."""
    seq = segments.shape[1]
    causal = torch.ones(seq, seq, dtype=torch.bool, device=segments.device).tril()
    allowed = (segments[:, :, None] == segments[:, None, :]) & causal
    # Additive: a boolean mask would be turned into this anew in each layer.
    mask = torch.zeros(allowed.shape, dtype=dtype, device=segments.device)
    return mask.masked_fill_(~allowed, -torch.inf)[:, None]


def block_segment_mask(segments: Tensor) -> BlockMask:
    """Returns the same mask for flex_attention."""
    rows, seq = segments.shape
    rule = segment_rule(segments)
    return create_block_mask(rule, rows, None, seq, seq, device=segments.device)


def segment_rule(segments: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Returns the mask as a function of row, head, query and key."""

    def rule(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (segments[row, query] == segments[row, key])

    return rule


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None, *, causal: bool) -> Tensor:
    """Returns attention over `(rows, heads, seq, head_dim)`; key/value heads may be fewer than query heads.

    `causal` is for calls without a mask.
    """
    grouped = q.shape[1] != k.shape[1]
    if _is_short_training(q, k, mask) and not grouped:
        assert not isinstance(mask, BlockMask)
        return cast(Tensor, _ExplicitAttention.apply(q, k, v, _causal_mask(q) if causal else mask))
    if isinstance(mask, BlockMask):
        flex = _compiled_flex() if q.device.type == "cuda" else flex_attention
        return cast(Tensor, flex(q, k, v, block_mask=mask, enable_gqa=grouped))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=grouped)


def _is_short_training(q: Tensor, k: Tensor, mask: Mask | None) -> bool:
    """Whether torch's fused kernel is slower than three products and a softmax: on a CPU, with gradients, it takes two
    to six times as long on rows of 64 to 256 tokens, and saves memory that such rows do not need."""
    additive = mask is None or (isinstance(mask, Tensor) and mask.dtype == q.dtype)
    wants_gradients = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad)
    short = q.shape[2] == k.shape[2] <= EXPLICIT_ROW and q.shape[:3].numel() * k.shape[2] <= EXPLICIT_WEIGHTS
    return q.device.type == "cpu" and wants_gradients and short and additive and not torch.compiler.is_compiling()


def _causal_mask(q: Tensor) -> Tensor:
    return torch.full((q.shape[2], q.shape[2]), -torch.inf, dtype=q.dtype).triu_(1)


class _ExplicitAttention(torch.autograd.Function):
    """Attention that keeps its weights for the backward pass, with an additive mask."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        scores = (q @ k.mT).mul_(q.shape[-1] ** -0.5)
        weights = torch.softmax(scores if mask is None else scores.add_(mask), dim=-1)
        ctx.save_for_backward(q, k, v, weights)
        return weights @ v

    @staticmethod
    @once_differentiable  # what is saved are numbers, through which no second gradient goes
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # pyright: ignore
        q, k, v, weights = ctx.saved_tensors
        grad = grad_outputs[0] @ v.mT
        # Softmax: weights * (grad - sum(weights * grad)).
        scores = torch._softmax_backward_data(grad, weights, -1, grad.dtype)  # pyright: ignore[reportPrivateUsage]
        scores.mul_(q.shape[-1] ** -0.5)
        return scores @ k, scores.mT @ q, weights.mT @ grad_outputs[0], None


@cache
def _compiled_flex() -> Callable[..., Any]:
    """Returns flex_attention as a kernel: uncompiled it would hold the full matrix."""
    return torch.compile(flex_attention)
