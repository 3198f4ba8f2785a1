"""Comparison: the figures by hand, the corpus, and the page."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tilth.errors import ConfigError, DataError
from tilth.tokenizer import Tokenizer
from tilth.tokenizer.compare import compare, renyi_efficiency
from tilth.tokenizer.compare_page import page
from tilth.tokenizer.corpus import Sample, read_corpus, script_of
from unit.tokenizer import model_files as files

TEXT = "the cat in the hat 123 <b>\n"


@pytest.fixture
def tokenizers(tmp_path: Path) -> dict[str, Tokenizer]:
    (tmp_path / "tokenizer.model").write_bytes(files.model())
    ranks = {bytes([byte]): byte for byte in range(256)}
    return {
        "bytes": Tokenizer.from_ranks(ranks, pattern="gpt2"),
        "bpe": Tokenizer.train([TEXT] * 3, vocab_size=270),
        "pieces": Tokenizer.load(tmp_path / "tokenizer.model"),
    }


def test_figures_by_hand(tokenizers: dict[str, Tokenizer]) -> None:
    samples = [Sample(text=TEXT, source="a", script="Latin"), Sample(text="12", source="b", kind="code", language="x")]
    comparison = compare(tokenizers, samples)
    first = comparison.tokenizers[0]
    groups = {(group.kind, group.name): group for group in first.groups}
    everything = groups["all", "all"]
    assert (everything.documents, everything.bytes, everything.tokens) == (2, len(TEXT) + 2, len(TEXT) + 2)
    assert everything.bytes_per_token == 1 and everything.words == 8 and everything.fertility == 29 / 8
    assert set(groups) == {
        ("all", "all"), ("source", "a"), ("source", "b"), ("kind", "prose"), ("kind", "code"), ("kind", "digits"),
        ("script", "Latin"), ("language", "x"),
    }  # fmt: skip
    assert groups["kind", "digits"].bytes == len("123\n12")
    assert first.used_tokens == len(set(TEXT)) and first.n_never_used == 256 - len(set(TEXT))
    assert first.n_part_of_character == 128 and first.is_lossless and first.n_unreachable == 0
    shortest = min(m.groups[0].tokens for m in comparison.tokenizers)
    assert [m.relative_length for m in comparison.tokenizers] == [
        m.groups[0].tokens / shortest for m in comparison.tokenizers
    ]
    assert all(m.megabytes_per_second > 0 for m in comparison.tokenizers)
    assert json.loads(json.dumps(comparison.to_json()))["tokenizers"][0]["groups"][0]["fertility"] == 29 / 8


def test_tokens_that_their_own_text_does_not_reach_are_found() -> None:
    ranks = {bytes([byte]): byte for byte in range(256)}
    tokenizer = Tokenizer.from_ranks(ranks | {b"x y": 256, b"ab": 257}, pattern="gpt2")
    (measured,) = compare({"one": tokenizer}, [Sample(text="abc", source="a")]).tokenizers
    assert measured.unreachable == ("x y",) and measured.longest_tokens[0] == "ab"


def test_renyi_efficiency_of_known_distributions() -> None:
    assert renyi_efficiency(np.array([5, 5, 5, 5])) == pytest.approx(1)
    assert renyi_efficiency(np.array([7, 0, 0, 0])) == pytest.approx(0)
    assert renyi_efficiency(np.array([0, 0])) == 0
    assert renyi_efficiency(np.array([3, 1]), order=2) == pytest.approx(-math.log2(9 / 16 + 1 / 16))


def test_nothing_to_compare(tokenizers: dict[str, Tokenizer]) -> None:
    for given in (compare, lambda t, s: compare({}, [Sample(text="a", source="a")])):
        with pytest.raises(ConfigError, match="nothing to compare"):
            given(tokenizers, [])


@pytest.mark.parametrize(
    ("text", "script"),
    [("the 漢", "Latin"), ("漢字かな", "Japanese"), ("漢字", "Han"), ("12 .", None), ("привет a", "Cyrillic")],
)
def test_scripts(text: str, script: str | None) -> None:
    assert script_of(text) == script


def test_a_corpus_of_files(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.py").write_text("x = 1\n")
    (tmp_path / "src/b.txt").write_text("words " * 100)
    (tmp_path / "c.jsonl").write_text('{"text": "hallo", "lang": "de"}\n')
    samples = read_corpus([str(tmp_path / "src"), str(tmp_path / "c.jsonl")], 50)
    assert [(s.source, s.kind, s.language, len(s.text)) for s in samples] == [
        ("src", "code", None, 6),
        ("src", "prose", None, 44),
        ("c.jsonl", "prose", "de", 5),
    ]
    with pytest.raises(DataError, match="does not exist"):
        read_corpus([str(tmp_path / "gone")], 10)
    with pytest.raises(ConfigError, match="max_bytes is 0"):
        read_corpus([], 0)
    (tmp_path / "surrogate.jsonl").write_text('{"text": "a\\ud800"}\n')
    assert read_corpus([str(tmp_path / "surrogate.jsonl")], 10)[0].text == "a\ufffd"
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DataError, match="holds no text"):
        read_corpus([str(tmp_path / "empty.txt")], 10)
    (tmp_path / "bad.jsonl").write_text('{"text": 1}\n')
    with pytest.raises(DataError, match="line 1 has no text"):
        read_corpus([str(tmp_path / "bad.jsonl")], 10)


def test_the_page_shows_the_cuts_and_escapes_text(tokenizers: dict[str, Tokenizer]) -> None:
    text = "<script>alert(1)</script> 漢\x07"
    html = page(compare(tokenizers, [Sample(text=text, source="<i>")]))
    assert "<script" not in html and "&lt;" in html and "<i>" not in html and "\x07" not in html
    assert html.count("<figcaption>") == 6 and 'data-id="60"' in html and "‹e6›" in html
    assert page(compare(tokenizers, [Sample(text="a", source="a")])).startswith("<!doctype html>")
