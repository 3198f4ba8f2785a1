"""`tilth tokenize`: train, decode, convert, compare."""

import io
import json
import sys
from pathlib import Path

import pytest

from tilth.cli import main
from tilth.storage import write_dataset
from tilth.tokenizer import Tokenizer
from tilth.types import Document
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


def test_convert(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tokenize", "convert", model, "--out", tmp_path / "json") == 0
    assert Tokenizer.load(tmp_path / "json").encode("the cat") == Tokenizer.load(model).encode("the cat")
    Tokenizer.train(["the cat"] * 2, vocab_size=260, pattern="gpt2").save(tmp_path / "bpe")
    assert run("tokenize", "convert", tmp_path / "bpe", "--out", tmp_path / "out.tiktoken") == 0
    printed = capsys.readouterr().err
    again = eval(printed[printed.index("Tokenizer.load(") :].replace("\n", " "))
    assert again.vocabulary.tokens == Tokenizer.load(tmp_path / "bpe").vocabulary.tokens
    assert again.special_tokens == Tokenizer.load(tmp_path / "bpe").special_tokens
    ids = [*map(str, again.encode("the cat"))]
    assert run("tokenize", "encode", tmp_path / "out.tiktoken", "the cat", "--pattern", "gpt2") == 0
    assert capsys.readouterr().out.split() == ids
    assert run("tokenize", "convert", model, "--out", tmp_path / "x.tiktoken") == 2


def test_show(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tokenize", "show", model, "the cat") == 0
    printed = capsys.readouterr().out
    assert "SentencePiece" in printed and "<unk> 0, <s> 1, </s> 2" in printed and "b' cat'" in printed
    names = [f"<|{i}|>" for i in range(20)]
    Tokenizer.train(["the cat"] * 2, vocab_size=280, special_tokens=names).save(tmp_path / "bpe")
    assert run("tokenize", "show", tmp_path / "bpe") == 0
    printed = capsys.readouterr().out
    assert "<|7|> " in printed and "<|8|>" not in printed and "and 12 more" in printed


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


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    documents = [
        Document.make("the cat in the hat", "books/a.txt", meta={"kind": "prose"}),
        Document.make("def cut(hat): pass", "code/b.py", meta={"kind": "code"}),
    ]
    write_dataset(tmp_path / "dataset", documents, made_by="test")
    return tmp_path / "dataset"


@pytest.mark.parametrize("weights", [("code=5", "books/*=2"), ("*/b.py=5", "prose=2")])
def test_train_weighs_documents(weights: tuple[str, ...], dataset: Path, tmp_path: Path) -> None:
    runs = ("--runs", tmp_path / "runs")
    words = ["tokenize", "train", dataset, "--vocab-size", 270, "--weights", *weights, "--out", tmp_path / "a", *runs]
    assert run(*words) == 0
    expected = Tokenizer.train([("the cat in the hat", 2), ("def cut(hat): pass", 5)], vocab_size=270)
    assert Tokenizer.load(tmp_path / "a").fingerprint == expected.fingerprint


def test_train_names_a_weight_that_fits_nothing(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--vocab-size", 260, "--runs", tmp_path / "runs")
    assert run("tokenize", "train", dataset, "--weights", "cod=3", "--out", tmp_path / "a", *options) == 0
    assert "'cod'" in capsys.readouterr().err
    assert run("tokenize", "train", dataset, "--weights", "code", "--out", tmp_path / "b", *options) == 2


def test_train_goes_on_from_a_tokenizer(dataset: Path, tmp_path: Path) -> None:
    old = Tokenizer.train(["hat hat"], vocab_size=259)
    old.save(tmp_path / "old")
    options = ("--extend", tmp_path / "old", "--out", tmp_path / "new", "--runs", tmp_path / "runs")
    assert run("tokenize", "train", dataset, "--vocab-size", 262, *options) == 0
    new = Tokenizer.load(tmp_path / "new")
    assert new.vocab_size == 262
    assert new.vocabulary.tokens[:259] == old.vocabulary.tokens


def test_train_across_words_and_with_byte_fallback(dataset: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "a", "--runs", tmp_path / "runs")
    assert run("tokenize", "train", dataset, "--vocab-size", 285, "--superwords-from", 265, *out) == 0
    assert b"cut(hat" in b"|".join(Tokenizer.load(tmp_path / "a").vocabulary.tokens)
    out = ("--out", tmp_path / "b", "--runs", tmp_path / "runs")
    assert run("tokenize", "train", dataset, "--vocab-size", 285, "--byte-fallback", *out) == 0
    assert Tokenizer.load(tmp_path / "b").decode(Tokenizer.load(tmp_path / "b").encode("the é")) == "the é"


def test_a_dash_is_standard_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = Tokenizer.train(["the cat"] * 2, vocab_size=260)
    tokenizer.save(tmp_path / "bpe")
    data = "the cat\nGröße ".encode() + b"\xff"
    for words, expected in (
        (("encode",), [*map(str, tokenizer.encode(data))]),
        (("show",), ["17", "tokens", "for", "17", "bytes"]),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert run("tokenize", *words, tmp_path / "bpe", "-") == 0
        printed = capsys.readouterr().out.split()
        assert " ".join(expected[-3:]) in " ".join(printed)
        assert words == ("show",) or printed == expected
