"""`tilth improve`, at a size of seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilth.cli import main
from tilth.improve.result import LOOP_RESULT, LoopResult
from tilth.results import read_result
from unit.improve.text_data import datasets, model_of_text, tokenizer_of

TINY = [
    "--rounds",
    "1",
    "--base-difficulty",
    "2",
    "--base-steps",
    "4",
    "--round-steps",
    "2",
    "--samples",
    "8",
    "--test-problems",
    "8",
    "--validation-problems",
    "4",
    "--d-model",
    "16",
    "--n-layers",
    "1",
    "--n-heads",
    "2",
    "--d-ff",
    "32",
    "--batch-size",
    "8",
    "--workers",
    "1",
]


def improve(*words: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(("improve", *TINY, *words))
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def test_seeds_go_in_and_means_come_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    assert improve("--seeds", "0", "1", "--out", "loop") == 0
    printed = capsys.readouterr()
    assert "mean of 2 seeds" in printed.out + printed.err
    assert all(arm in printed.out + printed.err for arm in ("flop_matched", "gated_unfiltered", "oracle"))
    assert [seed.seed for seed in read_result(LoopResult, tmp_path / "loop" / LOOP_RESULT).seeds] == [0, 1]
    # Another seed in the same folder is another loop: today's result is never returned for it.
    assert improve("--seeds", "2", "--out", "loop") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_settings_that_cannot_work_say_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert improve("--min-agreement", "2", "--out", str(tmp_path / "loop")) == 2
    assert "majority" in capsys.readouterr().err


def test_a_model_and_text_go_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    train, _ = datasets(tmp_path)
    tokenizer = tokenizer_of(train)
    tokenizer.save(model_of_text(tmp_path / "model", tokenizer.vocab_size))
    words = ("--task", "copy", "--arms", "baseline", "unfiltered", "controlled", "vote", "--sampled-texts", "2")
    given = ("--model", "model", "--text", "train", "--held-out", "held_out")
    assert improve(*words, *given, "--text-row-tokens", "24", "--out", "loop") == 0
    result = read_result(LoopResult, tmp_path / "loop" / LOOP_RESULT)
    assert result.task.startswith("copy") and set(result.arms) == {"baseline", "unfiltered", "vote", "controlled"}
    printed = capsys.readouterr().out
    assert (
        "bits/byte" in printed and "vote: " in printed and "points of right answers" not in printed.split("vote: ")[0]
    )
    assert "TFLOPs of training and generation" in printed
    assert "controlled, seed 0, round 1: " in printed
    assert all(len(arm.held_out_bits_per_byte) >= 2 for arm in result.seeds[0].arms.values())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--task", "revers"), "There is no task family `revers`"),
        (("--arms", "flop_matched"), "follows the arm `vote`"),
        (("--arms", "votes"), "invalid choice"),
        (("--text", "train"), "Give both"),
        (("--model", "nowhere"), "There is no folder nowhere"),
        (("--text", "train", "--held-out", "nowhere"), "nowhere"),
        (("--text", "train", "--held-out", "held_out"), "Real text needs a tokenizer"),
    ],
)
def test_mistakes_are_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    datasets(tmp_path)
    assert improve(*words, "--out", "loop") == 2
    printed = capsys.readouterr()
    assert said in printed.out + printed.err and "Traceback" not in printed.err
