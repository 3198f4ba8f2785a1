"""How a model is trained; budgets are in tokens, so that they mean the same at any batch size.

It imports nothing heavy. How much memory a step may take and how often it is measured or saved are facts of the
machine, and in `execute.Context`. The context length is the model's own; only the first half of a training may have
shorter rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from tilth.errors import ConfigError

if TYPE_CHECKING:
    from tilth.model.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Pretrain a model."""

    tokens: int = 3_000_000
    """Training budget in tokens; documents are repeated in a new order once all have been seen."""
    max_epochs: float = 16.0
    """Most passes over the text: a larger budget is cut to that."""
    global_batch_tokens: int = 1024
    """Tokens of one optimizer step, rounded down to whole rows of the context length."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """What moves the matrices inside the blocks; AdamW moves all the rest in either case."""
    learning_rate: float = 0.02
    """Peak learning rate of AdamW."""
    muon_learning_rate: float = 0.02
    """Peak learning rate of Muon."""
    schedule: Literal["wsd", "cosine"] = "wsd"
    """Learning rate after the warm-up: flat, then a linear decay to 0 (wsd), or half a cosine to 0."""
    warmup_tokens: int = 20_000
    """Tokens over which the learning rate rises from 0."""
    decay_fraction: float = 0.9
    """Share of the budget over which wsd decays; a short budget wants most of it, a long one 0.2 to 0.4."""
    weight_decay: float = 0.1
    """Decoupled weight decay of matrices (times the learning rate); norm weights are not decayed."""
    beta1: float = 0.8
    """AdamW's decay of the mean gradient."""
    beta2: float = 0.99
    """AdamW's decay of the mean squared gradient."""
    gradient_clip: float = 1.0
    """Largest norm of the whole gradient."""
    short_rows: int | None = None
    """Length of rows in the first half of training (less time), a divisor of the model's context; None: the context."""
    initial_embeddings: Literal["random", "bigrams"] = "bigrams"
    """Start of a new model's embeddings and output matrix: random, or counts of token pairs; tied ones are random."""
    seed: int = 0
    """Fixes the first weights and the order of documents."""
    eval_bytes: int = 50_000
    """Bytes of held-out text that are measured while training."""
    held_out_points: int = 12
    """Measurements on held-out text, evenly over the budget, besides the one at the start."""
    patience: int | None = 3
    """Measurements after the first pass without a new best at which training stops early; None: it never does."""

    def __post_init__(self) -> None:
        for name in ("tokens", "global_batch_tokens", "eval_bytes", "held_out_points"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give 1 or more.")
        if self.patience is not None and self.patience < 1:
            raise ConfigError(f"patience is {self.patience}.", fix="Give 1 or more, or None for no early stop.")
        for name in ("learning_rate", "muon_learning_rate", "gradient_clip", "max_epochs"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give a positive number.")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give a number from 0 up to below 1.")
        if self.optimizer not in ("muon", "adamw"):
            raise ConfigError(f"There is no optimizer {self.optimizer!r}.", fix="Choose muon or adamw.")
        if self.short_rows is not None and self.short_rows < 1:
            raise ConfigError(f"short_rows is {self.short_rows}.", fix="Give at least 1, or none.")
        if self.initial_embeddings not in ("random", "bigrams"):
            raise ConfigError(f"initial_embeddings is {self.initial_embeddings!r}.", fix="Choose random or bigrams.")
        if self.schedule not in ("wsd", "cosine"):
            raise ConfigError(f"There is no schedule {self.schedule!r}.", fix="Choose wsd or cosine.")
        if not 0 <= self.decay_fraction <= 1:
            raise ConfigError(f"decay_fraction is {self.decay_fraction}.", fix="Give a share between 0 and 1.")
        if self.warmup_tokens < 0 or self.weight_decay < 0 or self.seed < 0:
            raise ConfigError("warmup_tokens, weight_decay and seed cannot be negative.", fix="Give 0 or more.")


def training_flops(model: ModelConfig, tokens: float, *, short_rows: int | None, short_tokens: float) -> float:
    """Returns the FLOPs of training on `tokens`, of which the first `short_tokens` came in rows of `short_rows`.

    Source: as `ModelConfig.flops_per_token`; attention reaches over a row.
    """
    short = replace(model, context_length=short_rows) if short_rows else model
    first = min(tokens, short_tokens)
    return first * short.flops_per_token + (tokens - first) * model.flops_per_token
