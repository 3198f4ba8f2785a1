"""FinePhrase: a document as a table, as frequently asked questions, as a maths problem and as a tutorial."""

from __future__ import annotations

from dataclasses import dataclass

from tilth.errors import ConfigError
from tilth.synthesis.define import Ask, Draft, ParseError, Parser, Rejected, recipe
from tilth.synthesis.parse import (
    content,
    labelled,
    pairs,
    parse_pairs,
    render_pairs,
    render_table,
    steps,
    strip_markdown,
    table,
)
from tilth.synthesis.passages import first_characters
from tilth.synthesis.post import numbers, wrong_equation
from tilth.teacher.request import GenerationParams
from tilth.types import Document

MIN_ROWS, MIN_PAIRS, MIN_STEPS = 2, 3, 3


def table_with_question(answer: str) -> str:
    """Returns a table in Markdown with one question about it, the first, and the answer.

    Raises: as `parse.table` and `parse.parse_pairs`; `too_few_rows`.
    """
    found, rest = table(content(answer))
    if len(found.rows) < MIN_ROWS:
        raise ParseError("too_few_rows", f"{len(found.rows)} < {MIN_ROWS}")
    asked = parse_pairs(strip_markdown(rest))
    return f"{render_table(found)}\n\n{render_pairs(asked[:1])}"


def faq(answer: str) -> str:
    """Returns questions with answers. Raises: as `parse.pairs`; `too_few_pairs`, `repeated_question`."""
    found = pairs(answer)
    if len(found) < MIN_PAIRS:
        raise ParseError("too_few_pairs", f"{len(found)} < {MIN_PAIRS}")
    if len({" ".join(pair.question.casefold().split()) for pair in found}) < len(found):
        raise ParseError("repeated_question")
    return render_pairs(found)


def maths(answer: str) -> str:
    """Returns a problem, its solution and its answer; plain arithmetic in the solution is checked.

    Raises: as `parse.sections`; `no_number` (an answer without one), `answer_not_in_solution`, `wrong_arithmetic`.
    """
    parts = labelled("Problem", "Solution", "Answer")(answer)
    found = numbers(parts["Answer"])
    if not found:
        raise ParseError("no_number", parts["Answer"][:100])
    solution = set(numbers(parts["Solution"]))
    if not any(number in solution for number in found):
        raise ParseError("answer_not_in_solution", parts["Answer"][:100])
    if wrong := wrong_equation(parts["Solution"]):
        raise ParseError("wrong_arithmetic", wrong[:100])
    return f"{parts['Problem']}\n\nSolution: {parts['Solution']}\n\nAnswer: {parts['Answer']}"


def tutorial(answer: str) -> str:
    """Returns a tutorial as it was written. Raises: as `parse.steps`; `too_few_steps`."""
    text = content(answer)
    found = steps(strip_markdown(text))
    if len(found) < MIN_STEPS:
        raise ParseError("too_few_steps", f"{len(found)} < {MIN_STEPS}")
    return text


PARSERS: dict[str, Parser[str]] = {"table": table_with_question, "faq": faq, "math": maths, "tutorial": tutorial}


@dataclass(frozen=True, kw_only=True)
class FinePhrase:
    """Documents in four structured forms."""

    parts: tuple[str, ...] = tuple(PARSERS)
    """table, faq, math, tutorial."""
    max_characters: int = 20_000
    """How much of a document is shown, from its beginning; with the answer it must fit the teacher's context."""

    def __post_init__(self) -> None:
        if not self.parts or any(part not in PARSERS for part in self.parts):
            raise ConfigError(f"`parts` is {list(self.parts)}.", fix=f"Choose of {', '.join(PARSERS)}.")
        if self.max_characters < 1:
            raise ConfigError(f"`max_characters` is {self.max_characters}.", fix="Show 1 or more.")


@recipe(
    "finephrase",
    version=1,
    shape="text",
    prompts=tuple(PARSERS),
    options=FinePhrase,
    params=GenerationParams(max_tokens=2048),
    source="FinePhrase and the Synthetic Data Playbook (Hugging Face, 2026), datatrove",
)
async def finephrase(document: Document, ask: Ask) -> list[Draft]:
    """A table with a question, frequently asked questions, a solved maths problem and a tutorial from each document."""
    shown = first_characters(document.text, ask.options.max_characters)
    if not shown.text:
        raise Rejected("empty_document")
    drafts: list[Draft] = []
    for part in ask.options.parts:
        (reply,) = await ask.each([(part, {"document": shown.text})], PARSERS[part])
        if reply is not None:
            drafts.append(Draft(text=reply.value, replies=(reply,), span=shown.span, part=part))
    return drafts
