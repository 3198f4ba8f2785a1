"""Answers as instruct models write them, with labels in bold, headings, rules, remarks: what was paid for is read."""

from collections.abc import Callable

import pytest

from tilth.synthesis.broken_answers import is_refusal
from tilth.synthesis.define import ParseError
from tilth.synthesis.parse import bullets, pairs, prose, steps
from tilth.synthesis.post import wrong_equation
from tilth.synthesis.recipes.active_reading import distinct_items
from tilth.synthesis.recipes.agentinstruct import task_text
from tilth.synthesis.recipes.finephrase import maths, table_with_question, tutorial
from tilth.synthesis.recipes.prox_program import parse_chunk_program, parse_document_program
from tilth.synthesis.recipes.turns import assistant_message, grades, user_message

TWO = [("What is it?", "A thing."), ("Why?", "Because.")]


@pytest.mark.parametrize(
    "answer",
    [
        "**Question 1:** What is it?\n**Answer:** A thing.\n\n---\n\n**Question 2:** Why?\n**Answer:** Because.\n\n---",
        "### Question 1\nWhat is it?\n\n### Answer\nA thing.\n\n### Question 2\nWhy?\n\n### Answer\nBecause.",
        "- Question: What is it? Answer: A thing.\n- Question: Why? Answer: Because.",
        "Frage: What is it?\nAntwort: A thing.\n\nFrage: Why?\nAntwort: Because.",
        "问题：What is it?\n答案：A thing.\n问题：Why?\n答案：Because.",
        "Question : What is it?\nRéponse : A thing.\n\nQuestion : Why?\nRéponse : Because.",
        "Q1: What is it?\nA1: A thing.\n\nQ2: Why?\nA2: Because.",
        "Here are 2 questions:\n\n1. **Question:** What is it?\n   **Answer:** A thing.\n\n2. **Question:** Why?\n"
        "   **Answer:** Because.\n\nNote: I have varied the kinds of questions.",
        "Question: What is it?\nAnswer: A thing.\n\nQuestion: Why?\nAnswer: Because.\n\n"
        "These questions and answers cover the whole text.",
    ],
)
def test_questions_and_answers(answer: str) -> None:
    assert [(pair.question, pair.answer) for pair in pairs(answer)] == TWO


def test_choices_with_a_colon_are_no_answers() -> None:
    (pair,) = pairs("Question: Which?\nA: Paris\nB: Rome\nAnswer: A: Paris")
    assert (pair.question, pair.answer) == ("Which?\nA: Paris\nB: Rome", "A: Paris")


@pytest.mark.parametrize(
    "answer",
    [
        "**Rewritten Passage:**\n\nThe Nile is long.",
        "Simplified text: The Nile is long.",
        "Based on the provided text, here is the knowledge:\n\nThe Nile is long.",
        "The Nile is long.\n\nI've kept the names and numbers as you asked.",
        "The Nile is long.\n\nThis version keeps all facts and is easier to read.",
        "The Nile is long.\n\nWord count: 4",
    ],
)
def test_remarks_about_the_answer_come_off(answer: str) -> None:
    assert prose(answer) == "The Nile is long."


@pytest.mark.parametrize(
    "text",
    [
        "We moved in.\n\nI have kept the original floor, and its colour.",
        "Tax law.\n\nNote: a form is due in May.",
        "The text: a view.",
        "It ended.\n\nThe questions cover a page.",
    ],
)
def test_sentences_of_a_text_stay(text: str) -> None:
    assert prose(text) == text


def test_lists_with_headings_and_levels() -> None:
    assert bullets("**Facts**\n- A.\n- B.\n\n### Causes:\n- C.\n\nDates:\n- D.") == ["A.", "B.", "C.", "D."]
    assert distinct_items("1. **Timeline**\n   - Of the events.\n2. **Quiz**\n   - Ten questions.") == [
        "Timeline Of the events.",
        "Quiz Ten questions.",
    ]
    assert bullets("  - A\n  - B\n  - C") == ["A", "B", "C"]  # the first line's blanks are lost
    with pytest.raises(ParseError, match="not_a_list"):
        bullets("- A.\nAnd this is a sentence that goes on.")


