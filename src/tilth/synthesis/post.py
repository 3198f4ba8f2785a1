"""Rules for what was parsed: how long it must be, how it may begin, and what of it is kept."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from tilth.synthesis.define import ParseError, Parser
from tilth.synthesis.parse import Pair

TOKENS_PER_WORD = 1.3
"""Tokens per word of English under the vocabularies of today's models, about."""
BYTES_PER_TOKEN = 6.0
"""No text has fewer tokens than that gives; it counts for scripts without spaces, where words are whole sentences."""


def estimate_tokens(text: str) -> int:
    """Returns about how many tokens a text has for a teacher, whose tokenizer is not known here.

    1.3 a word between spaces, and at least one in six bytes of UTF-8. The recipes' limits in tokens mean this.
    """
    n_bytes = len(text.encode("utf-8", "surrogatepass"))
    return math.ceil(max(TOKENS_PER_WORD * len(text.split()), n_bytes / BYTES_PER_TOKEN))


def at_least(tokens: int, parse: Parser[str]) -> Parser[str]:
    """Makes a parser of a parser: texts of fewer tokens are rejected. Raises: ParseError `too_few_tokens`."""

    def parse_long(answer: str) -> str:
        text = parse(answer)
        found = estimate_tokens(text)
        if found < tokens:
            raise ParseError("too_few_tokens", f"{found} < {tokens}")
        return text

    return parse_long


def without_title(parse: Parser[str]) -> Parser[str]:
    """Makes a parser of a parser: a first line that is a Markdown heading, or bold as a whole, is taken off."""

    def parse_body(answer: str) -> str:
        text = parse(answer)
        first, _, rest = text.partition("\n")
        is_title = first.startswith("#") or (len(first) < 150 and first.startswith("**") and first.endswith("**"))
        return rest.strip() if is_title and rest.strip() else text

    return parse_body


_BOILERPLATE = re.compile(
    r"(?:have you ever|did you know|welcome to|once upon a time|in this (?:chapter|section|unit|lesson|article|post"
    r"|blog|tutorial|guide)\b|in today['’]s (?:fast|digital|modern|world)|are you (?:ready|looking|curious)"
    r"|imagine (?:a world|that you|you are|you're)|hey there|hello,? (?:everyone|readers|friends|there)"
    r"|(?:hi|hello) (?:and welcome|there)|let['’]s (?:dive|delve|explore)|title:|chapter \d|introduction\b)",
    re.IGNORECASE,
)


def without_boilerplate_opening(parse: Parser[str]) -> Parser[str]:
    """Makes a parser of a parser: texts that begin as models begin most of theirs are rejected.

    Raises: ParseError `boilerplate_opening`. A shared opening is the first sign of samples that are all alike.
    """

    def parse_fresh(answer: str) -> str:
        text = parse(answer)
        if _BOILERPLATE.match(text.lstrip("\"“'‘*# ")):
            raise ParseError("boilerplate_opening", text[:80])
        return text

    return parse_fresh


def keep_some(pairs: Sequence[Pair], tokens: int, rng: np.random.Generator) -> list[Pair]:
    """Returns the pairs in random order, and of them a random number: from 1 to 10 for 150 tokens of the source text.

    Source: Nemotron-CC (Su et al. 2024) as in NeMo Curator: U(1, max(1, 10 * tokens / 150)).
    """
    most = max(1, 10 * tokens // 150)
    order = rng.permutation(len(pairs))
    n = int(rng.integers(1, most + 1))
    return [pairs[index] for index in order[:n]]


_LONGEST_NUMBER = 100
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_EQUATION = re.compile(
    r"(?P<left>(?<![\w.,^_\\%)}$(+*/×÷=-])[($]*\d[\d.,+*/×÷()$ \t-]{0,200})(?<![ \t])[ \t]*="
    r"[ \t]*\$?(?P<right>-?\d[\d,]*(?:\.\d+)?)(?![\d.,]*[ \t]*[%^+*/×÷\\(-])(?![ \t]*(?:remainder|r\b|rem\b))",
    re.IGNORECASE,
)


def numbers(text: str) -> list[Fraction]:
    """Returns the numbers of a text, in their order; commas between digits are left out, and so are endless digits."""
    return [_number(match[0]) for match in _NUMBER.finditer(text[:100_000]) if len(match[0]) <= _LONGEST_NUMBER]


def wrong_equation(text: str) -> str | None:
    """Returns the first equation of plain numbers in a text (`3 * 4 + 2 = 14`) that is wrong, or None.

    A result may be rounded to the digits that are written. What is no plain expression is left aside, and so is what is
    right where a comma is the decimal sign, as in most languages of Europe.
    """
    for match in _EQUATION.finditer(text[:100_000]):
        before = text[: match.start()].rstrip(" \t")[-1:]
        if before and before in "+-*/×÷=^(":
            continue  # the end of a longer expression, with letters in it
        if _is_wrong(match["left"], match["right"]):
            swapped = (side.translate(_DECIMAL_COMMA) for side in (match["left"], match["right"]))
            if not re.search(r"\d[.,]\d", match[0]) or _is_wrong(*swapped) is not False:
                return match[0].strip()
    return None


_DECIMAL_COMMA = str.maketrans(".,", ",.")


def _is_wrong(left: str, right: str) -> bool | None:
    """Whether an equation is wrong; None where it is no plain one."""
    value = _evaluate(left)
    if value is None or len(right) > _LONGEST_NUMBER or not _NUMBER.fullmatch(right):
        return None
    digits = len(right.partition(".")[2])
    return abs(value - _number(right)) > Fraction(1, 2 * 10**digits)


def _number(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


_TOKEN = re.compile(r"[ \t$]*(?:(\d[\d,]*(?:\.\d+)?)|([-+*/×÷()]))[ \t$]*")


def _evaluate(text: str) -> Fraction | None:
    """Returns the value of an expression of two numbers or more, or None."""
    tokens: list[str] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        tokens.append(match[1] or match[2].replace("×", "*").replace("÷", "/"))
        position = match.end()
    if sum(token[0].isdigit() for token in tokens) < 2 or len(tokens) > 100:
        return None
    try:
        value, rest = _sum(tokens)
    except (ValueError, IndexError, ZeroDivisionError):
        return None
    return None if rest else value


def _sum(tokens: list[str]) -> tuple[Fraction, list[str]]:
    return _chain(tokens, _product, {"+": lambda a, b: a + b, "-": lambda a, b: a - b})


def _product(tokens: list[str]) -> tuple[Fraction, list[str]]:
    return _chain(tokens, _atom, {"*": lambda a, b: a * b, "/": lambda a, b: a / b})


def _atom(tokens: list[str]) -> tuple[Fraction, list[str]]:
    if tokens[0] == "(":
        value, rest = _sum(tokens[1:])
        if rest[0] != ")":
            raise ValueError("no closing bracket")
        return value, rest[1:]
    return _number(tokens[0]), tokens[1:]


def _chain(
    tokens: list[str],
    operand: Callable[[list[str]], tuple[Fraction, list[str]]],
    operators: dict[str, Callable[[Fraction, Fraction], Fraction]],
) -> tuple[Fraction, list[str]]:
    value, rest = operand(tokens)
    while rest and rest[0] in operators:
        right, after = operand(rest[1:])
        value, rest = operators[rest[0]](value, right), after
    return value, rest
