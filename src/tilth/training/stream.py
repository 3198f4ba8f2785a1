"""Text to training rows on the fly: documents are shuffled, tokenized and packed as the model asks for them.

A document of n tokens is n + 1 predictions: from the separator to the first token, and from the last token to
the separator. Rows are filled with such predictions, so wherever a document is cut nothing is lost, nothing
is seen twice, and no target belongs to another document than its input. A row begins with a piece that is drawn in
proportion to its rows: long documents are used up with the short ones, and are not what is left at the end of an
epoch. What room it leaves goes to the largest waiting pieces that fit (best fit), and only then is another piece cut.
Each piece is a segment of its row, which attention does not leave. As an epoch is used up, documents of the next one
fill the buffer; they begin rows only when nothing of the older epoch waits, so that nothing is repeated too early.
No tokens are ever stored: the state names the waiting documents, and resuming tokenizes them
again. A trade-off: a shard's text (64 MB as tilth writes them) is held in memory, for a full shuffle
within the shard; documents of different shards meet only in the buffer. Tokenizing happens in blocks in the
caller's thread.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterator
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
BUFFER_TOKENS = 1 << 24
"""Waiting tokens above which no more documents are read: 64 MB."""


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
    """Waiting pieces in slots, and by length, so that none has to be searched for."""

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []
        self._arrivals: list[int] = []
        self._slot_of: dict[int, int] = {}
        self._by_length: list[tuple[int, int]] = []  # with the negative number of arrival: of equals, the first is last
        self._lengths = np.zeros(64, dtype=np.int64)
        self._of_epoch = np.zeros(64, dtype=np.int64)
        self._epochs: Counter[int] = Counter()
        self.arrived = 0
        """Pieces that were ever added."""
        self.n_tokens = 0

    def __len__(self) -> int:
        return len(self._pieces)

    def __iter__(self) -> Iterator[_Piece]:
        return iter(self._pieces)

    @property
    def arrivals(self) -> list[int]:
        """The number of each piece in the order of arrival."""
        return self._arrivals

    def add(self, piece: _Piece, arrival: int | None = None) -> None:
        """Takes in a piece; `arrival` is its number where it has one already."""
        arrival = self.arrived + 1 if arrival is None else arrival
        self.arrived = max(self.arrived, arrival)
        slot = len(self._pieces)
        if slot == len(self._lengths):
            self._lengths, self._of_epoch = (np.concatenate((a, a)) for a in (self._lengths, self._of_epoch))
        self._pieces.append(piece)
        self._arrivals.append(arrival)
        self._slot_of[arrival] = slot
        self._lengths[slot], self._of_epoch[slot] = len(piece), piece.epoch
        insort(self._by_length, (len(piece), -arrival))
        self._epochs[piece.epoch] += 1
        self.n_tokens += len(piece)

    def take_at(self, draw: int, context_length: int) -> _Piece:
        """Takes the piece that holds a row, which `draw` gives, among all rows that the oldest epoch still fills.

        The rest of a document counts as a row, too: else these would be what is left at the end of an epoch.
        """
        n = len(self._pieces)
        n_rows = -(-self._lengths[:n] // context_length)
        ends = np.where(self._of_epoch[:n] == min(self._epochs), n_rows, 0).cumsum()
        slot = int(np.searchsorted(ends, draw % int(ends[-1]), side="right"))
        piece, arrival = self._pieces[slot], self._arrivals[slot]
        return self._take(bisect_left(self._by_length, (len(piece), -arrival)))

    def take_fitting(self, room: int) -> _Piece | None:
        """Takes the largest piece that fits, if one does."""
        index = bisect_right(self._by_length, (room, 0)) - 1
        return self._take(index) if index >= 0 else None

    def n_epochs(self, newest: int) -> int:
        """Returns how many epochs there are from the oldest one that has a piece here to `newest`."""
        return 1 + newest - min(self._epochs, default=newest)

    def _take(self, index: int) -> _Piece:
        length, arrival = self._by_length.pop(index)
        slot = self._slot_of.pop(-arrival)
        piece, last, last_arrival = self._pieces[slot], self._pieces.pop(), self._arrivals.pop()
        if slot < len(self._pieces):
            self._pieces[slot], self._arrivals[slot] = last, last_arrival
            self._slot_of[last_arrival] = slot
            self._lengths[slot], self._of_epoch[slot] = len(last), last.epoch
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
        buffer_documents: int = 1024,
        short_batches: int = 0,
        short_length: int | None = None,
    ) -> None:
        """`batch_size` is in rows; of `buffer_documents` that wait, rows are drawn.

        The rows of the first `short_batches` are cut into rows of `short_length`, of which more make up a batch: the
        tokens and their order are the same.
        Raises: DataError for a dataset without documents; ConfigError for a tokenizer without a separator.
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
        self.context_length, self.batch_size, self.seed = context_length, batch_size, seed
        self.buffer_documents = buffer_documents
        self.short_batches, self.short_length = short_batches, short_length or context_length
        self.epoch = self.shards_read = self.rows_read = 0
        """How far documents have been read, which is the buffer ahead of what the batches hold."""
        self.rows_given = 0
        self.buffer = _Buffer()
        self._texts: tuple[int, pa.Array] | None = None
        self._order: tuple[tuple[int, int], NDArray[np.int64]] = ((-1, -1), np.zeros(0, dtype=np.int64))

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.next_batch()

    def next_batch(self) -> Batch:
        """Returns a batch of `(batch_size, context_length)`, or of more and shorter rows, in int64, with their segments."""
        length = self.short_length if self.rows_given < self.short_batches * self.batch_size else self.context_length
        rows = [self._next_row() for _ in range(self.batch_size)]
        inputs = np.stack([np.concatenate([piece[:-1] for piece in row]) for row in rows])
        targets = np.stack([np.concatenate([piece[1:] for piece in row]) for row in rows])
        segments = np.stack([np.repeat(np.arange(len(row)), [len(piece) - 1 for piece in row]) for row in rows])
        inputs, targets, segments = (a.astype(np.int64).reshape(-1, length) for a in (inputs, targets, segments))
        return Batch(
            torch.from_numpy(inputs),
            torch.from_numpy(targets),
            # Rows of one document each need no mask.
            segments=torch.from_numpy(segments) if (segments != segments[:, :1]).any() else None,
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns the position of the stream, as plain JSON: a few numbers and the names of the waiting
        documents."""
        return {
            "epoch": self.epoch,
            "shards_read": self.shards_read,
            "rows_read": self.rows_read,
            "rows_given": self.rows_given,
            "arrived": self.buffer.arrived,
            "buffer": [
                [arrival, piece.epoch, piece.shard, piece.row, piece.start]
                for arrival, piece in zip(self.buffer.arrivals, self.buffer, strict=True)
            ],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues exactly where `state_dict` was called, given the same dataset, tokenizer and settings."""
        self.epoch, self.shards_read = state["epoch"], state["shards_read"]
        self.rows_read, self.rows_given = state["rows_read"], state["rows_given"]
        waiting: list[tuple[int, int, int, int, int]] = [tuple(piece) for piece in state["buffer"]]
        whole: dict[tuple[int, int], _Piece] = {}
        for shard in sorted({shard for _, _, shard, _, _ in waiting}):
            rows = sorted({row for _, _, s, row, _ in waiting if s == shard})
            whole |= {(shard, piece.row): piece for piece in self._tokenize(shard, rows)}
        self.buffer = _Buffer()
        for arrival, epoch, shard, row, start in waiting:
            # A document of two epochs may wait twice, with different starts.
            self.buffer.add(replace(whole[shard, row], epoch=epoch, start=start), arrival)
        self.buffer.arrived = state["arrived"]

    # Packing

    def _next_row(self) -> list[NDArray[np.int32]]:
        """Returns pieces of ids whose predictions (one fewer than ids) add up to the context length."""
        room, row = self.context_length, list[NDArray[np.int32]]()
        while room:
            self._fill_buffer()
            piece = self.buffer.take_fitting(room) if row else None
            if piece is None:
                piece = self.buffer.take_at(_mixed(self.seed, self.rows_given, len(row)), self.context_length)
            taken = min(room, len(piece))
            row.append(piece.ids[piece.start : piece.start + taken + 1])
            room -= taken
            if taken < len(piece):
                piece.start += taken
                self.buffer.add(piece)
        self.rows_given += 1
        return row

    def _fill_buffer(self) -> None:
        while self._wants_more():
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

    def _wants_more(self) -> bool:
        if len(self.buffer) >= self.buffer_documents or self.buffer.n_tokens >= BUFFER_TOKENS:
            return False
        # No document waits more than twice, however few there are.
        return self.buffer.n_epochs(self.epoch) <= 2

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


def _mixed(*numbers: int) -> int:
    """Returns 64 bits that follow from the numbers and look random: a generator without a state to save.

    Source: Steele et al. 2014, the finalizer of SplitMix64.
    """
    mask, mixed = (1 << 64) - 1, 0
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B97F4A7C15) & mask
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        mixed ^= mixed >> 31
    return mixed
