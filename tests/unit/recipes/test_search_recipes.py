"""The recipes of verified search, at an effort of seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilth.assay.experiment import EXPERIMENT_RESULT, Experiment
from tilth.errors import ConfigError, StepError
from tilth.execute import Context
from tilth.improve import doctest_calls
from tilth.improve.doctest_calls import Call
from tilth.improve.search_config import SEARCH_ARMS, SearchConfig
from tilth.recipes import load_recipe
from tilth.results import read_result, write_result
from tilth.steps import Step, run
from tilth.synthesis.verify import sandbox
from tilth.synthesis.verify.sandbox import Isolation, isolation

needs_sandbox = pytest.mark.skipif(len(isolation().layers) < 2, reason="this machine cannot isolate code")


def context(tmp_path: Path) -> Context:
    return Context(runs=tmp_path / "runs", workers=1)


@pytest.mark.slow
def test_countdown_runs_and_leaves_an_experiment(tmp_path: Path) -> None:
    report = load_recipe("countdown")(effort=0.004, seeds=(5,))
    experiment, page = run(report, context(tmp_path))
    result = read_result(Experiment, experiment.folder / EXPERIMENT_RESULT)
    assert [arm.name for arm in result.arms] == list(SEARCH_ARMS) and result.seeds == (5,)
    assert (page.folder / "report.html").stat().st_size > 1000


@pytest.mark.slow
@needs_sandbox
def test_code_tasks_run_and_leave_an_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real library takes seconds to read; a few of its calls do here.
    calls = [
        Call(module="statistics", function="mean", expression=f"mean([{a}, {b}])", output=repr((a + b) / 2))
        for a in range(12)
        for b in range(a + 1, 12, 2)
    ]
    monkeypatch.setattr(
        doctest_calls, "write_calls", lambda out: write_result(out / "calls.json", calls) or {"calls": len(calls)}
    )
    report = load_recipe("code-tasks")(effort=0.004, seeds=(5,))
    done = run(report, context(tmp_path))
    result = read_result(Experiment, done[1].folder / EXPERIMENT_RESULT)
    assert result.name == "code-tasks" and "oracle" in {arm.name for arm in result.arms}


def test_settings_reach_the_steps_and_wrong_ones_are_told() -> None:
    def settings(**fields: object) -> SearchConfig:
        (experiment,) = load_recipe("countdown")(**fields).inputs.values()
        assert isinstance(experiment, Step) and isinstance(experiment.config, SearchConfig)
        return experiment.config

    half, whole = settings(effort=0.5, seeds=(7,)), settings()
    assert half.seeds == (7,) and half.base_steps == 225
    assert whole.test_problems >= 1000 and whole.seeds == (0, 1, 2)
    with pytest.raises(ConfigError, match="effort"):
        load_recipe("code-tasks")(effort=-1.0)


def test_without_isolation_code_tasks_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "isolation", lambda: Isolation((), ("seccomp: not here",)))
    with pytest.raises(StepError, match="seccomp: not here"):
        doctest_calls.outputs_of([("", "1 + 1")])
    with pytest.raises(StepError, match="seccomp: not here"):
        doctest_calls.write_calls(tmp_path)
    assert not list(tmp_path.iterdir())
