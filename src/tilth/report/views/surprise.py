"""Held-out passages token by token: how many bits the model and the 5-gram need for each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from tilth.evaluation.result import ContextBits, ScoredPassage, ScoredToken, Surprise
from tilth.report import charts, figures
from tilth.report.run import Entry, RunResults
from tilth.report.views.tokenizer import visible

EDGES = (0.5, 1.0, 2.0, 4.0, 6.0, 9.0, 12.0)
"""Bits at which the colour of a token changes; one bit is a chance of a half."""
DIFFERENCES = (0.5, 2.0, 4.0)
"""Bits between model and 5-gram at which the colour of their difference changes."""
MOST_TEXT = 40
"""Characters of a token that its tooltip repeats."""


@dataclass(frozen=True)
class Token:
    """One token as it is shown; `classes` name its colours by model, by 5-gram and by their difference."""

    text: str
    classes: str
    tip: str


@dataclass(frozen=True)
class Passage:
    """One passage with where it is from and its bits per byte."""

    source: str
    facts: str
    tokens: tuple[Token, ...]


@dataclass(frozen=True)
class Swatch:
    """An entry of the legend."""

    classes: str
    text: str


@dataclass(frozen=True)
class One:
    """The passages as one model read them; the label is empty where there is only one."""

    label: str
    key: str
    """Part of ids in the page."""
    ngram: str
    passages: tuple[Passage, ...]
    total: str
    table: Markup


@dataclass(frozen=True)
class TokenBits:
    """The section of the held-out text by token."""

    takeaway: str
    bits: tuple[Swatch, ...]
    differences: tuple[Swatch, ...]
    models: tuple[One, ...]


def view(run: RunResults) -> TokenBits | None:
    """Returns the section, or None where no passage was scored."""
    entries = [entry for entry in run.surprises if entry.result.passages]
    if not entries:
        return None
    return TokenBits(
        takeaway=" ".join(_takeaway(entry, len(entries) > 1) for entry in entries),
        bits=_bit_swatches(),
        differences=_difference_swatches(entries[0].result),
        models=tuple(_one(entry, index, len(entries) > 1) for index, entry in enumerate(entries, 1)),
    )


def level(bits: float) -> int:
    """Returns the number of a token's colour, 0 to 7."""
    return bisect_right(EDGES, bits)


def difference(token: ScoredToken) -> int:
    """Returns -3 to 3: positive where the model needs fewer bits than the 5-gram."""
    gain = token.ngram_bits - token.model_bits
    size = bisect_right(DIFFERENCES, abs(gain))
    return size if gain > 0 else -size


def _one(entry: Entry[Surprise], index: int, several: bool) -> One:
    result = entry.result
    scored = f"{figures.plural(result.documents, 'document')}, of which {figures.size(result.bytes)} were scored"
    return One(
        label=entry.label if several else "",
        key=f"bits-{index}",
        ngram=_ngram(result),
        passages=tuple(_passage(passage, _ngram(result)) for passage in result.passages),
        total=(
            f"The passages are parts of {scored} from their beginnings: model "
            f"{figures.bits(result.model_bits / result.bytes)}, {_ngram(result)} "
            f"{figures.bits(result.ngram_bits / result.bytes)} bits per byte, the ends of the documents included."
        ),
        table=_table(result),
    )


def _ngram(result: Surprise) -> str:
    return f"{result.order}-gram"


def _passage(passage: ScoredPassage, ngram: str) -> Passage:
    model_bits, ngram_bits = _per_byte([passage])
    facts = [
        passage.kind,
        f"after {figures.plural(passage.first_token, 'token')} of the document" if passage.first_token else "",
        f"model {figures.bits(model_bits)}, {ngram} {figures.bits(ngram_bits)} bits per byte",
    ]
    return Passage(
        source=passage.source,
        facts=" · ".join(filter(None, facts)),
        tokens=tuple(_token(token, ngram) for token in passage.tokens),
    )


def _per_byte(passages: Sequence[ScoredPassage]) -> tuple[float, float]:
    n_bytes = sum(passage.bytes for passage in passages) or 1
    tokens = [token for passage in passages for token in passage.tokens]
    return sum(t.model_bits for t in tokens) / n_bytes, sum(t.ngram_bits for t in tokens) / n_bytes


