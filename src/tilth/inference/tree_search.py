"""Best-first search over partial outputs with a checker: the likeliest accepted texts for a budget of tokens.

The frontier of each prompt is ordered by log-probability, so texts are met from the likeliest to the least likely
(a uniform-cost search): no text is met twice, which sampling cannot promise, and beginnings that the checker rules out
cost nothing further. Siblings enter the frontier one by one, so that a vocabulary of thousands does not fill it. Every
expansion is one token through the model, on the keys and values of its own beginning; many prompts are expanded side
by side. A trade-off: that cache is copied at each expansion, which suits short answers.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tilth.errors import ConfigError, DataError
from tilth.inference.generate import check_prompt
from tilth.model.cache import KVCache
from tilth.model.transformer import Transformer


class Checker(Protocol):
    """Judges what a search writes for one prompt. Texts are decoded answers, without the prompt."""

    def possible(self, prefix: str, /) -> bool:
        """Whether an accepted text may begin so; False drops it with all that would follow. True is always safe."""
        ...

    def solved(self, text: str, /) -> bool:
        """Whether the whole text is accepted."""
        ...


@dataclass(frozen=True, kw_only=True)
class TreeParams:
    """How far a search goes."""

    budget: int
    """Most tokens through the model for each prompt, those of the prompt included."""
    max_tokens: int
    """Longest answer, its end included."""
    stop_token: int
    """The id that ends an answer."""
    max_solutions: int | None = None
    """Solutions after which a prompt's search ends; None: as many as the budget gives."""
    width: int | None = None
    """Likeliest next tokens that are looked at, at each beginning; None: all, so that nothing is ruled out."""

    def __post_init__(self) -> None:
        for name in ("budget", "max_tokens", "max_solutions", "width"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}.", fix="Give 1 or more.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Solution:
    """A text that the checker accepted."""

    tokens: tuple[int, ...]
    """The stop token is the last."""
    logprobs: tuple[float, ...]
    """Nats of each token under the model."""
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeResult:
    """What the search found for one prompt."""

    solutions: tuple[Solution, ...]
    """From the likeliest on."""
    tokens_spent: int
    """Tokens that went through the model; at most the budget."""
    rejected: int
    """Whole texts that the checker did not accept."""
    exhausted: bool
    """Nothing is left to look at: there are no other solutions of at most `max_tokens` (within `width`)."""


def search_tree(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    checkers: Sequence[Checker],
    decode: Callable[[Sequence[int]], str],
    params: TreeParams,
    *,
    batch_size: int = 256,
    n_tokens: int | None = None,
) -> list[TreeResult]:
    """Searches for each prompt with its checker; results are in the order of the prompts.

    With `n_tokens` only the first so many ids are written: a model may have more than its tokenizer.
    Raises: DataError for a prompt that cannot be continued, or where there are not as many checkers.
    """
    if len(prompts) != len(checkers):
        raise DataError(
            f"There are {len(prompts)} prompts and {len(checkers)} checkers.", fix="Give a checker for each prompt."
        )
    for index, prompt in enumerate(prompts):
        check_prompt(model, index, prompt)
    found: list[TreeResult] = []
    for start in range(0, len(prompts), batch_size):
        part = slice(start, start + batch_size)
        found += _search(model, prompts[part], checkers[part], decode, params, n_tokens)
    return found


@dataclass(slots=True)
class _Node:
    """A beginning that went through the model: its next tokens by falling probability, and its cache."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    ids: list[int]
    nats: list[float]
    keys: Tensor
    """`(n_layers, n_kv_heads, seq, head_dim)`, with the prompt's."""
    values: Tensor


_Entry = tuple[float, int, _Node, int]
"""Minus the log-probability, a number that breaks ties, the parent, and the rank of the next token there."""


@dataclass
class _Tree:
    """The search for one prompt."""

    checker: Checker
    decode: Callable[[Sequence[int]], str]
    params: TreeParams
    room: int
    """Longest answer that the context leaves room for."""
    spent: int = 0
    rejected: int = 0
    frontier: list[_Entry] = field(default_factory=list[_Entry])
    solutions: list[Solution] = field(default_factory=list[Solution])
    pushed: int = 0

    def push(self, node: _Node, rank: int) -> None:
        """Puts the token of that rank behind a beginning onto the frontier, if there is one."""
        if rank < len(node.ids):
            cost = -(sum(node.logprobs) + node.nats[rank])
            heapq.heappush(self.frontier, (cost, self.pushed, node, rank))
            self.pushed += 1

    def next(self) -> tuple[_Node, int] | None:
        """Returns the likeliest beginning to expand, taking in whole texts on the way; None: the search is over."""
        while self.frontier and not self._enough():
            _, _, node, rank = heapq.heappop(self.frontier)
            self.push(node, rank + 1)
            token = node.ids[rank]
            if token == self.params.stop_token:
                self._judge(node, rank)
                continue
            prefix = (*node.tokens, token)
            # The last token must be the stop token: a beginning that has no room for it leads nowhere.
            if len(prefix) >= self.room or not self.checker.possible(self.decode(prefix)):
                continue
            if self.spent + 1 > self.params.budget:
                # It would have been expanded, so the search is not exhausted.
                heapq.heappush(self.frontier, (0.0, -1, node, rank))
                return None
            self.spent += 1
            return node, rank
        return None

    def _enough(self) -> bool:
        return self.params.max_solutions is not None and len(self.solutions) >= self.params.max_solutions

    def _judge(self, node: _Node, rank: int) -> None:
        text = self.decode(node.tokens)
        if self.checker.solved(text):
            self.solutions.append(
                Solution(tokens=(*node.tokens, node.ids[rank]), logprobs=(*node.logprobs, node.nats[rank]), text=text)
            )
        else:
            self.rejected += 1

    def result(self) -> TreeResult:
        return TreeResult(
            solutions=tuple(self.solutions),
            tokens_spent=self.spent,
            rejected=self.rejected,
            exhausted=self.spent > 0 and not self.frontier,
        )


