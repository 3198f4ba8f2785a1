"""Whatever a teacher answers: a parser gives a value of the form that was asked for, or a parse error."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilth.synthesis.define import ParseError
from tilth.synthesis.recipes.conversations import END, parse_user_turn
from tilth.synthesis.recipes.magpie import Magpie, parse_tags, query_parser
from tilth.synthesis.recipes.persona_tasks import parse_result
from tilth.synthesis.recipes.personas import parse_persona
from tilth.synthesis.recipes.prox_program import parse_chunk_program, parse_document_program
from tilth.synthesis.recipes.self_instruct import parse_instances, parse_instructions, parse_yes_no
from tilth.synthesis.recipes.turns import END_MARKS, assistant_message, grades, last_lines, user_message

PARSERS: dict[str, Callable[[str], object]] = {
    "user": user_message(),
    "assistant": assistant_message,
    "verdict": last_lines({"Verdict": "first|second|tie"}),
    "grades": grades("Truth", "Form"),
    "persona": parse_persona,
    "result": parse_result,
    "tags": parse_tags,
    "query": query_parser(Magpie()),
    "instructions": parse_instructions,
    "yes": parse_yes_no,
    "instances": parse_instances,
    "turn": parse_user_turn,
    "document": parse_document_program,
    "chunk": parse_chunk_program,
}
PIECES = (
    "User:", "Assistant:", "Input:", "Output:", "none", "Verdict: first", "Verdict: tie", "Answer: 4", "Answer:",
    "[END]", "```", "\n", "\n\n", "**", "1. ", "- ", "<think>", "</think>", "<|im_end|>", "yes", "Truth: 4", "Form: 5",
    "\ud800", "A farmer who grows leeks near Ghent and sells them.", "keep_doc()", "keep_chunk()",
    "<<<0123abcd", "0123abcd>>>",
    "I'm sorry, but I can't help with that.", "How do leeks grow?", " ", "\x00", "é", "😀",
)  # fmt: skip
ANSWERS = st.one_of(st.text(max_size=120), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))


@pytest.mark.parametrize("name", sorted(PARSERS))
@given(answer=ANSWERS)
def test_a_value_or_a_parse_error(name: str, answer: str) -> None:
    reason = "fine"
    try:
        PARSERS[name](answer)
    except ParseError as error:
        reason = error.reason
    assert reason and " " not in reason  # a name that counts alike


@given(ANSWERS)
def test_no_message_holds_the_other_role(answer: str) -> None:
    for parse, label in (
        (user_message(), "\nassistant:"),
        (parse_user_turn, "\nuser:"),
        (assistant_message, "\nuser:"),
    ):
        try:
            text = parse(answer)
        except ParseError:
            continue
        assert text and END_MARKS.search(text) is None
        assert label not in f"\n{text.lower()}"
        assert parse is not parse_user_turn or text == END or END not in text
        text.encode()  # no half of a surrogate pair, which no file could hold


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PARSERS))
def test_long_answers_come_to_an_end(name: str) -> None:
    """Of hundreds of thousands of characters: what is not linear here does not end."""
    for piece in (*PIECES, "*", "(", "x = ", "#", "\t", "a ", ": ", "Example ", "'\"", "1"):
        for answer in (piece * 15_000, "Input: a" + piece * 15_000 + "x", "\n" + piece * 15_000 + ":"):
            try:
                PARSERS[name](answer)
            except ParseError:
                continue
