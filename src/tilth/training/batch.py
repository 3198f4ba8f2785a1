"""What a training step takes in: rows of tokens, their targets, and how much each target counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, replace
from typing import Self

import torch
from torch import Tensor

from tilth.model.loss import IGNORE_INDEX


@dataclass(frozen=True)
class Batch:
    """Rows of one optimizer step. A subclass may add fields: tensors with one entry a row travel with the rest."""

    inputs: Tensor
    """Ids, `(rows, seq)`."""
    targets: Tensor
    """What follows each input, `(rows, seq)`; IGNORE_INDEX where it does not count."""
    _: KW_ONLY
    weights: Tensor | None = None
    """How much each target counts, `(rows, seq)`, 0 or more; None: all alike."""
    segments: Tensor | None = None
    """Numbers of the documents in a row, `(rows, seq)`; attention stays within one. None: a row is one."""

    @property
    def n_tokens(self) -> int:
        """Inputs, padding included."""
        return self.inputs.numel()

    def to(self, device: torch.device | str) -> Self:
        """Returns the batch on a device."""
        if self.inputs.device == torch.device(device):
            return self
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in self._tensors()}
        return replace(self, **moved)

    def split(self, rows: int) -> list[Self]:
        """Returns the batch in parts of at most `rows` rows."""
        if rows >= len(self.inputs):
            return [self]
        starts = range(0, len(self.inputs), rows)
        return [replace(self, **{name: t[start : start + rows] for name, t in self._tensors()}) for start in starts]

    def normalized(self) -> Self:
        """Returns the batch with weights that sum to 1, so that a weighted sum over all its parts is the mean."""
        counted = self.targets != IGNORE_INDEX
        weights = counted.float() if self.weights is None else torch.where(counted, self.weights, 0.0)
        # A batch without a counted target has a loss of 0, not of NaN.
        return replace(self, weights=weights / weights.sum().clamp(min=1e-30))

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                yield field.name, value
