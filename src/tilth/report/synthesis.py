"""The page of a synthesis run: yield by gate, cost by teacher, diversity while it ran, samples kept and rejected.

All of it is read from `synthesis.json` and `step.json` in the run's folder; rejects are sampled from `rejects/`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from tilth.report import charts, figures
from tilth.report.drops import Drops, read_drops
from tilth.report.load import collect
from tilth.report.page import write_page
from tilth.report.views.drops import DropsView, in_words
from tilth.report.views.drops import view as drops_view
from tilth.report.views.header import Header, KeyFigure
from tilth.report.views.provenance import Provenance
from tilth.report.views.provenance import view as provenance_view
from tilth.results import read_result
from tilth.synthesis.result import SYNTHESIS, DiversityPoint, Example, GateCount, Spending, SynthesisResult
from tilth.synthesis.routing_result import ROUTER, RouterResult, TeacherRow, Worth

PAGE = "report.html"
_MOST_REASONS = 3


@dataclass(frozen=True)
class Section:
    """A section of the page, as `page.Section`."""

    key: str
    title: str
    view: Yield | Cost | Routing | Diversity | Examples | Provenance


@dataclass(frozen=True)
class Yield:
    """What became of the samples at each gate."""

    takeaway: str
    funnel: Markup
    reasons: Markup
    parts: Markup | None


@dataclass(frozen=True)
class Cost:
    """What was asked of whom, and what a kept token cost."""

    takeaway: str
    table: Markup
    note: str


@dataclass(frozen=True)
class Routing:
    """Which teacher won how often, and whether the dearer one was worth it."""

    takeaway: str
    about: str
    table: Markup
    buckets: tuple[tuple[str, Markup], ...]
    """Language and topic, and the same table for it."""


@dataclass(frozen=True)
class Diversity:
    """How much was new, as the run went on."""

    takeaway: str
    charts: tuple[Markup, ...]


@dataclass(frozen=True)
class ExampleView:
    """One sample with its source and the prompt that it answers."""

    title: str
    verdict: str
    example: Example


@dataclass(frozen=True)
class Examples:
    """Samples to read."""

    takeaway: str
    kept: tuple[ExampleView, ...]
    rejected: tuple[ExampleView, ...]
    drops: DropsView | None


def render_synthesis(folder: Path, out: Path | None = None) -> Path:
    """Writes the page of the run in `folder`; returns its path: `out`, or `report.html` in the folder.

    Raises: DataError if the folder holds no readable `synthesis.json`.
    """
    result = read_result(SynthesisResult, folder / SYNTHESIS)
    provenance = provenance_view(collect([folder]))
    sections = [
        Section("synthesis_yield", "Yield by gate", _yield(result)),
        Section("synthesis_cost", "Cost", _cost(result)),
    ]
    if (folder / ROUTER).is_file():
        sections.append(Section("synthesis_routing", "Teachers", _routing(read_result(RouterResult, folder / ROUTER))))
    if diversity := _diversity(result.diversity):
        sections.append(Section("synthesis_diversity", "Diversity", diversity))
    if examples := _examples(result, read_drops(folder)):
        sections.append(Section("synthesis_examples", "Samples", examples))
    if provenance is not None:
        sections.append(Section("provenance", "Provenance", provenance))
    return write_page(_header(result), sections, out or folder / PAGE)


def _header(result: SynthesisResult) -> Header:
    return Header(
        title=result.recipe,
        takeaway=_lead(result),
        finished="",
        key_figures=tuple(_key_figures(result)),
        chat_command=None,
    )


def _lead(result: SynthesisResult) -> str:
    documents = figures.plural(result.documents_done, "document")
    teachers = f" by {figures.join(result.teachers)}" if result.teachers else ""
    made = f"{figures.plural(result.samples_kept, 'sample')} ({figures.size(result.bytes_kept)} of text)"
    text = f"{made}, generated from {documents}{teachers}."
    if result.complete:
        return text
    left = figures.count(result.documents - result.documents_done)
    why = f": {result.stopped_by}" if result.stopped_by else ""
    return f"{text} The run is not complete{why}; {left} documents were not begun."


def _key_figures(result: SynthesisResult) -> list[KeyFigure]:
    entered = result.gates[0].samples_in if result.gates else 0
    requests = sum(one.requests + one.cached for one in result.spending)
    cached = sum(one.cached for one in result.spending)
    shown = [
        KeyFigure(figures.count(result.samples_kept), "samples kept", f"of {figures.count(entered)} generated"),
        KeyFigure(figures.count(requests), "answers used", f"{figures.count(cached)} from the cache"),
        KeyFigure(figures.short(_tokens(result.spending)), "tokens", "prompts and answers"),
    ]
    if money := sum(one.money for one in result.spending):
        shown.append(KeyFigure(_money(money), "cost", "in the currency of the prices given"))
    if flops := sum(one.flops for one in result.spending):
        shown.append(KeyFigure(figures.flops(flops), "generation compute", "2 x parameters x tokens"))
    shown.append(KeyFigure(figures.duration(result.seconds), "run time"))
    return shown


def _tokens(spending: Sequence[Spending]) -> int:
    return sum(one.prompt_tokens + one.completion_tokens for one in spending)


def _money(value: float) -> str:
    """`0.00042` -> `0.00042`, `12.345` -> `12.35`: two decimals, more only for small amounts."""
    return f"{value:.2f}" if value >= 0.1 or value == 0 else f"{value:.2g}"


# Yield


def _yield(result: SynthesisResult) -> Yield:
    parts = [
        charts.Bar(
            label=in_words(name),
            text=figures.count(number),
            parts=(charts.Part(value=number, tone="moss", tip=figures.plural(number, "sample")),),
        )
        for name, number in sorted(result.parts.items(), key=lambda item: (-item[1], item[0]))
    ]
    return Yield(
        takeaway=_yield_sentence(result.gates),
        funnel=charts.funnel([_funnel_row(gate) for gate in result.gates], width="number of samples"),
        reasons=_reasons(result.gates),
        parts=charts.bars(parts, title="Kept samples by part of the recipe") if len(parts) > 1 else None,
    )


def _yield_sentence(gates: Sequence[GateCount]) -> str:
    if not gates or not gates[0].samples_in:
        return "No sample was generated."
    entered, left = gates[0].samples_in, gates[-1].samples_out
    text = f"{figures.percent(left / entered)} of {figures.plural(entered, 'generated sample')} passed all gates"
    strictest = max(gates, key=lambda gate: gate.samples_in - gate.samples_out)
    dropped = strictest.samples_in - strictest.samples_out
    if not dropped:
        return f"{text}."
    reason = max(strictest.reasons.items(), key=lambda item: item[1])[0] if strictest.reasons else ""
    most = f", most often for “{in_words(reason)}”" if reason else ""
    return f"{text}; the gate “{in_words(strictest.gate)}” dropped the most, {figures.count(dropped)}{most}."


def _funnel_row(gate: GateCount) -> charts.FunnelRow:
    ranked = sorted(gate.reasons.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{figures.count(number)} {in_words(reason)}" for reason, number in ranked[:_MOST_REASONS]]
    more = sum(number for _, number in ranked[_MOST_REASONS:])
    return charts.FunnelRow(
        label=in_words(gate.gate),
        entered=gate.samples_in,
        left=gate.samples_out,
        text=f"{figures.count(gate.samples_out)} passed",
        dropped_text=", ".join([*named, *([f"{figures.count(more)} for other reasons"] if more else [])]),
    )


def _reasons(gates: Sequence[GateCount]) -> Markup:
    rows = [
        (
            in_words(gate.gate),
            in_words(reason),
            figures.count(number),
            figures.percent(number / gate.samples_in if gate.samples_in else 0),
        )
        for gate in gates
        for reason, number in sorted(gate.reasons.items(), key=lambda item: (-item[1], item[0]))
    ]
    return charts.table(("gate", "reason", "samples", "of those that came to it"), rows) if rows else Markup("")


# Cost


def _cost(result: SynthesisResult) -> Cost:
    several = len({one.recipe for one in result.spending}) > 1
    names = [f"{one.teacher}, {one.recipe}" if several else one.teacher for one in result.spending]
    rows: list[tuple[str, Callable[[Spending], str]]] = [
        ("answers used", lambda one: figures.count(one.requests + one.cached)),
        ("from the cache", lambda one: figures.count(one.cached)),
        ("tries again", lambda one: figures.count(one.retries)),
        ("dead letters", lambda one: figures.count(one.dead_letters)),
        ("tokens of prompts", lambda one: figures.short(one.prompt_tokens)),
        ("tokens of answers", lambda one: figures.short(one.completion_tokens)),
        ("samples kept", lambda one: figures.count(one.samples_kept)),
        ("yield", lambda one: _ratio(one.tokens_kept, one.completion_tokens, figures.percent)),
        ("cost", lambda one: _money(one.money) if one.money else figures.DASH),
        ("cost of 1,000 kept tokens", lambda one: _ratio(1000 * one.money, one.tokens_kept, _money)),
        ("generation compute", lambda one: figures.flops(one.flops) if one.flops else figures.DASH),
        ("compute of a kept token", lambda one: _ratio(one.flops, one.tokens_kept, figures.flops)),
    ]
    return Cost(
        takeaway=_cost_sentence(result),
        table=charts.table(("", *names), [(name, *map(value, result.spending)) for name, value in rows]),
        note="Yield: tokens of the answers that kept samples were made from, of all tokens of answers. Cost and "
        "compute are those of all answers that were used, also of those that an earlier run paid for.",
    )


def _ratio(amount: float, of: float, form: Callable[[float], str]) -> str:
    return form(amount / of) if amount and of else figures.DASH


def _cost_sentence(result: SynthesisResult) -> str:
    spending = result.spending
    written, kept = sum(one.completion_tokens for one in spending), sum(one.tokens_kept for one in spending)
    if not written:
        return "No teacher was asked."
    text = f"{figures.short(_tokens(spending))} tokens for {figures.short(kept)} kept"
    money, paid = sum(one.money for one in spending), sum(one.paid_money for one in spending)
    if money and kept:
        text += f"; {_money(1e6 * money / kept)} for a million kept tokens"
    if money and paid < money:
        text += f". This run paid {_money(paid)} of {_money(money)}: the rest was in the cache"
    lost = sum(one.dead_letters for one in spending)
    unanswered = f" {figures.plural(lost, 'request')} got no answer." if lost else ""
    return f"{text}.{unanswered}"


# Teachers


def _routing(result: RouterResult) -> Routing:
    judged = f"Answers were judged by {in_words(result.reward)}." if result.reward else "Answers were not judged."
    learned = ""
    if result.trained_on:
        learned = (
            f" The classifier was trained on {figures.plural(result.trained_on, 'request')}; on others it names the "
            f"winner in {figures.percent(result.agreement)}, naming the most frequent one always is right in "
            f"{figures.percent(result.always_best)}."
        )
    return Routing(
        takeaway=" ".join(map(_worth_sentence, result.worth)) or "No request was answered by more than one teacher.",
        about=f"Router: {result.kind}. {judged}{learned}",
        table=_teacher_table(result.teachers),
        buckets=tuple((name, _teacher_table(rows)) for name, rows in result.buckets.items())
        if len(result.buckets) > 1
        else (),
    )


def _worth_sentence(one: Worth) -> str:
    cost = f"{one.cost_ratio:.1f} times the cost" if math.isfinite(one.cost_ratio) else "no known difference in cost"
    interval = f"{one.gain:+.2f} ({one.low:+.2f} to {one.high:+.2f})" if math.isfinite(one.low) else f"{one.gain:+.2f}"
    return (
        f"“{one.dearer}” beside “{one.cheaper}”: {cost} for a mean reward that differs by {interval}, over "
        f"{figures.plural(one.pairs, 'pair')} of answers; it was better in {figures.percent(one.wins)}."
    )


def _teacher_table(rows: Sequence[TeacherRow]) -> Markup:
    columns = ("", "answers", "used", "mean reward", "tokens", "cost", "compute", "reward per PFLOP")
    return charts.table(
        columns,
        [
            (
                row.teacher,
                figures.count(row.answers),
                figures.count(row.wins),
                _with_error(row.mean_reward, row.standard_error),
                figures.short(row.tokens),
                _money(row.money) if row.money else figures.DASH,
                figures.flops(row.flops) if row.flops else figures.DASH,
                f"{1e15 * row.reward_per_flop:.3g}" if math.isfinite(row.reward_per_flop) else figures.DASH,
            )
            for row in rows
        ],
    )


def _with_error(value: float, error: float) -> str:
    if not math.isfinite(value):
        return figures.DASH
    return f"{value:.2f} ± {error:.2f}" if math.isfinite(error) else f"{value:.2f}"


# Diversity


def _diversity(points: Sequence[DiversityPoint]) -> Diversity | None:
    if len(points) < 2:
        return None
    last = points[-1]
    text = (
        f"Of the latest samples, {figures.percent(last.unique_share)} are no near duplicate of any before, and "
        f"{figures.percent(last.opening_share)} begin with the same five words."
    )
    if last.unique_share < points[0].unique_share - 0.05:
        text += f" At the beginning it was {figures.percent(points[0].unique_share)}: the recipe repeats itself."
    lines = (
        ("Samples that are new", "no near duplicate of any before", lambda p: p.unique_share, (0.0, 1.0)),
        ("Distinct 4-word sequences", "share of all in the latest samples", lambda p: p.distinct_4, (0.0, 1.0)),
        ("Most common opening", "share that begin with the same five words", lambda p: p.opening_share, (0.0, 1.0)),
        ("Compression", "bytes of the latest samples per zstd byte", lambda p: p.bytes_per_compressed, None),
    )
    drawn = [
        charts.line_chart(
            [charts.Line(label="latest samples", points=[(p.samples, value(p)) for p in points], tone="clay")],
            charts.Axes(
                x_label="samples kept",
                y_label=title,
                y_range=y_range,
                y_format=figures.percent if y_range else figures.bits,
                whole_x=True,
            ),
            note=note,
        )
        for title, note, value, y_range in lines
    ]
    return Diversity(takeaway=text, charts=tuple(drawn))


# Examples


def _examples(result: SynthesisResult, drops: Drops | None) -> Examples | None:
    kept = tuple(_example(one) for one in result.kept_examples)
    rejected = tuple(_example(one) for one in result.rejected_examples)
    if not kept and not rejected:
        return None
    text = f"{figures.plural(len(kept), 'kept sample')} and {figures.plural(len(rejected), 'rejected one')} to read"
    return Examples(
        takeaway=f"{text}, each with its source and the prompt that it answers.",
        kept=kept,
        rejected=rejected,
        drops=None if drops is None else drops_view(drops),
    )


def _example(one: Example) -> ExampleView:
    verdict = ""
    if one.gate:
        detail = f": {one.detail}" if one.detail else ""
        verdict = f"{in_words(one.gate)}, {in_words(one.reason)}{detail}"
    return ExampleView(title=in_words(one.part) or one.id[:12], verdict=verdict, example=one)
