r"""Reads mathematical answers in LaTeX or plain text into a tree of known nodes; nothing is ever evaluated as code.

    3x^2 + \frac{1}{2}      (1, \sqrt{3})      \{1, 2\}      [0, \infty)      x = 5      \frac{\pi}{6}

Numbers, one-letter symbols and a list of functions are all it knows. What else an answer says makes it a text, which is
compared as text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

MAX_CHARS = 500
"""Longest answer that is read as an expression."""
MAX_DEPTH = 40
FUNCTIONS = [
    "sin",
    "cos",
    "tan",
    "cot",
    "sec",
    "csc",
    "arcsin",
    "arccos",
    "arctan",
    "sinh",
    "cosh",
    "tanh",
    "log",
    "ln",
    "exp",
    "sqrt",
    "abs",
    "floor",
    "ceil",
    "factorial",
]
CONSTANTS = {"pi": "pi", "infty": "oo", "infinity": "oo", "oo": "oo", "e": "E", "i": "I"}
_SYMBOLS = ("alpha", "beta", "gamma", "theta", "lambda", "omega", "phi", "mu", "sigma", "rho")

Tree = list[object]
"""`[name, *children]`; leaves are `["number", "3/4"]`, `["symbol", "x"]`, `["constant", "pi"]`."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?|\.\d+)|\\(?P<command>[a-zA-Z]+|[{}%])|(?P<word>[a-zA-Z]+)"
    r"|(?P<sign>\*\*|[-+*/^()\[\]{},=!|_]))"
)
_MATRIX = re.compile(r"\\begin\{(?P<kind>[pbv]?matrix)\}(?P<rows>.*)\\end\{(?P=kind)\}", re.DOTALL)
_DROPPED = re.compile(
    r"\\(?:left|right|displaystyle|!|,|;|:|quad|qquad)(?![a-zA-Z])|(?<!\\)\\ |~|\$|\^\s*\{?\\circ\}?|°"
)
_UNIT = re.compile(r"\\(?:text|mbox|textrm|mathrm|textbf)\{[^{}]*\}(?:\^\{?\d\}?)?")
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:(?:,|\{,\}|,\\!)\d{3})+(?!\d)")
_SIGNS = str.maketrans(
    {"−": "-", "–": "-", "×": "*", "·": "*", "÷": "/", "π": "\\pi ", "∞": "\\infty ", "√": "\\sqrt "}
)


class NoExpressionError(ValueError):
    """A text is no expression that is known here."""


@dataclass(frozen=True)
class Token:
    """`kind` is number, name or sign."""

    kind: str
    text: str


def cleaned(text: str) -> str:
    """Returns a text without spacing commands, units, separators of thousands and dollar signs."""
    text = text.translate(_SIGNS).strip().strip("$").strip().removesuffix(".")
    text = _THOUSANDS.sub(lambda match: re.sub(r"[^\d]", "", match[0]), text)
    bare = _UNIT.sub("", text)
    text = bare if bare.strip() else re.sub(r"\\(?:text|mbox|textrm|mathrm|textbf)\{([^{}]*)\}", r"\1", text)
    text = text.replace("\\$", "").replace("\\%", "").replace("%", "").replace("dfrac", "frac").replace("tfrac", "frac")
    return " ".join(_DROPPED.sub(" ", text).split())


def read_expression(text: str) -> Tree:
    """Returns the tree of an answer. Raises: NoExpressionError."""
    if len(text) > 2 * MAX_CHARS or len(text := cleaned(text)) > MAX_CHARS:
        raise NoExpressionError(f"longer than {MAX_CHARS} characters")
    matrix = _MATRIX.fullmatch(text)
    if matrix is not None:
        rows = [row for row in matrix["rows"].split("\\\\") if row.strip()]
        return ["matrix", *(["tuple", *(_Reader(_tokens(cell)).answer() for cell in row.split("&"))] for row in rows)]
    if "\\cup" in text:
        return ["set", *(_Reader(_tokens(part)).answer() for part in text.split("\\cup"))]
    return _Reader(_tokens(text)).answer()


