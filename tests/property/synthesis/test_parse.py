"""Properties of parsers: nothing but a ParseError comes out of them, and what is rendered is read back."""

import re
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilth.synthesis.define import ParseError
from tilth.synthesis.material import material, material_key
from tilth.synthesis.parse import (
    Pair,
    Table,
    after_prefix,
    bullets,
    code_block,
    content,
    json_value,
    labelled,
    pairs,
    parse_pairs,
    prose,
    render_bullets,
    render_pairs,
    render_table,
    steps,
    table,
)
from tilth.synthesis.passages import first_characters, join_lines, split_passages
from tilth.synthesis.post import estimate_tokens, numbers, wrong_equation
from tilth.synthesis.recipes.agentinstruct import task_text
from tilth.synthesis.recipes.finephrase import PARSERS as FINEPHRASE
from tilth.synthesis.recipes.html_pages import html
from tilth.synthesis.recipes.nemotron_cc import PARSERS as NEMOTRON

PREFIX = "Here is a paraphrased version:"
PARSERS: list[Callable[[str], object]] = [
    content, prose, code_block, pairs, bullets, json_value, steps, table, after_prefix(PREFIX), task_text, html,
    labelled("Problem", "Solution"), *FINEPHRASE.values(), *NEMOTRON.values(),
]  # fmt: skip
FRAGMENTS = (
    "Sure! Here is it:", "\n", "\n\n", "Question: ", "Answer:", "Q1. ", "A: ", "| a | b |", "|---|---|", "1. ",
    "Step 2: ", "- ", "```", "```json", "<think>", "</think>", PREFIX, "Paraphrased Text:", "Problem:", "Solution:",
    "12 * 3 = 36", "<!DOCTYPE html>", "<html>", "<title>t</title>", "<body>", "</html>", "<img src=x>", '{"a": [1, ',
    "]}", "\\ud800", "<<<1a2b3c4d", "1a2b3c4d>>>", "**", "# ", "“", "\r\n", "\u202e", "\u200b", "\ufeff",
    "I'm sorry, but I can't help.",
)  # fmt: skip
"""Pieces of answers; random ones side by side are what malformed answers look like."""
ANSWERS = st.one_of(
    st.text(st.characters(), max_size=200),
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=5)), max_size=20).map("".join),
)
WORD = st.sampled_from(("clock", "b", "2 * 3", "tower,", "(old)", "x_1", "née", "時計", "half?", "end."))
LINE = st.lists(WORD, min_size=1, max_size=6).map(" ".join)
LINES = st.lists(LINE, min_size=1, max_size=3).map("\n".join)


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: getattr(parse, "__name__", "parse"))
@given(answer=ANSWERS)
def test_a_parser_raises_nothing_but_a_parse_error(parse: Callable[[str], object], answer: str) -> None:
    reason = "none"
    try:
        assert parse(answer) is not None
    except ParseError as error:
        reason = error.reason
    assert re.fullmatch(r"[a-z_]+", reason)  # it counts alike in the ledger


@given(st.lists(st.builds(Pair, LINES, LINES), min_size=1, max_size=5))
def test_pairs_are_read_as_they_were_rendered(found: list[Pair]) -> None:
    assert parse_pairs(render_pairs(found)) == found


@given(st.lists(LINE, min_size=1, max_size=5))
def test_bullets_are_read_as_they_were_rendered(items: list[str]) -> None:
    assert bullets(render_bullets(items)) == items


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\\", exclude_categories=("C", "Z")), max_size=5)


@given(st.integers(2, 4).flatmap(lambda n: st.lists(st.tuples(*[CELL] * n), min_size=1, max_size=4)), st.data())
def test_tables_are_read_as_they_were_rendered(rows: list[tuple[str, ...]], data: st.DataObject) -> None:
    header = data.draw(st.tuples(*[WORD] * len(rows[0])))
    found = Table(header, tuple(rows))
    assert table(render_table(found)) == (found, "")


@given(st.lists(st.one_of(st.just(PREFIX), st.just(PREFIX.upper()), st.just(" **"), LINE), max_size=6).map(" ".join))
def test_no_output_has_the_prefix_that_is_required(answer: str) -> None:
    with suppress(ParseError):
        assert PREFIX.lower() not in after_prefix(PREFIX)(answer).lower()


@given(st.text(st.characters(codec="utf-8"), max_size=300), st.integers(2, 30))
def test_passages_are_slices_within_the_limit(text: str, limit: int) -> None:
    for split in (split_passages, join_lines):
        found = split(text, max_tokens=limit)
        assert all(text.encode()[slice(*passage.span)].decode() == passage.text for passage in found)
        assert all(0 < estimate_tokens(passage.text) <= limit for passage in found)
        ends = [passage.span for passage in found]
        assert ends == sorted(ends)
        assert all(one[1] <= two[0] for one, two in pairwise(ends))
    whole = "".join(passage.text for passage in split_passages(text, max_tokens=limit))
    assert "".join(whole.split()) == "".join(text.split())


@given(st.text(st.characters(codec="utf-8"), max_size=200), st.integers(1, 100))
def test_beginnings_are_slices_within_the_limit(text: str, limit: int) -> None:
    found = first_characters(text, limit)
    assert len(found.text) <= limit
    assert text.encode()[slice(*found.span)].decode() == found.text
    assert bool(found.text) == bool(text[:limit].strip()) or text[:1].isspace()


@given(st.text(max_size=200))
def test_marks_cannot_be_closed_by_what_they_enclose(text: str) -> None:
    assert material_key(text) not in text.lower()
    assert material(text).endswith(f"\n{material_key(text.strip(chr(13) + chr(10)))}>>>")


@given(st.text("0123456789.,+-*/=()$ x\n", max_size=60))
def test_arithmetic_is_checked_without_an_error(text: str) -> None:
    wrong_equation(text)
    numbers(text)


@given(st.integers(0, 999), st.integers(0, 999), st.sampled_from("+-*"), st.integers(-3, 3))
def test_a_plain_equation_is_wrong_if_it_is(a: int, b: int, sign: str, off: int) -> None:
    right = {"+": a + b, "-": a - b, "*": a * b}[sign]
    assert (wrong_equation(f"So {a} {sign} {b} = {right + off}.") is None) == (off == 0)
