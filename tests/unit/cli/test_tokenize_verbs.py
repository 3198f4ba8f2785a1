"""`tilth tokenize`: decode, convert, compare."""

import json
from pathlib import Path

import pytest

from tilth.cli import main
from tilth.tokenizer import Tokenizer
from unit.tokenizer import model_files as files


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(tuple(map(str, words)))
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "llama" / "tokenizer.model"
    path.parent.mkdir()
    path.write_bytes(files.model())
    return path


def test_decode(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = Tokenizer.load(model).encode("the cat")
    assert run("tokenize", "decode", model, *ids) == 0
    assert capsys.readouterr().out == "the cat\n"
    assert run("tokenize", "decode", model, 99999) == 2


def test_convert(model: Path, tmp_path: Path) -> None:
    assert run("tokenize", "convert", model, "--out", tmp_path / "json") == 0
    assert Tokenizer.load(tmp_path / "json").encode("the cat") == Tokenizer.load(model).encode("the cat")
    Tokenizer.train(["the cat"] * 2, vocab_size=260, pattern="gpt2").save(tmp_path / "bpe")
    assert run("tokenize", "convert", tmp_path / "bpe", "--out", tmp_path / "out.tiktoken") == 0
    assert Tokenizer.load(tmp_path / "out.tiktoken", pattern="gpt2").encode("the")
    assert run("tokenize", "convert", model, "--out", tmp_path / "x.tiktoken") == 2


def test_compare(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Tokenizer.train(["the cat"] * 2, vocab_size=260).save(tmp_path / "bpe")
    (tmp_path / "a.txt").write_text("the cat in the hat")
    words = [
        "tokenize",
        "compare",
        model,
        tmp_path / "bpe",
        "bytes",
        "characters",
        "words",
        "--corpus",
        tmp_path / "a.txt",
        "--out",
        tmp_path / "out",
    ]
    assert run(*words) == 0
    printed = capsys.readouterr().out
    assert "llama" in printed and "bpe" in printed and "Latin" in printed
    names = [t["name"] for t in json.loads((tmp_path / "out/compare.json").read_text())["tokenizers"]]
    assert names == ["llama", "bpe", "bytes", "characters", "words"]
    assert "the same" in (tmp_path / "out/compare.html").read_text().lower()
