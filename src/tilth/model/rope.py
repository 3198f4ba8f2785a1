"""Rotary position embedding in the half-rotation convention (GPT-NeoX, Hugging Face Llama).

Dimension i is paired with i + head_dim/2. Original Llama checkpoints pair neighbours instead; ours and
Hugging Face's don't, so weights need no permutation on the way in or out. Angles are computed in float32
whatever the model's type.
Source: Su et al. 2021 (RoFormer), eq. 34.
"""

from __future__ import annotations

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
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin
