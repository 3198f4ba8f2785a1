"""Parsers: what teachers write around an answer comes off, and what has not the form is rejected for a reason."""

import json
from collections.abc import Callable

import pytest

from tilth.synthesis.define import ParseError
from tilth.synthesis.parse import (
    Pair,
    Table,
    after_prefix,
    bullets,
    clean,
    code_block,
    content,
    json_value,
    labelled,
    pairs,
    prose,
    render_table,
    steps,
    strip_markdown,
    strip_quotes,
    table,
    unfenced,
)


def reason(parse: Callable[[str], object], answer: str) -> str:
    with pytest.raises(ParseError) as caught:
        parse(answer)
    return caught.value.reason


def test_clean_takes_off_what_cannot_be_seen() -> None:
    assert clean("\ufeffa\u200bb\u202ec \r\nd\x00\r\r\r\re\u00a0f\ud800 ") == "abc\nd\n\ne f\ufffd"
    assert clean("نمی\u200cخواهم") == "نمی\u200cخواهم"  # the joiner is part of the word
    assert reason(clean, " \u200b\n\t\x00") == "empty"


@pytest.mark.parametrize(
    "answer",
    [
        "The text.",
        "Sure! Here is the text you asked for:\n\nThe text.",
        "Here's the rewritten passage:\nThe text.",
        "The text.\n\nLet me know if you want another one!",
        "Certainly!\n\nThe text.\n\nI hope this helps.",
        "```\nThe text.\n```",
        "Sure, here is the text:\n```text\nThe text.\n```\n\nFeel free to ask for changes.",
        "<think>\nHm, a text. I cannot help but think.\n</think>\n\nThe text.",
        "and so I say.</think>The text.",
        "<<<1a2b3c4d\nThe text.\n1a2b3c4d>>>",
    ],
)
def test_content_is_what_was_asked_for(answer: str) -> None:
    assert content(answer) == "The text."
    assert content(answer.replace("\n", "\r\n")) == "The text."


@pytest.mark.parametrize(
    "text",
    [
        "Great storms came that winter.\nNobody slept.",
        "Okay is a word.\nIt is short.",
        "Here is where it began: in a kitchen.\n\nIt ended there.",
        "One.\n\n```\ncode\n```\n\nTwo.",
        "```\na\n```\nand\n```\nb\n```",
        '"I cannot help it," he said. "I am sorry."',
    ],
)
def test_content_leaves_content_alone(text: str) -> None:
    assert content(text) == text


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", "empty"),
        ("```\n\n```", "empty"),
        ("I'm sorry, but I cannot help with that.", "refused"),
        ("As an AI language model, I do not have opinions.", "refused"),
        ("<think>This will take a while", "cut_off"),
        ("<think>done</think>", "empty"),
        ("Sure! Here is your text: Once there was a fox.", "preamble"),
        ("The passage:\n<<<1a2b3c4d\nOld.\n1a2b3c4d>>>\nThe text.", "echo"),
        ("x" * 4_000_001, "too_long"),
    ],
)
def test_content_rejects(answer: str, expected: str) -> None:
    assert reason(content, answer) == expected


def test_markdown_and_quotes() -> None:
    assert strip_markdown("## A **b** ##\n*c* [d](http://e) `f`") == "A b\nc d `f`"
    assert (
        strip_markdown("3 * 4 * 5 and snake_case_name and a ** b ** c")
        == "3 * 4 * 5 and snake_case_name and a ** b ** c"
    )
    assert strip_markdown("# About C#\n#hashtag") == "About C#\n#hashtag"
    assert strip_quotes("“All of it.”") == "All of it."
    assert strip_quotes('"One," he said, "two."') == '"One," he said, "two."'
    assert unfenced("```python\nx\n") == "```python\nx\n"
    assert reason(prose, "***") == "empty"


def test_a_prefix_is_required_and_cut() -> None:
    parse = after_prefix("Here is a paraphrased version:")
    assert parse('**here is a Paraphrased version:**\n"The *text*."') == "The text."
    assert reason(parse, "The text.") == "missing_prefix"
    assert reason(parse, "Sure! Here is a paraphrased version: The text.") == "missing_prefix"
    assert reason(parse, "Here is a paraphrased version: ") == "empty"
    assert reason(parse, "Here is a paraphrased version: One. Here is a paraphrased version: Two.") == "repeated_prefix"
    assert reason(parse, "I'm sorry, but I cannot paraphrase it, because I can't help.") == "refused"


def test_pairs_in_the_forms_that_models_give_them() -> None:
    wanted = [Pair("What?\nA) one\nB) two", "B) two"), Pair("Why?", "Because.\nReally.")]
    assert (
        pairs("Question: What?\nA) one\nB) two\nAnswer: B) two\n\nQuestion: Why?\nAnswer: Because.\nReally.") == wanted
    )
    marked = (
        "# FAQ\n\n**Question 1:** What?\nA) one\nB) two\n**Answer 1:** B) two\n\n2. Q: Why?\n   A: Because.\nReally."
    )
    assert pairs(marked) == wanted


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("There is nothing to ask.", "no_pairs"),
        ("Question: What?\nAnswer: This.\n\nQuestion: And", "incomplete_pair"),
        ("Question: What?\nQuestion: Why?\nAnswer: So.", "incomplete_pair"),
        ("Question:\nAnswer: So.", "incomplete_pair"),
        ("Answer: So.\nQuestion: What?", "incomplete_pair"),
        ("I read the text.\nIt is long.\n\nQuestion: What?\nAnswer: This.", "text_before_pairs"),
    ],
)
def test_pairs_reject(answer: str, expected: str) -> None:
    assert reason(pairs, answer) == expected


