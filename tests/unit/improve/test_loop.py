"""The whole loop at a size of seconds: its result, its resuming, and what each arm is allowed to know."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from shutil import copytree, rmtree

import numpy as np
import pytest
import torch
from filelock import FileLock

from tilth.errors import ConfigError, DataError, StepError
from tilth.execute import Context
from tilth.improve import DEFAULT_ARMS, AlphabetTokenizer, LoopConfig, LoopResult, Start, improve
from tilth.improve import loop as loop_module
from tilth.improve.answering import accuracy
from tilth.improve.arm_state import ArmState
from tilth.improve.arms import CHECKED, LabelWith
from tilth.improve.collect import Collected, Collector
from tilth.improve.fine_tune import fine_tune, one_thread
from tilth.improve.folder_lock import LOCK
from tilth.improve.loop import arms_of, run_arm, task_family
from tilth.improve.one_round import run_round, source_for
from tilth.improve.rounds import RoundRecord, has_model, read_model, read_pseudo_labels, read_record, save_round
from tilth.improve.seed_run import SeedRun
from tilth.recipes import singles
from tilth.results import read_result
from tilth.steps import Identities
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


def test_a_round_that_the_leading_arm_threw_away_gives_its_follower_no_labels(run: Run, tmp_path: Path) -> None:
    copytree(run[0] / "seed-0" / "base", tmp_path / "base")
    seed = SeedRun(config=replace(CONFIG, rounds=1), family=FAMILY, seed=0, folder=tmp_path)
    record = RoundRecord(difficulty=3, accuracy=(0.0,) * 6, kept=3, train_flops=1.0, good=False)
    save_round(seed.round_folder("vote", 1), read_model(seed.base_folder, "cpu"), [], record)
    arm, _ = run_arm(seed, "gated_unfiltered")
    assert (arm.kept, arm.ended) == ((0,), "") and arm.train_flops > 0


def test_the_tokenizer_and_the_file_of_a_family_are_part_of_the_identity(tmp_path: Path) -> None:
    class Tokens(AlphabetTokenizer):
        fingerprint = "one"

    class Tokenized(Last):
        tokenizer = Tokens(Last.letters + "=")

    def identity(task: str = "reverse") -> dict[str, object]:
        return loop_module._identity(replace(CONFIG, task=task), Tokenized(), Start(), None)

    before = identity()
    Tokens.fingerprint = "two"
    assert (before["tokenizer"], identity()["tokenizer"]) == ("one", "two")
    file = tmp_path / "mine.py"
    seen: list[object] = []
    for text in ("x = 1", "x = 2"):
        file.write_text(text)
        step = singles.improve(replace(CONFIG, task=f"{file}:x"))
        seen.append((identity(f"{file}:x")["family_file"], Identities(tmp_path).fingerprint(step)))
    assert seen[0] != seen[1] and len({*seen[0], *seen[1]}) == 4  # type: ignore[misc]


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


def test_a_family_that_was_changed_is_refused(run: Run) -> None:
    with pytest.raises(ConfigError, match=r"family\.problems"):
        improve(CONFIG, run[0], CONTEXT, ChangedLast())


class ChangedLast(Last):
    """Names the first letter, and is called as before."""

    def propose(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Problem]:
        return [replace(problem, answer=problem.prompt[0]) for problem in super().propose(difficulty, n, rng)]


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


def without_seconds(path: Path) -> object:
    """A result without what differs between two equal runs."""

    def cleaned(value: object) -> object:
        if isinstance(value, dict):
            return {key: cleaned(item) for key, item in value.items() if not str(key).endswith("seconds")}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return [cleaned(item) for item in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]

    return cleaned(json.loads(path.read_text()))


@pytest.mark.parametrize(
    "draws", [100, pytest.param(130, marks=pytest.mark.slow), pytest.param(160, marks=pytest.mark.slow)]
)
def test_killed_inside_a_round_it_ends_the_same(run: Run, tmp_path: Path, draws: int) -> None:
    """Until no draw is left to fail at: each attempt dies a little later, in the middle of a round or between two."""
    for attempt in range(40):
        try:
            improve(CONFIG, tmp_path, CONTEXT, Crashing(draws + 7 * attempt))
            break
        except RuntimeError:
            assert not (tmp_path / "improve.json").exists()
    assert attempt > 0
    assert content(tmp_path) == content(run[0])
    assert without_seconds(tmp_path / "improve.json") == without_seconds(run[0] / "improve.json")


def test_a_second_process_is_kept_out(run: Run) -> None:
    with FileLock(run[0] / LOCK), pytest.raises(StepError, match="Another process is at work"):
        improve(CONFIG, run[0], CONTEXT, FAMILY)


def test_only_the_newest_model_of_an_arm_is_kept(run: Run) -> None:
    for arm in ("control", "vote", "unfiltered", "oracle"):
        assert [has_model(run[0] / "seed-0" / arm / f"round-0{number}") for number in (1, 2)] == [False, True]
    assert has_model(run[0] / "seed-0" / "base")


def test_a_round_that_was_deleted_is_made_again(run: Run, tmp_path: Path) -> None:
    """The model before it is not kept, so the arm begins anew; the bytes are the same."""
    again = copytree(run[0], tmp_path / "again")
    rmtree(again / "seed-0" / "vote" / "round-02")
    improve(CONFIG, again, CONTEXT, FAMILY)
    assert content(again) == content(run[0])


def test_a_training_that_diverges_ends_its_arm_and_no_other(run: Run, tmp_path: Path) -> None:
    config = replace(CONFIG, base_steps=0, learning_rate=1e25, arms=("baseline", "control", "unfiltered", "vote"))
    start = Start(model=run[0] / "seed-0" / "base" / "model")
    arms = improve(config, tmp_path, CONTEXT, FAMILY, start=start).seeds[0].arms
    for arm in ("control", "unfiltered", "vote"):
        ended = arms[arm]
        assert ended.ended.startswith("Round 1: the training diverged. Step 2 broke down")
        assert ended.accuracy == (arms["baseline"].accuracy[0],) * 2 and len(ended.kept) == 1
        assert not has_model(tmp_path / "seed-0" / arm / "round-01")
    assert not arms["baseline"].ended and len(arms["baseline"].accuracy) == CONFIG.rounds + 1
    # Called again, it does not try again.
    assert improve(config, tmp_path, CONTEXT, FAMILY, start=start).seeds[0].arms["vote"].ended == arms["vote"].ended


def test_followers_end_with_the_arm_that_they_follow(run: Run, tmp_path: Path) -> None:
    class Mute(Last):
        """Reads no answer beyond the base data: nothing can be accepted."""

        def parse(self, text: str) -> str | None:
            return None

    arms = improve(CONFIG, tmp_path, CONTEXT, Mute()).seeds[0].arms
    assert "none of the model's answers to 48 problems of difficulty 3 was accepted" in arms["vote"].ended
    assert arms["unfiltered"].ended.startswith("Round 1: none of the model's answers to 12 problems")
    assert arms["gated_unfiltered"].kept == (0,) and not arms["control"].ended
    assert "`vote`, which this one follows, ended" in arms["flop_matched"].ended
    assert arms["vote"].generation_flops > 0 and arms["vote"].generated == (48,)


def test_noise_is_in_a_stated_share_of_the_labels(run: Run, tmp_path: Path) -> None:
    shares = []
    for noise in (0.0, 0.5):
        config = replace(CONFIG, label_noise=noise, samples=40, rounds=1, base_steps=150, arms=("vote", "noise"))
        arms = improve(config, tmp_path / str(noise), CONTEXT, FAMILY).seeds[0].arms
        shares.append(arms["noise"].label_accuracy[0])
        labels = read_pseudo_labels(tmp_path / str(noise) / "seed-0" / "noise" / "round-01")
        assert all(label.rollout.problem_id == label.problem.id for label in labels)
    assert shares[1] == pytest.approx(shares[0] / 2, abs=0.15)


def test_bits_of_labels_are_those_of_the_model_before(run: Run) -> None:
    out, result = run
    base = read_model(out / "seed-0" / "base", "cpu")
    labels = read_pseudo_labels(out / "seed-0" / "oracle" / "round-01")
    bits = [-sum(label.rollout.logprobs) / np.log(2) for label in labels]  # as they were generated
    arm = result.seeds[0].arms["oracle"]
    assert arm.bits_per_label[0] == pytest.approx(np.mean(bits), rel=1e-4)
    assert arm.bits_per_label_token[0] == pytest.approx(
        np.sum(bits) / sum(len(x.rollout.tokens) for x in labels), rel=1e-4
    )
    assert arm.pass_rate[0] == pytest.approx(arm.bits_per_sample[0] / arm.bits_per_label[0])
    assert 0 < arm.pass_rate[0] <= 1 and arm.distinct_labels[0] == len({x.rollout.text for x in labels}) / len(labels)
    assert base.config.n_params == result.n_params


def test_labels_that_tell_nothing_end_an_arm(tmp_path: Path) -> None:
    """All labels count as exhausted here; harder problems pass no gate."""
    config = replace(CONFIG, rounds=6, min_bits_per_label=100.0, promote_at=0.0, arms=("oracle",))
    arm = improve(config, tmp_path, CONTEXT, FewBeyond(3)).seeds[0].arms["oracle"]  # no validation beyond 3
    assert "the labels are exhausted" in arm.ended and arm.difficulty == (3, 3)


def test_the_controller_spends_and_says_why(tmp_path: Path) -> None:
    config = replace(CONFIG, rounds=6, base_steps=80, arms=("baseline", "vote", "controlled"))
    result = improve(config, tmp_path, CONTEXT, FAMILY)
    arm = result.seeds[0].arms["controlled"]
    actions = [decision.action for decision in arm.decisions]
    assert actions[:3] == ["harder", "sample", "train"] and len(actions) == len(arm.kept)
    assert all(decision.why for decision in arm.decisions)
    assert sum(decision.flops for decision in arm.decisions) == pytest.approx(arm.flops)
    assert arm.kept[2] == 0 and arm.difficulty[:3] == (3, 3, 3)
    # With a budget of two rounds it stops in the third.
    two = sum(decision.flops for decision in arm.decisions[:2])
    short = improve(replace(config, max_flops=two), tmp_path / "short", CONTEXT, FAMILY).seeds[0].arms["controlled"]
    assert [decision.action for decision in short.decisions] == ["harder", "sample", "stop"]
    assert "the controller stopped. The budget is spent" in short.ended
    assert short.accuracy[-1] == short.accuracy[-2]


class Readable(Last):
    """Reads prompts that others wrote; fails at the n-th of them, as a killed process would."""

    def __init__(self, prompts: int = 10**9) -> None:
        self.prompts = prompts

    def read_prompt(self, text: str) -> Problem | None:
        self.prompts -= 1
        if not self.prompts:
            raise RuntimeError("killed")
        string = text.removesuffix("=")
        if not text.endswith("=") or not string or set(string) - set(self.letters):
            return None
        return Problem.make(text, verifier=self.name, difficulty=len(string))


def test_self_play_collects_what_its_proposer_writes(tmp_path: Path) -> None:
    config = replace(CONFIG, samples=60, base_steps=120, arms=("baseline", "self_play"), base_difficulty=3, rounds=2)
    out, killed = tmp_path / "whole", tmp_path / "killed"
    arm = improve(config, out, CONTEXT, Readable()).seeds[0].arms["self_play"]
    assert min(arm.generated) > 0 and arm.generation_flops > 0 and not arm.ended
    run = SeedRun(config=config, family=Readable(), seed=0, folder=out / "seed-0")
    for number in (1, 2):
        labels = read_pseudo_labels(run.round_folder("self_play", number))
        assert len(labels) == arm.kept[number - 1] > 0
        for label in labels:
            assert label.problem.prompt not in run.split.excluded and label.problem.answer is None
            assert label.problem.difficulty == len(label.problem.prompt) - 1 > 3
    with pytest.raises(RuntimeError, match="killed"):
        improve(config, killed, CONTEXT, Readable(100))  # it reads 60 in a round: in the second
    assert not (killed / "seed-0" / "self_play" / "round-02" / "round.json").exists()
    improve(config, killed, CONTEXT, Readable())
    assert content(killed) == content(out)
    with pytest.raises(ConfigError, match="Nobody can read prompts"):
        arms_of(config, Last())


def test_arms_that_need_another_are_refused_without_it() -> None:
    with pytest.raises(ConfigError, match="`flop_matched` follows the arm `vote`"):
        arms_of(replace(CONFIG, arms=("baseline", "flop_matched")), FAMILY)
    assert arms_of(replace(CONFIG, label_with="samples"), FAMILY)[-2:] == ("verified", "oracle")
    with pytest.raises(ConfigError, match="no task family `revers`"):
        task_family("revers")
    assert task_family("countdown").name == "countdown"


def test_labels_that_a_family_cannot_give_are_refused_before_anything_is_trained() -> None:
    tree = replace(CONFIG, label_with="tree")
    with pytest.raises(ConfigError, match="cannot check partial answers") as refused:
        arms_of(tree, task_family("countdown"))
    assert refused.value.fix is not None and "countdown_postfix" in refused.value.fix
    assert "verified" in arms_of(tree, task_family("countdown_postfix"))
    only_vote = replace(CONFIG, arms=("vote",))
    with pytest.raises(ConfigError, match="have no augmentations"):
        arms_of(only_vote, task_family("countdown"))
    assert arms_of(replace(only_vote, label_with="samples"), task_family("countdown")) == ("verified",)


@pytest.mark.parametrize("label_with", ["sample_vote", "best_of_n", "samples", "bits", "beam"])
def test_any_labeller_runs_through_the_loop(tmp_path: Path, label_with: LabelWith) -> None:
    config = replace(
        CONFIG, label_with=label_with, samples_per_problem=4, rounds=1, base_steps=150, arms=("vote", "noise")
    )
    arms = improve(config, tmp_path, CONTEXT, PlainReverse()).seeds[0].arms
    arm = arms["verified" if label_with in CHECKED else "vote"]
    assert arm.generation_flops > 0 and arm.kept[0] >= 0
    if label_with in CHECKED and arm.kept[0]:
        assert arm.label_accuracy == (1.0,)


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
