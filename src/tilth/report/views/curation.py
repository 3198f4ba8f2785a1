"""What was read, what was kept, and what was dropped for which reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from tilth.curation.result import DeadLetterNote, InputAmount, KeptExample, Ledger, RejectCount
from tilth.report import charts, figures
from tilth.report.drops import Drops, drops_of
from tilth.report.run import Entry, RunResults
from tilth.report.views.drops import DropsView, in_words
from tilth.report.views.drops import view as drops_view

_MOST_BARS = 8


@dataclass(frozen=True)
class RejectGroup:
    """All documents dropped for one reason, with examples."""

    reject: RejectCount
    reason: str
    stage: str
    text: str


@dataclass(frozen=True)
class KeptDocument:
    """One kept document: its name, what it is, how it begins."""

    source: str
    facts: str
    excerpt: str


@dataclass(frozen=True)
class Corpus:
    """One curation; the label is empty where there is only one."""

    label: str
    inputs: tuple[InputAmount, ...]
    funnel: Markup
    reading: str
    """How long files were cut and which languages were chosen; empty where neither happened."""
    groups: tuple[RejectGroup, ...]
    drops: DropsView | None
    kept: tuple[KeptDocument, ...]
    shares: tuple[tuple[str, Markup], ...]
    """Title and bars: languages, programming languages, kinds."""
    dead_letters: tuple[DeadLetterNote, ...]
    dead_letter_text: str
    split: str


@dataclass(frozen=True)
class Curation:
    """The curation section."""

    takeaway: str
    table: Markup | None
    """Beside each other, where there are several."""
    corpora: tuple[Corpus, ...]


def view(run: RunResults) -> Curation | None:
    """Returns the curation section, or None without a ledger."""
    if not run.ledgers:
        return None
    several = len(run.ledgers) > 1
    drops = {entry.label: entry.result for entry in run.drops}
    return Curation(
        takeaway=_takeaway_of_several(run.ledgers) if several else _takeaway(run.ledgers[0].result),
        table=_table(run.ledgers) if several else None,
        corpora=tuple(
            _corpus(entry.label if several else "", entry.result, drops.get(entry.label) or drops_of(entry.result))
            for entry in run.ledgers
        ),
    )


def _corpus(label: str, ledger: Ledger, drops: Drops) -> Corpus:
    return Corpus(
        label=label,
        inputs=ledger.inputs,
        funnel=charts.funnel(_funnel_rows(ledger), width="number of documents"),
        reading=_reading(ledger),
        groups=tuple(
            RejectGroup(
                reject=reject,
                reason=in_words(reject.reason),
                stage=in_words(reject.stage),
                text=f"{figures.plural(reject.documents, 'document')}, {figures.size(reject.bytes)}",
            )
            for reject in _rejects(ledger)
        ),
        drops=drops_view(drops),
        kept=tuple(_kept_document(example) for example in ledger.kept_examples),
        shares=_all_shares(ledger),
        dead_letters=ledger.dead_letters,
        dead_letter_text=_dead_letter_text(ledger),
        split=_split(ledger),
    )


def _rejects(ledger: Ledger) -> list[RejectCount]:
    """The reasons that dropped a document, the most frequent first."""
    return sorted((r for r in ledger.rejects if r.documents), key=lambda r: (-r.documents, r.stage, r.reason))


def _read(ledger: Ledger) -> int:
    return ledger.stages[0].documents_in if ledger.stages else 0


def _kept(ledger: Ledger) -> int:
    return ledger.train.documents + ledger.held_out.documents


def _takeaway(ledger: Ledger) -> str:
    read, kept, rejects = _read(ledger), _kept(ledger), _rejects(ledger)
    if kept == 0:
        return f"None of {figures.plural(read, 'document')} read was kept."
    if not rejects:
        return f"All {figures.plural(kept, 'document')} were kept: no rule dropped any."
    share = f" ({figures.percent(kept / read)})" if read >= kept else ""
    return (
        f"Of {figures.plural(read, 'document')} read, {figures.count(kept)}{share} were kept. "
        f"The most frequent reason to drop one was “{in_words(rejects[0].reason)}”, "
        f"with {figures.plural(rejects[0].documents, 'document')}."
    )


def _takeaway_of_several(entries: tuple[Entry[Ledger], ...]) -> str:
    read = sum(_read(entry.result) for entry in entries)
    kept = sum(_kept(entry.result) for entry in entries)
    share = f" ({figures.percent(kept / read)})" if 0 < kept <= read else ""
    return (
        f"{figures.plural(len(entries), 'corpus', 'corpora')}: of {figures.plural(read, 'document')} read, "
        f"{figures.count(kept)}{share} were kept."
    )


def _table(entries: tuple[Entry[Ledger], ...]) -> Markup:
    return charts.table(
        ("Corpus", "Documents read", "Kept", "Text kept", "Held out", "Dead letters"),
        [
            (
                entry.label,
                figures.count(_read(ledger)),
                figures.count(_kept(ledger)),
                figures.size(ledger.train.bytes + ledger.held_out.bytes),
                figures.count(ledger.held_out.documents),
                figures.count(ledger.n_dead_letters),
            )
            for entry in entries
            for ledger in (entry.result,)
        ],
    )


def _split(ledger: Ledger) -> str:
    train, held_out, split = ledger.train, ledger.held_out, ledger.split
    text = (
        f"{figures.plural(train.documents, 'document')} ({figures.size(train.bytes)}) for training, "
        f"{figures.count(held_out.documents)} ({figures.size(held_out.bytes)}) held out for measuring."
    )
    if split is None:
        return text
    if split.line:
        return f"{text} {split.line}"
    return f"{text} The split is by hash of the {split.by}: {figures.percent(split.threshold)} of hashes are held out."


def _funnel_rows(ledger: Ledger) -> list[charts.FunnelRow]:
    return [
        charts.FunnelRow(
            label=in_words(stage.stage),
            entered=stage.documents_in,
            left=stage.documents_out,
            text=f"{figures.count(stage.documents_out)} · {figures.size(stage.bytes_out)}",
            dropped_text=_dropped(stage.documents_in - stage.documents_out, stage.stage, ledger),
        )
        for stage in ledger.stages
    ]


def _dropped(documents: int, stage: str, ledger: Ledger) -> str:
    if documents <= 0:
        return ""
    reasons = [in_words(reject.reason) for reject in _rejects(ledger) if reject.stage == stage]
    words = reasons[:2] + (["more"] if len(reasons) > 2 else [])
    return f"−{figures.count(documents)}" + (f" {', '.join(words)}" if words else "")


def _reading(ledger: Ledger) -> str:
    sentences: list[str] = []
    if ledger.cut_files:
        files = figures.plural(ledger.cut_files, "long file")
        verb = "was" if ledger.cut_files == 1 else "were"
        sentences.append(f"{files} {verb} cut into {figures.plural(ledger.cut_documents, 'document')}.")
    choice = ledger.language_choice
    if choice is not None:
        names = [f"{code} ({figures.percent(choice.shares.get(code))} of the prose)" for code in choice.kept]
        sentences.append(f"The main languages of the corpus are kept: {figures.join(names)}." if names else "")
    return " ".join(filter(None, sentences))


def _kept_document(example: KeptExample) -> KeptDocument:
    facts = (example.language, figures.size(example.bytes), in_words(example.split))
    return KeptDocument(example.source, " · ".join(filter(None, facts)), example.excerpt)


def _all_shares(ledger: Ledger) -> tuple[tuple[str, Markup], ...]:
    shares = (
        ("Languages of prose", _shares(ledger.languages, "slate", "share of the kept prose documents")),
        ("Programming languages", _shares(ledger.code_languages, "moss", "share of the kept documents of code")),
        ("Code and prose", _shares(ledger.kinds, "ochre", "share of the kept documents")),
    )
    return tuple((title, bars) for title, bars in shares if bars is not None)


def _shares(counts: Mapping[str, int], tone: str, width: str) -> Markup | None:
    total = sum(counts.values())
    if total <= 0:
        return None
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(number for _, number in ordered[_MOST_BARS:])
    rows = ordered[:_MOST_BARS] + ([(f"{len(ordered) - _MOST_BARS} more", rest)] if rest else [])
    return charts.bars(
        [
            charts.Bar(
                label=name or "unknown",
                text=f"{figures.count(number)} · {figures.percent(number / total)}",
                parts=[charts.Part(value=number, tone=tone, tip=figures.plural(number, "document"))],
            )
            for name, number in rows
        ],
        scale=total,
        width=width,
        full="100%",
        columns=("documents",),
    )


def _dead_letter_text(ledger: Ledger) -> str:
    number = max(ledger.n_dead_letters, len(ledger.dead_letters))
    if number == 0:
        return ""
    shown = len(ledger.dead_letters)
    more = f" The first {shown} are listed." if 1 < shown < number else ""
    return f"{figures.plural(number, 'file or record', 'files or records')} could not be read or parsed.{more}"
