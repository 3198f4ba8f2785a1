"""The self-improving loop: a model that learns harder problems from its own verified answers, beside its
controls."""

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.improve.config import ARMS, Arm, LoopConfig
    from tilth.improve.loop import ArmResult, LoopResult, improve
    from tilth.improve.task import Reverse, Task

__all__ = ["ARMS", "Arm", "ArmResult", "LoopConfig", "LoopResult", "Reverse", "Task", "improve"]

__getattr__ = attach(
    __name__,
    {
        "ARMS": "tilth.improve.config",
        "Arm": "tilth.improve.config",
        "ArmResult": "tilth.improve.loop",
        "LoopConfig": "tilth.improve.config",
        "LoopResult": "tilth.improve.loop",
        "Reverse": "tilth.improve.task",
        "Task": "tilth.improve.task",
        "improve": "tilth.improve.loop",
    },
)
