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
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

FLEX_HEAD_DIM = 16
"""Narrower heads have no flex kernel."""

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
    if isinstance(mask, BlockMask):
        flex = _compiled_flex() if q.device.type == "cuda" else flex_attention
        return cast(Tensor, flex(q, k, v, block_mask=mask, enable_gqa=grouped))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=grouped)


@cache
def _compiled_flex() -> Callable[..., Any]:
    """Returns flex_attention as a kernel: uncompiled it would hold the full matrix."""
    return torch.compile(flex_attention)
