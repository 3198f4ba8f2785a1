"""A forest plot: values with their intervals on one axis, a row each, as HTML that wraps and reads as a list."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tilth.intervals import Interval
from tilth.report import figures
from tilth.report.charts import csv_text
from tilth.report.line_drawing import num


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """One value with its interval; what is not finite is written and not drawn."""

    label: str
    tone: str
    interval: Interval
    note: str = ""


def forest(
    rows: Sequence[ForestRow],
    *,
    title: str,
    form: Callable[[float], str],
    marks: Sequence[tuple[float, str]] = (),
    note: str = "",
) -> Markup:
    """Returns the plot; `marks` are values with a vertical line, and what they mean."""
    low, high = _range(rows, marks)
    body = Markup("").join(_row(row, low, high, form, marks) for row in rows)
    meanings = [Markup("<li><b>{}</b> {}</li>").format(form(value), meaning) for value, meaning in marks]
    return Markup(
        '<figure class="forest" data-csv="{}"><figcaption><b>{}</b>{}</figcaption><ul class="rows">{}</ul>{}</figure>'
    ).format(
        csv_text(
            ["name", "value", "low", "high"],
            [[row.label, row.interval.mean, row.interval.low, row.interval.high] for row in rows],
        ),
        title,
        Markup(' <span class="quiet">{}</span>').format(note) if note else "",
        body,
        Markup('<ul class="meanings">{}</ul>').format(Markup("").join(meanings)) if meanings else "",
    )


def with_interval(interval: Interval, form: Callable[[float], str]) -> str:
    """`0.41 (0.35 to 0.47)`, or the mean alone where the interval is not known."""
    if not math.isfinite(interval.mean):
        return figures.DASH
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return form(interval.mean)
    return f"{form(interval.mean)} ({form(interval.low)} to {form(interval.high)})"


def _range(rows: Sequence[ForestRow], marks: Sequence[tuple[float, str]]) -> tuple[float, float]:
    ends = [value for row in rows for value in (row.interval.mean, row.interval.low, row.interval.high)]
    finite = [value for value in [*ends, *(value for value, _ in marks)] if abs(value) < 1e300]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    margin = 0.04 * (high - low) or 1.0
    return low - margin, high + margin


def _row(
    row: ForestRow, low: float, high: float, form: Callable[[float], str], marks: Sequence[tuple[float, str]]
) -> Markup:
    def at(value: float) -> str:
        return num(100 * (value - low) / (high - low))

    interval, drawn = row.interval, [Markup('<i class="at" style="left:{}%"></i>').format(at(v)) for v, _ in marks]
    if abs(interval.low) < 1e300 and abs(interval.high) < 1e300:
        width = num(100 * (interval.high - interval.low) / (high - low))
        drawn.append(
            Markup('<i class="range {}" style="left:{}%;width:{}%"></i>').format(row.tone, at(interval.low), width)
        )
    if abs(interval.mean) < 1e300:
        drawn.append(Markup('<i class="point {}" style="left:{}%"></i>').format(row.tone, at(interval.mean)))
    return Markup(
        '<li><span class="label"><i class="key {}"></i>{}</span><span class="axis" aria-hidden="true">{}</span>'
        '<span class="value">{}</span>{}</li>'
    ).format(
        row.tone,
        row.label,
        Markup("").join(drawn),
        with_interval(interval, form),
        Markup('<span class="note">{}</span>').format(row.note) if row.note else "",
    )
