"""The drawing of a line chart as SVG, in one of two shapes.

Text in an SVG shrinks with the drawing, so a chart that is wide on a desktop has a second, smaller drawing for phones;
the style sheet shows one of them. Each line is named at its end: labels are moved apart where they would overlap, and a
thin line joins each to its curve. Text is set a little smaller than the space that is kept for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tilth.report.chart_parts import TONES, Axes, Level, Line, Point
from tilth.report.scales import Scale, log_ticks, spread, ticks, trimmed

_SPARSE_MARKERS = 8
_ALL_MARKERS = 24
"""With fewer points each is a measurement of its own and is marked."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The size of a drawing in its own units, and what a character takes of it."""

    name: str
    width: float
    height: float
    character: float
    """Mean width of a character."""
    line: float
    """Height of a line of text."""


COMPACT = Shape(name="compact", width=420, height=290, character=7.2, line=16)
BROAD = Shape(name="broad", width=760, height=350, character=8.0, line=18)

Shown = tuple[Line, Sequence[Point]]
"""A line, and those of its points that can be drawn."""


@dataclass(frozen=True)
class _Frame:
    shape: Shape
    x: Scale
    y: Scale


@dataclass(frozen=True)
class _End:
    """A label at the right end, and the point that it names; `x` is None for the whole width."""

    x: float | None
    y: float
    tone: str
    text: str


def draw(shown: Sequence[Shown], levels: Sequence[Level], axes: Axes, shape: Shape, alt: str) -> Markup:
    """Returns the `svg` element; `shown` has at least two points."""
    frame = _frame(shown, levels, axes, shape)
    layers = [_grid(frame, axes), *(_level(level, frame) for level in levels)]
    alone = sum(not line.faint for line, _ in shown) == 1
    layers += [_band(line, frame) for line, _ in shown]
    layers += [_curve(line, points, frame, alone=alone) for line, points in shown]
    layers += [_values(points, frame, axes) for line, points in shown if line.values]
    layers.append(_end_labels(shown, levels, frame, axes))
    return Markup(
        '<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}" data-x="{}" data-y="{}">{}</svg>'
    ).format(
        shape.name, num(shape.width), num(shape.height), alt, _scale_data(frame.x), _scale_data(frame.y),
        Markup("").join(layers),
    )  # fmt: skip


def named(shown: Sequence[Shown], levels: Sequence[Level]) -> bool:
    """Whether every line and level has its full name at its end; else a legend is needed."""
    lines = [line for line, _ in shown if not line.faint]
    longest = max((len(one.label) for one in [*lines, *levels]), default=0)
    room = (COMPACT.height - 70) / COMPACT.line
    return longest <= _most_characters(COMPACT) and len(lines) + len(levels) <= room


