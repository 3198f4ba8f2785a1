"""Settings of the experiments on collapse and on curricula; light, so that planning a run does not load torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from tilth.errors import ConfigError
from tilth.model.config import ModelConfig

CollapseArm = Literal[
    "replace", "double", "verified", "likely", "real_10", "accumulate_subsample", "accumulate", "real"
]
COLLAPSE_ARMS: tuple[CollapseArm, ...] = get_args(CollapseArm)
"""What each generation after the first is trained on, in the order in which arms are shown.

replace: the last generation's samples, as many tokens as the original text. double: twice as many, all of them.
verified: twice as many, of which the half is kept that a verifier, a model of other real text, finds likeliest beside
the model that wrote it. likely: the same, by the verifier alone. real_10: replace, with a tenth of real text.
accumulate: the original text and the samples of all generations. accumulate_subsample: as many tokens as the original
text, drawn from that. real: the original text again.
"""
CurriculumArm = Literal["no_replay", "replay_10", "replay_30", "one_phase", "first_only"]
CURRICULUM_ARMS: tuple[CurriculumArm, ...] = get_args(CurriculumArm)
"""no_replay, replay_10, replay_30: first the broad text, then the narrow one with that percentage of the broad text
again. one_phase: the same tokens of both, mixed from the start. first_only: the second phase is more broad text."""
REPLAY: dict[CurriculumArm, float] = {"no_replay": 0.0, "replay_10": 0.1, "replay_30": 0.3}
"""Share of the second phase's tokens that is text of the first phase."""


@dataclass(frozen=True, kw_only=True)
class CollapseConfig:
    """Train model after model on the samples of the one before, with eight ways to make the training set."""

    generations: int = 5
    """Generations after the first, which is trained on real text."""
    set_tokens: int = 60_000
    """Tokens of the original text, and of each generation's synthetic set."""
    train_tokens: int = 120_000
    """Tokens that each model is trained on, whatever the size of its training set."""
    verifier_sets: float = 3.0
    """Text that the verifier is trained on, as a multiple of `set_tokens`; no generation sees any of it."""
    passage_bytes: int = 128
    """Most bytes of a passage: real documents are cut into passages of whole lines, each a document of its own."""
    held_out_bytes: int = 60_000
    """Held-out real text that every model is measured on."""
    prompt_tokens: int = 0
    """Tokens of a real passage that a sample begins with; 0: samples begin at the document separator."""
    temperature: float = 1.0
    """Sampling temperature."""
    d_model: int = 64
    """Width of the model."""
    n_layers: int = 2
    """Its blocks."""
    n_heads: int = 2
    """Its attention heads."""
    context_length: int = 64
    """Most tokens that it attends to, and most tokens of a sample."""
    global_batch_tokens: int = 1024
    """Tokens of one optimizer step."""
    learning_rate: float = 0.02
    """Peak learning rate of AdamW."""
    muon_learning_rate: float = 0.02
    """Peak learning rate of Muon."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the real text that is drawn, of the first weights and of the samples."""

    def __post_init__(self) -> None:
        _check_positive(self, "generations set_tokens train_tokens passage_bytes held_out_bytes global_batch_tokens")
        _check_positive(self, "learning_rate muon_learning_rate verifier_sets temperature")
        _check_seeds(self.seeds)
        self.model(1)
        if not 0 <= self.prompt_tokens < self.context_length - 1:
            raise ConfigError(
                f"prompt_tokens is {self.prompt_tokens}.",
                fix=f"Give 0 or more, and less than the context of {self.context_length} tokens less one.",
            )

    @classmethod
    def from_effort(cls, effort: float = 1.0, *, seeds: tuple[int, ...] = (0, 1, 2)) -> CollapseConfig:
        """Scales text and training by one dial: 1 takes minutes on two cores, .01 seconds."""
        default = cls(seeds=seeds)
        return replace(
            default,
            set_tokens=_scaled(default.set_tokens, effort),
            train_tokens=_scaled(default.train_tokens, effort),
            held_out_bytes=_scaled(default.held_out_bytes, effort),
        )

    def model(self, vocab_size: int) -> ModelConfig:
        """The shape of every generation, and of the verifier."""
        return _shape(self, vocab_size)


