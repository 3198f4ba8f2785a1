"""Continuations of the same prompts, before and after training: `samples.json`."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLES = "samples.json"


@dataclass(frozen=True, kw_only=True)
class TextSample:
    """What a model wrote after one prompt, before and after training."""

    prompt: str
    before: str
    after: str
