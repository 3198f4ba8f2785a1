"""Settings of the experiment on a model's own texts; light, so that planning a run does not load torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tilth.assay.config import ValueConfig
from tilth.errors import ConfigError

_VALUE = ValueConfig(depths=(2,), before_tokens=300_000, before_epochs=2, arm_tokens=100_000, held_out_bytes=100_000)
"""Learners read all organic text first: what they have not read, the texts could tell them of."""


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """Have a small model write texts from its own corpus, measure what they are worth, and train on with them."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of weights, pairs, samples and orders; everything but the choice of documents runs once for each."""
    depth: int = 2
    """Layers of the model; the width is 32 times that."""
    context_length: int = 256
    """Most tokens that it attends to."""
    passage_characters: int = 800
    """Documents are cut at ends of lines into passages of about so many characters: small models read no more."""
    organic_bytes: int = 480_000
    """Text of the corpus that the model has; as much again is kept aside as fresh text."""
    base_tokens: int = 600_000
    """Tokens of the organic text that the model is trained on before it writes."""
    arm_tokens: int = 200_000
    """Tokens that every arm trains on afterwards, half of them organic text where it mixes."""
    prompts: int = 600
    """Passages that each kind of text is written from."""
    samples: int = 2
    """Texts of each kind to a passage."""
    temperature: float = 1.0
    """Of all samples."""
    max_copied: float = 0.3
    """Largest share of a text's 8-word sequences that stand in the passage it was written from."""
    max_similar: float = 0.6
    """Jaccard similarity of word shingles to an organic passage, or to a text kept before, from which it is dropped."""
    max_repeated: float = 0.3
    """Share of a text's 4-word sequences that it has had before."""
    min_words: int = 8
    """Fewest words of a text."""
    pair_similarity: float = 0.3
    """Lowest cosine similarity of two passages that make a pair."""
    pair_neighbours: int = 2
    """Most pairs that begin with one passage."""
    pair_epochs: float = 1.0
    """Passes over the pairs."""
    learning_rate: float = 0.01
    """Peak learning rate (of AdamW and of Muon) when an arm continues; the model starts with that of `TrainConfig`."""
    test_bytes: int = 150_000
    """Held-out text that the arms are compared on; the value is measured on other documents."""
    value: ValueConfig = field(default_factory=lambda: _VALUE)
    """How the value of the texts is measured; its seeds are left aside."""

    def __post_init__(self) -> None:
        sizes = ("depth", "passage_characters", "organic_bytes", "base_tokens", "arm_tokens", "test_bytes")
        counts = (*sizes, "prompts", "samples", "pair_neighbours")
        for name in counts:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give 1 or more.")
        if self.context_length < 16:
            raise ConfigError(f"context_length is {self.context_length}.", fix="Give 16 or more.")
        for name in ("max_copied", "max_similar", "max_repeated", "pair_similarity"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give a share between 0 and 1.")
        for name in ("temperature", "pair_epochs", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix=f"Give a positive {name}.")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds is {self.seeds}.", fix="Give one or more different seeds of 0 or more.")

    @classmethod
    def from_effort(cls, effort: float = 1.0, *, seeds: tuple[int, ...] = (0, 1, 2)) -> LanguageConfig:
        """Scales text, training and samples by one dial: 1 takes minutes on two cores, .02 seconds."""
        default = cls(seeds=seeds)

        def scaled(value: int, least: int) -> int:
            return max(least, round(value * effort))

        return replace(
            default,
            organic_bytes=scaled(default.organic_bytes, 20_000),
            base_tokens=scaled(default.base_tokens, 4_000),
            arm_tokens=scaled(default.arm_tokens, 2_000),
            prompts=scaled(default.prompts, 24),
            test_bytes=scaled(default.test_bytes, 5_000),
            value=replace(
                default.value,
                before_tokens=scaled(default.value.before_tokens, 2_000),
                arm_tokens=scaled(default.value.arm_tokens, 2_000),
                batch_tokens=default.value.batch_tokens if effort >= 1 else 1024,
                held_out_bytes=scaled(default.value.held_out_bytes, 5_000),
            ),
        )