def _token(token: ScoredToken, ngram: str) -> Token:
    step = difference(token)
    classes = f"m{level(token.model_bits)} n{level(token.ngram_bits)}"
    if step:
        classes += f" {'g' if step > 0 else 'l'}{abs(step)}"
    return Token(text=visible(token.text), classes=classes, tip=_tip(token, ngram))


def _tip(token: ScoredToken, ngram: str) -> str:
    lines = [
        f"“{_inline(token.text)}”" + (f" ({token.tokens} tokens of one character)" if token.tokens > 1 else ""),
        f"model {_bits(token.model_bits)}, {ngram} {_bits(token.ngram_bits)}",
    ]
    if token.alternatives:
        lines.append("The model expected, with the text before:")
        likely = sorted(token.alternatives.items(), key=lambda item: -item[1])  # files have their keys in order
        lines += [f"{figures.percent(p)}  {_inline(text)}" for text, p in likely]
    return "\n".join(lines)


def _bits(bits: float) -> str:
    return f"{bits:.1f} bits ({figures.percent(2.0**-bits)})"


def _inline(text: str) -> str:
    marked = text.replace("\n", "↵").replace("\t", "⇥").replace(" ", "␣")
    return marked if len(marked) <= MOST_TEXT else f"{marked[:MOST_TEXT]}…"


def _bit_swatches() -> tuple[Swatch, ...]:
    edges = [f"{edge:g}" for edge in EDGES]
    texts = [f"under {edges[0]}", *(f"{a}–{b}" for a, b in pairwise(edges)), f"{edges[-1]} or more"]
    return tuple(Swatch(f"m{index}", text) for index, text in enumerate(texts))


def _difference_swatches(result: Surprise) -> tuple[Swatch, ...]:
    edges = [f"{edge:g}" for edge in DIFFERENCES]
    sizes = [*(f"{a}–{b}" for a, b in pairwise(edges)), f"{edges[-1]} or more"]
    gains = [Swatch(f"g{i}", f"model {size} fewer") for i, size in enumerate(sizes, 1)]
    losses = [Swatch(f"l{i}", f"{_ngram(result)} {size} fewer") for i, size in enumerate(sizes, 1)]
    return (*reversed(gains), Swatch("", f"less than {edges[0]} apart"), *losses)


def _context(row: ContextBits) -> str:
    return f"{row.least}" if row.least == row.most else f"{row.least}–{row.most}"


def _table(result: Surprise) -> Markup:
    return charts.table(
        ("Tokens of the document before", "Model", _ngram(result), "Difference", "Text"),
        [
            (
                _context(row),
                figures.bits(row.model_bits / row.bytes),
                figures.bits(row.ngram_bits / row.bytes),
                _change(row.model_bits, row.ngram_bits),
                figures.size(row.bytes),
            )
            for row in result.by_context
            if row.bytes
        ],
    )


def _change(model_bits: float, ngram_bits: float) -> str:
    if not ngram_bits:
        return figures.DASH
    share = model_bits / ngram_bits - 1
    return f"{'−' if share < 0 else '+'}{abs(share) * 100:.0f}%"


def _takeaway(entry: Entry[Surprise], several: bool) -> str:
    result = entry.result
    model_bits, ngram_bits = _per_byte(result.passages)
    n_bytes = sum(passage.bytes for passage in result.passages)
    who = f"the model “{entry.label}”" if several else "the model"
    return (
        f"On {figures.plural(len(result.passages), 'held-out passage')} ({figures.size(n_bytes)}) {who} needs "
        f"{figures.bits(model_bits)} bits per byte, the {_ngram(result)} {figures.bits(ngram_bits)}. {_gain(result)}"
    )


def _gain(result: Surprise) -> str:
    """Says from how much context on the model needs fewer bits than the 5-gram."""
    rows = [row for row in result.by_context if row.bytes]
    better = [row.model_bits < row.ngram_bits for row in rows]
    if not rows or not any(better):
        return f"The {_ngram(result)} needs fewer bits however much of the document comes before." if rows else ""
    if all(better):
        return "The model needs fewer bits however much of the document comes before."
    first = next((i for i in range(len(rows)) if all(better[i:])), None)
    if first is None:
        where = figures.join([_context(row) for row, is_better in zip(rows, better, strict=True) if is_better])
        return f"The model needs fewer bits where {where} tokens come before."
    after = rows[first:]
    change = _change(sum(row.model_bits for row in after), sum(row.ngram_bits for row in after))
    return f"From {figures.plural(rows[first].least, 'token')} of context on, the model needs fewer bits ({change})."
