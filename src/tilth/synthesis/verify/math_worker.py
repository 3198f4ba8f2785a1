"""A process that compares expressions with sympy; started by `math_answer.py`, one line of JSON for each question.

It is given trees of known nodes and builds sympy's objects from them, so that no text is ever parsed or evaluated by
sympy. CPU time of a question and memory are limited.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from typing import Any

import sympy

MEMORY_BYTES = 1 << 31
MAX_BITS = 4096
POINTS = ("0.7310585786", "1.6180339887", "2.7951084971")
NEGATIVE = "-1.3247179572"
DIGITS = 30


class TooLargeError(Exception):
    """A number would be too large."""


class OutOfTimeError(BaseException):
    """Raised by the timer; not an Exception, which sympy would catch."""


def _ring(number: int, frame: object) -> None:
    raise OutOfTimeError


def build(tree: list[Any]) -> Any:
    """Returns sympy's object for a tree."""
    name, *children = tree
    if name == "number":
        return sympy.Rational(children[0])
    if name == "symbol":
        return sympy.Symbol(children[0], real=True)
    if name == "constant":
        return {"pi": sympy.pi, "oo": sympy.oo, "E": sympy.E, "I": sympy.I}[children[0]]
    if name == "function":
        return _function(children[0], build(children[1]))
    parts = [build(child) for child in children]
    if name == "add":
        return sympy.Add(*parts)
    if name == "negate":
        return -parts[0]
    if name == "multiply":
        return parts[0] * parts[1]
    if name == "divide":
        return parts[0] / parts[1]
    if name == "power":
        return _power(*parts)
    if name == "log":
        return sympy.log(parts[0], parts[1])
    raise ValueError(name)


def _power(base: Any, exponent: Any) -> Any:
    if base.is_Rational and exponent.is_Rational:
        bits = max(abs(int(base.p)).bit_length(), int(base.q).bit_length())
        if bits > 1 and abs(exponent) * (bits - 1) > MAX_BITS:
            raise TooLargeError
    elif exponent.is_Number and abs(exponent) > MAX_BITS:
        raise TooLargeError
    return base**exponent


def _function(name: str, argument: Any) -> Any:
    if name == "factorial" and not (argument.is_Integer and 0 <= argument <= 300):
        raise TooLargeError
    names = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "ln": "log", "abs": "Abs", "ceil": "ceiling"}
    if name == "exp" and argument.is_Number and abs(argument) > MAX_BITS:
        raise TooLargeError
    # A logarithm without a base: the natural one, as in most answers.
    return getattr(sympy, names.get(name, name))(argument)


def equal(left: Any, right: Any) -> bool:
    """Whether two expressions are equal: the same in simplest form, or at all points in 30 digits."""
    if left == right:
        return True
    if left.is_infinite or right.is_infinite:
        return False
    difference = left - right
    if difference == 0:
        return True
    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    for shift in range(3):
        values = {
            symbol: sympy.Float(POINTS[(index + shift) % 3], DIGITS) + index for index, symbol in enumerate(symbols)
        }
        value = difference.evalf(DIGITS, subs=values)
        scale = 1 + abs(right.evalf(DIGITS, subs=values))
        if value.free_symbols or not value.is_number or not abs(value) < scale * sympy.Float(10) ** (5 - DIGITS):
            return bool(sympy.simplify(difference) == 0)
    # Where both are real for negative numbers too, they are compared there: |x| is not x, while log(x) says nothing.
    values = {symbol: sympy.Float(NEGATIVE, DIGITS) - index for index, symbol in enumerate(symbols)}
    found = [side.evalf(DIGITS, subs=values) for side in (left, right)] if symbols else []
    if found and all(value.is_Float for value in found):
        return bool(abs(found[0] - found[1]) < (1 + abs(found[1])) * sympy.Float(10) ** (5 - DIGITS))
    return True


def answer(question: dict[str, Any]) -> str:
    """Returns `equal`, `different`, or why it cannot be said."""
    signal.setitimer(signal.ITIMER_PROF, question["seconds"])
    try:
        return "equal" if equal(build(question["left"]), build(question["right"])) else "different"
    except OutOfTimeError:
        return "the comparison took too long"
    except TooLargeError:
        return "a number is too large"
    except (MemoryError, RecursionError):
        return "the comparison took too much memory"
    except Exception as error:
        return f"{type(error).__name__} in the comparison"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main() -> None:
    """Answers until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, _ring)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
