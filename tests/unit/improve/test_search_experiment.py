"""Arms of a search experiment: what they learn from, that they continue after a kill, and how they end."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from tilth.assay.experiment import EXPERIMENT_RESULT, Experiment
from tilth.errors import ConfigError, DataError, StepError
from tilth.execute import Context
from tilth.improve import search_arms
from tilth.improve.answering import training_flops_per_token
from tilth.improve.countdown import OPERATORS, Countdown
from tilth.improve.folder_lock import LOCK
from tilth.improve.search_arms import RECORD, SearchRecord, SearchRun, collect, run_arm, train_base
from tilth.improve.search_config import SEARCH_ARMS, SearchConfig
from tilth.improve.search_experiment import Words, paired_by_problem, search_experiment
from tilth.model import Transformer, load_model
from tilth.results import read_result
from tilth.types import Problem


class Lenient(Countdown):
    """Accepts whatever ends in an operator, so that a model of a second has something to learn from."""

    def verify(self, problem: Problem, answer: str) -> bool:
        return answer.split()[-1] in OPERATORS


TASK = Lenient(highest=6, highest_target=20)
WORDS = Words(name="toy", title="Toy", question="Does it run?", problems="toy problems")
CONFIG = SearchConfig(
    difficulty=1, labelled=15, base_steps=10, rounds=2, round_steps=3, prompts=6, samples=16, tree_tokens=60,
    test_problems=12, pass_problems=4, pass_samples=4, d_model=32, n_layers=1, n_heads=2, d_ff=32, batch_size=16,
    seeds=(3,),
)  # fmt: skip
HERE = Context(workers=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    search_experiment(TASK, WORDS, CONFIG, folder, HERE)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All files, records without their seconds."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    for name in found:
        if name.endswith(RECORD):
            found[name] = repr(replace(read_result(SearchRecord, folder / name), seconds=0.0)).encode()
    del found[EXPERIMENT_RESULT]
    return found


def test_the_result_has_every_arm_and_counts_what_was_spent(finished: Path) -> None:
    result = read_result(Experiment, finished / EXPERIMENT_RESULT)
    assert [arm.name for arm in result.arms] == list(SEARCH_ARMS)
    flops = {arm.name: result.flops([arm.name]) for arm in result.arms}
    assert flops["control"] < flops["samples"] and flops["unfiltered"] < flops["samples"]
    step = flops["control"] / (CONFIG.rounds * CONFIG.round_steps)
    assert abs(flops["flop_matched"] - flops["samples"]) <= CONFIG.rounds * step
    bases = {tuple(p.values.items()) for p in result.points if p.x == 0}
    assert len({repr(one) for one in bases}) == 1
    assert all(p.values["label_accuracy"] == 1.0 for p in result.points if p.arm == "oracle" and p.x > 0)
    assert len(result.findings) == 10 and "base model answers" in result.findings[0]


@pytest.mark.parametrize("killed", ["seed-3/tree/round-02", "seed-3/samples", "seed-3/oracle/round-01/round.json"])
def test_what_was_killed_is_run_again_to_the_same_bytes(finished: Path, tmp_path: Path, killed: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    (folder / EXPERIMENT_RESULT).unlink()
    path = folder / killed
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    search_experiment(TASK, WORDS, CONFIG, folder, HERE)
    assert contents(folder) == contents(finished)


def test_another_experiment_is_not_mixed_in(finished: Path) -> None:
    with pytest.raises(ConfigError, match="samples"):
        search_experiment(TASK, WORDS, replace(CONFIG, samples=5), finished, HERE)


def test_damaged_labels_are_named(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/seed-3/oracle/round-02")
    (tmp_path / "copy/seed-3/oracle/round-01/pseudo_labels.jsonl").write_bytes(b"{cut\n")
    with pytest.raises(DataError, match=r"pseudo_labels\.jsonl, line 1"):
        search_experiment(TASK, WORDS, CONFIG, tmp_path / "copy", HERE)


def test_no_arm_but_the_oracle_is_told_answers_and_all_are_asked_the_same(tmp_path: Path) -> None:
    run = SearchRun(config=CONFIG, task=TASK, seed=3, folder=tmp_path)
    first, second = run.prompts(1), run.prompts(2)
    measured = {problem.prompt for problem in (*run.test, *run.labelled)}
    prompts = [problem.prompt for problem in (*first, *second)]
    assert len({*prompts}) == 12 and not measured & {*prompts}
    assert len(measured) == 27 and all(problem.answer is None for problem in (*first, *second))
    again = SearchRun(config=replace(CONFIG, arms=("control",)), task=TASK, seed=3, folder=tmp_path)
    assert again.prompts(2) == second


def test_another_task_of_the_same_name_is_not_mixed_in(finished: Path) -> None:
    with pytest.raises(ConfigError, match="problems"):
        search_experiment(Lenient(highest=7, highest_target=20), WORDS, CONFIG, finished, HERE)


def test_a_second_process_is_refused(finished: Path) -> None:
    with FileLock(finished / LOCK), pytest.raises(StepError, match="Another process is at work"):
        search_experiment(TASK, WORDS, CONFIG, finished, HERE)


def test_a_kill_after_the_base_model_leaves_no_checkpoint(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    (folder / "seed-3" / "base" / "training").mkdir()
    search_experiment(TASK, WORDS, CONFIG, folder, HERE)
    assert contents(folder) == contents(finished) and not (folder / "seed-3" / "base" / "training").exists()


class Unsolvable(Countdown):
    """Accepts nothing."""

    def verify(self, problem: Problem, answer: str) -> bool:
        return False


def test_an_arm_without_an_accepted_answer_ends_with_a_word_and_others_go_on(tmp_path: Path) -> None:
    config = replace(CONFIG, arms=("control", "samples"), rounds=1)
    result = search_experiment(Unsolvable(highest=6, highest_target=20), WORDS, config, tmp_path, HERE)
    (ended,) = result.ended
    assert (ended.arm, ended.seed, ended.x) == ("samples", 3, 1) and "No answer to the 6 problems" in ended.why
    assert 3 in result.last("control", "accuracy") and result.last("samples", "accuracy") == {}


def test_an_arm_that_follows_one_that_ended_ends_too(tmp_path: Path) -> None:
    config = replace(CONFIG, arms=("flop_matched", "samples"))
    result = search_experiment(Unsolvable(highest=6, highest_target=20), WORDS, config, tmp_path, HERE)
    ended = {one.arm: (one.x, one.why) for one in result.ended}
    assert ended["samples"][0] == 1 and ended["flop_matched"][0] == 2
    assert "`samples`, which this one follows, ended" in ended["flop_matched"][1]


class Ragged(Lenient):
    """Answers of different lengths."""

    def propose(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Problem]:
        found = super().propose(difficulty, n, rng)
        return [replace(p, answer=f"{p.answer}{' +' * int(rng.integers(1, 8))}") for p in found]

    def answer_tokens(self, difficulty: int) -> int:
        return 14


def test_equal_flops_are_equal_where_batches_differ_in_length(tmp_path: Path) -> None:
    config = replace(CONFIG, arms=("flop_matched", "samples"), samples=64, rounds=1, batch_size=2)
    result = search_experiment(Ragged(highest=6, highest_target=20), WORDS, config, tmp_path, HERE)
    spent = {arm: result.flops([arm]) for arm in ("flop_matched", "samples")}
    # Within half of the longest step.
    longest = 2 * 19 * training_flops_per_token(read_model(tmp_path), 19)
    assert abs(spent["flop_matched"] - spent["samples"]) <= longest / 2


def read_model(folder: Path) -> Transformer:
    return load_model(folder / "seed-3" / "base" / "model")


def test_a_training_that_breaks_down_ends_its_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = SearchRun(config=CONFIG, task=TASK, seed=3, folder=tmp_path)
    train_base(run)
    original = search_arms._optimization
    monkeypatch.setattr(
        search_arms, "_optimization", lambda config, lr: replace(original(config, lr), learning_rate=float("inf"))
    )
    records = run_arm(run, "control")
    assert len(records) == 1 and "broke down in round 1" in records[0].ended
    assert [record.ended for record in run_arm(run, "control")] == [records[0].ended]
    assert collect(run, "control", 1, None, []) == []  # type: ignore[arg-type]


def test_pairs_of_problems() -> None:
    same = paired_by_problem([("1100", "1100")])
    assert (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)
    better = paired_by_problem([("1111", "1101"), ("1111", "1111")])
    assert better.mean == 0.125 and better.low < 0 < better.high
    # Where all problems change in the same direction the interval is narrow, whatever the accuracy is.
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2, 1000)
    gains = np.where((base == 0) & (rng.random(1000) < 0.2), 1, base)
    paired = paired_by_problem([("".join(map(str, gains)), "".join(map(str, base)))])
    assert paired.excludes(0) and paired.high - paired.low < 0.04


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="flop_matched needs `samples`"):
        SearchConfig(arms=("flop_matched",))
    with pytest.raises(ConfigError, match="rounds is 0"):
        SearchConfig(rounds=0)
    with pytest.raises(ConfigError, match="effort"):
        SearchConfig().scaled(0)
    small = SearchConfig().scaled(0.01)
    assert small.labelled == 40 and small.samples == SearchConfig().samples
