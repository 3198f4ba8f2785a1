"""Keys and values of the tokens seen so far, preallocated for a batch whose prompts differ in length.

Shorter prompts are padded on the left, so that all rows write the same slot at each step and a step is one
batched forward. A trade-off is the padding: a batch should hold prompts of similar length.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tilth.model.config import ModelConfig


class KVCache:
    """Room for `capacity` tokens in each of `batch` rows."""

    def __init__(
        self,
        config: ModelConfig,
        batch: int,
        capacity: int,
        *,
        padding: Tensor | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        shape = (config.n_layers, batch, config.kv_heads, capacity, config.head_width)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        """`(n_layers, batch, n_kv_heads, capacity, head_dim)`"""
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.padding = padding
        """`(batch,)`: empty slots on the left of each row; None where there are none."""
        self.length = 0
        """Slots written so far."""

    def write(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Appends `(batch, n_kv_heads, seq, head_dim)` and returns everything of that layer, the new part
        included."""
        end = self.length + k.shape[2]
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def longest(self) -> int:
        """Returns how many tokens the longest row holds."""
        return self.length if self.padding is None else self.length - int(self.padding.min())

    def positions(self, seq: int) -> Tensor:
        """Returns the positions of the next `seq` tokens: `(seq,)`, or `(batch, seq)` under padding."""
        slots = torch.arange(self.length, self.length + seq, device=self.keys.device)
        return slots if self.padding is None else (slots - self.padding[:, None]).clamp(min=0)

    def mask(self, seq: int) -> Tensor | None:
        """Returns what the next `seq` tokens may look at, `(batch or 1, 1, seq, length + seq)`; None:
        everything.

        A padded slot looks at itself, because a row of the softmax must not be empty; nobody looks at it.
        """
        if self.padding is None and seq == 1:
            return None
        slots = torch.arange(self.length, self.length + seq, device=self.keys.device)
        keys = torch.arange(self.length + seq, device=self.keys.device)
        causal = (keys <= slots[:, None])[None, None]
        if self.padding is None:
            return causal
        real = (keys >= self.padding[:, None])[:, None, None]
        return causal & (real | (keys == slots[:, None])[None, None])

    def keep_rows(self, rows: Tensor) -> None:
        """Drops all rows but these, `(kept,)`: sequences that have ended need no more work."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        if self.padding is not None:
            self.padding = self.padding[rows]
