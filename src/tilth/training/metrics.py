"""What is measured: lines of `metrics.jsonl`, and bits per byte on held-out text.

Bits per byte divide what a model pays for a text by the text's bytes, so that models with different
tokenizers compare.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tilth.errors import DataError
from tilth.files import write_bytes
from tilth.model.loss import IGNORE
from tilth.progress import SILENT, Progress
from tilth.types import Document

if TYPE_CHECKING:
    from tilth.model.transformer import Transformer
    from tilth.tokenizer import Tokenizer

EVAL_BATCH_TOKENS = 8192
"""Tokens that are scored in one forward pass."""


class MetricsLog:
    """Appends JSON lines, each a dict with `step`; made anew it keeps the lines up to `last_step` only.

    So a run that was killed and went on from a checkpoint writes the file that an undisturbed one would.
    """

    def __init__(self, path: Path, *, last_step: int) -> None:
        self.path = path
        kept = [line for line in read_metrics(path) if line["step"] <= last_step] if last_step >= 0 else []
        write_bytes(path, b"".join(_encode(line) for line in kept))
        self._file = path.open("ab")

    def write(self, line: dict[str, float]) -> None:
        """Appends a line; it reaches the file at once, so that others can watch."""
        self._file.write(_encode(line))
        self._file.flush()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Returns all whole lines of a metrics file; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1]]


def _encode(line: dict[str, float]) -> bytes:
    return json.dumps(line).encode() + b"\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class TextCost:
    """What a text costs under a model."""

    nats: float
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

    The last one is cut. Raises: DataError if there is no text.
    """
    excerpt: list[Document] = []
    room = max_bytes
    for document in sorted(documents, key=lambda document: document.id):
        content = document.text.encode("utf-8", "surrogatepass")
        if len(content) > room:
            document = replace(document, text=content[:room].decode("utf-8", "ignore"))
        if document.text:
            excerpt.append(document)
        room -= min(room, len(content))
        if room == 0:
            break
    if not excerpt:
        raise DataError("There is no held-out text to measure.", fix="Hold out more documents.")
    return excerpt


def measure_text_cost(
    model: Transformer, tokenizer: Tokenizer, documents: Iterable[Document], *, progress: Progress = SILENT
) -> TextCost:
    """Scores documents one by one, each from its separator to its closing separator.

    A document longer than the context is read in windows that overlap by half: the first window scores all
    its tokens, the others their second half, so that no token has less than half a context before it (but for
    the document's beginning).
    Raises: DataError if there is no text.
    Cost: twice a forward pass over the tokens; the documents and their tokens are held in memory.
    """
    texts = [document.text for document in documents]
    n_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    if n_bytes == 0:
        raise DataError("There is no held-out text to measure.", fix="Hold out more documents.")
    separator = tokenizer.end_of_text
    edge = [] if separator is None else [separator]
    windows: list[tuple[list[int], int]] = []
    for ids in tokenizer.encode_batch(texts, disallowed_special=()):
        windows += _windows([*edge, *ids, *edge], model.config.context_length)
    was_training = model.training
    model.eval()
    nats = _score(model, windows, progress)
    model.train(was_training)
    n_tokens = sum(len(ids) - 1 - context for ids, context in windows)
    return TextCost(nats=nats, tokens=n_tokens, bytes=n_bytes)


def _windows(ids: list[int], context_length: int) -> list[tuple[list[int], int]]:
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
            targets = torch.full((len(batch), longest), IGNORE)
            for row, (ids, context) in enumerate(batch):
                inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1])
                targets[row, context : len(ids) - 1] = torch.tensor(ids[context + 1 :])
            total += float(model.nats(inputs.to(model.device), targets.to(model.device)).double().sum())
            bar.advance(len(batch))
    return total
