"""Bits per byte on held-out text.

Bits per byte divide a model's loss on a text by the text's bytes, so that models with different tokenizers compare.
Each document is measured alone.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from tilth.errors import DataError
from tilth.model.loss import IGNORE_INDEX
from tilth.progress import SILENT, Progress
from tilth.types import Document

if TYPE_CHECKING:
    from tilth.model.transformer import Transformer
    from tilth.tokenizer import Tokenizer

EVAL_BATCH_TOKENS = 8192
"""Tokens that are scored in one forward pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextLoss:
    """The loss of a model on a text."""

    nats: float
    """Summed over all tokens."""
    tokens: int
    """Predicted tokens, the separators at the ends of documents included."""
    bytes: int

    @property
    def bits_per_byte(self) -> float:
        """Bits for each byte of UTF-8."""
        return self.nats / math.log(2) / self.bytes

    @property
    def nats_per_token(self) -> float:
        """Mean loss."""
        return self.nats / self.tokens


def held_out_excerpt(documents: Iterable[Document], max_bytes: int) -> list[Document]:
    """Returns documents in the order of their ids, which is random and stable, until they hold `max_bytes` of UTF-8.

    The last one is cut. Only the documents that may be among them are held, `max_bytes` and one document more.
    Raises: DataError if there is no text.
    """
    chosen: list[tuple[Document, int]] = []
    total = 0
    for document in documents:
        size = _n_bytes(document.text)
        if not size or (total >= max_bytes and document.id >= chosen[-1][0].id):
            continue
        insort(chosen, (document, size), key=lambda entry: entry[0].id)
        total += size
        while total - chosen[-1][1] >= max_bytes:
            total -= chosen.pop()[1]
    excerpt = [document for document, _ in chosen]
    if total > max_bytes:
        content = excerpt[-1].text.encode("utf-8", "surrogatepass")
        room = max_bytes - (total - len(content))
        excerpt[-1] = replace(excerpt[-1], text=content[:room].decode("utf-8", "ignore"))
    excerpt = [document for document in excerpt if document.text]
    if not excerpt:
        raise DataError(
            "There is no held-out text to measure.", fix="Give more text: of very little, nothing is held out."
        )
    return excerpt


def n_bytes(documents: Iterable[Document]) -> int:
    """Returns the bytes of documents' texts in UTF-8."""
    return sum(_n_bytes(document.text) for document in documents)


def _n_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def text_loss(
    model: Transformer, tokenizer: Tokenizer, documents: Iterable[Document], *, progress: Progress = SILENT
) -> TextLoss:
    """Scores documents one by one, each from its separator to its closing separator.

    A document longer than the context is read in windows that overlap by half: the first window scores all
    its tokens, the others their second half, so that no token has less than half a context before it (but for
    the document's beginning).
    Raises: DataError if there is no text.
    Cost: twice a forward pass over the tokens; the documents and their tokens are held in memory.
    """
    texts = [document.text for document in documents]
    size = sum(map(_n_bytes, texts))
    if size == 0:
        raise DataError(
            "There is no held-out text to measure.", fix="Give more text: of very little, nothing is held out."
        )
    separator = tokenizer.end_of_text
    edge = [] if separator is None else [separator]
    windows: list[tuple[list[int], int]] = []
    for ids in tokenizer.encode_batch(texts, disallowed_special=()):
        windows += overlapping_windows([*edge, *ids, *edge], model.config.context_length)
    was_training = model.training
    model.eval()
    nats = _score(model, windows, progress)
    model.train(was_training)
    n_tokens = sum(len(ids) - 1 - context for ids, context in windows)
    return TextLoss(nats=nats, tokens=n_tokens, bytes=size)


def overlapping_windows(ids: list[int], context_length: int) -> list[tuple[list[int], int]]:
    """Returns windows of `context_length` predictions with how many of the first are context only."""
    stride = max(1, context_length // 2)
    windows = [(ids[: context_length + 1], 0)]
    scored = context_length
    while scored < len(ids) - 1:
        start = scored + stride - context_length
        windows.append((ids[start : start + context_length + 1], context_length - stride))
        scored += stride
    return windows


def _score(model: Transformer, windows: list[tuple[list[int], int]], progress: Progress) -> float:
    order = sorted(windows, key=lambda window: len(window[0]))
    total, start = 0.0, 0
    with progress.bar("measure", len(order), "windows") as bar:
        while start < len(order):
            # Sorted by length, so the windows that follow are at least as long as this one.
            batch = order[start : start + max(1, EVAL_BATCH_TOKENS // model.config.context_length)]
            start += len(batch)
            longest = len(batch[-1][0]) - 1
            inputs = torch.zeros(len(batch), longest, dtype=torch.int64)
            targets = torch.full((len(batch), longest), IGNORE_INDEX)
            for row, (ids, context) in enumerate(batch):
                inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1])
                targets[row, context : len(ids) - 1] = torch.tensor(ids[context + 1 :])
            losses = model.token_losses(inputs.to(model.device), targets.to(model.device))
            total += float(losses.cpu().double().sum())  # MPS has no float64
            bar.advance(len(batch))
    return total
