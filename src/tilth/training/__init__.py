"""Training: documents to batches on the fly, the loop, and what it measures."""

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.training.config import TrainConfig
    from tilth.training.loop import TrainResult, initial_model, train
    from tilth.training.metrics import TextCost, held_out_excerpt, measure_text_cost
    from tilth.training.stream import TokenStream

__all__ = [
    "TextCost",
    "TokenStream",
    "TrainConfig",
    "TrainResult",
    "held_out_excerpt",
    "initial_model",
    "measure_text_cost",
    "train",
]

__getattr__ = attach(
    __name__,
    {
        "TextCost": "tilth.training.metrics",
        "TokenStream": "tilth.training.stream",
        "TrainConfig": "tilth.training.config",
        "TrainResult": "tilth.training.loop",
        "held_out_excerpt": "tilth.training.metrics",
        "initial_model": "tilth.training.loop",
        "measure_text_cost": "tilth.training.metrics",
        "train": "tilth.training.loop",
    },
)
