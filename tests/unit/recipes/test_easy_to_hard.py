"""The recipe `easy-to-hard`: its steps, its dial, and a run of seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilth.errors import ConfigError
from tilth.execute import Context
from tilth.improve.config import ARMS
from tilth.improve.result import LOOP_RESULT, LoopResult
from tilth.recipes import BUILT_IN, load_recipe
from tilth.recipes.easy_to_hard import SETTINGS, easy_to_hard, scaled
from tilth.results import read_result
from tilth.steps import in_order, run


def test_each_task_is_a_loop_of_three_seeds_with_every_control(tmp_path: Path) -> None:
    *loops, report = in_order(load_recipe("easy-to-hard")(), Context(runs=tmp_path))
    assert [step.label for step in loops] == ["reverse", "copy", "reverse_addition"]
    assert report.name == "report" and set(report.inputs) == {"reverse", "copy", "reverse_addition"}
    for step in loops:
        assert step.config.task == step.label
        assert step.config.seeds == (0, 1, 2)
        assert {"vote", "oracle", "control", "flop_matched", "gated_unfiltered"} <= set(step.config.arms)
    assert {"unfiltered", "noise"} <= set(loops[0].config.arms) <= set(ARMS)
    assert "easy-to-hard" in BUILT_IN


def test_the_dial_scales_work_and_leaves_the_task() -> None:
    whole, tenth = SETTINGS["copy"], scaled(SETTINGS["copy"], 0.1)
    assert (tenth.base_steps, tenth.round_steps) == (whole.base_steps / 10, whole.round_steps / 10)
    assert (tenth.samples, tenth.test_problems, tenth.validation_problems) == (100, 20, 10)
    assert (tenth.task, tenth.rounds, tenth.base_difficulty) == ("copy", whole.rounds, whole.base_difficulty)
    assert scaled(whole, 1.0) == whole
    assert scaled(whole, 1e-6).base_steps == 1


@pytest.mark.parametrize("fields", [{"tasks": ("sort",)}, {"tasks": ()}, {"tasks": ("copy", "copy")}, {"effort": 0.0}])
def test_mistakes_are_named(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        easy_to_hard(**fields)  # pyright: ignore[reportArgumentType]


def test_rounds_can_be_set_for_all_tasks(tmp_path: Path) -> None:
    *loops, _ = in_order(easy_to_hard(rounds=2), Context(runs=tmp_path))
    assert [step.config.rounds for step in loops] == [2, 2, 2]


@pytest.mark.slow
def test_it_runs_and_writes_a_report(tmp_path: Path) -> None:
    target = easy_to_hard(tasks=("copy", "reverse_addition"), effort=0.003, rounds=1, seeds=(7,))
    *loops, report = run(target, Context(runs=tmp_path / "runs"))
    for done, task in zip(loops, ("copy", "reverse_addition"), strict=True):
        result = read_result(LoopResult, done.folder / LOOP_RESULT)
        assert result.task == task
        assert [seed.seed for seed in result.seeds] == [7]
        assert {"vote", "control", "gated_unfiltered", "oracle"} <= set(result.arms)
    page = (report.folder / "report.html").read_text()
    assert "copy" in page and "reverse_addition" in page
