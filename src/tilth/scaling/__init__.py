"""Scaling laws: robust fits of loss against parameters and tokens, with intervals, and what they say about a budget."""

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.scaling.chinchilla import ChinchillaFit, Plan, fit_chinchilla
    from tilth.scaling.curve import Curve, fit_curve
    from tilth.scaling.fit import TermFit, bootstrap_terms, fit_terms, predict_terms

__all__ = [
    "ChinchillaFit",
    "Curve",
    "Plan",
    "TermFit",
    "bootstrap_terms",
    "fit_chinchilla",
    "fit_curve",
    "fit_terms",
    "predict_terms",
]

__getattr__ = attach(
    __name__,
    {
        "ChinchillaFit": "tilth.scaling.chinchilla",
        "Curve": "tilth.scaling.curve",
        "Plan": "tilth.scaling.chinchilla",
        "TermFit": "tilth.scaling.fit",
        "bootstrap_terms": "tilth.scaling.fit",
        "fit_chinchilla": "tilth.scaling.chinchilla",
        "fit_curve": "tilth.scaling.curve",
        "fit_terms": "tilth.scaling.fit",
        "predict_terms": "tilth.scaling.fit",
    },
)
