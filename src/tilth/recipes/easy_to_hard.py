"""Easy-to-hard generalisation: a model that teaches itself longer problems than anyone gave it right answers to.

    improve (reverse), improve (copy), improve (reverse addition) -> report

Every task is a loop with all of its control arms, for each seed. The settings were chosen on other seeds than those
that are reported. Source: Lee et al. 2025 (arXiv 2502.01612), made small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tilth.errors import ConfigError
from tilth.improve.arms import Arm
from tilth.improve.config import LoopConfig
from tilth.recipes import step_functions
from tilth.steps import Step

FEWER_ARMS: tuple[Arm, ...] = ("baseline", "control", "flop_matched", "gated_unfiltered", "vote", "oracle")
"""Of the tasks after the first, so that all three fit into minutes."""
SETTINGS: Mapping[str, LoopConfig] = {
    # A base model of few steps goes further beyond its lengths than one of many (at 8 letters 29 to 40% right after
    # 600 steps, 12 to 29% after 1,000).
    "reverse": LoopConfig(task="reverse", base_difficulty=5, base_steps=600, rounds=9, round_steps=80),
    "copy": LoopConfig(task="copy", base_difficulty=5, base_steps=800, rounds=8, round_steps=80, arms=FEWER_ARMS),
    # From four digits on there is no way further (18% right at five), from six there is (80% at seven).
    "reverse_addition": LoopConfig(
        task="reverse_addition", base_difficulty=6, base_steps=1500, rounds=8, round_steps=80, arms=FEWER_ARMS
    ),
}
"""The loop of each task."""


def easy_to_hard(
    *,
    tasks: tuple[str, ...] = tuple(SETTINGS),
    effort: float = 1.0,
    rounds: int | None = None,
    seeds: tuple[int, ...] = (0, 1, 2),
) -> Step:
    """Let small models teach themselves longer strings and sums than they were given answers to, and write a report.

    Args:
        tasks: What is learned: reverse, copy, reverse_addition.
        effort: The one dial: scales training steps and problems; below 1 the loop does not start, which is for trying
            the machinery.
        rounds: Rounds of each loop; None: those of its settings.
        seeds: Seeds of everything that is drawn by chance; the whole loop runs once for each.
    """
    loops: list[Step] = []
    for task in _different(tasks):
        config = scaled(settings_of(task), effort)
        loops.append(improve_step(config if rounds is None else replace(config, rounds=rounds), seeds))
    return Step("report", step_functions.write_report, {"name": "easy-to-hard"}, {step.label: step for step in loops})


def improve_step(config: LoopConfig, seeds: tuple[int, ...]) -> Step:
    """Returns the step of one task's loop."""
    config = replace(config, seeds=seeds)
    return Step("improve", step_functions.improve, config, version=step_functions.IMPROVE_VERSION, label=config.task)


def settings_of(task: str) -> LoopConfig:
    """Returns the loop of a task.

    Raises: ConfigError for one that has none.
    """
    if task not in SETTINGS:
        raise ConfigError(f"There is no task `{task}`.", fix=f"Choose from {', '.join(SETTINGS)}.")
    return SETTINGS[task]


def scaled(config: LoopConfig, effort: float) -> LoopConfig:
    """Returns a loop with so many times the steps and problems; rounds and difficulties stay.

    Raises: ConfigError for an effort that is not above 0.
    """
    if not effort > 0:
        raise ConfigError(f"effort is {effort}.", fix="Give a number above 0; 1 is what was measured.")
    fields = ("base_steps", "round_steps", "samples", "test_problems", "validation_problems")
    return replace(config, **{name: max(1, round(getattr(config, name) * effort)) for name in fields})


def _different(tasks: Sequence[str]) -> Sequence[str]:
    if not tasks or len(set(tasks)) < len(tasks):
        raise ConfigError(f"tasks is {tuple(tasks)}.", fix=f"Give one or more different ones of {', '.join(SETTINGS)}.")
    return tasks
