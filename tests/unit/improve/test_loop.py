"""The whole loop at a size of seconds: its result, its resuming, and what each arm is allowed to know."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from shutil import copytree, rmtree

import numpy as np
import pytest
import torch

from tilth.errors import ConfigError, DataError
from tilth.execute import Context
from tilth.improve import DEFAULT_ARMS, LoopConfig, LoopResult, improve
from tilth.improve.answering import accuracy
from tilth.improve.arm_state import ArmState
from tilth.improve.collect import Collected, Collector
from tilth.improve.fine_tune import fine_tune, one_thread
from tilth.improve.loop import run_arm
from tilth.improve.one_round import run_round, source_for
from tilth.improve.rounds import RoundRecord, read_model, read_pseudo_labels, read_record, save_round
from tilth.improve.seed_run import SeedRun
from tilth.results import read_result
from tilth.types import Problem
from unit.improve.families import Addition, FewBeyond, Last, LyingLast, PlainReverse

CONFIG = LoopConfig(
    rounds=2, base_difficulty=2, base_steps=40, round_steps=4, samples=12, test_problems=20, validation_problems=10,
    d_model=16, n_layers=1, n_heads=2, d_ff=32, batch_size=16, promote_at=0.0, learning_rate=1e-2,
)  # fmt: skip
FAMILY = Last()
CONTEXT = Context(workers=1)
Run = tuple[Path, LoopResult]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("improve")
    return out, improve(CONFIG, out, CONTEXT, FAMILY)


def content(out: Path) -> dict[str, bytes]:
    """Weights and pseudo-labels of all rounds."""
    paths = [*out.rglob("*.safetensors"), *out.rglob("pseudo_labels.jsonl")]
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(paths)}


def test_the_result_is_what_was_written(run: Run) -> None:
    out, result = run
    written = read_result(LoopResult, out / "improve.json")
    assert json.dumps(asdict(written), sort_keys=True) == json.dumps(
        asdict(result), sort_keys=True
    )  # nan is not itself
    assert written.task == "last" and written.base_difficulty == 2 and written.difficulties == (1, 2, 3, 4, 5, 6)
    assert written.test_problems == (1, 9, 20, 20, 20, 20) and written.validation_problems == (0, 0, 10, 10, 10, 10)
    (seed,) = written.seeds
    assert set(seed.arms) == set(DEFAULT_ARMS) and written.arms == DEFAULT_ARMS
    for arm in seed.arms.values():
        assert len(arm.accuracy) == 3 and all(len(row) == 6 for row in arm.accuracy)
        assert len(arm.validation_accuracy) == 6
        assert len(arm.generated) == len(arm.kept) == len(arm.label_accuracy) == len(arm.difficulty) == 2
    example = seed.examples[-1]
    assert example.answer == example.prompt[-2] and set(example.outputs) == set(DEFAULT_ARMS)
    assert written.flops == seed.base_flops + sum(arm.train_flops + arm.generation_flops for arm in seed.arms.values())


def test_arms_spend_what_they_may(run: Run) -> None:
    arms = run[1].seeds[0].arms
    assert arms["baseline"].flops == 0 and arms["baseline"].accuracy[2] == arms["control"].accuracy[0]
    assert arms["control"].generated == arms["flop_matched"].generated == (0, 0)
    assert arms["control"].generation_flops == arms["flop_matched"].generation_flops == 0
    assert arms["unfiltered"].generated == (12, 12)
    assert all(n >= 12 for n in arms["oracle"].generated)
    assert arms["control"].kept == (0, 0) and sum(arms["oracle"].kept) > 0
    assert all(
        share == 1 for share, kept in zip(arms["oracle"].label_accuracy, arms["oracle"].kept, strict=True) if kept
    )


def test_the_control_is_trained_on_base_data_as_the_base_model_was(run: Run) -> None:
    """No difficulty has an extra share in it, as the newest one has in the arms that add pseudo-labels."""
    seed = SeedRun(config=CONFIG, family=FAMILY, seed=0, folder=run[0] / "seed-0")
    model = read_model(seed.base_folder, "cpu")
    with one_thread():
        for number in (1, 2):
            rng = np.random.default_rng([0, 3, number])  # seed, the control's number, round
            fine_tune(model, seed.pool().batches(rng, CONFIG.round_steps), CONFIG.round_steps, CONFIG)
    control = read_model(seed.round_folder("control", 2), "cpu")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), control.parameters(), strict=True))


def test_accuracy_is_that_of_the_test_problems(run: Run) -> None:
    out, result = run
    seed = SeedRun(config=CONFIG, family=FAMILY, seed=0, folder=out / "seed-0")
    with one_thread():
        for arm in ("vote", "flop_matched"):
            model = read_model(seed.round_folder(arm, 2), "cpu")
            assert result.seeds[0].arms[arm].accuracy[-1] == accuracy(model, FAMILY, seed.split.test)
            measured = accuracy(model, FAMILY, seed.split.validation)
            assert result.seeds[0].arms[arm].validation_accuracy[2:] == measured


def test_validation_problems_decide_on_promotion_and_have_no_answers(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[dict[int, list[Problem]]] = []

    def gated(self: Collector, difficulty: int, validation: dict[int, list[Problem]]) -> Collected:
        judged.append(validation)
        return Collected(difficulty=difficulty, flops=7.0)

    monkeypatch.setattr(Collector, "gated", gated)
    seed = SeedRun(config=CONFIG, family=FAMILY, seed=0, folder=tmp_path)
    copytree(run[0] / "seed-0" / "base", seed.base_folder)
    base = read_record(seed.base_folder)
    assert base is not None
    state = ArmState.after_base(seed.base_folder, seed.pool(), base)
    for arm in ("vote", "oracle"):
        run_round(seed, arm, 1, read_model(seed.base_folder, "cpu"), state)
        record = read_record(seed.round_folder(arm, 1))
        assert record is not None and record.generation_flops == 7.0
    expected = {d: [replace(problem, answer=None) for problem in given] for d, given in seed.split.validation.items()}
    assert judged == [expected, expected] and all(expected.values())


def test_the_flop_matched_arm_spends_what_the_vote_arm_spent(run: Run) -> None:
    arms = run[1].seeds[0].arms
    a_step = arms["control"].train_flops / (2 * CONFIG.round_steps)
    assert arms["flop_matched"].train_flops == pytest.approx(arms["vote"].flops, abs=2 * a_step)
    assert arms["flop_matched"].train_flops > arms["control"].train_flops + a_step


def test_the_gated_unfiltered_arm_follows_the_vote_arm(run: Run, tmp_path: Path) -> None:
    copytree(run[0] / "seed-0" / "base", tmp_path / "base")
    seed = SeedRun(config=CONFIG, family=FAMILY, seed=0, folder=tmp_path)
    nothing = (0.0,) * 6
    for number, (difficulty, kept) in enumerate([(4, 3), (2, 0)], 1):
        record = RoundRecord(difficulty=difficulty, accuracy=nothing, kept=kept)
        save_round(seed.round_folder("vote", number), read_model(seed.base_folder, "cpu"), [], record)
    arm, _ = run_arm(seed, "gated_unfiltered")
    assert (arm.difficulty, arm.kept) == ((4, 2), (3, 0))
    labels = read_pseudo_labels(seed.round_folder("gated_unfiltered", 1))
    assert {label.problem.difficulty for label in labels} == {4}


def test_arms_keep_what_their_labeller_accepts(run: Run) -> None:
    seed = run[0] / "seed-0"
    rewards = {
        arm: {label.rollout.reward for path in seed.glob(f"{arm}/*") for label in read_pseudo_labels(path)}
        for arm in ("unfiltered", "gated_unfiltered", "vote", "oracle")
    }
    assert rewards["unfiltered"] == rewards["gated_unfiltered"] == {None}
    assert rewards["oracle"] == {1.0}
    assert rewards["vote"] and rewards["vote"] <= {0.75, 1.0}  # 3 or 4 votes of 4


def test_what_is_kept_is_on_record(run: Run) -> None:
    out, result = run
    for arm in ("unfiltered", "gated_unfiltered", "vote", "oracle"):
        for number in (1, 2):
            folder = out / "seed-0" / arm / f"round-{number:02d}"
            record, labels = read_record(folder), read_pseudo_labels(folder)
            assert record is not None
            assert len(labels) == record.kept == result.seeds[0].arms[arm].kept[number - 1]
            assert record.difficulty == 2 + number
            assert all(label.problem.answer is None for label in labels)
            assert all(len(label.problem.prompt) == record.difficulty + 1 for label in labels)


def test_pseudo_labels_are_never_of_problems_that_are_measured_on(run: Run) -> None:
    out, _ = run
    measured = SeedRun(config=CONFIG, family=FAMILY, seed=0, folder=out / "seed-0").split.excluded
    prompts = [label.problem.prompt for path in out.rglob("round-*") for label in read_pseudo_labels(path)]
    assert len(prompts) > 0 and not set(prompts) & measured


def test_a_killed_loop_ends_with_the_same_bytes(run: Run, tmp_path: Path) -> None:
    out, result = run
    killed = copytree(out, tmp_path / "killed")
    seed = killed / "seed-0"
    for name in ("vote/round-02", "oracle/round-01", "oracle/round-02", "gated_unfiltered/round-02"):
        rmtree(seed / name)
    (seed / "control" / "round-02" / "round.json").unlink()  # killed before the record was written
    (seed / "control" / "round-02" / "model" / "model.safetensors").write_bytes(b"half")
    (killed / "improve.json").unlink()
    (seed / "vote" / ".round-02.killed.tmp").write_bytes(b"half")
    again = improve(CONFIG, killed, CONTEXT, FAMILY)
    assert content(killed) == content(out)
    assert [arm.accuracy for arm in again.seeds[0].arms.values()] == [
        arm.accuracy for arm in result.seeds[0].arms.values()
    ]
    assert not list(killed.rglob("*.tmp"))


def test_a_finished_loop_does_nothing(run: Run) -> None:
    out, result = run
    times = {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")}
    again = improve(CONFIG, out, CONTEXT, FAMILY)
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")} == times
    assert repr(again) == repr(result)


@pytest.mark.parametrize("change", [{"seeds": (1,)}, {"rounds": 1}, {"min_agreement": 4}])
def test_another_loop_in_the_same_folder_is_refused(run: Run, change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        improve(replace(CONFIG, **change), run[0], CONTEXT, FAMILY)  # pyright: ignore[reportArgumentType]


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="device `cuda:99`"):
        improve(CONFIG, tmp_path, Context(workers=1, device="cuda:99"), FAMILY)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_unknown_origin_is_refused(tmp_path: Path) -> None:
    (tmp_path / "improve.json").write_text("{}")
    with pytest.raises(ConfigError, match="unknown origin"):
        improve(CONFIG, tmp_path, CONTEXT, FAMILY)


def test_broken_pseudo_labels_are_named(run: Run, tmp_path: Path) -> None:
    folder = copytree(run[0] / "seed-0" / "unfiltered" / "round-01", tmp_path / "round-01")
    (folder / "pseudo_labels.jsonl").write_text('{"problem"\n')
    with pytest.raises(DataError, match="round-01"):
        read_pseudo_labels(folder)
    label = {"problem": {"id": "a", "prompt": "b=", "verifier": "last"}}
    label["rollout"] = {"problem_id": "a", "text": "b", "tokens": [2, 0], "finish_reason": "whim"}
    (folder / "pseudo_labels.jsonl").write_text(json.dumps(label) + "\n")
    with pytest.raises(DataError, match=r"pseudo_labels\.jsonl:1\.rollout\.finish_reason` is 'whim'"):
        read_pseudo_labels(folder)
    (folder / "pseudo_labels.jsonl").write_text('{"problem": {"id": "a"}}\n')
    with pytest.raises(DataError, match=r"pseudo_labels\.jsonl:1"):
        read_pseudo_labels(folder)


def test_wrong_answers_change_nothing_for_arms_without_labels(run: Run, tmp_path: Path) -> None:
    out, _ = run
    lied_to = improve(CONFIG, tmp_path, CONTEXT, LyingLast(honest_up_to=CONFIG.base_difficulty))
    assert sum(lied_to.seeds[0].arms["vote"].kept) > 0
    for arm in ("vote", "unfiltered", "gated_unfiltered", "flop_matched", "control"):
        assert content(tmp_path / "seed-0" / arm) == content(out / "seed-0" / arm)
    assert sum(lied_to.seeds[0].arms["oracle"].kept) == 0
    assert sum(lied_to.seeds[0].arms["vote"].accuracy[-1][2:]) == 0  # measured with the lying verifier


def test_only_the_oracle_is_handed_answers() -> None:
    for arm in ("unfiltered", "gated_unfiltered", "vote"):
        source = source_for(arm, FAMILY)
        assert not hasattr(source, "verify")
        assert {problem.answer for problem in source.propose(3, 5, np.random.default_rng(0))} == {None}
    assert source_for("oracle", FAMILY) is FAMILY


def test_a_family_without_augmentations_has_no_vote(tmp_path: Path) -> None:
    result = improve(CONFIG, tmp_path, CONTEXT, PlainReverse())
    assert result.arms == ("baseline", "control", "unfiltered", "oracle")


def test_difficulties_with_too_few_problems_to_measure_are_left_out(tmp_path: Path) -> None:
    result = improve(CONFIG, tmp_path, CONTEXT, FewBeyond(3))
    assert result.test_problems == (1, 9, 20, 0, 0, 0)
    (seed,) = result.seeds
    assert [len(example.prompt) - 1 for example in seed.examples] == [3]
    assert set(seed.arms["vote"].difficulty) == {3}


def test_another_family_runs_through_the_loop(tmp_path: Path) -> None:
    result = improve(
        replace(CONFIG, base_difficulty=1, augmentations=2, min_agreement=2), tmp_path, CONTEXT, Addition()
    )
    assert result.task == "addition" and set(result.arms) == set(DEFAULT_ARMS)


def test_several_seeds_are_what_each_gives_alone(run: Run, tmp_path: Path) -> None:
    result = improve(replace(CONFIG, seeds=(0, 1)), tmp_path, CONTEXT, FAMILY)
    assert [seed.seed for seed in result.seeds] == [0, 1]
    assert content(tmp_path / "seed-0") == content(run[0] / "seed-0")
    assert content(tmp_path / "seed-1") != content(run[0] / "seed-0")
    assert result.settings == run[1].settings


@pytest.mark.slow
def test_side_by_side_is_the_same(run: Run, tmp_path: Path) -> None:
    improve(CONFIG, tmp_path, Context(workers=2), FAMILY)
    assert content(tmp_path) == content(run[0])


class Crashing(Last):
    """Fails at the n-th draw, as a killed process would."""

    def __init__(self, draws: int) -> None:
        self.draws = draws

    def propose(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Problem]:
        self.draws -= 1
        if not self.draws:
            raise RuntimeError("killed")
        return super().propose(difficulty, n, rng)


def test_a_base_model_continues_from_its_checkpoint(run: Run, tmp_path: Path) -> None:
    out, result = run
    context = Context(workers=1, checkpoint_seconds=0.0)
    with pytest.raises(RuntimeError, match="killed"):
        improve(CONFIG, tmp_path, context, Crashing(60))
    checkpoint = tmp_path / "seed-0" / "base" / "checkpoint" / "state.safetensors"
    assert checkpoint.exists() and not (tmp_path / "seed-0" / "base" / "round.json").exists()
    again = improve(CONFIG, tmp_path, context, FAMILY)
    assert content(tmp_path) == content(out)
    assert again.seeds[0].base_flops == result.seeds[0].base_flops
    assert not checkpoint.exists()
