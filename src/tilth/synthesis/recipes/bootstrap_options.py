"""Options of the recipe `bootstrap`; light, so that `--help` loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tilth.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """Train a model of your own on how your documents relate, and have it write new ones."""

    FOLDERS: ClassVar[tuple[str, ...]] = ("model",)
    """Options that name folders: what is in them is part of a step's identity."""

    model: str = ""
    """Folder of the pretrained model that is trained further (it stays as it is)."""
    features: Literal["tf-idf", "model"] = "tf-idf"
    """What documents are compared by: their words, or the model's own states."""
    threshold: float = 0.5
    """Lowest cosine similarity of a pair."""
    max_overlap: float = 0.5
    """Share of common 3-word sequences (Jaccard) from which a pair is too alike to learn from."""
    neighbours: int = 4
    """Most pairs that begin with one document."""
    max_documents: int = 50_000
    """Documents that are compared, the first by a hash of their ids; the time grows with the square."""
    epochs: float = 2.0
    """Passes over the pairs."""
    batch_pairs: int = 16
    """Pairs of a training step."""
    learning_rate: float = 1e-3
    """Peak learning rate (AdamW)."""
    max_repeated: float = 0.5
    """Share of 4-word sequences that a text may have had before in itself; more is dropped as `repetition`."""
    training_seed: int = 0
    """Orders the pairs, and chooses the documents where there are too many."""

    def __post_init__(self) -> None:
        for name in ("neighbours", "batch_pairs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"`{name}` is {getattr(self, name)}.", fix="Give 1 or more.")
        if self.max_documents < 2:
            raise ConfigError(f"`max_documents` is {self.max_documents}.", fix="Give 2 or more.")
        for name in ("threshold", "max_overlap", "max_repeated"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"`{name}` is {getattr(self, name)}.", fix="Give a share from 0 to 1.")
        for name in ("epochs", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"`{name}` is {getattr(self, name)}.", fix="Give a positive number.")
        if self.features not in ("tf-idf", "model"):
            raise ConfigError(f"`features` is {self.features!r}.", fix="Give tf-idf or model.")
