"""Demands on the form of an answer that a program can check, by the names and arguments of IFEval.

Source: Zhou et al. 2023, Instruction-Following Evaluation for Large Language Models (names of the checks); the words
are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Demand:
    """A demand in words, and the check of it."""

    text: str
    check: Mapping[str, object]
    """A constraint of the verifier `instructions`: its `id` and arguments."""


Maker = Callable[[np.random.Generator], Demand]


def _demand(text: str, name: str, **arguments: object) -> Demand:
    return Demand(text, {"id": name, **arguments})


def _at_most(rng: np.random.Generator) -> Demand:
    n = int(rng.choice([50, 80, 120, 150, 200, 300]))
    return _demand(f"it has fewer than {n} words", "length_constraints:number_words", relation="less than", num_words=n)


def _at_least(rng: np.random.Generator) -> Demand:
    n = int(rng.choice([100, 150, 200, 250, 300]))
    return _demand(f"it has at least {n} words", "length_constraints:number_words", relation="at least", num_words=n)


def _sentences(rng: np.random.Generator) -> Demand:
    n = int(rng.integers(8, 15))
    text = f"it has fewer than {n} sentences"
    return _demand(text, "length_constraints:number_sentences", relation="less than", num_sentences=n)


def _bullets(rng: np.random.Generator) -> Demand:
    n = int(rng.integers(3, 8))
    text = f"it has exactly {n} bullet points, each on a line of its own that begins with an asterisk and a blank"
    return _demand(text, "detectable_format:number_bullet_lists", num_bullets=n)


def _paragraphs(rng: np.random.Generator) -> Demand:
    n = int(rng.integers(2, 6))
    text = f"it has exactly {n} paragraphs, with a line of three asterisks (***) between each two of them"
    return _demand(text, "length_constraints:number_paragraphs", num_paragraphs=n)


def _sections(rng: np.random.Generator) -> Demand:
    n, word = int(rng.integers(2, 5)), str(rng.choice(["Section", "Part", "Step"]))
    text = f"it has {n} parts, each of which begins with a line such as {word} 1"
    return _demand(text, "detectable_format:multiple_sections", section_spliter=word, num_sections=n)


def _ending(rng: np.random.Generator) -> Demand:
    phrase = str(
        rng.choice(
            [
                "That is all I know.",
                "Please check it before you use it.",
                "Write to me if it fails.",
                "Ask me for more.",
            ]
        )
    )
    return _demand(
        f'it ends with exactly these words, and nothing after them: "{phrase}"',
        "startend:end_checker",
        end_phrase=phrase,
    )


def _quoted(rng: np.random.Generator) -> Demand:
    return _demand("all of it stands in double quotation marks", "startend:quotation")


def _postscript(rng: np.random.Generator) -> Demand:
    return _demand(
        "it has a postscript at the end that begins with P.S.",
        "detectable_content:postscript",
        postscript_marker="P.S.",
    )


def _forbidden(rng: np.random.Generator) -> Demand:
    words = [str(word) for word in rng.permutation(["very", "important", "also", "good", "should", "great"])[:3]]
    text = f"none of the words {words[0]}, {words[1]} and {words[2]} is in it"
    return _demand(text, "keywords:forbidden_words", forbidden_words=words)


def _no_comma(rng: np.random.Generator) -> Demand:
    return _demand("there is no comma in it", "punctuation:no_comma")


def _title(rng: np.random.Generator) -> Demand:
    return _demand("it has a title in double angular brackets, such as <<a title>>", "detectable_format:title")


def _placeholders(rng: np.random.Generator) -> Demand:
    n = int(rng.integers(2, 5))
    text = f"it has at least {n} places for the user to fill in, in square brackets, such as [name]"
    return _demand(text, "detectable_content:number_placeholders", num_placeholders=n)


GROUPS: tuple[tuple[Maker, ...], ...] = (
    (_at_most, _at_least, _sentences),
    (_bullets, _paragraphs, _sections),
    (_ending, _quoted, _postscript),
    (_forbidden, _no_comma),
    (_title, _placeholders),
)
"""Of a group at most one is drawn: they would contradict each other, or ask for the same."""


def draw_demands(rng: np.random.Generator, n: int) -> list[Demand]:
    """Returns `n` demands that an answer can meet together, of as many groups (at most all)."""
    chosen: list[Demand] = []
    for group in rng.permutation(len(GROUPS))[:n].tolist():
        makers = GROUPS[group]
        chosen.append(makers[int(rng.integers(len(makers)))](rng))
    return chosen
