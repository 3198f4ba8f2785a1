"""Passages: whole lines, nothing lost, and sets of them by tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilth.errors import DataError
from tilth.improve.text.passages import (
    check_enough,
    first_tokens,
    n_tokens,
    passages_of,
    random_tokens,
    without_texts,
)
from tilth.tokenizer import Tokenizer
from tilth.types import Document
from unit.improve.text.made_up_text import documents

LINES = st.lists(st.text(alphabet="ab é\t", max_size=20), max_size=30)
DOCUMENTS = documents(4, seed=3)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([d.text for d in DOCUMENTS], vocab_size=280, special_tokens=["<|endoftext|>"])


@given(LINES, st.integers(1, 60))
def test_every_line_with_text_is_in_one_passage_in_order(lines: list[str], most_bytes: int) -> None:
    document = Document.make("\n".join(lines), "a")
    passages = [passage.text for passage in passages_of([document], most_bytes)]
    found = [line.strip() for passage in passages for line in passage.splitlines() if line.strip()]
    assert found == [line.strip() for line in document.text.splitlines() if line.strip()]
    assert all(passage.strip() for passage in passages)
    for passage in passages:  # more than one line only where they fit
        assert len(passage.encode()) <= most_bytes or len(passage.splitlines()) == 1


def test_a_passage_keeps_where_it_is_from() -> None:
    passages = list(passages_of(DOCUMENTS[:1], 100))
    assert len(passages) > 5
    assert {p.source for p in passages} == {DOCUMENTS[0].source}
    assert {p.meta["kind"] for p in passages} == {"prose"}


def test_known_texts_and_copies_are_left_out() -> None:
    a, b, c = (Document.make(text, "x") for text in "abc")
    assert without_texts([a, b, b, c, a], {"c"}) == [a, b]


def test_sets_have_the_tokens_that_were_asked_for(tokenizer: Tokenizer) -> None:
    passages = list(passages_of(DOCUMENTS, 60))
    sizes = n_tokens(passages, tokenizer)
    assert sizes[0] == len(tokenizer.encode_ordinary(passages[0].text)) + 1
    some = first_tokens(passages, 200, tokenizer)
    assert some == passages[: len(some)]
    assert sum(sizes[: len(some)]) >= 200 > sum(sizes[: len(some) - 1])
    assert first_tokens(passages, 10**9, tokenizer) == passages
    drawn = random_tokens(passages, 200, tokenizer, np.random.default_rng(0))
    assert sum(n_tokens(drawn, tokenizer)) >= 200 and drawn != some
    assert drawn == random_tokens(passages, 200, tokenizer, np.random.default_rng(0))
    assert first_tokens([], 10, tokenizer) == []


def test_too_little_text_is_said(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="tokens of real text; 1,000,000 are needed"):
        check_enough(DOCUMENTS, 1_000_000, tokenizer, "real text")
    check_enough(DOCUMENTS, 100, tokenizer, "real text")
