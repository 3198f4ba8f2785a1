"""The self-improving loop: a model that learns harder problems from answers of its own, beside its controls."""

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.improve.config import ARMS, Arm, LoopConfig
    from tilth.improve.family import AlphabetTokenizer, Augmentable, Augmentation, ProblemSource, Reverse, TaskFamily
    from tilth.improve.loop import improve
    from tilth.improve.result import ArmResult, LoopResult, SeedResult

__all__ = [
    "ARMS",
    "AlphabetTokenizer",
    "Arm",
    "ArmResult",
    "Augmentable",
    "Augmentation",
    "LoopConfig",
    "LoopResult",
    "ProblemSource",
    "Reverse",
    "SeedResult",
    "TaskFamily",
    "improve",
]

__getattr__ = attach(
    __name__,
    {
        "ARMS": "tilth.improve.config",
        "AlphabetTokenizer": "tilth.improve.family",
        "Arm": "tilth.improve.config",
        "ArmResult": "tilth.improve.result",
        "Augmentable": "tilth.improve.family",
        "Augmentation": "tilth.improve.family",
        "LoopConfig": "tilth.improve.config",
        "LoopResult": "tilth.improve.result",
        "ProblemSource": "tilth.improve.family",
        "Reverse": "tilth.improve.family",
        "SeedResult": "tilth.improve.result",
        "TaskFamily": "tilth.improve.family",
        "improve": "tilth.improve.loop",
    },
)
