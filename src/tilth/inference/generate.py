"""Batched continuation of token sequences with a key/value cache; knows nothing of text.

Prompts are sorted by length and decoded in batches; rows that have ended are dropped once they are half of a
batch, so that a few long answers do not carry the finished ones along. The context is a limit: a sequence that
fills it ends with finish reason "length" rather than sliding, because a shifted window shows the model positions
and pasts it never trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tilth.errors import DataError
from tilth.inference.config import SamplingParams
from tilth.inference.sampling import draw, stream_key, uniforms
from tilth.model.cache import KVCache
from tilth.model.transformer import Transformer
from tilth.progress import SILENT, Progress

FIRST_TOKENS = 1024
"""Tokens that memory is allocated for at first; most completions end long before a large `max_tokens`."""

FinishReason = Literal["stop", "length"]
FirstToken = tuple[int, float]
"""A token and its log-probability in nats."""
Ends = Callable[[int, Sequence[int]], bool]
"""Says whether a completion ends with its latest token; takes the prompt's index and the completion's tokens."""


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
    n_tokens: int | None = None,
    first: Mapping[int, FirstToken] | None = None,
    seeds: Sequence[int] | None = None,
    ends: Ends | None = None,
    progress: Progress = SILENT,
) -> list[Generation]:
    """Continues each prompt; results are in the order of the prompts and do not depend on `batch_size`.

    With `seeds`, one a prompt, each draws what it would draw alone with that seed, whatever else is in the list.

    With `n_tokens` only the first so many ids are drawn: a model may have more than its tokenizer. `first` holds the
    first tokens of completions, by the indices of their prompts, where these were drawn before.
    Raises: DataError, before anything is generated, for a prompt that is empty, leaves no room in the context, or
    holds an id that the model lacks.
    """
    for index, prompt in enumerate(prompts):
        check_prompt(model, index, prompt)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    results: dict[int, Generation] = {}
    with progress.bar("generate", len(prompts), "prompts") as bar:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            begun = {row: prompts[row] for row in rows}
            batch = Decoding(model, begun, params, n_tokens=n_tokens, first=first, seeds=seeds, ends=ends)
            while batch.active:
                batch.step()
            results |= {row: batch.result(row) for row in rows}
            bar.advance(len(rows))
    return [results[index] for index in range(len(prompts))]


class Decoding:
    """One batch under way: `step()` adds a token to each sequence that has not ended."""

    def __init__(
        self,
        model: Transformer,
        prompts: dict[int, Sequence[int]],
        params: SamplingParams,
        *,
        n_tokens: int | None = None,
        first: Mapping[int, FirstToken] | None = None,
        seeds: Sequence[int] | None = None,
        ends: Ends | None = None,
    ) -> None:
        """Takes prompts, which `check_prompt` accepts, by their index in the list, which together with the seed
        fixes what is drawn for them, and the first tokens that some completions have already."""
        self.model, self.params = model, params
        self.n_tokens, self.seeds, self.ends = n_tokens, seeds, ends
        lengths = {row: len(prompt) for row, prompt in prompts.items()}
        context = model.config.context_length
        self.room = {row: min(params.max_tokens, context - length) for row, length in lengths.items()}
        """Most tokens that each sequence can take."""
        self.tokens: dict[int, list[int]] = {row: [] for row in prompts}
        self.logprobs: dict[int, list[float]] = {row: [] for row in prompts}
        self.finished: dict[int, FinishReason] = {}
        self.rows = list(prompts)
        """The sequences that are still in the cache, in its order; some may have ended."""
        for row, (token, logprob) in (first or {}).items():
            if row in prompts:
                self._append(row, token, logprob)
        known = {row: [*prompt, *self.tokens[row]] for row, prompt in prompts.items()}
        longest = max(map(len, known.values()))
        padding = torch.tensor([longest - len(known[row]) for row in self.rows], device=model.device)
        ids = [[0] * (longest - len(prompt)) + prompt for prompt in known.values()]
        self.next_ids = torch.tensor(ids, device=model.device)
        self.seen = self._seen(known) if params.repetition_penalty != 1 else None
        """`(rows, vocab_size)`: which tokens each sequence that is still in the cache holds."""
        most = min(max(self.room.values()), FIRST_TOKENS)
        self.uniforms = self._draw_uniforms(most)
        """`(rows, tokens)`: what decides each token of each sequence that is still in the cache."""
        self.cache = KVCache(
            model.config,
            batch=len(self.rows),
            capacity=longest + most,
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
        if self.steps == self.uniforms.shape[1]:
            self.uniforms = self._draw_uniforms(2 * self.steps)
        logits = F.linear(last, self.model.head_weight).to(self.uniforms.device)
        uniform = self.uniforms[:, self.steps]
        ids, logprobs = draw(logits, self.params, uniform, n_tokens=self.n_tokens, seen=self.seen)
        if self.seen is not None:
            self.seen.scatter_(1, ids[:, None], True)
        self.steps += 1
        self.next_ids = ids[:, None].to(self.model.device)
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

    def _draw_uniforms(self, n: int) -> Tensor:
        drawn = torch.stack([uniforms(*stream_key(self.params.seed, row, self.seeds), n) for row in self.rows])
        # MPS has no float64: there the logits come to the CPU.
        return drawn if self.model.device.type == "mps" else drawn.to(self.model.device)

    def _seen(self, known: Mapping[int, Sequence[int]]) -> Tensor:
        # Where the logits are compared with the draws: see `_draw_uniforms`.
        device = "cpu" if self.model.device.type == "mps" else self.model.device
        seen = torch.zeros(len(self.rows), self.model.config.vocab_size, dtype=torch.bool, device=device)
        for index, row in enumerate(self.rows):
            seen[index, torch.tensor(known[row], device=device)] = True
        return seen

    def _append(self, row: int, token: int, logprob: float) -> None:
        self.tokens[row].append(token)
        self.logprobs[row].append(logprob)
        if token in self.params.stop_tokens or (self.ends is not None and self.ends(row, self.tokens[row])):
            self.finished[row] = "stop"
        elif len(self.tokens[row]) == self.room[row]:
            self.finished[row] = "length"

    def _drop_finished(self) -> None:
        kept = [index for index, row in enumerate(self.rows) if row not in self.finished]
        # Only ended sequences come this far; running on idly they would outgrow the rotary tables.
        full = self.cache.longest() >= self.model.config.context_length - 1
        if kept and (full or len(kept) <= len(self.rows) // 2):
            indices = torch.tensor(kept, device=self.model.device)
            self.cache.keep_rows(indices)
            self.next_ids, self.uniforms = self.next_ids[indices], self.uniforms[indices.to(self.uniforms.device)]
            if self.seen is not None:
                self.seen = self.seen[indices.to(self.seen.device)]
            self.rows = [self.rows[index] for index in kept]


def check_prompt(model: Transformer, index: int, prompt: Sequence[int]) -> None:
    """Checks that a prompt can be continued; `index` is its number in errors.

    Raises: DataError if it is empty, leaves no room in the context, or holds an id that the model lacks.
    """
    context, vocab_size = model.config.context_length, model.config.vocab_size
    if len(prompt) == 0:
        raise DataError(f"Prompt {index} is empty.", fix="Give at least one token to continue from.")
    if len(prompt) >= context:
        raise DataError(
            f"Prompt {index} has {len(prompt)} tokens and the model's context {context}: no room.",
            fix="Shorten the prompt, or keep its last part.",
        )
    wrong = [token for token in (min(prompt), max(prompt)) if not 0 <= token < vocab_size]
    if wrong:
        raise DataError(
            f"Prompt {index} holds the id {wrong[0]}; the model knows 0 to {vocab_size - 1}.",
            fix="Encode prompts with the tokenizer that the model was trained with.",
        )