def test_bullets() -> None:
    assert bullets("Facts about it:\n- One **is** one.\n* Two\n  and a half.\n\n3. Three") == [
        "One is one.",
        "Two and a half.",
        "Three",
    ]
    assert reason(bullets, "No list at all.") == "not_a_list"
    assert reason(bullets, "- One\nTwo is no item.\n- Three") == "not_a_list"


def test_steps_are_numbered_without_a_gap() -> None:
    assert steps("You need a pan.\n\n1. Heat it.\n   1. Low.\nStep 2: Add oil.\n3) Wait.") == [
        "Heat it.\n   1. Low.",
        "Add oil.",
        "Wait.",
    ]
    assert reason(steps, "1. One\n3. Three") == "steps_out_of_order"
    assert reason(steps, "1. One\n1. Two") == "steps_out_of_order"
    assert reason(steps, "Heat the pan.") == "no_steps"


def test_sections() -> None:
    parse = labelled("Problem", "Final answer")
    assert parse("**Problem:** 1 + 1?\n\n## Final Answer: 2") == {"Problem": "1 + 1?", "Final answer": "2"}
    assert reason(parse, "Problem: 1 + 1?") == "missing_final_answer"
    assert reason(parse, "Problem: a\nProblem: b\nFinal answer: 2") == "repeated_problem"
    assert reason(parse, "Final answer: 2\nProblem: a") == "sections_out_of_order"
    assert reason(parse, "Problem:\nFinal answer: 2") == "empty_problem"
    assert reason(parse, "Let us see.\nProblem: a\nFinal answer: 2") == "text_before_sections"


def test_tables() -> None:
    found, rest = table("Clocks\n\n| a | b |\n|:--|--:|\n| 1 | x \\| y |\n| | 2 |\n\nQuestion: ?")
    assert found == Table(("a", "b"), (("1", "x | y"), ("", "2")))
    assert rest == "Question: ?"
    assert table(render_table(found))[0] == found
    assert table("a | b\n--- | ---\n1 | 2")[0] == Table(("a", "b"), (("1", "2"),))
    assert reason(table, "a b\n1 2") == "no_table"
    assert reason(table, "| a | b |\n| 1 | 2 |") == "no_table"
    assert reason(table, "| a | b |\n|---|---|\n| 1 | 2 | 3 |") == "ragged_table"
    assert reason(table, "| a | b |\n|---|---|---|\n| 1 | 2 |") == "ragged_table"
    assert reason(table, "| a | b |\n|---|---|") == "empty_table"
    assert reason(table, "| a | |\n|---|---|\n| 1 | 2 |") == "empty_table"


def test_json() -> None:
    assert json_value('Here is the JSON:\n```json\n{"a": [1]}\n```\nLet me know!') == {"a": [1]}
    assert json_value('{"a": null}') == {"a": None}
    for answer in ('{"a": NaN}', '{"a": 1, "a": 2}', '"text"', "{", '{"a": "\\ud800"}', "[" * 10**6, "9" * 10_000):
        assert reason(json_value, answer) == "not_json"
    assert reason(json_value, "```json\n{}\n```\n```json\n[]\n```") == "several_code_blocks"
    assert reason(code_block, "Here:\n```html\n<html>") == "cut_off"
    assert json.loads(json.dumps(json_value('[{"a": "é"}]'))) == [{"a": "é"}]


HOSTILE = (
    "q" + " " * 300_000 + "x",
    "# " * 150_000,
    "*" * 300_000,
    "**a " * 75_000,
    "." * 300_000,
    "`" * 300_000,
    "```\n" * 75_000,
    " " * 300_000 + "-|x",
    "a|b\n-|-\n" + "c|d\n" * 75_000,
    "Question: a\nAnswer: b\n" * 12_000,
    "1. a\n" * 60_000,
    "[" * 300_000,
    "[a](" * 75_000,
    "\n" * 300_000 + "x",
    "<<<12345678\n" * 25_000,
)


@pytest.mark.slow
@pytest.mark.parametrize("answer", HOSTILE, ids=lambda answer: repr(answer[:8]))
def test_long_hostile_answers_are_read_or_rejected(answer: str) -> None:
    parsers = [content, prose, after_prefix("Here"), pairs, bullets, steps, labelled("A", "B"), table, json_value]
    outcomes: list[str] = []
    for parse in parsers:  # what takes quadratic time does not come to an end here
        try:
            parse(answer)
            outcomes.append("")
        except ParseError as error:
            outcomes.append(error.reason)
    assert len(outcomes) == len(parsers)
    assert outcomes[-1] != ""  # none of them is JSON
