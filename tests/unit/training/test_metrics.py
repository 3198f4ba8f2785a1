"""The metrics file: cut back to a step, and read as its two kinds of points."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilth.errors import DataError
from tilth.training import EvalPoint, TrainPoint, read_metrics
from tilth.training.metrics import MetricsLog

POINT = {"step": 1, "tokens": 8, "loss": 2.0, "learning_rate": 0.1, "grad_norm": 1.0, "seconds": 0.5}
EVAL = {"step": 1, "tokens": 8, "held_out_bits_per_byte": 1.5, "held_out_nats_per_token": 3.0}


def test_metrics_are_cut_back_to_the_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, last_step=-1) as log:
        for step in range(5):
            log.write(POINT | {"step": step})
    with path.open("ab") as file:
        file.write(b'{"step": 5, "lo')
    with MetricsLog(path, last_step=2) as log:
        log.write(POINT | {"step": 3, "loss": 2.0})
    assert [point.step for point in read_metrics(path).train] == [0, 1, 2, 3]
    with MetricsLog(path, last_step=-1):
        assert read_metrics(path).train == ()


def test_lines_are_read_as_their_kind(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, last_step=-1) as log:
        for line in (EVAL, POINT, {"step": 1, "tokens": 8, "accuracy": 0.5}):
            log.write(line)
    metrics = read_metrics(path)
    assert metrics.train == (TrainPoint(**POINT),)  # pyright: ignore[reportArgumentType]
    assert metrics.held_out == (EvalPoint(**EVAL),)  # pyright: ignore[reportArgumentType]


def test_a_file_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl").train == ()


@pytest.mark.parametrize(("text", "words"), [("no json\n", "not JSON"), ('{"loss": 1.0}\n', "metrics.jsonl:1")])
def test_a_broken_line_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(DataError, match=words):
        read_metrics(tmp_path / "metrics.jsonl")
