"""What the steps of the recipe `countdown` run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tilth.execute import Context
from tilth.improve.search_config import SearchConfig
from tilth.steps import Counts, Inputs


def scaled(settings: SearchConfig, effort: float, seeds: tuple[int, ...]) -> SearchConfig:
    """Returns the settings of a recipe for an effort and seeds. Raises: ConfigError for an effort of 0 or less."""
    return replace(settings if effort == 1.0 else settings.scaled(effort), seeds=seeds)


def on_cpu_unless_told(context: Context) -> Context:
    """Returns a context whose device `auto` is the CPU: models this small are quicker there than on any other."""
    return replace(context, device="cpu" if context.device == "auto" else context.device)


def countdown(config: SearchConfig, inputs: Inputs, out: Path, context: Context) -> Counts:
    """Runs all arms of the experiment on countdown."""
    from tilth.improve.countdown import Countdown
    from tilth.improve.search_experiment import Words, search_experiment

    words = Words(
        name="countdown",
        title="Countdown: learning from search with a checker",
        question="A small model solves countdown problems (make 43 of 3, 7 and 12) sometimes. It searches for answers "
        "to new problems, and a checker accepts the right ones. Does training on those teach it more than as many "
        "steps, or as many FLOPs, on the data that it had?",
        problems="problems with three numbers",
    )
    result = search_experiment(Countdown(), words, config, out, on_cpu_unless_told(context))
    return {"flops": result.flops()}
