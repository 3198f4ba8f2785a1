"""What was read, what was kept, and what was dropped for which reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from tilth.report import charts, figures
from tilth.report.artefacts import DeadLetter, Drop, Input, Ledger, RunData

_MOST_KINDS = 8


@dataclass(frozen=True)
class DropGroup:
    """All documents dropped for one reason, with examples."""

    drop: Drop
    reason: str
    text: str


@dataclass(frozen=True)
class Curation:
    """The curation section."""

    takeaway: str
    inputs: tuple[Input, ...]
    funnel: Markup
    groups: tuple[DropGroup, ...]
    languages: Markup | None
    kinds: Markup | None
    dead_letters: tuple[DeadLetter, ...]
    dead_letter_text: str
    split: str


def view(data: RunData) -> Curation | None:
    """Returns the curation section, or None without a ledger."""
    ledger = data.ledger
    if ledger is None:
        return None
    drops = sorted((d for d in ledger.drops if d.documents), key=lambda d: (-d.documents, d.stage, d.reason))
    return Curation(
        takeaway=_takeaway(ledger, drops),
        inputs=ledger.inputs,
        funnel=charts.funnel(_sieves(ledger)),
        groups=tuple(
            DropGroup(
                drop=drop,
                reason=in_words(drop.reason),
                text=f"{figures.plural(drop.documents, 'document')}, {figures.size(drop.bytes)}",
            )
            for drop in drops
        ),
        languages=_shares(ledger.languages, "slate"),
        kinds=_shares(ledger.kinds, "ochre"),
        dead_letters=ledger.dead_letters,
        dead_letter_text=_dead_letter_text(ledger),
        split=(
            f"{figures.plural(ledger.train.documents, 'document')} ({figures.size(ledger.train.bytes)}) to "
            f"train on, {figures.count(ledger.held_out.documents)} ({figures.size(ledger.held_out.bytes)}) "
            "held out: the model is measured on these and never trained on them."
        ),
    )


def in_words(name: str) -> str:
    """Returns a reason or stage as plain words: `exact_duplicate` -> `exact duplicate`."""
    return name.replace("_", " ").replace("-", " ")


def _takeaway(ledger: Ledger, drops: list[Drop]) -> str:
    read = ledger.stages[0].documents_in if ledger.stages else 0
    kept = ledger.train.documents + ledger.held_out.documents
    if kept == 0:
        return f"Nothing was kept of {figures.plural(read, 'document')} read."
    if not drops:
        return f"All {figures.plural(kept, 'document')} were kept: no rule dropped any."
    first = drops[0]
    share = f" ({figures.percent(kept / read)})" if read >= kept else ""
    return (
        f"Of {figures.plural(read, 'document')} read, {figures.count(kept)}{share} were kept; "
        f"the largest loss was “{in_words(first.reason)}” with {figures.count(first.documents)}."
    )


def _sieves(ledger: Ledger) -> list[charts.Sieve]:
    return [
        charts.Sieve(
            label=in_words(stage.stage),
            entered=stage.documents_in,
            left=stage.documents_out,
            text=f"{figures.count(stage.documents_out)} · {figures.size(stage.bytes_out)}",
            lost_text=_lost(stage.documents_in - stage.documents_out, stage.stage, ledger),
        )
        for stage in ledger.stages
    ]


def _lost(documents: int, stage: str, ledger: Ledger) -> str:
    if documents <= 0:
        return ""
    reasons = sorted((d for d in ledger.drops if d.stage == stage), key=lambda d: -d.documents)
    words = [in_words(drop.reason) for drop in reasons[:2]] + (["more"] if len(reasons) > 2 else [])
    return f"−{figures.count(documents)}" + (f" {', '.join(words)}" if words else "")


def _shares(counts: Mapping[str, int], tone: str) -> Markup | None:
    total = sum(counts.values())
    if total == 0:
        return None
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(number for _, number in ordered[_MOST_KINDS:])
    rows = ordered[:_MOST_KINDS] + ([(f"{len(ordered) - _MOST_KINDS} more", rest)] if rest else [])
    return charts.bars(
        [
            charts.Bar(
                label=name or "unknown",
                text=f"{figures.count(number)} · {figures.percent(number / total)}",
                parts=[charts.Part(value=number, tone=tone, tip=figures.plural(number, "document"))],
            )
            for name, number in rows
        ]
    )


def _dead_letter_text(ledger: Ledger) -> str:
    number = max(ledger.n_dead_letters, len(ledger.dead_letters))
    if number == 0:
        return ""
    shown = len(ledger.dead_letters)
    what = "1 file or record" if number == 1 else f"{figures.count(number)} files or records"
    more = f", of which the first {shown} can be read here" if 1 < shown < number else ""
    return f"{what} could not be worked on and {'was' if number == 1 else 'were'} set aside{more}"
