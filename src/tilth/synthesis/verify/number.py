r"""Numeric answers: `1,234.5`, `-3/4`, `1 1/2`, `12%`, `$5`, `3 km`, `\frac{1}{2}`, `2.5 \times 10^3`, `#### 7`.

Numbers are read exactly, as fractions; there is no rounding before the tolerance is applied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from tilth.errors import ConfigError
from tilth.synthesis.verify.final_answer import marked_answer, without_thoughts
from tilth.synthesis.verify.verdict import NO_REFERENCE, Verdict, excerpt, failed, passed
from tilth.types import Problem

MAX_DIGITS = 400
"""Of a number, and the most that its exponent may be: longer ones are not read as numbers."""
_INT = rf"\d{{1,{MAX_DIGITS}}}"
_DECIMAL = r"\d{1,3}(?:\.\d{3}){2,}(?![\d.])|(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?:'\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_POWER = r"[eE](?P<exponent>[-+]?\d{1,4})(?!\d)|\s?(?:\\times|×|\*)\s?10\^\{?(?P<power>[-+]?\d{1,4})\}?"
_NUMBER = re.compile(
    rf"""(?P<sign>[-+]?)\s?(?:
        \\[dt]?frac\{{(?P<top>-?{_INT})\}}\{{(?P<bottom>{_INT})\}}
      | \\[dt]?frac(?P<short_top>\d)(?P<short_bottom>\d)
      | (?:(?P<whole>{_INT})\s+)?(?P<over>{_INT})\s?/\s?(?P<under>{_INT})(?![\d.])
      | (?P<decimal>{_DECIMAL})(?:{_POWER})?
    )(?P<percent>\s?(?:%|per\ ?cent\b))?(?:\s(?P<scale>hundred|thousand|million|billion|trillion)\b)?""",
    re.VERBOSE | re.ASCII,
)
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MINUS = str.maketrans({"−": "-", "–": "-", "﹣": "-", "’": "'"})
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:[\u00a0\u202f\u2009]\d{3})+(?!\d)")
_FRACTIONS = str.maketrans(
    {"½": " 1/2", "⅓": " 1/3", "⅔": " 2/3", "¼": " 1/4", "¾": " 3/4", "⅕": " 1/5", "⅖": " 2/5", "⅗": " 3/5"}
    | {"⅘": " 4/5", "⅙": " 1/6", "⅚": " 5/6", "⅛": " 1/8", "⅜": " 3/8", "⅝": " 5/8", "⅞": " 7/8"}
    | {"\u00a0": " ", "\u202f": " ", "\u2009": " "}
)
_SIGN_WORD = re.compile(r"\b(?:minus|negative) (?=\d)", re.IGNORECASE)
# What makes a number another one, or one of several: `2 + 3`, `2^3`, `sqrt(2)`, `3x`, `12 or 13`, `> 5`, `5 ± 1`.
_NOT_ALONE_AFTER = re.compile(
    r"\}?\s?(?:[\^×·÷±]|\\(?:pm|cdot|times|div)\b|:\d|[*/]\s?[\d(])|\s[-+]\s\(?\d|[xyz]\b|\sto\s\$?-?\d"
    r"|,?\s[a-zA-Z]\s?=\s?-?\d"
)
_OR = re.compile(r"[\s$]*(?:[^\W\d]{1,20}\s)?or[\s$]*")
_NOT_ALONE_BEFORE = re.compile(
    r"(?:[<>≤≥√]|\\(?:leq?|geq?|sqrt\{?)|\bsqrt\(?|\bnot|\bbetween|\d\s[-+*/×·÷]|[\^×÷])\s?\$?\Z",
    re.IGNORECASE,
)
# A minus that joins words or numbers (`pages 3-5`, `COVID-19`) is none.
_JOINED = re.compile(r"(?<=[\w)])-(?=\d)")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A number as it was written."""

    value: Fraction
    percent: bool = False
    """It had a percent sign; `value` is the number before it."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """The answer's number is the reference's, units and separators aside.

    The number is what a mark points at, else the last one of the text; no number counts that is a part of an expression
    (`2 + 3`) or one of several (`12 or 13`, `> 12`). Where one side has a percent sign and the
    other has none, both `50` and `0.5` are 50%.
    """

    relative_tolerance: float = 0.0
    """Share of the reference by which an answer may differ."""
    absolute_tolerance: float = 0.0

    def __post_init__(self) -> None:
        for name in ("relative_tolerance", "absolute_tolerance"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"`{name}` is {getattr(self, name)}.", fix="Give 0 or a small positive number.")

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Compares with the number in `problem.answer`."""
        if problem.answer is None:
            return NO_REFERENCE
        wanted = read_number(problem.answer)
        if wanted is None:
            return failed(f"the reference answer {excerpt(problem.answer)} holds no number")
        given = read_number(answer)
        if given is None:
            return failed(f"no number in {excerpt(answer[-200:])}")
        if any(self._near(value, reference) for value, reference in _pairs(given, wanted)):
            return passed("equal")
        return failed(f"{_shown(given)} is not {_shown(wanted)}")

    def _near(self, value: Fraction, reference: Fraction) -> bool:
        allowed = max(Fraction(self.absolute_tolerance), Fraction(self.relative_tolerance) * abs(reference))
        return abs(value - reference) <= allowed


