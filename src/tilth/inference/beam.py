"""Beam search with a key/value cache: the likeliest whole sequences instead of the likeliest next tokens.

Each step keeps the `n_beams` likeliest beginnings of every prompt, in one batch. What it finds are the modes of the
model: with a checker behind it, it wastes less on repeats than sampling does, and sees less of the tail.
Source: candidates, length penalty and the rule that ends a search are those of Hugging Face's `generate` with
`early_stopping=False`.
Checked against: tests/parity/inference/test_hf_beam.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812

from tilth.errors import ConfigError
from tilth.inference.generate import FinishReason, check_prompt
from tilth.model.cache import KVCache
from tilth.model.transformer import Transformer


@dataclass(frozen=True, kw_only=True)
class BeamParams:
    """How wide and how far a beam search goes."""

    n_beams: int = 4
    """Beginnings that are kept at each step, and sequences that are returned at most."""
    max_tokens: int = 256
    """Most tokens that are added to a prompt."""
    length_penalty: float = 1.0
    """A sequence's score is its log-probability divided by its length to this power: 0 is the plain sum."""
    stop_tokens: tuple[int, ...] = ()
    """Ids that end a sequence; the id itself stays in its tokens."""

    def __post_init__(self) -> None:
        for name in ("n_beams", "max_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give 1 or more.")
        if not math.isfinite(self.length_penalty):
            raise ConfigError(f"length_penalty is {self.length_penalty}.", fix="Give a finite number, such as 1.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Hypothesis:
    """One sequence that a search found."""

    tokens: tuple[int, ...]
    """A stop token, where one ended it, is the last."""
    logprobs: tuple[float, ...]
    """Nats of each token under the model."""
    finish_reason: FinishReason
    score: float
    """What sequences are ranked by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BeamResult:
    """What the search found for one prompt."""

    hypotheses: tuple[Hypothesis, ...]
    """By falling score, at most `n_beams`."""
    tokens_spent: int
    """Tokens that went through the model: the prompt, and those of all beams."""


def beam_search(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    params: BeamParams,
    *,
    batch_size: int = 64,
    n_tokens: int | None = None,
) -> list[BeamResult]:
    """Returns the likeliest continuations of each prompt, in the order of the prompts.

    With `n_tokens` only the first so many ids are written: a model may have more than its tokenizer.
    Cost: a prompt takes `n_beams` rows of a batch. Raises: DataError as `generate_tokens`.
    """
    for index, prompt in enumerate(prompts):
        check_prompt(model, index, prompt)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    found: dict[int, BeamResult] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        found |= zip(rows, _search([prompts[row] for row in rows], model, params, n_tokens), strict=True)
    return [found[index] for index in range(len(prompts))]


@dataclass
class _Running:
    """A beginning that may be continued."""

    tokens: list[int]
    logprobs: list[float]
    total: float


@dataclass
class _Prompt:
    """The search for one prompt."""

    params: BeamParams
    room: int
    """Most tokens that can be added."""
    spent: int
    running: list[_Running] = field(default_factory=lambda: [_Running([], [], 0.0)])
    finished: list[Hypothesis] = field(default_factory=list[Hypothesis])
    done: bool = False

    def step(self, totals: Sequence[float], picked: Sequence[tuple[int, int, float]]) -> list[int]:
        """Takes the likeliest candidates `(beam, token, nats)` with their totals; returns the beams they continue."""
        kept: list[_Running] = []
        parents: list[int] = []
        length = len(self.running[0].tokens) + 1
        for rank, (total, (beam, token, logprob)) in enumerate(zip(totals, picked, strict=True)):
            if total == -math.inf:
                break
            before = self.running[beam]
            longer = _Running([*before.tokens, token], [*before.logprobs, logprob], total)
            ends = token in self.params.stop_tokens
            if ends or length == self.room:
                if rank < self.params.n_beams:
                    self._finish(longer, "stop" if ends else "length")
            elif len(kept) < self.params.n_beams:
                kept.append(longer)
                parents.append(beam)
        self.running = kept
        self.done = not kept or self._cannot_improve(kept[0].total, length)
        return parents

    def _finish(self, ended: _Running, reason: FinishReason) -> None:
        score = ended.total / len(ended.tokens) ** self.params.length_penalty
        self.finished.append(
            Hypothesis(tokens=tuple(ended.tokens), logprobs=tuple(ended.logprobs), finish_reason=reason, score=score)
        )
        self.finished.sort(key=lambda one: -one.score)
        del self.finished[self.params.n_beams :]

    def _cannot_improve(self, best: float, length: int) -> bool:
        if len(self.finished) < self.params.n_beams:
            return False
        return best / length**self.params.length_penalty <= self.finished[-1].score


@torch.inference_mode()
def _search(
    prompts: Sequence[Sequence[int]], model: Transformer, params: BeamParams, n_tokens: int | None
) -> list[BeamResult]:
    longest = max(map(len, prompts))
    context = model.config.context_length
    searches = [_Prompt(params, min(params.max_tokens, context - len(p)), len(p)) for p in prompts]
    padding = torch.tensor([longest - len(prompt) for prompt in prompts], device=model.device)
    cache = KVCache(
        model.config,
        batch=len(prompts),
        capacity=longest + max(search.room for search in searches),
        padding=padding if int(padding.max()) else None,
        device=model.device,
        dtype=model.head_weight.dtype,
    )
    ids = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts], device=model.device)
    active = searches
    while active:
        logits = F.linear(model.hidden(ids, cache)[:, -1], model.head_weight)
        logprobs = logits.float().log_softmax(dim=-1)[:, :n_tokens]
        rows: list[int] = []
        first = 0
        for search in active:
            n = len(search.running)
            parents = _advance(search, logprobs[first : first + n])
            if not search.done:
                rows += [first + beam for beam in parents]
                search.spent += len(parents)
            first += n
        active = [search for search in active if not search.done]
        if active:
            cache.keep_rows(torch.tensor(rows, device=model.device))
            last = [[beam.tokens[-1]] for search in active for beam in search.running]
            ids = torch.tensor(last, device=model.device)
    return [BeamResult(hypotheses=tuple(search.finished), tokens_spent=search.spent) for search in searches]


def _advance(search: _Prompt, logprobs: torch.Tensor) -> list[int]:
    """Finds the likeliest continuations of a prompt's beams, `(beams, vocab_size)`, and takes them."""
    vocab = logprobs.shape[-1]
    before = torch.tensor([beam.total for beam in search.running], device=logprobs.device)
    totals = (logprobs + before[:, None]).flatten()
    # Each beam may end in each of the stop tokens; so many more leave enough that go on.
    wanted = search.params.n_beams * max(2, 1 + len(search.params.stop_tokens))
    best, at = totals.topk(min(wanted, len(totals)))
    nats = logprobs.flatten()[at].tolist()
    picked = [(index // vocab, index % vocab, nat) for index, nat in zip(at.tolist(), nats, strict=True)]
    return search.step(best.tolist(), picked)
