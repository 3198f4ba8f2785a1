"""What a training leaves behind: `summary.json`, and the two kinds of lines of `metrics.jsonl`."""

from __future__ import annotations

from dataclasses import dataclass

SUMMARY, METRICS = "summary.json", "metrics.jsonl"


@dataclass(frozen=True, kw_only=True)
class TrainingSummary:
    """What a training came to."""

    n_params: int
    tokens: int
    """Tokens trained on."""
    steps: int
    flops: float
    seconds: float
    """Time spent in steps, over all attempts."""
    tokens_per_second: float
    bits_per_byte_before: float | None = None
    """On held-out text; None where none was given."""
    bits_per_byte_after: float | None = None
    """Of the weights that are kept."""
    budget_tokens: int = 0
    """Tokens that were to be trained on: what was asked for, or less where that were too many passes over the text."""
    pass_tokens: int = 0
    """Tokens of one pass over the text."""
    best_tokens: int | None = None
    """Tokens after which the held-out text needed the fewest bits: the weights of that moment are kept."""
    stopped_early: bool = False
    """Whether the bits on held-out text rose for so long that training ended before its budget."""

    @property
    def epochs(self) -> float | None:
        """Passes over the text; None where its tokens were not counted."""
        return self.tokens / self.pass_tokens if self.pass_tokens else None


@dataclass(frozen=True, kw_only=True)
class TrainPoint:
    """A line of `metrics.jsonl` about one optimizer step."""

    step: int
    tokens: float
    loss: float
    """Nats per token."""
    learning_rate: float
    grad_norm: float
    """Before clipping."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class EvalPoint:
    """A line of `metrics.jsonl` about the held-out text."""

    step: int
    tokens: float
    held_out_bits_per_byte: float
    held_out_nats_per_token: float


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """`metrics.jsonl`, sorted into its two kinds of lines."""

    train: tuple[TrainPoint, ...]
    held_out: tuple[EvalPoint, ...]
