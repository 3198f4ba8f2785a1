import pytest

from tilth.progress import SILENT, PlainProgress, ProgressEvent, RecordedProgress, Replay


def test_plain_progress_prints_lines_with_rate_and_facts(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainProgress(every_seconds=0).bar("train", 10, "tokens", done=4) as bar:
        bar.advance(1, loss=2.5)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("train: 5/10 tokens (50%)")
    assert "tokens/s" in line
    assert "loss 2.5" in line


def test_quick_work_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainProgress(every_seconds=60).bar("quick", None) as bar:
        bar.advance()
    with SILENT.bar("silent", 3) as bar:
        bar.advance(3, loss=1.0)
    SILENT.say("nothing")
    assert capsys.readouterr().err == ""


def test_recorded_progress_passes_on_and_remembers(capsys: pytest.CaptureFixture[str]) -> None:
    recorded = RecordedProgress(PlainProgress(every_seconds=0))
    with recorded.bar("train", 10, "tokens", done=4) as bar:
        bar.advance(2, loss=2.5)
        (state,) = recorded.bars()
        assert (state.name, state.unit, state.total) == ("train", "tokens", 10)
        assert (state.done, state.facts) == (6, {"loss": 2.5})
        # 2 units in 1 second, 4 units left
        assert state.seconds_left(state.started_at + 1) == pytest.approx(2)
    bar.advance(1)  # after its end: another thread may be late
    recorded.say("a line")
    assert recorded.bars() == () and recorded.lines() == ("a line",)
    shown = capsys.readouterr().err
    assert "train: 6/10 tokens (60%)" in shown and "a line" in shown


def test_a_bar_without_total_or_work_has_no_time_left() -> None:
    recorded = RecordedProgress(SILENT)
    with recorded.bar("unknown", None) as unknown, recorded.bar("idle", 5, done=2):
        unknown.advance(3)
        later = recorded.bars()[0].started_at + 1
        assert [state.seconds_left(later) for state in recorded.bars()] == [None, None]


def test_bars_of_other_processes_are_recorded_under_their_label() -> None:
    recorded = RecordedProgress(SILENT)
    replay = Replay(recorded, "pretrain")
    replay.show(ProgressEvent(kind="begin", bar=1, text="train", unit="steps", total=4))
    replay.show(ProgressEvent(kind="advance", bar=1, amount=3))
    assert [(state.name, state.done) for state in recorded.bars()] == [("pretrain: train", 3)]
    replay.close()
    assert recorded.bars() == ()
