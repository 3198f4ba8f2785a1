"""tilth grows small language models from well-worked data.

    raw text -> curate -> tokenize on the fly -> train -> generate, verify -> train on -> export

The names below load their modules at first use, so `import tilth` is quick and loads neither torch nor pyarrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilth._lazy import attach
from tilth.version import __version__

if TYPE_CHECKING:
    from tilth import (
        assay,
        curation,
        evaluation,
        export,
        improve,
        inference,
        model,
        recipes,
        report,
        synthesis,
        teacher,
        tokenizer,
        training,
    )
    from tilth.errors import ConfigError, DataError, DependencyError, StepError, TilthError
    from tilth.execute import Context
    from tilth.model import ModelConfig, Transformer, load_model
    from tilth.sources import Source
    from tilth.steps import Step
    from tilth.storage import Dataset
    from tilth.tokenizer import Tokenizer
    from tilth.types import Document, Problem, Rollout

_FOLDERS = (
    "assay", "curation", "evaluation", "export", "improve", "inference", "model", "recipes", "report", "synthesis",
    "teacher", "tokenizer", "training",
)  # fmt: skip
_NAMES = {
    "tilth.errors": ("ConfigError", "DataError", "DependencyError", "StepError", "TilthError"),
    "tilth.execute": ("Context",),
    "tilth.model": ("ModelConfig", "Transformer", "load_model"),
    "tilth.sources": ("Source",),
    "tilth.steps": ("Step",),
    "tilth.storage": ("Dataset",),
    "tilth.tokenizer": ("Tokenizer",),
    "tilth.types": ("Document", "Problem", "Rollout"),
}
__getattr__ = attach(
    "tilth",
    {folder: f"tilth.{folder}" for folder in _FOLDERS}
    | {name: module for module, names in _NAMES.items() for name in names},
)

__all__ = [
    "ConfigError",
    "Context",
    "DataError",
    "Dataset",
    "DependencyError",
    "Document",
    "ModelConfig",
    "Problem",
    "Rollout",
    "Source",
    "Step",
    "StepError",
    "TilthError",
    "Tokenizer",
    "Transformer",
    "__version__",
    "assay",
    "curation",
    "evaluation",
    "export",
    "improve",
    "inference",
    "load_model",
    "model",
    "recipes",
    "report",
    "synthesis",
    "teacher",
    "tokenizer",
    "training",
]


def __dir__() -> list[str]:
    return sorted(__all__)
