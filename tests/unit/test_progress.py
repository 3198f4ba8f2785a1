import pytest

from tilth.progress import SILENT, PlainProgress


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
