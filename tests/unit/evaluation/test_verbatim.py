"""Spans of a text that the training text holds: exact, whole words, counted by documents."""

from __future__ import annotations

import random

import pytest

from tilth.evaluation import verbatim
from tilth.evaluation.verbatim import VerbatimSearch
from tilth.types import Document


def searched(texts: list[str], training: list[str], least_bytes: int = 16) -> VerbatimSearch:
    search = VerbatimSearch(texts, least_bytes)
    for index, text in enumerate(training):
        search.add(Document.make(text, source=f"{index}.txt"))
    search.finish()
    return search


def spans(search: VerbatimSearch, number: int = 0) -> list[str]:
    content = search.contents[number]
    return [content[match.start : match.end].decode() for match in search.matches(number)]


def longest_from(text: str, start: int, training: list[str]) -> int:
    end = start
    while end < len(text) and any(text[start : end + 1] in document for document in training):
        end += 1
    return end


@pytest.mark.parametrize("seed", range(6))
def test_the_spans_are_those_of_a_plain_search(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words of four letters, so that a span of whole words of 16 bytes has at least four of them."""
    monkeypatch.setattr(verbatim, "BLOCK_BYTES", 900)  # several blocks
    draw = random.Random(seed)
    words = ["".join(draw.choices("ab", k=4)) for _ in range(7)]
    training = [" ".join(draw.choices(words, k=40)) for _ in range(25)]
    text = " ".join(draw.choices(words, k=60))
    search = searched([text], training)
    matches = search.matches(0)
    assert matches, "the test has nothing to look at"
    for match in matches:
        span = text[match.start : match.end]
        held = match.document.text
        assert held[match.position : match.position + len(span)] == span
        assert match.documents == sum(span in document for document in training)
        first = next(document for document in training if span in document)
        assert held == first or span in held
    # From each word: as far as any document goes, in whole words; what is part of a longer span is left out.
    starts = [0, *(i + 1 for i, letter in enumerate(text) if letter == " ")]
    plain: list[tuple[int, int]] = []
    for start in starts:
        end = longest_from(text, start, training)
        while end > start and end < len(text) and text[end] != " ":
            end -= 1
        if end - start >= 16 and (not plain or end > plain[-1][1]):
            plain.append((start, end))
    assert [(match.start, match.end) for match in matches] == plain
    covered = {i for start, end in plain for i in range(start, end)}
    assert search.share(0) == pytest.approx(len(covered) / len(text))


def test_a_span_does_not_go_over_the_end_of_a_document() -> None:
    halves = ["one two three four five", "six seven eight nine ten"]
    search = searched(["one two three four five six seven eight nine ten"], halves)
    assert spans(search) == halves


def test_indentation_and_ruled_lines_are_no_spans() -> None:
    text = "def f(x):\n" + " " * 60 + "\n# " + "-" * 60 + "\n"
    assert spans(searched([text], [" " * 100 + "\n# " + "-" * 100])) == []


def test_characters_of_several_bytes_stay_whole() -> None:
    text, held = "湖面结冰了鸭子还没有离开", "冰了鸭子还没有离去"
    assert spans(searched([text], [held])) == ["冰了鸭子还没有离"]


def test_words_that_are_cut_are_left_out() -> None:
    assert spans(searched(["an undoing of the old kinds of things"], ["doing of the old kinds of thinking"])) == [
        "of the old kinds of"
    ]


def test_documents_are_counted_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbatim, "MOST_DOCUMENTS", 3)
    training = [f"{n}: the same words again and again" for n in range(9)]
    (match,) = searched(["the same words again and again"], training).matches(0)
    assert match.documents == 3 and match.document.source == "0.txt"


def test_short_and_empty_texts_hold_no_span() -> None:
    search = searched(["", "short"], ["short", "", "a text that is long enough to be searched"])
    assert [search.matches(number) for number in (0, 1)] == [[], []]
    assert [search.share(number) for number in (0, 1)] == [0.0, 0.0]
    assert search.n_documents == 3


def test_a_span_begins_with_the_signs_before_its_words() -> None:
    """Windows of signs alone are not looked for; a span that is found reaches back over them."""
    span = "-- -- -- the old kinds of things"
    (match,) = searched([f"x {span} y"], [f"something before {span} and after"]).matches(0)
    assert match.document.text[match.position :].startswith(span)
    assert (match.start, match.end) == (2, 2 + len(span))
