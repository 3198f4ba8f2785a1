"""What the steps of the recipe `language` run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tilth.execute import Context
from tilth.steps import Counts, Inputs

if TYPE_CHECKING:
    from tilth.improve.text.language_config import LanguageConfig

LANGUAGE_VERSION = 2
"""Goes up whenever equal configs and inputs give other results, or a default of `LanguageConfig` changes."""


def study_language(config: LanguageConfig, inputs: Inputs, out: Path, context: Context) -> Counts:
    """Measures what a small model's own texts are worth, and trains on with them and without."""
    from dataclasses import replace

    from tilth.improve.text.language import study_language
    from tilth.recipes.step_functions import open_documents

    # Models this small are quicker on the CPU than on any accelerator: they go there only when told to.
    device = "cpu" if context.device == "auto" else context.device
    experiment = study_language(
        config,
        out,
        open_documents(inputs["train"]),
        open_documents(inputs["held_out"]),
        inputs["tokenizer"],
        replace(context, device=device),
    )
    return {"points": len(experiment.points), "flops": experiment.flops()}