def exact_value(tree: Tree) -> Fraction | None:
    """Returns the value of a tree of numbers, signs and small powers; None for any other tree."""
    name, *children = tree
    if name == "number":
        return Fraction(cast(str, children[0]))
    if name not in ("add", "multiply", "divide", "negate", "power"):
        return None
    values = [exact_value(cast(Tree, child)) for child in children]
    if any(value is None for value in values):
        return None
    numbers = cast("list[Fraction]", values)
    match name:
        case "add":
            return sum(numbers, Fraction(0))
        case "negate":
            return -numbers[0]
        case "multiply":
            return numbers[0] * numbers[1]
        case "divide":
            return numbers[0] / numbers[1] if numbers[1] else None
        case _:
            base, exponent = numbers
            small = (
                exponent.denominator == 1 and abs(exponent) <= 64 and abs(base.numerator) + base.denominator < 1 << 64
            )
            return base ** int(exponent) if small and (base or exponent > 0) else None


def _tokens(text: str) -> list[Token]:
    found: list[Token] = []
    at, text = 0, text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or not match[0].strip():
            raise NoExpressionError(f"{text[at : at + 10]!r} is not known")
        at = match.end()
        number, command, word, sign = match["number"], match["command"], match["word"], match["sign"]
        if number:
            found.append(Token("number", number))
        elif command in ("{", "}"):
            found.append(Token("sign", f"\\{command}"))
        elif command in ("cdot", "times", "div"):
            found.append(Token("sign", "/" if command == "div" else "*"))
        elif command:
            found.append(Token("name", command))
        elif word:
            found += _words(word)
        else:
            found.append(Token("sign", "^" if sign == "**" else sign))
    return found


def _words(word: str) -> list[Token]:
    """Returns a run of letters as a function, a constant, or up to three symbols that are multiplied."""
    if word in FUNCTIONS or word in CONSTANTS or word in _SYMBOLS:
        return [Token("name", word)]
    if len(word) > 3:
        raise NoExpressionError(f"the word {word!r}")
    return [Token("name", letter) for letter in word]


