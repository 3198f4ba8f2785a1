"""Inference: continue prompts in batches with a key/value cache."""

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.inference.config import SamplingParams
    from tilth.inference.engine import Completion, Engine
    from tilth.inference.generate import Generation, generate_tokens

__all__ = ["Completion", "Engine", "Generation", "SamplingParams", "generate_tokens"]

__getattr__ = attach(
    __name__,
    {
        "Completion": "tilth.inference.engine",
        "Engine": "tilth.inference.engine",
        "Generation": "tilth.inference.generate",
        "SamplingParams": "tilth.inference.config",
        "generate_tokens": "tilth.inference.generate",
    },
)
