"""Numbers as text, with their units.

The number of digits is decided here alone, so that a sentence and the chart beside it agree. What is not finite prints
as a dash.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeGuard

DASH = "–"


def count(value: float | None) -> str:
    """`12345` -> `12,345`."""
    return f"{value:,.0f}" if _is_finite(value) else DASH


def short(value: float | None) -> str:
    """Three digits with a magnitude: `1234567` -> `1.23 M`."""
    return _scaled(value, ("", "k", "M", "G", "T")).strip()


def size(value: float | None) -> str:
    """Bytes in decimal units: `1234567` -> `1.23 MB`."""
    return _scaled(value, ("B", "kB", "MB", "GB", "TB"))


def flops(value: float | None) -> str:
    """Floating-point operations: `1.23e13` -> `12.3 TFLOP`."""
    return _scaled(value, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP", "ZFLOP"))


def duration(seconds: float | None) -> str:
    """`754` -> `12 min 34 s`."""
    if not _is_finite(seconds):
        return DASH
    if 0 < seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent(share: float | None) -> str:
    """`0.724` -> `72%`; never rounds something to nothing, nor nearly all to all."""
    if not _is_finite(share):
        return DASH
    if 0 < share < 0.005:
        return "<1%"
    if 0.995 < share < 1:
        return ">99%"
    return f"{share * 100:.0f}%"


def bits(value: float | None) -> str:
    """Bits per byte, two decimals."""
    return f"{value:.2f}" if _is_finite(value) else DASH


def axis(value: float) -> str:
    """A tick on an axis, as short as it can be."""
    if value == 0:
        return "0"
    for magnitude, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= magnitude:
            return f"{value / magnitude:.3g}{letter}"
    return f"{value:.6g}" if abs(value) >= 1e-3 else f"{value:.0e}".replace("e-0", "e-")


def plural(number: float, noun: str, nouns: str = "") -> str:
    """`1, "document"` -> `1 document`; `1200` -> `1,200 documents`; `nouns` is a plural that takes no `s`."""
    return f"{count(number)} {noun if number == 1 else nouns or noun + 's'}"


def span(values: Sequence[float], form: Callable[[float], str]) -> str:
    """The least and the greatest finite value, or one of them where they print the same: `1.62–1.65`."""
    finite = [value for value in values if _is_finite(value)]
    if not finite:
        return DASH
    low, high = form(min(finite)), form(max(finite))
    return low if low == high else f"{low}–{high}"


def join(words: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def ranges(numbers: Sequence[int]) -> str:
    """Whole numbers with runs drawn together: `7, 8, 9, 12` -> `7–9 and 12`."""
    ordered = sorted(set(numbers))
    breaks = [i for i, (a, b) in enumerate(pairwise(ordered), 1) if b != a + 1]
    runs = [ordered[i:j] for i, j in pairwise([0, *breaks, len(ordered)])] if ordered else []
    return join([f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs])


def _is_finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _scaled(value: float | None, units: tuple[str, ...]) -> str:
    if not _is_finite(value):
        return DASH
    step = 0
    # 999.5 would print as "1000": the next unit begins where the rounding does.
    while abs(value) >= 999.5 and step < len(units) - 1:
        value, step = value / 1000, step + 1
    whole = step == 0 or abs(value) >= 100
    digits = 0 if whole else (1 if abs(value) >= 10 else 2)
    return f"{value:.{digits}f} {units[step]}"
