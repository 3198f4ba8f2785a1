"""`tokenizer.json`: the same bytes from run to run, the same tokenizer back, and clear refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tilth.errors import DataError
from tilth.tokenizer import Tokenizer

TEXT = "the cat in the hat, the hat on the cat; éa 漢字 123"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    Tokenizer.train([TEXT] * 3, vocab_size=280).save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "llama3", r"\w+|\W"])
def test_a_saved_tokenizer_loads_as_the_same(pattern: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.train([TEXT], vocab_size=280, pattern=pattern, special_tokens=("<a>", "<b>"))
    tokenizer.save(tmp_path)
    for path in (tmp_path, tmp_path / "tokenizer.json", str(tmp_path)):
        loaded = Tokenizer.load(path)
        assert loaded.fingerprint == tokenizer.fingerprint
        assert loaded.special_tokens == tokenizer.special_tokens
        assert loaded.pattern == pattern
        assert loaded.encode(TEXT) == tokenizer.encode(TEXT)


def test_saving_twice_writes_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    Tokenizer.train([TEXT] * 3, vocab_size=280).save(tmp_path / "again")
    Tokenizer.load(saved).save(tmp_path / "loaded")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        content = (saved / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == content
        assert (tmp_path / "loaded" / name).read_bytes() == content
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == [
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def change(path: tuple[str | int, ...], value: object) -> Callable[[Any], None]:
    def apply(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return apply


SPLIT = ("pre_tokenizer", "pretokenizers", 0)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change(("normalizer",), {"type": "Lowercase"}), r"a normalizer \(Lowercase\) is not supported"),
        (change(("truncation",), {"max_length": 3}), "a truncation"),
        (
            change(("post_processor",), {"type": "SomeProcessing"}),
            "the post-processor SomeProcessing",
        ),
        (change(("pre_tokenizer",), {"type": "Metaspace"}), "the pre-tokenizer Metaspace"),
        (change(("pre_tokenizer",), None), "a missing pre-tokenizer"),
        (change(("pre_tokenizer", "pretokenizers", 1, "add_prefix_space"), True), "add_prefix_space"),
        (change((*SPLIT, "behavior"), "Removed"), "a Split other than"),
        (change((*SPLIT, "pattern"), {"String": " "}), "a Split other than"),
        (change(("model", "type"), "Markov"), "a model of type Markov"),
        (change(("model", "type"), "Unigram"), "the `tokenizers` library cannot read it"),
        (change(("model", "byte_fallback"), True), "the pre-tokenizer Sequence is not supported"),
        (change(("decoder", "type"), "Metaspace"), "the decoder Metaspace"),
        (change(("model", "continuing_subword_prefix"), "##"), "continuing_subword_prefix"),
        (change(("added_tokens", 0, "single_word"), True), "single_word of the added token"),
        (change(("added_tokens", 0, "id"), -1), "cannot work"),
        (change(("model", "vocab", "a"), 1 << 40), "is not between 0 and"),
        (change(("added_tokens", 0, "id"), 0), "have the same id 0"),
        (change(("model", "vocab", "<|endoftext|>"), 5), "has two ids, 5 and 279"),
        (change(("model", "vocab", "a b"), 400), r"' ' in the token 'a b' \(id 400\) is no byte"),
        (change(("model", "merges", 2), ["t", "nothing"]), r"merge 2, \['t', 'nothing'\]"),
        (change(("model", "merges", 2), "a b c"), "merge 2, 'a b c'"),
        (change(("model", "merges", 1), ["z", "z"]), "merge 1 makes bytes that are no token"),
        (
            change(("model", "merges"), [["h", "e"], ["h", "e"]]),
            "merge 1 repeats an earlier merge|makes bytes",
        ),
        (change(("model",), {}), "KeyError 'vocab'"),
        (change(("model",), []), "is not a tokenizer.json"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(saved: Path, edit: Callable[[Any], None], message: str) -> None:
    file = saved / "tokenizer.json"
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as raised:
        Tokenizer.load(file)
    assert str(file) in str(raised.value)


@pytest.mark.parametrize("missing", list("!é"))
def test_a_byte_without_a_token_is_refused(saved: Path, missing: str) -> None:
    file = saved / "tokenizer.json"
    content = json.loads(file.read_text())
    del content["model"]["vocab"][missing]
    content["model"]["merges"] = []
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="no token for the byte"):
        Tokenizer.load(file)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"3", b"null", b'{"model": 3}'])
def test_a_broken_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        Tokenizer.load(tmp_path / "nowhere")


def test_merges_may_be_written_as_strings(saved: Path) -> None:
    file = saved / "tokenizer.json"
    before = Tokenizer.load(file)
    content = json.loads(file.read_text())
    content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
    file.write_text(json.dumps(content))
    assert Tokenizer.load(file).fingerprint == before.fingerprint
