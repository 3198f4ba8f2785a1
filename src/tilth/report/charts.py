"""Charts as markup: lines, bars, a funnel, a heat map, a table.

Drawn here rather than by a library: the page must read well in light and dark, on a phone and on paper, and be the
same byte for byte, so shapes carry CSS classes and no colours, fonts or ids of their own. matplotlib's SVG fixes these;
pygal, plotly and altair need scripts. Bars, tables and heat maps are HTML, so that text wraps and screen readers read a
list or a table. In exchange, ticks and scales are own code. Every function returns escaped markup; `tone` names a
colour class of `style.css` (`clay`, `moss`, ...).

Each chart is a `figure` that carries its numbers as CSV (`data-csv`), which `charts.js` offers as a file. A line chart
has them as a table, too: for screen readers, and for the values under the pointer.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from markupsafe import Markup

from tilth.report import figures
from tilth.report.chart_parts import TONES, Axes, Bar, FunnelRow, Level, Line, Moment, Part, Point, tones
from tilth.report.line_drawing import BROAD, COMPACT, Shown, draw, named, num
from tilth.report.scales import log_ticks, ticks

__all__ = [
    "TONES",
    "Axes",
    "Bar",
    "FunnelRow",
    "Level",
    "Line",
    "Moment",
    "Part",
    "Point",
    "bars",
    "csv_text",
    "funnel",
    "heat_map",
    "line_chart",
    "log_ticks",
    "table",
    "ticks",
    "tones",
]

_NO_MARKUP = Markup("")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def line_chart(
    lines: Sequence[Line], axes: Axes, *, levels: Sequence[Level] = (), note: str = "", wide: bool = False
) -> Markup:
    """Returns a figure, or nothing where no line has two finite points to join.

    `note` is the unit of the values. A `wide` chart has a second drawing for where it is more than half as wide as the
    page.
    """
    shown = [(line, _finite(line.points, axes.log_y)) for line in lines]
    shown = [(line, points) for line, points in shown if points]
    levels = [level for level in levels if math.isfinite(level.value) and (level.value > 0 or not axes.log_y)]
    if not any(len(points) > 1 for _, points in shown):
        return _NO_MARKUP
    alt = f"{axes.y_label} against {axes.x_label}: {_in_words(shown, axes)}"
    plain = [(line, points) for line, points in shown if not line.faint] or shown
    return Markup(
        '<figure class="chart{kind}" data-csv="{csv}"><figcaption><b>{title}</b>{note}</figcaption>{legend}'
        '<div class="plot">{drawings}</div>{values}</figure>'
    ).format(
        kind=" both" if wide else "",
        csv=_lines_csv(plain, levels, axes),
        title=axes.y_label,
        note=_quiet(note),
        legend=_NO_MARKUP if named(shown, levels) else _legend(plain, levels, axes),
        drawings=Markup("").join(
            draw(shown, levels, axes, shape, alt) for shape in ((COMPACT, BROAD) if wide else (COMPACT,))
        ),
        values=_values_table(plain, levels, axes),
    )


def bars(
    rows: Sequence[Bar],
    *,
    scale: float | None = None,
    title: str = "",
    width: str = "",
    full: str = "",
    columns: Sequence[str] = ("value",),
) -> Markup:
    """Returns horizontal bars; the longest fills the width unless `scale` gives another full length.

    `width` says what the width of a bar is, `full` what the full width is; `columns` names the parts of a bar.
    """
    totals = [sum(part.value for part in row.parts if math.isfinite(part.value)) for row in rows]
    longest = max(totals, default=0.0) if scale is None else scale
    return _figure(
        Markup('<ul class="bars">{}</ul>').format(
            Markup("").join(_bar(row, longest if longest > 0 else 1.0) for row in rows)
        ),
        csv_text(["name", *columns], [[row.label, *(part.value for part in row.parts)] for row in rows]),
        title,
        _width_sentence(width, full),
    )


def funnel(rows: Sequence[FunnelRow], *, width: str = "") -> Markup:
    """Returns the stages from top to bottom: the column is what is kept, the branches to its right what is dropped."""
    full = max([row.entered for row in rows] + [row.left for row in rows], default=0.0) or 1.0
    return _figure(
        Markup('<ol class="funnel">{}</ol>').format(
            Markup("").join(_funnel_row(row, row.entered / full, row.left / full) for row in rows)
        ),
        csv_text(["stage", "in", "out"], [[row.label, row.entered, row.left] for row in rows]),
        "",
        _width_sentence(width, figures.count(full)),
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
        '<figure class="heat" data-csv="{csv}"><figcaption><b>{caption}</b>{note}</figcaption><table>'
        '<thead><tr><th scope="col">{corner}</th>{head}</tr></thead><tbody>{body}</tbody></table></figure>'
    ).format(
        csv=csv_text([corner, *columns], [[name, *row] for name, row in rows]),
        caption=caption,
        note=_quiet(note),
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


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> str:
    """Returns a table as CSV; numbers in full, and what is not finite or None as an empty field.

    Text that a spreadsheet would run as a formula gets an apostrophe in front of it.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in (columns, *rows):
        writer.writerow([_field(value) for value in row])
    return out.getvalue()