def test_steps_with_numbers_in_them() -> None:
    text = "Intro.\n\n**Step 1:** A\n1. x\n2. y\n\n**Step 2:** B\n1. z\n\n**Step 3:** C"
    assert tutorial(text) == text
    assert steps("Step 1 - A\nStep 2 - B") == ["A", "B"]
    assert steps("1\\. A\n2\\. B") == ["A", "B"]


def test_structured_forms() -> None:
    table = "| A | B |\n| :-- | --: |\n| 1 | 2 |\n| 3 | 4 |"
    one = table_with_question(f"{table}\n\n**Question:** What?\n\n**Answer:** 2\n\n**Question:** Why?\n**Answer:** 3")
    assert one.endswith("Question: What?\nAnswer: 2")
    wanted = "A has 12 boxes of 3.\n\nSolution: 12 * 3 = 36\n\nAnswer: 36"
    assert maths("### Problem\nA has 12 boxes of 3.\n\n### Solution\n12 * 3 = 36\n\n### Answer\n36") == wanted
    assert maths("**Word Problem:** A has 12 boxes of 3.\n**Solution:** 12 * 3 = 36\n**Final Answer:** 36") == wanted


def test_commas_as_decimal_signs() -> None:
    assert wrong_equation("2,5 * 2 = 5") is None and wrong_equation("1.000 + 500 = 1.500") is None
    assert wrong_equation("2,5 * 2 = 6") == "2,5 * 2 = 6"
    assert wrong_equation("3 * 4 = 13") == "3 * 4 = 13" and wrong_equation("1,200 + 5 = 1,206") is not None


@pytest.mark.parametrize(
    "answer",
    [
        "remove_lines(line_start=007, line_end=012)",
        "remove_lines(line_start=[007], line_end=[012])",
        "Here is the program:\n```python\nremove_lines(line_start=007, line_end=012);\n```",
        "`remove_lines(line_start=7, line_end=12)`",
    ],
)
def test_line_numbers_as_they_are_shown(answer: str) -> None:
    (call,) = parse_chunk_program(answer)
    assert call.arguments == {"line_start": 7, "line_end": 12}


def test_programs_with_marks_of_markdown() -> None:
    assert parse_document_program("**keep_doc()**") and not parse_document_program("`drop_doc()`")
    for echo in ("The document says:\n\nSomething.\n```\ndrop_doc()\n```", "```\ndrop_doc()\n```\nwas in the text."):
        with pytest.raises(ParseError):
            parse_document_program(echo)


@pytest.mark.parametrize("line", ["Score: <4>", "Score: [4]", "Score: 4 out of 5", "**Score:** 4/5"])
def test_scores_in_the_brackets_of_the_prompt(line: str) -> None:
    assert grades("Score")(f"It is good.\n{line}") == {"Score": 4}


def test_tasks_lose_their_label() -> None:
    assert task_text("**Edited task:**\n\nWrite a short essay on clocks.") == "Write a short essay on clocks."


@pytest.mark.parametrize(
    "text",
    [
        "I can't create a pivot table in Excel, how can I do it?",
        "I'm sorry, I can't follow: could you explain osmosis again?",
    ],
)
def test_a_user_who_asks_for_help_does_not_refuse(text: str) -> None:
    assert user_message()(text) == text
    assert is_refusal("I'm sorry, I can't help with that. How can I help you today?")
    assert is_refusal("I cannot create this content. Could you provide another document?")


@pytest.mark.parametrize("code", ["```yaml\nuser: root\n```", "class Account:\n    user: str"])
def test_a_field_of_the_name_user_is_no_turn(code: str) -> None:
    parse: Callable[[str], str] = assistant_message
    assert parse(f"Write this:\n\n{code}").endswith(code)
    with pytest.raises(ParseError, match="role_confusion"):
        parse(f"Write this:\n\n{code}\n\nUser: Thanks!")
