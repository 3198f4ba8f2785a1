"""Verified search beside its controls on countdown: does a model learn from what search finds with a checker?

    countdown -> report

A small model learns countdown with three numbers from a few thousand solved problems. Then all arms ask it the same new
problems without answers, and train for the same number of steps on what they accept.
"""

from __future__ import annotations

from tilth.improve.search_config import SearchConfig
from tilth.recipes import countdown_steps, step_functions
from tilth.steps import Step

SETTINGS = SearchConfig()
"""Chosen on the seeds 100 and 101."""


def countdown(*, effort: float = 1.0, seeds: tuple[int, ...] = (0, 1, 2)) -> Step:
    """Compare labels by sampling, search, vote and brute force on countdown, at equal steps and at equal FLOPs.

    Args:
        effort: The one dial: training steps, problems and prompts as multiples of the reported ones.
        seeds: Seeds of everything that is drawn by chance; the experiment runs once for each.
    """
    config = countdown_steps.scaled(SETTINGS, effort, seeds)
    experiment = Step("countdown-experiment", countdown_steps.countdown, config)
    return Step("report", step_functions.write_report, {"name": "countdown"}, {experiment.label: experiment})
