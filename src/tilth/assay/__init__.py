"""The assay: what a dataset is worth per token and per FLOP, beside its source, with controls and intervals."""

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.assay.card import assay
    from tilth.assay.config import AssayConfig, ValueConfig
    from tilth.assay.diversity import text_diversity
    from tilth.assay.experiment import Experiment
    from tilth.assay.result import AssayCard, Value
    from tilth.assay.value import measure_value

__all__ = [
    "AssayCard",
    "AssayConfig",
    "Experiment",
    "Value",
    "ValueConfig",
    "assay",
    "measure_value",
    "text_diversity",
]

__getattr__ = attach(
    __name__,
    {
        "AssayCard": "tilth.assay.result",
        "AssayConfig": "tilth.assay.config",
        "Experiment": "tilth.assay.experiment",
        "Value": "tilth.assay.result",
        "ValueConfig": "tilth.assay.config",
        "assay": "tilth.assay.card",
        "measure_value": "tilth.assay.value",
        "text_diversity": "tilth.assay.diversity",
    },
)
