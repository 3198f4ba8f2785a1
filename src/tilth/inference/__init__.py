"""Inference: continue prompts in batches with a key/value cache."""

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.inference.config import SamplingParams
    from tilth.inference.engine import Completion, Engine, TextStream
    from tilth.inference.generate import Generation, generate_tokens
    from tilth.inference.probabilities import TokenProbability

__all__ = [
    "Completion",
    "Engine",
    "Generation",
    "SamplingParams",
    "TextStream",
    "TokenProbability",
    "generate_tokens",
]

__getattr__ = attach(
    __name__,
    {
        "Completion": "tilth.inference.engine",
        "Engine": "tilth.inference.engine",
        "Generation": "tilth.inference.generate",
        "SamplingParams": "tilth.inference.config",
        "TextStream": "tilth.inference.engine",
        "TokenProbability": "tilth.inference.probabilities",
        "generate_tokens": "tilth.inference.generate",
    },
)
