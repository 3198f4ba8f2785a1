"""Arithmetic expressions, evaluated exactly and within limits.

An operator-precedence parser of our own instead of Python's: it has no recursion that nesting could exhaust, knows
nothing but numbers and `+ - * / // % **`, and refuses before it computes a number that is too large.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from tilth.synthesis.verify.final_answer import final_answer
from tilth.synthesis.verify.verdict import NO_REFERENCE, Verdict, failed, passed
from tilth.types import Problem

MAX_CHARS = 2_000
"""Longest expression."""
MAX_BITS = 4_096
"""Most bits of a numerator or denominator, at any point of the evaluation."""
MAX_SIDES = 4
"""Sides of an `=` that are looked at, the last ones."""

_TOKEN = re.compile(r"\s*(?:(?P<number>\d+\.?\d*|\.\d+)|(?P<operator>\*\*|//|[-+*/%^()]))", re.ASCII)
_BINDS: dict[str, int] = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "%": 2, "neg": 3, "**": 4, "(": 0}
_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "[": "(", "]": ")"})
_LATEX = ((r"\times", "*"), (r"\cdot", "*"), (r"\div", "/"), (r"\left", ""), (r"\right", ""))


class ExpressionError(ValueError):
    """A text is no expression, or one that goes beyond the limits; the message says why in a few words."""


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression in postfix order."""

    items: tuple[Fraction | str, ...]
    """Numbers, and the names of operators."""

    @property
    def numbers(self) -> tuple[Fraction, ...]:
        """The numbers as they were written, from left to right."""
        return tuple(item for item in self.items if isinstance(item, Fraction))

    @property
    def operators(self) -> tuple[str, ...]:
        """The operators in the order in which they are applied; a sign is `neg`."""
        return tuple(item for item in self.items if isinstance(item, str))

    @property
    def value(self) -> Fraction:
        """The exact value. Raises: ExpressionError for a division by zero, or a number that is too large."""
        stack: list[Fraction] = []
        for item in self.items:
            if isinstance(item, Fraction):
                stack.append(item)
            elif item == "neg":
                stack.append(-stack.pop())
            else:
                right, left = stack.pop(), stack.pop()
                stack.append(_within_limits(_apply(item, left, right)))
        (value,) = stack
        return value


def parse_expression(text: str) -> Expression:
    """Reads an expression; `×`, `÷`, `^` and LaTeX's `\\times`, `\\cdot`, `\\div` are understood.

    Raises: ExpressionError.
    """
    if len(text) > MAX_CHARS:
        raise ExpressionError(f"longer than {MAX_CHARS:,} characters")
    text = text.translate(_SIGNS)
    for command, sign in _LATEX:
        text = text.replace(command, sign)
    output: list[Fraction | str] = []
    waiting: list[str] = []
    operand_next, at, text = True, 0, text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ExpressionError(f"{text[at]!r} belongs to no expression")
        at = match.end()
        operand_next = _take(match, operand_next, output, waiting)
    if operand_next:
        raise ExpressionError("a number is missing at the end" if text else "empty")
    while waiting:
        if waiting[-1] == "(":
            raise ExpressionError("a bracket is not closed")
        output.append(waiting.pop())
    return Expression(tuple(output))


def evaluate(text: str) -> Fraction:
    """Returns the value of an expression. Raises: ExpressionError."""
    return parse_expression(text).value


def _take(match: re.Match[str], operand_next: bool, output: list[Fraction | str], waiting: list[str]) -> bool:
    """Takes one token; returns whether a number must come next."""
    number, sign = match["number"], match["operator"]
    if operand_next:
        if number is not None:
            output.append(_within_limits(Fraction(number.removesuffix("."))))
            return False
        if sign in "-+(":
            if sign != "+":
                waiting.append("neg" if sign == "-" else sign)
            return True
        raise ExpressionError(f"a number is missing before {sign!r}")
    if number is not None or sign == "(":
        raise ExpressionError(f"an operator is missing before {number or sign!r}")
    if sign == ")":
        _close(output, waiting)
        return False
    sign = "**" if sign == "^" else sign
    # Powers bind from right to left.
    while waiting and (_BINDS[waiting[-1]] > _BINDS[sign] or (_BINDS[waiting[-1]] == _BINDS[sign] and sign != "**")):
        output.append(waiting.pop())
    waiting.append(sign)
    return True


def _close(output: list[Fraction | str], waiting: list[str]) -> None:
    while waiting and waiting[-1] != "(":
        output.append(waiting.pop())
    if not waiting:
        raise ExpressionError("a bracket is closed that was not opened")
    waiting.pop()


def _apply(operator: str, left: Fraction, right: Fraction) -> Fraction:
    if operator == "**":
        return _power(left, right)
    if operator in ("/", "//", "%") and right == 0:
        raise ExpressionError("division by zero")
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left / right
        case "//":
            return Fraction(left // right)
        case _:
            return left % right


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise ExpressionError("an exponent is not a whole number")
    if base == 0 and exponent < 0:
        raise ExpressionError("division by zero")
    bits = max(abs(base.numerator).bit_length(), base.denominator.bit_length())
    # A power of n bits to e has about n * e; 0, 1 and -1 stay as small as they are.
    if bits > 1 and abs(exponent) * (bits - 1) > MAX_BITS:
        raise ExpressionError(f"a number of more than {MAX_BITS:,} bits")
    if bits <= 1:
        exponent = exponent % 2 + 2 if abs(exponent) > MAX_BITS else exponent
    return Fraction(base) ** int(exponent)


def _within_limits(value: Fraction) -> Fraction:
    if max(abs(value.numerator).bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise ExpressionError(f"a number of more than {MAX_BITS:,} bits")
    return value


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """The answer, a number or an expression, has the value of the reference, a number or an expression too."""

    only_number: bool = False
    """Refuse an answer that is not worked out, such as the question itself."""

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Compares values."""
        if problem.answer is None:
            return NO_REFERENCE
        try:
            wanted = evaluate(problem.answer)
        except ExpressionError as error:
            return failed(f"the reference answer cannot be evaluated: {error}")
        fault = failed("no expression")
        for side in reversed(sides(answer)):
            try:
                expression = parse_expression(side)
                value = expression.value
            except ExpressionError as error:
                fault = failed(str(error))
                continue
            if self.only_number and any(operator != "neg" for operator in expression.operators):
                return failed("not worked out to a number")
            return passed("equal") if value == wanted else failed(f"{shown(value)} is not {shown(wanted)}")
        return fault


def sides(text: str) -> list[str]:
    """Returns the expressions of an answer, at least one: both sides of an `=` on the marked part or the last line."""
    line = (final_answer(text) or "").strip().strip("$`").rstrip(".")
    line = re.sub(r"(?<=\d),(?=\d{3}(?:,\d{3})*(?!\d))", "", line)
    return [side.strip() for side in line.split("=")][-MAX_SIDES:]


def shown(value: Fraction) -> str:
    """Returns a value for a detail."""
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
