"""The results of an evaluation: `baselines.json`, `surprise.json`, `nearest.json`."""

from __future__ import annotations

from dataclasses import dataclass, field

BASELINES = "baselines.json"
SURPRISE = "surprise.json"
NEAREST = "nearest.json"


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """Bits per byte of several predictors on the same held-out text."""

    held_out_bytes: int
    """Bytes of UTF-8 that were measured."""
    held_out_documents: int
    bits_per_byte: dict[str, float]
    notes: dict[str, str] = field(default_factory=dict[str, str])
    """For each predictor, what it is and what it has seen."""
    curve_bits_per_byte: dict[str, float] = field(default_factory=dict[str, float])
    """Simple predictors on the beginning of that text, which is measured while training: for beside its curve."""


# Held-out text, token by token


@dataclass(frozen=True, kw_only=True)
class ScoredToken:
    """One token, or the tokens that one character was cut into."""

    text: str
    model_bits: float
    ngram_bits: float
    tokens: int = 1
    alternatives: dict[str, float] = field(default_factory=dict[str, float])
    """The model's most likely tokens here -> their probabilities; of the first token, where there are several. Bytes
    that are no whole characters are written as `⟨E4 B8⟩`."""


@dataclass(frozen=True, kw_only=True)
class ScoredPassage:
    """A part of a held-out document, token by token."""

    document_id: str
    source: str
    kind: str
    """Language and kind of text, such as `en, prose`."""
    first_token: int
    """Tokens of the document that come before the passage; the model has read them."""
    bytes: int
    tokens: tuple[ScoredToken, ...]


@dataclass(frozen=True, kw_only=True)
class ContextBits:
    """Bits of the tokens that have between `least` and `most` tokens of their document before them."""

    least: int
    most: int
    bytes: int
    model_bits: float
    ngram_bits: float


@dataclass(frozen=True, kw_only=True)
class Surprise:
    """Held-out documents scored token by token by the model and by the n-gram model."""

    order: int
    """Tokens in the n-grams."""
    documents: int
    """Documents that were scored, long ones only up to a limit. The passages are parts of them."""
    bytes: int
    model_bits: float
    """Summed over all scored documents, with the separators at their ends."""
    ngram_bits: float
    passages: tuple[ScoredPassage, ...]
    by_context: tuple[ContextBits, ...] = ()


# From samples to training documents


@dataclass(frozen=True, kw_only=True)
class VerbatimSpan:
    """A part of a sample that is in the training text letter by letter."""

    start: int
    end: int
    """Positions in the sample, in characters."""
    documents: int
    """Training documents that hold it."""
    document_id: str
    """Of the first of them."""
    source: str
    position: int
    """Where it begins in that document, in characters."""
    before: str
    after: str
    """The text around it in that document."""


@dataclass(frozen=True, kw_only=True)
class NearWindow:
    """A part of a training document that is near to a sample in the model's embedding."""

    document_id: str
    source: str
    position: int
    """Where it begins in the document, in characters."""
    similarity: float
    """Cosine."""
    text: str


@dataclass(frozen=True, kw_only=True)
class SampleOrigin:
    """Where the training text holds what a sample says, or something near to it."""

    text: str
    """The sample."""
    verbatim_share: float
    """Share of the sample's bytes that are in one of the spans."""
    spans: tuple[VerbatimSpan, ...]
    """None is a part of another; in order of their beginning."""
    near: tuple[NearWindow, ...]
    """The nearest windows, each of another document, the nearest first."""


@dataclass(frozen=True, kw_only=True)
class Origins:
    """Samples and the training documents that are nearest to them."""

    least_bytes: int
    """Shorter spans do not count."""
    searched_documents: int
    searched_bytes: int
    train_bytes: int
    """More than `searched_bytes` where the training text is larger than the limit."""
    windows: int
    """Windows of training text that were embedded."""
    held_out_share: float | None
    """Share of held-out text, cut to pieces as long as the samples, that is in such spans; None: not measured."""
    samples: tuple[SampleOrigin, ...]
