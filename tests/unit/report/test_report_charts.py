"""Drawings hold only finite numbers inside their frame, and figures read as a person writes them."""

from __future__ import annotations

import csv
import html
import io
import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilth.report import charts, figures, scales
from tilth.report.line_drawing import BROAD, COMPACT

AXES = charts.Axes(x_label="x", y_label="y")
floats = st.floats(min_value=-1e12, max_value=1e12, allow_subnormal=False) | st.sampled_from(
    [math.nan, math.inf, -math.inf]
)


@given(st.lists(st.tuples(floats, floats), max_size=12), st.booleans())
def test_line_chart_stays_in_its_frame(points: list[tuple[float, float]], log_y: bool) -> None:
    axes = charts.Axes(x_label="x", y_label="y", log_y=log_y)
    drawn = charts.line_chart([charts.Line(label="a", points=points, tone="clay")], axes)
    usable = [p for p in points if all(map(math.isfinite, p)) and (p[1] > 0 or not log_y)]
    if len(usable) < 2:
        assert drawn == ""
        return
    ET.fromstring(drawn)
    (path,) = re.findall(r'class="line clay" d="M([^"]*)"', drawn)
    for x, y in (map(float, pair.split(",")) for pair in path.split("L")):
        assert 0 <= x <= COMPACT.width and 0 <= y <= COMPACT.height


heights = st.floats(-50, 400, allow_subnormal=False)


@given(st.lists(heights, min_size=1, max_size=14), st.floats(1, 20))
def test_spread_positions_are_apart_and_inside(wanted: list[float], gap: float) -> None:
    found = scales.spread(wanted, gap, 0, 300)
    ordered = sorted(found)
    assert all(b - a >= gap - 1e-6 for a, b in pairwise(ordered))
    assert ordered[0] >= 0 and ordered[-1] <= 300 + 1e-6
    by_rank = [found[i] for i in sorted(range(len(wanted)), key=lambda i: (wanted[i], i))]
    assert by_rank == ordered, "the order is kept"


def test_spread_leaves_alone_what_is_apart_and_shares_out_the_rest() -> None:
    assert scales.spread([50, 10, 90], 20, 0, 100) == [50, 10, 90]
    assert scales.spread([50, 50], 20, 0, 100) == [40, 60]
    assert scales.spread([100, 100, 100], 20, 0, 100) == [60, 80, 100]


def numbers(drawn: str, pattern: str) -> list[float]:
    return [float(value) for value in re.findall(pattern, drawn)]


def test_lines_are_named_at_their_ends_without_overlap() -> None:
    lines = [
        charts.Line(label=f"arm {i}", points=[(0, 1), (1, i / 1000)], tone=tone)
        for i, tone in enumerate(charts.tones(8))
    ]
    drawn = charts.line_chart(lines, AXES, levels=[charts.Level(label="least", value=0.001, tone="sand")], wide=True)
    for shape in (COMPACT, BROAD):
        (svg,) = re.findall(rf'<svg class="{shape.name}".*?</svg>', drawn, re.S)
        labels = re.findall(r'<text class="label" x="([\d.]+)" y="([\d.]+)" dy=".35em">([^<]*)</text>', svg)
        assert [text for _, _, text in labels] == [*(f"arm {i}" for i in range(8)), "least 0.001"]
        assert all(float(x) + len(text) * shape.character <= shape.width for x, _, text in labels)
        tops = sorted(float(y) for _, y, _ in labels)
        assert all(b - a >= shape.line - 0.02 for a, b in pairwise(tops))
    assert '<ul class="legend">' not in drawn


def test_long_names_are_cut_and_written_out_in_a_legend() -> None:
    lines = [charts.Line(label="long " * 12 + str(i), points=[(0, 1), (1, i)], tone="clay") for i in range(2)]
    drawn = charts.line_chart(lines, AXES)
    assert "…</text>" in drawn and '<ul class="legend">' in drawn
    svg = drawn.split("<svg")[1]
    left, right = numbers(svg, r'data-x="[\d.]+ [\d.]+ ([\d.]+)')[0], numbers(svg, r'data-x="(?:[\d.]+ ){3}([\d.]+)')[0]
    assert right - left > 0.4 * COMPACT.width, "the plot keeps its room"


