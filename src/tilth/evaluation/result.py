"""The result of an evaluation: `baselines.json`."""

from __future__ import annotations

from dataclasses import dataclass, field

BASELINES = "baselines.json"


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """Bits per byte of several predictors on the same held-out text."""

    held_out_bytes: int
    """Bytes of UTF-8 that were measured."""
    held_out_documents: int
    bits_per_byte: dict[str, float]
    notes: dict[str, str] = field(default_factory=dict[str, str])
    """For each predictor, what it is and what it has seen."""
    curve_bits_per_byte: dict[str, float] = field(default_factory=dict[str, float])
    """Simple predictors on the beginning of that text, which is measured while training: for beside its curve."""
