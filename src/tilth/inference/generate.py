"""Batched continuation of token sequences with a key/value cache; knows nothing of text.

Prompts are sorted by length and decoded in batches; rows that have ended are dropped once they are half of a
batch, so that a few long answers do not carry the finished ones along. The context is a hard wall: a sequence
that fills it ends with finish reason "length" rather than sliding, because a shifted window shows the model
positions and pasts it never trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812

from tilth.errors import DataError
from tilth.inference.config import SamplingParams
from tilth.inference.sampling import draw, uniforms
from tilth.model.cache import KVCache
from tilth.model.transformer import Transformer
from tilth.progress import SILENT, Progress

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """What was added to a prompt."""

    tokens: tuple[int, ...]
    """A stop token, where one ended it, is the last."""
    logprobs: tuple[float, ...]
    """Nats of each token under the model at temperature 1, without truncation."""
    finish_reason: FinishReason
    """`stop`: a stop token came; `length`: max_tokens or the context was full."""


def generate_tokens(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    *,
    batch_size: int = 64,
    progress: Progress = SILENT,
) -> list[Generation]:
    """Continues each prompt; results stand in the order of the prompts and do not depend on `batch_size`.

    Raises: DataError for a prompt that is empty or leaves no room in the context.
    """
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    results: dict[int, Generation] = {}
    with progress.bar("generate", len(prompts), "prompts") as bar:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = Decoding(model, {row: prompts[row] for row in rows}, params)
            while batch.active:
                batch.step()
            results |= {row: batch.result(row) for row in rows}
            bar.advance(len(rows))
    return [results[index] for index in range(len(prompts))]


class Decoding:
    """One batch under way: `step()` adds a token to each sequence that has not ended."""

    def __init__(self, model: Transformer, prompts: dict[int, Sequence[int]], params: SamplingParams) -> None:
        """Takes prompts by their place in the list, which together with the seed fixes what is drawn for
        them."""
        self.model, self.params = model, params
        lengths = {row: len(prompt) for row, prompt in prompts.items()}
        self.room = {row: _room(model, row, length, params) for row, length in lengths.items()}
        self.tokens: dict[int, list[int]] = {row: [] for row in prompts}
        self.logprobs: dict[int, list[float]] = {row: [] for row in prompts}
        self.finished: dict[int, FinishReason] = {}
        self.rows = list(prompts)
        """The sequences that still stand in the cache, in its order; some may have ended."""
        longest = max(lengths.values())
        padding = torch.tensor([longest - lengths[row] for row in self.rows], device=model.device)
        ids = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts.values()]
        self.next_ids = torch.tensor(ids, device=model.device)
        self.uniforms = torch.stack([uniforms(params.seed, row, params.max_tokens) for row in self.rows])
        self.uniforms = self.uniforms.to(model.device)
        self.cache = KVCache(
            model.config,
            batch=len(self.rows),
            capacity=longest + max(self.room.values()),
            padding=padding if int(padding.max()) else None,
            device=model.device,
            dtype=model.head_weight.dtype,
        )
        self.steps = 0

    @property
    def active(self) -> bool:
        """Whether a sequence has not ended."""
        return len(self.finished) < len(self.tokens)

    @torch.inference_mode()
    def step(self) -> None:
        """Adds a token to each sequence that has not ended."""
        last = self.model.hidden(self.next_ids, self.cache)[:, -1]
        ids, logprobs = draw(F.linear(last, self.model.head_weight), self.params, self.uniforms[:, self.steps])
        self.steps += 1
        self.next_ids = ids[:, None]
        for row, token, logprob in zip(self.rows, ids.tolist(), logprobs.tolist(), strict=True):
            if row not in self.finished:
                self._append(row, token, logprob)
        self._drop_finished()

    def result(self, row: int) -> Generation:
        """Returns what was added to prompt `row`, which must have ended."""
        return Generation(
            tokens=tuple(self.tokens[row]),
            logprobs=tuple(self.logprobs[row]),
            finish_reason=self.finished[row],
        )

    def _append(self, row: int, token: int, logprob: float) -> None:
        self.tokens[row].append(token)
        self.logprobs[row].append(logprob)
        if token in self.params.stop_tokens:
            self.finished[row] = "stop"
        elif len(self.tokens[row]) == self.room[row]:
            self.finished[row] = "length"

    def _drop_finished(self) -> None:
        kept = [place for place, row in enumerate(self.rows) if row not in self.finished]
        # Only ended sequences come this far; running on idly they would outgrow the rotary tables.
        full = self.cache.longest() >= self.model.config.context_length - 1
        if kept and (full or len(kept) <= len(self.rows) // 2):
            index = torch.tensor(kept, device=self.model.device)
            self.cache.keep_rows(index)
            self.next_ids, self.uniforms = self.next_ids[index], self.uniforms[index]
            self.rows = [self.rows[place] for place in kept]


def _room(model: Transformer, row: int, length: int, params: SamplingParams) -> int:
    if length == 0:
        raise DataError(f"Prompt {row} is empty.", fix="Give at least one token to continue from.")
    room = model.config.context_length - length
    if room < 1:
        raise DataError(
            f"Prompt {row} has {length} tokens and the model's context {model.config.context_length}: no room.",
            fix="Shorten the prompt, or keep its last part.",
        )
    return min(params.max_tokens, room)