def read_number(text: str) -> Reading | None:
    """Returns the number that a text answers with, or None: never raises, whatever the text."""
    marked = marked_answer(text)
    if marked is not None:
        # Of `3 + 4 = 7` the 7 is the answer, of `7 of 12 boxes` too; `x = 3, y = 4` is none.
        several = len(re.findall(r"\b[a-zA-Z]\s?=\s?-?\d", marked)) > 1
        for part in ("",) if several else (marked.rsplit("=", 1)[-1], marked):
            found = _readings(part)
            if found:
                return found[0]
        if several:
            return None
    found = _readings(without_thoughts(text))
    return found[-1] if found else None


def _readings(text: str) -> list[Reading | None]:
    """The numbers of a text; None for one that does not stand alone."""
    text = _GROUPED.sub(lambda match: re.sub(r"\s", "", match[0]), text)
    text = (
        _SIGN_WORD.sub("-", text.translate(_MINUS).translate(_FRACTIONS))
        .replace("{,}", ",")
        .replace("\\!", "")
        .replace("\\%", "%")
    )
    text = text.replace("\\$", "").replace("$", "").replace("\\,", " ")
    text = _JOINED.sub(" ", text)
    found: list[Reading | None] = []
    end = 0
    for match in _NUMBER.finditer(text):
        value = _value(match)
        if value is None:
            continue
        alone = not _NOT_ALONE_AFTER.match(text, match.end()) and not _NOT_ALONE_BEFORE.search(
            text[max(0, match.start() - 40) : match.start()]
        )
        reading = Reading(value=value, percent=match["percent"] is not None) if alone else None
        if found and _OR.fullmatch(text, end, match.start()) and found[-1] != reading:
            found[-1] = reading = None
        found.append(reading)
        end = match.end()
    return found


def _value(match: re.Match[str]) -> Fraction | None:
    sign = -1 if match["sign"] == "-" else 1
    if match["top"] is not None:
        return _over(sign * int(match["top"]), int(match["bottom"]))
    if match["short_top"] is not None:
        return _over(sign * int(match["short_top"]), int(match["short_bottom"]))
    if match["over"] is not None:
        fraction = _over(int(match["over"]), int(match["under"]))
        return None if fraction is None else sign * (fraction + int(match["whole"] or 0))
    digits = re.sub(r"[,']", "", match["decimal"])
    if digits.count(".") > 1:
        digits = digits.replace(".", "")
    exponent = int(match["exponent"] or match["power"] or 0)
    if len(digits) > MAX_DIGITS or abs(exponent) > MAX_DIGITS:
        return None
    return sign * Fraction(digits) * Fraction(10) ** exponent * _SCALES.get(match["scale"] or "", 1)


def _over(top: int, bottom: int) -> Fraction | None:
    return Fraction(top, bottom) if bottom else None


def _pairs(given: Reading, wanted: Reading) -> list[tuple[Fraction, Fraction]]:
    """Returns the values that count as equal if they are: percent signs on one side only are read both ways."""
    pairs = [(given.value, wanted.value)]
    if given.percent and not wanted.percent:
        pairs.append((given.value / 100, wanted.value))
    if wanted.percent and not given.percent:
        pairs.append((given.value, wanted.value / 100))
    return pairs


def _shown(reading: Reading) -> str:
    text = str(reading.value)
    return (text if len(text) <= 40 else text[:37] + "...") + ("%" if reading.percent else "")