def test_values_are_written_at_the_first_the_best_and_the_last_point() -> None:
    points = [(i, v) for i, v in enumerate((4.9, 3.0, 2.25, 2.5, 3.75))]
    drawn = charts.line_chart(
        [charts.Line(label="model", points=points, tone="clay", values=True)],
        charts.Axes(x_label="x", y_label="y", y_format=figures.bits, moments=[charts.Moment(label="kept", x=2)]),
    )
    assert re.findall(r'<text class="number[^>]*>([^<]*)<', drawn) == ["4.90", "best 2.25"]
    assert re.findall(r'<text class="label"[^>]*>([^<]*)<', drawn) == ["model 3.75"]
    assert drawn.count("l5,5") == 0 and drawn.count("a3.8,3.8 0 1 0 7.6,0") == 5, "each point is marked"
    (line,) = numbers(drawn, r'<line class="moment" x1="([\d.]+)"')
    assert (
        line == pytest.approx(numbers(drawn, r'd="M[\d.,L]*?L[\d.]+,[\d.]+L([\d.]+),')[0]) and ">kept</text>" in drawn
    )


def data_csv(drawn: str) -> list[list[str]]:
    (text,) = re.findall(r'data-csv="([^"]*)"', drawn)
    return list(csv.reader(io.StringIO(html.unescape(text))))


def test_numbers_of_a_line_chart_are_in_its_csv_and_its_table() -> None:
    lines = [
        charts.Line(label="a", points=[(0, 1), (2, 1 / 3), (3, math.nan)], tone="clay"),
        charts.Line(label="b, c", points=[(1, 5), (2, 6)], tone="slate"),
        charts.Line(label="each step", points=[(0, 9), (1, 9)], tone="slate", faint=True),
    ]
    axes = charts.Axes(x_label="tokens", y_label="y", y_format=figures.bits)
    drawn = charts.line_chart(lines, axes, levels=[charts.Level(label="zstd", value=2, tone="moss")])
    assert data_csv(drawn) == [
        ["tokens", "a", "b, c", "zstd"],
        ["0", "1", "", "2"],
        ["1", "", "5", "2"],
        ["2", "0.3333333333", "6", "2"],
    ]
    (body,) = re.findall(r"<tbody>(.*?)</tbody>", drawn)
    cells = [re.findall(r">([^<]*)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", body)]
    assert cells == [["0", "1.00", "", "2.00"], ["1", "", "5.00", "2.00"], ["2", "0.33", "6.00", "2.00"]]


def test_bars_funnel_and_heat_map_have_csv_and_say_what_widths_mean() -> None:
    bar = charts.Bar(
        label="=SUM(A1)",
        text="",
        parts=[charts.Part(value=2, tone="clay", tip=""), charts.Part(value=1, tone="clay light", tip="")],
    )
    drawn = charts.bars([bar], width="time", full="3 s", columns=("training", "generation"))
    assert data_csv(drawn) == [["name", "training", "generation"], ["'=SUM(A1)", "2", "1"]]
    assert "Width: time; full width: 3 s." in drawn
    drawn = charts.funnel([charts.FunnelRow(label="read", entered=1200, left=4, text="")], width="number of documents")
    assert data_csv(drawn) == [["stage", "in", "out"], ["read", "1200", "4"]]
    assert "Width: number of documents; full width: 1,200." in drawn
    drawn = charts.heat_map([("0", [0.5, math.nan])], ["1", "2"], corner="round", caption="vote")
    assert data_csv(drawn) == [["round", "1", "2"], ["0", "0.5", ""]]


@given(st.floats(-1e9, 1e9, allow_subnormal=False), st.floats(1e-6, 1e9), st.integers(2, 17), st.booleans())
def test_ticks_are_few_round_and_inside(low: float, span: float, most: int, whole: bool) -> None:
    high = low + max(span, abs(low) * 1e-6)
    found = charts.ticks(low, high, most, whole)
    assert len(found) <= most
    assert all(low - 1e-6 * (high - low) <= tick <= high + 1e-6 * (high - low) for tick in found)
    assert not whole or all(tick == round(tick) for tick in found)


@given(st.floats(1e-9, 1e9), st.floats(1.01, 1e6))
def test_log_ticks_are_inside(low: float, factor: float) -> None:
    found = charts.log_ticks(low, low * factor)
    assert len(found) >= 2
    assert all(low <= tick <= low * factor for tick in found)


def test_log_axis_puts_equal_ratios_at_equal_distances() -> None:
    axes = charts.Axes(x_label="x", y_label="y", log_y=True)
    drawn = charts.line_chart([charts.Line(label="a", points=[(0, 1), (1, 10), (2, 100)], tone="clay")], axes)
    (path,) = re.findall(r'class="line clay" d="M([^"]*)"', drawn)
    first, second, third = (float(pair.split(",")[1]) for pair in path.split("L"))
    assert first - second == pytest.approx(second - third, abs=0.02)


