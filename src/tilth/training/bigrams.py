"""First embeddings from counts: a model that knows which token follows which before its first step.

Blocks begin as the identity, so the logits of a new model are its output matrix times the normalized embedding of the
last token: a table of scores of rank `d_model` for what follows each token. Random weights take hundreds of steps to
learn such a table; here it is the best approximation of that rank to the counted one, by one singular value
decomposition, which takes less than a second. Nothing else about model or training changes.

The table is log p(next | token), smoothed towards p(next) as if that had been seen `SMOOTHING` times after each token:
log p(next) + log(1 + count / (SMOOTHING p(next))) and a constant for each token, which softmax does not see. So only
the pairs that were counted are stored. Errors weigh by p(token) p(next).
Sources: Levy & Goldberg 2014 (embeddings as a factored table of pairs); Halko et al. 2011 (randomized decomposition).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from tilth.errors import ConfigError
from tilth.model.transformer import Transformer

if TYPE_CHECKING:
    from tilth.storage import Dataset
    from tilth.tokenizer import Tokenizer

SMOOTHING = 10.0
"""Counts that p(next) has beside those of a token."""
COUNTED_TOKENS = 1 << 24
"""Most tokens whose pairs are counted."""
_OVERSAMPLED = 16
_POWER_STEPS = 2


@torch.no_grad()
def start_from_bigrams(model: Transformer, dataset: Dataset, tokenizer: Tokenizer, *, seed: int) -> None:
    """Sets the embeddings and the output matrix of a new model to what pairs of tokens in a dataset say.

    Raises: ConfigError if the embeddings are tied to the output matrix: one matrix cannot be both.
    """
    if model.head is None:
        raise ConfigError(
            "The embeddings cannot start from bigrams while they are tied to the output matrix.",
            fix="Set tie_embeddings to false.",
        )
    generator = torch.Generator().manual_seed(seed)
    pairs, counts = count_pairs(token_arrays(dataset, tokenizer), model.config.vocab_size)
    embedding, head = factored(pairs, counts, model.config.vocab_size, model.config.d_model, generator)
    model.embedding.weight.copy_(embedding)
    model.head.weight.copy_(head)


def token_arrays(dataset: Dataset, tokenizer: Tokenizer) -> Iterator[NDArray[np.int32]]:
    """Yields documents as ids between separators, joined by blocks, up to `COUNTED_TOKENS` in all."""
    edge = np.array([] if tokenizer.end_of_text is None else [tokenizer.end_of_text], dtype=np.int32)
    n = 0
    for shard in range(len(dataset.shards)):
        for batch in dataset.batches(shard, ["text"]):
            texts = batch.column("text").cast(pa.large_binary())
            ids, offsets = tokenizer.encode_batch_to_numpy(texts, 1, disallowed_special=())
            pieces = [piece for document in np.split(ids, offsets[1:-1]) for piece in (edge, document)]
            yield np.concatenate([*pieces, edge]).astype(np.int32)
            n += len(ids)
            if n >= COUNTED_TOKENS:
                return


def count_pairs(arrays: Iterator[NDArray[np.int32]], vocab_size: int) -> tuple[Tensor, Tensor]:
    """Returns the pairs of neighbours that occur, `(2, pairs)`, and how often, `(pairs,)` in float32."""
    keys = [array[:-1].astype(np.int64) * vocab_size + array[1:] for array in arrays]
    found, counts = np.unique(np.concatenate(keys), return_counts=True)
    pairs = np.stack((found // vocab_size, found % vocab_size))
    return torch.from_numpy(pairs), torch.from_numpy(counts.astype(np.float32))


def factored(
    pairs: Tensor, counts: Tensor, vocab_size: int, width: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Returns embeddings, with a mean square of 1 in each row, and an output matrix, both `(vocab_size, width)`.

    Their product approximates the table at the top of this file, less a constant for each token.
    """
    first, second = pairs
    p_token = torch.full((vocab_size,), 0.5).index_add_(0, first, counts)
    p_next = torch.full((vocab_size,), 0.5).index_add_(0, second, counts)
    p_token, p_next = p_token / p_token.sum(), p_next / p_next.sum()
    table = torch.sparse_coo_tensor(
        pairs,
        torch.log1p(counts / (SMOOTHING * p_next[second])) * (p_token[first] * p_next[second]).sqrt(),
        (vocab_size, vocab_size),
        is_coalesced=True,
        check_invariants=False,
    )
    rows, columns = p_token.sqrt()[:, None], p_next.sqrt()[:, None]
    # The mean of each column joins log p(next); the mean of each row is a constant for each token.
    mean = table.T @ rows / columns
    row_mean = (table @ columns) / rows - float((mean * columns**2).sum())

    def times(x: Tensor) -> Tensor:
        return table @ x - rows @ ((mean * columns).T @ x) - (row_mean * rows) @ (columns.T @ x)

    def transposed_times(x: Tensor) -> Tensor:
        return table.T @ x - (mean * columns) @ (rows.T @ x) - columns @ ((row_mean * rows).T @ x)

    rank = min(width - 1, vocab_size)
    basis = times(torch.randn(vocab_size, min(rank + _OVERSAMPLED, vocab_size), generator=generator))
    for _ in range(_POWER_STEPS):
        basis = times(transposed_times(torch.linalg.qr(basis).Q))
    basis = torch.linalg.qr(basis).Q
    left, sizes, right = torch.linalg.svd(transposed_times(basis).T, full_matrices=False)
    left, sizes, right = (basis @ left)[:, :rank], sizes[:rank].sqrt(), right[:rank].T
    tokens, nexts = left * sizes / rows, right * sizes / columns
    return _joined(tokens, nexts, p_next.log()[:, None] + mean, p_token[:, None], width, generator)


def _joined(
    tokens: Tensor, nexts: Tensor, everywhere: Tensor, p_token: Tensor, width: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Gives embeddings one more direction, equal in all of them, for the scores that hold after every token; brings
    their rows to one size, as the norm after them will; and turns both matrices at random, so that no single dimension
    is special."""
    constant = float((p_token * tokens**2).sum() ** 0.5)
    tokens = torch.cat((torch.full_like(p_token, constant), tokens), dim=1)
    scale = width**0.5 / tokens.norm(dim=1, keepdim=True)
    typical = float((p_token * scale).sum())
    nexts = torch.cat(((everywhere - everywhere.mean()) / constant, nexts), dim=1) / typical
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q[: tokens.shape[1]]
    return tokens * scale @ turn, nexts @ turn
