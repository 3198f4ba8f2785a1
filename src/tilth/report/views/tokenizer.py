"""What the tokenizer learned: how much text a token carries, and how it cuts a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from tilth.report import figures
from tilth.report.artefacts import RunData, TokenizerStatistics
from tilth.report.views.header import KeyFigure

_TONES = 6


@dataclass(frozen=True)
class Chip:
    """One token as it is shown: its text with blanks made visible, and its place in the cycle of tones."""

    text: str
    tip: str
    tone: int


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer section."""

    takeaway: str
    key_figures: tuple[KeyFigure, ...]
    chips: tuple[Chip, ...]
    example_text: str
    longest: tuple[str, ...]
    pattern: str
    fingerprint: str


def view(data: RunData) -> Tokenizer | None:
    """Returns the tokenizer section, or None without statistics."""
    statistics = data.tokenizer
    if statistics is None:
        return None
    pieces = statistics.example.pieces if statistics.example else ()
    return Tokenizer(
        takeaway=_takeaway(statistics),
        key_figures=tuple(_key_figures(statistics)),
        chips=tuple(
            Chip(visible(piece.text), f"token {piece.id}", index % _TONES) for index, piece in enumerate(pieces)
        ),
        example_text=_example_text(statistics),
        longest=tuple(visible(token).replace(" ", "␣") for token in statistics.longest_tokens),
        pattern=statistics.pattern,
        fingerprint=statistics.fingerprint,
    )


def visible(text: str) -> str:
    """Returns the text with line ends and tabs marked, so that a token of blanks can be seen."""
    return text.replace("\n", "↵\n").replace("\t", "⇥\t")


def _takeaway(statistics: TokenizerStatistics) -> str:
    sentence = (
        f"One token stands for {figures.bits(statistics.bytes_per_token)} bytes of held-out text, "
        f"with a vocabulary of {figures.count(statistics.vocab_size)}"
    )
    if statistics.used_tokens is None:
        return sentence + "."
    return f"{sentence}, of which {figures.percent(statistics.used_tokens / statistics.vocab_size)} is in use."


def _key_figures(statistics: TokenizerStatistics) -> list[KeyFigure]:
    found = [
        KeyFigure(figures.bits(statistics.bytes_per_token), "bytes per token", "on held-out text"),
        KeyFigure(figures.count(statistics.vocab_size), "vocabulary"),
    ]
    if statistics.used_tokens is not None:
        found.append(KeyFigure(figures.count(statistics.used_tokens), "entries in use"))
    if statistics.training_bytes is not None:
        found.append(KeyFigure(figures.size(statistics.training_bytes), "of text learned from"))
    return found


def _example_text(statistics: TokenizerStatistics) -> str:
    if statistics.example is None or not statistics.example.pieces:
        return ""
    n_bytes = len(statistics.example.text.encode("utf-8", "surrogatepass"))
    n_tokens = len(statistics.example.pieces)
    size = f"{figures.plural(n_bytes, 'byte')} in {figures.plural(n_tokens, 'token')}"
    return f"{size}: {n_bytes / n_tokens:.2f} bytes a token"
