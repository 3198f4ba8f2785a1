"""Real text as passages: pieces of whole lines that are documents of their own, and sets of them by tokens.

A passage is about as long as a small model's context, so that a sample that begins at the document separator is the
same kind of text as a passage, and a set of samples compares with a set of passages.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tilth.errors import DataError
from tilth.types import Document

if TYPE_CHECKING:
    from tilth.tokenizer import Tokenizer


def passages_of(documents: Iterable[Document], most_bytes: int) -> Iterator[Document]:
    """Yields the passages of documents: as many whole lines as `most_bytes` of UTF-8 hold, blank ends removed.

    A longer line is a passage of its own. Passages without text are left out.
    """
    for document in documents:
        for text in _cut(document.text, most_bytes):
            yield Document.make(
                text, document.source, corpus=document.id, language=document.language, meta=dict(document.meta)
            )


def _cut(text: str, most_bytes: int) -> Iterator[str]:
    lines: list[str] = []
    size = 0
    for line in text.splitlines():
        n_bytes = len(line.encode("utf-8", "surrogatepass")) + 1
        if lines and size + n_bytes > most_bytes:
            yield from _unless_blank(lines)
            lines, size = [], 0
        lines.append(line)
        size += n_bytes
    yield from _unless_blank(lines)


def _unless_blank(lines: Sequence[str]) -> Iterator[str]:
    text = "\n".join(lines).strip("\n").rstrip()
    if text.strip():
        yield text


def without_texts(documents: Iterable[Document], known: Collection[str]) -> list[Document]:
    """Returns the documents whose text is not among `known` nor that of an earlier one.

    Licences and common lines are in many files: a passage that is held out must not be learned from elsewhere.
    """
    seen = set(known)
    kept: list[Document] = []
    for document in documents:
        if document.text not in seen:
            seen.add(document.text)
            kept.append(document)
    return kept


def n_tokens(documents: Sequence[Document], tokenizer: Tokenizer) -> list[int]:
    """Returns the tokens of each document, one separator included."""
    rows = tokenizer.encode_batch([document.text for document in documents], disallowed_special=())
    return [len(row) + 1 for row in rows]


def first_tokens(documents: Sequence[Document], wanted: int, tokenizer: Tokenizer) -> list[Document]:
    """Returns the first documents that hold `wanted` tokens, separators included, or all where they hold fewer."""
    ends = np.cumsum(n_tokens(documents, tokenizer)) if documents else np.empty(0, np.int64)
    return list(documents[: int(np.searchsorted(ends, wanted)) + 1])


def random_tokens(
    documents: Sequence[Document], wanted: int, tokenizer: Tokenizer, rng: np.random.Generator
) -> list[Document]:
    """Returns random documents that hold `wanted` tokens, separators included, or all where they hold fewer."""
    order = rng.permutation(len(documents))
    return first_tokens([documents[index] for index in order], wanted, tokenizer)


def random_bytes(documents: Sequence[Document], wanted: int, rng: np.random.Generator) -> list[Document]:
    """Returns random documents that hold `wanted` bytes of UTF-8, or all where they hold fewer."""
    order = [documents[index] for index in rng.permutation(len(documents))]
    ends = np.cumsum([len(document.text.encode("utf-8", "surrogatepass")) for document in order])
    return order[: int(np.searchsorted(ends, wanted)) + 1]


def check_enough(documents: Sequence[Document], wanted: int, tokenizer: Tokenizer, what: str) -> None:
    """Raises DataError if documents hold fewer than `wanted` tokens."""
    there = sum(n_tokens(documents, tokenizer))
    if there < wanted:
        raise DataError(
            f"There are {there:,} tokens of {what}; {wanted:,} are needed.",
            fix="Give more text with `--corpus`, or a lower `--effort`.",
        )
