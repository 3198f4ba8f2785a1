"""What a curation run is told: languages, limits, thresholds, the split.

Stands apart from the operators so that planning a run and `--help` load neither pyarrow nor a parser. Few knobs: the
thresholds of the published rule sets (Gopher, StarCoder) are constants beside the rules, because a run that changes
them no longer runs those rules; only what people really set is a field.
"""

from __future__ import annotations

from dataclasses import dataclass

from tilth.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CurationConfig:
    """Turn raw files into clean, deduplicated documents."""

    languages: tuple[str, ...] | None = ("en",)
    """ISO 639-1 codes of the languages to keep; empty keeps all. Source code is exempt."""
    max_document_bytes: int = 10_000_000
    """Longest document, web page or JSON line; longer ones are dropped before they fill the memory."""
    min_words: int = 50
    """Fewest words of a prose document (Gopher: 50)."""
    max_words: int = 100_000
    """Most words of a prose document (Gopher: 100,000)."""
    near_duplicate_threshold: float | None = 0.8
    """Jaccard similarity of word shingles from which the later document is dropped; None: exact copies only."""
    shingle_words: int = 5
    """Words in a shingle."""
    num_permutations: int = 128
    """Hash functions of a MinHash signature: more find more of the pairs near the threshold, and cost time."""
    held_out_fraction: float = 0.02
    """Share of the files (of the documents, in a corpus of few files) that is kept from training."""
    shard_bytes: int = 64 << 20
    """Most bytes of text in a shard, and of input files in a unit of work (a larger file is a unit of its own)."""
    seed: int = 0
    """Chooses the hash functions and the held-out files."""

    def __post_init__(self) -> None:
        for name, least in (
            ("max_document_bytes", 1),
            ("min_words", 0),
            ("max_words", max(self.min_words, 1)),
            ("shingle_words", 1),
            ("num_permutations", 1),
            ("shard_bytes", 1),
            ("seed", 0),
        ):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"`{name}` is {getattr(self, name)}.", fix=f"Set it to a number that is at least {least}."
                )
        threshold = self.near_duplicate_threshold
        if threshold is not None and not 0 < threshold <= 1:
            raise ConfigError(
                f"`near_duplicate_threshold` is {threshold}.",
                fix="Set a similarity above 0 and at most 1, or None for exact copies only.",
            )
        if not 0 <= self.held_out_fraction < 1:
            raise ConfigError(
                f"`held_out_fraction` is {self.held_out_fraction}.",
                fix="Set a share from 0 to below 1, such as 0.02.",
            )
        for code in self.languages or ():
            if not (2 <= len(code) <= 3 and code.isalpha() and code.islower()):
                raise ConfigError(f"`languages` holds {code!r}.", fix="Give ISO 639-1 codes such as `en` or `de`.")
