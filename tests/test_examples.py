"""The examples run, as their docstrings say."""

import shlex
from pathlib import Path

import pytest

from tilth.cli import main

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(EXAMPLES)
    (tmp_path / "texts").mkdir()
    for path in sorted((Path(__file__).parents[1] / "docs").rglob("*.md")):
        (tmp_path / "texts" / path.name).write_bytes(path.read_bytes())
    text = (EXAMPLES / "sizes.py").read_text()
    commands = [shlex.split(line)[1:] for line in text.split('"""')[1].splitlines() if line.startswith("    tilth ")]
    assert [words[0] for words in commands] == ["plan", "run"]
    for words in commands:
        with pytest.raises(SystemExit) as exit_:
            main(words)
        assert exit_.value.code == 0, capsys.readouterr().err
    table = (tmp_path / "runs" / "texts" / "sizes-table" / "sizes.csv").read_text().splitlines()
    assert table[0] == "tokenizer,tokens"
    counts = {name: int(tokens) for name, tokens in (row.split(",") for row in table[1:])}
    assert counts["tokenizer-512"] > counts["tokenizer-1000"] > 0
    assert "<h1>texts</h1>" in (tmp_path / "runs" / "latest" / "report.html").read_text()
    with pytest.raises(SystemExit) as exit_:
        main(["run", "examples/sizes.py:sizes", "--corpus", "texts", "--vocab-sizes", "512"])
    assert exit_.value.code == 2
    assert "Give two or more" in capsys.readouterr().err
