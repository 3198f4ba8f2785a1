"""What the steps of the recipe `code-tasks` run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tilth.execute import Context
from tilth.improve.search_config import SearchConfig
from tilth.recipes.countdown_steps import on_cpu_unless_told
from tilth.steps import Counts, Inputs


def doctests(config: Mapping[str, Any], inputs: Inputs, out: Path, context: Context) -> Counts:
    """Finds the calls in the standard library's doctests that give what they promise, and varies them."""
    from tilth.improve.doctest_calls import write_calls

    return write_calls(out)


def code_tasks(config: SearchConfig, inputs: Inputs, out: Path, context: Context) -> Counts:
    """Runs all arms of the experiment on calls from doctests."""
    from tilth.improve.code_completion import CodeCompletion
    from tilth.improve.search_experiment import Words, search_experiment

    words = Words(
        name="code-tasks",
        title="Code tasks: learning from completions that run right",
        question="A small model completes calls of library functions so that they give a stated output. Its "
        "completions are run in a sandbox. Does training on those that give the output, whether or not they are in "
        "any data, teach it more than as many steps, or as many FLOPs, on the data that it had?",
        problems="calls to complete",
    )
    task = CodeCompletion.read(inputs["doctests"])
    result = search_experiment(task, words, config, out, on_cpu_unless_told(context))
    return {"flops": result.flops()}
