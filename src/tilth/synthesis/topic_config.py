"""How documents are grouped by topic; light, so that planning loads no scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass

from tilth.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TopicConfig:
    """How documents are grouped."""

    topics: int | None = None
    """Number of groups; None: the square root of half the number of documents, 2 to 500."""
    sample_documents: int = 20_000
    """Documents that the groups are found on."""
    dimensions: int = 64
    """Of the latent semantic analysis."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("topics", 2), ("sample_documents", 2), ("dimensions", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"`{name}` is {value}.", fix=f"Give {least} or more.")
