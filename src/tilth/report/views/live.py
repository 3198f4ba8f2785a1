"""What the page shows of steps at work: how far they are, and what they have so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from tilth.curation.result import Ledger, RejectExample
from tilth.inference.result import LiveSample
from tilth.progress import BarState
from tilth.report import charts, figures
from tilth.report.run import RunResults
from tilth.report.views import training as training_view
from tilth.report.views.curation import in_words

LiveState = Literal["waiting", "at work", "done", "cached"]
MOST_REASONS = 12
MOST_EARLIER_SAMPLES = 12
MOST_MESSAGES = 8


@dataclass(frozen=True, kw_only=True)
class StepState:
    """Where one step is."""

    label: str
    state: LiveState = "waiting"
    seconds: float = 0.0
    """That it took, where it is done."""
    started_at: float = 0.0
    """On the monotonic clock."""

    @property
    def is_done(self) -> bool:
        """Whether its results are there."""
        return self.state in ("done", "cached")


@dataclass(frozen=True, kw_only=True)
class BarRow:
    """One bar; `share` is in 0..1, or None where the total is unknown."""

    name: str
    share: float | None
    text: str
    facts: str = ""


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One step with the bars of its work."""

    label: str
    state: LiveState
    text: str
    bars: tuple[BarRow, ...]


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How far the run is."""

    sentence: str
    rows: tuple[StepRow, ...]


def steps(
    states: Sequence[StepState], bars: Sequence[BarState], expected: Mapping[str, float], *, began: float, now: float
) -> Steps:
    """Returns how far the run is; `expected` are seconds by label, times are on the monotonic clock."""
    at_work = [state.label for state in states if state.state == "at work"]
    rows: list[StepRow] = []
    for state in states:
        own = _own_bars(state.label, at_work, bars) if state.state == "at work" else []
        rows.append(
            StepRow(
                label=state.label,
                state=state.state,
                text=_step_text(state, expected.get(state.label), now),
                bars=tuple(_bar_row(bar, name, now) for bar, name in own),
            )
        )
    return Steps(
        sentence=_sentence(states, at_work, _time_left(states, bars, expected, now), now - began), rows=tuple(rows)
    )


def _own_bars(label: str, at_work: Sequence[str], bars: Sequence[BarState]) -> list[tuple[BarState, str]]:
    """Returns the bars of a step with their names; those of steps in other processes begin with the step's label."""
    named = [(bar, bar.name.removeprefix(f"{label}: ")) for bar in bars if bar.name.startswith(f"{label}: ")]
    if named or len(at_work) != 1:
        return named
    return [(bar, bar.name) for bar in bars]


def _step_text(state: StepState, expected: float | None, now: float) -> str:
    if state.state == "cached":
        return "done in an earlier run"
    if state.state == "done":
        return figures.duration(state.seconds)
    if state.state == "at work":
        return figures.duration(max(now - state.started_at, 0.05))
    return "" if expected is None else f"about {figures.duration(expected)}"


def _bar_row(bar: BarState, name: str, now: float) -> BarRow:
    show = figures.size if bar.unit == "bytes" else figures.short
    unit = "" if bar.unit == "bytes" else f" {bar.unit}"
    total = f" of {show(bar.total)}" if bar.total else ""
    text = f"{show(bar.done)}{total}{unit}"
    if (left := bar.seconds_left(now)) is not None and bar.total and bar.done < bar.total:
        text += f", {figures.duration(max(left, 0.1))} left"
    share = min(bar.done / bar.total, 1.0) if bar.total else None
    facts = [
        f"{in_words(key)} {f'{value:.4g}' if isinstance(value, float) else value}" for key, value in bar.facts.items()
    ]
    return BarRow(name=name, share=share, text=text, facts=" · ".join(facts))


def _time_left(states: Sequence[StepState], bars: Sequence[BarState], expected: Mapping[str, float], now: float) -> str:
    """Says how long the run still takes; `at least` where the time of some step is not known."""
    at_work = [state.label for state in states if state.state == "at work"]
    known: list[float] = []
    is_all = True
    for state in states:
        if state.is_done:
            continue
        left = expected.get(state.label)
        own = [bar for bar, _ in _own_bars(state.label, at_work, bars)] if state.state == "at work" else []
        by_bar = [seconds for bar in own if (seconds := bar.seconds_left(now)) is not None]
        if by_bar and any(bar.unit == "tokens" for bar in own):  # training, which is nearly all of its step
            left = max(by_bar)
        elif left is not None and state.state == "at work":
            left = max(left - (now - state.started_at), *by_bar, 0.0)
        is_all = is_all and left is not None
        known += [] if left is None else [left]
    total = sum(known)
    return f"{'about' if is_all else 'at least'} {figures.duration(total)} left" if total >= 1 else ""


