"""Text to training rows on the fly: shards are read, tokenized, cut into rows and shuffled as the model asks for them.

A document of n tokens is n + 1 predictions: from the separator to the first token, and from the last token to
the separator. A block of shards, about `BLOCK_BYTES` of text, is tokenized at once; its documents in random order, with
separators between them, are cut into rows, and the rows are given in random order. So any row is as likely as any other
at any time: the beginnings of documents do not come before their ends, nor short documents before long ones, which
cost a twentieth of the bits per byte when rows were packed by best fit. Wherever a document is cut nothing is lost and
nothing is seen twice; each document is a segment of its row, which attention does not leave.
No tokens are ever stored: the state is a few numbers, and resuming tokenizes a block again. A trade-off: a block's text
and its tokens are held in memory, and documents of different blocks meet in no batch but at their border. Tokenizing
happens in the caller's thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from tilth.errors import ConfigError, DataError
from tilth.model.loss import IGNORE_INDEX
from tilth.storage import Dataset
from tilth.training.batch import Batch

if TYPE_CHECKING:
    from tilth.tokenizer import Tokenizer

BLOCK_BYTES = 64 << 20
"""Text that is tokenized and shuffled at a time, unless a single shard has more."""


@dataclass(frozen=True)
class _Block:
    """The rows of some shards."""

    ids: NDArray[np.int32]
    """Documents with separators before, between and after them."""
    order: NDArray[np.int64]
    """The rows, in the order in which they are given."""
    n_shards: int

    def row(self, index: int, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns inputs and targets `(length,)` of a row.

        The last row begins early enough to be full; targets that other rows hold are IGNORE_INDEX there, and so is what
        is missing where the whole block is shorter than a row.
        """
        start = int(self.order[index]) * length
        begin = max(0, min(start, len(self.ids) - 1 - length))
        row = self.ids[begin : begin + length + 1].astype(np.int64)
        targets = np.full(length, IGNORE_INDEX)
        targets[start - begin : len(row) - 1] = row[start - begin + 1 :]
        inputs = np.full(length, row[0])
        inputs[: len(row) - 1] = row[:-1]
        return inputs, targets


class TokenStream:
    """An endless stream of batches; the order of documents depends on seed and dataset, not on the tokenizer.

    Every token of every document is a target exactly once an epoch, and so is one separator for each document.
    """

    def __init__(
        self,
        dataset: Dataset,
        tokenizer: Tokenizer,
        *,
        context_length: int,
        batch_size: int,
        seed: int = 0,
        short_batches: int = 0,
        short_length: int | None = None,
    ) -> None:
        """`batch_size` is in rows.

        The rows of the first `short_batches` are cut into rows of `short_length`, of which more make up a batch: the
        tokens and their order are the same.
        Raises: DataError for a dataset without documents; ConfigError for a tokenizer without a separator, or a short
        length that does not divide the context.
        """
        if dataset.n_documents == 0:
            raise DataError(f"{dataset.folder} holds no documents.", fix="Curate more text, or with fewer filters.")
        if context_length % (short_length or 1):
            raise ConfigError(
                f"Rows of {context_length} tokens cannot be cut evenly into rows of {short_length}.",
                fix="Give a short length that divides the context.",
            )
        if tokenizer.end_of_text is None:
            raise ConfigError(
                "The tokenizer has no `<|endoftext|>` token to put between documents.",
                fix="Train it with `<|endoftext|>` among its special tokens.",
            )
        self.dataset, self.tokenizer, self.separator = dataset, tokenizer, tokenizer.end_of_text
        self._shards = [index for index, shard in enumerate(dataset.shards) if shard.documents]
        self.context_length, self.batch_size, self.seed = context_length, batch_size, seed
        self.short_batches, self.short_length = short_batches, short_length or context_length
        self.batches_given = 0
        self.epoch = self.shards_read = self.rows_given = 0
        """The block from which rows are given: its epoch, the shards before it, and how many of its rows were given."""
        self._block: _Block | None = None

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.next_batch()

    def next_batch(self) -> Batch:
        """Returns a batch of `(batch_size, context_length)`, or of more and shorter rows, in int64, with segments."""
        length = self.short_length if self.batches_given < self.short_batches else self.context_length
        rows = [self._next_row() for _ in range(self.batch_size)]
        inputs, targets = (np.stack(side).reshape(-1, length) for side in zip(*rows, strict=True))
        self.batches_given += 1
        # A document begins with the separator before it.
        segments = (inputs == self.separator).cumsum(axis=1)
        return Batch(
            torch.from_numpy(inputs),
            torch.from_numpy(targets),
            # Rows of one document each need no mask.
            segments=torch.from_numpy(segments) if (segments != segments[:, :1]).any() else None,
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns the position of the stream, as plain JSON."""
        return {
            "epoch": self.epoch,
            "shards_read": self.shards_read,
            "rows_given": self.rows_given,
            "batches_given": self.batches_given,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues exactly where `state_dict` was called, given the same dataset, tokenizer and settings."""
        self.epoch, self.shards_read = state["epoch"], state["shards_read"]
        self.rows_given, self.batches_given = state["rows_given"], state["batches_given"]
        self._block = None

    def _next_row(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        block = self._block = self._block or self._make_block()
        row = block.row(self.rows_given, self.context_length)
        self.rows_given += 1
        if self.rows_given == len(block.order):
            self.rows_given, self._block = 0, None
            self.shards_read += block.n_shards
            if self.shards_read == len(self._shards):
                self.epoch, self.shards_read = self.epoch + 1, 0
        return row

    def _make_block(self) -> _Block:
        """Reads, tokenizes and shuffles the shards from `shards_read` on."""
        shards = [self._shards[i] for i in self._permutation(len(self._shards), 0)[self.shards_read :].tolist()]
        sizes = np.cumsum([self.dataset.shards[shard].bytes for shard in shards])
        n_shards = max(1, int(np.searchsorted(sizes, BLOCK_BYTES, side="right")))
        key = self.shards_read + 1
        texts = pa.chunked_array([self._texts(shard) for shard in shards[:n_shards]]).combine_chunks()
        texts = texts.take(pa.array(self._permutation(len(texts), key)))
        ids, offsets = self.tokenizer.encode_batch_to_numpy(texts, 1, disallowed_special=())
        whole = np.full(len(ids) + len(texts) + 1, self.separator, dtype=np.int32)
        is_text = np.ones(len(whole), dtype=bool)
        is_text[offsets + np.arange(len(offsets))] = False
        whole[is_text] = ids
        n_rows = -(-(len(whole) - 1) // self.context_length)
        return _Block(whole, self._permutation(n_rows, len(self._shards) + key), n_shards)

    def _texts(self, shard: int) -> pa.Array:
        batches = list(self.dataset.batches(shard, ["text"]))
        # As bytes, which need no decoding to be encoded.
        return pa.Table.from_batches(batches).column("text").cast(pa.large_binary()).combine_chunks()

    def _permutation(self, n: int, key: int) -> NDArray[np.int64]:
        """Returns this epoch's order of `n` items: key 0 for the shards, others for documents and rows of a block."""
        return np.random.default_rng([self.seed, self.epoch, key]).permutation(n)
