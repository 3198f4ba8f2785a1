"""Training: one loop for everything that takes gradient steps, and pretraining on text."""

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.training.batch import Batch
    from tilth.training.checkpoint import load_checkpoint, save_checkpoint
    from tilth.training.config import TrainConfig
    from tilth.training.held_out import TextLoss, held_out_excerpt, text_loss
    from tilth.training.metrics import read_metrics
    from tilth.training.optim import Muon, adamw, make_optimizers, muon
    from tilth.training.pretraining import TrainResult, first_model, initial_model, train
    from tilth.training.result import EvalPoint, Metrics, TrainingSummary, TrainPoint
    from tilth.training.schedule import Schedule
    from tilth.training.stream import TokenStream
    from tilth.training.trainer import Trainer, next_token_loss

__all__ = [
    "Batch",
    "EvalPoint",
    "Metrics",
    "Muon",
    "Schedule",
    "TextLoss",
    "TokenStream",
    "TrainConfig",
    "TrainPoint",
    "TrainResult",
    "Trainer",
    "TrainingSummary",
    "adamw",
    "first_model",
    "held_out_excerpt",
    "initial_model",
    "load_checkpoint",
    "make_optimizers",
    "muon",
    "next_token_loss",
    "read_metrics",
    "save_checkpoint",
    "text_loss",
    "train",
]

__getattr__ = attach(
    __name__,
    {
        "Batch": "tilth.training.batch",
        "EvalPoint": "tilth.training.result",
        "Metrics": "tilth.training.result",
        "Muon": "tilth.training.optim",
        "Schedule": "tilth.training.schedule",
        "TextLoss": "tilth.training.held_out",
        "TokenStream": "tilth.training.stream",
        "TrainConfig": "tilth.training.config",
        "TrainPoint": "tilth.training.result",
        "TrainResult": "tilth.training.pretraining",
        "Trainer": "tilth.training.trainer",
        "TrainingSummary": "tilth.training.result",
        "adamw": "tilth.training.optim",
        "held_out_excerpt": "tilth.training.held_out",
        "first_model": "tilth.training.pretraining",
        "initial_model": "tilth.training.pretraining",
        "load_checkpoint": "tilth.training.checkpoint",
        "make_optimizers": "tilth.training.optim",
        "muon": "tilth.training.optim",
        "next_token_loss": "tilth.training.trainer",
        "read_metrics": "tilth.training.metrics",
        "save_checkpoint": "tilth.training.checkpoint",
        "text_loss": "tilth.training.held_out",
        "train": "tilth.training.pretraining",
    },
)
