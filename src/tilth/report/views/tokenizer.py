"""Tokenizers: bytes per token, ids in use, an example split into tokens."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from tilth.report import charts, figures
from tilth.report.run import Entry, RunResults
from tilth.report.views.header import KeyFigure
from tilth.tokenizer.result import TokenizedExample, TokenizerStatistics

_CHIP_TONES = 6


@dataclass(frozen=True)
class Chip:
    """One token as it is shown: its text with line ends and tabs made visible, its id, the number of its colour."""

    text: str
    tip: str
    tone: int


@dataclass(frozen=True)
class One:
    """One tokenizer; the label is empty where there is only one."""

    label: str
    chips: tuple[Chip, ...]
    example_text: str
    longest: tuple[str, ...]
    pattern: str
    fingerprint: str


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer section."""

    takeaway: str
    key_figures: tuple[KeyFigure, ...]
    """Of the only tokenizer; several are in `bars` and `table`."""
    bars: Markup | None
    table: Markup | None
    tokenizers: tuple[One, ...]


def view(run: RunResults) -> Tokenizer | None:
    """Returns the tokenizer section, or None without statistics."""
    entries = run.tokenizers
    if not entries:
        return None
    first, several = entries[0], len(entries) > 1
    return Tokenizer(
        takeaway=_takeaway_of_several(entries) if several else _takeaway(first.result),
        key_figures=() if several else _key_figures(first.result),
        bars=_bars(entries) if several else None,
        table=_table(entries) if several else None,
        tokenizers=tuple(_one(entry.label if several else "", entry.result) for entry in entries),
    )


def visible(text: str) -> str:
    """Returns the text with line ends and tabs marked, so that a token of white space can be seen."""
    return text.replace("\n", "↵\n").replace("\t", "⇥\t")


def _one(label: str, statistics: TokenizerStatistics) -> One:
    return One(
        label=label,
        chips=tuple(
            Chip(visible(piece.text), f"token {piece.id}", index % _CHIP_TONES)
            for index, piece in enumerate(statistics.example.pieces)
        ),
        example_text=_example_text(statistics.example),
        longest=tuple(visible(token).replace(" ", "␣") for token in statistics.longest_tokens),
        pattern=statistics.pattern,
        fingerprint=statistics.fingerprint,
    )


def _used(statistics: TokenizerStatistics) -> str:
    return figures.percent(statistics.used_tokens / statistics.vocab_size) if statistics.vocab_size else figures.DASH


def _takeaway(statistics: TokenizerStatistics) -> str:
    return (
        f"On held-out text a token holds {figures.bits(statistics.bytes_per_token)} bytes on average. "
        f"{_used(statistics)} of the {figures.count(statistics.vocab_size)} tokens in the vocabulary occur."
    )


def _takeaway_of_several(entries: tuple[Entry[TokenizerStatistics], ...]) -> str:
    best = max(entries, key=lambda entry: entry.result.bytes_per_token)
    values = figures.span([entry.result.bytes_per_token for entry in entries], figures.bits)
    return (
        f"{figures.plural(len(entries), 'tokenizer')}: a token holds {values} bytes of held-out text on average, "
        f"most with “{best.label}”."
    )


def _key_figures(statistics: TokenizerStatistics) -> tuple[KeyFigure, ...]:
    return (
        KeyFigure(figures.bits(statistics.bytes_per_token), "bytes per token", "on held-out text"),
        KeyFigure(figures.count(statistics.vocab_size), "tokens in the vocabulary"),
        KeyFigure(figures.count(statistics.used_tokens), "tokens in use", "on held-out text"),
        KeyFigure(figures.size(statistics.training_bytes), "of training text"),
    )


def _bars(entries: tuple[Entry[TokenizerStatistics], ...]) -> Markup:
    return charts.bars(
        [
            charts.Bar(
                label=entry.label,
                text=figures.bits(entry.result.bytes_per_token),
                parts=[
                    charts.Part(
                        value=entry.result.bytes_per_token,
                        tone=tone,
                        tip=f"{entry.label}: {figures.bits(entry.result.bytes_per_token)} bytes per token",
                    )
                ],
            )
            for entry, tone in zip(entries, charts.tones(len(entries)), strict=True)
        ],
        width="bytes per token",
        full=figures.bits(max(entry.result.bytes_per_token for entry in entries)),
        columns=("bytes per token",),
    )


def _table(entries: tuple[Entry[TokenizerStatistics], ...]) -> Markup:
    return charts.table(
        ("Tokenizer", "Bytes per token", "Vocabulary", "In use", "Training text"),
        [
            (
                entry.label,
                figures.bits(entry.result.bytes_per_token),
                figures.count(entry.result.vocab_size),
                _used(entry.result),
                figures.size(entry.result.training_bytes),
            )
            for entry in entries
        ],
        charts.tones(len(entries)),
    )


def _example_text(example: TokenizedExample) -> str:
    if not example.pieces:
        return ""
    n_bytes = len(example.text.encode("utf-8", "surrogatepass"))
    n_tokens = len(example.pieces)
    size = f"{figures.plural(n_bytes, 'byte')} in {figures.plural(n_tokens, 'token')}"
    return f"{size}: {n_bytes / n_tokens:.2f} bytes per token"