def num(value: float) -> str:
    """Returns a coordinate: two decimals at most, never nan or inf (they would blank the whole path)."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a coordinate")
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def _frame(shown: Sequence[Shown], levels: Sequence[Level], axes: Axes, shape: Shape) -> _Frame:
    points = [point for _, points in shown for point in points]
    (x_low, x_high), (y_low, y_high) = _ranges(shown, points, levels, axes)
    above = max(len(axes.moments), axes.shaded is not None)
    top, bottom = 10 + shape.line * above, shape.height - 2.9 * shape.line
    y = Scale(low=y_low, high=y_high, start=bottom, end=top, log=axes.log_y)
    left = 12 + shape.character * max(len(name) for _, name in _y_ticks(y, axes))
    ends = [len(_cut(end.text, shape)) for end in _ends(shown, levels, axes)]
    right = 18 + shape.character * max(ends) if ends else 16.0
    return _Frame(shape, Scale(low=x_low, high=x_high, start=left, end=shape.width - right), y)


def _ranges(
    shown: Sequence[Shown], points: Sequence[Point], levels: Sequence[Level], axes: Axes
) -> tuple[tuple[float, float], tuple[float, float]]:
    xs = [x for x, _ in points]
    ys = [y for _, y in points] + [level.value for level in levels]
    ys += [end for line, _ in shown for _, low, high in _finite_band(line, axes.log_y) for end in (low, high)]
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
    return (x_low, x_high if x_high > x_low else x_low + 1), (y_low, y_high)


def _scale_data(scale: Scale) -> str:
    """A scale for the script: low, high, their positions, and `log`."""
    numbers = " ".join(f"{value:.10g}" for value in (scale.low, scale.high, scale.start, scale.end))
    return numbers + (" log" if scale.log else "")


def _y_ticks(y: Scale, axes: Axes) -> list[tuple[float, str]]:
    values = log_ticks(y.low, y.high) if axes.log_y else ticks(y.low, y.high)
    return list(zip(values, trimmed([axes.y_format(value) for value in values]), strict=True))


def _grid(frame: _Frame, axes: Axes) -> Markup:
    x, y, shape = frame.x, frame.y, frame.shape
    shapes: list[Markup] = []
    if axes.shaded is not None:
        left, right = (min(max(edge, x.low), x.high) for edge in axes.shaded[:2])
        shapes.append(
            Markup('<rect class="shade" x="{}" y="{}" width="{}" height="{}"/><text x="{}" y="{}">{}</text>').format(
                num(x(left)), num(y.end), num(x(right) - x(left)), num(y.start - y.end), num(x(left)),
                num(y.end - 5), axes.shaded[2],
            )
        )  # fmt: skip
    for value, name in _y_ticks(y, axes):
        at = num(y(value))
        shapes.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
                '<text class="end" x="{}" y="{}" dy=".35em">{}</text>'
            ).format(num(x.start), num(x.end), at, at, num(x.start - 7), at, name)
        )
    for value, name in _x_ticks(x, axes, shape):
        shapes.append(
            Markup('<text class="mid" x="{}" y="{}">{}</text>').format(
                num(x(value)), num(y.start + 1.25 * shape.line), name
            )
        )
    shapes.append(
        Markup('<text class="mid name" x="{}" y="{}">{}</text>').format(
            num((x.start + x.end) / 2), num(shape.height - 5), axes.x_label
        )
    )
    shapes += [_moment(one.label, one.x, row, frame) for row, one in enumerate(axes.moments) if math.isfinite(one.x)]
    return Markup("").join(shapes)


def _x_ticks(x: Scale, axes: Axes, shape: Shape) -> list[tuple[float, str]]:
    """As many ticks as fit beside each other."""
    for most in range(17 if axes.whole_x else 6, 1, -1):
        values = ticks(x.low, x.high, most, axes.whole_x)
        names = [axes.x_format(value) for value in values]
        taken = sum(len(name) for name in names) * shape.character + 12 * len(names)
        if taken <= x.end - x.start:
            return list(zip(values, names, strict=True))
    return []


def _moment(label: str, at: float, row: int, frame: _Frame) -> Markup:
    """A vertical line with its label above the plot, in a row of its own."""
    x, y = frame.x, frame.y
    position, top = num(x(at)), y.end - 4 - row * frame.shape.line
    anchor = "end" if x(at) > (x.start + x.end) / 2 else ""
    return Markup(
        '<line class="moment" x1="{}" x2="{}" y1="{}" y2="{}"/><text class="{}" x="{}" y="{}">{}</text>'
    ).format(position, position, num(y.start), num(top), anchor, position, num(top - 3), label)


def _level(level: Level, frame: _Frame) -> Markup:
    at = num(frame.y(level.value))
    return Markup('<line class="level {}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
        level.tone, num(frame.x.start), num(frame.x.end), at, at
    )


def _finite_band(line: Line, positive: bool) -> list[tuple[float, float, float]]:
    return [row for row in line.band if all(abs(value) < 1e300 for value in row) and (row[1] > 0 or not positive)]


def _band(line: Line, frame: _Frame) -> Markup:
    """The area between the ends of an interval, cut to the plot; nothing for fewer than two places."""
    rows = _finite_band(line, frame.y.log)
    if len(rows) < 2:
        return Markup("")

    def at(x: float, y: float) -> str:
        return f"{num(frame.x(x))},{num(min(max(frame.y(y), frame.y.end), frame.y.start))}"

    upper, lower = [at(x, high) for x, _, high in rows], [at(x, low) for x, low, _ in rows[::-1]]
    return Markup('<path class="band {}" d="M{}Z"/>').format(line.tone.split()[0], "L".join(upper + lower))


def _curve(line: Line, points: Sequence[Point], frame: _Frame, *, alone: bool) -> Markup:
    drawn = [(frame.x(px), frame.y(py)) for px, py in points]
    path = "M" + "L".join(f"{num(x)},{num(y)}" for x, y in drawn)
    stroke = Markup('<path class="line {}{}" d="{}"/>').format(line.tone, " faint" if line.faint else "", path)
    if line.faint or (alone and len(drawn) >= _ALL_MARKERS):
        return stroke
    every = 1 if len(drawn) < _ALL_MARKERS else math.ceil(len(drawn) / _SPARSE_MARKERS)
    # Counted from the end, so that the last point is marked.
    marks = "".join(_marker(line.tone, x, y) for x, y in drawn[::-1][::every])
    return stroke + Markup('<path class="mark {}" d="{}"/>').format(line.tone, marks)


def _marker(tone: str, x: float, y: float) -> str:
    """The marker of a tone as the commands of a path: disc, square, triangle, diamond, triangle down, cross."""
    a, b, c = num(x), num(y), "4.6"
    start = {
        "clay": f"M{num(x - 3.8)},{b}a3.8,3.8 0 1 0 7.6,0a3.8,3.8 0 1 0 -7.6,0",
        "slate": f"M{num(x - 3.5)},{num(y - 3.5)}h7v7h-7z",
        "moss": f"M{a},{num(y - 4.8)}l{c},8.4h-9.2z",
        "ochre": f"M{a},{num(y - 5)}l5,5l-5,5l-5,-5z",
        "plum": f"M{a},{num(y + 4.8)}l{c},-8.4h-9.2z",
        "sand": f"M{num(x - 1.6)},{num(y - 4.6)}h3.2v3h3v3.2h-3v3h-3.2v-3h-3v-3.2h3z",
    }
    return start.get(tone.split()[0], start[TONES[0]])


def _values(points: Sequence[Point], frame: _Frame, axes: Axes) -> Markup:
    """The values of the first and of the lowest point; that of the last one is in the label at the end."""
    first, last = points[0], points[-1]
    best = min(points, key=lambda point: point[1])
    texts = [(first, axes.y_format(first[1]), "")] if first != last else []
    if axes.y_format(best[1]) not in (axes.y_format(first[1]), axes.y_format(last[1])):
        texts.append((best, f"best {axes.y_format(best[1])}", "mid"))
    return Markup("").join(
        Markup('<text class="number {}" x="{}" y="{}">{}</text>').format(
            anchor,
            num(frame.x(x) + (0 if anchor else 8)),
            num(frame.y(y) + (1.3 if anchor else 0.1) * frame.shape.line),
            text,
        )
        for (x, y), text, anchor in texts
    )


def _ends(shown: Sequence[Shown], levels: Sequence[Level], axes: Axes) -> list[_End]:
    lines = [(line, points[-1]) for line, points in shown if not line.faint]
    if len(lines) + len(levels) == 1 and not lines[0][0].values:
        return []  # the caption names it
    return [
        _End(x, y, line.tone, f"{line.label} {axes.y_format(y)}" if line.values else line.label)
        for line, (x, y) in lines
    ] + [_End(None, level.value, level.tone, f"{level.label} {axes.y_format(level.value)}") for level in levels]


def _most_characters(shape: Shape) -> int:
    return int(0.4 * shape.width / shape.character)


def _cut(text: str, shape: Shape) -> str:
    most = _most_characters(shape)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _end_labels(shown: Sequence[Shown], levels: Sequence[Level], frame: _Frame, axes: Axes) -> Markup:
    ends = _ends(shown, levels, axes)
    x, y, shape = frame.x, frame.y, frame.shape
    if len(ends) * shape.line > shape.height:
        return Markup("")  # the legend names them
    heights = spread([y(end.y) for end in ends], shape.line, y.end, y.start)
    return Markup("").join(
        Markup(
            '<path class="leader {}" d="M{},{}H{}L{},{}"/><text class="label" x="{}" y="{}" dy=".35em">{}</text>'
        ).format(
            end.tone.split()[0], num(x.end if end.x is None else x(end.x)), num(y(end.y)), num(x.end),
            num(x.end + 11), num(height), num(x.end + 14), num(height), _cut(end.text, shape),
        )
        for end, height in zip(ends, heights, strict=True)
    )  # fmt: skip