@torch.inference_mode()
def _search(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    checkers: Sequence[Checker],
    decode: Callable[[Sequence[int]], str],
    params: TreeParams,
    n_tokens: int | None,
) -> list[TreeResult]:
    context = model.config.context_length
    trees = [
        _Tree(checker, decode, params, min(params.max_tokens, context - len(prompt)))
        for prompt, checker in zip(prompts, checkers, strict=True)
    ]
    rooted = [(tree, prompt) for tree, prompt in zip(trees, prompts, strict=True) if len(prompt) <= params.budget]
    if rooted:
        for (tree, prompt), root in zip(rooted, _roots(model, [p for _, p in rooted], params, n_tokens), strict=True):
            tree.spent = len(prompt)
            tree.push(root, 0)
    active = [tree for tree, _ in rooted]
    while True:
        expanded = [(tree, found) for tree in active if (found := tree.next()) is not None]
        if not expanded:
            return [tree.result() for tree in trees]
        nodes = _expand(model, [found for _, found in expanded], params, n_tokens)
        for (tree, _), node in zip(expanded, nodes, strict=True):
            tree.push(node, 0)
        active = [tree for tree, _ in expanded]


def _roots(
    model: Transformer, prompts: Sequence[Sequence[int]], params: TreeParams, n_tokens: int | None
) -> list[_Node]:
    longest = max(map(len, prompts))
    cache = _cache(model, [longest - len(prompt) for prompt in prompts], longest)
    ids = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts], device=model.device)
    return _nodes(model, ids, cache, [longest - len(p) for p in prompts], [((), ())] * len(prompts), params, n_tokens)


def _expand(
    model: Transformer, found: Sequence[tuple[_Node, int]], params: TreeParams, n_tokens: int | None
) -> list[_Node]:
    """Puts one more token of each beginning through the model."""
    lengths = [node.keys.shape[2] for node, _ in found]
    longest = max(lengths)
    padding = [longest - length for length in lengths]
    cache = _cache(model, padding, longest + 1)
    if not any(padding):
        cache.keys[:, :, :, :longest] = torch.stack([node.keys for node, _ in found], dim=1)
        cache.values[:, :, :, :longest] = torch.stack([node.values for node, _ in found], dim=1)
    else:
        for row, (node, _) in enumerate(found):
            cache.keys[:, row, :, padding[row] : longest] = node.keys
            cache.values[:, row, :, padding[row] : longest] = node.values
    cache.length = longest
    ids = torch.tensor([[node.ids[rank]] for node, rank in found], device=model.device)
    begun = [((*node.tokens, node.ids[rank]), (*node.logprobs, node.nats[rank])) for node, rank in found]
    return _nodes(model, ids, cache, padding, begun, params, n_tokens)


def _cache(model: Transformer, padding: Sequence[int], capacity: int) -> KVCache:
    return KVCache(
        model.config,
        batch=len(padding),
        capacity=capacity,
        padding=torch.tensor(padding, device=model.device) if any(padding) else None,
        device=model.device,
        dtype=model.head_weight.dtype,
    )


def _nodes(
    model: Transformer,
    ids: Tensor,
    cache: KVCache,
    padding: Sequence[int],
    begun: Sequence[tuple[tuple[int, ...], tuple[float, ...]]],
    params: TreeParams,
    n_tokens: int | None,
) -> list[_Node]:
    logits = F.linear(model.hidden(ids, cache)[:, -1], model.head_weight)
    ordered, order = logits.float().log_softmax(dim=-1)[:, :n_tokens].sort(dim=-1, descending=True, stable=True)
    nats, tokens = ordered[:, : params.width].tolist(), order[:, : params.width].tolist()
    end = cache.length
    return [
        _Node(
            tokens=answer,
            logprobs=logprobs,
            ids=tokens[row],
            nats=nats[row],
            keys=cache.keys[:, row, :, padding[row] : end],
            values=cache.values[:, row, :, padding[row] : end],
        )
        for row, (answer, logprobs) in enumerate(begun)
    ]
