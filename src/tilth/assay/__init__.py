"""The assay: what a dataset is worth per token and per FLOP, beside its source, with controls and intervals."""

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.assay.config import AssayConfig, ValueConfig
    from tilth.assay.experiment import Experiment
    from tilth.assay.result import AssayCard, Value
    from tilth.assay.value import measure_value

__all__ = ["AssayCard", "AssayConfig", "Experiment", "Value", "ValueConfig", "measure_value"]

__getattr__ = attach(
    __name__,
    {
        "AssayCard": "tilth.assay.result",
        "AssayConfig": "tilth.assay.config",
        "Experiment": "tilth.assay.experiment",
        "Value": "tilth.assay.result",
        "ValueConfig": "tilth.assay.config",
        "measure_value": "tilth.assay.value",
    },
)
