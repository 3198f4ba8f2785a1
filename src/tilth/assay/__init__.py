"""The assay: what a dataset is worth per token and per FLOP, beside its source, with controls and intervals."""

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.assay.card import assay
    from tilth.assay.config import AssayConfig, ValueConfig
    from tilth.assay.diversity import text_diversity
    from tilth.assay.experiment import Experiment
    from tilth.assay.frontier import Frontier, read_frontier
    from tilth.assay.law import LawPoint, QualityLaw, fit_law
    from tilth.assay.law_runs import LawConfig, measure_law
    from tilth.assay.plateau import measure_plateau
    from tilth.assay.plateau_config import PlateauConfig
    from tilth.assay.result import AssayCard, Value
    from tilth.assay.value import measure_value

__all__ = [
    "AssayCard",
    "AssayConfig",
    "Experiment",
    "Frontier",
    "LawConfig",
    "LawPoint",
    "PlateauConfig",
    "QualityLaw",
    "Value",
    "ValueConfig",
    "assay",
    "fit_law",
    "measure_law",
    "measure_plateau",
    "measure_value",
    "read_frontier",
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
        "Frontier": "tilth.assay.frontier",
        "read_frontier": "tilth.assay.frontier",
        "LawPoint": "tilth.assay.law",
        "QualityLaw": "tilth.assay.law",
        "fit_law": "tilth.assay.law",
        "LawConfig": "tilth.assay.law_runs",
        "measure_law": "tilth.assay.law_runs",
        "measure_plateau": "tilth.assay.plateau",
        "PlateauConfig": "tilth.assay.plateau_config",
    },
)
