"""Export: models in the formats that other tools run."""

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.export.hf import model_card, to_hf

__all__ = ["model_card", "to_hf"]

__getattr__ = attach(__name__, {"model_card": "tilth.export.hf", "to_hf": "tilth.export.hf"})
