"""The step of an assay. Its inputs: `dataset`, `source`, `held_out`, and where given `fresh`, `tokenizer`, `model/<n>`
and `synthesis`, the result of the run that made the dataset."""

from __future__ import annotations

from pathlib import Path

from tilth.assay.config import AssayConfig
from tilth.execute import Context
from tilth.steps import Counts, Inputs

ASSAY_VERSION = 1
"""Raised when equal texts and settings give another card."""
MODEL = "model/"
"""Prefix of the inputs that are reference models; a number follows."""


def assay(config: AssayConfig, inputs: Inputs, out: Path, context: Context) -> Counts:
    """Measures what a dataset is worth."""
    from dataclasses import replace

    from tilth.assay.card import assay
    from tilth.recipes.step_functions import torch_device
    from tilth.tokenizer import Tokenizer

    numbers = sorted(int(name.removeprefix(MODEL)) for name in inputs.sources if name.startswith(MODEL))
    card = assay(
        inputs["dataset"],
        out,
        source=inputs["source"],
        held_out=inputs["held_out"],
        fresh=Path(inputs["fresh"]) if "fresh" in inputs else None,
        config=config,
        models=[inputs[f"{MODEL}{number}"] for number in numbers],
        tokenizer=Tokenizer.load(inputs["tokenizer"]) if "tokenizer" in inputs else None,
        context=replace(context, device=torch_device(context)),
    )
    return {
        "documents": card.dataset.measured_documents,
        "bytes": card.dataset.measured_bytes,
        "contaminated": card.contaminated_documents,
        "findings": len(card.findings),
    }
