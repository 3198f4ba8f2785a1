"""The self-improving loop: a model that learns harder problems from answers of its own, beside its controls."""

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.improve.arms import ARMS, DEFAULT_ARMS, Arm
    from tilth.improve.config import LoopConfig
    from tilth.improve.family import FAMILIES, family_named
    from tilth.improve.loop import improve
    from tilth.improve.result import ArmResult, LoopResult, SeedResult
    from tilth.improve.reverse_addition import ReverseAddition
    from tilth.improve.solvable import verdict
    from tilth.improve.start import Start, TextMix
    from tilth.improve.string_families import Copy, Reverse
    from tilth.synthesis.verify.task_family import (
        AlphabetTokenizer,
        Augmentable,
        Augmentation,
        ProblemSource,
        TaskFamily,
    )

__all__ = [
    "ARMS",
    "DEFAULT_ARMS",
    "FAMILIES",
    "AlphabetTokenizer",
    "Arm",
    "ArmResult",
    "Augmentable",
    "Augmentation",
    "Copy",
    "LoopConfig",
    "LoopResult",
    "ProblemSource",
    "Reverse",
    "ReverseAddition",
    "SeedResult",
    "Start",
    "TaskFamily",
    "TextMix",
    "family_named",
    "improve",
    "verdict",
]

__getattr__ = attach(
    __name__,
    {
        "ARMS": "tilth.improve.arms",
        "DEFAULT_ARMS": "tilth.improve.arms",
        "AlphabetTokenizer": "tilth.synthesis.verify.task_family",
        "Arm": "tilth.improve.arms",
        "ArmResult": "tilth.improve.result",
        "Augmentable": "tilth.synthesis.verify.task_family",
        "Augmentation": "tilth.synthesis.verify.task_family",
        "LoopConfig": "tilth.improve.config",
        "LoopResult": "tilth.improve.result",
        "ProblemSource": "tilth.synthesis.verify.task_family",
        "Copy": "tilth.improve.string_families",
        "FAMILIES": "tilth.improve.family",
        "Reverse": "tilth.improve.string_families",
        "ReverseAddition": "tilth.improve.reverse_addition",
        "family_named": "tilth.improve.family",
        "verdict": "tilth.improve.solvable",
        "SeedResult": "tilth.improve.result",
        "Start": "tilth.improve.start",
        "TextMix": "tilth.improve.start",
        "TaskFamily": "tilth.synthesis.verify.task_family",
        "improve": "tilth.improve.loop",
    },
)
