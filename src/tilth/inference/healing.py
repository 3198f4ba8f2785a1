"""Token healing: a text prompt is continued across the end of its last token.

The tokens of a prompt are those of a text that ends there. "The " ends in a token of one space, which training text has
only where no word follows, and a line that ends in four spaces of indentation has them as one token, where a text that
continues has three and a word with a space in front. So the model would be asked about sequences that it never saw.

Instead, the completion may begin inside the prompt: with any token that begins with the prompt's last bytes and is
longer, behind the encoding of the text before them; or behind all tokens of the prompt, as without healing. Each of
these beginnings has the probability that the model gives to its tokens, and one is drawn. What is drawn always
decodes to the prompt and more.

Sources: Phan et al. 2024 ("Exact Byte-Level Probabilities from Tokenized Language Models": cover encodings); Vieira
et al. 2024. Where one token is removed it is the token healing of `guidance`. An approximation: encodings of the text
before are the tokenizer's own, without a check that the longer text would be cut the same way.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from tilth.inference.config import SamplingParams
from tilth.inference.sampling import draw, stream_key
from tilth.tokenizer.library import LibraryVocabulary
from tilth.tokenizer.segmented import SegmentedVocabulary
from tilth.tokenizer.sentencepiece import SentencePieceVocabulary

if TYPE_CHECKING:
    from tilth.model.transformer import Transformer
    from tilth.tokenizer import Tokenizer
    from tilth.tokenizer.vocabulary import Vocabulary

MOST_BYTES = 32
"""Bytes at the end of a prompt in which a token may begin that continues it."""
_DRAW_COUNTER = 1 << 192
"""Where the number that decides a prompt's beginning is in its stream: beyond all those that decide its tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cover:
    """One way in which the text of a prompt can begin a longer one."""

    kept: tuple[int, ...]
    """Tokens before the one that continues the prompt."""
    rest: bytes
    """The prompt's bytes behind them, with which that token begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Where a completion starts."""

    kept: tuple[int, ...]
    """Tokens that the model reads."""
    first: tuple[int, float] | None = None
    """The completion's first token, which begins inside the prompt, with its log-probability; None: none does."""


