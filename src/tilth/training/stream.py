"""Text to training rows on the fly: documents are shuffled, tokenized and packed as the model asks for them.

A document of n tokens is n + 1 predictions: from the separator to the first token, and from the last token to
the separator. Rows are filled with such predictions, so wherever a document is cut nothing is lost, nothing
is seen twice, and no target belongs to another document than its input. A row begins with the piece that has
waited longest; what room it leaves goes to the largest waiting pieces that fit (best fit), and only then is a
piece cut again. Each piece is a segment of its row, which attention does not leave. Documents of the next epoch
come in as those of this one are used up: without them, the end of an epoch would hold only the longest documents.
No tokens are ever stored: the state names the waiting documents, and resuming tokenizes them
again. A trade-off: a shard's text (64 MB as tilth writes them) is held in memory, for a full shuffle
within the shard; documents of different shards meet only in the buffer. Tokenizing happens in blocks in the
caller's thread.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from tilth.errors import ConfigError, DataError
from tilth.storage import Dataset
from tilth.training.batch import Batch

if TYPE_CHECKING:
    from tilth.tokenizer import Tokenizer

BLOCK_DOCUMENTS = 32
"""Documents that are tokenized at a time."""
REPEATED_TOKENS = 1 << 20
"""Waiting tokens above which no third epoch is begun: a corpus of a few long documents is not held many times."""


@dataclass(slots=True)
class _Piece:
    """The unused rest of a document: predictions from `start` on."""

    epoch: int
    shard: int
    row: int
    ids: NDArray[np.int32]
    """separator, tokens, separator"""
    start: int

    def __len__(self) -> int:
        return len(self.ids) - 1 - self.start


class _Buffer:
    """Waiting pieces, in the order in which they came and by length, so that none has to be searched for."""

    def __init__(self, pieces: Iterable[_Piece] = ()) -> None:
        self._pieces: dict[int, _Piece] = {}
        self._by_length: list[tuple[int, int]] = []  # with the negative number of arrival: of equals, the first is last
        self._arrived = 0
        self._epochs: Counter[int] = Counter()
        self.n_tokens = 0
        for piece in pieces:
            self.add(piece)

    def __len__(self) -> int:
        return len(self._pieces)

    def __iter__(self) -> Iterator[_Piece]:
        return iter(self._pieces.values())

    def add(self, piece: _Piece) -> None:
        self._arrived += 1
        self._pieces[self._arrived] = piece
        insort(self._by_length, (len(piece), -self._arrived))
        self._epochs[piece.epoch] += 1
        self.n_tokens += len(piece)

    def take_first(self) -> _Piece:
        """Takes the piece that has waited longest."""
        arrival = next(iter(self._pieces))
        piece = self._pieces[arrival]
        return self._take(bisect_left(self._by_length, (len(piece), -arrival)))

    def take_fitting(self, room: int) -> _Piece:
        """Takes the largest piece that fits; failing that, the one that has waited longest."""
        index = bisect_right(self._by_length, (room, 0)) - 1
        if index < 0:
            return self.take_first()
        return self._take(index)

    def n_epochs(self, newest: int) -> int:
        """Returns how many epochs there are from the oldest one that has a piece here to `newest`."""
        return 1 + newest - min(self._epochs, default=newest)

    def _take(self, index: int) -> _Piece:
        length, arrival = self._by_length.pop(index)
        piece = self._pieces.pop(-arrival)
        self.n_tokens -= length
        self._epochs[piece.epoch] -= 1
        if not self._epochs[piece.epoch]:
            del self._epochs[piece.epoch]
        return piece


class TokenStream:
    """An endless stream of batches; the order of documents depends on seed and dataset, not on the tokenizer.

    Every token of every document is a target exactly once an epoch, and so is one separator for each
    document. Epochs overlap by the documents that wait in the buffer.
    """

    def __init__(
        self,
        dataset: Dataset,
        tokenizer: Tokenizer,
        *,
        context_length: int,
        batch_size: int,
        seed: int = 0,
        buffer_documents: int = 256,
    ) -> None:
        """`batch_size` is in rows; `buffer_documents` wait at least, in a corpus of fewer some of them twice.

        Raises: DataError for a dataset without documents; ConfigError for a tokenizer without a separator.
        """
        if dataset.n_documents == 0:
            raise DataError(f"{dataset.folder} holds no documents.", fix="Curate more text, or with fewer filters.")
        if tokenizer.end_of_text is None:
            raise ConfigError(
                "The tokenizer has no `<|endoftext|>` token to put between documents.",
                fix="Train it with `<|endoftext|>` among its special tokens.",
            )
        self.dataset, self.tokenizer, self.separator = dataset, tokenizer, tokenizer.end_of_text
        self.context_length, self.batch_size, self.seed = context_length, batch_size, seed
        self.buffer_documents = buffer_documents
        self.epoch = self.shards_read = self.rows_read = 0
        """How far documents have been read, which is the buffer ahead of what the batches hold."""
        self.buffer = _Buffer()
        self._texts: tuple[int, pa.Array] | None = None
        self._order: tuple[tuple[int, int], NDArray[np.int64]] = ((-1, -1), np.zeros(0, dtype=np.int64))

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.next_batch()

    def next_batch(self) -> Batch:
        """Returns a batch of `(batch_size, context_length)` in int64, with the segments of its rows."""
        rows = [self._next_row() for _ in range(self.batch_size)]
        inputs = np.stack([np.concatenate([piece[:-1] for piece in row]) for row in rows])
        targets = np.stack([np.concatenate([piece[1:] for piece in row]) for row in rows])
        segments = np.stack([np.repeat(np.arange(len(row)), [len(piece) - 1 for piece in row]) for row in rows])
        return Batch(
            torch.from_numpy(inputs.astype(np.int64)),
            torch.from_numpy(targets.astype(np.int64)),
            # Rows of one document each need no mask.
            segments=torch.from_numpy(segments) if segments.any() else None,
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns the position of the stream, as plain JSON: a few numbers and the names of the waiting
        documents."""
        return {
            "epoch": self.epoch,
            "shards_read": self.shards_read,
            "rows_read": self.rows_read,
            "buffer": [[piece.epoch, piece.shard, piece.row, piece.start] for piece in self.buffer],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues exactly where `state_dict` was called, given the same dataset, tokenizer and settings."""
        self.epoch, self.shards_read, self.rows_read = (
            state["epoch"],
            state["shards_read"],
            state["rows_read"],
        )
        waiting = [(int(epoch), int(shard), int(row), int(start)) for epoch, shard, row, start in state["buffer"]]
        whole: dict[tuple[int, int], _Piece] = {}
        for shard in sorted({shard for _, shard, _, _ in waiting}):
            rows = sorted({row for _, s, row, _ in waiting if s == shard})
            whole |= {(shard, piece.row): piece for piece in self._tokenize(shard, rows)}
        # A document of two epochs may wait twice, with different starts.
        self.buffer = _Buffer(
            replace(whole[shard, row], epoch=epoch, start=start) for epoch, shard, row, start in waiting
        )

    # Packing

    def _next_row(self) -> list[NDArray[np.int32]]:
        """Returns pieces of ids whose predictions (one fewer than ids) add up to the context length."""
        room, row = self.context_length, list[NDArray[np.int32]]()
        while room:
            self._fill_buffer()
            piece = self.buffer.take_fitting(room) if row else self.buffer.take_first()
            taken = min(room, len(piece))
            row.append(piece.ids[piece.start : piece.start + taken + 1])
            room -= taken
            if taken < len(piece):
                piece.start += taken
                self.buffer.add(piece)
        return row

    def _fill_buffer(self) -> None:
        while len(self.buffer) < self.buffer_documents and (
            self.buffer.n_epochs(self.epoch) <= 2 or self.buffer.n_tokens < REPEATED_TOKENS
        ):
            shard = int(self._permutation(len(self.dataset.shards), 0)[self.shards_read])
            n_rows = self.dataset.shards[shard].documents
            order = self._rows_of(shard, n_rows)[self.rows_read : self.rows_read + BLOCK_DOCUMENTS]
            for piece in self._tokenize(shard, order.tolist()):
                self.buffer.add(piece)
            self.rows_read += len(order)
            if self.rows_read == n_rows:
                self.shards_read, self.rows_read = self.shards_read + 1, 0
            if self.shards_read == len(self.dataset.shards):
                self.epoch, self.shards_read = self.epoch + 1, 0

    # Order and text

    def _permutation(self, n: int, key: int) -> NDArray[np.int64]:
        """Returns this epoch's order of `n` items: key 0 for the shards, s + 1 for the documents of shard
        s."""
        return np.random.default_rng([self.seed, self.epoch, key]).permutation(n)

    def _rows_of(self, shard: int, n_rows: int) -> NDArray[np.int64]:
        """Returns this epoch's order of a shard's documents, made once."""
        if self._order[0] != (self.epoch, shard):
            self._order = ((self.epoch, shard), self._permutation(n_rows, shard + 1))
        return self._order[1]

    def _tokenize(self, shard: int, rows: list[int]) -> list[_Piece]:
        if self._texts is None or self._texts[0] != shard:
            batches = list(self.dataset.batches(shard, ["text"]))
            # One array, from which rows are taken without a search; as bytes, which need no decoding to be encoded.
            texts = pa.Table.from_batches(batches).column("text").cast(pa.large_binary()).combine_chunks()
            self._texts = (shard, texts)
        texts = self._texts[1].take(pa.array(rows))
        ids, offsets = self.tokenizer.encode_batch_to_numpy(texts, 1, disallowed_special=())
        pieces: list[_Piece] = []
        for row, (begin, end) in zip(rows, pairwise(offsets.tolist()), strict=True):
            whole = np.full(end - begin + 2, self.separator, dtype=np.int32)
            whole[1:-1] = ids[begin:end]
            pieces.append(_Piece(self.epoch, shard, row, whole, 0))
        return pieces