def _sentence(states: Sequence[StepState], at_work: Sequence[str], left: str, elapsed: float) -> str:
    done = sum(state.is_done for state in states)
    what = f"At work: {figures.join(list(at_work))}" if at_work else "Looking at the input files"
    if done == len(states):
        what = "Writing the page"
    since = f"{figures.duration(max(elapsed, 0.1))} since the start"
    return f"{what}. {done} of {figures.plural(len(states), 'step')} done, {', '.join(filter(None, [since, left]))}."


@dataclass(frozen=True, kw_only=True)
class Row:
    """One continuation, and when it was written."""

    when: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Samples:
    """One passage, continued again and again."""

    title: str
    prompt: str
    newest: Row
    earlier: tuple[Row, ...]
    """The newest first."""


def samples(trainings: Sequence[tuple[StepState, Sequence[LiveSample]]]) -> list[Samples] | None:
    """Returns the continuations by each training that has some; None where none has."""
    found: list[Samples] = []
    trainings = [(step, rows) for step, rows in trainings if rows]
    for step, rows in trainings:
        of = f" of {step.label}" if len(trainings) > 1 else ""
        newest_first = [Row(when=_when(row), text=row.text.removeprefix(row.prompt)) for row in reversed(rows)]
        earlier = training_view.thinned([(i, 0.0) for i in range(1, len(newest_first))], MOST_EARLIER_SAMPLES)
        found.append(
            Samples(
                title=f"What the model{of} wrote while it was trained"
                if step.is_done
                else f"What the model{of} writes now",
                prompt=rows[-1].prompt,
                newest=newest_first[0],
                earlier=tuple(newest_first[int(i)] for i, _ in earlier),
            )
        )
    return found or None


def _when(sample: LiveSample) -> str:
    return f"after {figures.short(sample.tokens)} tokens, {figures.duration(sample.seconds)}"


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The curves of one training so far."""

    label: str
    curves: tuple[Markup, ...]


def training(trainings: Sequence[tuple[str, RunResults | None]]) -> list[Curves] | None:
    """Returns the loss on training and held-out text of each training at work; None where there is none."""
    views = [(label, training_view.view(results)) for label, results in trainings if results is not None]
    found = [(label, view.curves) for label, view in views if view is not None and view.curves]
    return [Curves(label=label if len(found) > 1 else "", curves=curves) for label, curves in found] or None


@dataclass(frozen=True, kw_only=True)
class Reason:
    """The documents that one stage dropped for one reason so far."""

    reason: str
    stage: str
    text: str
    examples: tuple[RejectExample, ...]


@dataclass(frozen=True, kw_only=True)
class PartialLedger:
    """A curation so far."""

    label: str
    sentence: str
    bars: Markup | None
    reasons: tuple[Reason, ...]
    more: int
    """Reasons that are not listed."""


def curation(ledgers: Sequence[tuple[str, Ledger | None]]) -> list[PartialLedger] | None:
    """Returns the curations at work; None where there is none."""
    found = [_partial(label, ledger) for label, ledger in ledgers if ledger is not None and ledger.stages]
    return found or None


def _partial(label: str, ledger: Ledger) -> PartialLedger:
    read, kept = ledger.stages[0].documents_in, ledger.train.documents + ledger.held_out.documents
    rejects = sorted((r for r in ledger.rejects if r.documents), key=lambda r: (-r.documents, r.stage, r.reason))
    share = f" ({figures.percent(kept / read)})" if read else ""
    return PartialLedger(
        label=label,
        sentence=f"{figures.plural(read, 'document')} read so far; {figures.count(kept)}{share} passed the rules. "
        "The search for duplicates follows when all are read.",
        bars=charts.bars(
            [
                charts.Bar(
                    label=name,
                    text=figures.count(n),
                    parts=[charts.Part(value=n, tone=tone, tip=figures.plural(n, "document"))],
                )
                for name, n, tone in (("passed", kept, "moss"), ("dropped", read - kept, "ochre"))
            ]
        )
        if rejects
        else None,
        reasons=tuple(
            Reason(
                reason=in_words(r.reason),
                stage=in_words(r.stage),
                text=f"{figures.plural(r.documents, 'document')}, {figures.size(r.bytes)}",
                examples=r.examples,
            )
            for r in rejects[:MOST_REASONS]
        ),
        more=max(len(rejects) - MOST_REASONS, 0),
    )


@dataclass(frozen=True, kw_only=True)
class Messages:
    """The last lines that the steps printed."""

    lines: tuple[str, ...]


def messages(lines: Sequence[str]) -> Messages | None:
    """Returns the last lines, the newest first; None where there are none."""
    return Messages(lines=tuple(reversed(lines[-MOST_MESSAGES:]))) if lines else None
