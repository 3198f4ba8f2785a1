"""The whole loop at a size of seconds: its file, its resuming, and what each arm is allowed to know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tilth.errors import DataError
from tilth.execute import Context
from tilth.improve import ARMS, LoopConfig, LoopResult, improve
from tilth.improve.checkpoint import load_round

CONFIG = LoopConfig(
    rounds=2, base_difficulty=2, base_steps=12, round_steps=4, samples=12, prompts_per_difficulty=20,
    d_model=16, n_layers=1, n_heads=2, d_ff=32, batch_size=16, promote_at=0.0,
)  # fmt: skip
CONTEXT = Context(workers=1)
Run = tuple[Path, LoopResult]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("improve")
    return out, improve(CONFIG, out, CONTEXT)


def weights(out: Path) -> dict[str, bytes]:
    """Everything of the rounds but their records, which hold seconds."""
    content: dict[str, bytes] = {}
    for file in sorted(out.rglob("*.safetensors")):
        raw = file.read_bytes()
        content[str(file.relative_to(out))] = raw[8 + int.from_bytes(raw[:8], "little") :]
    return content


def test_writes_what_the_report_reads(run: Run) -> None:
    out, result = run
    written = json.loads((out / "improve.json").read_text())
    assert written["task"] == "reverse"
    assert written["base_lengths"] == [1, 2] and written["lengths"] == [1, 2, 3, 4, 5, 6]
    assert written["rounds"] == 2 and written["prompts_per_length"] == 20
    assert list(written["arms"]) == sorted(ARMS)
    for arm in written["arms"].values():
        assert len(arm["accuracy"]) == 3 and all(len(row) == 6 for row in arm["accuracy"])
        assert len(arm["generated"]) == len(arm["kept"]) == len(arm["label_accuracy"]) == 2
    assert written["n_params"] == result.n_params
    assert result.flops == pytest.approx(
        written["base_flops"] + sum(a["train_flops"] + a["generation_flops"] for a in written["arms"].values())
    )
    assert len(written["examples"]) == 2
    example = written["examples"][-1]
    assert example["prompt"] == example["answer"][::-1] + "=" and set(example["outputs"]) == set(ARMS)


def test_arms_spend_what_they_may(run: Run) -> None:
    arms = run[1].arms
    assert arms["frozen"].train_flops == 0 and arms["control"].train_flops > 0
    assert arms["frozen"].generated == arms["control"].generated == [0, 0]
    assert arms["control"].generation_flops == 0
    assert arms["unfiltered"].generated == [12, 12]
    assert all(n >= 12 for n in arms["checker"].generated)
    assert all(arm.accuracy[0] == arms["frozen"].accuracy[2] for arm in arms.values())


def test_what_is_kept_is_on_record(run: Run) -> None:
    out, result = run
    for arm in ("unfiltered", "vote", "checker"):
        for number in (1, 2):
            record, (prompts, answers) = load_round(out / arm / f"round-{number:02d}.safetensors")
            assert len(prompts) == len(answers) == record.kept == result.arms[arm].kept[number - 1]
            assert record.difficulty == 2 + number


def test_a_killed_loop_ends_with_the_same_bytes(run: Run, tmp_path: Path) -> None:
    out, result = run
    improve(CONFIG, tmp_path, CONTEXT)
    assert weights(tmp_path) == weights(out)
    for name in ("vote/round-02", "checker/round-01", "checker/round-02", "control/round-02"):
        (tmp_path / f"{name}.safetensors").unlink()
    (tmp_path / "improve.json").unlink()
    (tmp_path / "vote" / ".round-02.safetensors.killed.tmp").write_bytes(b"half")
    again = improve(CONFIG, tmp_path, CONTEXT)
    assert weights(tmp_path) == weights(out)
    assert {arm: outcome.accuracy for arm, outcome in again.arms.items()} == {
        arm: outcome.accuracy for arm, outcome in result.arms.items()
    }
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_finished_loop_does_nothing(run: Run) -> None:
    out, result = run
    times = {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")}
    again = improve(CONFIG, out, CONTEXT)
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")} == times
    assert again.base_seconds == result.base_seconds


def test_a_broken_round_is_named(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "round-01.safetensors"
    file.write_bytes((run[0] / "base.safetensors").read_bytes()[:500])
    with pytest.raises(DataError, match="round-01"):
        load_round(file)


@pytest.mark.slow
def test_side_by_side_is_the_same(run: Run, tmp_path: Path) -> None:
    improve(CONFIG, tmp_path, Context(workers=2))
    assert weights(tmp_path) == weights(run[0])