class Healer:
    """Finds the tokens that continue a text across its end."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        vocabulary = tokenizer.vocabulary
        # What the `tokenizers` library's vocabularies decode to is not the join of their tokens.
        self.works = not isinstance(vocabulary, LibraryVocabulary)
        self._apart = _apart_from_text(vocabulary)
        ordinary = sorted(
            (token, i) for i, token in enumerate(vocabulary.tokens) if self.works and token and i not in self._apart
        )
        self._tokens = [token for token, _ in ordinary]
        self._ids = np.array([i for _, i in ordinary], dtype=np.int64)
        self._longest = max(map(len, self._tokens), default=0)

    def extending(self, prefix: bytes) -> NDArray[np.int64]:
        """The ids of tokens that begin with `prefix` and are longer; none of them is a special token."""
        start = bisect_right(self._tokens, prefix)
        end = bisect_right(self._tokens, prefix, start, key=lambda token: token[: len(prefix)])
        return self._ids[start:end]

    def covers(self, ids: Sequence[int]) -> list[Cover]:
        """Other beginnings of the text whose tokens are `ids`, those that remove most first; none where nothing fits.

        Special and added tokens are never removed, nor is anything before them.
        """
        if not self.works:
            return []
        pieces = [self.tokenizer.token_bytes(i) for i in ids]
        text, ends = b"".join(pieces), np.cumsum([0, *map(len, pieces)]).tolist()
        fixed = max((k + 1 for k, i in enumerate(ids) if i in self._apart), default=0)
        most = min(MOST_BYTES, self._longest - 1)
        # A space that encoding puts in front is no part of the text.
        added = len(text) - len(self.tokenizer.decode_bytes(ids)) if fixed == 0 else 0
        found: list[Cover] = []
        for start in range(max(ends[fixed], len(text) - most, 0), len(text)):
            if len(self.extending(text[start:])) == 0:
                continue
            boundary = bisect_left(ends, start)
            if ends[boundary] == start:
                kept = list(ids[:boundary])
            else:
                before = text[ends[fixed] + added : start]
                kept = [*ids[:fixed], *self.tokenizer.encode_ordinary(before)]
                if b"".join(map(self.tokenizer.token_bytes, kept)) != text[:start]:
                    continue
            found.append(Cover(kept=tuple(kept), rest=text[start:]))
        return found


def _apart_from_text(vocabulary: Vocabulary) -> frozenset[int]:
    """Ids that stand for more or less than their bytes: special and added tokens, and "unknown"."""
    apart = set(vocabulary.special_tokens.values())
    if isinstance(vocabulary, SegmentedVocabulary):
        apart |= {token.token_id for token in vocabulary.added}
    if isinstance(vocabulary, SentencePieceVocabulary) and vocabulary.unknown_id is not None:
        apart.add(vocabulary.unknown_id)
    return frozenset(apart)


@torch.inference_mode()
def heal(
    model: Transformer,
    healer: Healer,
    prompts: Mapping[int, tuple[Sequence[int], Sequence[int]]],
    params: SamplingParams,
    *,
    batch_size: int = 64,
    seeds: Sequence[int] | None = None,
) -> dict[int, Start]:
    """Draws where the completion of each prompt starts; keys are the prompts' indices, which seed the draws unless
    `seeds` holds a seed for each.

    A prompt is the tokens in front of its text (the document separator, or none) and those of its text, together at
    least one. One forward over each prompt and its covers, `batch_size` rows at a time, without a cache.
    """
    plans = {index: _Plan(model, healer, front, ids) for index, (front, ids) in prompts.items()}
    rows = sorted(
        ((row, plan.shared - 1) for plan in plans.values() if plan.covers for row in plan.rows),
        key=lambda row: len(row[0]),
    )
    states: dict[tuple[int, ...], Tensor] = {}
    for start in range(0, len(rows), batch_size):
        states |= _states(model, rows[start : start + batch_size])
    n_tokens = healer.tokenizer.vocab_size
    starts: dict[int, Start] = {}
    for index, plan in plans.items():
        seed, stream = stream_key(params.seed, index, seeds)
        starts[index] = plan.draw(states, replace(params, seed=seed), stream, n_tokens)
    return starts


def _states(model: Transformer, rows: Sequence[tuple[tuple[int, ...], int]]) -> dict[tuple[int, ...], Tensor]:
    """The last states of each row from the position that it is given with."""
    longest = max(len(row) for row, _ in rows)
    padded = torch.tensor([[*row, *[0] * (longest - len(row))] for row, _ in rows], device=model.device)
    hidden = model.hidden(padded)
    return {row: hidden[k, start : len(row)].clone() for k, (row, start) in enumerate(rows)}


class _Plan:
    """One prompt: its covers, and the sequences that the model must read to weigh them."""

    def __init__(self, model: Transformer, healer: Healer, front: Sequence[int], ids: Sequence[int]) -> None:
        self.model, self.healer = model, healer
        self.whole = (*front, *ids)
        context = model.config.context_length
        covers = [replace(cover, kept=(*front, *cover.kept)) for cover in healer.covers(ids)]
        # The first token of all has no probability: without a separator, it is the same in all covers.
        self.covers = [c for c in covers if c.kept and c.kept[0] == self.whole[0] and len(c.kept) < context]
        sequences = [self.whole, *(cover.kept for cover in self.covers)]
        self.shared = _shared_length(sequences)
        self.rows = [
            row for row in dict.fromkeys(sequences) if not any(_begins(other, row) for other in sequences)
        ]  # the others' states are among theirs

    def draw(
        self, states: Mapping[tuple[int, ...], Tensor], params: SamplingParams, index: int, n_tokens: int
    ) -> Start:
        """Draws a start, with the states of `rows`."""
        if not self.covers:
            return Start(kept=self.whole)
        tables = {row: self._logprobs(states[row], params.temperature, n_tokens) for row in self.rows}
        choices = [torch.from_numpy(self.healer.extending(cover.rest)) for cover in self.covers]
        weights = [
            self._path(tables, cover.kept) + self._next(tables, cover.kept)[choice]
            for cover, choice in zip(self.covers, choices, strict=True)
        ]
        weights.append(self._path(tables, self.whole)[None])
        settled = params if params.temperature == 0 else replace(params, temperature=1.0)
        drawn, _ = draw(torch.cat(weights)[None], settled, _uniform(params.seed, index))
        at = int(drawn)
        for cover, choice in zip(self.covers, choices, strict=True):
            if at < len(choice):
                return self._start(states, cover, int(choice[at]))
            at -= len(choice)
        return Start(kept=self.whole)

    def _start(self, states: Mapping[tuple[int, ...], Tensor], cover: Cover, token: int) -> Start:
        row = self._row_of(cover.kept)
        logits = F.linear(states[row][len(cover.kept) - self.shared], self.model.head_weight)
        return Start(kept=cover.kept, first=(token, float(logits.float().log_softmax(dim=-1)[token])))

    def _logprobs(self, states: Tensor, temperature: float, n_tokens: int) -> Tensor:
        """Log-probabilities behind each state, `(states, n_tokens)`, at the temperature (greedy: at 1)."""
        logits = F.linear(states, self.model.head_weight)[:, :n_tokens].float().cpu()
        return (logits / (temperature or 1.0)).log_softmax(dim=-1)

    def _row_of(self, sequence: tuple[int, ...]) -> tuple[int, ...]:
        return next(row for row in self.rows if row[: len(sequence)] == sequence)

    def _path(self, tables: Mapping[tuple[int, ...], Tensor], sequence: tuple[int, ...]) -> Tensor:
        """The log-probability of a sequence behind what all share, a scalar."""
        table, tail = tables[self._row_of(sequence)], sequence[self.shared :]
        return table[torch.arange(len(tail)), torch.tensor(tail, dtype=torch.long)].sum()

    def _next(self, tables: Mapping[tuple[int, ...], Tensor], sequence: tuple[int, ...]) -> Tensor:
        return tables[self._row_of(sequence)][len(sequence) - self.shared]


def _begins(longer: tuple[int, ...], row: tuple[int, ...]) -> bool:
    return len(longer) > len(row) and longer[: len(row)] == row


def _shared_length(sequences: Sequence[tuple[int, ...]]) -> int:
    """How many first tokens all sequences have in common."""
    first, last = min(sequences), max(sequences)
    same = (k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return next(same, min(len(first), len(last)))


def _uniform(seed: int, index: int) -> Tensor:
    stream = np.random.Philox(key=[seed, index], counter=_DRAW_COUNTER)
    return torch.from_numpy(np.random.Generator(stream).random(1))