class _Reader:
    """Recursive descent, down to `MAX_DEPTH`."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.at, self.depth = tokens, 0, 0

    def answer(self) -> Tree:
        """Reads all: an expression, or a list of them, or `symbol = expression`."""
        equals = [index for index, token in enumerate(self.tokens) if token == Token("sign", "=")]
        if len(equals) == 1:
            left = self.tokens[: equals[0]]
            if len(left) == 1 and left[0].kind == "name":
                self.at = 2
                return self._whole()
            right = _Reader(self.tokens[equals[0] + 1 :])._whole()
            return ["equation", _Reader(left)._whole(), right]
        if equals:
            raise NoExpressionError("several equations")
        return self._whole()

    def _whole(self) -> Tree:
        items = self._items()
        if self.at < len(self.tokens):
            raise NoExpressionError(f"{self.tokens[self.at].text!r} is one too many")
        return items[0] if len(items) == 1 else ["tuple", *items]

    def _items(self) -> list[Tree]:
        items = [self._sum()]
        while self._take(","):
            items.append(self._sum())
        return items

    def _sum(self) -> Tree:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NoExpressionError("nested too deeply")
        terms = [self._product()]
        while (sign := self._peek()) in ("+", "-"):
            self.at += 1
            term = self._product()
            terms.append(term if sign == "+" else ["negate", term])
        self.depth -= 1
        return terms[0] if len(terms) == 1 else ["add", *terms]

    def _product(self) -> Tree:
        result: Tree = self._signed()
        while True:
            sign = self._peek()
            if sign in ("*", "/"):
                self.at += 1
                result = ["multiply" if sign == "*" else "divide", result, self._signed()]
            elif self._begins_factor():
                mixed = result[0] == "number" and self.tokens[self.at].text == "frac" and "." not in str(result[1])
                factor = self._power()
                # `2\frac{1}{2}` is a mixed number.
                result = ["add" if mixed and exact_value(factor) is not None else "multiply", result, factor]
            else:
                return result

    def _signed(self) -> Tree:
        negative = False
        while (sign := self._peek()) in ("+", "-"):
            negative ^= sign == "-"
            self.at += 1
        inner = self._power()
        return ["negate", inner] if negative else inner

    def _power(self) -> Tree:
        base: Tree = self._atom()
        while self._take("!"):
            base = ["function", "factorial", base]
        if self._take("^"):
            return ["power", base, self._exponent()]
        return base

    def _exponent(self) -> Tree:
        if self._peek() == "{":
            return self._group("{", "}")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NoExpressionError("nested too deeply")
        found = self._signed()
        self.depth -= 1
        return found

    def _begins_factor(self) -> bool:
        if self.at >= len(self.tokens):
            return False
        token = self.tokens[self.at]
        previous = self.tokens[self.at - 1]
        if token.kind == "number":
            return previous.kind == "name" or previous.text in (")", "}")
        return token.kind == "name" or token.text in ("(", "{")

    def _atom(self) -> Tree:
        if self.at >= len(self.tokens):
            raise NoExpressionError("incomplete")
        token = self.tokens[self.at]
        if token.kind == "number":
            self.at += 1
            return ["number", token.text]
        if token.kind == "name":
            self.at += 1
            return self._named(token.text)
        if token.text in ("(", "["):
            return self._bracketed()
        if token.text == "{":
            return self._group("{", "}")
        if token.text == "\\{":
            self.at += 1
            items = self._items()
            self._expect("\\}")
            return ["set", *items]
        if token.text == "|":
            self.at += 1
            inner = self._sum()
            self._expect("|")
            return ["function", "abs", inner]
        raise NoExpressionError(f"{token.text!r} is in the wrong place")

    def _named(self, name: str) -> Tree:
        if name == "frac":
            return ["divide", self._argument(), self._argument()]
        if name == "sqrt":
            root: Tree = ["number", "2"]
            if self._take("["):
                root = self._sum()
                self._expect("]")
            return ["power", self._argument(), ["divide", ["number", "1"], root]]
        if name in FUNCTIONS:
            return self._function(name)
        if name in CONSTANTS:
            return ["constant", CONSTANTS[name]]
        if len(name) > 1 and name not in _SYMBOLS:
            raise NoExpressionError(f"\\{name} is not known")
        if self._take("_"):
            return ["symbol", f"{name}_{exact_value(self._argument())}"]
        return ["symbol", name]

    def _function(self, name: str) -> Tree:
        base: Tree | None = None
        power: Tree | None = None
        if name == "log" and self._take("_"):
            base = self._argument()
        if self._take("^"):
            power = self._exponent()
        argument = self._group("(", ")") if self._peek() == "(" else self._power()
        found: Tree = ["log", argument, base] if base is not None else ["function", name, argument]
        return found if power is None else ["power", found, power]

    def _argument(self) -> Tree:
        """Reads what follows `\\frac` or `\\sqrt`: a group, or one digit or letter."""
        if self._peek() == "{":
            return self._group("{", "}")
        if self._peek() == "(":
            return self._group("(", ")")
        token = self.tokens[self.at] if self.at < len(self.tokens) else None
        if token is not None and token.kind == "number" and len(token.text) > 1 and token.text.isdigit():
            self.tokens[self.at : self.at + 1] = [Token("number", token.text[0]), Token("number", token.text[1:])]
        return self._atom()

    def _group(self, begin: str, end: str) -> Tree:
        self._expect(begin)
        inner = self._sum()
        self._expect(end)
        return inner

    def _bracketed(self) -> Tree:
        """Reads an expression in brackets, a tuple, or an interval."""
        begin = self.tokens[self.at].text
        self.at += 1
        items = self._items()
        end = self._peek()
        if end not in (")", "]"):
            raise NoExpressionError("a bracket is not closed")
        self.at += 1
        if len(items) == 1 and begin == "(" and end == ")":
            return items[0]
        if begin == "(" and end == ")":
            return ["tuple", *items]
        if begin == "[" and end == "]" and len(items) != 2:
            return items[0] if len(items) == 1 else ["tuple", *items]
        return [f"interval {begin}{end}", *items]

    def _peek(self) -> str:
        token = self.tokens[self.at] if self.at < len(self.tokens) else None
        return token.text if token is not None and token.kind == "sign" else ""

    def _take(self, sign: str) -> bool:
        if self._peek() == sign:
            self.at += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise NoExpressionError(f"{sign!r} is missing")
