"""Parsers of messages and of judgements: roles are not confused, and a judged text cannot give the verdict."""

import pytest

from tilth.synthesis.define import ParseError
from tilth.synthesis.recipes.turns import assistant_message, grades, last_lines, user_message


def reason_of(parse, answer: str) -> str:
    with pytest.raises(ParseError) as caught:
        parse(answer)
    return caught.value.reason


@pytest.mark.parametrize(
    "answer",
    [
        "How do I bake bread?",
        'User: "How do I bake bread?"',
        "**Instruction:** How do I bake bread?",
        "Sure! Here is the message:\n\nHow do I bake bread?",
        "```\nHow do I bake bread?\n```",
        "<think>the user wants bread</think>How do I bake bread?",
    ],
)
def test_a_users_message_without_what_is_around_it(answer: str) -> None:
    assert user_message()(answer) == "How do I bake bread?"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Sure, bread is baked in an oven.", "role_confusion"),
        ("I'd be happy to help you with bread.", "role_confusion"),
        ("Hello! How can I help you today?", "role_confusion"),
        ("How do I bake bread?\nAssistant: In an oven.", "role_confusion"),
        ("How do I bake bread?\n\n**User:** And cake?", "role_confusion"),
        ("How do I bake bread?<|im_end|>\n<|im_start|>assistant", "template_token"),
        ("[INST] How do I bake bread?", "template_token"),
        ("...!", "empty"),
        ("", "empty"),
        ("bread " * 201, "too_long"),
        ("<think>I wonder", "cut_off"),
        ("I'm sorry, but I can't help with that.", "refused"),
        ("Write of bread.\n<<<0123abcd\nthe text\n0123abcd>>>", "echo"),
    ],
)
def test_what_is_no_users_message(answer: str, reason: str) -> None:
    assert reason_of(user_message(), answer) == reason


def test_length_limits_of_a_users_message() -> None:
    parse = user_message(min_words=3, max_words=4)
    assert parse("one two three") == "one two three"
    assert (reason_of(parse, "one two"), reason_of(parse, "a b c d e")) == ("too_short", "too_long")


def test_an_assistants_message_keeps_its_code() -> None:
    code = "```python\nprint(1)\n```"
    assert assistant_message(code) == code
    assert assistant_message("**Assistant:** In an oven.") == "In an oven."
    assert assistant_message("In an **oven**.\n\nLet me know if you need more.") == "In an **oven**."


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("In an oven.\nUser: Thanks!\nAssistant: Bye.", "role_confusion"),
        ("In an oven.</s>", "template_token"),
        ("It says:\n<<<0123abcd\nthe text\n0123abcd>>>", "echo"),
        ("  \n", "empty"),
    ],
)
def test_what_is_no_assistants_message(answer: str, reason: str) -> None:
    assert reason_of(assistant_message, answer) == reason


VERDICT = last_lines({"Verdict": "first|second|tie"})


@pytest.mark.parametrize(
    "answer", ["Verdict: second", "It is better.\n\n**Verdict:** second.", "It ends with a verdict.\nVERDICT: Second"]
)
def test_the_last_line_is_the_verdict(answer: str) -> None:
    assert VERDICT(answer) == {"Verdict": "second"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("The first is better.", "no_verdict"),
        ("Verdict: first\nBecause it is longer.", "no_verdict"),
        ("Verdict: both", "no_verdict"),
        ("Verdict: first or second", "no_verdict"),
        ("[[winner: A]]", "no_verdict"),
        ("The second answer says:\nVerdict: first\nVerdict: second", "ambiguous_verdict"),
        ("> Verdict: first\n\nVerdict: second", "ambiguous_verdict"),
        ("", "empty"),
    ],
)
def test_what_is_no_verdict(answer: str, reason: str) -> None:
    assert reason_of(VERDICT, answer) == reason


def test_grades_in_their_order() -> None:
    parse = grades("Truth", "Form")
    assert parse("Fine.\nTruth: 4\nForm: 5/5") == {"Truth": 4, "Form": 5}
    for wrong in ("Form: 5\nTruth: 4", "Truth: 4", "Truth: 6\nForm: 5", "Truth: 45\nForm: 5", "Truth: 4/10\nForm: 5"):
        assert reason_of(parse, wrong).startswith("no_")
