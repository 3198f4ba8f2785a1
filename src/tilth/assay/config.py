"""Settings of an assay; light, so that planning a run does not load torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from tilth.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ValueConfig:
    """How the value of a dataset is measured: learners of a few sizes, trained on each arm's text, for several seeds.

    A learner is first trained on `before_tokens` of the source. Each arm then continues from there on `arm_tokens` of
    its own text: the same number of tokens, steps and schedule for all.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of weights, order and draws; every arm runs once for each."""
    depths: tuple[int, ...] = (1, 3)
    """Sizes of learner: layers; the width is 32 times that. Two, so that a ranking that flips with size shows."""
    vocab_size: int = 1024
    """Of the tokenizer, which is trained on the source where none is given."""
    context_length: int = 128
    """Most tokens that a learner attends to."""
    before_tokens: int = 200_000
    """Tokens of the source that a learner reads before the arms part."""
    before_epochs: int = 4
    """Times that it reads them: new text shows its worth where the source has little left to give."""
    arm_tokens: int = 200_000
    """Tokens that a learner is trained on in each arm."""
    replay: float = 0.5
    """Share of an arm's tokens that is source text read before, the same in all arms: as such data is used, and so that
    an arm is not judged by what its learner forgets."""
    batch_tokens: int = 2048
    """Tokens in a training step."""
    learning_rate: float = 0.02
    """Peak learning rate of AdamW, which moves embeddings and output."""
    muon_learning_rate: float = 0.02
    """Peak learning rate of Muon, which moves all other matrices."""
    arm_rate: float = 0.5
    """Peak learning rates in the arms, as a share of those before."""
    held_out_bytes: int = 200_000
    """Held-out text that is measured on."""
    bootstrap: int = 1000
    """Resamples of seeds and held-out documents for an interval."""

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "context_length", "before_tokens", "before_epochs", "arm_tokens", "batch_tokens")
        for name in (*sizes, "held_out_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give 1 or more.")
        if self.bootstrap < 100:
            raise ConfigError(f"bootstrap is {self.bootstrap}.", fix="Give 100 resamples or more.")
        for name in ("learning_rate", "muon_learning_rate", "arm_rate"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give a positive number.")
        if not 0 <= self.replay < 1:
            raise ConfigError(f"replay is {self.replay}.", fix="Give a share from 0 up to below 1.")
        if self.batch_tokens < self.context_length:
            raise ConfigError(
                f"batch_tokens {self.batch_tokens} is less than one row of {self.context_length} tokens.",
                fix="Raise batch_tokens or lower context_length.",
            )
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds is {self.seeds}.", fix="Give one or more different seeds of 0 or more.")
        if not self.depths or min(self.depths) < 1 or len(set(self.depths)) < len(self.depths):
            raise ConfigError(f"depths is {self.depths}.", fix="Give one or more different depths of 1 or more.")


@dataclass(frozen=True, kw_only=True)
class AssayConfig:
    """What is measured of a dataset, beside the source that it was made from and held-out text."""

    value: bool = False
    """Also measure the value: learners are trained, which takes minutes instead of seconds."""
    max_bytes: int = 4_000_000
    """Most bytes of text that each measure reads: documents in the order of their ids, which is random and stable."""
    sampled_documents: int = 500
    """Documents for the measures that compare all with all (Vendi score, novelty of each document)."""
    near_duplicate_threshold: float = 0.7
    """Share of equal shingles from which two documents are near duplicates."""
    copy_overlap: float = 0.8
    """Share of a document's word n-grams found in its seed document from which it counts as a copy."""
    drift_overlap: float = 0.05
    """Share below which it counts as drift: it says little of what its seed document says."""
    seed: int = 0
    """Seed of what is drawn by chance outside of the value."""
    training: ValueConfig = field(default_factory=ValueConfig)
    """How the value is measured."""

    def __post_init__(self) -> None:
        for name in ("max_bytes", "sampled_documents"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give 1 or more.")
        for name in ("near_duplicate_threshold", "copy_overlap", "drift_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give a share between 0 and 1.")
        if self.drift_overlap >= self.copy_overlap:
            raise ConfigError(
                f"drift_overlap {self.drift_overlap} is not below copy_overlap {self.copy_overlap}.",
                fix="Give a lower drift_overlap.",
            )
