"""Numbers as a person reads them, with their units.

One place decides how many digits a figure has, so that a sentence and the chart beside it never disagree.
Whatever is not finite prints as a dash.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

DASH = "–"


def count(value: float | None) -> str:
    """`12345` -> `12,345`."""
    return DASH if value is None or not math.isfinite(value) else f"{value:,.0f}"


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
    if seconds is None or not math.isfinite(seconds):
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
    if share is None or not math.isfinite(share):
        return DASH
    if 0 < share < 0.005:
        return "<1%"
    if 0.995 < share < 1:
        return ">99%"
    return f"{share * 100:.0f}%"


def bits(value: float | None) -> str:
    """Bits per byte, two decimals."""
    return DASH if value is None or not math.isfinite(value) else f"{value:.2f}"


def axis(value: float) -> str:
    """A tick on an axis, as short as it can be."""
    if value == 0:
        return "0"
    for magnitude, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= magnitude:
            return f"{value / magnitude:.3g}{letter}"
    return f"{value:.6g}" if abs(value) >= 1e-3 else f"{value:.0e}".replace("e-0", "e-")


def plural(number: float, noun: str) -> str:
    """`1, "document"` -> `1 document`; `1200` -> `1,200 documents`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def join(words: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def ranges(numbers: Sequence[int]) -> str:
    """Whole numbers with runs drawn together: `7, 8, 9, 12` -> `7–9 and 12`."""
    ordered = sorted(set(numbers))
    breaks = [i for i, (a, b) in enumerate(pairwise(ordered), 1) if b != a + 1]
    runs = [ordered[i:j] for i, j in pairwise([0, *breaks, len(ordered)])] if ordered else []
    return join([f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs])


def _scaled(value: float | None, units: tuple[str, ...]) -> str:
    if value is None or not math.isfinite(value):
        return DASH
    step = 0
    # 999.5 would print as "1000": the next unit begins where the rounding does.
    while abs(value) >= 999.5 and step < len(units) - 1:
        value, step = value / 1000, step + 1
    whole = step == 0 or abs(value) >= 100
    digits = 0 if whole else (1 if abs(value) >= 10 else 2)
    return f"{value:.{digits}f} {units[step]}"
