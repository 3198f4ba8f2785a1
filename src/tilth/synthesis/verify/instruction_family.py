"""Problems with random sets of instructions that one answer can follow together.

The difficulty is the number of instructions (up to eight; beyond, only their numbers grow). A set is consistent by
construction: kinds that exclude each other are never drawn together, a reference answer is written for the set, and
a set whose reference does not pass is drawn again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from tilth.synthesis.verify.family_base import Family
from tilth.synthesis.verify.instruction_checks import CONSTRAINED
from tilth.synthesis.verify.instructions import Instructions
from tilth.synthesis.verify.verdict import Verdict, failed
from tilth.types import Problem

MOST = 8
"""Instructions of one problem."""
_TASKS = (
    "Describe a walk through a market in the morning",
    "Explain to a child why it rains",
    "Write a short letter to a new neighbour",
    "Give advice to somebody who starts to cook",
    "Describe how a bicycle works",
    "Write about a day in a small library",
    "Explain why people keep gardens",
    "Write a review of a quiet train journey",
    "Describe a storm at sea",
    "Explain how bread is made",
    "Write about a teacher who was patient",
    "Describe the house that you would build",
)
_SENTENCES = (
    "the morning was quiet and the people of the town were still at home",
    "there is always something new to see when you look with patience",
    "a good plan begins with a small step that everybody can understand",
    "the water in the river was cold and clear after the long winter",
    "she opened the window and listened to the birds in the old tree",
    "it takes some time to learn this well but the work is worth it",
    "they walked along the road and talked about the things they had read",
)
_LANGUAGES = {
    "de": "Am Morgen war es still in der Stadt und die Leute saßen noch beim Frühstück in ihren Häusern.",
    "fr": "Le matin la ville était encore calme et les gens prenaient leur petit déjeuner dans leurs maisons.",
    "es": "Por la mañana la ciudad estaba tranquila y la gente todavía desayunaba en sus casas con la familia.",
    "it": "La mattina la città era ancora tranquilla e la gente faceva colazione nelle case con la famiglia.",
}
_LANGUAGE_NAMES = {"de": "German", "fr": "French", "es": "Spanish", "it": "Italian"}
_KEYWORDS = ("lantern", "harbour", "copper", "meadow", "ribbon", "orchard", "velvet", "compass", "puzzle", "thunder")
_UNWANTED = ("very", "really", "perhaps", "amazing", "basically", "nice", "stuff", "literally")
_ENDINGS = ("That is all I know.", "Is there anything else?", "I wish you a good day.")


@dataclass
class _Page:
    """A reference answer while it is written."""

    task: str
    paragraphs: int = 1
    separator: str = "\n"
    begin: list[str] = field(default_factory=list[str])
    """Lines before the text."""
    first_words: dict[int, str] = field(default_factory=dict[int, str])
    extra: list[str] = field(default_factory=list[str])
    """Sentences and lines after the text."""
    last: list[str] = field(default_factory=list[str])
    """Lines at the very end, a postscript before a prescribed ending."""
    sentences: int = 1
    """In each paragraph."""
    whole: str | None = None
    """Replaces everything."""
    finish: list[Callable[[str], str]] = field(default_factory=list[Callable[[str], str]])

    def text(self) -> str:
        """Returns the answer."""
        if self.whole is not None:
            text = self.whole
        else:
            parts: list[str] = []
            for number in range(1, self.paragraphs + 1):
                picked = [_SENTENCES[(number + index) % len(_SENTENCES)] for index in range(self.sentences)]
                text = " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in picked)
                parts.append(f"{self.first_words[number]} {text}" if number in self.first_words else text)
            text = "\n".join([*self.begin, self.separator.join(parts), *self.extra, *self.last])
        for change in self.finish:
            text = change(text)
        return text


Draw = tuple[dict[str, object], str, Callable[[_Page], None]]
"""Arguments, how the prompt says it, and how the reference answer follows it."""


def _pick(rng: np.random.Generator, options: tuple[str, ...], n: int = 1) -> list[str]:
    return [options[index] for index in sorted(rng.choice(len(options), n, replace=False).tolist())]


def _number(rng: np.random.Generator, low: int, size: int) -> int:
    return int(rng.integers(low, low + 1 + size))


def _existence(rng: np.random.Generator, size: int) -> Draw:
    words = _pick(rng, _KEYWORDS, min(len(_KEYWORDS), 1 + size))
    say = f"Use these words: {' and '.join(words)}."
    return {"keywords": words}, say, lambda page: page.extra.append(f"Think of {' and '.join(words)}.")


def _frequency(rng: np.random.Generator, size: int) -> Draw:
    (word,), n = _pick(rng, _KEYWORDS), _number(rng, 2, size)
    say = f"Use the word {word} at least {n} times."
    arguments: dict[str, object] = {"keyword": word, "relation": "at least", "frequency": n}
    return arguments, say, lambda page: page.extra.append(" ".join([f"Think of the {word}."] * n))


def _forbidden(rng: np.random.Generator, size: int) -> Draw:
    words = _pick(rng, _UNWANTED, min(len(_UNWANTED), 1 + size))
    return {"forbidden_words": words}, f"Do not use these words: {' and '.join(words)}.", _nothing


def _letters(rng: np.random.Generator, size: int) -> Draw:
    letter, n = "qzxjk"[int(rng.integers(5))], _number(rng, 2, 2 * size)
    arguments: dict[str, object] = {"letter": letter, "let_relation": "at least", "let_frequency": n}
    say = f"The letter {letter} must occur at least {n} times."
    return arguments, say, lambda page: page.extra.append(f"The letter is {letter * n}.")


def _language(rng: np.random.Generator, size: int) -> Draw:
    code = list(_LANGUAGES)[int(rng.integers(len(_LANGUAGES)))]
    say = f"Answer in {_LANGUAGE_NAMES[code]} and in no other language."
    return {"language": code}, say, lambda page: setattr(page, "whole", _LANGUAGES[code])


def _sentences(rng: np.random.Generator, size: int) -> Draw:
    n = _number(rng, 3, 2 * size)
    say = f"Write at least {n} sentences."
    return {"relation": "at least", "num_sentences": n}, say, lambda page: setattr(page, "sentences", n + 1)


def _words(rng: np.random.Generator, size: int) -> Draw:
    n = 10 * _number(rng, 4, 2 * size)
    say = f"Write at least {n} words."
    # Sentences have eleven words or more; a larger number of sentences stays.
    return (
        {"relation": "at least", "num_words": n},
        say,
        lambda page: setattr(page, "sentences", max(page.sentences, n // 10 + 1)),
    )


def _paragraphs(rng: np.random.Generator, size: int) -> Draw:
    n = _number(rng, 2, size)

    def write(page: _Page) -> None:
        page.paragraphs, page.separator = n, "\n\n***\n\n"

    say = f"Write exactly {n} paragraphs and put a line with *** between them."
    return {"num_paragraphs": n}, say, write


def _first_word(rng: np.random.Generator, size: int) -> Draw:
    n = _number(rng, 2, size)
    nth, (word,) = int(rng.integers(2, n + 1)), _pick(rng, _KEYWORDS)

    def write(page: _Page) -> None:
        page.paragraphs, page.separator, page.first_words = n, "\n\n", {nth: word}

    say = (
        f"Write exactly {n} paragraphs with a blank line between them. Paragraph {nth} must begin with the word {word}."
    )
    return {"num_paragraphs": n, "nth_paragraph": nth, "first_word": word}, say, write


def _placeholders(rng: np.random.Generator, size: int) -> Draw:
    n = _number(rng, 1, size)
    say = f"Leave at least {n} placeholders in square brackets such as [name]."
    marks = " ".join(f"[place {index}]" for index in range(1, n + 1))
    return {"num_placeholders": n}, say, lambda page: page.extra.append(f"Write to {marks}.")


def _postscript(rng: np.random.Generator, size: int) -> Draw:
    marker = ("P.S.", "P.P.S")[int(rng.integers(2))]
    say = f"Add a postscript at the end that starts with {marker}"
    return {"postscript_marker": marker}, say, lambda page: page.last.insert(0, f"{marker} This is the end of it.")


def _bullets(rng: np.random.Generator, size: int) -> Draw:
    n = _number(rng, 2, size)
    say = f"Have exactly {n} bullet points in markdown such as: * This is a point"
    return {"num_bullets": n}, say, lambda page: page.extra.extend(f"* point {i} of them." for i in range(1, n + 1))


def _constrained(rng: np.random.Generator, size: int) -> Draw:
    say = f"Somewhere in your answer say one of these: {' / '.join(CONSTRAINED)}"
    return {}, say, lambda page: page.extra.append(CONSTRAINED[0])


def _highlights(rng: np.random.Generator, size: int) -> Draw:
    n = _number(rng, 1, size)
    say = f"Highlight at least {n} parts in markdown such as *highlighted part*."
    marks = " and ".join(f"*part {index}*" for index in range(1, n + 1))
    return {"num_highlights": n}, say, lambda page: page.extra.append(f"See {marks}.")


def _sections(rng: np.random.Generator, size: int) -> Draw:
    n = _number(rng, 2, size)
    say = f"Have at least {n} sections. Mark the beginning of each one by Section and its number such as: Section 1"
    lines = [f"Section {index}\nThis is part {index}." for index in range(1, n + 1)]
    return {"section_spliter": "Section", "num_sections": n}, say, lambda page: page.extra.extend(lines)


def _json(rng: np.random.Generator, size: int) -> Draw:
    say = "The whole answer must be JSON. You may put it in a markdown block."
    return {}, say, lambda page: page.finish.insert(0, lambda text: json.dumps({"text": text}))


def _title(rng: np.random.Generator, size: int) -> Draw:
    say = "Give it a title in double angle brackets such as <<a quiet day>>."
    return {}, say, lambda page: page.begin.insert(0, "<<A quiet day>>")


def _two_responses(rng: np.random.Generator, size: int) -> Draw:
    say = "Give two different answers with a line of six asterisks between them: ******"
    return {}, say, lambda page: page.begin.extend(["This is my first answer.", "******"])


def _repeat(rng: np.random.Generator, size: int) -> Draw:
    say = "First repeat the first sentence of this request word for word and then answer it."
    return {"prompt_to_repeat": ""}, say, lambda page: page.begin.insert(0, f"{page.task}.")


def _end(rng: np.random.Generator, size: int) -> Draw:
    (phrase,) = _pick(rng, _ENDINGS)
    return {"end_phrase": phrase}, f"End with exactly this: {phrase}", lambda page: page.last.append(phrase)


def _quotation(rng: np.random.Generator, size: int) -> Draw:
    say = "Put the whole answer in double quotation marks."
    return {}, say, lambda page: page.finish.append(lambda text: f'"{text}"')


def _capital_words(rng: np.random.Generator, size: int) -> Draw:
    n = _number(rng, 1, 2 * size)
    say = f"Write at least {n} words in capital letters only."
    arguments: dict[str, object] = {"capital_relation": "at least", "capital_frequency": n}
    return arguments, say, lambda page: page.extra.append(f"It is {' '.join(['NOW'] * n)}.")


def _upper(rng: np.random.Generator, size: int) -> Draw:
    return {}, "Write in English and in capital letters only.", lambda page: page.finish.append(str.upper)


def _lower(rng: np.random.Generator, size: int) -> Draw:
    return {}, "Write in English and without any capital letter.", lambda page: page.finish.append(str.lower)


def _no_comma(rng: np.random.Generator, size: int) -> Draw:
    return {}, "Do not use commas.", lambda page: page.finish.append(lambda text: text.replace(",", ""))


def _nothing(page: _Page) -> None:
    """Follows what the reference answer follows anyway."""


_DRAWS: dict[str, Callable[[np.random.Generator, int], Draw]] = {
    "keywords:existence": _existence,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letters,
    "language:response_language": _language,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": _constrained,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeat,
    "startend:end_checker": _end,
    "startend:quotation": _quotation,
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": _upper,
    "change_case:english_lowercase": _lower,
    "punctuation:no_comma": _no_comma,
}
_ALONE = {
    # Kind -> the only kinds that it goes with.
    "language:response_language": {"punctuation:no_comma", "startend:quotation"},
    "detectable_format:json_format": {"keywords:existence", "keywords:forbidden_words", "keywords:frequency"},
}
_CASES = {"change_case:english_capital", "change_case:english_lowercase", "change_case:capital_word_frequency"}
_PARTS = {
    "length_constraints:number_paragraphs",
    "length_constraints:nth_paragraph_first_word",
    "combination:two_responses",
}
_FRONT = {"combination:repeat_prompt", "startend:quotation", "detectable_format:title", "combination:two_responses"}
_EXACT_TEXT = {"detectable_format:constrained_response", "detectable_format:multiple_sections"}


def compatible(a: str, b: str) -> bool:
    """Whether one answer can follow both kinds, whatever their arguments."""
    for kind, other in ((a, b), (b, a)):
        if kind in _ALONE and other not in _ALONE[kind]:
            return False
        if kind in _CASES and other in _EXACT_TEXT:
            return False
    if a == b or {a, b} <= _CASES or {a, b} <= _PARTS:
        return False
    return not ("combination:repeat_prompt" in (a, b) and {a, b} <= _FRONT)


class InstructionFamily(Family):
    """Write a short text that follows instructions; as many as the difficulty."""

    name = "instructions"

    def n_problems(self, difficulty: int) -> int:
        """A lower bound: the words to use or to leave out alone give more."""
        return 1000

    def answer_tokens(self, difficulty: int) -> int:
        """Room for a text that follows long instructions."""
        return 2000 + 1000 * difficulty

    def draw(self, difficulty: int, rng: np.random.Generator) -> Problem:
        """Draws compatible kinds and their arguments until the reference answer passes."""
        while True:
            problem = self._try(difficulty, rng)
            if problem is not None:
                return problem

    def _try(self, difficulty: int, rng: np.random.Generator) -> Problem | None:
        wanted, size = min(difficulty, MOST), 1 + max(0, difficulty - MOST)
        kinds: list[str] = []
        for index in rng.permutation(len(_DRAWS)).tolist():
            kind = list(_DRAWS)[index]
            if len(kinds) < wanted and all(compatible(kind, other) for other in kinds):
                kinds.append(kind)
        if len(kinds) < wanted:
            return None
        page = _Page(_TASKS[int(rng.integers(len(_TASKS)))])
        constraints: list[dict[str, object]] = []
        lines: list[str] = []
        # The order of the table: the case is changed after all has been written.
        for kind in sorted(kinds, key=list(_DRAWS).index):
            arguments, say, write = _DRAWS[kind](rng, size)
            if kind == "combination:repeat_prompt":
                arguments["prompt_to_repeat"] = f"{page.task}."
            constraints.append({"id": kind, **arguments})
            lines.append(f"- {say}")
            write(page)
        reference = page.text()
        problem = Problem.make(
            "\n".join([f"{page.task}.", *lines]),
            answer=reference,
            verifier=f"{self.name}:{json.dumps({'constraints': constraints}, sort_keys=True)}",
            difficulty=difficulty,
        )
        return problem if self.judge(problem, reference).passed else None

    def parse(self, text: str) -> str | None:
        """Returns the text: all of it is the answer."""
        return text if text.strip() else None

    def judge(self, problem: Problem, answer: str) -> Verdict:
        """Checks the instructions that the problem's verifier names."""
        constraints = constraints_of(problem)
        if not constraints:
            return failed(f"the problem is none of the family {self.name}")
        return Instructions(constraints=constraints).verify(problem, answer)


def constraints_of(problem: Problem) -> tuple[dict[str, object], ...]:
    """Returns the instructions of a problem of this family; none for another problem."""
    try:
        options: Any = json.loads(problem.verifier.partition(":")[2])
        found = options["constraints"]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(cast("list[dict[str, object]]", found))
