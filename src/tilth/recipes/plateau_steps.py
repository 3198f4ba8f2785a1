"""What the step of the recipe `plateau` runs."""

from __future__ import annotations

from pathlib import Path

from tilth.assay.plateau_config import PlateauConfig
from tilth.execute import Context
from tilth.recipes.step_functions import open_documents
from tilth.steps import Counts, Inputs

PLATEAU_VERSION = 1
"""Goes up whenever equal configs and inputs give other results, or a default of `PlateauConfig` changes."""


def plateau(config: PlateauConfig, inputs: Inputs, out: Path, context: Context) -> Counts:
    """Runs the plateau experiment on the inputs `train` and `held_out`, with `tokenizer`."""
    from dataclasses import replace

    from tilth.assay.plateau import measure_plateau
    from tilth.tokenizer import Tokenizer

    # Models this small are quicker on the CPU than on any accelerator: they go there only when told to.
    device = "cpu" if context.device == "auto" else context.device
    experiment = measure_plateau(
        open_documents(inputs["train"]),
        out,
        held_out=open_documents(inputs["held_out"]),
        config=config,
        tokenizer=Tokenizer.load(inputs["tokenizer"]),
        context=replace(context, device=device),
    )
    return {"flops": experiment.flops(), "ended": len(experiment.ended)}
