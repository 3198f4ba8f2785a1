"""What always holds of training: the order of texts does not matter, old ids stay, and the peers read the result."""

import pickle
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Peer

from tilth.tokenizer import END_OF_TEXT, Tokenizer
from tilth.tokenizer.superwords import SuperwordBpe

any_text = st.text(st.characters(exclude_categories=["Cs"]))
awkward_text = st.lists(
    st.sampled_from(["a", "b ", " the", " of", ". ", ": ", "  ", "\n", "12", " 3", "é", "漢", END_OF_TEXT])
)
texts = st.lists(st.one_of(any_text, awkward_text.map("".join)), min_size=1, max_size=5)
KINDS: list[dict[str, Any]] = [
    {},
    {"superwords_from": 265},
    {"superwords_from": 257, "pattern": "gpt2", "tie_break": "lexicographic"},
    {"superwords_from": 260, "pattern": "qwen2", "tie_break": "lowest_pair"},
    {"byte_fallback": True},
]
kinds = pytest.mark.parametrize("options", KINDS, ids=str)


def train(learned: list[str], options: dict[str, Any], **more: Any) -> Tokenizer:
    return Tokenizer.train(learned, vocab_size=more.pop("vocab_size", 340), **options, **more)


def through_file(tokenizer: Tokenizer) -> tuple[Tokenizer, Peer]:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(folder)
        return Tokenizer.load(folder), Peer.from_file(str(Path(folder) / "tokenizer.json"))


@kinds
@settings(max_examples=40, deadline=None)
@given(learned=texts, seed=st.integers(0, 9))
def test_the_order_of_texts_does_not_matter(options: dict[str, Any], learned: list[str], seed: int) -> None:
    shuffled = learned.copy()
    random.Random(seed).shuffle(shuffled)
    assert train(shuffled, options).fingerprint == train(learned, options).fingerprint


@kinds
@settings(max_examples=40, deadline=None)
@given(learned=texts, others=texts)
def test_files_and_peers_give_the_same_ids_and_text_comes_back(
    options: dict[str, Any], learned: list[str], others: list[str]
) -> None:
    tokenizer = train(learned, options, vocab_size=800 if "byte_fallback" in options else 340)
    loaded, peer = through_file(tokenizer)
    assert loaded.fingerprint == tokenizer.fingerprint
    for text in learned + others:
        ids = tokenizer.encode(text, allowed_special="all")
        assert loaded.encode(text, allowed_special="all") == ids
        assert peer.encode(text).ids == ids
        assert tokenizer.decode(ids) == (text.replace("\u2581", " ") if "byte_fallback" in options else text)


@settings(max_examples=60, deadline=None)
@given(learned=texts, others=texts)
def test_superwords_have_the_ids_of_merging_byte_by_byte(learned: list[str], others: list[str]) -> None:
    tokenizer = train(learned, {"superwords_from": 262})
    assert type(tokenizer.scheme) is SuperwordBpe
    plain = Tokenizer(tokenizer.vocabulary)
    options: dict[str, Any] = {"allowed_special": "all"}
    every = learned + others
    ids = [plain.encode(text, **options) for text in every]
    assert [tokenizer.encode(text, **options) for text in every] == ids
    assert tokenizer.encode_batch(every, 2, **options) == ids
    assert [pickle.loads(pickle.dumps(tokenizer)).encode_to_numpy(text, **options).tolist() for text in every] == ids
    assert [len(tokenizer.offsets(text, **options)) for text in every] == [len(part) for part in ids]
    assert [tokenizer.encode_with_dropout(text, 0, seed=1, **options) for text in every] == ids


@kinds
@settings(max_examples=40, deadline=None)
@given(learned=texts, new=texts, text=st.one_of(any_text, awkward_text.map("".join)))
def test_old_ids_stay(options: dict[str, Any], learned: list[str], new: list[str], text: str) -> None:
    if "byte_fallback" in options:
        return
    old = train(learned, options)
    options = {name: value for name, value in options.items() if name == "tie_break"}
    after = Tokenizer.train(new, vocab_size=old.vocab_size + 30, special_tokens=("<b>",), extend=old, **options)
    assert after.vocabulary.tokens[: old.vocab_size] == old.vocabulary.tokens
    assert after.special_tokens.items() >= old.special_tokens.items()
    ids = after.encode(text, allowed_special=[END_OF_TEXT], disallowed_special=())
    assert after.decode(ids) == text
    # Where no new token stands, nothing changed.
    if max(ids, default=0) < old.vocab_size:
        assert ids == old.encode(text, allowed_special=[END_OF_TEXT], disallowed_special=())
    _, peer = through_file(after)
    assert peer.encode(text).ids == after.encode(text, allowed_special="all")


@settings(max_examples=40, deadline=None)
@given(learned=texts, text=st.one_of(any_text, awkward_text.map("".join)))
def test_ranks_that_are_extended_stay_ranks(learned: list[str], text: str) -> None:
    base = {bytes([byte]): byte for byte in range(256)} | {b"th": 256, b"he": 257, b"the": 258, b" the": 260}
    old = Tokenizer.from_ranks(base, pattern="llama3", special_tokens={END_OF_TEXT: 259})
    after = Tokenizer.train(learned, vocab_size=old.vocab_size + 30, extend=old)
    assert after.vocabulary.tokens[: old.vocab_size] == old.vocabulary.tokens
    ids = after.encode(text, allowed_special="all")
    assert after.decode(ids) == text
    if max(ids, default=0) < old.vocab_size:
        assert ids == old.encode(text, allowed_special="all")
