"""What the step of the recipe `curriculum` runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tilth.execute import Context
from tilth.improve.text.config import CurriculumConfig
from tilth.steps import Counts, Inputs

CURRICULUM_VERSION = 2
"""Goes up whenever equal configs and inputs give other results."""


def curriculum(config: CurriculumConfig, inputs: Inputs, out: Path, context: Context) -> Counts:
    """Runs the experiment on the datasets `train` and `held_out`."""
    from tilth.improve.text.curriculum import curriculum
    from tilth.storage import Dataset

    # Models this small are quicker on the CPU than on any accelerator: they go there only when told to.
    device = "cpu" if context.device == "auto" else context.device
    result = curriculum(
        config,
        out,
        train=Dataset.open(inputs["train"]),
        held_out=Dataset.open(inputs["held_out"]),
        tokenizer=inputs["tokenizer"],
        context=replace(context, device=device),
    )
    return {"flops": result.flops(), "points": len(result.points)}
