"""Dropped documents to search in, and the sentence that says which of them the page holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from markupsafe import Markup

from tilth.report import figures
from tilth.report.drops import DroppedDocument, Drops
from tilth.report.safe_text import json_for_script, shown

MOST_BYTES = 1_000_000
"""JSON of the dropped documents in a page; excerpts are shortened to keep it."""
_EXCERPT_CHARACTERS = 300
_NAME_CHARACTERS = 200


@dataclass(frozen=True)
class ReasonChoice:
    """One reason in the list to choose from; `index` is that of its group in the data."""

    index: int
    text: str


@dataclass(frozen=True)
class DropsView:
    """The dropped documents of one curation."""

    sentence: str
    reasons: tuple[ReasonChoice, ...]
    data: Markup
    """JSON: `groups` of stage and reason; `rows` of group, source, detail, size, excerpt, id."""


def view(drops: Drops, *, most_bytes: int = MOST_BYTES) -> DropsView | None:
    """Returns the dropped documents, or None where there are none to show."""
    if not drops.documents:
        return None
    groups = list(dict.fromkeys((one.stage, one.reason) for one in drops.documents))
    counts = Counter((one.stage, one.reason) for one in drops.documents)
    several = len({one.corpus for one in drops.documents}) > 1
    return DropsView(
        sentence=_sentence(drops),
        reasons=tuple(
            ReasonChoice(index, f"{in_words(reason)}, {in_words(stage)} ({figures.count(counts[stage, reason])})")
            for index, (stage, reason) in enumerate(groups)
        ),
        data=_data(drops.documents, groups, several, most_bytes),
    )


def in_words(name: str) -> str:
    """Returns a reason or stage as plain words: `exact_duplicate` -> `exact duplicate`."""
    return name.replace("_", " ").replace("-", " ")


def _sentence(drops: Drops) -> str:
    dropped = figures.plural(drops.total, "document")
    if len(drops.documents) == drops.total == 1:
        return "The only document that was dropped."
    if len(drops.documents) == drops.total:
        return f"All {dropped} that were dropped."
    which = "the first of each reason" if drops.only_examples else "a sample with some of every reason"
    return f"{figures.count(len(drops.documents))} of the {dropped} that were dropped: {which}."


def _data(
    documents: tuple[DroppedDocument, ...], groups: list[tuple[str, str]], corpora: bool, most_bytes: int
) -> Markup:
    """The JSON, with excerpts as long as `most_bytes` allows."""
    index = {key: number for number, key in enumerate(groups)}
    names = [{"stage": shown(in_words(stage)), "reason": shown(in_words(reason))} for stage, reason in groups]
    length = _EXCERPT_CHARACTERS
    while True:
        rows = [_row(one, index[one.stage, one.reason], corpora, length) for one in documents]
        data = json_for_script({"groups": names, "rows": rows})
        if length == 0 or len(data.encode("utf-8", "replace")) <= most_bytes:
            return data
        length //= 2


def _row(one: DroppedDocument, group: int, corpora: bool, length: int) -> list[str | int]:
    excerpt = one.excerpt if len(one.excerpt) <= length else f"{one.excerpt[:length]}…" if length else ""
    source = f"{one.corpus}: {one.source}" if corpora and one.corpus else one.source
    texts = (_short(source), _short(one.detail), figures.size(one.bytes) if one.bytes else "", excerpt, one.id[:32])
    return [group, *(shown(text) for text in texts)]


def _short(text: str) -> str:
    """A long name without its middle."""
    half = _NAME_CHARACTERS // 2
    return text if len(text) <= _NAME_CHARACTERS else f"{text[:half]}…{text[-half:]}"
