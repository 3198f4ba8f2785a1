"""Small code tasks checked by running them: complete a call so that it gives the output, from the library's doctests.

    doctests -> code-tasks -> report

The calls in the doctests of Python's standard library are varied and run in the sandbox; a small model learns to
complete them. Any completion that gives the output is accepted, so that search finds programs that are in no data.
"""

from __future__ import annotations

import sys

from tilth.improve.search_config import SearchConfig
from tilth.recipes import code_tasks_steps, countdown_steps, step_functions
from tilth.steps import Step

SETTINGS = SearchConfig(
    difficulty=1,
    labelled=3000,
    base_steps=500,
    rounds=2,
    round_steps=100,
    prompts=600,
    pass_problems=200,
    batch_size=64,
    arms=("control", "flop_matched", "unfiltered", "samples", "oracle"),
)
"""One pilot with seed 101, of 2,000 labelled problems and 200 steps, showed that there is room; these are larger, and
were not tried against others."""


def code_tasks(*, effort: float = 1.0, seeds: tuple[int, ...] = (0, 1, 2)) -> Step:
    """Let a model complete calls from the standard library's doctests, and learn from completions that run right.

    Args:
        effort: The one dial: training steps, problems and prompts as multiples of the reported ones.
        seeds: Seeds of everything that is drawn by chance; the experiment runs once for each.
    """
    config = countdown_steps.scaled(SETTINGS, effort, seeds)
    doctests = Step("doctests", code_tasks_steps.doctests, {"python": ".".join(map(str, sys.version_info[:3]))})
    experiment = Step("code-tasks-experiment", code_tasks_steps.code_tasks, config, {"doctests": doctests})
    return Step("report", step_functions.write_report, {"name": "code-tasks"}, {experiment.label: experiment})