def _field(value: str | float | None) -> str:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return f"{value:.10g}" if value is not None and math.isfinite(value) else ""


def _figure(content: Markup, text: str, title: str, sentence: str) -> Markup:
    return Markup('<figure class="bar-chart" data-csv="{}">{}{}{}</figure>').format(
        text,
        Markup("<figcaption><b>{}</b></figcaption>").format(title) if title else "",
        content,
        Markup('<p class="scale">{}</p>').format(sentence) if sentence else "",
    )


def _width_sentence(width: str, full: str) -> str:
    return f"Width: {width}{f'; full width: {full}' if full else ''}." if width else ""


def _quiet(note: str) -> Markup:
    return Markup(' <span class="quiet">{}</span>').format(note) if note else _NO_MARKUP


def _finite(points: Sequence[Point], positive: bool) -> list[Point]:
    # Differences of larger numbers would overflow.
    return [(x, y) for x, y in points if abs(x) < 1e300 and abs(y) < 1e300 and (y > 0 or not positive)]


def _columns(shown: Sequence[Shown], levels: Sequence[Level]) -> tuple[list[float], list[dict[float, float]]]:
    """All x, and for each line and level its value at those where it has one."""
    series = [dict(points) for _, points in shown]
    xs = sorted({x for points in series for x in points})
    return xs, series + [dict.fromkeys(xs, level.value) for level in levels]


def _lines_csv(shown: Sequence[Shown], levels: Sequence[Level], axes: Axes) -> str:
    xs, series = _columns(shown, levels)
    names = [line.label for line, _ in shown] + [level.label for level in levels]
    return csv_text([axes.x_label, *names], [[x, *(points.get(x) for points in series)] for x in xs])


def _values_table(shown: Sequence[Shown], levels: Sequence[Level], axes: Axes) -> Markup:
    """The numbers of the chart, in the order of its CSV: the script reads the row under the pointer from both."""
    xs, series = _columns(shown, levels)
    keys = [(line.tone, line.label) for line, _ in shown] + [(f"level {one.tone}", one.label) for one in levels]
    head = Markup("").join(
        Markup('<th scope="col"><i class="key {}"></i>{}</th>').format(tone, label) for tone, label in keys
    )
    body = Markup("").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            axes.x_format(x),
            Markup("").join(
                Markup("<td>{}</td>").format(axes.y_format(points[x]) if x in points else "") for points in series
            ),
        )
        for x in xs
    )
    return Markup(
        '<details class="values"><summary>Values</summary><div class="wide"><table class="results">'
        '<thead><tr><th scope="col">{}</th>{}</tr></thead><tbody>{}</tbody></table></div></details>'
    ).format(axes.x_label, head, body)


def _legend(shown: Sequence[Shown], levels: Sequence[Level], axes: Axes) -> Markup:
    items = [Markup('<li><i class="key {}"></i>{}</li>').format(line.tone, line.label) for line, _ in shown]
    items += [
        Markup('<li><i class="key level {}"></i>{} <b>{}</b></li>').format(
            level.tone, level.label, axes.y_format(level.value)
        )
        for level in levels
    ]
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))


def _in_words(shown: Sequence[tuple[Line, Sequence[Point]]], axes: Axes) -> str:
    return "; ".join(
        f"{line.label} from {axes.y_format(points[0][1])} to {axes.y_format(points[-1][1])}"
        for line, points in shown
        if not line.faint
    )


def _bar(row: Bar, full: float) -> Markup:
    segments = Markup("").join(
        Markup('<i class="{}" style="width:{}%" title="{}"></i>').format(
            part.tone, num(min(100.0, 100 * part.value / full)), part.tip
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
            a=num(narrow), b=num(max(wide, narrow + 0.4)), m=num(wide + (100 - wide) * 0.3),
            n=num(narrow + (100 - narrow) * 0.3), i=num(inner), o=num(outer),
        )  # fmt: skip
        column = f"M0,0H{num(narrow)}V60H0Z"
    else:
        branch = _NO_MARKUP
        column = f"M0,0H{num(wide)}C{num(wide)},30 {num(narrow)},30 {num(narrow)},60H0Z"
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
