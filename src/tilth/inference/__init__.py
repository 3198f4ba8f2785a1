"""Inference: continue prompts in batches with a key/value cache."""

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.inference.beam import BeamParams, BeamResult, Hypothesis, beam_search
    from tilth.inference.config import SamplingParams
    from tilth.inference.engine import Completion, Engine, TextStream
    from tilth.inference.generate import Generation, generate_tokens
    from tilth.inference.probabilities import TokenProbability
    from tilth.inference.tree_search import Checker, Solution, TreeParams, TreeResult, search_tree

__all__ = [
    "BeamParams",
    "BeamResult",
    "Checker",
    "Completion",
    "Engine",
    "Generation",
    "Hypothesis",
    "SamplingParams",
    "Solution",
    "TextStream",
    "TokenProbability",
    "TreeParams",
    "TreeResult",
    "beam_search",
    "generate_tokens",
    "search_tree",
]

__getattr__ = attach(
    __name__,
    {
        "BeamParams": "tilth.inference.beam",
        "BeamResult": "tilth.inference.beam",
        "Checker": "tilth.inference.tree_search",
        "Completion": "tilth.inference.engine",
        "Engine": "tilth.inference.engine",
        "Generation": "tilth.inference.generate",
        "Hypothesis": "tilth.inference.beam",
        "SamplingParams": "tilth.inference.config",
        "Solution": "tilth.inference.tree_search",
        "TextStream": "tilth.inference.engine",
        "TokenProbability": "tilth.inference.probabilities",
        "TreeParams": "tilth.inference.tree_search",
        "TreeResult": "tilth.inference.tree_search",
        "beam_search": "tilth.inference.beam",
        "generate_tokens": "tilth.inference.generate",
        "search_tree": "tilth.inference.tree_search",
    },
)
