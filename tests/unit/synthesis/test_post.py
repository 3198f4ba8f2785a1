"""Post rules: lengths, openings, pairs to keep, arithmetic."""

import numpy as np
import pytest

from tilth.synthesis.define import ParseError
from tilth.synthesis.parse import Pair, content
from tilth.synthesis.post import (
    at_least,
    estimate_tokens,
    keep_some,
    numbers,
    without_boilerplate_opening,
    without_title,
    wrong_equation,
)


def test_tokens_are_estimated_by_words_and_by_bytes() -> None:
    assert estimate_tokens("ten words " * 5) == 13
    assert estimate_tokens("数" * 60) == 30  # no blanks, three bytes a character
    assert estimate_tokens("") == 0
    assert at_least(3, content)("one two three") == "one two three"
    with pytest.raises(ParseError, match="too_few_tokens"):
        at_least(5, content)("one two three")


def test_titles_come_off_and_boilerplate_openings_are_rejected() -> None:
    assert without_title(content)("# Clocks\n\nThey tick.") == "They tick."
    assert without_title(content)("**Clocks**\nThey tick.") == "They tick."
    assert without_title(content)("**Clocks** tick.\nReally.") == "**Clocks** tick.\nReally."
    parse = without_boilerplate_opening(content)
    for opening in ("Have you ever wondered why?", "“Once upon a time, a fox", "In this unit, we", "Title: Clocks"):
        with pytest.raises(ParseError, match="boilerplate_opening"):
            parse(opening)
    assert parse("In this town nobody had a clock.")


def test_kept_pairs_are_shuffled_and_bounded_by_the_source() -> None:
    pairs = [Pair(f"q{n}", f"a{n}") for n in range(8)]
    drawn = [keep_some(pairs, 60, np.random.default_rng(seed)) for seed in range(200)]
    assert {len(one) for one in drawn} == {1, 2, 3, 4}  # 10 * 60 / 150
    assert {one[0].question for one in drawn} == {pair.question for pair in pairs}
    assert all(len(set(one)) == len(one) for one in drawn)
    assert {len(keep_some(pairs, 1, np.random.default_rng(seed))) for seed in range(50)} == {1}
    assert max(len(keep_some(pairs, 10**6, np.random.default_rng(seed))) for seed in range(50)) == 8


@pytest.mark.parametrize(
    "text",
    [
        "12 * 3 = 36 rolls, 36 + 4 = 40.",
        "10 / 3 = 3.33 and 10 / 3 = 3",
        "The cost is $3.50 × 2 = $7.00, so (1 + 2) * 3 = 9",
        "1,200 - 200 = 1,000",
        "x + 3 = 5, 20% of 50 = 10, 2x + 3 * 4 = 12, 7 / 2 = 3 remainder 1",
        "10 - 2 = 4 * 2 = 8",
        "f(2) = 9; 2^3 = 8; 5 apples + 3 apples = 8",
    ],
)
def test_right_equations_and_what_is_none(text: str) -> None:
    assert wrong_equation(text) is None


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("First 12 * 3 = 36, then 36 + 4 = 41.", "36 + 4 = 41"),
        ("10 / 3 = 3.34", "10 / 3 = 3.34"),
        ("2 + 3 * 4 = 20", "2 + 3 * 4 = 20"),
        ("(2 + 3) * 4 = 14", "(2 + 3) * 4 = 14"),
        ("$1,200 ÷ 4 = $400", "$1,200 ÷ 4 = $400"),
    ],
)
def test_wrong_equations(text: str, wrong: str) -> None:
    assert wrong_equation(text) == wrong


def test_numbers() -> None:
    assert numbers("1,200 rolls at -2.50") == [1200, -2.5]
    assert numbers("7 " + "1" * 10_000) == [7]
    assert wrong_equation(f"1 + 1 = {'1' * 10_000}, {'1' * 10_000} + 1 = 2") is None
