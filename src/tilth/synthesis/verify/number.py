r"""Numeric answers: `1,234.5`, `-3/4`, `1 1/2`, `12%`, `$5`, `3 km`, `\frac{1}{2}`, `2.5 \times 10^3`, `#### 7`.

Numbers are read exactly, as fractions; there is no rounding before the tolerance is applied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from tilth.errors import ConfigError
from tilth.synthesis.verify.final_answer import MAX_CHARS, marked_answer
from tilth.synthesis.verify.verdict import NO_REFERENCE, Verdict, excerpt, failed, passed
from tilth.types import Problem

MAX_DIGITS = 400
"""Of a number, and the most that its exponent may be: longer ones are not read as numbers."""
_INT = rf"\d{{1,{MAX_DIGITS}}}"
_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_POWER = r"[eE](?P<exponent>[-+]?\d{1,4})(?!\d)|\s?(?:\\times|×|\*)\s?10\^\{?(?P<power>[-+]?\d{1,4})\}?"
_NUMBER = re.compile(
    rf"""(?P<sign>[-+]?)\s?(?:
        \\[dt]?frac\{{(?P<top>-?{_INT})\}}\{{(?P<bottom>{_INT})\}}
      | \\[dt]?frac(?P<short_top>\d)(?P<short_bottom>\d)
      | (?:(?P<whole>{_INT})\s+)?(?P<over>{_INT})\s?/\s?(?P<under>{_INT})(?![\d.])
      | (?P<decimal>{_DECIMAL})(?:{_POWER})?
    )(?P<percent>\s?%)?""",
    re.VERBOSE | re.ASCII,
)
_MINUS = str.maketrans({"−": "-", "–": "-", "﹣": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " "})
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

    The number is what a mark points at, else the last one of the text. Where one side has a percent sign and the
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
        # Of `3 + 4 = 7` the 7 is the answer, of `7 of 12 boxes` too.
        for part in (marked.rsplit("=", 1)[-1], marked):
            found = _readings(part)
            if found:
                return found[0]
    found = _readings(text[-MAX_CHARS:])
    return found[-1] if found else None


def _readings(text: str) -> list[Reading]:
    text = text.translate(_MINUS).replace("{,}", ",").replace("\\!", "").replace("\\%", "%")
    text = text.replace("\\$", "").replace("$", "").replace("\\,", " ")
    found: list[Reading] = []
    for match in _NUMBER.finditer(_JOINED.sub(" ", text)):
        value = _value(match)
        if value is not None:
            found.append(Reading(value=value, percent=match["percent"] is not None))
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
    digits = match["decimal"].replace(",", "")
    exponent = int(match["exponent"] or match["power"] or 0)
    if len(digits) > MAX_DIGITS or abs(exponent) > MAX_DIGITS:
        return None
    return sign * Fraction(digits) * Fraction(10) ** exponent


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
