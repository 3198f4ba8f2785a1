"""Synthetic data: recipes over documents and a teacher, with parsers, gates, verifiers and full lineage.

    synthesize("curated/train", "wrapped", "wrap", open_teacher("http://localhost:8000/v1#MODEL", Context()))

A recipe is an async function from a document to drafts. What it makes passes gates, each of which counts what it drops;
a sample knows its prompt, its teacher and the bytes of the document that it was made from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.synthesis.config import GateConfig, SynthesisConfig
    from tilth.synthesis.define import BUILT_IN, Ask, Draft, Parsed, ParseError, Recipe, Rejected, load_recipe, recipe
    from tilth.synthesis.design import make_design
    from tilth.synthesis.gates.uniqueness import UniquenessMeter
    from tilth.synthesis.preview_run import preview
    from tilth.synthesis.quality import train_classifier
    from tilth.synthesis.result import SynthesisResult
    from tilth.synthesis.router import RouterConfig
    from tilth.synthesis.run import synthesize
    from tilth.synthesis.search import read_topics, seeds_by_topic
    from tilth.synthesis.topics import TopicConfig, cluster_topics
    from tilth.synthesis.trial import try_recipe

__getattr__ = attach(
    "tilth.synthesis",
    {
        "BUILT_IN": "tilth.synthesis.define",
        "Ask": "tilth.synthesis.define",
        "Draft": "tilth.synthesis.define",
        "GateConfig": "tilth.synthesis.config",
        "ParseError": "tilth.synthesis.define",
        "Parsed": "tilth.synthesis.define",
        "Recipe": "tilth.synthesis.define",
        "Rejected": "tilth.synthesis.define",
        "RouterConfig": "tilth.synthesis.router",
        "SynthesisConfig": "tilth.synthesis.config",
        "SynthesisResult": "tilth.synthesis.result",
        "TopicConfig": "tilth.synthesis.topics",
        "UniquenessMeter": "tilth.synthesis.gates.uniqueness",
        "cluster_topics": "tilth.synthesis.topics",
        "load_recipe": "tilth.synthesis.define",
        "make_design": "tilth.synthesis.design",
        "preview": "tilth.synthesis.preview_run",
        "read_topics": "tilth.synthesis.search",
        "recipe": "tilth.synthesis.define",
        "seeds_by_topic": "tilth.synthesis.search",
        "synthesize": "tilth.synthesis.run",
        "train_classifier": "tilth.synthesis.quality",
        "try_recipe": "tilth.synthesis.trial",
    },
)

__all__ = [
    "BUILT_IN",
    "Ask",
    "Draft",
    "GateConfig",
    "ParseError",
    "Parsed",
    "Recipe",
    "Rejected",
    "RouterConfig",
    "SynthesisConfig",
    "SynthesisResult",
    "TopicConfig",
    "UniquenessMeter",
    "cluster_topics",
    "load_recipe",
    "make_design",
    "preview",
    "read_topics",
    "recipe",
    "seeds_by_topic",
    "synthesize",
    "train_classifier",
    "try_recipe",
]
