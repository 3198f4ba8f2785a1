"""The head of the page: what was made, and its key figures."""

from __future__ import annotations

from dataclasses import dataclass

from tilth.report import figures
from tilth.report.run import RunResults
from tilth.report.views.training_sentences import bits_after, bits_before, comparison_of
from tilth.training.result import TrainingSummary


@dataclass(frozen=True)
class KeyFigure:
    """One large number and what it is."""

    value: str
    label: str
    detail: str = ""


@dataclass(frozen=True)
class Header:
    """The head of the page."""

    title: str
    takeaway: str
    finished: str
    key_figures: tuple[KeyFigure, ...]
    chat_command: str | None


def view(run: RunResults) -> Header:
    """Returns the head of the page; it is there even where all else is missing."""
    finished = max((step.result.finished_at for step in run.steps), default="")
    return Header(
        title=run.name or "Report",
        takeaway=_sentence(run),
        finished=finished.replace("T", " ")[:16],
        key_figures=tuple(_key_figures(run)),
        chat_command=run.chat_command,
    )


def total_flops(run: RunResults) -> float | None:
    """Returns the FLOPs that steps counted, or None where none did."""
    counted = [flops for step in run.steps if (flops := step.result.flops) is not None]
    return sum(counted) if counted else None


def _sentence(run: RunResults) -> str:
    parts: list[str] = []
    summaries = _summaries(run)
    if summaries:
        sizes = figures.span([summary.n_params for summary in summaries], figures.short)
        parts.append(f"{_number(len(summaries), 'language model')} of {sizes} parameters")
    elif run.tokenizers:
        sizes = figures.span([entry.result.vocab_size for entry in run.tokenizers], figures.count)
        parts.append(f"{_number(len(run.tokenizers), 'tokenizer')} of {sizes} tokens")
    if run.ledgers:
        documents, n_bytes = _train(run) if parts else _kept(run)
        text = f"{figures.plural(documents, 'document')} ({figures.size(n_bytes)} of text)"
        corpora = f", {figures.count(len(run.ledgers))} corpora" if len(run.ledgers) > 1 else ""
        parts.append(f"trained on {text}{corpora}" if parts else f"A corpus of {text}{corpora}")
    if not parts and run.experiments:
        titles = [entry.result.title for entry in run.experiments]
        if len(titles) == 1:
            return titles[0]
        return f"{figures.plural(len(titles), 'experiment')}: {'; '.join(titles)}"
    return f"{', '.join(parts)}." if parts else "The results of this run."


def _number(n: int, noun: str) -> str:
    return f"A {noun}" if n == 1 else figures.plural(n, noun)


def _summaries(run: RunResults) -> list[TrainingSummary]:
    return [entry.result.summary for entry in run.trainings if entry.result.summary is not None]


def _train(run: RunResults) -> tuple[int, int]:
    amounts = [entry.result.train for entry in run.ledgers]
    return sum(amount.documents for amount in amounts), sum(amount.bytes for amount in amounts)


def _kept(run: RunResults) -> tuple[int, int]:
    ledgers = [entry.result for entry in run.ledgers]
    n_bytes = sum(ledger.train.bytes + ledger.held_out.bytes for ledger in ledgers)
    return sum(ledger.documents_kept for ledger in ledgers), n_bytes


def _key_figures(run: RunResults) -> list[KeyFigure]:
    shown: list[KeyFigure] = []
    if run.ledgers:
        read = sum(entry.result.stages[0].documents_in for entry in run.ledgers if entry.result.stages)
        detail = f"of {figures.count(read)} read" if read else ""
        shown.append(KeyFigure(figures.count(_kept(run)[0]), "documents kept", detail))
    shown += _training_figures(run)
    if run.steps:
        seconds = sum(step.result.seconds for step in run.steps)
        shown.append(KeyFigure(figures.duration(seconds), "run time", figures.plural(len(run.steps), "step")))
    flops = total_flops(run)
    if flops is not None:
        shown.append(KeyFigure(figures.flops(flops), "compute", "counted from shapes, not measured"))
    return shown


def _training_figures(run: RunResults) -> list[KeyFigure]:
    summaries = _summaries(run)
    if not summaries:
        return []
    shown = [
        KeyFigure(figures.span([s.tokens for s in summaries], figures.short), "tokens trained on"),
        KeyFigure(figures.span([s.n_params for s in summaries], figures.short), "parameters"),
    ]
    # As in the section on training: on the text of the comparison, where there is one.
    trainings = [(one.result, comparison_of(run, one)) for one in run.trainings if one.result.summary is not None]
    after = [bits for pair in trainings if (bits := bits_after(*pair)) is not None]
    before = [bits for pair in trainings if (bits := bits_before(*pair)) is not None]
    if len(summaries) == len(before) == len(after) == 1:
        change = f"{figures.bits(before[0])} → {figures.bits(after[0])}"
        shown.append(KeyFigure(change, "bits per byte", "held-out text, before → after training"))
    elif after:
        shown.append(KeyFigure(figures.span(after, figures.bits), "bits per byte", "held-out text, after training"))
    return shown
