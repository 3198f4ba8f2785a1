"""Training on from a vocabulary that is there: old ids stay, new ones follow."""

from pathlib import Path
from typing import Any

import pytest

from tilth.errors import ConfigError
from tilth.tokenizer import END_OF_TEXT, Tokenizer
from unit.tokenizer.plain_training import plain_training

OLD_TEXTS = ["the cat in the hat sat on the mat"] * 3
NEW_TEXTS = ["die Katze im Hut, die Katze im Sack; the end"] * 4
BYTES = {bytes([byte]): byte for byte in range(256)}


@pytest.fixture(scope="module")
def old() -> Tokenizer:
    return Tokenizer.train(OLD_TEXTS, vocab_size=270, special_tokens=("<a>", END_OF_TEXT))


@pytest.fixture(scope="module")
def ranked() -> Tokenizer:
    """A rank file's kind of vocabulary, with a gap and special tokens among the ids."""
    ranks = {**BYTES, b"th": 256, b"he": 257, b"the": 259, b" the": 260, b" t": 261}
    return Tokenizer.from_ranks(ranks, pattern="gpt2", special_tokens={END_OF_TEXT: 262, "<a>": 265})


@pytest.mark.parametrize("kind", ["old", "ranked"])
def test_old_ids_stay_and_new_ones_follow(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    before: Tokenizer = request.getfixturevalue(kind)
    after = Tokenizer.train(NEW_TEXTS, vocab_size=before.vocab_size + 9, special_tokens=("<b>",), extend=before)
    assert after.vocabulary.tokens[: before.vocab_size] == before.vocabulary.tokens
    assert after.vocab_size == before.vocab_size + 9
    assert after.special_tokens == before.special_tokens | {"<b>": before.vocab_size + 8}
    assert after.pattern == before.pattern
    assert all(after.token_bytes(i) for i in range(before.vocab_size, after.vocab_size))
    unchanged = "the<a> the thethe"  # no new token stands in it
    ids = before.encode(unchanged, allowed_special="all")
    assert after.encode(unchanged, allowed_special="all") == ids
    assert len(after.encode(NEW_TEXTS[0])) < len(before.encode(NEW_TEXTS[0]))
    after.save(tmp_path)
    assert Tokenizer.load(tmp_path).encode(NEW_TEXTS[0]) == after.encode(NEW_TEXTS[0])


def test_merges_are_those_of_plain_training(old: Tokenizer) -> None:
    tokens = old.vocabulary.tokens
    first = [(tokens[left], tokens[right]) for left, right in old.merges.tolist()]
    after = Tokenizer.train(NEW_TEXTS, vocab_size=old.vocab_size + 12, extend=old)
    assert list(after.vocabulary.tokens[old.vocab_size :]) == plain_training(NEW_TEXTS, 12, "huggingface", first=first)


def test_a_vocabulary_that_is_a_rank_file_stays_one(ranked: Tokenizer, tmp_path: Path) -> None:
    after = Tokenizer.train(NEW_TEXTS, vocab_size=ranked.vocab_size + 5, special_tokens=(), extend=ranked)
    after.save_ranks(tmp_path / "x.tiktoken")
    again = Tokenizer.load(tmp_path / "x.tiktoken", pattern="gpt2", special_tokens=after.special_tokens)
    assert again.fingerprint == after.fingerprint


def test_superwords_go_on_top_of_an_old_vocabulary(old: Tokenizer) -> None:
    size = old.vocab_size
    after = Tokenizer.train(NEW_TEXTS, vocab_size=size + 30, superwords_from=size, extend=old)
    assert after.vocabulary.tokens[:size] == old.vocabulary.tokens
    assert any(b" " in token[1:] for token in after.vocabulary.tokens[size:])
    # What cuts for superwords stays, and so do the limits.
    further = Tokenizer.train(NEW_TEXTS, vocab_size=size + 60, extend=after)
    assert further.pattern == after.pattern
    assert max(len(token.split()) for token in further.vocabulary.tokens) <= 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 269}, "vocab_size 269 is less than the 270"),
        ({"vocab_size": 270, "special_tokens": ("<b>",)}, "Use more than 271"),
        ({"vocab_size": 300, "superwords_from": 265}, "superwords_from 265"),
        ({"vocab_size": 300, "pattern": "gpt2"}, "Leave out `pattern`"),
        ({"vocab_size": 600, "byte_fallback": True}, "byte_fallback is for new vocabularies"),
    ],
)
def test_what_cannot_go_on_is_refused(old: Tokenizer, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match="(?s)" + message):
        Tokenizer.train(NEW_TEXTS, **options, extend=old)


def test_only_plain_byte_level_bpe_can_be_extended() -> None:
    pieces = Tokenizer.train(OLD_TEXTS, vocab_size=300, byte_fallback=True)
    with pytest.raises(ConfigError, match="Only plain byte-level BPE"):
        Tokenizer.train(NEW_TEXTS, vocab_size=400, extend=pieces)
