"""Families over strings, lists, dates and JSON."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from typing import cast

import numpy as np

from tilth.synthesis.verify.exact import Exact
from tilth.synthesis.verify.family_base import Family, Template, TemplateFamily, Values
from tilth.synthesis.verify.json_schema import json_in
from tilth.synthesis.verify.verdict import Verdict, failed, passed
from tilth.types import Problem

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_AS_IT_IS = Exact(ignore_case=False, ignore_punctuation=False)
_FIRST_DAY = datetime.date(1950, 1, 1)


def _string(rng: np.random.Generator, n: int) -> str:
    return "".join(_LETTERS[index] for index in rng.integers(0, 26, n).tolist())


def _one_string(difficulty: int, rng: np.random.Generator) -> Mapping[str, object]:
    return {"s": _string(rng, 2 + 2 * difficulty)}


def _string_and_letter(difficulty: int, rng: np.random.Generator) -> Mapping[str, object]:
    text = _string(rng, 2 + 2 * difficulty)
    return {"s": text, "c": text[int(rng.integers(len(text)))]}


def _string_and_number(difficulty: int, rng: np.random.Generator) -> Mapping[str, object]:
    text = _string(rng, 2 + 2 * difficulty)
    return {"s": text, "n": int(rng.integers(2, len(text)))}


def _without(values: Values) -> str:
    return values["s"].replace(values["c"], "") or "nothing"


def _count(values: Values) -> str:
    return str(values["s"].count(values["c"]))


def _rotated(values: Values) -> str:
    n = int(values["n"]) % len(values["s"])
    return values["s"][n:] + values["s"][:n]


def _shifted(values: Values) -> str:
    return "".join(_LETTERS[(_LETTERS.index(char) + 1) % 26] for char in values["s"])


class Strings(TemplateFamily):
    """Change or count letters of a string of 2 + 2 x difficulty letters."""

    name = "strings"
    compare = _AS_IT_IS
    templates = (
        Template('Write the string "{s}" backwards.', _one_string, lambda v: v["s"][::-1]),
        Template('How often does the letter "{c}" occur in "{s}"?', _string_and_letter, _count),
        Template('Write the string "{s}" in capital letters.', _one_string, lambda v: v["s"].upper()),
        Template('Write letter number {n} of the string "{s}".', _string_and_number, lambda v: v["s"][int(v["n"]) - 1]),
        Template('Remove every "{c}" from "{s}" (if no letter is left: nothing).', _string_and_letter, _without, 2),
        Template('Move the first {n} letters of "{s}" to its end.', _string_and_number, _rotated, 2),
        Template('Sort the letters of "{s}" alphabetically.', _one_string, lambda v: "".join(sorted(v["s"])), 2),
        Template('Replace each letter of "{s}" by the next one of the alphabet, and z by a.', _one_string, _shifted, 3),
    )  # fmt: skip

    def n_problems(self, difficulty: int) -> int:
        """How many strings there are."""
        return 26 ** (2 + 2 * difficulty)

    def answer_tokens(self, difficulty: int) -> int:
        """The string, or `nothing`, and its end."""
        return max(8, 2 + 2 * difficulty) + 3

    def parse(self, text: str) -> str | None:
        """Returns the answer without quotation marks."""
        found = super().parse(text)
        return None if found is None else found.strip("\"'`") or None


def _numbers(difficulty: int, rng: np.random.Generator) -> Mapping[str, object]:
    high = 10 ** (1 + (difficulty + 1) // 2)
    found = rng.integers(-high if difficulty >= 4 else 0, high, 2 + difficulty)
    return {"items": ", ".join(map(str, found.tolist()))}


def _strings(difficulty: int, rng: np.random.Generator) -> Mapping[str, object]:
    first = _string(rng, 2)  # words that begin alike are harder to sort
    return {"items": ", ".join(first[: difficulty // 3] + _string(rng, 4) for _ in range(2 + difficulty))}


def _in_order(reverse: bool, kind: Callable[[str], int | str]) -> Callable[[Values], str]:
    return lambda values: ", ".join(sorted(values["items"].split(", "), key=kind, reverse=reverse))  # type: ignore[arg-type]


class Sorting(TemplateFamily):
    """Sort 2 + difficulty numbers or words."""

    name = "sorting"
    templates = (
        Template("Sort these numbers from small to large: {items}.", _numbers, _in_order(False, int)),
        Template("Sort these numbers from large to small: {items}.", _numbers, _in_order(True, int)),
        Template("Sort these words alphabetically: {items}.", _strings, _in_order(False, str)),
        Template("Sort these words in reverse alphabetical order: {items}.", _strings, _in_order(True, str)),
    )
    compare = _AS_IT_IS

    def n_problems(self, difficulty: int) -> int:
        """How many lists of numbers there are."""
        return (10 ** (1 + (difficulty + 1) // 2)) ** (2 + difficulty)

    def answer_tokens(self, difficulty: int) -> int:
        """The longest words or numbers, with commas between them."""
        return (2 + difficulty) * (max(6, 3 + (difficulty + 1) // 2) + 2) + 1

    def parse(self, text: str) -> str | None:
        """Returns the items, whatever brackets, quotation marks or `<` stand around and between them."""
        found = super().parse(text)
        if found is None:
            return None
        for sign in "<>;[]()\"'`":
            found = found.replace(sign, "," if sign in "<>;" else "")
        items = [item.strip(" .") for item in found.split(",")]
        return ", ".join(item for item in items if item) or None


def _date(rng: np.random.Generator) -> datetime.date:
    return _FIRST_DAY + datetime.timedelta(days=int(rng.integers(0, 36_525)))


def _date_and_days(difficulty: int, rng: np.random.Generator) -> Mapping[str, object]:
    return {"date": _date(rng), "n": int(rng.integers(2, 10 * 3 ** min(difficulty, 8)))}


def _two_dates(difficulty: int, rng: np.random.Generator) -> Mapping[str, object]:
    first = _date(rng)
    return {
        "first": first,
        "second": first + datetime.timedelta(days=int(rng.integers(1, 10 * 3 ** min(difficulty, 8)))),
    }


def _date_and_months(difficulty: int, rng: np.random.Generator) -> Mapping[str, object]:
    return {
        "date": _date(rng).replace(day=int(rng.integers(1, 29))),
        "n": int(rng.integers(2, 6 * min(difficulty, 50))),
    }


def _plus_days(sign: int) -> Callable[[Values], str]:
    return lambda v: str(datetime.date.fromisoformat(v["date"]) + datetime.timedelta(days=sign * int(v["n"])))


def _plus_months(values: Values) -> str:
    date = datetime.date.fromisoformat(values["date"])
    years, month = divmod(date.year * 12 + date.month - 1 + int(values["n"]), 12)
    return str(date.replace(year=years, month=month + 1))


def _between(values: Values) -> str:
    first, second = (datetime.date.fromisoformat(values[name]) for name in ("first", "second"))
    return str((second - first).days)


def _weekday(values: Values) -> str:
    return datetime.date.fromisoformat(values["date"]).strftime("%A")


class Dates(TemplateFamily):
    """Arithmetic with dates between 1950 and 2100; the distances grow with the difficulty."""

    name = "dates"
    compare = Exact(ignore_punctuation=False)
    templates = (
        Template("Which date is {n} days after {date}? Answer as YYYY-MM-DD.", _date_and_days, _plus_days(1)),
        Template("Which date is {n} days before {date}? Answer as YYYY-MM-DD.", _date_and_days, _plus_days(-1)),
        Template("How many days are there from {first} to {second}?", _two_dates, _between),
        Template("Which date is {n} months after {date}? Answer as YYYY-MM-DD.", _date_and_months, _plus_months, 2),
        Template("Which day of the week is {date}?", lambda difficulty, rng: {"date": _date(rng)}, _weekday, 3),
    )

    def n_problems(self, difficulty: int) -> int:
        """A lower bound: dates and distances of the first template."""
        return 36_525 * (10 * 3 ** min(difficulty, 8) - 2)

    def answer_tokens(self, difficulty: int) -> int:
        """A date and its end."""
        return 12

    def parse(self, text: str) -> str | None:
        """Returns the date, number or day without a full stop; `12 days` as `12`."""
        found = super().parse(text)
        return None if found is None else found.strip(" .*").removesuffix(" days").removesuffix(" day").strip() or None


_KEYS = ("name", "city", "colour", "fruit", "sport", "tool", "river", "metal")
_WORDS = ("amber", "cedar", "delta", "ember", "fjord", "grove", "heron", "iris", "jade", "koala")


class JsonFamily(Family):
    """Write what a text describes as JSON; the object has as many entries as the difficulty, and nests from 3 on."""

    name = "json"

    def n_problems(self, difficulty: int) -> int:
        """A lower bound: the values of one entry for each of its keys."""
        return len(_KEYS) * 1000

    def answer_tokens(self, difficulty: int) -> int:
        """Twice what the answer needs without indentation."""
        return 100 * difficulty + 50

    def draw(self, difficulty: int, rng: np.random.Generator) -> Problem:
        """Draws an object, and describes it a line for each entry."""
        lines: list[str] = []
        for number in range(1, difficulty + 1):
            key = f"{_KEYS[int(rng.integers(len(_KEYS)))]}_{number}"
            lines.append(f"- {key}: {_describe(difficulty, rng)}")
        text = "\n".join(lines)
        prompt = f"Write one JSON object with exactly these entries:\n{text}"
        solution = json.dumps(_object_of(prompt))
        return Problem.make(prompt, answer=solution, verifier=self.name, difficulty=difficulty)

    def parse(self, text: str) -> str | None:
        """Returns the JSON of a text."""
        try:
            return json.dumps(json_in(text))
        except (ValueError, RecursionError):
            return None

    def judge(self, problem: Problem, answer: str) -> Verdict:
        """Compares values, and their types: 1 is not true, and 1.0 is not 1."""
        wanted = _object_of(problem.prompt)
        if wanted is None:
            return failed(f"the prompt is none of the family {self.name}")
        try:
            given = json_in(answer)
        except (ValueError, RecursionError):
            return failed("no JSON")
        if not isinstance(given, dict):
            return failed("not an object")
        found = cast("dict[str, object]", given)
        right = sum(_alike(found.get(key), value) and key in found for key, value in wanted.items())
        extra = len(found.keys() - wanted.keys())
        if right == len(wanted) and not extra:
            return passed("all entries")
        score = right / (len(wanted) + extra)
        return failed(f"{right} of {len(wanted)} entries, {extra} that were not asked for", min(score, 0.99))


def _describe(difficulty: int, rng: np.random.Generator) -> str:
    kind = int(rng.integers(3 if difficulty < 3 else 5))
    words = [_WORDS[index] for index in rng.integers(0, len(_WORDS), 2 + difficulty // 2).tolist()]
    match kind:
        case 0:
            return f"the text {words[0]}"
        case 1:
            return f"the number {int(rng.integers(1000))}"
        case 2:
            return f"the truth value {'true' if rng.integers(2) else 'false'}"
        case 3:
            return f"the list of the texts {', '.join(words)}"
        case _:
            return f"an object whose entry {words[0]} is the number {int(rng.integers(1000))}"


def _object_of(prompt: str) -> dict[str, object] | None:
    """Returns the object that a prompt of the family describes; None for another prompt."""
    found: dict[str, object] = {}
    lines = prompt.split("\n")
    if not lines[0].startswith("Write one JSON object"):
        return None
    try:
        for line in lines[1:]:
            key, _, what = line.removeprefix("- ").partition(": ")
            found[key] = _value_of(what)
    except (ValueError, IndexError):
        return None
    return found


def _value_of(what: str) -> object:
    words = what.split(" ")
    if what.startswith("the text "):
        return words[2]
    if what.startswith("the number "):
        return int(words[2])
    if what.startswith("the truth value "):
        return words[3] == "true"
    if what.startswith("the list of the texts "):
        return what.removeprefix("the list of the texts ").split(", ")
    return {words[4]: int(words[8])}


def _alike(given: object, wanted: object) -> bool:
    return type(given) is type(wanted) and json.dumps(given, sort_keys=True) == json.dumps(wanted, sort_keys=True)
