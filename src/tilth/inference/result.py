"""Continuations of the same prompts: before and after training (`samples.json`), and while it is at work."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLES = "samples.json"
LIVE_SAMPLES = "samples.jsonl"
"""In `Context.live`: a line for each `LiveSample`."""


@dataclass(frozen=True, kw_only=True)
class TextSample:
    """What a model wrote after one prompt, before and after training."""

    prompt: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class LiveSample:
    """What a model wrote in the middle of its training."""

    prompt: str
    text: str
    tokens: int
    """Tokens trained on by then."""
    seconds: float
    """Since the training began, or went on after an interruption."""
