"""What charts are drawn from: lines, levels, axes, bars, rows of a funnel, and the tones that tell them apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tilth.report import figures

Point = tuple[float, float]

TONES = ("clay", "slate", "moss", "ochre", "plum", "sand")
"""Colour classes of `style.css`. Any two differ under colour-blindness, and each has a marker of its own."""
_DASHES = ("", " long-dashes", " short-dashes")


def tones(n: int) -> list[str]:
    """Returns a tone for each of `n` lines; from the seventh on they are dashed, from the nineteenth they repeat."""
    styles = [tone + dashes for dashes in _DASHES for tone in TONES]
    return [styles[i % len(styles)] for i in range(n)]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve; points that are not finite are left out."""

    label: str
    points: Sequence[Point]
    tone: str
    faint: bool = False
    """Drawn as a thin background to another line, without markers, label or values."""
    values: bool = False
    """The values of its first, lowest and last point are written beside them."""
    band: Sequence[tuple[float, float, float]] = ()
    """(x, low, high) of its interval, drawn as an area; rows that are not finite are left out."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """A dashed horizontal line to compare with."""

    label: str
    value: float
    tone: str


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A vertical line at a position on the x axis."""

    label: str
    x: float


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What the two axes of a line chart mean."""

    x_label: str
    y_label: str
    x_format: Callable[[float], str] = figures.axis
    y_format: Callable[[float], str] = figures.axis
    y_range: tuple[float, float] | None = None
    """None: from the data."""
    log_y: bool = False
    shaded: tuple[float, float, str] | None = None
    """Part of the x axis to shade, and what it is."""
    whole_x: bool = False
    """Ticks at whole numbers only."""
    moments: Sequence[Moment] = ()


@dataclass(frozen=True, kw_only=True)
class Part:
    """One segment of a bar."""

    value: float
    tone: str
    tip: str


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One horizontal bar of one or more segments, with its figure as text."""

    label: str
    text: str
    parts: Sequence[Part]
    strong: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class FunnelRow:
    """One row of the funnel: what entered a stage and what left it."""

    label: str
    entered: float
    left: float
    text: str
    dropped_text: str = ""