def test_labels_are_escaped() -> None:
    evil = '<script>"&'
    line = charts.Line(label=evil, points=[(0, 1), (1, 2)], tone="clay")
    level = charts.Level(label=evil, value=1.5, tone="moss")
    axes = charts.Axes(x_label=evil, y_label=evil, shaded=(0, 1, evil))
    bar = charts.Bar(label=evil, text=evil, parts=[charts.Part(value=1, tone="clay", tip=evil)], note=evil)
    row = charts.FunnelRow(label=evil, entered=2, left=1, text=evil, dropped_text=evil)
    for drawn in (
        charts.line_chart([line], axes, levels=[level], note=evil),
        charts.bars([bar]),
        charts.funnel([row]),
        charts.heat_map([(evil, [0.5])], [evil], corner=evil, caption=evil),
        charts.table([evil, evil], [(evil, evil)]),
    ):
        assert "<script" not in drawn
        ET.fromstring(drawn)


def test_bars_are_shares_of_the_longest() -> None:
    def bar(value: float) -> charts.Bar:
        return charts.Bar(label="a", text="", parts=[charts.Part(value=value, tone="clay", tip="")])

    assert re.findall(r"width:([\d.]+)%", charts.bars([bar(4), bar(1), bar(0), bar(math.nan)])) == ["100", "25"]
    assert "width" not in charts.bars([bar(0)])


def test_funnel_draws_a_branch_only_where_something_is_dropped() -> None:
    rows = [
        charts.FunnelRow(label="a", entered=10, left=10, text=""),
        charts.FunnelRow(label="b", entered=10, left=4, text=""),
        charts.FunnelRow(label="c", entered=4, left=8, text=""),
    ]
    drawn = charts.funnel(rows)
    assert drawn.count('class="branch"') == 1 and drawn.count('class="column"') == 3
    assert charts.funnel([charts.FunnelRow(label="a", entered=0, left=0, text="")]).count("column") == 1


def test_heat_map_colours_by_value() -> None:
    drawn = charts.heat_map(
        [("0", [0.0, 0.5, 1.0, math.nan])], ["1", "2", "3", "4"], corner="round", caption="vote", mark_after=2
    )
    assert re.findall(r'<td class="(\w+)', drawn) == ["h0", "h5", "h10", "none"]
    assert drawn.count("edge") == 2
    assert "round 0, 2: 50%" in drawn


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (figures.count(1234567), "1,234,567"),
        (figures.count(math.nan), "–"),
        (figures.short(999), "999"),
        (figures.short(999_600), "1.00 M"),
        (figures.short(147_840), "148 k"),
        (figures.size(48_233_112), "48.2 MB"),
        (figures.size(0), "0 B"),
        (figures.flops(4.61e13), "46.1 TFLOP"),
        (figures.flops(None), "–"),
        (figures.duration(0), "0 s"),
        (figures.duration(1.25), "1.2 s"),
        (figures.duration(59.7), "1 min 00 s"),
        (figures.duration(3725), "1 h 02 min"),
        (figures.percent(0.001), "<1%"),
        (figures.percent(0.999), ">99%"),
        (figures.percent(1.0), "100%"),
        (figures.axis(1_500_000), "1.5M"),
        (figures.axis(0.0003), "3e-4"),
        (figures.plural(1, "step"), "1 step"),
        (figures.plural(2, "step"), "2 steps"),
        (figures.plural(2, "corpus", "corpora"), "2 corpora"),
        (figures.span([1.656, math.nan, 1.624], figures.bits), "1.62–1.66"),
        (figures.span([1.621, 1.624], figures.bits), "1.62"),
        (figures.span([math.nan], figures.bits), "–"),
        (figures.join(["a"]), "a"),
        (figures.join(["a", "b", "c"]), "a, b and c"),
        (figures.join([]), ""),
        (figures.ranges([9, 7, 8, 12]), "7–9 and 12"),
        (figures.ranges([]), ""),
    ],
)
def test_figures_read_well(made: str, expected: str) -> None:
    assert made == expected


def test_what_is_off_a_fixed_scale_is_drawn_at_its_end() -> None:
    axes = charts.Axes(x_label="x", y_label="y", y_range=(0.0, 1.0))
    drawn = charts.line_chart([charts.Line(label="a", points=[(0, 0), (1, 1), (2, 5)], tone="clay")], axes)
    (path,) = re.findall(r'class="line clay" d="M([^"]*)"', drawn)
    heights = [pair.split(",")[1] for pair in path.split("L")]
    assert heights[2] == heights[1] != heights[0]


def test_eighteen_lines_are_drawn_in_different_ways() -> None:
    assert len(set(charts.tones(18))) == 18
    assert charts.tones(30)[:18] == charts.tones(18)
