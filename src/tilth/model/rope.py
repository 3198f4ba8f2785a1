"""Rotary position embedding in the half-rotation convention (GPT-NeoX, Hugging Face Llama).

Dimension i is paired with i + head_dim/2. Original Llama checkpoints pair neighbours instead; ours and
Hugging Face's don't, so weights need no permutation on the way in or out. Angles are computed in float32
whatever the model's type.
Source: Su et al. 2021 (RoFormer), eq. 34.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


def rope_tables(context_length: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Returns cosines and sines, each `(context_length, head_dim)` in float32; both halves hold the same
    angles."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    angles = torch.outer(torch.arange(context_length, dtype=torch.float32), 1.0 / theta**exponents)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates heads by their position.

    Shapes: x `(batch, seq, heads, head_dim)`; cos and sin broadcast to it, `(seq, 1, head_dim)` or
    `(batch, seq, 1, head_dim)`.
    """
    return cast(Tensor, _Rotation.apply(x, cos, sin))


class _Rotation(torch.autograd.Function):
    """The gradient of a rotation is the rotation back, which is all that has to be kept of the forward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotated(grad_outputs[0], cos, -sin), None, None


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    first, second, cos, sin = x[..., :half], x[..., half:], cos[..., :half], sin[..., :half]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