@dataclass(frozen=True, kw_only=True)
class CurriculumConfig:
    """Train on broad text and then on narrow text, with replay against forgetting, or on both at once."""

    first_tokens: int = 500_000
    """Tokens of the first phase."""
    second_tokens: int = 250_000
    """Tokens of the second phase."""
    split: Literal["kind", "source"] = "kind"
    """What tells the two texts apart: `kind` (code is the first, prose the second), or the corpus that a document is
    of (`first`, `second`)."""
    passage_bytes: int = 1000
    """Most bytes of a passage: documents are cut into passages of whole lines, each a document of its own."""
    held_out_bytes: int = 60_000
    """Held-out text of each of the two that is measured."""
    points: int = 4
    """Measurements in a phase."""
    d_model: int = 64
    """Width of the model."""
    n_layers: int = 2
    """Its blocks."""
    n_heads: int = 2
    """Its attention heads."""
    context_length: int = 128
    """Most tokens that it attends to."""
    global_batch_tokens: int = 2048
    """Tokens of one optimizer step."""
    learning_rate: float = 0.02
    """Peak learning rate of AdamW: flat over the first phase, falling to 0 over the second."""
    muon_learning_rate: float = 0.02
    """The same of Muon."""
    warmup_fraction: float = 0.05
    """Share of a phase in which the learning rate rises: both phases start with a new optimizer."""
    decay_fraction: float = 0.9
    """Share of the second phase in which the learning rate falls."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the text that is drawn, of the first weights and of the order of the text."""

    def __post_init__(self) -> None:
        _check_positive(self, "first_tokens second_tokens passage_bytes held_out_bytes points global_batch_tokens")
        _check_positive(self, "learning_rate muon_learning_rate")
        _check_seeds(self.seeds)
        self.model(1)
        if self.split not in ("kind", "source"):
            raise ConfigError(f"split is {self.split!r}.", fix="Choose kind or source.")
        for name in ("warmup_fraction", "decay_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give a share between 0 and 1.")

    @classmethod
    def from_effort(
        cls,
        effort: float = 1.0,
        *,
        split: Literal["kind", "source"] = "kind",
        seeds: tuple[int, ...] = (0, 1, 2),
    ) -> CurriculumConfig:
        """Scales text and training by one dial: 1 takes minutes on two cores, .01 seconds."""
        default = cls(split=split, seeds=seeds)
        return replace(
            default,
            first_tokens=_scaled(default.first_tokens, effort),
            second_tokens=_scaled(default.second_tokens, effort),
            held_out_bytes=_scaled(default.held_out_bytes, effort),
        )

    def model(self, vocab_size: int) -> ModelConfig:
        """The shape of the model."""
        return _shape(self, vocab_size)


def _shape(config: CollapseConfig | CurriculumConfig, vocab_size: int) -> ModelConfig:
    if config.global_batch_tokens < config.context_length:
        raise ConfigError(
            f"global_batch_tokens {config.global_batch_tokens} is less than one row of the context, "
            f"{config.context_length} tokens.",
            fix="Raise global_batch_tokens or lower context_length.",
        )
    return ModelConfig(
        vocab_size=vocab_size,
        d_model=config.d_model,
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        context_length=config.context_length,
        tie_embeddings=False,
    )


def _scaled(value: int, effort: float) -> int:
    if not effort > 0:
        raise ConfigError(f"`--effort` is {effort}.", fix="Give a positive number; 1 is the size that is reported.")
    return max(1, round(value * effort))


def _check_positive(config: object, names: str) -> None:
    for name in names.split():
        value = getattr(config, name)
        if not value > 0:
            raise ConfigError(f"{name} is {value}.", fix=f"Give a positive {name}.")


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds is {seeds}.", fix="Give one or more different seeds of 0 or more.")
