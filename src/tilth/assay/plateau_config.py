"""Settings of the plateau experiment; light, so that planning a run does not load torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from tilth.assay.config import ValueConfig
from tilth.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PlateauConfig:
    """A model trained on real text goes on with more of four kinds, at several token counts: new real text, the same
    text again, its own plain samples, and its own verified samples."""

    token_counts: tuple[int, ...] = (25_000, 50_000, 100_000, 200_000)
    """Tokens that the model goes on for, each from the same start; `training.replay` of them is text read before."""
    training: ValueConfig = field(default_factory=lambda: ValueConfig(depths=(2,), before_epochs=4, arm_rate=0.2))
    """The learner: seeds, one depth, the tokens before the arms part, replay, rates, held-out text. Its `arm_tokens` is
    not used."""
    prompt_tokens: int = 8
    """Of text read before, from which a sample continues."""
    temperature: float = 1.0
    """Of sampling."""
    candidates: int = 6
    """Continuations of a verified sample, of which the verifier chooses one, every `block_tokens`."""
    block_tokens: int = 20
    """Tokens after which it chooses."""
    verifier_tokens: int = 1_500_000
    """Real text that the verifier, an n-gram model, is trained on. No arm is trained on it."""
    verifier_order: int = 5
    """Tokens in the verifier's longest n-grams."""
    max_overlap: float = 0.5
    """Share of a sample's 8-grams of tokens that the text read before, or an earlier sample, may hold."""

    def __post_init__(self) -> None:
        if len(self.token_counts) < 3 or list(self.token_counts) != sorted(set(self.token_counts)):
            raise ConfigError(
                f"token_counts is {self.token_counts}.", fix="Give three or more, each larger than the one before."
            )
        if self.token_counts[0] < self.training.batch_tokens:
            raise ConfigError(
                f"token_counts begins with {self.token_counts[0]}, less than a training step.",
                fix=f"Begin with {self.training.batch_tokens} or more.",
            )
        if len(self.training.depths) != 1:
            raise ConfigError(f"training.depths is {self.training.depths}.", fix="Give one depth.")
        if not 1 <= self.prompt_tokens < self.training.context_length:
            raise ConfigError(
                f"prompt_tokens is {self.prompt_tokens}.",
                fix=f"Give 1 to {self.training.context_length - 1}: a sample fills the context.",
            )
        if not 1 <= self.candidates <= 64 or self.block_tokens < 1:
            raise ConfigError(
                f"candidates is {self.candidates} and block_tokens {self.block_tokens}.",
                fix="Give 1 to 64 candidates and blocks of 1 token or more.",
            )
        if not 0 < self.max_overlap <= 1:
            raise ConfigError(f"max_overlap is {self.max_overlap}.", fix="Give a share above 0 and up to 1.")
        if not self.temperature > 0:
            raise ConfigError(f"temperature is {self.temperature}.", fix="Give a positive number.")
        if self.verifier_tokens < 1 or self.verifier_order < 2:
            raise ConfigError(
                f"verifier_tokens is {self.verifier_tokens} and verifier_order {self.verifier_order}.",
                fix="Give 1 token or more and an order of 2 or more.",
            )
