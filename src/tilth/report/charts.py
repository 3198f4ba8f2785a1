"""Charts as markup: lines, bars, a funnel, a heat map, a table.

Drawn here rather than by a library: the page must read well in light and dark, on a phone and on paper, and be the
same byte for byte, so shapes carry CSS classes and no colours, fonts or ids of their own. matplotlib's SVG fixes all of
these; pygal, plotly and altair need scripts. Bars, tables and heat maps are HTML, so that text wraps and screen readers
read a list or a table. The price is own code for ticks and scales. Every function returns escaped markup; `tone` names
a colour class of `style.css` (`clay`, `moss`, ...).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tilth.report import figures

Point = tuple[float, float]

_WIDTH, _HEIGHT = 640.0, 308.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 16.0, 12.0, 52.0
_NO_MARKUP = Markup("")
_TONES = ("clay", "slate", "moss", "ochre", "plum", "sand")
_DASHES = ("", " long-dashes", " short-dashes")


def tones(n: int) -> list[str]:
    """Returns a tone for each of `n` lines; from the seventh on they are dashed, from the nineteenth they repeat."""
    styles = [tone + dashes for dashes in _DASHES for tone in _TONES]
    return [styles[i % len(styles)] for i in range(n)]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve; points that are not finite are left out."""

    label: str
    points: Sequence[Point]
    tone: str
    faint: bool = False
    """Drawn as a thin background to another line, without marks or legend."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """A dashed horizontal line to compare with."""

    label: str
    value: float
    tone: str


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


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """A linear or logarithmic map from data to drawing units."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        value = min(max(value, self.low), self.high)  # what is off the scale is drawn at its end
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def ticks(low: float, high: float, most: int = 6, whole: bool = False) -> list[float]:
    """Returns at most `most` round numbers (steps of 1, 2 or 5 times a power of ten) within `low..high`."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span / most)) if span > 0 else 1.0
    power = max(power, 1.0) if whole else power
    step = next(s for factor in (1, 2, 5, 10, 20) if span / (s := power * factor) <= most - 1)
    slack = 1e-9 * span / step
    first = math.ceil(low / step - slack)
    return [round(step * i, 12) for i in range(first, math.floor(high / step + slack) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Returns powers of ten within `low..high`; where there are fewer than two, also their 2- and 5-fold."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        found = [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]
        if len(found) >= 2:
            return found
    return [low, high]


def line_chart(lines: Sequence[Line], axes: Axes, *, levels: Sequence[Level] = (), note: str = "") -> Markup:
    """Returns a figure with its legend, or nothing where no line has two finite points to join."""
    shown = [(line, _finite(line.points, axes.log_y)) for line in lines]
    shown = [(line, points) for line, points in shown if points]
    levels = [level for level in levels if math.isfinite(level.value)]
    if not any(len(points) > 1 for _, points in shown):
        return _NO_MARKUP
    x, y = _scales([p for _, points in shown for p in points], levels, axes)
    layers = [_grid(x, y, axes), *(_level(level, x, y, axes) for level in levels)]
    layers += [_curve(line, points, x, y, axes) for line, points in shown]
    return Markup(
        '<figure class="chart"><figcaption><b>{title}</b>{note}</figcaption>{legend}'
        '<svg viewBox="0 0 {w} {h}" role="img" aria-label="{alt}">{layers}</svg></figure>'
    ).format(
        title=axes.y_label,
        note=Markup(' <span class="quiet">{}</span>').format(note) if note else "",
        legend=_legend([line for line, _ in shown if not line.faint], levels, axes),
        w=_num(_WIDTH),
        h=_num(_HEIGHT),
        alt=f"{axes.y_label} against {axes.x_label}: {_in_words(shown, axes)}",
        layers=Markup("").join(layers),
    )


def bars(rows: Sequence[Bar], *, scale: float | None = None) -> Markup:
    """Returns horizontal bars; the longest fills the width unless `scale` gives another full length."""
    totals = [sum(part.value for part in row.parts if math.isfinite(part.value)) for row in rows]
    full = max(totals, default=0.0) if scale is None else scale
    return Markup('<ul class="bars">{}</ul>').format(
        Markup("").join(_bar(row, full if full > 0 else 1.0) for row in rows)
    )


def funnel(rows: Sequence[FunnelRow]) -> Markup:
    """Returns the stages from top to bottom: the column is what is kept, the branches to its right what is dropped."""
    full = max([row.entered for row in rows] + [row.left for row in rows], default=0.0) or 1.0
    return Markup('<ol class="funnel">{}</ol>').format(
        Markup("").join(_funnel_row(row, row.entered / full, row.left / full) for row in rows)
    )


def heat_map(
    rows: Sequence[tuple[str, Sequence[float]]],
    columns: Sequence[str],
    *,
    corner: str,
    caption: str,
    note: str = "",
    mark_after: int | None = None,
) -> Markup:
    """Returns a table of shares (0..1) coloured by value, with a rule after column number `mark_after`."""
    head = Markup("").join(
        Markup('<th scope="col"{}>{}</th>').format(_edge(i, mark_after), name) for i, name in enumerate(columns)
    )
    body = Markup("").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            name,
            Markup("").join(_cell(v, f"{corner} {name}, {columns[i]}", i, mark_after) for i, v in enumerate(row)),
        )
        for name, row in rows
    )
    return Markup(
        '<figure class="heat"><table><caption><b>{caption}</b>{note}</caption>'
        '<thead><tr><th scope="col">{corner}</th>{head}</tr></thead><tbody>{body}</tbody></table></figure>'
    ).format(
        caption=caption,
        note=Markup(' <span class="quiet">{}</span>').format(note) if note else "",
        corner=corner,
        head=head,
        body=body,
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], tone_classes: Sequence[str] = ()) -> Markup:
    """Returns a table whose first column names the rows; `tone_classes` puts each row's legend key beside its name."""
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in columns)
    body = Markup("").join(
        Markup('<tr><th scope="row">{}{}</th>{}</tr>').format(
            Markup('<i class="key {}"></i>').format(tone_classes[index]) if tone_classes else "",
            name,
            Markup("").join(Markup("<td>{}</td>").format(cell) for cell in cells),
        )
        for index, (name, *cells) in enumerate(rows)
    )
    return Markup(
        '<div class="wide"><table class="results"><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(head, body)


def _num(value: float) -> str:
    """A coordinate: two decimals at most, never nan or inf (they would blank the whole path)."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a coordinate")
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def _finite(points: Sequence[Point], positive: bool) -> list[Point]:
    # Differences of larger numbers would overflow.
    return [(x, y) for x, y in points if abs(x) < 1e300 and abs(y) < 1e300 and (y > 0 or not positive)]


def _scales(points: Sequence[Point], levels: Sequence[Level], axes: Axes) -> tuple[_Scale, _Scale]:
    xs = [x for x, _ in points]
    ys = [y for _, y in points] + [level.value for level in levels]
    x_low, x_high = min(xs), max(xs)
    if axes.y_range is not None:
        y_low, y_high = axes.y_range
    elif axes.log_y:
        y_low, y_high = min(ys) / 1.15, max(ys) * 1.15
    else:
        margin = 0.06 * (max(ys) - min(ys)) or max(abs(max(ys)) * 0.1, 1e-9)
        y_low, y_high = min(ys) - margin, max(ys) + margin
        if min(ys) >= 0:
            y_low = max(y_low, 0.0)
    if x_low == x_high:
        x_high = x_low + 1
    return (
        _Scale(low=x_low, high=x_high, start=_LEFT, end=_WIDTH - _RIGHT),
        _Scale(low=y_low, high=y_high, start=_HEIGHT - _BOTTOM, end=_TOP, log=axes.log_y),
    )


def _grid(x: _Scale, y: _Scale, axes: Axes) -> Markup:
    shapes: list[Markup] = []
    if axes.shaded is not None:
        left, right = (min(max(edge, x.low), x.high) for edge in axes.shaded[:2])
        shapes.append(
            Markup('<rect class="shade" x="{}" y="{}" width="{}" height="{}"/>').format(
                _num(x(left)), _num(y.end), _num(x(right) - x(left)), _num(y.start - y.end)
            )
        )
    values = log_ticks(y.low, y.high) if axes.log_y else ticks(y.low, y.high)
    for value, name in zip(values, _trimmed([axes.y_format(value) for value in values]), strict=True):
        at = _num(y(value))
        shapes.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
                '<text class="end" x="{}" y="{}" dy=".35em">{}</text>'
            ).format(_num(x.start), _num(x.end), at, at, _num(x.start - 8), at, name)
        )
    for value in ticks(x.low, x.high, 17 if axes.whole_x else 6, axes.whole_x):
        shapes.append(
            Markup('<text class="mid" x="{}" y="{}">{}</text>').format(
                _num(x(value)), _num(y.start + 22), axes.x_format(value)
            )
        )
    shapes.append(
        Markup('<text class="end name" x="{}" y="{}">{}</text>').format(_num(x.end), _num(_HEIGHT - 4), axes.x_label)
    )
    return Markup("").join(shapes)


def _trimmed(labels: list[str]) -> list[str]:
    """Labels without the decimals that are zero in all of them: `2.00, 4.00` -> `2, 4`."""
    while labels and all("." in label and label[-1] in "0." for label in labels):
        labels = [label[:-1] for label in labels]
    return labels


def _level(level: Level, x: _Scale, y: _Scale, axes: Axes) -> Markup:
    at = _num(y(level.value))
    return Markup(
        '<g><title>{}: {}</title><line class="level {}" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        '<line class="hit" x1="{}" x2="{}" y1="{}" y2="{}"/></g>'
    ).format(
        level.label, axes.y_format(level.value), level.tone, _num(x.start), _num(x.end), at, at,
        _num(x.start), _num(x.end), at, at,
    )  # fmt: skip


def _curve(line: Line, points: Sequence[Point], x: _Scale, y: _Scale, axes: Axes) -> Markup:
    path = "M" + "L".join(f"{_num(x(px))},{_num(y(py))}" for px, py in points)
    stroke = Markup('<path class="line {}{}" d="{}"/>').format(line.tone, " faint" if line.faint else "", path)
    if line.faint:
        return stroke
    # About 40 points can be pointed at; fewer than 24 show as dots: then each is a measurement of its own.
    every = max(1, math.ceil(len(points) / 40))
    spots = list(points[::every]) + ([points[-1]] if (len(points) - 1) % every else [])
    dots = Markup("").join(
        Markup('<g class="spot"><title>{}: {}\n{}: {}</title><circle class="hit" cx="{}" cy="{}" r="9"/>'
               '<circle class="dot {}{}" cx="{}" cy="{}" r="3.5"/></g>').format(
            line.label, axes.y_format(py), axes.x_label, axes.x_format(px), _num(x(px)), _num(y(py)),
            line.tone, "" if len(points) < 24 else " still", _num(x(px)), _num(y(py)),
        )
        for px, py in spots
    )  # fmt: skip
    return stroke + dots


def _legend(lines: Sequence[Line], levels: Sequence[Level], axes: Axes) -> Markup:
    items = [Markup('<li><i class="key {}"></i>{}</li>').format(line.tone, line.label) for line in lines]
    items += [
        Markup('<li><i class="key dashed {}"></i>{} <b>{}</b></li>').format(
            level.tone, level.label, axes.y_format(level.value)
        )
        for level in levels
    ]
    if axes.shaded is not None:
        items.append(Markup('<li><i class="key shade"></i>{}</li>').format(axes.shaded[2]))
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items)) if len(items) > 1 else _NO_MARKUP


def _in_words(shown: Sequence[tuple[Line, Sequence[Point]]], axes: Axes) -> str:
    return "; ".join(
        f"{line.label} from {axes.y_format(points[0][1])} to {axes.y_format(points[-1][1])}"
        for line, points in shown
        if not line.faint
    )


def _bar(row: Bar, full: float) -> Markup:
    segments = Markup("").join(
        Markup('<i class="{}" style="width:{}%" title="{}"></i>').format(
            part.tone, _num(min(100.0, 100 * part.value / full)), part.tip
        )
        for part in row.parts
        if math.isfinite(part.value) and part.value > 0
    )
    return Markup(
        '<li{}><span class="label">{}</span><span class="track">{}</span><span class="value">{}</span>{}</li>'
    ).format(
        Markup(' class="strong"') if row.strong else "",
        row.label,
        segments,
        row.text,
        Markup('<span class="note">{}</span>').format(row.note) if row.note else "",
    )


def _funnel_row(row: FunnelRow, entered: float, left: float) -> Markup:
    # Stretched to the width of the page, so it holds no text; the column is at most 62 of 100 units wide.
    wide, narrow = max(62 * entered, 0.4), max(62 * left, 0.4)
    lost = max(entered - left, 0.0)
    if lost > 0:
        thick = max(34 * lost, 1.2)
        inner, outer = 30 - thick / 2, 30 + thick / 2
        branch = Markup(
            '<path class="branch" d="M{b},0C{b},{i} {m},{i} 100,{i}L100,{o}C{n},{o} {a},{o} {a},0Z"/>'
        ).format(
            a=_num(narrow), b=_num(max(wide, narrow + 0.4)), m=_num(wide + (100 - wide) * 0.3),
            n=_num(narrow + (100 - narrow) * 0.3), i=_num(inner), o=_num(outer),
        )  # fmt: skip
        column = f"M0,0H{_num(narrow)}V60H0Z"
    else:
        branch = _NO_MARKUP
        column = f"M0,0H{_num(wide)}C{_num(wide)},30 {_num(narrow)},30 {_num(narrow)},60H0Z"
    return Markup(
        '<li{}><div class="stage"><b>{}</b> <span>{}</span></div>'
        '<div class="flow"><svg viewBox="0 0 100 60" preserveAspectRatio="none" aria-hidden="true">'
        '<path class="column" d="{}"/>{}</svg></div>'
        '<div class="dropped">{}</div></li>'
    ).format("" if lost else Markup(' class="calm"'), row.label, row.text, column, branch, row.dropped_text)


def _edge(index: int, mark_after: int | None) -> Markup:
    return Markup(' class="edge"') if mark_after is not None and index == mark_after - 1 else _NO_MARKUP


def _cell(value: float, where: str, index: int, mark_after: int | None) -> Markup:
    edge = " edge" if mark_after is not None and index == mark_after - 1 else ""
    if not math.isfinite(value):
        return Markup('<td class="none{}">{}</td>').format(edge, figures.DASH)
    level = round(10 * min(max(value, 0.0), 1.0))
    return Markup('<td class="h{}{}" title="{}: {}">{}</td>').format(
        level, edge, where, figures.percent(value), f"{100 * value:.0f}"
    )
